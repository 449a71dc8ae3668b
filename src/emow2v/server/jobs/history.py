"""What a server remembers, bounded by age and number, and erased when somebody asks: ended jobs, their results, uploads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import sqlite3
import time
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from emow2v.server.jobs.store import Busy, Job, Store
from emow2v.server.jobs.task import task_of
from emow2v.server.options import Settings

logger = logging.getLogger("emow2v.server")

EVERY_S = 60.0
PATIENCE_S = 10.0  # for files that are appearing
LOOK_S = 0.02


def clear(settings: Settings, store: Store) -> None:
    """Remove what a server that was killed was about to send, or to erase: nobody waits for it any more.

    Results that no job of the store has made stay until they are as old as is kept: the store may be new, or moved away.
    """
    places = settings.places
    known = {places.results(job.id).name for job in store.all()}
    oldest = time.time() - settings.days_kept * 86400
    unknown = 0
    for path in places.results("").parent.glob("*"):
        if path.suffix == ".zip":
            path.unlink(missing_ok=True)
        elif path.suffix or (path.name not in known and path.stat().st_mtime < oldest):
            shutil.rmtree(path, ignore_errors=True)
        else:
            unknown += path.name not in known
    if unknown:
        logger.warning(
            "%d results belong to no job in the store; they stay until they are %g days old",
            unknown,
            settings.days_kept,
        )


def erase(settings: Settings, store: Store, job_id: str) -> Job | None:
    """Leave nothing of a job on this machine but what it wrote below the data folders; one that goes on is cancelled first.

    Returns:
        the job as it last stood; None where there was none

    Raises:
        Busy: its files are appearing, or are held open, and still are after a while
    """
    deadline = time.monotonic() + PATIENCE_S
    first = store.get(job_id, brief=True)

    def remove(job: Job) -> None:
        # the files first: should the server die between the two, the job still shows what is to be erased
        for upload in task_of(job, settings.places).uploads():
            if not store.mentioned(upload.name, but=job):
                upload.unlink(missing_ok=True)
        shutil.rmtree(settings.places.results(job.id), ignore_errors=True)

    while first and (job := store.get(job_id, brief=True)) is not None and job.number == first.number:
        if job.status.ended:
            try:
                if (erased := store.erase(job, remove)) is not None:
                    return erased
            except PermissionError:  # Windows, while somebody reads it
                pass
        elif store.cancel(job_id):
            continue
        if time.monotonic() > deadline:
            raise Busy("The job's files are in use; erase it again in a moment.")
        time.sleep(LOOK_S)
    return None


def forget(settings: Settings, store: Store) -> None:
    """Drop what is too old or too much, with the results that nobody fetched and the uploads behind them."""
    places = settings.places
    moved: list[tuple[Path, Path]] = []

    def aside(jobs: list[Job]) -> None:
        """The results of a job that takes one's id at once are another's."""
        for job in jobs:
            folder = places.results(job.id)
            with contextlib.suppress(OSError):
                moved.append((folder.rename(folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")), folder))

    try:
        forgotten = store.forget(most=settings.most_kept, days=settings.days_kept, before=aside)
    except BaseException:  # a full disk, say
        for now, before in moved:
            now.rename(before)
        raise
    for folder, _ in moved:
        shutil.rmtree(folder, ignore_errors=True)
    for job in forgotten:
        if (upload := task_of(job, places).upload) is not None:
            upload.unlink(missing_ok=True)
    oldest = time.time() - settings.days_kept * 86400
    for upload in places.uploads.glob("*"):
        with contextlib.suppress(OSError):
            if upload.stat().st_mtime < oldest and not store.mentioned(upload.name):
                upload.unlink()


async def keep_bounded(settings: Settings, store: Store) -> None:
    """Forget every minute, for as long as the server runs."""
    while True:
        forgetting = asyncio.ensure_future(run_in_threadpool(forget, settings, store))
        try:
            await asyncio.shield(forgetting)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, sqlite3.OperationalError):
                await forgetting  # its thread has a connection that is closed next
            raise
        except (OSError, sqlite3.OperationalError) as error:  # a full disk, say: next minute perhaps
            logger.error("old jobs could not be forgotten (%s); tried again in %g s", error, EVERY_S)
        except Exception:  # our own mistake: told, and no reason to keep everything for ever
            logger.exception("old jobs could not be forgotten")
        await asyncio.sleep(EVERY_S)
