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

from emow2v.discover.job import folders
from emow2v.errors import Emow2vError
from emow2v.formats import files
from emow2v.server import worker as workers
from emow2v.server.logs import LogFormat
from emow2v.server.store import Job, Store
from emow2v.server.worker import Served

logger = logging.getLogger("emow2v.server")

SOON_S = 2.0  # a worker that dies so soon after its start is not started again at once
LONGEST_PAUSE_S = 60.0
AGAIN_S = 1.0
STUCK_S = 60.0  # a worker that has not noticed for so long that its job was cancelled is deep in a file that never ends


@dataclass
class _Process:
    name: str
    process: BaseProcess
    pipe: Connection
    started: float
    ready: bool = False
    pause: float = 0.0  # before the next one is started, should this one die at once
    due: float | None = None  # when the next one starts, of one that has died


class Pool:
    """The workers of a server.

    Args:
        path: of the store
        served: what they run
        number: of processes
        log_format: of what they say
    """

    def __init__(self, path: Path, served: Served, number: int, log_format: LogFormat = "text") -> None:
        self._path, self._served, self._number, self._log_format = path, served, number, log_format
        self._store = Store(path)
        self._context = multiprocessing.get_context("spawn")  # alike on every platform, and no thread is ever forked
        self._processes: list[_Process] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="emow2v-pool", daemon=True)
        self.deaths = 0

    def start(self) -> None:
        """Take up what an earlier server left, then start the workers."""
        self._sweep()
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
        self._sweep()
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
            args=(name, self._path, self._served, there, logger.getEffectiveLevel(), self._log_format),
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
            living = [one for one in watched if one.due is None]
            soon = min((one.due - time.monotonic() for one in watched if one.due is not None), default=1.0)
            sources: Iterable[object] = [one.process.sentinel for one in living] + [
                one.pipe for one in living if not one.ready
            ]
            if sources:
                wait(sources, timeout=max(0.0, min(1.0, soon)))  # type: ignore[arg-type]
            else:
                self._stopping.wait(max(0.0, min(1.0, soon)))
            for one in watched:
                try:
                    self._look_after(one)
                except Exception as error:  # a full disk, say: whoever watches must go on
                    logger.error("worker %s cannot be replaced (%s); tried again in %g s", one.name, error, AGAIN_S)
                    self._stopping.wait(AGAIN_S)

    def _sweep(self) -> None:
        """What workers of a server that is no more have left."""
        for job in self._store.orphans():
            self._take_up(job, "The server was stopped while it ran")
        for job in self._store.held():
            self._leave(job)

    def _listen(self, one: _Process) -> None:
        with contextlib.suppress(EOFError, OSError):
            if not one.ready and one.pipe.poll():
                one.ready = one.pipe.recv_bytes() == workers.READY

    def _look_after(self, one: _Process) -> None:
        if one.due is None:
            self._listen(one)
            if one.process.is_alive() or self._stopping.is_set():
                if self._store.held(one.name, since_s=STUCK_S) and one.process.is_alive():
                    logger.error("worker %s does not let go of a job that was cancelled; it is killed", one.name)
                    one.process.kill()
                return
            self._bury(one)
        if one.due is not None and time.monotonic() >= one.due:
            with self._lock:
                if not self._stopping.is_set():
                    self._processes[self._processes.index(one)] = self._started(one.pause)

    def _bury(self, dead: _Process) -> None:
        """A worker died: its job waits again, and another worker is due."""
        dead.process.join()
        how = _ending(dead.process.exitcode)
        for job in self._store.orphans(dead.name):
            self._take_up(job, f"The worker died ({how})")
        for job in self._store.held(dead.name):
            self._leave(job)
        dead.pipe.close()
        self.deaths += 1
        logger.error("worker %s died (%s)", dead.name, how)
        at_once = not dead.ready or time.monotonic() - dead.started < SOON_S
        dead.pause = min(LONGEST_PAUSE_S, max(1.0, 2 * dead.pause)) if at_once else 0.0
        dead.ready = False
        if dead.pause:
            logger.error("the next worker starts in %g s", dead.pause)
        dead.due = time.monotonic() + dead.pause
        self.wake()  # the others need not wait for it

    def _take_up(self, job: Job, why: str) -> None:
        """Bring complete files of an interrupted job to their places, remove unfinished ones, let it wait again."""
        try:
            files.finish([(Path(part), Path(path)) for part, path in job.moves])
            files.sweep(self._folders(job), job.worker)
        except Emow2vError as error:
            self._store.log(job, str(error), "ERROR")
        self._store.requeue(job, why)

    def _leave(self, job: Job) -> None:
        """Remove what is left of a job that was cancelled, whose worker died before it could."""
        files.sweep(self._folders(job), job.worker)
        self._store.let_go(job)

    def _folders(self, job: Job) -> set[Path]:
        """Where a job writes."""
        results = self._served.places.results(job.id)  # also the rows that people watched
        if job.kind == "prediction":
            return {results}
        try:
            return {results} | folders(job.form, self._served.places)
        except Emow2vError:  # the administrator has chosen other data folders
            return {Path(path).parent for _, path in job.moves}


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}"
