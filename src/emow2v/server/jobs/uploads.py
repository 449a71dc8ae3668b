"""Uploads: stored under names that nobody can guess."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path
from typing import IO


def keep(file: IO[bytes], client_name: str, folder: Path) -> str:
    """Store an upload; only the ending comes from the client's own name.

    Returns:
        its name in the folder

    Raises:
        OSError: it cannot be written
    """
    ending = re.sub(r"[^0-9A-Za-z]", "", Path(client_name).suffix)[:10]
    name = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(12)) + (f".{ending}" if ending else "")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / name).open("xb") as stored:
            shutil.copyfileobj(file, stored)
    except BaseException:
        (folder / name).unlink(missing_ok=True)
        raise
    return name
