"""Answers with a file: whole or in part, from one open file, so that no answer has bytes of two results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from emow2v.server.resources.conditions import part_of, verdict

DISPOSITION = "Content-Disposition"
TRIES = 3
_PIECE_BYTES = 1 << 18


class FileAnswer(Response):
    """The answer with an open file, which it closes. Memory holds one piece of it; it ends where the client hangs up.

    Args:
        file: from its beginning on
        headers: of the answer, without those on length and ranges
        tag: entity tag of the content; empty where nobody will ask for the same bytes again
        request: whose range is looked at; None for one that can name none, such as a POST
        sent: called when the file is closed, however the answer ended
        fetched: called after that, if the whole file was sent
    """

    def __init__(
        self,
        file: IO[bytes],
        *,
        media_type: str,
        headers: Mapping[str, str],
        tag: str = "",
        request: Request | None = None,
        sent: Callable[[], object] = lambda: None,
        fetched: Callable[[], object] = lambda: None,
    ) -> None:
        self._file, self._sent, self._fetched = file, sent, fetched
        size = os.fstat(file.fileno()).st_size
        part = part_of(request.headers, tag, size) if request is not None and request.method == "GET" else None
        self._part = range(size) if part is None else part
        more = {"ETag": tag, "Accept-Ranges": "bytes"} if tag else {}
        if part is not None:
            more["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}" if part else f"bytes */{size}"
        status = 200 if part is None else 206 if part else 416
        super().__init__(b"", status, {**headers, **more}, media_type)
        if part is not None and not part:
            refused = JSONResponse({"error": f"The range lies behind the end; the result has {size} bytes."})
            self.body = bytes(refused.body)
            self.headers["Content-Type"] = "application/json"
            del self.headers[DISPOSITION]
        self.headers["Content-Length"] = str(len(self._part) or len(self.body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(scope["method"], send))
        # sending does not fail where the client is gone: a server takes its pieces and drops them
        gone = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.wait({sending})  # it may read the file in a thread
            await run_in_threadpool(self.close)
        if sending.cancelled():
            gone.result()  # raises what reading the request has raised, such as for a body that is too large
            return
        sending.result()
        if self.status_code == 200 and scope["method"] != "HEAD":
            await run_in_threadpool(self._fetched)

    async def _send(self, method: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        elif not self._part:
            await send({"type": "http.response.body", "body": self.body})
        else:
            await self._send_part(send)

    async def _send_part(self, send: Send) -> None:
        await run_in_threadpool(self._file.seek, self._part.start)
        left = len(self._part)
        while left:
            piece = await run_in_threadpool(self._file.read, min(left, _PIECE_BYTES))
            if not piece:  # somebody has cut the file off: the client sees an answer that is too short
                raise OSError("a result became shorter while it was sent")
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})

    def close(self) -> None:
        """Close the file; nothing is sent any more."""
        self._file.close()
        self._sent()


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def answer_with(
    request: Request | None,
    tag_now: Callable[[], str],
    opened: Callable[[], IO[bytes]],
    *,
    media_type: str,
    headers: Mapping[str, str],
    sent: Callable[[], object] = lambda: None,
) -> Response:
    """The answer with a result, as the conditions of the request ask for it. Blocks: it may make the file.

    Args:
        request: None for one without conditions and ranges, such as a POST
        tag_now: entity tag of the result as it is now; raises where it is gone
        opened: opens the result
        headers: of the answer
        sent: called when the opened file is closed

    Raises:
        HTTPException: 409 where the result changes again and again while it is opened
    """
    for _ in range(TRIES):
        tag = tag_now()
        if request is not None and (answer := _without_content(request, tag, headers)) is not None:
            return answer
        file = opened()
        try:
            if tag_now() == tag:  # what was opened is what the tag means
                return FileAnswer(file, media_type=media_type, headers=headers, tag=tag, request=request, sent=sent)
        except BaseException:
            file.close()
            sent()
            raise
        file.close()
        sent()
    raise HTTPException(409, "The result changes while it is read; ask for it again in a moment.")


def _without_content(request: Request, tag: str, headers: Mapping[str, str]) -> Response | None:
    """The answer to a request whose conditions leave nothing to send; None where the result is to be sent."""
    status = verdict(request.headers, tag)
    if status == 200:
        return None
    kept = {"ETag": tag} | {name: value for name, value in headers.items() if name != DISPOSITION}
    if status == 304:
        return Response(status_code=304, headers=kept)
    said = "The result is another one than If-Match names; get it anew."
    return JSONResponse({"error": said}, 412, headers=kept)


def disposition(filename: str) -> dict[str, str]:
    """The header of a file to save, whose name may have any characters (RFC 6266)."""
    encoded = quote(filename)
    said = f'filename="{filename}"' if encoded == filename else f"filename*=utf-8''{encoded}"
    return {DISPOSITION: f"attachment; {said}"}


def answers_with(media_types: Iterable[str], meaning: str) -> dict[int | str, dict[str, Any]]:
    """The answers of a route with a result, as OpenAPI describes them.

    Args:
        meaning: of the content
    """
    content: dict[str, Any] = {kind.partition(";")[0]: {} for kind in media_types}
    tag = {"ETag": {"description": "Names the bytes of this result.", "schema": {"type": "string"}}}
    ranges = {"description": "bytes", "schema": {"type": "string"}}
    place = {"description": "Which bytes, of how many.", "schema": {"type": "string"}}
    return {
        200: {"content": content, "description": meaning, "headers": {**tag, "Accept-Ranges": ranges}},
        206: {
            "content": content,
            "description": "The bytes that Range asks for.",
            "headers": {**tag, "Content-Range": place},
        },
        304: {"description": "The client has the result, as If-None-Match says.", "headers": tag},
    }
