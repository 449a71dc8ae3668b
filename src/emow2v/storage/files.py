"""Groups of result files that appear whole or not at all: written under hidden names, flushed, then renamed together.

They replace only what emow2v wrote itself (see `marks`). Everything else at one of their paths is refused, unless the
caller says `overwrite`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from emow2v.errors import DiskFull, FormatError, PlaceTaken
from emow2v.storage import marks, shown
from emow2v.storage.atomic import sync_folder, unfinished_path
from emow2v.storage.marks import Origin

Move = tuple[Path, Path]  # from an unfinished file to its place
_PIECE_BYTES = 1 << 20
_PARALLEL_FLUSHES = 4
_IN_USE = "close programs that have it open, or choose another place"

_REFUSALS = {
    Origin.CHANGED: "was changed since emow2v wrote it",
    Origin.OLD: "was written by emow2v 0.1.0, which left no mark to tell whether somebody has changed it since",
    Origin.FOREIGN: "is there already, and nothing in it shows that emow2v wrote it",
}
_Identity = tuple[int, ...] | None  # tells a file from another at the same path; None where no file is


class _Part(io.FileIO):
    """An unfinished file. A full disk is a FormatError wherever it shows: at a write, a flush or a close.

    Attributes:
        digest: SHA-256 of the bytes written so far, for a file that is written from beginning to end; else None
    """

    def __init__(self, part: Path, path: Path, *, digested: bool) -> None:
        self._path = path
        self.digest = hashlib.sha256() if digested else None
        super().__init__(part, "x+b")

    def write(self, data: Any, /) -> int:
        try:
            written = super().write(data)
        except OSError as error:
            raise _unwritable(self._path, error, "free some space") from None
        if self.digest:
            self.digest.update(memoryview(data)[:written])
        return written


def _unwritable(path: Path, error: OSError | ValueError, remedy: str) -> FormatError:
    reason = getattr(error, "strerror", None) or error
    if getattr(error, "errno", None) == errno.ENAMETOOLONG:
        longest, length = _longest_name(path.parent), len(os.fsencode(path.name))
        if length > longest:
            reason = f"its name has {length} bytes, {longest} are possible"
            remedy = f"choose a name that is {length - longest} shorter"
        else:
            remedy = "choose a folder with a shorter path"
    kind = DiskFull if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) else FormatError
    return kind(f"{shown(path)} cannot be written ({reason}); {remedy}.")


def _longest_name(folder: Path) -> int:
    if not hasattr(os, "pathconf"):  # Windows
        return 255
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):  # a missing folder has no answer
        return 255


class StagedFiles:
    """A group of unfinished files: open each, write, then `publish` them all or `discard` them all.

    As a context manager it publishes at the end of the block, and discards after an error.

    Args:
        places: path of each file, with the path of the file that vouches for it, or None where it holds its own mark
            (see `marks`); `check` can then look at them before one is opened
        overwrite: replace also what emow2v did not write
        owner: name of the process, in letters and digits, by which `remove_unfinished_of` finds its unfinished files
    """

    def __init__(
        self, places: Mapping[Path, Path | None] | None = None, *, overwrite: bool = False, owner: str = ""
    ) -> None:
        self.overwrite, self.owner = overwrite, owner
        self._places: dict[Path, Path | None] = dict(places or {})
        self._checked: dict[Path, _Identity] = {}
        self._new_folders: list[Path] = []
        self._unfinished: list[Path] = []
        self._files: list[tuple[IO[bytes], Path, Path]] = []
        self._parts: dict[Path, _Part] = {}

    def __enter__(self) -> StagedFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            publish([self])
        else:
            self.discard()

    @property
    def places(self) -> list[Path]:
        """Paths of the files, as far as they are known."""
        return list(self._places)

    @property
    def vouchers(self) -> dict[Path, Path | None]:
        """For each path, that of the file that vouches for it, or None where it holds its own mark."""
        return dict(self._places)

    def expect(self, places: Mapping[Path, Path | None]) -> None:
        """Add paths, with those of the files that vouch for them."""
        self._places.update(places)

    def check(self) -> None:
        """Refuse to replace what emow2v did not write, and what somebody has changed since.

        Raises:
            PlaceTaken: one sentence on the first such file, with what to do
            FormatError: a folder, a pipe or a device lies there, or no file can have the name
        """
        for path in self._places:
            self.check_place(path)

    def check_place(self, path: Path) -> None:
        """`check` of one path."""
        try:
            identity = _identity(path)
            if identity is not None and identity == self._checked.get(path):
                return
            if os.path.isdir(path):  # noqa: PTH112 (pathlib raises for names that no file can have)
                raise FormatError(f"{shown(path)} is a folder; expected the name of a file; choose another.")
            if identity is not None and os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
                raise FormatError(f"{shown(path)} is a pipe or a device; expected the name of a file; choose another.")
            if identity is not None and not self.overwrite:
                origin = marks.origin_of(path, self._places.get(path))
                if origin in _REFUSALS:
                    raise PlaceTaken(
                        f"{shown(path)} {_REFUSALS[origin]}",
                        "move it, choose another place, or replace it with --overwrite (in Python and in requests: "
                        "overwrite)",
                    )
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            raise _unwritable(path, error, "choose another place") from None
        self._checked[path] = identity

    def open(self, path: Path) -> IO[bytes]:
        """A binary file, to be written and read, that will become `path`.

        Raises:
            PlaceTaken: see `check`
            FormatError: the folder cannot be made or written to, or a folder has the name; raised here, not
                after hours of work
        """
        self._places.setdefault(path, None)
        self.check_place(path)
        try:
            self._make_folder(path.parent)
            part = unfinished_path(path, "part", self.owner)
            self._unfinished.append(part)  # before it exists, as in _make_folder
            raw = _Part(part, path, digested=self._places[path] is not None)
        except (OSError, ValueError) as error:
            raise _unwritable(path, error, "choose another place") from None
        file = io.BufferedRandom(raw)
        self._parts[path] = raw
        self._files.append((file, part, path))
        return file

    def _make_folder(self, folder: Path) -> None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        self._new_folders += missing  # before they exist: a signal may come right afterwards
        folder.mkdir(parents=True, exist_ok=True)

    def digest(self, path: Path) -> str:
        """SHA-256 of the bytes written so far into the file that will become `path`, for which another file vouches."""
        for file, _, place in self._files:
            if place == path:
                file.flush()
        digest = self._parts[path].digest
        assert digest is not None, f"{path} holds its own mark"
        return digest.hexdigest()

    def files(self) -> list[tuple[IO[bytes], Path]]:
        """Each open file with its later path."""
        return [(file, path) for file, _, path in self._files]

    def discard(self) -> None:
        """Remove the unfinished files, and the folders made for them; the files that they were to replace stay."""
        for file, _, _ in self._files:
            with contextlib.suppress(OSError, FormatError):  # the rest of its buffer may not fit on the disk
                file.close()
        for part in self._unfinished:
            with contextlib.suppress(OSError):
                part.unlink()
        self._files.clear()
        self._unfinished.clear()
        for folder in self._new_folders:
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()
        self._new_folders.clear()

    def moves(self) -> list[Move]:
        """The path of each unfinished file, with its later path."""
        return [(part, path) for _, part, path in self._files]


def _identity(path: Path) -> _Identity:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def publish(groups: Sequence[StagedFiles], before: Callable[[Sequence[Move]], None] = lambda moves: None) -> None:
    """Rename the files of all groups to their paths; where one cannot be renamed, the others are renamed back.

    Args:
        before: called with the coming renames when all files are complete and on the disk; may raise

    Raises:
        PlaceTaken: something that emow2v did not write has come to one of the paths meanwhile; it stays
        FormatError: a file could not be renamed; everything is as it was
    """
    replaced: list[tuple[Path, Path | None]] = []  # each path, with a second name of the file that was there
    try:
        _flush([file for group in groups for file in group.files()])
        for group in groups:
            for _, path in group.moves():
                group.check_place(path)  # again: somebody may have put something there meanwhile
        before([move for group in groups for move in group.moves()])
        for group in groups:
            for part, path in group.moves():
                try:
                    replaced.append((path, _second_name(path, group.owner)))
                    part.replace(path)
                except OSError as error:
                    raise _unwritable(path, error, _IN_USE) from None
    except BaseException:
        for path, old in reversed(replaced):
            with contextlib.suppress(OSError):
                if old is None:
                    path.unlink(missing_ok=True)
                else:
                    old.replace(path)
                    old.unlink(missing_ok=True)  # renaming one name of a file to its other leaves both
        for group in reversed(groups):  # the group that made a folder comes last
            group.discard()
        raise
    for _, old in replaced:
        if old:
            with contextlib.suppress(OSError):
                old.unlink()
    for folder in {path.parent for path, _ in replaced}:
        sync_folder(folder)


def _flush(files: Sequence[tuple[IO[bytes], Path]]) -> None:
    """Flush all files to the disk and close them; a full disk shows here, before anything is replaced."""
    if len(files) < 2:
        for file, path in files:
            _close(file, path)
        return
    # a disk flushes the eight files of a request side by side in half the time that it takes for one after the other
    with ThreadPoolExecutor(min(len(files), _PARALLEL_FLUSHES), thread_name_prefix="emow2v-disk") as pool:
        for closed in [pool.submit(_close, file, path) for file, path in files]:
            closed.result()


def _close(file: IO[bytes], path: Path) -> None:
    try:
        if not file.closed:
            file.flush()
            os.fsync(file.fileno())
            file.close()
    except OSError as error:
        raise _unwritable(path, error, "free some space") from None


def _second_name(path: Path, owner: str) -> Path | None:
    """Give the file at `path` a hidden second name, to go back to; None where no file is there."""
    old = unfinished_path(path, "old", owner)
    if path.is_symlink():  # the link itself is replaced; the file that it leads to stays
        old.symlink_to(path.readlink())
        return old
    if not path.exists():
        return None
    try:
        os.link(path, old)
    except OSError:  # a file system without links
        try:
            shutil.copyfile(path, old)
        except BaseException:
            old.unlink(missing_ok=True)
            raise
    return old


def remove_unfinished_of(owner: str, folders: Iterable[Path]) -> None:
    """Remove the unfinished files that a process which has ended left in some folders.

    Args:
        owner: the name that the process gave to its `StagedFiles`
    """
    for folder in folders:
        for ending in ("part", "old"):
            for path in folder.glob(f".*.{owner}????????.{ending}"):
                with contextlib.suppress(OSError):
                    path.unlink()


def finish_publishing(moves: Sequence[Move]) -> None:
    """Do the renames that a process which died in `publish` had not done; its files were complete and checked.

    Raises:
        PlaceTaken: something that emow2v did not write has come to one of the paths since; it stays, and so do the rest
        FormatError: a file could not be renamed
    """
    left = [(part, path) for part, path in moves if part.exists()]
    for part, path in left:
        if _is_newer_and_foreign(path, part):
            raise PlaceTaken(
                f"{shown(path)} was put there before the results had their names, and nothing in it shows that emow2v wrote it",
                "move it, or choose another place",
            )
    for part, path in left:
        try:
            part.replace(path)
        except OSError as error:
            raise _unwritable(path, error, _IN_USE) from None
    for folder in {path.parent for _, path in moves}:
        sync_folder(folder)


def _is_newer_and_foreign(path: Path, part: Path) -> bool:
    """Whether the file at `path` is newer than the complete file for it, and not one that emow2v wrote."""
    try:
        if path.lstat().st_mtime_ns <= part.stat().st_mtime_ns:
            return False
        table = path.with_name(path.name + "-metadata.json")
        voucher = path.with_name(path.name[:-1]) if path.name.endswith("~") else table if table.exists() else None
        return marks.origin_of(path, voucher) != Origin.OURS
    except OSError:
        return False


def replace_beginning(file: IO[bytes], count: int, beginning: bytes) -> None:
    """Replace the first `count` bytes of a file that is open for reading and writing, in flat memory."""
    size, shift = file.seek(0, os.SEEK_END), len(beginning) - count
    offsets = list(range(count, size, _PIECE_BYTES))
    for offset in reversed(offsets) if shift > 0 else offsets:
        file.seek(offset)
        piece = file.read(min(_PIECE_BYTES, size - offset))
        file.seek(offset + shift)
        file.write(piece)
    file.seek(0)
    file.write(beginning)
    file.truncate(size + shift)
    file.seek(0, os.SEEK_END)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write one file of text, whole or not at all; JSON and Markdown get a mark.

    Raises:
        PlaceTaken: something that emow2v did not write lies there
        FormatError: it cannot be written
    """
    with StagedFiles(overwrite=overwrite) as staged:
        staged.open(path).write(marks.marked(text.encode(errors="backslashreplace"), path.suffix))
