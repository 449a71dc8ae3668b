"""The state of a running server, which its routes share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from emow2v.cards import Card
from emow2v.discover.places import Places
from emow2v.server.jobs.store import Job, Store
from emow2v.server.options import ServerOptions
from emow2v.server.people.audit import FILE, Audit
from emow2v.server.people.gate import Gate
from emow2v.server.people.own import OwnJobs
from emow2v.server.people.person import caller, present_call
from emow2v.server.people.tokens import Tokens
from emow2v.server.uploads.files import UploadFiles
from emow2v.server.uploads.writers import Writers
from emow2v.server.work_folder.disk import Disk

CHECKED_AT_ONCE = 8  # requests; recordings on a slow network drive leave threads for all other routes


class Workers(Protocol):
    """The processes that run the jobs of the store."""

    def start(self) -> None: ...
    def wake(self) -> None: ...
    def stop(self, patience_s: float) -> None: ...
    @property
    def ready(self) -> int:
        """Number of workers with a loaded model."""
        ...

    @property
    def models(self) -> list[dict[str, int]]:
        """Bytes of each model in memory, of each worker that is ready."""
        ...

    @property
    def loads(self) -> int:
        """Number of models that the workers loaded since the start."""
        ...

    @property
    def deaths(self) -> int:
        """Number of workers that died since the start."""
        ...


@dataclass(frozen=True, eq=False)
class ServerState:
    """What the routes of a server share.

    Attributes:
        options: as the administrator chose them
        card: of the model that is used where a request names none
        places: folders that requests may read and write
        store: of the jobs
        workers: run the jobs
        checking: held by each request whose recordings are checked
        stopping: set when the server stops, so that no client is left waiting
        writers: requests that send parts of resumable uploads
    """

    options: ServerOptions
    card: Card
    places: Places
    store: Store
    workers: Workers
    checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKED_AT_ONCE))
    stopping: threading.Event = field(default_factory=threading.Event)
    writers: Writers = field(default_factory=Writers)

    @cached_property
    def audit(self) -> Audit:
        """The audit log."""
        return Audit(self.places.work_dir / FILE)

    @cached_property
    def gate(self) -> Gate:
        """Knows whom a token stands for."""
        return Gate(self.options.token, Tokens(self.places.work_dir), self.audit)

    @cached_property
    def disk(self) -> Disk:
        """Watches the work folder."""
        return Disk(self.store, self.places, self.options, lambda job, what: self._audit_removed("room", [job], what))

    @cached_property
    def resumable(self) -> UploadFiles:
        """Resumable uploads."""
        return UploadFiles(self.store, self.options.keep_days, self.writers.has)

    @cached_property
    def jobs(self) -> OwnJobs:
        """The jobs of the person whose request is answered."""

        def posted(job: Job) -> None:
            if self.gate.required:
                self.audit.done(caller(), present_call().client, "post", jobs=[(job.owner, job.id)])

        return OwnJobs(self.store, self.places, self.options, posted)

    def audit_aged(self, jobs: Sequence[Job]) -> None:
        """Write down that jobs were erased because of their age or number."""
        self._audit_removed("age", jobs)

    def _audit_removed(self, why: str, jobs: Sequence[Job], what: str = "") -> None:
        if self.gate.required:
            self.audit.removed(why, [(job.owner, job.id) for job in jobs], what)

    def audit_read(self, job: Job) -> None:
        """Write down that the caller reads the result of a job, where the address of the request does not tell."""
        if self.gate.required:
            self.audit.done(caller(), present_call().client, "read", "result", jobs=[(job.owner, job.id)])
