"""The ASGI layer that refuses recordings before the disk is full."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from emow2v.server.security.access import Refuse
from emow2v.server.work_folder.disk import Disk, NoRoom

KEEPING = ("/upload", "/process", "/v1/predictions")  # routes that keep something


class RoomCheck:
    """Refuses requests for which there is no room, with 507, before their body is read.

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
        stated = Headers(scope=scope).get("content-length", "")
        size = int(stated[:15]) if stated.isascii() and stated.isdigit() else 0
        try:
            await run_in_threadpool(self._disk.admit, size)
        except NoRoom as error:
            await self._refuse(507, str(error))(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._disk.arrived(size)
