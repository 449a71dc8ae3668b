"""What is no HTTP, or has endless headers, is refused with a sentence."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from emow2v.server.protocol import Protocol
from waiting import until


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = uvicorn.Server(
        uvicorn.Config(PlainTextResponse("here"), port=0, http=Protocol, log_config=None, lifespan="off")
    )
    bound = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    until(lambda: server.started)
    yield bound.getsockname()[1]
    server.should_exit = True
    thread.join()


def answer(port: int, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        whole = b""
        while part := connection.recv(1 << 16):
            whole += part
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


END = b"\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (b"GET / HTTP/1.1" + END, 200, ""),
        # not at their end yet: the server answers when it has read all that was sent
        (b"GET /" + b"a" * 20_000, 431, "longer than the 16 kB"),
        (b"GET / HTTP/1.1\r\nCookie: " + b"a=b; " * 5_000, 431, "longer than the 16 kB"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000, 431, "longer than the 16 kB"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
            400,
            "https works only where",
        ),  # TLS to plain HTTP
        (b"hello\r\n\r\n", 400, "not readable as HTTP"),
        (b"GET / HTTP/1.1\r\nno header" + END, 400, "not readable as HTTP"),
        (b"POST / HTTP/1.1\r\nContent-Length: many" + END, 400, "not readable as HTTP"),
    ],
)
def test_what_is_refused_before_any_route(port: int, request_: bytes, status: int, words: str) -> None:
    code, body = answer(port, request_)
    assert code == status
    assert body == b"here" if status == 200 else words in json.loads(body)["error"]
