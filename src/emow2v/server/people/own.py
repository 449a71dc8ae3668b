"""The jobs and places of the person whose request is answered: the way of all routes to the store."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from emow2v.discover.places import Places
from emow2v.errors import Emow2vError
from emow2v.server.jobs.store import Filter, Job, Kind, Limits, RequestKey, Store
from emow2v.server.jobs.task import name_of
from emow2v.server.options import ServerOptions
from emow2v.server.people.person import caller, present_call

_SEPARATOR = ":"  # no jobID holds it


class NotYours(Emow2vError):
    """Only an administrator may ask for it."""


class OwnJobs:
    """The jobs that the caller may see; those of others are unknown, whatever is asked.

    An administrator sees the jobs of all; those of others have the owner before their id, as in "anna:talk1". Without a
    name, such an id means the job of the administrator, or else of the only owner who has one of that id.

    Args:
        store: of all jobs
        places: of the server
        options: of the server, for the limits of each name
        posted: called with each job that was queued, before anybody is told
    """

    def __init__(
        self, store: Store, places: Places, options: ServerOptions, posted: Callable[[Job], None] = lambda job: None
    ) -> None:
        self._store, self._places, self._posted = store, places, posted
        self._limits = Limits(
            options.max_waiting_each, options.max_hours_each * 3600, round(options.max_kept_each_mb * 1e6)
        )
        self._max_waiting, self._context = options.max_waiting, options.context
        self._lock = threading.Lock()
        self._coming: Counter[str] = Counter()  # bytes that are being stored, by name

    @property
    def places(self) -> Places:
        """The caller's places."""
        return self._places.of(caller().name)

    def get(self, job_id: str, *, brief: bool = False) -> Job | None:
        """A job; None where it is unknown, or somebody else's. With `brief`, its form has only the beginning of each field."""
        owner, own_id = self._named(job_id)
        job = self._store.get(own_id, owner, brief=brief)
        if job is not None:
            present_call().jobs.append((job.owner, job.id))
        return job

    def now(self, job: Job) -> Job | None:
        """The present state of a job that the caller was given; None where it is gone. Its form is brief."""
        return self._store.get(job.id, job.owner, brief=True)

    def all(self) -> list[Job]:
        """The jobs, in the order of posting."""
        return self.listed(Filter(), newest_first=False)

    def listed(self, which: Filter, most: int = -1, *, newest_first: bool = True) -> list[Job]:
        """The jobs that meet conditions, as `Store.listed` gives them.

        Raises:
            NotYours: the conditions name another owner, and the caller is no administrator
        """
        person = caller()
        if not person.is_administrator:
            if which.owner not in (None, person.name):
                raise NotYours("Only an administrator may list the jobs of others; leave owner out.")
            which = replace(which, owner=person.name)
        return self._store.listed(which, most=most, newest_first=newest_first)

    def posted_with(self, key: RequestKey) -> Job | None:
        """The job that a request of the caller with a key has queued; None where there is none.

        Raises:
            KeyTaken: another request of the caller had the key
        """
        job = self._store.posted_with(key, caller().name)
        if job is not None:
            present_call().jobs.append((job.owner, job.id))
        return job

    def shown_id(self, job: Job) -> str:
        """The id by which the caller asks for a job."""
        return job.id if job.owner == caller().name else f"{job.owner}{_SEPARATOR}{job.id}"

    def submit(
        self,
        job_id: str,
        form: Mapping[str, str],
        kind: Kind,
        seconds: float,
        key: RequestKey | None = None,
        files: int = 0,
    ) -> Job:
        """Queue a job of the caller; see `Store.submit`.

        Args:
            seconds: of its sound
            key: of the request; if it has queued a job before, that one is given, which has another id than `job_id`
            files: number of recordings of a job that has many

        Raises:
            Busy: the queue is full, or the caller has reached a limit
            KeyTaken: another request of the caller had the key
            RequestError: a job of the caller with that id waits or runs
        """
        call, person = present_call(), caller()
        job = self._store.submit(
            job_id,
            form,
            kind=kind,
            client=call.client,
            context=self._context,
            max_waiting=self._max_waiting,
            owner=person.name,
            seconds=seconds,
            limits=self._own_limits,
            name=name_of(kind, job_id, form, self.places),
            key=key,
            files=files,
        )
        call.jobs.append((job.owner, job.id))
        if job.id == job_id:
            self._posted(job)
        return job

    @property
    def counts_sound(self) -> bool:
        """Whether the caller may send so much sound on a day only."""
        limits = self._own_limits
        return limits is not None and limits.seconds > 0

    def check_room(self, more: int = 0) -> None:
        """Refuse bytes that the caller may not keep any more.

        Args:
            more: bytes that come

        Raises:
            OverLimit: one sentence on the limit
        """
        with self.room(more):
            pass

    @contextlib.contextmanager
    def room(self, more: int) -> Iterator[Callable[[int], None]]:
        """Hold room for bytes that are stored in the with block: requests at the same time may not use it, too.

        Gives what is called with the number of bytes that lie in the folder by now, where they come slowly: they count there.

        Args:
            more: bytes that come

        Raises:
            OverLimit: the caller may not keep so many; one sentence on the limit
        """
        if (limits := self._own_limits) is None:
            yield lambda size: None
            return
        name, left = caller().name, more

        def stored(size: int) -> None:
            nonlocal left
            with self._lock:
                left -= size
                self._coming[name] -= size

        with self._lock:
            limits.check_kept(self.places.own_dir, more, self._coming[name])
            self._coming[name] += more
        try:
            yield stored
        finally:
            with self._lock:
                self._coming[name] -= left
                if not self._coming[name]:
                    del self._coming[name]

    def add_sound(self, seconds: float) -> None:
        """Count sound of a live stream of the caller.

        Raises:
            OverLimit: the caller may send no more today
        """
        if (limits := self._own_limits) is not None:
            self._store.add_sound(caller().name, seconds, limits)

    @property
    def _own_limits(self) -> Limits | None:
        person = caller()
        return self._limits if person.name and not person.is_administrator else None

    def _named(self, job_id: str) -> tuple[str, str]:
        """The owner and the id that a text means."""
        person = caller()
        if not person.is_administrator:
            return person.name, job_id
        if _SEPARATOR in job_id:
            owner, _, own_id = job_id.partition(_SEPARATOR)
            return owner, own_id
        owners = self._store.owners(job_id)
        is_clear = len(owners) == 1 and person.name not in owners
        return owners[0] if is_clear else person.name, job_id
