"""The disk of a work folder: how much it holds, what is removed first when it has too much, and what is refused then."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from emow2v.discover.places import Places, original
from emow2v.errors import Emow2vError
from emow2v.server.jobs import history, uploads
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.store.limits import size_of, sizes
from emow2v.server.jobs.task import task_of
from emow2v.server.options import ServerOptions
from emow2v.server.work_folder.backup import LINKS
from emow2v.server.work_folder.settling import Settling

logger = logging.getLogger("emow2v.server")

EVERY_S = 10.0  # between two looks at the folder
HIGH, LOW = 0.95, 0.9  # of --max-disk: above the first, files are removed down to the second
RESERVE_BYTES = 200_000_000  # stay free on the disk, for running jobs and their list
UNUSED_S = 3600.0  # an upload that no job names so long after it came
ROOM = "The recording was removed, because the server's disk had no room; it cannot be heard again."
GB = 1e9


class NoRoom(Emow2vError):
    """The disk has no room for a request."""


@dataclass(frozen=True)
class Usage:
    """Bytes of a work folder.

    Attributes:
        uploads, results, computed, other: of the files; `computed` are values of running jobs
        free: on the disk
        limit: of the folder; 0 for none
    """

    uploads: int
    results: int
    computed: int
    other: int
    free: int
    limit: int

    @property
    def used(self) -> int:
        return self.uploads + self.results + self.computed + self.other


class _Part(NamedTuple):
    """Files that can be removed: where they lie, and what removes them and gives their bytes."""

    path: Path
    remove: Callable[[], int]


class Disk:
    """Watches the work folder of a server; safe to use from several threads.

    Args:
        tell: called with each job that was removed, or of which the named part was

    Attributes:
        removed_recordings, removed_jobs, refused: numbers since the start
    """

    def __init__(
        self,
        store: Store,
        places: Places,
        options: ServerOptions,
        tell: Callable[[Job, str], None] = lambda job, what: None,
    ) -> None:
        self._store, self._places, self._tell = store, places, tell
        self.limit = round(options.max_disk_gb * GB)
        self._settling = Settling(store, places, options.keep_uploads)
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._usage: Usage | None = None
        self._coming = self._came = 0  # bytes of requests that are read, and of those since the folder was looked at
        self.removed_recordings = self.removed_jobs = self.refused = 0

    def usage(self) -> Usage:
        """The bytes at the last look, which is at most some seconds old while the server runs."""
        return self._usage or self._measure()

    def look(self) -> None:
        """Do what is due with recordings of ended jobs; measure the folder, and make room where it has too much."""
        self._settling.settle()
        used = self._measure().used
        if self.limit and used > HIGH * self.limit:
            with self._lock:
                self._free(used - LOW * self.limit)
            self._measure()

    def admit(self, size: int, *, makes_room: bool = True) -> None:
        """Refuse a request that the disk has no room for; room is kept for another one until `arrived`.

        Args:
            size: bytes of its body; 0 where they are not known
            makes_room: whether old files may be removed for it

        Raises:
            NoRoom: one sentence
        """
        if self._room() < size + 1:
            with self._lock:  # another request may have made room meanwhile
                self._measure()
                missing = size + 1 - self._room()
                # where all that comes is more than the limit, or too little can be removed, removing files is of no use
                if makes_room and missing > 0 and self._coming + size < self.limit and self._can_free(missing):
                    self._free(missing + (1 - HIGH) * self.limit)
                    self._measure()
            if self._room() < size + 1:
                self._refuse(size)
        with self._counting:
            self._coming += size

    def check(self, size: int) -> None:
        """Refuse what `admit` would refuse, but remove nothing, and keep no room: the bytes may never come.

        Raises:
            NoRoom: one sentence
        """
        if self._room() < size + 1:
            with self._lock:
                self._measure()
                missing = size + 1 - self._room()
                if missing > 0 and not (self._coming + size < self.limit and self._can_free(missing)):
                    self._refuse(size)

    def _refuse(self, size: int) -> NoReturn:
        self.refused += 1
        said = self._refusal(size)
        logger.error("a request was refused: %s", said)
        raise NoRoom(said)

    def arrived(self, size: int) -> None:
        """The body of a request of `admit` has been read, or its end will not come."""
        with self._counting:
            self._coming -= size
            self._came += size

    def _room(self) -> int:
        now = self.usage()
        expected = self._coming + self._came
        room = now.free - RESERVE_BYTES - expected
        return min(room, self.limit - now.used - expected) if self.limit else room

    def _refusal(self, size: int) -> str:
        now = self.usage()
        more = f", and this is {size / GB:.2f} GB more" if size else ""
        if self.limit and self.limit - now.used < now.free - RESERVE_BYTES:
            return (
                f"The server may keep {self.limit / GB:g} GB and has {now.used / GB:.2f} GB{more}; try again when jobs have ended, "
                "or erase jobs; the administrator can raise --max-disk."
            )
        return (
            f"The server's disk has {now.free / GB:.2f} GB free, of which {RESERVE_BYTES / GB:g} GB are kept for running jobs{more}; "
            "erase jobs; the administrator must free some space."
        )

    def _measure(self) -> Usage:
        kinds = dict.fromkeys(("uploads", "results", "computed"), 0)
        own = [self._places.of(owner) for owner in self._places.owners]
        kinds["uploads"] = sum(map(uploads.kept_bytes, own))
        kinds["results"] = sum(sum(sizes(one.results("").parent)) for one in own)
        kinds["computed"] = sum(sizes(self._places.computed(0).parent))
        parts = [path for path in self._places.work_dir.iterdir() if not path.name.startswith(LINKS)]  # second names
        total = sum(sum(sizes(path)) if path.is_dir() else size_of(path) for path in parts)
        other = total - sum(kinds.values())
        free = shutil.disk_usage(self._places.work_dir).free
        self._usage, self._came = Usage(**kinds, other=max(0, other), free=free, limit=self.limit), 0
        return self._usage

    def _free(self, wanted: float) -> None:
        """Remove files until so many bytes are free: what can be fetched again, uploads that no job names, recordings of ended
        jobs, ended jobs; the oldest first. What waits or runs keeps all it needs."""
        freed = 0
        for part in self._removable():
            if freed >= wanted:
                return
            with contextlib.suppress(OSError, Emow2vError):  # it is in use
                freed += part.remove()

    def _can_free(self, wanted: float) -> bool:
        """Whether `_free` could free so many bytes; nothing is removed."""
        known: set[Path] = set()  # several jobs may have one recording
        found = 0
        for path, _ in self._removable():
            if path not in known:
                known.add(path)
                found += sum(sizes(path)) if path.is_dir() else size_of(path)
            if found >= wanted:
                return True
        return False

    def _removable(self) -> Iterator[_Part]:
        for step in (self._fetched, self._unused, self._recordings, self._jobs):
            yield from step()

    def _fetched(self) -> Iterator[_Part]:
        for path in sorted(self._places.fetched.glob("*/*"), key=_modified):
            yield _Part(path, lambda path=path: _remove_fetched(path))  # type: ignore[misc]

    def _unused(self) -> Iterator[_Part]:
        oldest = time.time() - UNUSED_S
        own = [self._places.of(owner) for owner in self._places.owners]
        for path, owner in sorted(((path, one.owner) for one in own for path in one.uploads.glob("*")), key=_age):
            if _modified(path) < oldest and not self._store.mentions(original(path).name, owner):
                yield _Part(path, lambda path=path: sum(uploads.remove(path)))  # type: ignore[misc]

    def _recordings(self) -> Iterator[_Part]:
        for job in self._ended():
            for path in task_of(self._store.whole(job), self._places).uploads():
                if path.is_file() and not self._store.mentions(original(path).name, job.owner, going_on=True):
                    yield _Part(path, lambda job=job, path=path: self._remove_recording(job, path))  # type: ignore[misc]

    def _remove_recording(self, job: Job, path: Path) -> int:
        freed = sum(uploads.remove(path))
        self._store.add_notices(job, [ROOM])
        self._tell(job, "recording")
        self.removed_recordings += 1
        return freed

    def _jobs(self) -> Iterator[_Part]:
        for job in self._ended():
            folder = self._places.of(job.owner).results(job.id)
            yield _Part(folder, lambda job=job: self._remove_job(job))  # type: ignore[misc]

    def _remove_job(self, job: Job) -> int:
        folder = self._places.of(job.owner).results(job.id)
        freed = sum(sizes(folder)) if folder.is_dir() else 0
        if history.erase(self._store, self._places, job.id, job.owner) is None:
            return 0
        self._tell(job, "")
        logger.warning("job %s: erased, because the disk had no room", job.id, extra={"job": job.id})
        self.removed_jobs += 1
        return freed

    def _ended(self) -> list[Job]:
        return sorted((job for job in self._store.all() if job.status.ended), key=lambda job: (job.ended, job.number))


def _remove_fetched(path: Path) -> int:
    size = size_of(path)
    path.unlink()
    with contextlib.suppress(OSError):  # another object is fetched into it
        path.parent.rmdir()
    return size


def _age(upload: tuple[Path, str]) -> float:
    return _modified(upload[0])


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
