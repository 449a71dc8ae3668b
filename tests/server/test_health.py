"""The health check of containers, against a server of Python's own."""

import contextlib
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.server import health
from emow2v.server.health import alive
from emow2v.server.security.tls import self_signed


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


def test_who_answers_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 60.0)
    with answering() as port:
        assert alive(port)
        assert subprocess.run([sys.executable, "-m", "emow2v.server.health", str(port)], check=False).returncode == 0
    assert not alive(port)
    assert subprocess.run([sys.executable, "-m", "emow2v.server.health", str(port)], check=False).returncode == 1


def test_over_https_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 60.0)
    pytest.importorskip("cryptography")
    with answering(self_signed(tmp_path)) as port:
        assert alive(port)


BROKEN = {
    "another interface": "def open(*given, **options):\n    raise TypeError('open() got an unexpected keyword argument')",
    "a library that is missing": "raise ImportError('libavformat.so.61: cannot open shared object file')",
    "nothing that is asked for": "",
    "another error": "def open(*given, **options):\n    raise RuntimeError('symbol lookup error')",
    "an error of files": "def open(*given, **options):\n    raise OSError(22, 'Invalid argument')",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_server_that_answers_and_cannot_decode_is_not_healthy(tmp_path: Path, name: str) -> None:
    """A PyAV that does not fit, as an installation would have it: the server answers, and refuses every recording."""
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text(BROKEN[name])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with answering() as port:
        command = [sys.executable, "-m", "emow2v.server.health", str(port)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr


def test_silence_is_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(16000), 16000)
    assert health.decodes() and not health.decodes(silent)
    monkeypatch.setattr(health, "alive", lambda port: True)
    monkeypatch.setattr(health, "decodes", lambda: False)
    assert "decodes to silence" in health.main(0)


@pytest.mark.parametrize("name", ["Dockerfile", "emow2v.service", "compose.yaml"])
def test_the_folder_of_models_is_named_once(name: str) -> None:
    """`EMOW2V_HOME` holds the folder models; named itself, it would hold models/models."""
    deploy = Path(__file__).parents[2] / "deploy" / name
    for words in deploy.read_text().split():
        if words.startswith("EMOW2V_HOME="):
            assert not words.endswith("models")


@pytest.mark.parametrize("given", ["abc", "80.80", "-1", "0", "65536", "999999999999", "８０８０"])
def test_a_port_that_is_none_is_told(given: str) -> None:
    command = [sys.executable, "-m", "emow2v.server.health"]
    for extra, environment in (([given], {}), ([], {"EMOW2V_PORT": given})):
        asked = subprocess.run(
            [*command, *extra], env=os.environ | environment, capture_output=True, encoding="utf-8", check=False
        )
        assert asked.returncode == 1 and asked.stderr.startswith("The port is '"), asked.stderr


def test_an_empty_port_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(health, "main", lambda port: asked.append(port) or "")
    assert health.check("") == "" and health.check(" 8081 ") == "" and asked == [8080, 8081]
