"""Files that appear whole or not at all: written beside their place, flushed, then renamed, all together.

What emow2v wrote itself makes way for them (see `marks`); everything else that lies in a place is refused, unless the caller
says `overwrite`.
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
from typing import IO, Any

from emow2v.errors import FormatError, PlaceTaken
from emow2v.storage import marks, shown, sync_folder
from emow2v.storage.marks import Found

Move = tuple[Path, Path]  # from, to
_PIECE = 1 << 20
_AT_ONCE = 4  # files on their way to the disk
_owner = ""


_SAYS = {
    Found.CHANGED: "was changed since emow2v wrote it",
    Found.OLD: "was written by emow2v 0.1.0, which left no mark to tell whether somebody has changed it since",
    Found.FOREIGN: "is there already, and nothing in it shows that emow2v wrote it",
}
_Seen = tuple[int, ...] | None  # what tells a file from another in the same place, None where there is none


class _Part(io.FileIO):
    """A file on its way, whose full disk is told in words wherever it shows: at a write, a flush or a close.

    Attributes:
        digest: SHA-256 of what was written, of a file that is written from the beginning to the end; None: not wanted
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
    return FormatError(f"{shown(path)} cannot be written ({reason}); {remedy}.")


def _longest_name(folder: Path) -> int:
    if not hasattr(os, "pathconf"):  # Windows
        return 255
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):  # a missing folder has no answer
        return 255


class Staged:
    """Files on their way: open each, write, then `publish` them all or `discard` them all.

    Args:
        places: where the files will lie, each with the one that vouches for it, or None where it holds its own mark
            (see `marks`), so that `check` can look before any is opened
        overwrite: also what emow2v did not write makes way
    """

    def __init__(self, places: Mapping[Path, Path | None] | None = None, *, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self._places: dict[Path, Path | None] = dict(places or {})
        self._seen: dict[Path, _Seen] = {}
        self._made: list[Path] = []
        self._begun: list[Path] = []  # unfinished files
        self._files: list[tuple[IO[bytes], Path, Path]] = []
        self._parts: dict[Path, _Part] = {}

    @property
    def places(self) -> list[Path]:
        """Where the files will lie, as far as that is known."""
        return list(self._places)

    def check(self) -> None:
        """Refuse to replace what emow2v did not write, or what somebody has changed since.

        Raises:
            PlaceTaken: one sentence on the first such place, with what to do
            FormatError: a folder, a pipe or a device lies there, or no file can have the name
        """
        for path in self._places:
            self.look(path)

    def look(self, path: Path) -> None:
        """`check` of one place."""
        try:
            seen = _identity(path)
            if seen is not None and seen == self._seen.get(path):
                return  # looked at before
            if os.path.isdir(path):  # noqa: PTH112 (pathlib raises for names that no file can have)
                raise FormatError(f"{shown(path)} is a folder; expected the name of a file; choose another.")
            if seen is not None and os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
                raise FormatError(f"{shown(path)} is a pipe or a device; expected the name of a file; choose another.")
            if seen is not None and not self.overwrite:
                verdict = marks.found(path, self._places.get(path))
                if verdict in _SAYS:
                    raise PlaceTaken(
                        f"{shown(path)} {_SAYS[verdict]}",
                        "move it, choose another place, or replace it with --overwrite (in Python and in requests: "
                        "overwrite)",
                    )
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            raise _unwritable(path, error, "choose another place") from None
        self._seen[path] = seen

    def open(self, path: Path) -> IO[bytes]:
        """A binary file, to be written and read, that will become `path`.

        Raises:
            PlaceTaken: see `check`
            FormatError: the folder cannot be made or written to, or a folder has the name; found here and
                not after hours of work
        """
        self._places.setdefault(path, None)
        self.look(path)
        try:
            self._make(path.parent)
            part = _beside(path, "part")
            self._begun.append(part)  # before, likewise
            raw = _Part(part, path, digested=self._places[path] is not None)
        except (OSError, ValueError) as error:
            raise _unwritable(path, error, "choose another place") from None
        file = io.BufferedRandom(raw)
        self._parts[path] = raw
        self._files.append((file, part, path))
        return file

    def _make(self, folder: Path) -> None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        self._made += missing  # before: a signal may come as soon as the folder is there
        folder.mkdir(parents=True, exist_ok=True)

    def digest(self, path: Path) -> str:
        """SHA-256 of what has been written so far into the file that will become `path`, which another vouches for."""
        for file, _, place in self._files:
            if place == path:
                file.flush()
        digest = self._parts[path].digest
        assert digest is not None, f"{path} holds its own mark"
        return digest.hexdigest()

    def files(self) -> list[tuple[IO[bytes], Path]]:
        """Each file, and what it will become."""
        return [(file, path) for file, _, path in self._files]

    def discard(self) -> None:
        """Remove what was written, and folders made for it; what stood in the places before stays."""
        for file, _, _ in self._files:
            with contextlib.suppress(OSError, FormatError):  # what is still buffered need not fit any more
                file.close()
        for part in self._begun:
            with contextlib.suppress(OSError):
                part.unlink()
        self._files.clear()
        self._begun.clear()
        for folder in self._made:
            with contextlib.suppress(OSError):  # something lies in it
                folder.rmdir()
        self._made.clear()

    def moves(self) -> list[Move]:
        """Where each file is, and where it will be."""
        return [(part, path) for _, part, path in self._files]


def _identity(path: Path) -> _Seen:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def publish(groups: Sequence[Staged], before: Callable[[Sequence[Move]], None] = lambda moves: None) -> None:
    """Rename the files of all groups into place; if one cannot be, those before it are taken back.

    Args:
        before: called when all files are complete and on the disk, with what is about to be renamed; may raise

    Raises:
        PlaceTaken: something that emow2v did not write has come into a place meanwhile; it stays
        FormatError: a file could not be put into its place; everything is as it was
    """
    kept: list[tuple[Path, Path | None]] = []  # (place, second name of what stood there)
    try:
        _flush([file for group in groups for file in group.files()])
        for group in groups:
            for _, path in group.moves():
                group.look(path)  # again: somebody may have put something there meanwhile
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
        for group in reversed(groups):  # who made a folder comes last
            group.discard()
        raise
    for _, old in kept:
        if old:
            with contextlib.suppress(OSError):
                old.unlink()
    for folder in {path.parent for path, _ in kept}:
        sync_folder(folder)


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


def _keep(path: Path) -> Path | None:
    """A second name for what stands at `path`, to go back to; None where nothing stands there."""
    old = _beside(path, "old")
    if path.is_symlink():  # the link itself makes way, what it leads to stays
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


def _beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder; 40 characters are 160 bytes at most, where 255 are allowed."""
    return path.with_name(f".{path.name[:40]}.{_owner}{os.urandom(4).hex()}.{ending}")


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
    """Rename what a process that died in `publish` had not renamed yet; all of it was complete, and its places were looked at.

    Raises:
        PlaceTaken: something that emow2v did not write has come into a place since; it stays, and so does the rest
        FormatError: a file could not be put into its place
    """
    left = [(part, path) for part, path in moves if part.exists()]
    for part, path in left:
        if _came_since(part, path):
            raise PlaceTaken(
                f"{shown(path)} was put there while no server ran, and nothing in it shows that emow2v wrote it",
                "move it, or choose another place",
            )
    for part, path in left:
        try:
            part.replace(path)
        except OSError as error:
            raise _unwritable(path, error, "close programs that have it open, or choose another place") from None
    for folder in {path.parent for _, path in moves}:
        sync_folder(folder)


def _came_since(part: Path, path: Path) -> bool:
    """Whether what lies in a place is newer than the complete file for it, and not ours."""
    try:
        if path.lstat().st_mtime_ns <= part.stat().st_mtime_ns:
            return False
        table = path.with_name(path.name + "-metadata.json")
        voucher = path.with_name(path.name[:-1]) if path.name.endswith("~") else table if table.exists() else None
        return marks.found(path, voucher) != Found.OURS
    except OSError:
        return False


def replace_beginning(file: IO[bytes], count: int, beginning: bytes) -> None:
    """Put others in place of the first bytes of a file that is open for reading and writing, in flat memory."""
    size, moved = file.seek(0, os.SEEK_END), len(beginning) - count
    pieces = list(range(count, size, _PIECE))
    for begin in reversed(pieces) if moved > 0 else pieces:
        file.seek(begin)
        piece = file.read(min(_PIECE, size - begin))
        file.seek(begin + moved)
        file.write(piece)
    file.seek(0)
    file.write(beginning)
    file.truncate(size + moved)
    file.seek(0, os.SEEK_END)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """One file of text, whole or not at all; JSON and Markdown with a mark.

    Raises:
        PlaceTaken: something that emow2v did not write lies there
        FormatError: it cannot be written
    """
    staged = Staged(overwrite=overwrite)
    try:
        staged.open(path).write(marks.marked(text.encode(errors="backslashreplace"), path.suffix))
        publish([staged])
    except BaseException:
        staged.discard()
        raise
