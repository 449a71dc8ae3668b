"""A whole server in this process or in one of its own: it answers whatever its worker does, and leaves nothing open."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from emow2v.cli.demo import post, request
from emow2v.errors import Emow2vError
from emow2v.server.jobs.store import Status, Store
from emow2v.server.run import LoopErrors, Server
from object_stores import ObjectStore
from servers import form, now
from waiting import HANG_S, until
from webs import give, serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stops processes by signals")


def open_files(folder: Path) -> list[str]:
    """What this process has open below a folder."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except OSError:  # the handle of this very listing
            continue
    return [name for name in found if name.startswith(str(folder))]


def stands(pid: int | None, jobs: Path) -> bool:
    """Whether a worker stands still, and not in the middle of a transaction, which would stop everybody."""
    assert pid
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    with contextlib.closing(sqlite3.connect(jobs, timeout=1, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            return False
    return True


def test_a_worker_that_does_not_read_stops_nobody_else_and_no_handle_stays(data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    server = Server(port=0, data_dirs=[data], work_dir=work, patience_s=0)
    with server.running() as url, httpx.Client(base_url=url, timeout=120) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        (worker,) = [one for one in multiprocessing.active_children() if one.name.startswith("emow2v-worker-")]
        assert worker.pid
        until(lambda: stands(worker.pid, work / "jobs.sqlite"))
        for number in range(400):
            asked = request(data, data / "talk.wav") | {"jobID": f"{number}"}
            assert client.post("/process", data=asked).json()["success"] == "True"
        assert client.get("/healthz").status_code == 200 and client.get("/readyz").json()["workers"] == 1
        listed = client.get("/v1/jobs", params={"state": "waiting", "limit": 2}).json()
        assert [(job["id"], job["position"]) for job in listed] == [("399", 399), ("398", 398)]
        os.kill(worker.pid, signal.SIGCONT)
        until(lambda: client.post("/job_status", data={"jobID": "0"}).json()["status"] == 2)  # it goes on
        if sys.platform == "linux":
            assert open_files(work)
    if sys.platform == "linux":
        assert open_files(work) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_the_whole_group_lets_running_jobs_finish(data: Path, tmp_path: Path, name: str) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--patience", "120"]
    command += ["--data-dir", str(data), "--work-dir", str(work)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),  # also where the tests run under nohup
    )
    try:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url
        assert post(url[0], "process", form(data, "long", 12))["success"] == "True"
        store = Store(work / "jobs.sqlite")
        until(lambda: now(store, "long").rows > 0)
        os.killpg(process.pid, getattr(signal, name))
        _, said = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    job = now(store, "long")
    store.close()
    assert (job.status, job.attempts, job.rows, job.expected) == (Status.FINISHED, 1, 300, 300)
    assert "died" not in said and "Traceback" not in said, said


def test_a_server_that_was_told_to_stay_does_when_its_terminal_closes(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--data-dir", str(data)]
    process = subprocess.Popen(
        [*command, "--work-dir", str(tmp_path / "work")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup does
    )
    try:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url
        until(lambda: httpx.get(f"{url[0]}/readyz", timeout=120).status_code == 200)
        os.killpg(process.pid, signal.SIGHUP)
        assert httpx.post(f"{url[0]}/v1/predictions", data={"path": "talk.wav"}, timeout=120).status_code == 200
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=HANG_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert "died" not in said and "Traceback" not in said, said


def test_connections_that_cannot_be_taken_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    sparing = LoopErrors(lambda: now)
    loop = asyncio.new_event_loop()
    try:
        loop.set_exception_handler(sparing)
        refused = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
        with caplog.at_level(logging.ERROR):
            for _ in range(1000):
                loop.call_exception_handler(refused)
            now = 61.0
            loop.call_exception_handler(refused)
            assert [one.message for one in caplog.records] == [
                "connections wait (Too many open files); raise the limit of open files (ulimit -n) if it stays so"
            ] * 2
            caplog.clear()
            loop.call_exception_handler({"message": "a task failed", "exception": ZeroDivisionError()})
            assert [(one.message, bool(one.exc_info)) for one in caplog.records] == [("a task failed", True)]
    finally:
        loop.close()


@pytest.mark.skipif(sys.platform != "linux", reason="lowers the limit of open files")
def test_a_server_without_a_file_left_writes_little_and_goes_on(data: Path, tmp_path: Path) -> None:
    command = f"ulimit -n 60; exec {sys.executable} -m emow2v serve --port 0 --threads 1 --data-dir '{data}'"
    log = tmp_path / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["bash", "-c", f"{command} --work-dir '{tmp_path / 'work'}'"],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        url = re.search(r"http://127.0.0.1:(\d+)", process.stdout.readline())
        assert url
        until(lambda: httpx.get(f"{url[0]}/readyz", timeout=120).status_code == 200)
        held = [socket.create_connection(("127.0.0.1", int(url[1]))) for _ in range(100)]
        until(lambda: b"raise the limit of open files" in log.read_bytes())
        assert len(held) == 100
        for one in held:
            one.close()
        until(lambda: httpx.get(f"{url[0]}/healthz", timeout=120).status_code == 200)
        assert httpx.post(f"{url[0]}/v1/predictions", data={"path": "talk.wav"}, timeout=120).status_code == 200
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=HANG_S)
    assert log.stat().st_size < 20_000


def test_data_folders_at_addresses_are_looked_at_when_the_server_starts(tmp_path: Path, store: ObjectStore) -> None:
    pytest.importorskip("aiohttp")
    store.put("in/talk.wav", b"sound")
    with serving(lambda handler: give(handler, b'<a href="web.wav">web</a>')) as site:
        server = Server(port=0, data_dirs=["s3://study/in", site.url("/in")], work_dir=tmp_path / "work", threads=1)
        with server.running() as address:
            files = httpx.get(f"{address}/v1/files", timeout=120).json()["files"]
    assert [file["path"] for file in files] == ["talk.wav", "web.wav"]
    for address, said in (
        ("s3://study/in/talk.wav", "is no folder; expected one"),
        ("s3://study/none", "does not exist"),
    ):
        with pytest.raises(Emow2vError, match=said):
            Server(port=0, data_dirs=[address], work_dir=tmp_path / "work")


def test_models_that_cannot_stay_in_memory_are_refused_at_the_start(tmp_path: Path) -> None:
    for warm, most, sentence in (
        (("lite-frames",), 1, "are 2 models, more than --max-models 1; expected --max-models 2, or fewer of them"),
        (("lite-frame",), 2, "The model 'lite-frame' is not here; expected lite, "),
    ):
        with pytest.raises(Emow2vError, match=sentence):
            Server(port=0, work_dir=tmp_path / "work", warm=warm, max_models=most)
    assert not (tmp_path / "work").exists()
