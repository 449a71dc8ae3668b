"""Folders that appear whole or not at all; whatever ends the writer, one whole copy is left.

A new folder is filled under the hidden name `.NAME.XXXXXXXX.new` and then renamed. The old one is kept as
`.NAME.XXXXXXXX.old/NAME` until the new one has its name. A writer that is killed between the two renames leaves the old
one there; `restore` puts it back.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.storage import locks
from emow2v.storage.atomic import sync_folder

_NAME_CHARACTERS = 55  # of a folder's name that hidden names repeat: at most 220 bytes, where a name may have 255
_OLD = re.compile(r"[0-9a-f]{8}\.old|old\.[a-z0-9_]{8}")  # the latter is version 0.1.0's
_NEW = re.compile(r"[0-9a-f]{8}\.new")
_TRIES, _PAUSE_S = 20, 0.05  # to wait for another process that is renaming the folder right now


@contextlib.contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill; it becomes `folder` when the block ends well, and is removed when it does not.

    First, the leftovers of killed writers of the same folder are put back or removed.

    Args:
        replace: replace a folder of that name that is not empty; without it, that is an error

    Raises:
        FormatError: the name is taken, another process writes the folder, or it cannot be written; `folder` is as it was
        PathError: a name that no folder can have
    """
    storage.kind_of(folder)  # refuses a name that no folder can have
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
    except OSError as error:
        raise FormatError(
            f"{storage.shown(folder.parent)} cannot be written ({error.strerror or error}); choose another folder."
        ) from None
    new = _hidden_path(folder, "new")
    try:
        _recover(folder)
        if not replace and _is_taken(folder):
            raise FormatError(f"{storage.shown(folder)} is there already and not empty; expected a new folder.")
        new.mkdir()
        yield new
        _sync(new)
        _replace(folder, new)
    except OSError as error:
        raise FormatError(
            f"{storage.shown(folder)} cannot be written ({error.strerror or error}); make room or choose another folder."
        ) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        lock.release()


def restore(folder: Path) -> bool:
    """Put back a folder whose writer was killed between its two renames; True where `folder` exists in the end.

    Where the folder exists, this costs one system call.
    """
    for _ in range(_TRIES):
        if os.path.lexists(folder):
            return True
        if not _leftovers(folder, _OLD, with_copy=True):
            return False
        try:
            with _lock(folder), contextlib.suppress(OSError):
                _recover(folder)
        except FormatError:  # its writer is alive and renames the new one right now
            time.sleep(_PAUSE_S)
        except OSError:  # nothing can be put back without the right to write there
            return False
    return os.path.lexists(folder)


def restore_all(parent: Path) -> None:
    """`restore` every folder in `parent` that is missing and of which an old copy is left."""
    names: set[str] = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(parent):
            if entry.name.startswith(".") and ".old" in entry.name:
                names.update(path.name for path in Path(entry.path).iterdir())
    for name in names:
        restore(parent / name)


def remove(folder: Path) -> None:
    """Remove a folder and the leftovers of its killed writers; under its own name it is whole or gone.

    Raises:
        FormatError: another process writes it
        OSError: it cannot be renamed: a program has it open, or permission is missing
    """
    with _lock(folder):
        folder.replace(_hidden_path(folder, "new"))
        _remove_leftovers(folder)


def _replace(folder: Path, new: Path) -> None:
    """Rename the old folder away and the new one to its name; where the second fails, rename the old one back."""
    if not os.path.lexists(folder):  # a link that leads nowhere is replaced, too
        new.replace(folder)
        sync_folder(folder.parent)
        return
    old = _hidden_path(folder, "old")
    old.mkdir()
    copy = old / folder.name
    try:
        folder.replace(copy)
        new.replace(folder)
    except BaseException:
        if os.path.lexists(copy) and not os.path.lexists(folder):
            try:
                copy.rename(folder)
            except OSError as error:
                raise FormatError(
                    f"{storage.shown(folder)} could neither be replaced nor put back ({error.strerror}); it is in {old}; "
                    "move it back when nothing has it open."
                ) from None
        with contextlib.suppress(OSError):
            old.rmdir()
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _recover(folder: Path) -> None:
    """Put the newest old copy back where the folder is missing, and remove other leftovers; the lock must be held."""
    if not os.path.lexists(folder):
        copies = _leftovers(folder, _OLD, with_copy=True)
        if copies:
            newest = max(copies, key=lambda old: (old / folder.name).lstat().st_mtime)
            (newest / folder.name).rename(folder)
            sync_folder(folder.parent)
    _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    for path in (*_leftovers(folder, _OLD, with_copy=True), *_leftovers(folder, _NEW)):
        shutil.rmtree(path, ignore_errors=True)
    for path in _leftovers(folder, _OLD):
        with contextlib.suppress(OSError):
            path.rmdir()


def _leftovers(folder: Path, kind: re.Pattern[str], *, with_copy: bool = False) -> list[Path]:
    """Hidden folders of one kind that belong to `folder`.

    Args:
        with_copy: only those that hold a copy of it
    """
    prefix = _prefix(folder)
    try:
        names = [path.name for path in folder.parent.iterdir() if path.name.startswith(prefix)]
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return []
    paths = [folder.parent / name for name in names if kind.fullmatch(name[len(prefix) :])]
    return [path for path in paths if path.is_dir() and (not with_copy or os.path.lexists(path / folder.name))]


def _is_taken(folder: Path) -> bool:
    kind = storage.kind_of(folder)
    return kind is not None and (kind != "folder" or any(folder.iterdir()))


def _sync(folder: Path) -> None:
    """Flush all files of a folder to the disk before it gets the name that says that it is whole."""
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb+" if os.name == "nt" else "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def _prefix(folder: Path) -> str:
    return f".{folder.name[:_NAME_CHARACTERS]}."


def _hidden_path(folder: Path, ending: str) -> Path:
    return folder.with_name(f"{_prefix(folder)}{os.urandom(4).hex()}.{ending}")


def _lock(folder: Path) -> locks.Lock:
    """The right to write `folder`.

    Raises:
        FormatError: another process or thread has it
        OSError: the parent folder cannot be written
    """
    path = folder.with_name(f"{_prefix(folder)}writing")
    return locks.acquire(path, f"{storage.shown(folder)} is being written", "choose another folder")
