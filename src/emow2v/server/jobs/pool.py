"""Worker processes: started, woken, watched, started again when they die, stopped."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import secrets
import signal
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from emow2v.errors import Emow2vError
from emow2v.server.jobs import worker as workers
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.task import task_of
from emow2v.server.jobs.worker import WorkerConfig
from emow2v.storage import files

logger = logging.getLogger("emow2v.server")

SOON_S = 2.0  # a worker that dies so soon after its start is not started again at once
LONGEST_PAUSE_S = 60.0
AGAIN_S = 1.0
TERM_S = 2.0  # a signal to the whole group reaches the workers first
GROUP = tuple(-getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # exit codes of those
HURRY_S = 5.0  # for a worker to leave its job to the next start, before it is killed
STUCK_S = 60.0  # a worker that has not noticed for so long that its job was cancelled is deep in a file that never ends


@dataclass(eq=False)
class _Process:
    name: str
    process: BaseProcess
    pipe: Connection
    started: float
    ready: bool = False
    pause: float = 0.0  # before the next one is started, should this one die at once
    due: float | None = None  # when the next one starts, of one that has died
    # At most one wake is on its way to a worker, so that its pipe never fills up, whatever it does.
    woken: bool = False  # until it says that it has read it
    again: bool = False  # somebody asked for it since
    deaf: bool = False  # its end of the pipe is closed
    lock: threading.Lock = field(default_factory=threading.Lock)  # held for moments

    def wake(self) -> None:
        """Tell it that a job waits; returns at once."""
        with self.lock:
            if self.woken:
                self.again = True
            else:
                self.woken = True
                self._send(workers.WAKE)

    def heard(self) -> None:
        """It has read a wake."""
        with self.lock:
            self.woken, self.again = self.again, False
            if self.woken:
                self._send(workers.WAKE)

    def tell(self, word: bytes) -> None:
        with self.lock:
            self._send(word)

    def _send(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it is dead
            self.pipe.send_bytes(word)

    def listen(self) -> None:
        """Take what it has said."""
        try:
            while self.pipe.poll():
                if self.pipe.recv_bytes() == workers.READY:
                    self.ready = True
                else:
                    self.heard()
        except (EOFError, OSError):
            self.deaf = True


class Pool:
    """The workers of a server.

    Args:
        path: of the store
        config: of each worker; its options say how many there are
    """

    def __init__(self, path: Path, config: WorkerConfig) -> None:
        self._path, self._config = path, config
        self._store = Store(path)
        self._context = multiprocessing.get_context("spawn")  # alike on every platform, and no thread is ever forked
        self._processes: list[_Process] = []
        self._lock = threading.Lock()  # of changes of the list; whoever only looks needs none
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="emow2v-pool", daemon=True)
        self.deaths = 0

    def start(self) -> None:
        """Take up what an earlier server left, then start the workers."""
        self._sweep()
        self._processes = [self._started() for _ in range(self._config.options.workers)]
        self._thread.start()

    def wake(self) -> None:
        """A job is waiting. Returns at once, whatever the workers do."""
        for one in self._processes:
            one.wake()

    @property
    def ready(self) -> int:
        """Workers with a warm model."""
        return sum(one.ready for one in self._processes)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return bool(self._processes)

    def close(self) -> None:
        """Close its connections to the store; of one that was never started, say."""
        self._store.close()

    def stop(self, patience_s: float) -> None:
        """Let running jobs finish for so long, then let them wait for the next start; no worker is left."""
        with self._lock:
            self._stopping.set()
        processes = self._processes
        for word, seconds in ((workers.STOP, patience_s), (workers.HURRY, HURRY_S)):
            for one in processes:
                one.tell(word)
            until = time.monotonic() + seconds
            for one in processes:
                one.process.join(max(0.0, until - time.monotonic()))
        for one in processes:
            self._end(one)
        if self._thread.is_alive():
            self._thread.join(5)
        self._sweep()
        self._store.close()
        self._processes = []  # and with them their handles

    @staticmethod
    def _end(one: _Process) -> None:
        if one.process.is_alive():  # deep in a batch that takes long
            one.process.kill()
            one.process.join()
        one.pipe.close()

    def _started(self, pause: float = 0.0) -> _Process:
        here, there = self._context.Pipe()
        name = secrets.token_hex(4)
        process = self._context.Process(
            target=workers.main,
            args=(name, self._path, self._config, there, logger.getEffectiveLevel()),
            name=f"emow2v-worker-{name}",
            daemon=True,
        )
        process.start()
        there.close()
        return _Process(name, process, here, time.monotonic(), pause=pause)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            watched = self._processes
            living = [one for one in watched if one.due is None]
            soon = min((one.due - time.monotonic() for one in watched if one.due is not None), default=1.0)
            sources: Iterable[object] = [one.process.sentinel for one in living] + [
                one.pipe for one in living if not one.deaf
            ]
            if sources:
                wait(sources, timeout=max(0.0, min(1.0, soon)))  # type: ignore[arg-type]
            else:
                self._stopping.wait(max(0.0, min(1.0, soon)))
            for one in watched:
                try:
                    self._look_after(one)
                except (
                    OSError,
                    sqlite3.OperationalError,
                    Emow2vError,
                ) as error:  # a full disk, say: whoever watches must go on
                    logger.error("worker %s cannot be replaced (%s); tried again in %g s", one.name, error, AGAIN_S)
                    self._stopping.wait(AGAIN_S)
                except Exception:  # our own mistake is told, and no reason to leave the other workers alone
                    logger.exception("worker %s cannot be replaced; tried again in %g s", one.name, AGAIN_S)
                    self._stopping.wait(AGAIN_S)

    def _sweep(self) -> None:
        """What workers of a server that is no more have left."""
        for job in self._store.orphans():
            self._take_up(job, "The server was stopped while it ran")
        for job in self._store.held():
            self._leave(job)

    def _look_after(self, one: _Process) -> None:
        if one.due is None:
            one.listen()
            if one.process.is_alive() or self._stopping.is_set():
                if self._store.held(one.name, since_s=STUCK_S) and one.process.is_alive():
                    logger.error("worker %s does not let go of a job that was cancelled; it is killed", one.name)
                    one.process.kill()
                return
            if one.process.exitcode in GROUP and self._stopping.wait(TERM_S):
                return  # the signal was meant for all of us, and this process only noticed it later
            self._bury(one)
        if one.due is not None and time.monotonic() >= one.due:
            fresh = self._started(one.pause)  # takes a moment, in which nobody waits for the list
            with self._lock:
                if not self._stopping.is_set():
                    self._processes = [fresh if other is one else other for other in self._processes]
                    return
            self._end(fresh)

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
            files.finish_publishing([(Path(part), Path(path)) for part, path in job.moves])
            files.remove_unfinished_of(job.worker, self._folders(job))
        except Emow2vError as error:
            self._store.log(job, str(error), "ERROR")
        self._store.requeue(job, why)

    def _leave(self, job: Job) -> None:
        """Remove what is left of a job that was cancelled, whose worker died before it could."""
        files.remove_unfinished_of(job.worker, self._folders(job))
        self._store.let_go(job)

    def _folders(self, job: Job) -> set[Path]:
        """The folders that a job writes to."""
        places = self._config.places
        results = places.results(job.id)  # also the rows of a job that runs
        try:
            return {results} | task_of(job, places).folders()
        except Emow2vError:  # the administrator has chosen other data folders
            return {results} | {Path(path).parent for _, path in job.moves}


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}"
