"""Recordings at addresses, fetched while others are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from emow2v.audio.recording import Source, StoredPath, WatchedPath, stored

_AHEAD = 32  # recordings that are fetched before they are asked for
_PARALLEL = 16  # of them at a time

_Waiting = deque[tuple[Source, Future[None] | None]]


def fetched_ahead(sources: Iterable[Source]) -> Generator[Source]:
    """Sources in their order. Those at addresses are fetched ahead as far as they are short, several at a time.

    Memory: at most 32 short recordings, each with at most 4 MiB. An error of fetching comes when the source is opened.
    """
    waiting: _Waiting = deque()
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        for source in sources:
            source = stored(source)
            opened = source.opened if isinstance(source, WatchedPath) else source
            if not isinstance(opened, StoredPath):
                waiting.append((source, None))
            else:
                if pool is None:
                    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="emow2v-fetching")
                    stack.callback(pool.shutdown, cancel_futures=True)
                waiting.append((source, pool.submit(opened.fetch)))
            while waiting and (pool is None or len(waiting) >= _AHEAD):
                yield _next(waiting)
        while waiting:
            yield _next(waiting)


def _next(waiting: _Waiting) -> Source:
    source, fetching = waiting.popleft()
    if fetching is not None:
        fetching.exception()  # which opening the source meets again
    return source
