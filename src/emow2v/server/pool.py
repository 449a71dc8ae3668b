"""Worker processes: started, woken, watched, started again when they die, stopped."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from emow2v.discover.job import plan
from emow2v.errors import Emow2vError
from emow2v.formats import files
from emow2v.server import worker as workers
from emow2v.server.store import Job, Store
from emow2v.server.worker import Served

logger = logging.getLogger("emow2v.server")

SOON_S = 2.0  # a worker that dies so soon after its start is not started again at once
LONGEST_PAUSE_S = 60.0


@dataclass
class _Process:
    name: str
    process: BaseProcess
    pipe: Connection
    started: float
    ready: bool = False
    pause: float = 0.0  # before the next one is started, should this one die at once


class Pool:
    """The workers of a server.

    Args:
        path: of the store
        served: what they run
        number: of processes
    """

    def __init__(self, path: Path, served: Served, number: int) -> None:
        self._path, self._served, self._number = path, served, number
        self._store = Store(path)
        self._context = multiprocessing.get_context("spawn")  # alike on every platform, and no thread is ever forked
        self._processes: list[_Process] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="emow2v-pool", daemon=True)
        self.deaths = 0

    def start(self) -> None:
        """Take up what an earlier server left, then start the workers."""
        for job in self._store.orphans():
            self._take_up(job, "The server was stopped while it ran")
        with self._lock:
            self._processes = [self._started() for _ in range(self._number)]
        self._thread.start()

    def wake(self) -> None:
        """A job is waiting."""
        self._tell(workers.WAKE)

    @property
    def ready(self) -> int:
        """Workers with a warm model."""
        with self._lock:
            return sum(one.ready for one in self._processes)

    def stop(self, patience_s: float) -> None:
        """Let running jobs finish for so long, then let them wait for the next start; no worker is left."""
        self._stopping.set()
        for word, seconds in ((workers.STOP, patience_s), (workers.HURRY, 5.0)):
            self._tell(word)
            until = time.monotonic() + seconds
            for one in self._processes:
                one.process.join(max(0.0, until - time.monotonic()))
        for one in self._processes:
            if one.process.is_alive():  # deep in a batch that takes long
                one.process.kill()
                one.process.join()
            one.pipe.close()
        if self._thread.is_alive():
            self._thread.join(5)
        for job in self._store.orphans():
            self._take_up(job, "The server was stopped while it ran")
        self._store.close()

    def _tell(self, word: bytes) -> None:
        with self._lock:
            for one in self._processes:
                with contextlib.suppress(OSError):
                    one.pipe.send_bytes(word)

    def _started(self, pause: float = 0.0) -> _Process:
        here, there = self._context.Pipe()
        name = secrets.token_hex(4)
        process = self._context.Process(
            target=workers.main,
            args=(name, self._path, self._served, there, logger.getEffectiveLevel()),
            name=f"emow2v-worker-{name}",
            daemon=True,
        )
        process.start()
        there.close()
        return _Process(name, process, here, time.monotonic(), pause=pause)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                watched = list(self._processes)
            sources: Iterable[object] = [one.process.sentinel for one in watched] + [
                one.pipe for one in watched if not one.ready
            ]
            wait(sources, timeout=1.0)  # type: ignore[arg-type]
            for one in watched:
                self._listen(one)
                if not one.process.is_alive() and not self._stopping.is_set():
                    self._replace(one)

    def _listen(self, one: _Process) -> None:
        with contextlib.suppress(EOFError, OSError):
            if not one.ready and one.pipe.poll():
                one.ready = one.pipe.recv_bytes() == workers.READY

    def _replace(self, dead: _Process) -> None:
        """A worker died: its job waits again, and another worker starts."""
        dead.process.join()
        dead.pipe.close()
        self.deaths += 1
        how = _ending(dead.process.exitcode)
        logger.error("worker %s died (%s)", dead.name, how)
        for job in self._store.orphans(dead.name):
            self._take_up(job, f"The worker died ({how})")
        pause = 0.0
        if not dead.ready or time.monotonic() - dead.started < SOON_S:
            pause = min(LONGEST_PAUSE_S, max(1.0, 2 * dead.pause))
            logger.error("the next worker starts in %g s", pause)
            if self._stopping.wait(pause):
                return
        with self._lock:
            if not self._stopping.is_set():
                self._processes[self._processes.index(dead)] = self._started(pause)

    def _take_up(self, job: Job, why: str) -> None:
        """Bring complete files of an interrupted job to their places, remove unfinished ones, let it wait again."""
        try:
            files.finish([(Path(part), Path(path)) for part, path in job.moves])
            files.sweep(self._folders(job), job.worker)
        except Emow2vError as error:
            self._store.log(job, str(error), "ERROR")
        self._store.requeue(job, why)

    def _folders(self, job: Job) -> set[Path]:
        """Where a job writes."""
        if job.kind == "prediction":
            return {self._served.places.results(job.id)}
        try:
            planned = plan(job.form, self._served.places, self._served.card)
        except Emow2vError:  # its recording is gone, say; then so is the reason to look
            return {Path(path).parent for _, path in job.moves}
        return {output.path.parent for session in planned.sessions for output in session.outputs}


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}"
