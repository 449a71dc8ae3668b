"""Uploads: stored under names that nobody can guess."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from emow2v.discover.places import INCOMING, Places, copy_of, original
from emow2v.errors import FormatError
from emow2v.server.jobs.store.limits import sizes
from emow2v.storage.atomic import unfinished_path

NAME = "[a-z]{12}"  # of an upload, as a pattern; an ending may follow


def remove(upload: Path) -> list[int]:
    """Remove an upload, its copy, and what is known of it if it came in parts; gives the bytes of each file.

    Raises:
        OSError: it cannot be removed
    """
    removed = []
    for path in (upload, copy_of(upload), *details(upload)):
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            removed.append(size)
    return removed


def details(upload: Path) -> tuple[Path, Path]:
    """The places of what is known of a resumable upload: before a job has taken it, and afterwards.

    Args:
        upload: its place when it is finished, or that of its copy
    """
    folder, name = upload.parent.parent / INCOMING, original(upload).name
    return folder / f"{name}.json", folder / f"{name}.used"


def kept_bytes(places: Places) -> int:
    """Bytes of the uploads of an owner, unfinished ones included."""
    return sum(sizes(places.uploads)) + sum(sizes(places.incoming))


def new_name(client_name: str) -> str:
    """A name that nobody can guess; only the ending comes from the client's own name."""
    ending = re.sub(r"[^0-9A-Za-z]", "", Path(client_name).suffix)[:10]
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(12)) + (f".{ending}" if ending else "")


def keep(file: IO[bytes], client_name: str, folder: Path) -> str:
    """Store an upload under a `new_name`.

    Returns:
        its name in the folder

    Raises:
        OSError: it cannot be written
    """
    name = new_name(client_name)
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
