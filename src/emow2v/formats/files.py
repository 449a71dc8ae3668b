"""Files that appear whole or not at all: written beside their place, flushed, then renamed, all together."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from emow2v.errors import FormatError

Move = tuple[Path, Path]  # from, to
_AT_ONCE = 4  # files on their way to the disk
_owner = ""


class _Part(io.FileIO):
    """A file on its way, whose full disk is told in words wherever it shows: at a write, a flush or a close."""

    def __init__(self, part: Path, path: Path) -> None:
        self._path = path
        super().__init__(part, "xb")

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _unwritable(self._path, error, "free some space") from None


def _unwritable(path: Path, error: OSError | ValueError, remedy: str) -> FormatError:
    return FormatError(f"{path} cannot be written ({getattr(error, 'strerror', None) or error}); {remedy}.")


class Staged:
    """Files on their way: open each, write, then `publish` them all or `discard` them all."""

    def __init__(self) -> None:
        self._files: list[tuple[IO[bytes], Path, Path]] = []

    def open(self, path: Path) -> IO[bytes]:
        """A binary file that will become `path`.

        Raises:
            FormatError: the folder cannot be made or written to, or a folder has the name; found here and
                not after hours of work
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(path.stat().st_mode):  # also refuses names that are too long
                    raise FormatError(f"{path} is a folder; expected the name of a file; choose another.")
            part = _beside(path, "part")
            file = io.BufferedWriter(_Part(part, path))
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            raise _unwritable(path, error, "choose another place") from None
        self._files.append((file, part, path))
        return file

    def files(self) -> list[tuple[IO[bytes], Path]]:
        """Each file, and what it will become."""
        return [(file, path) for file, _, path in self._files]

    def discard(self) -> None:
        """Remove what was written; what stood in the places before stays."""
        for file, part, _ in self._files:
            with contextlib.suppress(OSError, FormatError):  # what is still buffered need not fit any more
                file.close()
            with contextlib.suppress(OSError):
                part.unlink()
        self._files.clear()

    def moves(self) -> list[Move]:
        """Where each file is, and where it will be."""
        return [(part, path) for _, part, path in self._files]


def publish(groups: Sequence[Staged], before: Callable[[Sequence[Move]], None] = lambda moves: None) -> None:
    """Rename the files of all groups into place; if one cannot be, those before it are taken back.

    Args:
        before: called when all files are complete and on the disk, with what is about to be renamed; may raise

    Raises:
        FormatError: a file could not be put into its place; everything is as it was
    """
    kept: list[tuple[Path, Path | None]] = []  # (place, second name of what stood there)
    try:
        _flush([file for group in groups for file in group.files()])
        before([move for group in groups for move in group.moves()])
        for group in groups:
            for part, path in group.moves():
                try:
                    kept.append((path, _keep(path)))
                    part.replace(path)
                except OSError as error:
                    raise _unwritable(
                        path, error, "close programs that have it open, or choose another place"
                    ) from None
    except BaseException:
        for path, old in reversed(kept):
            with contextlib.suppress(OSError):
                if old is None:
                    path.unlink(missing_ok=True)
                else:
                    old.replace(path)
                    old.unlink(missing_ok=True)  # renaming one name of a file to its other leaves both
        for group in groups:
            group.discard()
        raise
    for _, old in kept:
        if old:
            with contextlib.suppress(OSError):
                old.unlink()
    _sync({path.parent for path, _ in kept})


def _flush(files: Sequence[tuple[IO[bytes], Path]]) -> None:
    """Bring everything to the disk and close it; a full disk shows here, before anything is replaced."""
    if len(files) < 2:
        for file, path in files:
            _to_disk(file, path)
        return
    # asked for several at once, a disk has the eight files of a request in half the time that they take one by one
    with ThreadPoolExecutor(min(len(files), _AT_ONCE), thread_name_prefix="emow2v-disk") as pool:
        for done in [pool.submit(_to_disk, file, path) for file, path in files]:
            done.result()


def _to_disk(file: IO[bytes], path: Path) -> None:
    try:
        if not file.closed:
            file.flush()
            os.fsync(file.fileno())
            file.close()
    except OSError as error:
        raise _unwritable(path, error, "free some space") from None


def _sync(folders: Iterable[Path]) -> None:
    """Bring names to the disk; files that were renamed are there after a power cut too."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows does it by itself
        return
    for folder in folders:
        with contextlib.suppress(OSError):  # not every file system can
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _keep(path: Path) -> Path | None:
    """A second name for what stands at `path`, to go back to; None where nothing stands there."""
    if not path.exists():
        return None
    old = _beside(path, "old")
    try:
        os.link(path, old)
    except OSError:  # a file system without links
        try:
            shutil.copyfile(path, old)
        except BaseException:
            old.unlink(missing_ok=True)
            raise
    return old


def _beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder; 40 characters are 160 bytes at most, where 255 are allowed."""
    return path.with_name(f".{path.name[:40]}.{_owner}{secrets.token_hex(4)}.{ending}")


def own(name: str) -> None:
    """Put a name (letters and digits) into those of this process's unfinished files, so that `sweep` finds them."""
    global _owner
    _owner = name


def sweep(folders: Iterable[Path], name: str) -> None:
    """Remove unfinished files of a process that is no more."""
    for folder in folders:
        for ending in ("part", "old"):
            for path in folder.glob(f".*.{name}????????.{ending}"):
                with contextlib.suppress(OSError):
                    path.unlink()


def finish(moves: Sequence[Move]) -> None:
    """Rename what a process that died in `publish` had not renamed yet; all of it was complete.

    Raises:
        FormatError: a file could not be put into its place
    """
    for part, path in moves:
        try:
            if part.exists():
                part.replace(path)
        except OSError as error:
            raise _unwritable(path, error, "close programs that have it open, or choose another place") from None
    _sync({path.parent for _, path in moves})


def write_text(path: Path, text: str) -> None:
    """One file of text, whole or not at all.

    Raises:
        FormatError: it cannot be written
    """
    staged = Staged()
    try:
        staged.open(path).write(text.encode(errors="backslashreplace"))
        publish([staged])
    except BaseException:
        staged.discard()
        raise
