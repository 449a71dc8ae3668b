"""What clients and machines do to a server that is left running: odd bytes, hang-ups, floods, full disks, clocks that jump."""

import contextlib
import functools
import gc
import io
import json
import os
import signal
import socket
import sqlite3
import stat
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from emow2v.audio import recording as audio
from emow2v.cli.demo import request
from emow2v.discover import recordings
from emow2v.discover.places import Places, safe_name
from emow2v.discover.task import DiscoverTask
from emow2v.errors import RequestError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.jobs import history, results
from emow2v.server.jobs import pool as pools
from emow2v.server.jobs.pool import Pool
from emow2v.server.jobs.store import MOST_LISTED, Status, Store, connections
from emow2v.server.jobs.store import store as stores
from emow2v.server.jobs.store import work as works
from emow2v.server.jobs.worker import WorkerConfig
from emow2v.server.live import capacity
from emow2v.server.live import route as live_route
from emow2v.server.options import ServerOptions
from emow2v.server.routes import nova
from emow2v.server.run import Server
from emow2v.server.security import access
from emow2v.storage import files
from servers import app, erased
from waiting import until

ROUTES = (
    "/process",
    "/job_status",
    "/log",
    "/cancel",
    "/fetch_result",
    "/upload",
    "/cml_info",
    "/login",
    "/v1/predictions",
)


def form(folder: Path, /, **changes: str) -> dict[str, str]:
    return request(folder, folder / "talk.wav") | {"jobID": "job"} | changes


def fetchable(data: Path, **changes: str) -> dict[str, str]:
    entries = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "talk.wav"},
        {"src": "request:annotation:continuous", "type": "output", "id": "arousal", **changes},
    ]
    return form(data, data=json.dumps(entries), frameSize="500ms")


def ended(client: TestClient, job_id: str = "job") -> int:
    until(lambda: client.post("/job_status", data={"jobID": job_id}).json()["status"] > 1)
    return int(client.post("/job_status", data={"jobID": job_id}).json()["status"])


# --- odd bytes ---


@pytest.mark.parametrize(
    "charset", ["undefined", "punycode", "idna", "unicode_escape", "utf-7", "base64", "no such", "a\tb"]
)
def test_charsets_that_no_form_has(client: TestClient, charset: str) -> None:
    """They made the parser raise, or gave characters that neither SQLite nor a file system takes: 500."""
    for value in (b"\\ud800", b"+2AA-", b"\xff"):
        body = b'--x\r\nContent-Disposition: form-data; name="jobID"\r\n\r\n' + value + b"\r\n--x--\r\n"
        for route in ROUTES:
            headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
            answer = client.post(route, content=body, headers=headers)
            assert answer.status_code == 415 and "expected utf-8" in answer.json()["error"], route
    for charset in ("utf-8", "UTF8", "us-ascii", "latin-1", '"windows-1252"'):
        headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        assert client.post("/job_status", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "", "null", "http://testserver@evil.example"])
def test_origins_that_are_none(client: TestClient, origin: str) -> None:
    assert client.post("/cancel", data={"jobID": "a"}, headers={"Origin": origin}).status_code == 403


def test_an_empty_form_as_net_writes_it(client: TestClient) -> None:
    """NOVA asks /cml_info like this."""
    headers = {"Content-Type": 'multipart/form-data; boundary="b"'}
    answer = client.post("/cml_info", content=b"--b\r\n\r\n--b--\r\n", headers=headers)
    assert answer.status_code == 200 and answer.json()["trainer_ok"]
    assert client.post("/cml_info", content=b"--b\r\nX: y\r\n\r\n--b--\r\n", headers=headers).status_code == 400


def test_names_that_would_forge_lines_of_a_log(client: TestClient, data: Path) -> None:
    for name in ("a\nb", "a\x1b[31m", "\ud800", "a\u2028b", "\x00"):
        answer = client.post("/process", data=form(data, sessions=json.dumps([name])))
        assert answer.status_code == 400 and "control character" in answer.json()["error"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of any bytes")
def test_a_recording_whose_name_is_no_unicode(client: TestClient, data: Path) -> None:
    (data / "talk.wav").rename(data / "t\udce4lk.wav")
    entries = json.loads(form(data)["data"])
    entries[0]["uri"] = "t\udce4lk.wav"
    assert client.post("/process", data=form(data, data=json.dumps(entries))).status_code == 200
    assert ended(client) == 2
    assert "t\\udce4lk.wav" in client.post("/log", data={"jobID": "job"}).json()["message"]


def test_names_that_windows_or_a_file_system_cannot_have(client: TestClient, data: Path) -> None:
    assert [safe_name(text, "x") for text in ("CON", "nul.txt", "com1", "COM10", "console", "..", "a:b\\c|d?")] == [
        "_CON", "_nul.txt", "_com1", "COM10", "console", "_", "a_b_c_d_",
    ]  # fmt: skip
    assert len(safe_name("\U00020000" * 100, "x").encode()) <= 200
    client.post("/process", data=fetchable(data, name="\U00020000" * 100))
    assert ended(client) == 2
    for job_id in ("日本語 1", "ß", "Ａ", "x" * 128, "aux"):
        assert client.post("/process", data=fetchable(data) | {"jobID": job_id}).status_code == 200
        assert ended(client, job_id) == 2
        answer = client.post("/fetch_result", data={"jobID": job_id})
        (member, _) = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert member.split("/")[0] == safe_name(job_id, "job") and answer.headers["content-disposition"]


def test_bodies_stay_small_where_they_are_held_in_memory(
    lite: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_FORM", 2000)
    served = app(lite.card, [data], tmp_path / "work", lambda name: lite, max_upload_mb=0.01)
    with TestClient(served, raise_server_exceptions=False) as client:
        for content in (b"a" * 3000, iter([b"a" * 1000] * 3)):
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = client.post("/process", content=content, headers=headers)
            assert answer.status_code == 413 and "post recordings to /upload" in answer.json()["error"]
        assert client.post("/upload", files={"file": ("a.wav", bytes(5000))}).status_code == 200

        def chunked() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            for _ in range(20):
                yield bytes(1000)

        for route in ("/upload", "/v1/predictions"):
            answer = client.post(route, content=chunked(), headers={"Content-Type": "multipart/form-data; boundary=x"})
            assert answer.status_code == 413 and "--max-upload" in answer.json()["error"], route


def test_slow_looks_into_recordings_leave_threads_for_others(
    client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network drive that hangs, or many sessions, held up every other route."""
    go_on, check = threading.Event(), DiscoverTask.check

    def slow(*arguments: object) -> object:
        assert go_on.wait(60)
        return check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(DiscoverTask, "check", slow)
    answers: list[int] = []

    def post(number: int) -> None:
        answers.append(client.post("/process", data=form(data, jobID=f"{number}")).status_code)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    try:
        assert client.get("/job_status_all").status_code == 200 and client.get("/v1/jobs").json() == []
    finally:
        go_on.set()
        for thread in threads:
            thread.join()
    assert answers == [200] * 50


def test_a_request_that_begins_late_is_not_decoded_until_there(
    client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(data / "long.wav", np.zeros(16000 * 200, np.float32), 16000)
    monkeypatch.setattr(recordings, "_PROBED_S", 2)
    blocks = 0
    opened = audio.open_recording

    def counted(*arguments: object, **options: object) -> audio.Recording:
        recording = opened(*arguments, **options)  # type: ignore[arg-type]
        given = recording._blocks

        def counting() -> Iterator[np.ndarray]:
            nonlocal blocks
            for block in given:
                blocks += 1
                yield block

        recording._blocks = counting()
        return recording

    monkeypatch.setattr(audio, "open_recording", counted)
    recordings.probe(data / "long.wav", Framing(start_ms=190_000))
    assert 0 < blocks < 10
    with pytest.raises(RequestError, match="nothing lies after start"):
        recordings.probe(data / "talk.wav", Framing(start_ms=190_000))


def test_addresses_and_methods_that_there_are_not_answer_alike(client: TestClient) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/jobs", 405), ("GET", "/nothing", 404)):
        answer = client.request(method, path)
        assert answer.status_code == status and answer.json()["error"]


# --- races ---


def test_results_that_are_fetched_and_deleted_by_two_at_once(
    client: TestClient, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/process", data=fetchable(data))
    assert ended(client) == 2
    results = tmp_path / "work" / "results"
    listed = nova._complete

    def gone_meanwhile(folder: Path) -> list[Path]:
        found = listed(folder)
        found[-1].unlink()
        return found

    monkeypatch.setattr(nova, "_complete", gone_meanwhile)
    assert client.post("/fetch_result", data={"jobID": "job"}).status_code == 404  # of two files one is gone
    assert client.post("/fetch_result", data={"jobID": "job"}).status_code == 404  # of one file none is left
    assert not list(results.glob("*.zip"))


def test_a_slow_download_does_not_delete_what_the_next_job_of_that_id_wrote(
    client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/process", data=fetchable(data))
    assert ended(client) == 2
    packed = results.zip_files

    def meanwhile(*arguments: object) -> Path:
        archive = packed(*arguments)  # type: ignore[arg-type]
        client.app.state.server.store.submit("job", form(data))  # type: ignore[attr-defined]
        return archive

    monkeypatch.setattr(results, "zip_files", meanwhile)
    folder = client.app.state.server.places.results("job")  # type: ignore[attr-defined]
    assert client.post("/fetch_result", data={"jobID": "job", "delete_after_download": "1"}).status_code == 200
    assert len(nova._complete(folder)) == 2 or ended(client) == 2


def test_part_files_of_a_dead_worker_are_found_when_its_recording_is_gone(
    data: Path, tmp_path: Path, lite: Model
) -> None:
    places = Places([data], tmp_path / "work")
    store = Store(tmp_path / "work" / "jobs.sqlite")
    pool = Pool(store.path, WorkerConfig(ServerOptions(threads=1), places))
    store.submit("job", form(data))
    job = store.claim("abcd")
    assert job is not None
    part = data / ".talk.arousal.annotation.abcd12345678.part"
    part.touch()
    (data / "talk.wav").unlink()
    pool._recover(job, "The worker died")
    assert not part.exists() and store.get("job").status is Status.WAITING  # type: ignore[union-attr]


# --- workers ---


@pytest.fixture
def served(data: Path, tmp_path: Path) -> WorkerConfig:
    return WorkerConfig(ServerOptions(threads=1), Places([data], tmp_path / "work"))


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_store_that_cannot_be_written_does_not_end_the_watch(
    served: WorkerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "RETRY_S", 0.05)
    store = Store(tmp_path / "work" / "jobs.sqlite")
    pool = Pool(store.path, served)
    pool.start()
    try:
        until(lambda: pool.ready == 1)
        abandoned, failures = pool._store.abandoned, []

        def full(worker: str | None = None):
            if worker is not None and len(failures) < 3:
                failures.append(worker)
                raise sqlite3.OperationalError("database or disk is full")
            return abandoned(worker)

        monkeypatch.setattr(pool._store, "abandoned", full)
        os.kill(pool._processes[0].process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        until(lambda: pool.deaths == 1)
        until(lambda: pool.ready == 1)
        assert len(failures) == 3
    finally:
        pool.stop(0.1)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_worker_that_keeps_dying_does_not_hold_up_the_others(served: WorkerConfig, tmp_path: Path) -> None:
    store = Store(tmp_path / "work" / "jobs.sqlite")
    pool = Pool(store.path, replace(served, options=replace(served.options, workers=2)))
    pool.start()
    try:
        until(lambda: pool.ready == 2)
        first, second = pool._processes
        first.ready, first.pause = False, 100.0  # as if it had died at once, again and again
        os.kill(first.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        until(lambda: pool.deaths == 1)
        os.kill(second.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        until(lambda: pool.deaths == 2)
        until(lambda: pool.ready == 1)
        assert pool._processes[0] is first and first.due is not None  # still to come; the other was replaced before
    finally:
        pool.stop(0.1)
    assert not any(one.process.is_alive() for one in pool._processes)


# --- full disks, long histories, clocks ---


def test_a_full_disk_is_told_and_over_when_there_is_room(
    client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = client.app.state.server.store  # type: ignore[attr-defined]
    connected, limited = store._data.handle, True

    def full() -> connections._Handle:
        handle = connected()
        database = handle.connection
        pages = database.execute("PRAGMA page_count").fetchone()[0] if limited else 1 << 30
        database.execute(f"PRAGMA max_page_count = {pages}")
        return handle

    monkeypatch.setattr(store._data, "handle", full)
    large = json.loads(form(data)["data"])
    large[1]["description"] = "x" * 200_000
    for route, fields in (
        ("/process", form(data, data=json.dumps(large))),
        ("/v1/predictions", {"path": "talk.wav", "wait": "false"}),
    ):
        for _ in range(100):  # until the pages that there are have been filled
            answer = client.post(route, data=fields)
            if answer.status_code not in (200, 202):
                break
        assert answer.status_code == 507 and "full" in answer.json()["error"], answer.text
        assert "free some space" in answer.json()["error"]
    limited = False
    assert client.post("/process", data=form(data)).status_code == 200
    assert ended(client) == 2


def test_lists_of_jobs_do_not_hold_their_recordings(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite")
    store.submit("large", {"data": "ä" * 1_000_000, "short": "a\0b", "jobID": "large"})
    (listed,) = store.all()
    assert len(listed.form["data"]) == MOST_LISTED and listed.form["jobID"] == "large"
    assert len(store.get("large").form["data"]) == 1_000_000  # type: ignore[union-attr]


def test_what_belongs_to_forgotten_jobs_goes_with_them(tmp_path: Path, lite: Model) -> None:
    places = Places([tmp_path], tmp_path / "work")
    options = ServerOptions(keep_jobs=1)
    store = Store(tmp_path / "work" / "jobs.sqlite")
    places.uploads.mkdir(parents=True)
    for number in range(3):
        (places.uploads / f"{number}.wav").touch()
        places.results(f"{number}").mkdir(parents=True)
        store.submit(f"{number}", {"upload": f"{number}.wav"}, kind="prediction")
        job = store.claim("w")
        assert job is not None and store.end(job)
    (places.uploads / "other.wav").touch()
    history.forget(store, places, options)
    assert sorted(path.name for path in places.uploads.iterdir()) == ["2.wav", "other.wav"]
    assert len(list((tmp_path / "work" / "results").iterdir())) == 1
    (tmp_path / "work" / "results" / "half.1234.zip").touch()
    history.clear(store, places, options.keep_days)
    assert len(list((tmp_path / "work" / "results").iterdir())) == 1


def test_clocks_that_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "jobs.sqlite")
    for number, year in enumerate((2035, 2026, 1970, 2026)):
        for module in (stores, works):
            monkeypatch.setattr(module, "now", lambda year=year: f"{year}-06-01T00:00:00.000+00:00")
        store.submit(f"{number}", {})
        job = store.claim("w")
        assert job is not None and job.id == f"{number}"  # in the order of their numbers, whatever the clock says
        monkeypatch.setattr(works, "now", lambda year=year: f"{year - 1}-06-01T00:00:00.000+00:00")
        assert store.end(job)
    assert [job.id for job in store.all()] == ["0", "1", "2", "3"]
    assert {job.id for job in store.forget(most=3, days=36_500)} == {"2"}


# --- live streams ---


def test_others_are_served_while_a_stream_is_measured(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hung up meanwhile waited for the measuring, and everybody waited for it."""
    with client.websocket_connect("/v1/stream") as first:
        first.receive_json()
        reached, go_on = threading.Event(), threading.Event()

        def slow(model: Model, samples: int) -> float:
            reached.set()
            assert go_on.wait(60)
            return 0.001

        monkeypatch.setattr(capacity, "seconds", slow)
        second = client.websocket_connect("/v1/stream?left_context=500ms")
        entering = threading.Thread(target=second.__enter__)
        entering.start()
        assert reached.wait(60)
        first.close()
        assert client.get("/healthz").status_code == 200
        go_on.set()
        entering.join()
        assert "provenance" in second.receive_json()
        second.__exit__(None, None, None)


def test_a_stream_that_keeps_quiet_is_ended(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_route, "IDLE_S", 0.05)
    with client.websocket_connect("/v1/stream") as stream:
        stream.receive_json()
        assert "Nothing came for 0.05 s" in stream.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect):
            stream.receive_json()


def test_a_long_message_is_left_when_its_sender_hangs_up(lite: Model, data: Path, tmp_path: Path) -> None:
    """A megabyte at 1 kHz are nine minutes of sound."""
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work", max_streams=1)
    with server.running() as url:
        address = url.replace("http", "ws") + "/v1/stream?sampling_rate=1000"
        with connect(address, close_timeout=0.1, open_timeout=120) as stream:
            stream.recv()
            stream.send(bytes(1_000_000))
            assert json.loads(stream.recv())["index"] == 0  # rows come while the rest is computed
        until(lambda: _admitted(address))


def _admitted(address: str) -> bool:
    with connect(address, open_timeout=120) as stream:
        return "provenance" in json.loads(stream.recv())


# --- a real server under abuse ---


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files in /proc")
@pytest.mark.slow
def test_hang_ups_floods_and_nonsense_leave_nothing_open(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "long.wav", np.tile(sound, 20), rate)
    # as many streams as come: a busy machine would refuse some
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work", token="t", max_streams=100)
    headers = {"Authorization": "Bearer t"}
    with server.running() as url, httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        until(lambda: client.get("/readyz").status_code == 200)

        def raw(text: bytes) -> socket.socket:
            opened = socket.create_connection((host, port), timeout=300)
            opened.sendall(text)
            return opened

        def said(text: bytes) -> bytes:
            with raw(text) as opened:
                return opened.recv(100)

        def tour() -> None:
            auth = b"Host: 127.0.0.1\r\nAuthorization: Bearer t\r\n"
            # slow ones: headers and bodies that do not end
            slow = [raw(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ") for _ in range(100)]
            slow += [raw(b"POST /upload HTTP/1.1\r\n" + auth + b"Content-Length: 1000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
                         b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nhalf')
                     for _ in range(20)]  # fmt: skip
            assert client.get("/healthz").status_code == 200 and client.get("/data").status_code == 200
            for one in slow:
                one.close()
            # headers without end, nonsense, wrong lengths
            with contextlib.suppress(ConnectionError):  # it may hang up before all has been sent
                assert said(b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000).startswith(b"HTTP/1.1 431")
            for text in (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\0\0\0\0 \r\n\r\n"):
                raw(text + b"\r\n\r\n").close()
            for text in (b"Content-Length: -1", b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: \xb2",
                         b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer-Encoding: nonsense"):  # fmt: skip
                answer = said(b"POST /job_status HTTP/1.1\r\n" + auth + text + b"\r\n\r\nabc")
                assert not answer.startswith(b"HTTP/1.1 5"), (text, answer)
            # dead readers: events of a job that goes on, a result that nobody waits for
            job = client.post("/v1/predictions", data={"path": "long.wav", "wait": "false"}).json()["id"]
            for _ in range(10):
                raw(f"GET /v1/jobs/{job}/events HTTP/1.1\r\n".encode() + auth + b"\r\n").close()
            assert until(functools.partial(erased, client, job)).json()["state"] == "canceled"
            # a client that hangs up while it waits; windows of ten minutes take longer than anybody waits
            body = b"path=long.wav&left_context=600s"
            seen = len(client.get("/v1/jobs").json())
            with raw(b"POST /v1/predictions HTTP/1.1\r\n" + auth + b"Content-Type: application/x-www-form-urlencoded\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body) + body):  # fmt: skip
                until(lambda: len(client.get("/v1/jobs").json()) > seen)
            until(lambda: client.get("/v1/jobs?limit=1").json()[0]["state"] == "canceled")
            # WebSockets: no handshake, too much at once, half a message
            streams = url.replace("http", "ws") + "/v1/stream"
            for _ in range(5):
                raw(
                    b"GET /v1/stream HTTP/1.1\r\n" + auth + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                ).close()
                with connect(streams, additional_headers=headers, open_timeout=120) as stream:
                    stream.recv()
                    with pytest.raises(ConnectionClosed):
                        stream.send(bytes(3 << 20))
                        stream.recv(timeout=300)
                    assert stream.close_code in (1009, 1006)  # the latter where it hangs up before all has been sent

        def opened() -> int:
            gc.collect()
            return len(list(Path("/proc/self/fd").iterdir()))

        tour()  # what is made once: connections of threads, the live model
        until(lambda: client.get("/metrics").text.count("emow2v_streams 0.0") == 1)
        before = opened()
        for _ in range(3):
            tour()
        until(lambda: opened() <= before + 5)
        assert client.get("/healthz").status_code == 200
        until(lambda: not list((tmp_path / "work" / "uploads").glob("*")))  # of the halves that came
    of_server = [one for one in caplog.records if one.name != "websockets.client"]
    assert not [one.getMessage() for one in of_server if "Exception" in one.getMessage() or one.exc_info]


def test_a_name_of_unfinished_files_is_taken_from_no_request(data: Path) -> None:
    """`remove_unfinished_of` removes files named after the worker, with eight hexadecimal digits; nothing of a user's looks like that."""
    (data / ".hidden.abcd1234.part").touch()
    (data / "abcd.part").touch()
    files.remove_unfinished_of("beef", [data])
    assert len(list(data.iterdir())) == 3


def test_who_waits_when_the_server_stops_is_told_and_the_job_stays(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They got a 500 after five seconds, and their jobs were cancelled."""
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "long.wav", np.tile(sound, 20), rate)
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work", patience_s=0.1)
    server._server.config.timeout_graceful_shutdown = 300  # on a busy machine too all of them are told
    answers: list[httpx.Response] = []

    def wait(url: str) -> None:
        answers.append(httpx.post(f"{url}/v1/predictions", data={"path": "long.wav"}, timeout=60, trust_env=False))

    begun = threading.Event()

    def follow(url: str, job_id: str) -> None:
        with httpx.stream("GET", f"{url}/v1/jobs/{job_id}/events", timeout=60, trust_env=False) as answer:
            for _ in answer.iter_lines():
                begun.set()
        answers.append(answer)

    with server.running() as url:
        threads = [threading.Thread(target=wait, args=(url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(httpx.get(f"{url}/v1/jobs", trust_env=False, timeout=120).json()) == 2)
        job_id = httpx.get(f"{url}/v1/jobs", trust_env=False, timeout=120).json()[0]["id"]
        threads.append(threading.Thread(target=follow, args=(url, job_id)))
        threads[-1].start()
        assert begun.wait(60)
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
    assert all("goes on with its next start" in one.json()["error"] for one in answers if one.status_code == 503)
    jobs = Store(tmp_path / "work" / "jobs.sqlite").all()
    assert [job.status for job in jobs] == [Status.WAITING] * 2
    assert not [one.getMessage() for one in caplog.records if one.exc_info]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at open files in /proc")
def test_answers_do_not_wait_for_acknowledgements(data: Path, tmp_path: Path) -> None:
    """With Nagle's algorithm on, an answer's second part waits some 40 ms; asyncio turns it off for some listeners only."""
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work")
    with server.running() as url, httpx.Client(base_url=url, trust_env=False) as client:

        def accepted() -> list[int]:
            """Whether each connection that the server has accepted sends at once."""
            client.get("/healthz")  # it closes a connection that is idle for seconds
            found = []
            for path in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError):  # gone by now
                    if stat.S_ISSOCK(path.stat().st_mode):
                        with socket.socket(fileno=os.dup(int(path.name))) as one:
                            if one.family != socket.AF_INET or one.getsockname()[1] != urlsplit(url).port:
                                continue
                            if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                                found.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            return found

        assert all(until(accepted))
