"""Uploads: stored under names that nobody can guess."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from emow2v.discover.places import copy_of
from emow2v.errors import FormatError
from emow2v.storage.atomic import unfinished_path


def remove(upload: Path) -> list[int]:
    """Remove an upload and its copy; gives the bytes of each file.

    Raises:
        OSError: it cannot be removed
    """
    sizes = []
    for path in (upload, copy_of(upload)):
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            sizes.append(size)
    return sizes


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
    part = unfinished_path(folder / name, "part")  # nobody sees half of it, after a kill too
    try:
        with part.open("xb") as stored:
            shutil.copyfileobj(file, stored)
        part.replace(folder / name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return name


def keep_segments(files: Mapping[str, IO[bytes]], sent: int, folder: Path) -> tuple[str, str]:
    """Store an upload with turns: one file, or both files of an annotation, X.annotation and X.annotation~.

    Args:
        files: by the client's names
        sent: number of files, those of one name included

    Returns:
        its name in the folder, which ends with ~ for two files, and the client's name

    Raises:
        FormatError: other files
        OSError: they cannot be written
    """
    first, *others = sorted(files)
    if (sent, others) not in ((1, []), (2, [f"{first}~"])):
        raise FormatError(
            f"segments came {sent} times; expected one file, or the two of an annotation: X.annotation and X.annotation~."
        )
    stored = keep(files[first], first, folder)
    for other in others:
        try:
            with (folder / f"{stored}~").open("xb") as data:
                shutil.copyfileobj(files[other], data)
        except BaseException:
            for name in (stored, f"{stored}~"):
                (folder / name).unlink(missing_ok=True)
            raise
    return stored + "~" * len(others), first
