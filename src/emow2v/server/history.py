"""What a server remembers, bounded by age and number: jobs that have ended, their results, uploads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time

from starlette.concurrency import run_in_threadpool

from emow2v.server.settings import Settings
from emow2v.server.store import Store

logger = logging.getLogger("emow2v.server")

EVERY_S = 60.0


def forget(settings: Settings, store: Store) -> None:
    """Drop what is too old or too much, with the results that nobody fetched."""
    for job in store.forget(most=settings.most_kept, days=settings.days_kept):
        shutil.rmtree(settings.places.results(job.id), ignore_errors=True)
    oldest = time.time() - settings.days_kept * 86400
    with contextlib.suppress(OSError):
        for upload in settings.places.uploads.iterdir():
            if upload.stat().st_mtime < oldest:
                upload.unlink()


async def keep_bounded(settings: Settings, store: Store) -> None:
    """Forget every minute, for as long as the server runs."""
    while True:
        try:
            await run_in_threadpool(forget, settings, store)
        except Exception:  # a full disk, say: next minute perhaps
            logger.exception("old jobs could not be forgotten")
        await asyncio.sleep(EVERY_S)
