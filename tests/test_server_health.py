"""The health check of containers, against a server of Python's own."""

import contextlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emow2v.server.health import alive
from emow2v.server.tls import self_signed


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def answering(certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_who_answers_lives() -> None:
    with answering() as port:
        assert alive(port)
        assert subprocess.run([sys.executable, "-m", "emow2v.server.health", str(port)], check=False).returncode == 0
    assert not alive(port)
    assert subprocess.run([sys.executable, "-m", "emow2v.server.health", str(port)], check=False).returncode == 1


def test_over_https_too(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with answering(self_signed(tmp_path)) as port:
        assert alive(port)
