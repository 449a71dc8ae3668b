"""What lies at a path, whatever the operating system answers about it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from emow2v.errors import PathError

# What "nothing is there" looks like; every other answer is the operating system's refusal to say
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EBADF}
_SHOWN = 120  # characters of a path in a message


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
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in os.fspath(path))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"


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
