"""Requests to an application without a connection, so that a test decides where the body is cut off."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from starlette.types import ASGIApp, Message


class Answer(NamedTuple):
    """Status, headers and body of an answer; status 0 where the application gave none."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    app: ASGIApp, method: str, path: str, headers: Mapping[str, str], parts: Iterable[bytes] = (), *, cut: bool = False
) -> Answer:
    """Send a request in parts.

    Args:
        parts: of the body; each is made when the application asks for it
        cut: the connection ends behind the parts, before the body does
    """
    left = iter(parts)
    told: list[Message] = []

    async def receive() -> Message:
        for body in left:
            return {"type": "http.request", "body": body, "more_body": True}
        return {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        told.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("testserver", 80),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in {"Host": "testserver", **headers}.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    begin = next((one for one in told if one["type"] == "http.response.start"), {"status": 0, "headers": []})
    named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in begin["headers"]}
    return Answer(begin["status"], named, b"".join(one.get("body", b"") for one in told))
