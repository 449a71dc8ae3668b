"""The pages for people: files of the package, which load nothing from other servers and need no build step.

Their scripts request everything they show from /v1, as any other client does. plotly.js comes from the PyPI package
`plotly`, whose Python part is never imported; without it the pages show a sentence in place of the curves.
"""

from __future__ import annotations

import gzip
from functools import cache
from html import escape
from importlib.metadata import version
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v._version import __version__
from emow2v.server.people.person import caller
from emow2v.web.build import plotly_js

STATIC = Path(__file__).parents[1] / "static"
_IMMUTABLE = "public, max-age=31536000, immutable"  # of addresses that hold a version; 31,536,000 s is a year
_NO_PLOTLY = (
    "This server has no plotly.min.js, since the Python package plotly is not installed. "
    "Install it with: pip install 'emow2v[server]'"
)

_ALONE = ' If a voice must not leave your device, <a href="alone/">your browser computes it itself</a>.'

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send forms with the origin "null"
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # of all that says nothing else: names of recordings, logs, rows
}


def _policy(*, plots: bool = False) -> str:
    """A Content-Security-Policy: scripts are files of this server, and nothing is loaded from elsewhere.

    plotly.js adds styles to the page and to attributes; they cannot be allowed one by one.
    """
    styles = "'self' 'unsafe-inline'" if plots else "'self'"
    return (
        f"default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data: blob:; media-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class Guarded:
    """An ASGI layer that adds headers for browsers. Responses that are not pages may load and run nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _page(name: str, status: int = 200, *, plots: bool = False, up: str = "", **texts: str) -> Response:
    """A page with its placeholders filled. The texts are our own, never those of users.

    Args:
        up: from the page's address to that of the server, relative, because a proxy may show both below any path
    """
    page = (STATIC / name).read_text(encoding="utf-8")
    if "{citation}" in page:  # the dialog of two pages
        page = page.replace("{citation}", (STATIC / "citation.html").read_text(encoding="utf-8"))
    for placeholder, text in {"version": __version__, "plotly": _plotly_tag(up), **texts}.items():
        page = page.replace(f"{{{placeholder}}}", text)
    headers = {
        "Content-Security-Policy": _policy(plots=plots),
        "Cache-Control": "no-cache",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return HTMLResponse(page, status, headers)


def login(problem: str = "", status: int = 200) -> Response:
    """The page that asks for the access token.

    Args:
        problem: one sentence on the token that was sent; "" for none
    """
    error = f'<p class="error" role="alert">{escape(problem)}</p>' if problem else ""
    return _page("login.html", status, error=error)


async def _shown(request: Request, name: str, status: int = 200, *, plots: bool = False, up: str = "") -> Response:
    """A page for the person who asks for it; see `_page`."""

    def made() -> Response:
        state = request.app.state.server
        person = _person_form(up) if state.gate.required else ""
        alone = _ALONE if state.options.web_folder else ""
        return _page(name, status, plots=plots, up=up, person=person, alone=alone)

    return await run_in_threadpool(made)


def _person_form(up: str) -> str:
    """The element that says whose page it is, with a button that ends the log-in."""
    name = escape(caller().name or "administrator")
    return (
        f'<form class="person" method="post" action="{up}logout"><span class="muted">{name}</span> '
        '<button class="small">Log out</button></form>\n'
    )


async def _jobs(request: Request) -> Response:
    return await _shown(request, "index.html")


async def _job(request: Request) -> Response:
    """The page of a job; of an unknown one, or somebody else's, it says so. A job of many recordings has a list of them, and a
    page for each (?file=NUMBER)."""
    job = await run_in_threadpool(request.app.state.server.jobs.get, request.path_params["job_id"], brief=True)
    if job is not None and job.kind == "batch" and "file" not in request.query_params:
        return await _shown(request, "batch.html", up="../")
    return await _shown(request, "job.html", 404 if job is None else 200, plots=True, up="../")


async def _together(request: Request) -> Response:
    return await _shown(request, "together.html", plots=True)


async def _live(request: Request) -> Response:
    return await _shown(request, "live.html", plots=True)


async def _docs(request: Request) -> Response:
    """The page for programmers, drawn from /v1/openapi.json."""
    return await _shown(request, "docs.html", up="../")


@cache
def _plotly() -> tuple[str, Path | None]:
    """Version of the package `plotly` and path of its plotly.min.js; "" and None if it is not installed."""
    path = plotly_js()
    return ("", None) if path is None else (version("plotly"), path)


def _plotly_tag(up: str) -> str:
    """The element that loads plotly.js; "" if it is not installed."""
    number, path = _plotly()
    return "" if path is None else f'<script src="{up}static/plotly.min.js?v={number}" defer></script>\n'


@cache
def _compressed(path: Path) -> bytes:
    """A file as gzip: a third of the bytes, for browsers on other machines. The first page waits for it, so it is quick."""
    return gzip.compress(path.read_bytes(), 1)


async def _plotly_js(request: Request) -> Response:
    _, path = _plotly()
    if path is None:
        return PlainTextResponse(_NO_PLOTLY, 404)
    headers = {"Cache-Control": _IMMUTABLE, "Vary": "Accept-Encoding"}
    accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
    if accepts_gzip:
        headers["Content-Encoding"] = "gzip"
    body = await run_in_threadpool(_compressed if accepts_gzip else Path.read_bytes, path)
    return Response(body, headers=headers, media_type="text/javascript")


class _Static(StaticFiles):
    """Files of the package. Browsers ask each time whether their copy is the newest."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


ROUTES: tuple[BaseRoute, ...] = (
    Route("/", _jobs),
    Route("/jobs/{job_id}", _job),
    Route("/together", _together),
    Route("/live", _live),
    Route("/v1/docs", _docs),
    Route("/static/plotly.min.js", _plotly_js),
    Mount("/static", _Static(directory=STATIC)),
)
