"""A worker: a process that keeps models in memory and runs the jobs of a store, one after the other.

The parent sends messages through a pipe. When the pipe closes, the parent has died and the worker ends, too, so that a
new server never meets a worker of an earlier one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from emow2v import cards
from emow2v._version import __version__
from emow2v.discover.database import passwords
from emow2v.discover.places import Places
from emow2v.engines.kept import KeptOutputs, keeping
from emow2v.errors import Cancelled, Emow2vError
from emow2v.model import Model, load
from emow2v.server import logs
from emow2v.server.jobs.observer import GaveWay, Stopped, StoreObserver
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.task import Task, task_of
from emow2v.server.models.held import HeldModels, Limits
from emow2v.server.options import ServerOptions
from emow2v.storage import counted

logger = logging.getLogger("emow2v.server")

PARENT_S = 10.0  # after SIGTERM to the whole process group, the parent sends STOP within that time
ASIDE_S = 0.03  # in which a worker that has the model of the next job in memory can take it first
WAKE, STOP, HURRY, READY, WOKEN = b"wake", b"stop", b"hurry", b"ready", b"woken"
MODELS = b"models "  # and JSON: bytes of each model in memory, and how many were loaded


SOFTWARE = f"emow2v {__version__}"


class Models(Protocol):
    """Folders that requests may read and write, and models by the names that requests know."""

    @property
    def places(self) -> Places: ...
    @property
    def max_duration_s(self) -> float:
        """Longest recording in seconds; 0 for no limit."""
        ...

    @property
    def card(self) -> cards.Card:
        """The card of the model that is used where a request names none."""
        ...

    @property
    def load(self) -> Callable[[str], Model]: ...
    @property
    def limits(self) -> Limits:
        """When models are unloaded."""
        ...

    @property
    def warm(self) -> tuple[str, ...]:
        """Names of the models that stay in memory, the server's own first."""
        ...

    @property
    def workers(self) -> int:
        """Number of workers of the store."""
        ...


@dataclass(frozen=True)
class WorkerConfig:
    """The configuration of the workers of a server; picklable.

    Attributes:
        options: of the server; its threads are those of one worker
        places: folders that requests may read and write
    """

    options: ServerOptions
    places: Places

    @property
    def max_duration_s(self) -> float:
        """Longest recording in seconds; 0 for no limit."""
        return self.options.max_duration_s

    @property
    def card(self) -> cards.Card:
        """The card of the model that is used where a request names none."""
        return cards.find(self.options.model)

    @property
    def limits(self) -> Limits:
        """When models are unloaded."""
        options = self.options
        return Limits(options.max_models, round(options.max_models_memory_mb * 1e6), options.model_idle_min * 60)

    @property
    def warm(self) -> tuple[str, ...]:
        """Names of the models that stay in memory, the server's own first."""
        own = self.card.name
        return (own, *(name for name in self.options.warm_models if name != own))

    @property
    def workers(self) -> int:
        """Number of workers of the store."""
        return self.options.workers

    def load(self, name: str) -> Model:
        """Load a model by the name that requests know."""
        options = self.options
        return load(
            options.model if name == self.card.name else name,
            engine=options.engine,
            precision=options.precision,
            threads=options.threads,
            device=options.device,
        )


class Worker:
    """The work of the process.

    Args:
        tell: sends a message to the parent
    """

    def __init__(
        self, name: str, path: Path, config: Models, tell: Callable[[bytes], None] = lambda word: None
    ) -> None:
        self.name = name
        self._store = Store(path)
        self._config = config
        self._tell = tell
        self.models = HeldModels(config.load, config.limits, config.warm, self._tell_models)
        self._awake = threading.Event()
        self._stopping = False
        self._hurried = False

    def listen(self, parent: Connection) -> None:
        """Receive the parent's messages; end the process when the parent is gone."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                word = parent.recv_bytes()
                self.receive(word)
                if word == WAKE:
                    self._tell(WOKEN)
        os._exit(1)

    def terminated(self) -> None:
        """On SIGTERM or SIGHUP: wait for STOP from the parent; without it the signal was for this process alone."""
        time.sleep(PARENT_S)
        if not self._stopping:
            os._exit(128 + signal.SIGTERM)

    def receive(self, word: bytes) -> None:
        """Act on a message of the parent."""
        if word in (STOP, HURRY):
            self._stopping = True
        if word == HURRY:
            self._hurried = True
        self._awake.set()

    def warm_up(self) -> None:
        """Load the models that stay in memory, and compute a window with each."""
        for name in self._config.warm:
            with self.models.using(name):
                pass

    def _tell_models(self) -> None:
        self._tell(MODELS + json.dumps({"sizes": dict(self.models.sizes), "loads": self.models.loads}).encode())

    def work(self) -> None:
        """Run jobs until STOP."""
        while not self._stopping:
            self._awake.clear()
            self._step_aside()
            job = self._store.claim(self.name)
            if job is not None:
                self._run(job)
            elif not self._stopping:
                self._awake.wait(timeout=5)  # a WAKE may be lost
                self.models.unload_idle()

    def _step_aside(self) -> None:
        """Where the model of the next job is not in memory here, let a worker be first that has it. The order of jobs is the
        same: the next job is still the next one for all of them."""
        if self._config.workers == 1:
            return
        job = self._store.next_waiting()
        if job is None:
            return
        with contextlib.suppress(Emow2vError), contextlib.closing(task_of(job, self._config.places)) as task:
            if task.card(self._config.card).name not in self.models.sizes:
                time.sleep(ASIDE_S)

    def _run(self, job: Job) -> None:
        context = {"job": job.id, "client": job.client}
        logger.info("job %s: running", job.id, extra=context)
        try:
            self._carry_out(job)
        except Cancelled:
            logger.info("job %s: cancelled", job.id, extra=context)
        except GaveWay:
            self._store.give_way(job)
            logger.info("job %s: gives way to others", job.id, extra=context)
        except Stopped:
            self._store.postpone(job)
            logger.info("job %s: waits for the next start", job.id, extra=context)
        except sqlite3.Error:
            raise  # the outcome cannot be stored: the pool recovers the job later
        except Emow2vError as error:
            self._store.end(job, str(error))
            logger.info("job %s: %s", job.id, error, extra=context)
        except OSError as error:  # such as a network drive that is gone
            self._store.end(job, f"The operating system refused it ({error.strerror or error}); try it again.")
            logger.error("job %s: %s", job.id, error, extra=context, exc_info=error)
        except Exception as error:  # a fault of emow2v: its traceback is logged, and the next job runs
            logger.exception("job %s failed", job.id, extra=context)
            self._store.end(job, f"{type(error).__name__}: {error}")
        else:
            logger.info("job %s: finished", job.id, extra=context)
        now = self._store.get(job.id, job.owner, brief=True)
        if now is None or now.number != job.number or now.status.ended:
            passwords.forget(self._config.places.passwords, job.form)
        self._store.release(job)

    def _carry_out(self, job: Job) -> None:
        with contextlib.closing(task_of(job, self._config.places)) as task:
            self._run_task(job, task)

    def _run_task(self, job: Job, task: Task) -> None:
        card = self._config.card
        task.check(card, self._config.max_duration_s)
        with self.models.using(task.card(card).name) as model:
            self._compute(job, task, model)

    def _compute(self, job: Job, task: Task, model: Model) -> None:
        store, config = self._store, self._config
        store.set_provenance(job, model.provenance(task.framing, task.context))
        store.log(job, f"model {model.name} {model.card.version} on {model.engine.name}, {model.engine.precision}")
        observer = StoreObserver(store, job, config.places.of(job.owner).results(job.id), lambda: self._hurried)
        kept = self._kept_outputs(job, model)
        if job.kind == "batch":
            kept.check = observer.on_step  # other threads compute ahead
        if kept.software not in ("", SOFTWARE):
            observer.notice([f"The values before the restart were computed by {kept.software}."])
        if len(kept):
            store.log(job, f"goes on: {counted(len(kept), 'batch', 'batches')} of values are there")
        engine = keeping(model.engine, model.card, kept, embeddings=task.embeddings)
        try:
            rows = task.run(Model(model.card, engine), observer, config.max_duration_s)
            ended = store.end(job, rows=rows, seconds=observer.sound_s)
        except (Stopped, sqlite3.Error):
            kept.close()
            raise
        except BaseException:
            kept.remove()
            raise
        kept.remove()
        if not ended:
            raise Cancelled

    def _kept_outputs(self, job: Job, model: Model) -> KeptOutputs:
        """What was computed of a job before the server stopped."""
        engine = model.engine
        facts = {
            "weights": model.card.sha256,
            "version": model.card.version,
            "engine": engine.name,
            "precision": engine.precision,
            "parallel_batches": engine.parallel_batches,
            "machine": platform.machine(),
        }
        return KeptOutputs(self._config.places.computed(job.number), facts, SOFTWARE)


def main(name: str, path: Path, config: WorkerConfig, parent: Connection, level: int) -> None:
    """Entry point of the process.

    Args:
        name: of the worker
        path: of the store
        level: of the log
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the parent decides
    logs.set_up(config.options.log_format, level)
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(5)  # answers and live streams have priority
    try:
        telling = threading.Lock()

        def tell(word: bytes) -> None:  # from two threads
            with telling:
                parent.send_bytes(word)

        worker = Worker(name, path, config, tell)

        def terminated(number: int, frame: object) -> None:  # in a thread, since the interrupted code may hold locks
            threading.Thread(target=worker.terminated, name="emow2v-terminated", daemon=True).start()

        signal.signal(signal.SIGTERM, terminated)
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
            signal.signal(signal.SIGHUP, terminated)  # the terminal was closed; the parent gets the signal, too
        threading.Thread(target=worker.listen, args=(parent,), name="emow2v-parent", daemon=True).start()
        worker.warm_up()
        tell(READY)
        worker.work()
    except Exception as error:  # logged with its traceback; the pool starts another worker
        logger.exception("worker %s gives up: %s", name, error)
        raise SystemExit(1) from None
