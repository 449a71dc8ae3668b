"""The log of refusals: one line for each answer 4xx, with its reason, without secrets and contents.

Reasons quote values that clients sent, which may be the beginning of a recording or a password in the wrong field; the log
has their places only. Strangers cannot fill the disk: so many lines are written in a minute, and the rest is counted.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("emow2v.server")

MOST = 60  # lines in `PERIOD_S`
PERIOD_S = 60.0
MOST_READ = 1 << 14  # bytes of an answer; sentences are shorter
MOST_PATH = 100  # characters
ACCESS = frozenset([401, 403, 421, 429])  # what an administrator should see among other lines
# from the first quotation mark to the last, because a value may hold such marks; the apostrophe of "form's" is none
_QUOTED = re.compile(r"(?<!\w)'.*'(?!\w)", re.DOTALL)


def without_values(sentence: str) -> str:
    """A sentence without what it quotes: "'a' is unknown" becomes "'...' is unknown"."""
    return _QUOTED.sub("'...'", sentence)


class Refusals:
    """An ASGI layer that logs the refusals of all routes and checks below it.

    Args:
        clock: seconds
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._begin, self._written, self._omitted = clock(), 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            kind = message["type"].removeprefix("websocket.")
            if kind == "http.response.start":
                status = message["status"]
            elif kind == "http.response.body" and 400 <= status < 500:
                self._write(scope, status, message.get("body", b""))
                status = 0  # one line, also where an answer has several parts
            await send(message)

        await self._app(scope, receive, watched)

    def _write(self, scope: Scope, status: int, body: bytes) -> None:
        now = self._clock()
        if now - self._begin >= PERIOD_S:
            if self._omitted:
                logger.warning("%d more refusals were not logged", self._omitted)
            self._begin, self._written, self._omitted = now, 0, 0
        if self._written >= MOST:
            self._omitted += 1
            return
        self._written += 1
        client = (scope.get("client") or ("",))[0]
        method = scope.get("method", "WebSocket")
        level = logging.WARNING if status in ACCESS else logging.INFO
        path = scope["path"][:MOST_PATH]
        logger.log(
            level, "refused: %s %s: %d, %s", method, path, status, _reason(status, body), extra={"client": client}
        )


def _reason(status: int, body: bytes) -> str:
    """The sentence of an answer; the words of the status where it has none, such as a page."""
    try:
        answer = json.loads(body) if len(body) <= MOST_READ else None
    except ValueError:
        answer = None
    sentence = answer.get("error") if isinstance(answer, dict) else None
    return without_values(sentence) if isinstance(sentence, str) else HTTPStatus(status).phrase
