"""The pages for people: files of the package, which need nothing from outside and no build step.

What they show they ask of /v1, as any other client does. plotly.js comes from the PyPI package `plotly`, whose Python
part is never imported.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v._version import __version__

STATIC = Path(__file__).parents[1] / "static"
_FOR_EVER = "public, max-age=31536000, immutable"  # of addresses that hold a version

_GUARDS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers would send forms without saying from where
    "X-Content-Type-Options": "nosniff",
}


def _policy(*, plots: bool = False) -> str:
    """A Content-Security-Policy: scripts are files of this server, nothing is fetched from elsewhere.

    plotly.js puts styles into the page and into attributes, which cannot be allowed one by one.
    """
    styles = "'self' 'unsafe-inline'" if plots else "'self'"
    return (
        f"default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data: blob:; media-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class Guarded:
    """An ASGI layer that says what browsers may do with an answer; of all that is no page, nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _GUARDS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


def _page(name: str, status: int = 200, *, plots: bool = False, **texts: str) -> Response:
    """A page with texts of ours put in; nothing that anybody else wrote."""
    page = (STATIC / name).read_text(encoding="utf-8")
    for key, text in {"version": __version__, "plotly": _plotly()[0], **texts}.items():
        page = page.replace(f"{{{key}}}", text)
    headers = {
        "Content-Security-Policy": _policy(plots=plots),
        "Cache-Control": "no-cache",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return HTMLResponse(page, status, headers)


def login(*, wrong: bool) -> Response:
    """The page that asks for the token."""
    said = '<p class="error" role="alert">That is not the token.</p>' if wrong else ""
    return _page("login.html", 401 if wrong else 200, said=said)


async def _jobs(request: Request) -> Response:
    return await run_in_threadpool(_page, "index.html")


async def _job(request: Request) -> Response:
    return await run_in_threadpool(_page, "job.html", plots=True)


async def _live(request: Request) -> Response:
    return await run_in_threadpool(_page, "live.html", plots=True)


@cache
def _plotly() -> tuple[str, Path | None]:
    """Version of the package `plotly`, and where its plotly.min.js lies; none where it is not installed."""
    found = find_spec("plotly")
    folders = found.submodule_search_locations if found else None
    paths = [Path(folder) / "package_data" / "plotly.min.js" for folder in folders or ()]
    path = next((one for one in paths if one.is_file()), None)
    return ("", None) if path is None else (version("plotly"), path)


@cache
def _packed(path: Path) -> bytes:
    """A third of the bytes, for browsers on other machines."""
    return gzip.compress(path.read_bytes(), 6)


async def _plotly_js(request: Request) -> Response:
    _, path = _plotly()
    if path is None:
        return PlainTextResponse("plotly.min.js is not here; run: pip install 'plotly>=6'.", 404)
    headers = {"Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    body = await run_in_threadpool(_packed if packed else Path.read_bytes, path)
    return Response(body, headers=headers, media_type="text/javascript")


class _Static(StaticFiles):
    """Files of the package; browsers ask whether they have the newest."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


ROUTES: tuple[BaseRoute, ...] = (
    Route("/", _jobs),
    Route("/jobs/{job_id}", _job),
    Route("/live", _live),
    Route("/static/plotly.min.js", _plotly_js),
    Mount("/static", _Static(directory=STATIC)),
)
