"""Work that a server repeats while it runs."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from emow2v.errors import Emow2vError

logger = logging.getLogger("emow2v.server")


async def repeat(work: Callable[[], object], every_s: float, problem: str) -> None:
    """Call a function in a thread, again and again; errors are logged, and the next round may succeed.

    Args:
        every_s: seconds between the end of a round and the next
        problem: for the log, what did not succeed
    """
    while True:
        working = asyncio.ensure_future(run_in_threadpool(_work_once, work, every_s, problem))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await working  # its thread uses a connection that is closed next
            raise
        await asyncio.sleep(every_s)


def _work_once(work: Callable[[], object], every_s: float, problem: str) -> None:
    try:
        work()
    except (OSError, sqlite3.OperationalError, Emow2vError) as error:  # such as a full disk
        logger.error("%s (%s); tried again in %g s", problem, error, every_s)
    except Exception:  # a fault of emow2v
        logger.exception(problem)
