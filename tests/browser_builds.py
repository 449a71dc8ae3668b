"""Built pages for tests: the real ONNX Runtime for browsers, where it is at hand or can be had, and a site that serves the page."""

import contextlib
import functools
import io
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from filelock import FileLock

from emow2v.errors import ModelError
from emow2v.modelstore.download import fetch
from emow2v.web import runtime
from emow2v.web.build import build

BROWSERS_OWN = (
    ".google.com:443",
    ".googleapis.com:443",
)  # what Chromium itself asks, for the fields of forms and its updates
GIVEN = "EMOW2V_ONNXRUNTIME_WEB"  # the archive or folder that tests use; without it they download the archive, once


@functools.cache
def package() -> Path:
    """The npm package onnxruntime-web; skips the test where it is not to be had."""
    if given := os.environ.get(GIVEN):
        return Path(given)
    folder = Path(tempfile.gettempdir()) / f"emow2v-onnxruntime-web-{getattr(os, 'getuid', int)()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{runtime.VERSION}.tgz"
    with FileLock(folder / "lock"):
        if not path.is_file():
            name = f"onnxruntime-web-{runtime.VERSION}.tgz"
            try:
                fetch(
                    f"{runtime.registry_address()}/onnxruntime-web/-/{name}",
                    path,
                    size=runtime.SIZE,
                    checksum=f"sha512:{runtime.SHA512}",
                )
            except ModelError as error:
                pytest.skip(f"onnxruntime-web cannot be downloaded, and {GIVEN} is not set: {error}")
    return path


def built(folder: Path) -> Path:
    """A page that works."""
    pytest.importorskip("plotly")
    build(folder, runtime.parts(package()))
    return folder


def archive(files: Mapping[str, bytes]) -> bytes:
    """An archive as npm's."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


class _Handler(SimpleHTTPRequestHandler):
    server: "Site"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.netloc not in ("", f"127.0.0.1:{self.server.port}"):  # a proxy is asked so
            self.server.elsewhere.append(self.path)
            self.send_error(403)
            return
        self.path = address._replace(scheme="", netloc="").geturl()
        self.server.asked.append(self.path)
        super().do_GET()

    def do_CONNECT(self) -> None:
        if self.command != "CONNECT" or not self.path.endswith(BROWSERS_OWN):
            self.server.elsewhere.append(self.path)
        self.send_error(403)

    do_POST = do_PUT = do_CONNECT  # noqa: N815

    def copyfile(self, source: object, outputfile: object) -> None:
        with contextlib.suppress(ConnectionError):  # a page that is closed while it loads
            super().copyfile(source, outputfile)

    def log_message(self, *args: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    """A plain static server, and the proxy of a browser: it sees every request that the browser makes, to any place.

    Attributes:
        asked: paths of requests for files
        elsewhere: requests that were for other servers, or not for a file
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.port = self.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[str] = []
        self.elsewhere: list[str] = []

    @property
    def as_proxy(self) -> dict[str, str]:
        return {"server": self.url}


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    with Site(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
