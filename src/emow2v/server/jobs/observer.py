"""Observers of the jobs of a store: what happens in a worker, written down; and what stops it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emow2v.discover.observer import Observer
from emow2v.errors import Cancelled
from emow2v.formats import Writer
from emow2v.server.jobs.partial_rows import PartialRowsWriter
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.store.recordings import Counts, Recorded
from emow2v.storage.files import Move

LOOK_S = 0.05  # between two checks whether the job was cancelled
REPORT_S = 0.2  # between two reports of progress
SLICE_S = 2.0  # so long a job of many recordings computes at least before it gives way
SLICE_SHARE = 5  # and so many times as long as it took to begin


class Stopped(BaseException):
    """The server stops and cannot wait for the job, which returns to the queue."""


class GaveWay(BaseException):
    """A job of many recordings lets other jobs go first; it returns to the queue, and goes on later."""


class JobObserver(Observer):
    """Also receives the events of a job of many recordings.

    Attributes:
        attempt: number of this attempt, from 1; higher where the worker died in the one before
    """

    attempt = 1

    def on_recordings(self, recordings: Sequence[Recorded], counts: Counts) -> None:
        """Called when recordings are done or have failed, or the job has got further."""

    def recordings(self) -> Sequence[Recorded]:
        """What `on_recordings` was told in earlier attempts."""
        return ()

    def gives_way(self) -> bool:
        """Whether the job should begin no further recording, because others wait."""
        return False


class StoreObserver(JobObserver):
    """Writes the events of a job into the store, and stops the job when it was cancelled or the server cannot wait.

    Args:
        folder: of the job's results
        hurried: whether the server cannot wait for the job

    Raises:
        Cancelled, Stopped: in `on_step` and `before_publish`
    """

    def __init__(self, store: Store, job: Job, folder: Path, hurried: Callable[[], bool]) -> None:
        self._store, self._job, self._folder, self._hurried = store, job, folder, hurried
        self.owner, self.attempt = job.worker, job.attempts
        self._report = _Throttled(REPORT_S)
        self._look = _Throttled(LOOK_S)
        self._watched: list[PartialRowsWriter] = []
        self._counts = Counts()
        self._created = time.monotonic()
        self._begun: float | None = None  # the first recording
        self._queue = _Throttled(REPORT_S)

    def on_step(self) -> None:
        if self._hurried():
            raise Stopped
        if self._look.due() and not self._store.running(self._job):
            raise Cancelled

    def on_rows(self, rows: int, expected: int | None) -> None:
        if self._report.due() or rows == expected:
            self._store.progress(self._job, rows, expected)

    def before_publish(self, moves: Sequence[Move]) -> None:
        if not self._store.begin_publishing(self._job, moves):
            raise Cancelled

    def after_publish(self) -> None:
        self._store.end_publishing(self._job)

    def on_provenance(self, provenance: Mapping[str, str | float]) -> None:
        self._store.set_provenance(self._job, provenance)

    def log(self, line: str) -> None:
        self._store.log(self._job, line)

    def notice(self, sentences: Sequence[str]) -> None:
        self._store.add_notices(self._job, sentences)

    def writers(self) -> Sequence[Writer]:
        self._watched.append(PartialRowsWriter(self._folder))
        return self._watched[-1:]

    def on_recordings(self, recordings: Sequence[Recorded], counts: Counts) -> None:
        self._counts = counts
        self._store.record(self._job, recordings, counts)

    def recordings(self) -> Sequence[Recorded]:
        return self._store.recordings(self._job)

    def gives_way(self) -> bool:
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        if now - self._begun < max(SLICE_S, SLICE_SHARE * (self._begun - self._created)) or not self._queue.due():
            return False
        return self._store.others_wait(self._job)

    @property
    def sound_s(self) -> float:
        """Seconds of sound in all recordings so far."""
        return self._counts.sound_s + sum(one.sound_s for one in self._watched)


class _Throttled:
    """Is due at most once in so many seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._next = seconds, clock, 0.0

    def due(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
