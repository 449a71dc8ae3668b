"""Work that a server repeats while it runs."""

from __future__ import annotations

import asyncio
import contextlib
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
        working = asyncio.ensure_future(run_in_threadpool(work))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, sqlite3.OperationalError):
                await working  # its thread uses a connection that is closed next
            raise
        except (OSError, sqlite3.OperationalError, Emow2vError) as error:  # such as a full disk
            logger.error("%s (%s); tried again in %g s", problem, error, every_s)
        except Exception:  # a fault of emow2v
            logger.exception(problem)
        await asyncio.sleep(every_s)
