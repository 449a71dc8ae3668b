"""The history of a server: finished jobs, their results and uploads, limited in age and number, and erased on request."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emow2v.discover.database import passwords
from emow2v.discover.places import Places, original
from emow2v.formats.table_read import read_kept
from emow2v.server.jobs import uploads
from emow2v.server.jobs.store import Busy, Job, Status, Store
from emow2v.server.jobs.store.limits import sizes
from emow2v.server.jobs.task import name_of, task_of
from emow2v.server.options import ServerOptions
from emow2v.server.rounds import repeat

logger = logging.getLogger("emow2v.server")

EVERY_S = 60.0
PATIENCE_S = 10.0  # for files that are being published
LOOK_S = 0.02


def clear(store: Store, places: Places, keep_days: float) -> None:
    """Remove files that a server that was killed was about to send or to erase; no client waits for them any more.

    Jobs of an earlier version get the names that lists are searched by.

    Results of no known job stay for `keep_days`, because the store may be new or may have been moved away.
    """
    store.add_names(lambda job: name_of(job.kind, job.id, job.form, places.of(job.owner)))
    _remove_computed(store, places)
    coming = [path for owner in places.owners for path in places.of(owner).uploads.glob(".*.part")]
    for part in (*coming, *places.fetched.glob("*/.*.part")):
        part.unlink(missing_ok=True)
    known = {places.of(job.owner).results(job.id) for job in store.all()}
    oldest = time.time() - keep_days * 86400
    unknown = 0
    for path in [path for owner in places.owners for path in places.of(owner).results("").parent.glob("*")]:
        if path.suffix == ".zip":
            path.unlink(missing_ok=True)
        elif path.suffix or (path not in known and path.stat().st_mtime < oldest):
            shutil.rmtree(path, ignore_errors=True)
        else:
            unknown += path not in known
    if unknown:
        logger.warning(
            "%d results belong to no job in the store; they stay until they are %g days old",
            unknown,
            keep_days,
        )


def _remove_computed(store: Store, places: Places) -> None:
    """Remove what was computed of jobs that do not go on, such as those that were cancelled while they waited again."""
    found = list(places.computed(0).parent.glob("*"))  # before the jobs are read: a job may begin now
    if found:
        going_on = {str(job.number) for status in (Status.WAITING, Status.RUNNING) for job in store.all(status=status)}
        for path in found:
            if path.name not in going_on:
                with contextlib.suppress(OSError):  # on Windows, while its worker still holds it; next time, then
                    path.unlink()


@dataclass
class Removed:
    """What was removed with a job: proof without content.

    Attributes:
        files, size: number and bytes of its files, which are gone
        shared: number of uploads that stay, because other jobs of the owner name them
    """

    files: int = 0
    size: int = 0
    shared: int = 0

    def add(self, sizes: Iterable[int]) -> None:
        """Count files."""
        for size in sizes:
            self.files, self.size = self.files + 1, self.size + size


def erase(store: Store, places: Places, job_id: str, owner: str = "", removed: Removed | None = None) -> Job | None:
    """Erase a job, its log, results and uploads; a job that runs is cancelled first. Files below the data folders stay.

    The job itself goes last: if something cannot be removed, it still names what is left.

    Args:
        removed: gets the numbers of what was removed

    Returns:
        the last state of the job; None where no such job exists

    Raises:
        Busy: its files are being published, or are open, for longer than `PATIENCE_S`
    """
    count = Removed() if removed is None else removed
    deadline = time.monotonic() + PATIENCE_S
    first = store.get(job_id, owner, brief=True)

    def remove(job: Job) -> None:
        for upload in task_of(job, places).uploads():
            if store.mentions(original(upload).name, owner, but=job):
                count.shared += 1
            else:
                count.add(uploads.remove(upload))
        passwords.forget(places.passwords, job.form)
        results = places.of(owner).results(job.id)
        found = list(sizes(results))
        while results.exists():
            with contextlib.suppress(FileNotFoundError):  # a client fetches the last of it, say, and removes it
                shutil.rmtree(results)
        count.add(found)
        places.computed(job.number).unlink(missing_ok=True)
        read_kept.cache_clear()

    while first and (job := store.get(job_id, owner, brief=True)) is not None and job.number == first.number:
        if job.status.ended:
            try:
                if (erased := store.erase(job, remove)) is not None:
                    return erased
            except PermissionError:  # on Windows, while a file is open
                pass
        elif store.cancel(job_id, owner):
            continue
        if time.monotonic() > deadline:
            raise Busy("The job's files are in use; erase it again in a moment.")
        time.sleep(LOOK_S)
    return None


def forget(
    store: Store, places: Places, options: ServerOptions, tell: Callable[[Sequence[Job]], None] = lambda jobs: None
) -> None:
    """Remove finished jobs beyond the limits of age and number, with their results and uploads.

    Args:
        tell: called with the removed jobs, where there are some
    """
    _remove_computed(store, places)
    moved: list[tuple[Path, Path]] = []

    def set_aside(jobs: list[Job]) -> None:
        """Rename the results: a job that takes one of the ids at once has results of its own."""
        for job in jobs:
            folder = places.of(job.owner).results(job.id)
            with contextlib.suppress(OSError):
                moved.append((folder.rename(folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")), folder))

    try:
        forgotten = store.forget(most=options.keep_jobs, days=options.keep_days, before=set_aside)
    except BaseException:  # a full disk, say
        for now, before in moved:
            now.rename(before)
        raise
    for folder, _ in moved:
        shutil.rmtree(folder, ignore_errors=True)
        read_kept.cache_clear()
    for job in forgotten:
        for upload in task_of(job, places).owned:
            if not store.mentions(original(upload).name, job.owner):  # several jobs may use a resumable upload
                uploads.remove(upload)
    if forgotten:
        tell(forgotten)
    unfinished = [job.form for status in (Status.WAITING, Status.RUNNING) for job in store.all(status=status)]
    passwords.sweep(places.passwords, unfinished)
    oldest = time.time() - options.keep_days * 86400
    for own in map(places.of, places.owners):
        for upload in own.uploads.glob("*"):
            with contextlib.suppress(OSError):
                if upload.stat().st_mtime < oldest and not store.mentions(original(upload).name, own.owner):
                    upload.unlink()


async def keep_bounded(
    store: Store, places: Places, options: ServerOptions, tell: Callable[[Sequence[Job]], None]
) -> None:
    """Call `forget` every minute, while the server runs."""
    await repeat(lambda: forget(store, places, options, tell), EVERY_S, "old jobs could not be forgotten")
