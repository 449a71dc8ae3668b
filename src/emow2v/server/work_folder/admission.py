"""The ASGI layer that refuses recordings before the disk is full."""

from __future__ import annotations

from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.server.security.access import AUTHORISED, Refuse
from emow2v.server.work_folder.disk import Disk, NoRoom

KEEPING = ("/upload", "/process", "/v1/predictions")  # routes that keep something


class RoomCheck:
    """Refuses requests for which there is no room, with 507, before their body is read.

    A request without a token in a header, which may be a stranger's, removes nothing and holds no room.

    Args:
        disk: of the server
        refuse: makes the answer
    """

    def __init__(self, app: ASGIApp, disk: Disk, refuse: Refuse) -> None:
        self._app, self._disk, self._refuse = app, disk, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in KEEPING:
            await self._app(scope, receive, send)
            return
        is_known = scope.get(AUTHORISED, True)
        stated = Headers(scope=scope).get("content-length", "")
        size = int(stated[:15]) if is_known and stated.isascii() and stated.isdigit() else 0
        try:
            await run_in_threadpool(partial(self._disk.admit, size, makes_room=is_known))
        except NoRoom as error:
            await self._refuse(507, str(error))(scope, receive, send)
            return
        coming = size

        async def counted() -> Message:
            nonlocal coming
            message = await receive()
            if not message.get("more_body", False):  # the answer may take an hour, when the job has ended
                self._disk.arrived(coming)
                coming = 0
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._disk.arrived(coming)
