"""The route of /v1 that tells how full the server's disk is, and what becomes of recordings."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI, Response
from pydantic import BaseModel

from emow2v.server.routes.views import PRIVATE
from emow2v.server.state import ServerState


class DiskModel(BaseModel):
    """Bytes of the work folder, of its limit (0: none), and free on the disk; what becomes of a recording after its job."""

    used: int
    limit: int
    free: int
    uploads: int
    results: int
    keep_uploads: Literal["yes", "flac", "no"]


def add(api: FastAPI, state: ServerState) -> None:
    """Add the route."""

    @api.get("/disk")
    def disk(answer: Response) -> DiskModel:
        """How full the server's disk is, and what becomes of a recording when its job has ended."""
        answer.headers.update(PRIVATE)
        now = state.disk.usage()
        return DiskModel(
            used=now.used,
            limit=now.limit,
            free=now.free,
            uploads=now.uploads,
            results=now.results,
            keep_uploads=state.options.keep_uploads,
        )
