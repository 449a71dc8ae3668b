"""Requests that write resumable uploads now: one for each upload."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from emow2v.errors import Emow2vError

STALLED_S = 2.0  # without a byte: a connection that was cut may look like this for minutes
RETRY_S = 2


class Written(Emow2vError):
    """Another request writes the upload."""


class Writer:
    """A request that writes an upload.

    Attributes:
        interrupted: set when it must end, because another one takes its place
    """

    def __init__(self) -> None:
        self.interrupted, self._ended = asyncio.Event(), asyncio.Event()
        self._last = time.monotonic()

    def came(self) -> None:
        """Bytes have come."""
        self._last = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last bytes."""
        return time.monotonic() - self._last

    async def end(self) -> None:
        """Interrupt the request, and wait until it has."""
        self.interrupted.set()
        await self._ended.wait()

    def ended(self) -> None:
        """The request writes no more."""
        self._ended.set()


class Writers:
    """The writers of all uploads, by owner and id; used by the event loop alone, but for `has`."""

    def __init__(self) -> None:
        self._writers: dict[tuple[str, str], Writer] = {}

    def has(self, owner: str, upload_id: str) -> bool:
        """Whether a request writes an upload."""
        return (owner, upload_id) in self._writers

    @contextlib.asynccontextmanager
    async def writing(self, owner: str, upload_id: str, *, at_once: bool = False) -> AsyncIterator[Writer]:
        """Write an upload in the with block. A request that writes it, but gets no bytes any more, is interrupted.

        Args:
            at_once: interrupt also one that gets bytes

        Raises:
            Written: another request writes it
        """
        key = owner, upload_id
        while (other := self._writers.get(key)) is not None:
            if not at_once and other.silent_s < STALLED_S:
                raise Written("Another request writes this upload; ask for its offset (HEAD) in a moment, then go on.")
            await other.end()
        writer = self._writers[key] = Writer()
        try:
            yield writer
        finally:
            del self._writers[key]
            writer.ended()
