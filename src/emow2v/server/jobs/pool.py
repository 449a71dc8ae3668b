"""The pool of worker processes: starts, wakes, watches, replaces and stops them."""

from __future__ import annotations

import contextlib
import json
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

from emow2v.engines.kept import has_grown
from emow2v.errors import Emow2vError
from emow2v.server.jobs import worker as workers
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.task import task_of
from emow2v.server.jobs.worker import WorkerConfig
from emow2v.storage import files

logger = logging.getLogger("emow2v.server")

SOON_S = 2.0  # a worker that dies so soon after its start is replaced after a pause
MAX_PAUSE_S = 60.0
RETRY_S = 1.0
TERM_S = 2.0  # a signal to the whole process group may reach the workers first
GROUP = tuple(-getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # exit codes of those
HURRY_S = 5.0  # for a worker to return its job to the queue, before it is killed
STUCK_S = 60.0  # a worker that has not noticed a cancellation for so long is stuck and is killed


@dataclass(eq=False)
class _Process:
    name: str
    process: BaseProcess
    pipe: Connection
    started: float
    ready: bool = False
    models: dict[str, int] = field(default_factory=dict)  # bytes of each that it has in memory
    loads: int = 0  # models that it loaded
    pause: float = 0.0  # seconds before its replacement starts, if it dies at once
    due: float | None = None  # when the replacement of a dead worker starts
    # At most one WAKE is on its way to a worker, so that its pipe cannot fill up.
    woken: bool = False  # until the worker has read it
    again: bool = False  # another WAKE is due after it
    closed: bool = False  # its end of the pipe is closed
    lock: threading.Lock = field(default_factory=threading.Lock)  # held for short times

    def wake(self) -> None:
        """Send WAKE; returns at once."""
        with self.lock:
            if self.woken:
                self.again = True
            else:
                self.woken = True
                self._send(workers.WAKE)

    def woke(self) -> None:
        """The worker has read a WAKE."""
        with self.lock:
            self.woken, self.again = self.again, False
            if self.woken:
                self._send(workers.WAKE)

    def send(self, word: bytes) -> None:
        with self.lock:
            self._send(word)

    def _send(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # the worker is dead
            self.pipe.send_bytes(word)

    def listen(self) -> None:
        """Read the messages of the worker."""
        try:
            while self.pipe.poll():
                word = self.pipe.recv_bytes()
                if word == workers.READY:
                    self.ready = True
                elif word.startswith(workers.MODELS):
                    told = json.loads(word[len(workers.MODELS) :])
                    self.models, self.loads = told["sizes"], told["loads"]
                else:
                    self.woke()
        except (EOFError, OSError):
            self.closed = True


class Pool:
    """The workers of a server.

    Args:
        path: of the store
        config: of each worker; its options say how many there are
    """

    def __init__(self, path: Path, config: WorkerConfig) -> None:
        self._path, self._config = path, config
        self._store = Store(path)
        self._context = multiprocessing.get_context("spawn")  # the same on every platform, and no thread is forked
        self._processes: list[_Process] = []
        self._lock = threading.Lock()  # of changes of the list; reading needs none
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="emow2v-pool", daemon=True)
        self.deaths = self._loads_of_dead = 0

    def start(self) -> None:
        """Recover the jobs of an earlier server, then start the workers."""
        self._recover_all()
        self._processes = [self._start_process() for _ in range(self._config.options.workers)]
        self._thread.start()

    def wake(self) -> None:
        """Tell the workers that a job waits. Returns at once, whatever they do."""
        for one in self._processes:
            one.wake()

    @property
    def ready(self) -> int:
        """Number of workers with a loaded model."""
        return sum(one.ready for one in self._processes)

    @property
    def models(self) -> list[dict[str, int]]:
        """Bytes of each model in memory, of each worker that is ready."""
        return [dict(one.models) for one in self._processes if one.ready]

    @property
    def loads(self) -> int:
        """Number of models that the workers loaded since the start."""
        return self._loads_of_dead + sum(one.loads for one in self._processes)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return bool(self._processes)

    def close(self) -> None:
        """Close the connections to the store, also of a pool that was never started."""
        self._store.close()

    def stop(self, patience_s: float) -> None:
        """Stop all workers; jobs that have not finished after `patience_s` seconds wait for the next start."""
        with self._lock:
            self._stopping.set()
        processes = self._processes
        for word, seconds in ((workers.STOP, patience_s), (workers.HURRY, HURRY_S)):
            for one in processes:
                one.send(word)
            until = time.monotonic() + seconds
            for one in processes:
                one.process.join(max(0.0, until - time.monotonic()))
        for one in processes:
            self._end(one)
        if self._thread.is_alive():
            self._thread.join(5)
        self._recover_all()
        self._store.close()
        self._processes = []  # closes their handles

    @staticmethod
    def _end(one: _Process) -> None:
        if one.process.is_alive():  # in a batch that takes long
            one.process.kill()
            one.process.join()
        one.pipe.close()

    def _start_process(self, pause: float = 0.0) -> _Process:
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
                one.pipe for one in living if not one.closed
            ]
            if sources:
                with contextlib.suppress(OSError):  # `stop` has closed a pipe meanwhile
                    wait(sources, timeout=max(0.0, min(1.0, soon)))  # type: ignore[arg-type]
            else:
                self._stopping.wait(max(0.0, min(1.0, soon)))
            for one in watched:
                try:
                    self._check_process(one)
                except (
                    OSError,
                    sqlite3.OperationalError,
                    Emow2vError,
                ) as error:  # such as a full disk; watching goes on
                    logger.error("worker %s cannot be replaced (%s); tried again in %g s", one.name, error, RETRY_S)
                    self._stopping.wait(RETRY_S)
                except Exception:  # a fault of emow2v; the other workers are still watched
                    logger.exception("worker %s cannot be replaced; tried again in %g s", one.name, RETRY_S)
                    self._stopping.wait(RETRY_S)

    def _recover_all(self) -> None:
        """Recover the jobs that the workers of an earlier server left."""
        for job in self._store.abandoned():
            self._recover(job, "The server was stopped while it ran")
        for job in self._store.unreleased():
            self._clean_up(job)

    def _check_process(self, one: _Process) -> None:
        if one.due is None:
            one.listen()
            if one.process.is_alive() or self._stopping.is_set():
                if self._store.unreleased(one.name, since_s=STUCK_S) and one.process.is_alive():
                    logger.error("worker %s does not stop a job that was cancelled; it is killed", one.name)
                    one.process.kill()
                return
            if one.process.exitcode in GROUP and self._stopping.wait(TERM_S):
                return  # the signal was sent to the whole group, and reaches this process later
            self._replace_dead(one)
        if one.due is not None and time.monotonic() >= one.due:
            fresh = self._start_process(one.pause)  # takes a while, without the lock of the list
            with self._lock:
                if not self._stopping.is_set():
                    self._processes = [fresh if other is one else other for other in self._processes]
                    return
            self._end(fresh)

    def _replace_dead(self, dead: _Process) -> None:
        """Return the job of a dead worker to the queue, and schedule its replacement."""
        dead.process.join()
        how = _exit_words(dead.process.exitcode)
        for job in self._store.abandoned(dead.name):
            self._recover(job, f"The worker died ({how})")
        for job in self._store.unreleased(dead.name):
            self._clean_up(job)
        dead.pipe.close()
        was_ready, dead.ready = dead.ready, False
        self.deaths += 1
        self._loads_of_dead += dead.loads
        dead.models, dead.loads = {}, 0
        logger.error("worker %s died (%s)", dead.name, how)
        at_once = not was_ready or time.monotonic() - dead.started < SOON_S
        dead.pause = min(MAX_PAUSE_S, max(1.0, 2 * dead.pause)) if at_once else 0.0
        if dead.pause:
            logger.error("the next worker starts in %g s", dead.pause)
        dead.due = time.monotonic() + dead.pause
        self.wake()  # another worker may take the job

    def _recover(self, job: Job, why: str) -> None:
        """Publish the complete files of an interrupted job, remove unfinished ones, return it to the queue."""
        try:
            files.finish_publishing([(Path(part), Path(path)) for part, path in job.moves])
            files.remove_unfinished_of(job.worker, self._folders(job))
        except Emow2vError as error:
            self._store.log(job, str(error), "ERROR")
        done = job.files is not None and job.files.done + job.files.failed > job.files.before
        self._store.requeue(job, why, got_further=done or has_grown(self._config.places.computed(job.number)))

    def _clean_up(self, job: Job) -> None:
        """Remove the unfinished files of a cancelled job whose worker died."""
        files.remove_unfinished_of(job.worker, self._folders(job))
        self._store.release(job)

    def _folders(self, job: Job) -> set[Path]:
        """The folders that a job writes to."""
        places = self._config.places.of(job.owner)
        results = places.results(job.id)  # also the rows of a job that runs
        try:
            return {results} | task_of(job, places).folders()
        except Emow2vError:  # the administrator has chosen other data folders
            return {results} | {Path(path).parent for _, path in job.moves}


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}"
