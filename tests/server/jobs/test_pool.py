"""Workers as processes, and what becomes of jobs when they are killed."""

import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from emow2v.cli.demo import post
from emow2v.discover.places import Places
from emow2v.formats.ssi_read import read_annotation
from emow2v.model import Model
from emow2v.server.jobs import pool as pools
from emow2v.server.jobs.pool import Pool
from emow2v.server.jobs.store import Status, Store
from emow2v.server.jobs.worker import WorkerConfig
from emow2v.server.options import ServerOptions
from servers import form, now
from waiting import HANG_S, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work" / "jobs.sqlite")


@pytest.fixture
def served(data: Path, tmp_path: Path) -> WorkerConfig:
    return WorkerConfig(ServerOptions(threads=1), Places([data], tmp_path / "work"))


@contextlib.contextmanager
def running(store: Store, served: WorkerConfig, number: int = 1) -> Iterator[Pool]:
    pool = Pool(store.path, replace(served, options=replace(served.options, workers=number)))
    pool.start()
    try:
        until(lambda: pool.ready == number)
        yield pool
    finally:
        pool.stop(0.1)


def living(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop_worker(store: Store, pool: Pool) -> None:
    """Let the worker stand still, at a moment at which it does not write to the store."""
    (worker,) = pool._processes
    assert worker.process.pid is not None
    with store.locked():
        os.kill(worker.process.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED)


def whole(data: Path, name: str, rows: int) -> None:
    for dimension in ("arousal", "dominance", "valence"):
        assert len(read_annotation(data / f"{name}.{dimension}.annotation")) == rows


def hidden(data: Path) -> list[str]:
    return [path.name for path in data.iterdir() if path.name.startswith(".")]


def test_jobs_run_in_processes_and_a_killed_one_is_replaced(
    store: Store, served: WorkerConfig, data: Path, lite: Model
) -> None:
    with running(store, served) as pool:
        (worker,) = pool._processes
        store.submit("short", form(data, "short", 1))
        pool.wake()
        until(lambda: now(store, "short").status.ended)
        assert now(store, "short").status is Status.FINISHED
        assert now(store, "short").provenance["weights_sha256"] == lite.card.sha256
        scores = lite.predict(data / "short.wav").scores[:, 0]
        values = read_annotation(data / "short.arousal.annotation").values
        np.testing.assert_allclose(values, scores.clip(0, 1), atol=1e-5)

        store.submit("long", form(data, "long", 12))
        store.submit("next", form(data, "next", 1))
        pool.wake()
        until(lambda: now(store, "long").rows > 0)
        stop_worker(store, pool)
        assert hidden(data)
        os.kill(worker.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        until(lambda: now(store, "next").status.ended)
        assert pool.deaths == 1 and now(store, "long").status is Status.FINISHED and now(store, "long").attempts == 2
        log = "\n".join(store.lines(now(store, "long")))
        assert "The worker died (killed by signal 9); it goes on where its values ended" in log
        whole(data, "long", 300)
        assert not hidden(data)


def test_stopping_lets_what_runs_wait_for_the_next_start(
    store: Store, served: WorkerConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "HURRY_S", HANG_S)  # on a busy machine too it leaves by itself
    with running(store, served) as pool:
        store.submit("long", form(data, "long", 15))
        pool.wake()
        until(lambda: now(store, "long").rows > 0)
        processes = [one.process for one in pool._processes]
    assert not any(one.is_alive() for one in processes)
    job = now(store, "long")
    assert (job.status, job.attempts, job.started) == (Status.WAITING, 0, "")
    assert not hidden(data) and not list(data.glob("*.annotation*"))
    with running(store, served):
        store.cancel("long")


def test_cancel_reaches_the_process(
    store: Store, served: WorkerConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "STUCK_S", HANG_S)  # it looks between windows, which are of ten minutes here
    with running(store, served) as pool:
        store.submit("long", form(data, "long", 15, leftContext="600s"))  # would take hours
        store.submit("next", form(data, "next", 1))
        pool.wake()
        until(lambda: hidden(data))
        assert store.cancel("long")
        until(lambda: now(store, "next").status.ended)
        assert pool.deaths == 0  # it was not killed as one that had not noticed
        assert now(store, "long").status is Status.CANCELED and not list(data.glob("long.*annotation*"))
        assert not hidden(data)


def test_a_worker_that_does_not_notice_a_cancel_is_killed_and_leaves_nothing(
    store: Store, served: WorkerConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "STUCK_S", 0.1)
    with running(store, served) as pool:
        store.submit("long", form(data, "long", 30))
        store.submit("next", form(data, "next", 1))
        pool.wake()
        until(lambda: now(store, "long").rows > 0)
        assert hidden(data)
        stop_worker(store, pool)
        assert store.cancel("long")
        until(lambda: now(store, "next").status.ended)
        assert now(store, "next").status is Status.FINISHED and pool.deaths == 1
        assert now(store, "long").status is Status.CANCELED and store.unreleased() == []
        assert not hidden(data) and not list(data.glob("long.*annotation*"))


def test_a_cancelled_id_posted_again_while_the_worker_dies_leaves_only_the_new_job(
    store: Store, served: WorkerConfig, data: Path
) -> None:
    with running(store, served) as pool:
        store.submit("talk", form(data, "talk", 30))
        pool.wake()
        until(lambda: now(store, "talk").rows > 0)
        (worker,) = pool._processes
        stop_worker(store, pool)
        written = hidden(data)
        assert written and store.cancel("talk")
        again = store.submit("talk", form(data, "other", 1, jobID="talk"))
        os.kill(worker.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        until(lambda: now(store, "talk").status.ended)
        done = now(store, "talk")
        assert (done.number, done.status, done.attempts) == (again.number, Status.FINISHED, 1)
        assert pool.deaths == 1 and store.unreleased() == [] and not hidden(data)
        assert not list(data.glob("talk.*annotation*")) and not list(data.glob("talk.*stream*"))
        whole(data, "other", 25)
        assert not list(served.places.work_dir.rglob("*.part"))


def test_a_cancelled_id_posted_again_before_the_server_dies_leaves_only_the_new_job(
    store: Store, served: WorkerConfig, data: Path
) -> None:
    store.submit("talk", form(data, "talk", 1))
    assert store.claim("0123abcd") is not None
    results = served.places.results("talk")
    results.mkdir(parents=True)
    left = [data / ".talk.arousal.annotation.0123abcd00000000.part", results / ".rows.0123abcd00000000.part"]
    for path in left:
        path.write_text("half")
    assert store.cancel("talk")
    store.submit("talk", form(data, "talk", 1))
    pool = Pool(store.path, replace(served, options=replace(served.options, workers=0)))
    pool.start()  # as the next server does
    try:
        assert store.unreleased() == [] and not any(path.exists() for path in left)
        assert now(store, "talk").status is Status.WAITING and now(store, "talk").attempts == 0
    finally:
        pool.stop(0)


@pytest.mark.slow
def test_a_server_that_was_killed_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--data-dir", str(data), "--work-dir", str(work)]

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        return process, found[0]

    first, url = start()
    assert post(url, "process", form(data, "long", 15))["success"] == "True"
    assert post(url, "process", form(data, "queued", 1))["success"] == "True"
    store = Store(work / "jobs.sqlite")
    until(lambda: now(store, "long").rows > 0)
    workers = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.communicate()
    assert workers and now(store, "long").status is Status.RUNNING
    until(lambda: not any(map(living, workers)), "a worker survives its server")
    assert now(store, "long").rows < 375
    second, url = start()
    try:
        assert json.loads(json.dumps(post(url, "job_status", {"jobID": "long"}))).get("known") != "false"
        until(lambda: now(store, "queued").status.ended)
        assert now(store, "long").status is Status.FINISHED and now(store, "queued").status is Status.FINISHED
        whole(data, "long", 375)
        assert not hidden(data)
        third = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (
            third.returncode == 1
            and "is being used by another process; wait for it, or choose another --work-dir" in third.stderr
        )
    finally:
        second.terminate()
        second.communicate(timeout=HANG_S)


def test_one_wake_at_most_is_on_its_way() -> None:
    here, there = multiprocessing.Pipe()
    one = pools._Process("w", multiprocessing.current_process(), here, 0.0)

    def came() -> list[bytes]:
        words = []
        while there.poll():
            words.append(there.recv_bytes())
        return words

    for _ in range(100_000):  # nobody reads
        one.wake()
    assert came() == [b"wake"]
    there.send_bytes(b"heard")
    one.listen()
    assert came() == [b"wake"]  # what was asked for since
    there.send_bytes(b"heard")
    one.listen()
    assert came() == [] and not one.ready
    one.wake()
    there.send_bytes(b"ready")
    one.listen()
    assert came() == [b"wake"] and one.ready
    there.close()
    one.listen()
    one.wake()  # nobody is there any more
    one.send(b"stop")
    assert one.closed
    here.close()
