"""Folders that appear whole or not at all, and of which one copy is left whatever ends the writer.

A folder is filled under a hidden name beside its place and then renamed. What stood there before is kept, also under
a hidden name, until the new one is in its place: `.NAME.XXXXXXXX.new` and `.NAME.XXXXXXXX.old/NAME`. Who is killed
between the two renames leaves the old one there; `restore` puts it back.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from emow2v import storage
from emow2v.errors import FormatError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LONGEST = 55  # characters of a name that hidden names repeat: 220 bytes at most, where 255 are allowed
_OLD = re.compile(r"[0-9a-f]{8}\.old|old\.[a-z0-9_]{8}")  # the latter is version 0.1.0's
_NEW = re.compile(r"[0-9a-f]{8}\.new")
_TRIES, _PAUSE_S = 20, 0.05  # to find a folder that another process is just putting into its place


@contextlib.contextmanager
def appearing(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A fresh folder to fill; it becomes `folder` when the block ends well, and is removed when it does not.

    What another writer of the same folder left when it was killed is put back or removed first.

    Args:
        replace: a folder of that name that holds something makes way; else that is an error

    Raises:
        FormatError: the name is taken, another process writes it, or the place cannot be written; what stood there
            is there again
        PathError: a name that no folder can have
    """
    storage.kind_of(folder)  # says what is wrong with a name that no folder can have
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
    except OSError as error:
        raise FormatError(
            f"{storage.shown(folder.parent)} cannot be written ({error.strerror or error}); choose another folder."
        ) from None
    fresh = _hidden(folder, "new")
    try:
        _recover(folder)
        if not replace and _is_taken(folder):
            raise FormatError(f"{storage.shown(folder)} is there already and not empty; expected a new folder.")
        fresh.mkdir()
        yield fresh
        _to_disk(fresh)
        _put(fresh, folder)
    except OSError as error:
        reason = f"{error.strerror or error}"
        raise FormatError(
            f"{storage.shown(folder)} cannot be written ({reason}); make room or choose another folder."
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        _release(lock)


def restore(folder: Path) -> bool:
    """Put a folder back whose writer was killed between its two renames; True where it is there in the end.

    Costs one question to the operating system where the folder is there.
    """
    for _ in range(_TRIES):
        if os.path.lexists(folder):
            return True
        if not _left(folder, _OLD, inside=True):
            return False
        try:
            lock = _locked(folder)
        except FormatError:  # its writer lives, and puts the new one there now
            time.sleep(_PAUSE_S)
            continue
        except OSError:  # nobody may write there: nothing can be put back
            return False
        try:
            with contextlib.suppress(OSError):
                _recover(folder)
        finally:
            _release(lock)
    return os.path.lexists(folder)


def restore_all(parent: Path) -> None:
    """`restore` for every folder in `parent` that is missing and of which an old one is left."""
    names: set[str] = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(parent):
            if entry.name.startswith(".") and ".old" in entry.name:
                names.update(path.name for path in Path(entry.path).iterdir())
    for name in names:
        restore(parent / name)


def remove(folder: Path) -> None:
    """Take a folder away, with everything that killed writers left of it; it is whole until it is gone.

    Raises:
        FormatError: another process writes it
        OSError: it cannot be renamed: something has it open, or nobody may write there
    """
    lock = _locked(folder)
    try:
        folder.replace(_hidden(folder, "new"))
        _sweep(folder)
    finally:
        _release(lock)


def _put(fresh: Path, folder: Path) -> None:
    """The two renames, and back again where the second fails."""
    if not os.path.lexists(folder):  # a link that leads nowhere makes way, too
        fresh.replace(folder)
        storage.sync_folder(folder.parent)
        return
    old = _hidden(folder, "old")
    old.mkdir()
    kept = old / folder.name
    try:
        folder.replace(kept)
        fresh.replace(folder)
    except BaseException:
        if os.path.lexists(kept) and not os.path.lexists(folder):
            try:
                kept.rename(folder)
            except OSError as error:
                raise FormatError(
                    f"{storage.shown(folder)} could neither be replaced nor put back ({error.strerror}); it is in {old}; "
                    "move it back when nothing has it open."
                ) from None
        with contextlib.suppress(OSError):
            old.rmdir()
        raise
    storage.sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _recover(folder: Path) -> None:
    """What killed writers left, where no writer lives (the lock is held): the old one back, the rest removed."""
    if not os.path.lexists(folder):
        whole = _left(folder, _OLD, inside=True)
        if whole:
            newest = max(whole, key=lambda old: (old / folder.name).lstat().st_mtime)
            (newest / folder.name).rename(folder)
            storage.sync_folder(folder.parent)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    for left in (*_left(folder, _OLD, inside=True), *_left(folder, _NEW)):
        shutil.rmtree(left, ignore_errors=True)
    for left in _left(folder, _OLD):
        with contextlib.suppress(OSError):
            left.rmdir()


def _left(folder: Path, kind: re.Pattern[str], *, inside: bool = False) -> list[Path]:
    """Hidden folders of one kind that belong to `folder`; with `inside` those that hold a copy of it."""
    begin = _begin(folder)
    try:
        names = [path.name for path in folder.parent.iterdir() if path.name.startswith(begin)]
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return []
    found = [folder.parent / name for name in names if kind.fullmatch(name[len(begin) :])]
    return [path for path in found if path.is_dir() and (not inside or os.path.lexists(path / folder.name))]


def _is_taken(folder: Path) -> bool:
    kind = storage.kind_of(folder)
    return kind is not None and (kind != "folder" or any(folder.iterdir()))


def _to_disk(folder: Path) -> None:
    """Bring all files to the disk before the name says that they are whole."""
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb+" if os.name == "nt" else "rb") as file:
                os.fsync(file.fileno())
        storage.sync_folder(Path(place))


def _begin(folder: Path) -> str:
    return f".{folder.name[:_LONGEST]}."


def _hidden(folder: Path, ending: str) -> Path:
    return folder.with_name(f"{_begin(folder)}{os.urandom(4).hex()}.{ending}")


def _locked(folder: Path) -> BaseFileLock | None:
    """The right to write `folder`; None where the file system knows no locks.

    Raises:
        FormatError: another process or thread has it
        OSError: the place cannot be written
    """
    from filelock import FileLock, Timeout  # not before it is needed: to import it takes 30 ms

    lock = FileLock(folder.with_name(f"{_begin(folder)}writing"), timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except Timeout:
        raise FormatError(
            f"{storage.shown(folder)} is being written by another process; wait for it, or choose another folder."
        ) from None
    except NotImplementedError:
        return None
    return lock


def _release(lock: BaseFileLock | None) -> None:
    if lock is None:
        return
    with contextlib.suppress(OSError):  # removed while held: afterwards it could be the next one's already
        Path(lock.lock_file).unlink()
    lock.release()
