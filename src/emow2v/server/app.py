"""The application: the routes of DISCOVER, of /v1 and of the pages, and the access checks around them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping
from functools import partial
from urllib.parse import quote, unquote

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
from emow2v.server.browser_page import page_routes
from emow2v.server.callbacks.delivery import Callbacks
from emow2v.server.failures import failure, headers, sentence
from emow2v.server.jobs import history
from emow2v.server.live.route import Live
from emow2v.server.people.audited import Audited
from emow2v.server.people.gate import Refused
from emow2v.server.people.person import present_call
from emow2v.server.rounds import repeat
from emow2v.server.routes import pages
from emow2v.server.routes.forms import read_form
from emow2v.server.routes.metrics import Counting, Metrics
from emow2v.server.routes.nova import (
    FORMS,
    ROUTES,
    CompactJSON,
    refusal,
    state_of,
)
from emow2v.server.routes.v1 import create_v1
from emow2v.server.security.access import (
    COOKIE,
    FIELD,
    BodyCheck,
    HostCheck,
    SiteCheck,
    TokenCheck,
    check_role,
    host_names,
)
from emow2v.server.security.proxies import PREFIX, Below, Proxied
from emow2v.server.security.refusals import Refusals
from emow2v.server.state import ServerState
from emow2v.server.uploads.files import SWEEP_S
from emow2v.server.uploads.protocol import TusHeaders
from emow2v.server.work_folder.admission import RoomCheck
from emow2v.server.work_folder.backup import remove_links
from emow2v.server.work_folder.disk import EVERY_S

UNLOADED_S = 10  # between two looks for models that nobody uses


def create_app(state: ServerState, live: Live) -> Starlette:
    """The application; it starts and stops the workers and closes the store.

    Args:
        live: its WebSocket
    """
    options, store, workers = state.options, state.store, state.workers
    callbacks = Callbacks(store, state.places, options)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.server = state
        try:
            await run_in_threadpool(history.clear, store, state.places, options.keep_days)
            await run_in_threadpool(remove_links, state.places.work_dir)
            await run_in_threadpool(workers.start)
            rounds = [
                asyncio.create_task(history.keep_bounded(store, state.places, options, state.audit_aged)),
                asyncio.create_task(callbacks.keep_sending(state.stopping)),
                asyncio.create_task(
                    repeat(
                        partial(state.resumable.sweep, state.places), SWEEP_S, "unfinished uploads could not be swept"
                    )
                ),
                asyncio.create_task(repeat(live.models.unload_idle, UNLOADED_S, "idle models could not be unloaded")),
                asyncio.create_task(repeat(state.disk.look, EVERY_S, "the work folder could not be looked through")),
            ]
            yield
            state.stopping.set()
            for one in rounds:
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await one
            await run_in_threadpool(workers.stop, options.patience_s)
        finally:
            await run_in_threadpool(callbacks.close)
            await run_in_threadpool(store.close)

    hosts = host_names(options.host, options.allow_hosts)
    metrics = Metrics(store, workers, live, state.places, state.disk)
    v1 = create_v1(state, live)
    routes: list[BaseRoute] = [
        *pages.ROUTES,
        *ROUTES,
        *page_routes(options.web_folder),
        Route("/login", _login, methods=["GET", "POST"]),
        Route("/logout", _logout, methods=["POST"]),
        WebSocketRoute("/v1/stream", partial(live.serve, add_sound=state.jobs.add_sound)),
        Mount("/v1", v1),
        Route("/metrics", metrics.answer),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
    ]
    paths = frozenset(route.path for route in routes if isinstance(route, Route))
    paths |= {f"/v1{route.path}" for route in v1.routes if isinstance(route, Route)}
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(pages.Guarded),
            Middleware(Proxied, options.root_path, options.forwarded_allow, _refuse),
            Middleware(Refusals),
            Middleware(Counting, metrics, paths),
            Middleware(TusHeaders),
            Middleware(HostCheck, hosts, _refuse),
            Middleware(SiteCheck, _refuse),
            Middleware(TokenCheck, state.gate, _refuse, lambda scope: scope["path"] in FORMS),
            Middleware(Audited, state.audit, lambda: state.gate.required),
            Middleware(BodyCheck, options.max_body, _refuse),  # after the token: strangers may send less
            Middleware(RoomCheck, state.disk, _refuse),
            Middleware(Below),
        ],
        exception_handlers={
            HTTPException: _http_error,
            ClientDisconnect: _disconnected,
            Emow2vError: _impossible,
            OSError: _failed,
            sqlite3.Error: _failed,
            Exception: _unexpected,
        },
    )


def _refuse(status: int, sentence: str, more: Mapping[str, str] | None = None) -> ASGIApp:
    """The answer of an access check, also to a WebSocket, which is not opened then.

    Args:
        more: headers
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": sentence[:120]})
        elif status == 401 and scope.get("method") == "GET" and "text/html" in Headers(scope=scope).get("accept", ""):
            up = "../" * (scope["path"].count("/") - 1)  # relative: the path before it is the proxy's
            await RedirectResponse(f"{up}login?next={quote(scope['path'])}", 303)(scope, receive, send)
        else:
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            await refusal(sentence, status, headers=headers | dict(more or {}))(scope, receive, send)

    return answer


async def _login(request: Request) -> Response:
    """Takes the token from a browser and stores it in a cookie that scripts cannot read and other sites cannot send."""
    target = request.query_params.get("next", "/")
    if not target.startswith("/") or target.startswith("//") or ".." in unquote(target):  # no other site
        target = "/"
    if request.method == "GET":
        return pages.login()
    async with read_form(request, max_files=1, max_fields=10, max_part_size=1 << 16) as form:
        candidate = form.get(FIELD, "")
    call = present_call()
    try:
        if isinstance(candidate, str):
            call.person = state_of(request).gate.person(candidate, call.client)
        if call.person is None:
            return pages.login("The token is wrong. Enter the token of this server.", 401)
        check_role(call.person, target)
    except Refused as error:
        return pages.login(str(error), error.status)
    answer = RedirectResponse(f".{target}", 303)
    path = f"{request.scope.get(PREFIX, '')}/"  # other services of the proxy do not get the token
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, str(candidate), path=path, httponly=True, samesite="strict", secure=secure)
    return answer


async def _logout(request: Request) -> Response:
    """Removes the cookie, so that the next person at the browser is asked for a token."""
    answer = RedirectResponse("login", 303)
    answer.delete_cookie(COOKIE, path=f"{request.scope.get(PREFIX, '')}/", httponly=True, samesite="strict")
    return answer


async def _healthz(request: Request) -> Response:
    return CompactJSON({"status": "ok"})


async def _readyz(request: Request) -> Response:
    ready = state_of(request).workers.ready
    return CompactJSON({"status": "ready" if ready else "starting", "workers": ready}, 200 if ready else 503)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = sentence(error, request.url.path)
    return CompactJSON({"success": "failed", "error": text}, error.status_code, headers=error.headers)


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client closed the connection while it sent the body; nobody reads this


async def _impossible(request: Request, error: Exception) -> Response:
    return refusal(error)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError | sqlite3.Error)
    status, text = failure(error)
    return refusal(text, status, headers=headers(status))


async def _unexpected(request: Request, error: Exception) -> Response:
    return refusal("The server met an unexpected error; its log says more.", 500)
