"""The ASGI layer that writes the audit log, so that no route can omit it; `OwnJobs.submit` adds the posted jobs."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.server.people.audit import Action, Audit
from emow2v.server.people.person import present_call
from emow2v.server.uploads.protocol import is_upload

# Routes that act on no job in their address, and what they do; None: they tell the state of a job, which is no content, or
# queue one, which is written down at once (`OwnJobs.submit`), since an answer may wait for the end of the job.
_ACTIONS: dict[str, tuple[Action, str] | None] = {
    "/process": None,
    "/v1/predictions": None,
    "/v1/batches": None,
    "/upload": ("upload", ""),
    "/cancel": ("cancel", ""),
    "/login": ("login", ""),
    "/fetch_result": ("read", "files"),
    "/log": ("read", "log"),
    "/v1/results": ("read", "result"),
    "/job_status": None,
}
_WITHOUT_JOB = ("upload", "login", "stream")


class Audited:
    """Writes down who did what, before the answer is sent. Requests that are refused, and lists of jobs, are left out.

    Args:
        audit: the log
        required: whether a token is required; without names there is nothing to write down
    """

    def __init__(self, app: ASGIApp, audit: Audit, required: Callable[[], bool]) -> None:
        self._app, self._audit, self._required = app, audit, required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        done: tuple[Action, str] | None = None
        if scope["type"] == "http":
            done = action_of(scope["method"], path)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400 and done is not None:
                await self._write(*done)
            elif message["type"] == "websocket.accept":
                await self._write("stream", "")
            await send(message)

        await self._app(scope, receive, watched)

    async def _write(self, action: Action, what: str) -> None:
        call = present_call()
        is_about_something = bool(call.jobs or call.facts) or action in _WITHOUT_JOB
        if call.person is not None and is_about_something and self._required():
            jobs = list(dict.fromkeys(call.jobs))
            await run_in_threadpool(self._audit.done, call.person, call.client, action, what, jobs, call.facts)


def action_of(method: str, path: str) -> tuple[Action, str] | None:
    """What a request does, and the part of a job that it is about; None where it only tells a job's state."""
    if path in _ACTIONS:
        return None if path == "/login" and method != "POST" else _ACTIONS[path]
    if is_upload(path):  # the parts that follow belong to the upload
        return {"POST": ("upload", ""), "DELETE": ("erase", "upload")}.get(method)  # type: ignore[return-value]
    first, *others = path.strip("/").split("/")
    if first == "log":
        return "read", "log"
    if method == "DELETE":
        return "erase", ""
    if method not in ("GET", "HEAD"):
        return ("cancel", "") if others[-1:] == ["cancel"] else ("post", others[-1] if others else first)
    if first != "v1" or len(others) < 3 or others[-1] == "events":  # pages, and the state of a job
        return None
    return "read", others[-1]
