"""Paths and files: what lies at a path, the sentence for a refusal, files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from emow2v.errors import PathError

# What "nothing is there" looks like; every other answer is the operating system's refusal to say
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EBADF}
_SHOWN = 120  # characters of a path in a message
_ABANDONED_S = 3600  # an unfinished file that nobody has touched for an hour has no writer any more


def kind_of(path: str | os.PathLike[str]) -> Literal["file", "folder", "other"] | None:
    """What lies at a path; links are followed, "other" is a pipe, a socket or a device, None is nothing at all.

    `Path.exists`, `is_file` and `is_dir` raise OSError or ValueError before Python 3.14 and hide the refusal after it.

    Raises:
        PathError: the operating system does not say: a name that is too long, a folder that may not be entered, a
            network share that has gone, a zero byte
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise unreadable(path, error) from None
    except ValueError as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether anything lies at a path; raises as `kind_of` does."""
    return kind_of(path) is not None


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file lies at a path; raises as `kind_of` does."""
    return kind_of(path) == "file"


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder lies at a path; raises as `kind_of` does."""
    return kind_of(path) == "folder"


def shown(path: str | os.PathLike[str]) -> str:
    """A path as messages show it: on one line, and with its middle left out where it is very long."""
    text = one_line(os.fspath(path))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"


def one_line(text: str) -> str:
    """A text as a terminal shows it: signs that would break the line, or steer the terminal, as their numbers."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def counted(number: int, noun: str, several: str = "") -> str:
    """So many of them: "1 value", "2 values"; `several` is the plural of a noun that takes more than an s."""
    return f"{number} {noun if number == 1 else several or noun + 's'}"


def unreadable(path: str | os.PathLike[str], error: OSError | ValueError) -> PathError:
    """The sentence for what the operating system refuses about a path, with what to do."""
    number = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error)
    if number == errno.ENAMETOOLONG:
        names = os.fspath(path).count("\n") + 1
        remedy = "separate several names by spaces, not lines" if names > 1 else "expected at most 255 bytes in a name"
        return PathError(f"{shown(path)} is too long for a path; {remedy}.")
    if number in (errno.EACCES, errno.EPERM):
        return PathError(f"{shown(path)} cannot be read ({reason}); ask for permission to its folder, or copy it.")
    if number == errno.ELOOP:
        return PathError(f"{shown(path)} cannot be read ({reason}); its links lead in a circle; name the file itself.")
    return PathError(f"{shown(path)} cannot be read ({reason}); check the name, and that its disk is connected.")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well, flushed to the disk before; else nothing
    has changed. Each writer has an unfinished file of its own, so that two do not meet; the last one stays.

    Raises:
        OSError: it cannot be written; what stood there is as it was
    """
    sweep_unfinished(path, _ABANDONED_S)
    part = path.with_name(f"{_unfinished(path)}{os.urandom(4).hex()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sweep_unfinished(path: Path, older_than_s: float = 0.0) -> None:
    """Remove what writers of `path` left that were killed.

    Args:
        older_than_s: only what nobody has touched for so long; 0 where the caller is the only writer
    """
    begin = _unfinished(path)
    with contextlib.suppress(OSError):
        left = [Path(entry) for entry in os.scandir(path.parent) if entry.name.startswith(begin)]
        for part in left:
            if part.suffix == ".part" and time.time() - part.stat().st_mtime >= older_than_s:
                part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: what was renamed there is there after a power cut, too."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows does it by itself
        return
    with contextlib.suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unfinished(path: Path) -> str:
    """How the hidden names of unfinished files begin; 40 characters are 160 bytes at most, where 255 are allowed."""
    return f".{path.name[:40]}."
