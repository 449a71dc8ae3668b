"""The page that computes recordings in the browser alone, at /alone/: a folder that `emow2v web build` wrote."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from emow2v.web.build import BUILD_FILE, POLICY, built_files

_INDEX = "index.html"
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # browsers ask each time whether their copy is the newest
    # Isolated from pages of other sites, the page may compute with several threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class _Page(StaticFiles):
    """The files that the build names, and no others of the folder."""

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        super().__init__(directory=folder)
        self._names = frozenset(names) | {BUILD_FILE}

    async def get_response(self, path: str, scope: Scope) -> Response:
        name = _INDEX if path == "." else Path(path).as_posix()
        if name not in self._names:
            raise HTTPException(404)
        response = await super().get_response(name, scope)
        response.headers.update(_HEADERS)
        return response


def page_routes(folder: Path | None) -> list[BaseRoute]:
    """The routes of the page; none without a folder.

    Raises:
        FormatError: the folder was not written by `emow2v web build`, or by one of another version
    """
    if folder is None:
        return []
    return [Route("/alone", _redirect), Mount("/alone", _Page(folder.resolve(), built_files(folder)))]


async def _redirect(request: Request) -> Response:
    return RedirectResponse("alone/")  # relative, because a proxy may show the server below any path
