"""The server behind a real nginx, at the root of a name and below a path: WebSocket, uploads, events, pages in Chromium."""

import functools
import hashlib
import io
import json
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile
from websockets.sync.client import connect

import proxies
from emow2v.client import Client, NotFound, Unauthorized
from emow2v.model import Model
from emow2v.server.run import Server
from proxies import NGINX
from servers import erased
from waiting import until

if TYPE_CHECKING:
    from browsers import Visitor, api

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason=proxies.MISSING),
    pytest.mark.skipif(sys.platform == "win32", reason="stops nginx by a signal"),
    pytest.mark.slow,
]

TOKEN = "correct horse"
MINE = {"Authorization": f"Bearer {TOKEN}"}
RATE = 16000
LARGE = 300_000_000  # bytes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[str]:
    pytest.importorskip("cryptography", reason="makes the certificate of nginx")
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOW2V_HOME", str(tmp_path_factory.mktemp("home")))
        with Server(port=0, data_dirs=[data], work_dir=work, threads=1, token=TOKEN).running() as address:
            yield address


@pytest.fixture(scope="module")
def at(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Gives the address of the server behind nginx, at the root or below a path."""
    with proxies.nginx(tmp_path_factory.mktemp("nginx"), server) as url:
        yield lambda path: url + path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "session.wav").write_bytes(speech.read_bytes())
    return folder


@pytest.fixture(params=["", "/emow2v"], ids=["root", "below"])
def url(request: pytest.FixtureRequest, at: Callable[[str], str]) -> str:
    return at(request.param)


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with proxies.client(url, headers=MINE) as asking:
        yield asking


def path_of(url: str) -> str:
    return httpx.URL(url).path.rstrip("/")


class Made(io.RawIOBase):
    """A file of a recording with noise, made while it is read, so that the test holds little of it."""

    def __init__(self, size: int) -> None:
        made = io.BytesIO()
        soundfile.write(made, np.zeros(0, np.float32), 48000, format="WAV", subtype="PCM_16")
        head = bytearray(made.getvalue())
        head[4:8], head[-4:] = (size - 8).to_bytes(4, "little"), (size - len(head)).to_bytes(4, "little")
        self._left, self._next, self.digest = size - len(head), bytes(head), hashlib.sha256()
        self._random = np.random.default_rng(0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        if not self._next and self._left:
            self._next = self._random.bytes(min(self._left, 1 << 20))
            self._left -= len(self._next)
        part, self._next = self._next[: len(buffer)], self._next[len(buffer) :]
        self.digest.update(part)
        buffer[: len(part)] = part
        return len(part)


def test_a_large_recording_goes_through_whole_and_comes_back(client: httpx.Client) -> None:
    sent = Made(LARGE)
    form = {"end": "1s", "unit": "files", "wait": "false"}
    head = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form.items()
    )
    head += '--x\r\nContent-Disposition: form-data; name="file"; filename="large.wav"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head.encode()
        while part := sent.read(1 << 20):
            yield part
        yield b"\r\n--x--\r\n"

    posted = client.post("/v1/predictions", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert posted.status_code == 202, posted.text
    job = posted.json()["id"]
    assert posted.headers["location"] == f"jobs/{job}"
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "finished")
    assert posted.request.url.join(posted.headers["location"]) == client.base_url.join(f"v1/jobs/{job}")
    back, size = hashlib.sha256(), 0
    with client.stream("GET", f"/v1/jobs/{job}/audio") as answer:
        for part in answer.iter_bytes(1 << 20):
            back.update(part)
            size += len(part)
    assert size == LARGE and back.digest() == sent.digest.digest()
    assert client.delete(f"/v1/jobs/{job}").status_code == 200


def test_an_upload_in_parts_goes_on_through_a_cut(client: httpx.Client, url: str, speech: Path) -> None:
    """The address that a client is told is right at the root and below a path; what comes before a cut is kept."""
    tus = {"Tus-Resumable": "1.0.0"}
    content = speech.read_bytes()
    made = client.post("/v1/uploads", headers=tus | {"Upload-Length": str(len(content))})
    assert made.status_code == 201, made.text
    address = made.request.url.join(made.headers["location"])
    assert address.path.startswith(f"{path_of(url)}/v1/uploads/")
    head = [f"PATCH {address.path} HTTP/1.1", f"Host: {address.netloc.decode()}", f"Authorization: Bearer {TOKEN}"]
    head += ["Content-Type: application/offset+octet-stream", f"Content-Length: {len(content)}", "Upload-Offset: 0"]
    text = "\r\n".join([*head, "Tus-Resumable: 1.0.0", "", ""])
    unchecked = ssl._create_unverified_context()
    with unchecked.wrap_socket(socket.create_connection((address.host, address.port))) as line:
        line.sendall(text.encode() + content[:30_000])
        until(lambda: [one for one in client.get("/v1/uploads").json() if one["receiving"]])
    until(lambda: not [one for one in client.get("/v1/uploads").json() if one["receiving"]])
    for end in (40_000, len(content)):
        offset = int(client.head(address, headers=tus).headers["upload-offset"])
        headers = tus | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        sent = client.patch(address, headers=headers, content=content[offset:end])
        assert sent.status_code == 204, sent.text
    posted = client.post("/v1/predictions", data={"upload": address.path.rpartition("/")[2], "unit": "files"})
    assert posted.status_code == 200, posted.text


def test_live_speech_has_the_numbers_of_a_file(url: str, speech: Path, lite: Model) -> None:
    signal, _ = soundfile.read(speech, dtype="int16")
    unchecked = ssl._create_unverified_context()
    address = url.replace("https", "wss") + f"/v1/stream?sampling_rate={RATE}"
    rows = []
    with connect(address, ssl=unchecked, additional_headers=MINE, proxy=None, open_timeout=120) as socket:
        assert "provenance" in json.loads(socket.recv())
        for begin in range(0, len(signal), 640):
            socket.send(signal[begin : begin + 640].tobytes())
        socket.send("end")
        while "done" not in (message := json.loads(socket.recv())):
            rows.append([message[name] for name in ("arousal", "dominance", "valence")])
    whole = lite.predict(speech).scores
    np.testing.assert_allclose(rows, whole, atol=1e-6)


def test_events_come_as_they_happen(client: httpx.Client, speech: Path) -> None:
    _follow(client, speech)


def test_events_come_also_through_a_proxy_that_buffers(server: str, tmp_path: Path, speech: Path) -> None:
    changes = {"proxy_buffering off": "proxy_buffering on"}
    with proxies.nginx(tmp_path, server, changes) as url, proxies.client(url, headers=MINE) as client:
        _follow(client, speech)


def _follow(client: httpx.Client, speech: Path) -> None:
    """The first event arrives while the job is far from its end: it waits behind one that is cancelled afterwards."""
    signal, _ = soundfile.read(speech, dtype="float32")
    long = io.BytesIO()
    soundfile.write(long, np.resize(signal, 1800 * RATE), RATE, format="FLAC")
    first, second = (
        client.post("/v1/predictions", files={"file": ("a.flac", long.getvalue())}, data={"wait": "false"}).json()["id"]
        for _ in range(2)
    )
    with client.stream("GET", f"/v1/jobs/{second}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        assert next(lines)["state"] == "waiting"  # held back by nothing on the way
        for job in (first, second):
            assert client.post(f"/v1/jobs/{job}/cancel").status_code == 200
        assert [one["state"] for one in lines][-1] == "canceled"
    for job in (first, second):
        until(functools.partial(erased, client, job))


def test_addresses_stay_below_the_path(client: httpx.Client, url: str) -> None:
    with proxies.client(url) as stranger:
        asked = stranger.get("/jobs/a", headers={"Accept": "text/html"})
        assert asked.status_code == 303
        assert asked.request.url.join(asked.headers["location"]).path == f"{path_of(url)}/login"
        entered = stranger.post("/login?next=/live", data={"token": TOKEN})
        assert entered.request.url.join(entered.headers["location"]).path == f"{path_of(url)}/live"
        cookie = entered.headers["set-cookie"].lower()
        assert f"path={path_of(url)}/;" in cookie and "secure" in cookie  # https, as nginx says
        assert stranger.get("/live").status_code == 200
    servers = client.get("/v1/openapi.json").json()["servers"]
    assert servers == [{"url": f"{path_of(url)}/v1"}]
    moved = client.get("/live/")
    assert moved.headers["location"] == f"{url}/live"
    if path_of(url):
        with proxies.client(url.removesuffix(path_of(url)), headers=MINE) as above:
            assert above.get(path_of(url)).headers["location"].endswith(f"{path_of(url)}/")
            assert above.get(f"{path_of(url)}/emow2v/v1/jobs").status_code == 404


def test_nginx_replaces_what_clients_claim(client: httpx.Client, url: str) -> None:
    claimed = {"X-Forwarded-Prefix": "//evil", "X-Forwarded-Proto": "http", "X-Forwarded-For": "203.0.113.9"}
    answer = client.post("/login", data={"token": TOKEN}, headers=claimed)
    assert answer.status_code == 303 and f"path={path_of(url)}/;" in answer.headers["set-cookie"].lower()
    assert "secure" in answer.headers["set-cookie"].lower()


def test_another_site_and_another_name_are_told_what_to_set(client: httpx.Client) -> None:
    for headers, status, words in (
        ({"Origin": "https://evil.example"}, 403, "proxy_set_header Host $http_host;"),
        ({"Host": "other.example"}, 421, "--allow-host other.example"),
    ):
        answer = client.post("/v1/jobs/a/cancel", headers=headers)
        assert answer.status_code == status and words in answer.json()["error"]


def test_pages_behind_nginx(browser: "api.Browser", url: str, speech: Path) -> None:
    from browsers import CHROMIUM, Visitor, drop, expect, row, saved

    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    visitor = Visitor(browser, url, ignore_https_errors=True)
    page = visitor.page
    page.goto(f"{url}/live")
    assert page.url == f"{url}/login?next=/live"
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Open").click()
    page.wait_for_url(f"{url}/live")
    page.get_by_role("button", name="Record", exact=True).click()  # the WebSocket
    expect(page.locator("#clock")).not_to_have_text("0:00")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Store the recording").click()
    _shows_a_result(visitor)
    page.get_by_role("navigation").get_by_role("link", name="Jobs").click()
    page.wait_for_url(f"{url}/")
    page.get_by_text("Recordings of the data folder").click()
    page.get_by_role("checkbox", name="session.wav").check()
    page.get_by_role("button", name="Compute 1 recording").click()
    drop(page, "dropped.wav", speech.read_bytes())
    for name in ("session.wav", "dropped.wav"):
        expect(row(page, name).get_by_text("finished")).to_be_visible()
        row(page, name).get_by_role("checkbox").check()
    assert saved(page, page.get_by_role("link", name="Save all"))[0] == "results.zip"
    assert saved(page, row(page, "dropped.wav").get_by_role("link", name="CSV"))[0] == "dropped.csv"
    page.get_by_role("link", name="Show together").click()
    expect(page.locator("#means tbody tr")).to_have_count(3)
    page.goto(f"{url}/")
    row(page, "dropped.wav").get_by_role("link", name="View").click()
    _shows_a_result(visitor)
    page.goto(f"{url}/")
    for name in ("session.wav", "dropped.wav", "live-"):
        row(page, name).get_by_role("button", name="Erase").click()
        page.get_by_role("dialog").get_by_role("button", name="Erase").click()
        expect(row(page, name)).to_have_count(0)
    visitor.leave()


def _shows_a_result(visitor: "Visitor") -> None:
    from browsers import drawn

    visitor.page.wait_for_url(f"{visitor.url}/jobs/*")
    drawn(visitor.page)


def test_the_client_of_python(url: str, speech: Path, tmp_path: Path) -> None:
    """Addresses below a path, events, pages of a list, downloads and a WebSocket, as docs/client.md shows them."""
    with Client(url, token=TOKEN, verify=False) as client:
        seen: list[str] = []
        result = client.predict(speech, frame_step="100ms", on_progress=lambda job: seen.append(job.state))
        assert len(result) == 20 and seen[-1] == "finished"
        assert client.download(result.job, tmp_path, format="csv").read_bytes().count(b"\n") == 21
        assert result.job.id in [job.id for job in client.jobs(state="finished")]
        with client.stream(frame_step="100ms") as live:
            values = live.send(soundfile.read(speech, dtype="float32")[0]) + live.finish()
        np.testing.assert_allclose([one.arousal for one in values], result.arousal, atol=2e-6)
        client.erase(result.job)
    with Client(url, verify=False) as stranger, pytest.raises(Unauthorized, match="missing or wrong"):
        stranger.models()
    with Client(url + "/nowhere", token=TOKEN, verify=False) as lost, pytest.raises(NotFound):
        lost.models()
