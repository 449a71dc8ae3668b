"""Answers of servers that tests make up: JSON, in turns, or none at all."""

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import webs

JOB = {"id": "a", "name": "talk.wav", "state": "finished", "rows": 1, "posted": "2026-11-26T13:45:00+00:00", "new": 1}


def give(handler: BaseHTTPRequestHandler, body: Any, status: int = 200, **headers: str) -> None:
    """Answer with JSON, or with bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    given = {"Content_Type": "application/json", "Content_Length": str(len(content)), **headers}
    for name, value in given.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def in_turns(*replies: Callable[[BaseHTTPRequestHandler], None]) -> webs.Reply:
    """Each request gets the next reply; the last one goes on."""
    left = [*replies]

    def reply(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return reply


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
