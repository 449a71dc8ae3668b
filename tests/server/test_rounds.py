"""Work that is repeated ends with the server, also where a round fails in its last moment."""

import asyncio
import contextlib
import sqlite3
import threading

import pytest

from emow2v.errors import DiskFull
from emow2v.server.rounds import repeat

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("error", [DiskFull("full"), sqlite3.OperationalError("full"), KeyError("a fault")])
def test_a_round_that_fails_while_the_server_stops_is_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    begun, stopping = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert stopping.wait(60)
        raise error

    async def serve() -> None:
        task = asyncio.create_task(repeat(work, 60, "the work failed"))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        stopping.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(serve())
    assert "the work failed" in caplog.text


def test_rounds_go_on_after_an_error() -> None:
    rounds = threading.Semaphore(0)

    def work() -> None:
        rounds.release()
        raise OSError("full")

    async def serve() -> None:
        task = asyncio.create_task(repeat(work, 0, "the work failed"))
        for _ in range(3):
            assert await asyncio.to_thread(rounds.acquire, timeout=60)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(serve())
