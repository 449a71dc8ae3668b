"""Paths and places: what lies at a path, and the words that messages have for it.

`atomic` writes one file that appears whole, `files` groups of result files with their `marks`, `folders` a folder;
`locks` keeps other processes out, `text` decodes what other programs wrote, `home` is where emow2v keeps its own files.
This module stays light: it is imported by every command, before NumPy.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from emow2v.errors import PathError

# The errors of a path where nothing lies; with every other error the operating system refuses to answer
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EBADF}
RUN_FOLDER = ".emow2v"  # in a folder of results: the journal of the run
_USER = re.compile(r"(?<=://)[^/?#]*@")
_QUERY = re.compile(r"(https?://[^?#]*)[?#](?:(?!::).)*", re.IGNORECASE | re.DOTALL)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_SHOWN = 120  # characters of a path in a message
_REASON = 150  # characters of another program's message that a sentence of ours quotes


def kind_of(path: str | os.PathLike[str]) -> Literal["file", "folder", "other"] | None:
    """The kind of thing at a path; links are followed, "other" is a pipe, a socket or a device, None is nothing.

    `Path.exists`, `is_file` and `is_dir` raise OSError or ValueError before Python 3.14 and hide the refusal after it.

    Raises:
        PathError: the operating system refuses to answer: a name that is too long, a folder without permission, a
            network share that is disconnected, a zero byte
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
    """A path or an address as messages show it: on one line, without secrets, and without its middle where it is very long."""
    text = one_line(public(os.fspath(path)))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"


def public(address: str) -> str:
    """An address without what may be a secret: user names and passwords, and queries of web addresses; a path as it is."""
    if "://" not in address:
        return address
    return _QUERY.sub(r"\1", _USER.sub("", address))


def one_line(text: str) -> str:
    """A text for one line of a terminal or a log, which UTF-8 can hold.

    Characters that break lines, control terminals or turn the direction of writing are shown as their numbers. Spaces of
    any width stay, and the joiners that emoji and Persian need: names from macOS hold them.
    """
    return "".join(sign if _is_plain(sign) else ascii(sign)[1:-1] for sign in text)


def _is_plain(sign: str) -> bool:
    return sign.isprintable() or sign in "\u200c\u200d" or unicodedata.category(sign) == "Zs"


def reason(error: BaseException | str, line: int = 0) -> str:
    """One line of an exception's message (or of a text), as sentences of ours quote it; the name of its type where it has no message.

    Args:
        line: number of the line among those that hold text; -1 for the last
    """
    lines = [one.strip() for one in str(error).splitlines() if one.strip()]
    return lines[line][:_REASON] if lines else type(error).__name__


def counted(number: int, noun: str, several: str = "") -> str:
    """A number and its noun: "1 value", "2 values"; `several` is the plural of a noun that takes more than an s."""
    return f"{number} {noun if number == 1 else several or noun + 's'}"


def free_name(stem: str, is_taken: Callable[[str], bool], form: str = "{}-{}") -> str:
    """The stem, with a number from 2 where it is taken.

    Args:
        form: of a stem with its number
    """
    name, number = stem, 1
    while is_taken(name):
        number += 1
        name = form.format(stem, number)
    return name


def take_name(stem: str, taken: set[str], form: str = "{}-{}") -> str:
    """`free_name` among names whose letters' case makes no difference, as those of files; the name is then one of them."""
    name = free_name(stem, lambda name: name.casefold() in taken, form)
    taken.add(name.casefold())
    return name


def name_here(name: str, *, windows: bool = os.name == "nt") -> str:
    """A name from elsewhere as that of a file or a folder here: Windows takes signs for drives and folders that stores allow."""
    return _NOT_ON_WINDOWS.sub("_", name) if windows else name


def unreadable(path: str | os.PathLike[str], error: OSError | ValueError) -> PathError:
    """The error for a path about which the operating system refuses to answer, with what to do."""
    number = getattr(error, "errno", None)
    why = getattr(error, "strerror", None) or str(error)
    if number == errno.ENAMETOOLONG:
        names = os.fspath(path).count("\n") + 1
        remedy = "separate several names by spaces, not lines" if names > 1 else "expected at most 255 bytes in a name"
        return PathError(f"{shown(path)} is too long for a path; {remedy}.")
    if number in (errno.EACCES, errno.EPERM):
        return PathError(f"{shown(path)} cannot be read ({why}); ask for permission to its folder, or copy it.")
    if number == errno.ELOOP:
        return PathError(f"{shown(path)} cannot be read ({why}); its links lead in a circle; name the file itself.")
    return PathError(f"{shown(path)} cannot be read ({why}); check the name, and that its disk is connected.")
