"""The bytes of a request on their way to the disk: they are written as they come, and flushed before anybody is told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from emow2v.discover.places import Places
from emow2v.errors import Emow2vError
from emow2v.server.uploads.files import expect_checksum, prepare, verified
from emow2v.server.uploads.protocol import Checksum
from emow2v.server.uploads.writers import Writer

PIECE = 1 << 19  # bytes that memory holds
SILENCE_S = 60.0  # after which a request ends; what has come stays
_LOOK_S = 0.5


class OtherOffset(Emow2vError):
    """The request begins at another offset than the upload has."""


class TooMany(Emow2vError):
    """More bytes came than the upload has left."""


class WrongChecksum(Emow2vError):
    """The bytes that came are not those that the client sent."""


class Interrupted(Emow2vError):
    """The request ends before its body.

    Attributes:
        status: of the answer
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Superseded(Interrupted):
    """Another request takes the place of this one; it was told an offset without what is still in memory."""


class Receiver:
    """Takes the body of one request.

    Args:
        places: of the owner
        writer: of this request
        stopping: set when the server stops
        arrived: called with the number of bytes that have been written
    """

    def __init__(
        self,
        places: Places,
        upload_id: str,
        writer: Writer,
        stopping: threading.Event,
        arrived: Callable[[int], None],
    ) -> None:
        self._places, self._id, self._writer = places, upload_id, writer
        self._stopping, self._arrived = stopping, arrived

    async def receive(self, receive: Receive, begin: int, length: int, checksum: Checksum | None) -> int:
        """Write the body behind the bytes that have come; gives the new offset, which has reached the disk.

        The connection may be cut at any time: what has come stays, unless it has a checksum, which nobody can compare then.

        Args:
            receive: of the request
            begin: offset at which the client continues
            length: of the whole file

        Raises:
            OtherOffset, TooMany, WrongChecksum: nothing of the body stays
            UploadConflict: another request has finished or removed the upload
            Interrupted: a newer request takes the place of this one, no more bytes come, or the server stops
            ClientDisconnect: the connection was cut
            OSError: the bytes cannot be written; those before them stay
        """
        file, offset = await run_in_threadpool(prepare, self._places, self._id)
        with file:
            if offset != begin:
                raise OtherOffset(
                    f"The upload has {offset} bytes, and Upload-Offset is {begin}; ask for the offset (HEAD), then go on from there."
                )
            if checksum is not None:
                await run_in_threadpool(expect_checksum, self._places, self._id, offset)
            try:
                offset = await self._write(receive, file, offset, length, checksum)
            except (TooMany, WrongChecksum):
                await run_in_threadpool(_cut, file, begin)
                raise
            except (ClientDisconnect, Interrupted):
                if checksum is not None:
                    await run_in_threadpool(_cut, file, begin)
                raise
            finally:
                await run_in_threadpool(os.fsync, file.fileno())
            if checksum is not None:
                await run_in_threadpool(verified, self._places, self._id)
        return offset

    async def _write(
        self, receive: Receive, file: IO[bytes], offset: int, length: int, checksum: Checksum | None
    ) -> int:
        digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        held = bytearray()

        def write() -> None:
            _write_all(file, held)
            if digest is not None:
                digest.update(held)

        async def flush() -> None:
            await run_in_threadpool(write)
            self._arrived(len(held))
            held.clear()

        try:
            async with contextlib.aclosing(self._parts(receive)) as parts:
                async for part in parts:
                    if offset + len(part) > length:
                        raise TooMany(
                            f"More bytes came than the {length} of the upload; nothing of this request was kept."
                        )
                    offset += len(part)
                    held += part
                    if len(held) >= PIECE:
                        await flush()
        except Superseded:
            raise
        except (ClientDisconnect, Interrupted):
            await flush()
            raise
        await flush()
        if digest is not None and checksum is not None and digest.digest() != checksum.digest:
            raise WrongChecksum(
                "The checksum of the bytes that came is another one; nothing of them was kept; send them again."
            )
        return offset

    async def _parts(self, receive: Receive) -> AsyncGenerator[bytes, None]:
        """The parts of the body as they come."""
        interrupted = asyncio.ensure_future(self._writer.interrupted.wait())
        coming: asyncio.Future[Message] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(_next(receive))
                while not coming.done():
                    self._check()
                    await asyncio.wait({coming, interrupted}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                message = coming.result()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                if body := message.get("body", b""):
                    self._writer.came()
                    yield body
                if not message.get("more_body", False):
                    return
        finally:
            interrupted.cancel()
            if coming is not None:
                coming.cancel()

    def _check(self) -> None:
        """End the request where another one takes its place, nothing comes any more, or the server stops."""
        if self._writer.interrupted.is_set():
            raise Superseded("A newer request goes on with this upload.", 409)
        if self._stopping.is_set():
            raise Interrupted(
                "The server stops; what has come is kept. Ask for the offset (HEAD) later, then go on.", 503
            )
        if self._writer.silent_s > SILENCE_S:
            raise Interrupted(
                f"No byte has come for {SILENCE_S:g} s; what has come is kept. Ask for the offset (HEAD), then go on.",
                408,
            )


async def _next(receive: Receive) -> Message:
    return await receive()


def _write_all(file: IO[bytes], data: bytearray) -> None:
    begin = 0
    while begin < len(data):
        with memoryview(data) as whole, whole[begin:] as rest:  # released, so that the bytes can be cleared
            begin += file.write(rest)


def _cut(file: IO[bytes], size: int) -> None:
    file.truncate(size)
