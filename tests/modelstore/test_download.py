import contextlib
import functools
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.staticfiles import StaticFiles

from emow2v.errors import ModelError
from emow2v.modelstore import download as downloads
from emow2v.modelstore.download import DownloadError, fetch
from waiting import until

CONTENT = bytes(range(256)) * 1000 + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        server, sent = self.server, {name.lower(): value for name, value in self.headers.items()}
        server.seen.append({"path": self.path, **sent})
        if server.script:
            server.script.pop(0)(self)
            return
        start, status = 0, 200
        known = (server.headers.get("ETag"), server.headers.get("Last-Modified"))
        if server.ranges and "range" in sent and sent.get("if-range", known[0]) in known:
            start, status = int(sent["range"].removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(server.content):
                self.answer(416, {"Content-Range": f"bytes */{len(server.content)}"})
                return
        body = server.content[start:]
        headers = {"Content-Length": str(len(body)), **server.headers}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
        cut = server.cuts.pop(0) if server.cuts else len(body)
        server.starts.append(start)
        self.answer(status, headers, body[:cut])
        if cut < len(body) and server.stall:
            server.resume.wait(30)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the other side may have enough
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A file at every path, and how it is given: whole or cut, with or without ranges, or by a script of answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/model.zip"
        self.resume = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.content, self.ranges, self.stall = CONTENT, True, False
        self.headers = {"ETag": '"one"', "Last-Modified": "Mon, 06 Jan 2025 10:00:00 GMT"}
        self.cuts: list[int] = []  # bytes after which a connection breaks, one an answer
        self.script: list[Callable[[Handler], None]] = []  # answers that come before the file's own
        self.seen: list[dict[str, str]] = []  # requests: path and headers
        self.starts: list[int] = []  # first byte of every body sent


def says(status: int, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(status, {"Content-Length": str(len(body)), **fields}, body)


def raw(data: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(data)

    return answer


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    running.reset()
    running.resume.clear()
    yield running
    running.resume.set()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No proxies of this machine, and no waiting: what would have been waited is listed."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    slept: list[float] = []
    monkeypatch.setattr(downloads, "time", SimpleNamespace(sleep=slept.append))
    return slept


@pytest.fixture(autouse=True, scope="module")
def certificates_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # most of a short test's time
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.zip"


def left(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def interrupted(server: Server, path: Path, cut: int = 1000) -> None:
    """A first call that gets some bytes, then gives up."""
    server.cuts = [cut]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DownloadError, match="broke"):
        patch.setattr(downloads, "PAUSES_S", ())
        fetch(server.url, path)
    assert left(path) == ["model.zip.part", "model.zip.part.json"]
    assert path.with_name("model.zip.part").read_bytes() == server.content[:cut]
    server.seen.clear()
    server.starts.clear()


def test_a_file_comes_whole_with_its_sha256(server: Server, path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    assert fetch(server.url, path, progress=lambda done, total: told.append((done, total))) == SHA256
    assert path.read_bytes() == CONTENT
    assert left(path) == ["model.zip"]
    assert server.seen[0]["accept-encoding"] == "identity"
    assert "range" not in server.seen[0]
    assert told[0] == (0, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "SHA256"])
def test_a_known_checksum_and_size_are_compared(server: Server, path: Path, algorithm: str) -> None:
    path.parent.mkdir()
    path.write_bytes(b"an older one")
    checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    assert fetch(server.url, path, size=len(CONTENT), checksum=checksum) == SHA256
    assert path.read_bytes() == CONTENT


def test_an_empty_file_is_a_file(server: Server, path: Path) -> None:
    server.content = b""
    assert fetch(server.url, path, size=0) == hashlib.sha256(b"").hexdigest()
    assert path.read_bytes() == b""


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, path: Path, pauses: list[float]) -> None:
    server.cuts = [1000, 0, 0, 500, 0, 0, 0, 0, 7]  # nine breaks: new bytes set the count of tries back
    told: list[int] = []
    assert fetch(server.url, path, progress=lambda done, total: told.append(done)) == SHA256
    assert path.read_bytes() == CONTENT
    assert server.starts == [0, 1000, 1000, 1000, 1500, 1500, 1500, 1500, 1500, 1507]
    assert server.seen[1]["range"] == "bytes=1000-" and server.seen[1]["if-range"] == '"one"'
    assert told == sorted(told)
    assert pauses == [1, 2, 4, 1, 2, 4, 8, 16, 1]


def test_what_always_breaks_is_given_up_and_kept(server: Server, path: Path, pauses: list[float]) -> None:
    server.cuts = [200_000] + [0] * 100
    with pytest.raises(
        DownloadError, match=r"connection to 127\.0\.0\.1 broke .*again to continue after 0\.2 MB of 0\.3 MB\.$"
    ):
        fetch(server.url, path)
    assert pauses == list(downloads.PAUSES_S)
    assert left(path) == ["model.zip.part", "model.zip.part.json"]
    server.cuts, server.starts = [], []
    told: list[int] = []
    assert fetch(server.url, path, progress=lambda done, total: told.append(done)) == SHA256
    assert server.starts == [200_000] and told[0] == 200_000


def test_a_server_that_stalls_is_asked_again(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(downloads, "PAUSES_S", (0.0,) * 1000)  # on a busy machine other answers are late, too
    server.cuts, server.stall = [1000], True
    assert fetch(server.url, path) == SHA256
    assert server.starts[0] == 0 and len(server.starts) > 1
    server.cuts = [0] * 1000  # also for late answers of before
    monkeypatch.setattr(downloads, "PAUSES_S", ())
    with pytest.raises(DownloadError, match=r"broke \(no answer within 0\.2 s\)"):
        fetch(server.url, path)


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=len(downloads.PAUSES_S)), ranges=st.booleans())
def test_wherever_it_breaks_the_bytes_are_right(running: Server, cuts: list[int], ranges: bool) -> None:
    running.reset()
    running.cuts, running.ranges = list(cuts), ranges
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.zip"
        assert fetch(running.url, path, size=len(CONTENT)) == SHA256
        assert path.read_bytes() == CONTENT
        assert left(path) == ["model.zip"]


CHILD = """
import sys
from pathlib import Path
from emow2v.modelstore.download import fetch
fetch(sys.argv[1], Path(sys.argv[2]))
"""


def test_after_kill_9_another_process_continues(server: Server, path: Path) -> None:
    server.cuts, server.stall = [100_000], True
    with subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(path)]) as child:
        part = path.with_name("model.zip.part")
        until(lambda: part.is_file() and part.stat().st_size == 100_000, alive=lambda: child.poll() is None)
        with pytest.raises(DownloadError, match="is being downloaded by another process; wait for it"):
            fetch(server.url, path)
        child.kill()
    assert os.name == "nt" or child.returncode == -signal.SIGKILL
    assert fetch(server.url, path) == SHA256
    assert server.starts == [0, 100_000]
    assert server.seen[-1]["range"] == "bytes=100000-" and server.seen[-1]["if-range"] == '"one"'
    assert left(path) == ["model.zip"]


def test_two_at_once_in_one_process(server: Server, path: Path) -> None:
    server.cuts, server.stall = [1000], True
    first = threading.Thread(target=fetch, args=(server.url, path))
    first.start()
    until(lambda: server.starts)
    with pytest.raises(DownloadError, match="another process"):
        fetch(server.url, path)
    server.resume.set()
    first.join()
    assert path.read_bytes() == CONTENT
    assert left(path) == ["model.zip"]


def test_ctrl_c_leaves_the_part_and_another_server_continues_it(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Starlette's file server judges our Range and If-Range.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "model.zip").write_bytes(CONTENT)
    statuses: list[int] = []
    files = StaticFiles(directory=tmp_path / "site")

    async def app(scope, receive, send) -> None:
        async def noted(message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        await files(scope, receive, noted)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        site = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=site.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/model.zip"

        def stop(done: int, total: int | None) -> None:
            if done:
                raise KeyboardInterrupt

        try:
            with pytest.raises(KeyboardInterrupt):
                fetch(url, path, progress=stop)
            part = path.with_name("model.zip.part").read_bytes()
            assert 0 < len(part) < len(CONTENT) and CONTENT.startswith(part)
            told: list[int] = []
            assert fetch(url, path, progress=lambda done, total: told.append(done)) == SHA256
            assert told[0] == len(part)
            with pytest.raises(KeyboardInterrupt):
                fetch(url, path, progress=stop)
            (tmp_path / "site" / "model.zip").write_bytes(CONTENT[::-1])  # the same size, another file
            os.utime(tmp_path / "site" / "model.zip", (1e9, 1e9))
            assert fetch(url, path) == hashlib.sha256(CONTENT[::-1]).hexdigest()
            assert statuses == [200, 206, 200, 200]
        finally:
            site.should_exit = True
            thread.join()


@pytest.mark.parametrize("obedient", [True, False])
def test_a_file_that_changed_meanwhile_is_never_mixed(server: Server, path: Path, obedient: bool) -> None:
    interrupted(server, path)
    server.content, server.headers = CONTENT[::-1], {"ETag": '"two"'}
    if not obedient:  # a server that does not know If-Range
        total = len(CONTENT)
        tail = CONTENT[::-1][1000:]
        server.script = [says(206, tail, Content_Range=f"bytes 1000-{total - 1}/{total}", ETag='"two"')]
    assert fetch(server.url, path) == hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert path.read_bytes() == CONTENT[::-1]
    assert server.seen[0]["if-range"] == '"one"'
    assert len(server.seen) == 1 if obedient else "range" not in server.seen[1]
    assert server.starts == [0]


def test_without_ranges_it_starts_over(server: Server, path: Path) -> None:
    server.ranges = False
    interrupted(server, path)
    told: list[int] = []
    assert fetch(server.url, path, progress=lambda done, total: told.append(done)) == SHA256
    assert server.seen[0]["range"] == "bytes=1000-" and told[0] == 0
    assert path.read_bytes() == CONTENT


def test_a_server_that_starts_over_and_breaks_forever_comes_to_an_end(server: Server, path: Path) -> None:
    server.ranges, server.cuts = False, [1000] * 100
    with pytest.raises(DownloadError, match="broke"):
        fetch(server.url, path)
    assert len(server.seen) == 1 + len(downloads.PAUSES_S)


@pytest.mark.parametrize(
    ("headers", "if_range"),
    [
        ({"ETag": 'W/"one"'}, None),
        ({"ETag": 'W/"one"', "Last-Modified": "Mon, 06 Jan 2025 10:00:00 GMT"}, "Mon, 06 Jan 2025 10:00:00 GMT"),
        ({"Last-Modified": "Mon, 06 Jan 2025 10:00:00 GMT"}, "Mon, 06 Jan 2025 10:00:00 GMT"),
        ({"ETag": "one"}, None),
        ({"ETag": '"\xe9"'}, None),
        ({}, None),
    ],
)
def test_only_what_surely_names_a_version_is_continued(
    server: Server, path: Path, headers: dict[str, str], if_range: str | None
) -> None:
    server.headers = headers
    interrupted(server, path)
    assert fetch(server.url, path) == SHA256
    assert server.seen[0].get("if-range") == if_range
    assert server.seen[0].get("range") == (if_range and "bytes=1000-")
    assert server.starts == [1000 if if_range else 0]
    server.seen, server.cuts = [], [1000]
    assert fetch(server.url, path) == SHA256  # the same within one call
    assert server.seen[1].get("if-range") == if_range
    assert server.seen[1].get("range") == (if_range and "bytes=1000-")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Content_Range": "nonsense"},
        {"Content_Range": "bytes 1000-"},
        {"Content_Range": "bytes 999-256006/256007"},
        {"Content_Range": "bytes 0-9/256007"},
        {"Content_Range": "bytes 1000-1009/1010"},
        {"Content_Range": "bytes 1000-256006/256007", "ETag": '"two"'},
        {"Content_Range": "bytes */256007"},
        {"Content_Range": f"bytes 1000-{'9' * 5000}/*"},
        {"Content_Type": "multipart/byteranges; boundary=x"},
    ],
)
def test_a_part_that_is_not_the_one_asked_for_is_not_taken(server: Server, path: Path, fields: dict[str, str]) -> None:
    interrupted(server, path)
    server.script = [says(206, b"x" * 10, **fields)]
    assert fetch(server.url, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert "range" not in server.seen[1]


def test_a_server_may_give_less_than_asked_for_or_not_know_the_whole(server: Server, path: Path) -> None:
    interrupted(server, path)
    server.script = [
        says(206, CONTENT[1000:3000], Content_Range=f"bytes 1000-2999/{len(CONTENT)}", ETag='"one"'),
        says(206, CONTENT[3000:4000], Content_Range="bytes 3000-3999/*"),
    ]
    assert fetch(server.url, path) == SHA256
    assert server.starts == [4000]


def test_a_part_that_nobody_asked_for_is_an_error(server: Server, path: Path) -> None:
    server.script = [says(206, CONTENT, Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")] * 10
    with pytest.raises(DownloadError, match="could not be continued where it stopped; run the same command again"):
        fetch(server.url, path)


def test_stopped_between_the_last_byte_and_the_name(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", stop)
        fetch(server.url, path)
    assert left(path) == ["model.zip.part", "model.zip.part.json"]
    assert fetch(server.url, path, checksum=f"sha256:{SHA256}") == SHA256
    assert server.starts == [0] and server.seen[-1]["range"] == f"bytes={len(CONTENT)}-"


def test_a_server_that_says_there_is_no_more_when_there_is(server: Server, path: Path) -> None:
    interrupted(server, path)
    server.script = [says(416, Content_Range=f"bytes */{len(CONTENT)}")]
    assert fetch(server.url, path) == SHA256
    assert server.starts == [0]


def test_a_part_that_is_too_long_starts_over(server: Server, path: Path) -> None:
    interrupted(server, path)
    path.with_name("model.zip.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, path) == SHA256
    assert server.starts == [0]


@pytest.mark.parametrize("note", [None, "", "[]", "{}", "another url", "another total"])
def test_a_part_without_its_note_starts_over(server: Server, path: Path, note: str | None) -> None:
    interrupted(server, path)
    file = path.with_name("model.zip.part.json")
    url = server.url
    if note is None:
        file.unlink()
    elif note == "another url":
        url += "?version=2"
    elif note == "another total":
        file.write_text(json.dumps({**json.loads(file.read_text()), "total": 5}))
    else:
        file.write_text(note)
    assert fetch(url, path) == SHA256
    assert server.starts[-1] == 0


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_removes_what_came(server: Server, path: Path, algorithm: str) -> None:
    expected, got = (hashlib.new(algorithm, data).hexdigest() for data in (b"other", CONTENT))
    with pytest.raises(DownloadError, match=f"expected {algorithm}:{expected}, got {algorithm}:{got};.*start anew"):
        fetch(server.url, path, checksum=f"{algorithm}:{expected}")
    assert left(path) == []
    assert fetch(server.url, path, checksum=f"{algorithm}:{got}") == SHA256


def test_a_part_that_was_damaged_on_the_disk_is_found(server: Server, path: Path) -> None:
    interrupted(server, path)
    path.with_name("model.zip.part").write_bytes(b"?" * 1000)
    with pytest.raises(DownloadError, match="is damaged or another file"):
        fetch(server.url, path, checksum=f"sha256:{SHA256}")
    assert left(path) == []


def test_another_size_than_expected_is_told_before_it_comes(server: Server, path: Path) -> None:
    with pytest.raises(DownloadError, match=f"expected 5 bytes, got {len(CONTENT)}; check the address"):
        fetch(server.url, path, size=5)
    assert left(path) == []
    interrupted(server, path)
    with pytest.raises(DownloadError, match=f"expected 5 bytes, got {len(CONTENT)}; check the address"):
        fetch(server.url, path, size=5)


@pytest.mark.parametrize("end", [b"", b"extra"])
def test_without_a_length_the_size_decides(server: Server, path: Path, end: bytes) -> None:
    body = CONTENT + end if end else CONTENT[:-5]
    server.script = [raw(b'HTTP/1.0 200 OK\r\nETag: "one"\r\n\r\n' + body)] * 10
    with pytest.raises(DownloadError, match=f"is incomplete: expected {len(CONTENT)} bytes, got {len(body)};"):
        fetch(server.url, path, size=len(CONTENT))
    assert ("range" in server.seen[1]) == (not end)
    server.script = [raw(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT)]
    told: list[int | None] = []
    assert fetch(server.url, path, progress=lambda done, total: told.append(total)) == SHA256
    assert set(told) == {None}


def test_chunked_answers_must_come_to_their_end(server: Server, path: Path) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + CONTENT[:5] + b"\r\n"
    server.script = [raw(start), raw(start + b"0\r\n\r\n")]
    assert fetch(server.url, path) == hashlib.sha256(CONTENT[:5]).hexdigest()
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"\xff\xfe\x00 nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_not_http_is_told_in_a_sentence(server: Server, path: Path, answer: bytes) -> None:
    server.script = [raw(answer)] * 10
    with pytest.raises(DownloadError, match=r"The connection to 127\.0\.0\.1 broke \(.*\); run the same command again"):
        fetch(server.url, path)


def test_compressed_bytes_are_not_taken_for_the_file(server: Server, path: Path) -> None:
    server.headers["Content-Encoding"] = "gzip"
    with pytest.raises(DownloadError, match="was sent compressed, expected the plain file"):
        fetch(server.url, path)
    assert fetch(server.url, path, checksum=f"sha256:{SHA256}") == SHA256  # a .gz labelled so: the bytes decide


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, r"is not there \(404\); check"),
        (410, r"is not there \(410\)"),
        (401, r"asks for access \(401\).*access token"),
        (403, r"asks for access \(403\)"),
        (204, r"gives no file \(204\)"),
        (300, r"gives no file \(300\)"),
        (418, r"gives no file \(418\)"),
    ],
)
def test_a_refusal_is_told_at_once(server: Server, path: Path, pauses: list[float], status: int, words: str) -> None:
    server.script = [says(status)] * 10
    with pytest.raises(DownloadError, match=words):
        fetch(server.url, path)
    assert len(server.seen) == 1 and not pauses
    assert left(path) == []


def test_a_refusal_keeps_the_part(server: Server, path: Path) -> None:
    interrupted(server, path)
    server.script = [says(403)]
    with pytest.raises(DownloadError, match="asks for access"):
        fetch(server.url, path)
    assert fetch(server.url, path) == SHA256
    assert server.starts == [1000]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, path: Path, pauses: list[float], status: int) -> None:
    server.script = [says(status)] * 2
    assert fetch(server.url, path) == SHA256
    assert pauses == [1, 2]
    server.script = [says(status)] * 10
    with pytest.raises(DownloadError, match=rf"127\.0\.0\.1 is busy or out of order \({status}\); run the same"):
        fetch(server.url, path)


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [
        ("7", 7),
        ("0", 1),
        ("3600", 60),
        ("9" * 400, 60),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 60),
        ("Mon, 06 Jan 2025 10:00:00 GMT", 1),
        ("Mon, 06 Jan 2025 10:00:00 -0000", 1),
        ("soon", 1),
        ("-5", 1),
    ],
)
def test_a_server_says_how_long_to_wait(
    server: Server, path: Path, pauses: list[float], text: str, pause_s: float
) -> None:
    server.script = [says(429, Retry_After=text)]
    assert fetch(server.url, path) == SHA256
    assert pauses == [pause_s]


def test_authorization_does_not_follow_to_another_host(server: Server, path: Path) -> None:
    interrupted(server, path)
    server.script = [says(302, Location=f"http://localhost:{server.port}/cdn?signature=1")]
    assert fetch(server.url, path, headers={"Authorization": "Bearer secret", "accept-encoding": "gzip"}) == SHA256
    hub, cdn = server.seen
    assert hub["authorization"] == "Bearer secret" and hub["host"] == f"127.0.0.1:{server.port}"
    assert cdn["path"] == "/cdn?signature=1" and cdn["host"] == f"localhost:{server.port}"
    assert "authorization" not in cdn
    assert cdn["range"] == "bytes=1000-" and cdn["if-range"] == '"one"'
    assert hub["accept-encoding"] == cdn["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/model.zip", "redirects in a circle"),
        ("ftp://127.0.0.1/model.zip", "cannot be requested"),
        ("file:///etc/passwd", "cannot be requested"),
        ("http://host:x/", "broke"),
        (f"http://{'a' * 70}.org/", "cannot be requested"),
    ],
)
def test_redirects_that_lead_nowhere(server: Server, path: Path, location: str, words: str) -> None:
    server.script = [says(302, Location=location)] * 100
    with pytest.raises(DownloadError, match=words):
        fetch(server.url, path)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_no_network_is_told_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float], closed_port: int
) -> None:
    with pytest.raises(DownloadError, match=r"^127\.0\.0\.1 cannot be reached \(.+\); check the network") as caught:
        fetch(f"http://127.0.0.1:{closed_port}/model.zip", path)
    assert isinstance(caught.value, ModelError) and caught.value.__suppress_context__

    def unknown(*args: object, **names: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"^zenodo\.org cannot be reached \(its name is unknown\); check the netw"):
        fetch("https://zenodo.org/records/1/files/model.zip", path)
    assert not pauses and left(path) == []


def test_a_network_that_goes_away_midway_is_waited_for(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    real, calls = socket.getaddrinfo, []

    def flaky(*args, **names):
        calls.append(args)
        if len(calls) in (2, 3):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(*args, **names)

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    server.cuts = [1000]
    assert fetch(server.url, path) == SHA256
    assert server.starts == [0, 1000] and pauses == [1, 2, 4]


def test_certificates(server: Server, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match=r"^127\.0\.0\.1 cannot be reached \(.*ssl.*\)"):
        fetch(server.url.replace("http:", "https:"), path)
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*made.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with Server() as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        thread = threading.Thread(target=secure.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"https://localhost:{secure.port}/model.zip"
            with pytest.raises(DownloadError, match=r"^localhost cannot be reached \(self.signed certificate\)"):
                fetch(url, path)
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
            assert fetch(url, path) == SHA256
        finally:
            secure.shutdown()
            thread.join()


def test_proxies(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    assert fetch("http://zenodo.invalid/model.zip", path) == SHA256
    assert server.seen[0]["path"] == "http://zenodo.invalid/model.zip"
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")  # which knows no CONNECT
    with pytest.raises(DownloadError, match=r"zenodo\.invalid cannot be reached \(the proxy refused\); check the"):
        fetch("https://zenodo.invalid/model.zip", path)


@pytest.mark.parametrize(
    ("name", "value"), [("HTTPS_PROXY", "nonsense://secret@host"), ("SSL_CERT_FILE", "/no/such/file")]
)
def test_settings_that_make_no_sense(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError, match=f"network settings of this computer cannot be used.*{name}") as caught:
        fetch(server.url, path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "model.zip", "ftp://host/model.zip", "file:///etc/passwd", "http://", "http:///x", "http://[::1/x",
     "http://user:se/cret@host/x", "https://host\n/x", "secret:x@host/x"],
)  # fmt: skip
def test_addresses_that_make_no_sense(path: Path, url: str) -> None:
    with pytest.raises(
        DownloadError, match="address of the download cannot be used; expected the form https://host/path"
    ) as it:
        fetch(url, path)
    assert "cret" not in str(it.value)


@pytest.mark.parametrize(
    "checksum", ["sha256:", "sha1:" + "0" * 40, "0" * 64, "sha512:" + "0" * 64, "sha256:" + "0" * 63, "md5:" + "g" * 32]
)
def test_checksums_that_make_no_sense(path: Path, checksum: str) -> None:
    with pytest.raises(DownloadError, match="Expected a checksum of the form sha256:HEX, sha512:HEX or md5:HEX, got '"):
        fetch("http://127.0.0.1/x", path, checksum=checksum)


def test_credentials_are_never_shown_nor_kept(server: Server, path: Path, closed_port: int) -> None:
    url = f"http://secret:secret@127.0.0.1:{server.port}/model.zip?token=secret#secret"
    scripts = [
        [says(status)] * 10 for status in (206, 302, 401, 404, 416, 418, 429, 500)
    ] + [[says(302, Location=f"http://secret@{place}/?secret")] * 100 for place in (
        f"127.0.0.1:{closed_port}", f"127.0.0.1:{server.port}", "[", "a..b")]  # fmt: skip
    for script in scripts:
        server.script = script
        with pytest.raises(DownloadError) as caught:
            fetch(url, path, headers={"X-Token": "secret"})
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    server.script = []
    for token in ("secret\n", "secret\xe9"):
        with pytest.raises(DownloadError, match="access token") as caught:
            fetch(server.url, path, headers={"Authorization": f"Bearer {token}"})
        assert "secret" not in str(caught.value)
    with pytest.raises(DownloadError, match="expected 3 bytes") as caught:
        fetch(url, path, size=3)
    assert f"http://127.0.0.1:{server.port}/model.zip is another file" in str(caught.value)
    server.cuts = [1000] + [0] * 10
    with pytest.raises(DownloadError):
        fetch(url, path)
    assert "secret" not in path.with_name("model.zip.part.json").read_text()
    server.cuts = []
    with pytest.raises(DownloadError, match="is damaged or another file") as caught:
        fetch(url, path, checksum="sha256:" + "0" * 64)
    assert "secret" not in str(caught.value)
    assert server.starts[-1] == 1000


def test_space_is_looked_for_before(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(server, path, cut=200_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=56_006))
        with pytest.raises(
            DownloadError,
            match=r"models has no room for 56007 bytes more \(56006 bytes free\); free some, .* after 0\.2 MB of 0\.3 MB",
        ):
            fetch(server.url, path)
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=56_007))
        assert fetch(server.url, path) == SHA256
    assert server.starts[-1] == 200_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_full_disk(server: Server, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("model.zip.part").symlink_to("/dev/full")
    for _ in range(2):
        with pytest.raises(
            DownloadError, match=r"models has no room for 0\.3 MB more \(No space left on device\); free"
        ):
            fetch(server.url, path)
    path.with_name("model.zip.part").unlink()
    assert fetch(server.url, path) == SHA256


@pytest.mark.skipif(os.name == "nt", reason="limits of a process are POSIX's")
def test_what_fitted_before_the_disk_was_full_is_kept(server: Server, path: Path) -> None:
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_001, 100_001))\n" + CHILD
    result = subprocess.run([sys.executable, "-c", code, server.url, str(path)], capture_output=True, text=True)
    assert "DownloadError" in result.stderr and "has no room for 0.2 MB more (File too large)" in result.stderr
    assert "again to continue after 0.1 MB of 0.3 MB." in result.stderr
    assert path.with_name("model.zip.part").read_bytes() == CONTENT[:100_001]
    assert fetch(server.url, path) == SHA256
    assert server.starts == [0, 100_001]


def test_places_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "model.zip", tmp_path / ("x" * 250), tmp_path / "zero\0byte"):
        with pytest.raises(DownloadError, match=r"cannot be written \(.+\); choose another place\.$"):
            fetch(server.url, path)
    assert len(server.seen) <= 1  # only the name that leaves no room for .part.json


def test_what_the_caller_raises_is_the_callers(server: Server, path: Path) -> None:
    def broken(done: int, total: int | None) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fetch(server.url, path, progress=broken)
    assert fetch(server.url, path) == SHA256
    assert left(path) == ["model.zip"]
