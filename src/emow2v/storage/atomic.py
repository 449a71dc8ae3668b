"""One file that appears whole or not at all: written under a hidden name, flushed to the disk, then renamed.

The hidden name of an unfinished file is `.NAME.OWNERXXXXXXXX.part`: 40 characters of the name, perhaps the name of the
process that writes it, and eight random digits. `files` writes groups of files under such names, too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_NAME_CHARACTERS = 40  # at most 160 bytes, where a name may have 255
_ABANDONED_S = 3600  # an unfinished file that nobody has written to for an hour has no writer any more


@contextlib.contextmanager
def atomic_file(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A binary file to write; it replaces `path` when the block ends well, and is removed when it does not.

    Two writers of one path do not disturb each other: each has an unfinished file of its own, and the last one to end
    replaces the other's. Unfinished files that nobody has written to for an hour are removed.

    Args:
        mode: permissions of a new file, from which the process's mask is subtracted

    Raises:
        OSError: it cannot be written; `path` is as it was
    """
    remove_unfinished(path, _ABANDONED_S)
    part = unfinished_path(path, "part")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_unfinished(path: Path, older_than_s: float = 0.0) -> None:
    """Remove the unfinished files that killed writers of `path` left.

    Args:
        older_than_s: seconds since the last write; 0 is for a caller that is the only writer
    """
    prefix = _prefix(path)
    with contextlib.suppress(OSError):
        parts = [Path(entry) for entry in os.scandir(path.parent) if entry.name.startswith(prefix)]
        for part in parts:
            if part.suffix == ".part" and time.time() - part.stat().st_mtime >= older_than_s:
                part.unlink(missing_ok=True)


def unfinished_path(path: Path, ending: str, owner: str = "") -> Path:
    """A new hidden path beside `path`, for a file on its way there.

    Args:
        ending: "part" for a new file, "old" for the file that it replaces
        owner: name of the process that writes it, in letters and digits
    """
    return path.with_name(f"{_prefix(path)}{owner}{os.urandom(4).hex()}.{ending}")


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, so that a rename survives a power cut."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows does it by itself
        return
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _prefix(path: Path) -> str:
    return f".{path.name[:_NAME_CHARACTERS]}."
