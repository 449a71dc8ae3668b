"""Jobs in order: a queue, one worker that keeps the model warm, and what clients may ask about them."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from emow2v.discover.job import Plan, run
from emow2v.discover.module import MODULE
from emow2v.errors import Cancelled, Emow2vError, RequestError
from emow2v.model import Model

logger = logging.getLogger("emow2v.server")

MAX_KEPT = 1000  # ended jobs that are remembered
MAX_WARM = 2  # models kept in memory; a request may name another than the one that is served


class Status(IntEnum):
    """DISCOVER's numbers."""

    WAITING = 0
    RUNNING = 1
    FINISHED = 2
    ERROR = 3
    CANCELED = 4

    @property
    def ended(self) -> bool:
        return self >= Status.FINISHED


@dataclass
class Job:
    """A plan and what became of it. Changed under the lock of its `Jobs` only."""

    plan: Plan
    status: Status = Status.WAITING
    progress: str = "-"
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    was_cancelled: bool = False
    publishing: bool = False
    lines: list[str] = field(default_factory=list)

    def log(self, text: str, level: str = "INFO") -> None:
        self.lines.append(f"{_now():%Y-%m-%d %H:%M:%S} {level} {text}")

    def describe(self) -> dict[str, str | bool]:
        """The job object of /job_status_all."""
        return {
            "details": repr(dict(self.plan.details)),
            "end_time": _stamp(self.ended),
            "error": self.error,
            "interactive_url": "",
            "job_key": self.plan.job_id,
            "job_type": "du-process",
            "log_path": f"/log/{self.plan.job_id}",
            "module_name": MODULE.name,
            "progress": self.progress,
            "start_time": _stamp(self.started),
            "status": self.status.name,
            "was_canceled": self.was_cancelled,
        }


class Jobs:
    """Runs plans one after the other in a thread of its own; thread-safe."""

    def __init__(self, load: Callable[[str], Model]) -> None:
        self._load = load
        self._warm: dict[str, Model] = {}
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="emow2v-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Cancel what is left and wait for the worker."""
        with self._lock:
            for job in self._jobs.values():
                self._cancel(job)
        self._waiting.put(None)
        self._thread.join()

    def submit(self, plan: Plan) -> Job:
        """Queue a plan; the id of a job that has ended may be used again.

        Raises:
            RequestError: a job of that id is waiting or running
        """
        job = Job(plan)
        job.log(repr(dict(plan.details)))
        with self._lock:
            old = self._jobs.pop(plan.job_id, None)
            if old is not None and not old.status.ended:
                self._jobs[plan.job_id] = old
                raise RequestError(
                    f"A job '{plan.job_id}' is {old.status.name.lower()}; wait, cancel it, or use another id."
                )
            self._jobs[plan.job_id] = job
            ended = [key for key, one in self._jobs.items() if one.status.ended]
            for key in ended[: max(0, len(ended) - MAX_KEPT)]:
                del self._jobs[key]
        self._waiting.put(job)
        return job

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        with self._lock:
            return list(self._jobs.values())

    def cancel(self, job: Job) -> bool:
        """Stop a job: its status changes at once, no output appears. False where it had ended otherwise before."""
        with self._lock:
            return self._cancel(job)

    def _cancel(self, job: Job) -> bool:
        if job.status is Status.CANCELED:
            return True
        if job.status.ended or job.publishing:  # its files are appearing: too late, it will have finished
            return False
        job.was_cancelled = True
        self._end(job, Status.CANCELED)
        job.log("cancelled; nothing was written")
        return True

    def _end(self, job: Job, status: Status) -> None:
        job.status, job.ended = status, _now()
        logger.info("job %s: %s", job.plan.job_id, status.name)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            with self._lock:
                if job.status is not Status.WAITING:
                    continue
                job.status, job.started = Status.RUNNING, _now()
            try:
                self._run(job, self._model(job.plan.model))
            except Cancelled:
                continue
            except Exception as error:
                if not isinstance(error, Emow2vError):
                    logger.exception("job %s failed", job.plan.job_id)
                with self._lock:
                    if not job.status.ended:
                        job.error = str(error) if isinstance(error, Emow2vError) else f"{type(error).__name__}: {error}"
                        job.log(job.error, "ERROR")
                        self._end(job, Status.ERROR)

    def _model(self, name: str) -> Model:
        """A model by name, loaded when it is first asked for; the ones used last stay."""
        model = self._warm.pop(name, None)
        if model is None or not model.card.unchanged():
            while len(self._warm) >= MAX_WARM:
                del self._warm[next(iter(self._warm))]
            model = self._load(name)
        self._warm[name] = model
        return model

    def _run(self, job: Job, model: Model) -> None:
        def stop_if_cancelled() -> None:
            if job.status is Status.CANCELED:
                raise Cancelled

        def progress(rows: int, expected: int | None) -> None:
            job.progress = f"{rows}/{max(rows, expected)}" if expected else str(rows)

        def before_publish() -> None:
            with self._lock:
                stop_if_cancelled()
                job.publishing = True

        def log(line: str) -> None:
            with self._lock:
                job.publishing = False  # between two sessions a job can be cancelled again
                job.log(line)

        job.log(f"model {model.name} {model.card.version} on {model.engine.name}, {model.engine.precision}")
        run(job.plan, model, log=log, progress=progress, before_publish=before_publish, check=stop_if_cancelled)
        with self._lock:
            stop_if_cancelled()
            job.log("finished")
            self._end(job, Status.FINISHED)


def _now() -> datetime:
    return datetime.now(UTC)


def _stamp(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else ""
