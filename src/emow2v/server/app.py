"""The application: the routes of DISCOVER, of /v1 and of its own, and the walls around them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from emow2v.errors import Emow2vError
from emow2v.server.failures import failure, headers, sentence
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Store
from emow2v.server.options import Settings, Workers
from emow2v.server.routes import pages
from emow2v.server.routes.discover import (
    FORMS,
    ROUTES,
    CompactJSON,
    refusal,
    settings_of,
)
from emow2v.server.routes.forms import read_form
from emow2v.server.routes.live import Live
from emow2v.server.routes.metrics import Counting, Metrics
from emow2v.server.routes.v1 import create_v1
from emow2v.server.security.walls import COOKIE, FIELD, BodyWall, HostWall, SiteWall, TokenWall, matches


def create_app(settings: Settings, store: Store, workers: Workers, live: Live) -> Starlette:
    """The application.

    Args:
        store: of its jobs
        workers: are started and stopped with it
        live: its WebSocket
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.settings, app.state.store, app.state.workers = settings, store, workers
        try:
            await run_in_threadpool(history.clear, settings, store)
            await run_in_threadpool(workers.start)
            bounded = asyncio.create_task(history.keep_bounded(settings, store))
            yield
            bounded.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await bounded
            await run_in_threadpool(workers.stop, settings.patience_s)
        finally:
            await run_in_threadpool(store.close)

    walls = settings.walls
    metrics = Metrics(store, workers, live)
    v1 = create_v1(settings, store, workers)
    routes: list[BaseRoute] = [
        *pages.ROUTES,
        *ROUTES,
        Route("/login", _login, methods=["GET", "POST"]),
        WebSocketRoute("/v1/stream", live.serve),
        Mount("/v1", v1),
        Route("/metrics", metrics.answer),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
    ]
    named = frozenset(one.path for one in routes if isinstance(one, Route))
    named |= {f"/v1{one.path}" for one in v1.routes if isinstance(one, Route)}
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Counting, metrics, named),
            Middleware(pages.Guarded),
            Middleware(HostWall, walls, _refuse),
            Middleware(SiteWall, _refuse),
            Middleware(TokenWall, walls, _refuse, lambda scope: scope["path"] in FORMS),
            Middleware(BodyWall, walls, _refuse),  # behind the former: of strangers it takes less
        ],
        exception_handlers={
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Emow2vError: _impossible,
            OSError: _failed,
            sqlite3.Error: _failed,
            Exception: _unexpected,
        },
    )


def _refuse(status: int, sentence: str) -> ASGIApp:
    """An answer of the walls, also to a WebSocket that is not even opened."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": sentence[:120]})
        elif status == 401 and scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", ""):
            await RedirectResponse(f"/login?next={quote(scope['path'])}", 303)(scope, receive, send)
        else:
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            await refusal(sentence, status, headers=headers)(scope, receive, send)

    return answer


async def _login(request: Request) -> Response:
    """The token, once, for a browser: kept in a cookie that scripts cannot read and other sites cannot send."""
    token = settings_of(request).walls.token
    target = request.query_params.get("next", "/")
    if not target.startswith("/") or target.startswith("//"):  # nowhere else
        target = "/"
    if request.method == "GET":
        return pages.login(wrong=False)
    async with read_form(request, max_files=1, max_fields=10, max_part_size=1 << 16) as form:
        given = form.get(FIELD, "")
    if not isinstance(given, str) or not matches(token, given):
        return pages.login(wrong=True)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(COOKIE, given, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


async def _healthz(request: Request) -> Response:
    return CompactJSON({"status": "ok"})


async def _readyz(request: Request) -> Response:
    ready = request.app.state.workers.ready
    return CompactJSON({"status": "ready" if ready else "starting", "workers": ready}, 200 if ready else 503)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = sentence(error, request.url.path)
    return CompactJSON({"success": "failed", "error": said}, error.status_code, headers=error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client hung up in the middle of its body: nobody reads this


async def _impossible(request: Request, error: Exception) -> Response:
    return refusal(error)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError | sqlite3.Error)
    status, said = failure(error)
    return refusal(said, status, headers=headers(status))


async def _unexpected(request: Request, error: Exception) -> Response:
    return refusal("The server met an unexpected error; its log says more.", 500)
