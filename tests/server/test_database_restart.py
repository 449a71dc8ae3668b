"""A server that is killed while it writes to NOVA's database: the next one on the same work folder finishes the job."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

import nova_databases
from emow2v.trajectory import DIMENSIONS
from mongo_wire import mongo_wire
from waiting import HANG_S, until

PASSWORD = "s3cret-of-the-database"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to kill"),
]


@contextmanager
def serving(data: Path, work: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server and its address, in a process group of its own."""
    fixed = ("--port", "0", "--threads", "1", "--data-dir", str(data), "--work-dir", str(work))
    allowed = ("--allow-database", f"127.0.0.1:{port}", "--database-no-tls")
    process = subprocess.Popen(
        [sys.executable, "-m", "emow2v", "serve", *fixed, *allowed],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield process, found[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("write", [1, 4])
def test_the_next_server_finishes_what_a_killed_one_began(data: Path, tmp_path: Path, write: int) -> None:
    (data / "study" / "first").mkdir(parents=True)
    shutil.copyfile(data / "talk.wav", data / "study" / "first" / "anna.audio.wav")
    named = {"annotator": "emow2v", "role": "anna"}
    entries: list[dict[str, Any]] = [
        {"src": "db:stream", "type": "input", "id": "audio", "name": "audio", "role": "anna"}
    ]
    entries += [{"src": "db:annotation", "type": "output", "id": name, "scheme": name, **named} for name in DIMENSIONS]
    form = {"jobID": "job", "trainerFilePath": "emow2v.trainer", "dataset": "study", "sessions": '["first"]'}
    form |= {"dbHost": "127.0.0.1", "dbUser": "nova", "dbPassword": PASSWORD, "data": json.dumps(entries)}
    with mongo_wire({"nova": PASSWORD}) as wire:
        client = pymongo.MongoClient("127.0.0.1", wire.port, directConnection=True, username="nova", password=PASSWORD)
        with client:
            nova_databases.dataset(client["study"])
        with serving(data, tmp_path / "work", wire.port) as (process, url):
            writes, answered = iter(range(1000)), threading.Event()

            def kill(name: str, command: Any) -> str:
                if name not in ("insert", "update", "delete") or next(writes) != write:
                    return ""
                answered.wait(HANG_S)
                os.killpg(process.pid, signal.SIGKILL)
                return "lost"

            wire.fate = kill
            posted = httpx.post(f"{url}/process", data=form | {"dbPort": str(wire.port)}, timeout=120)
            assert posted.status_code == 200, posted.text
            answered.set()
            process.wait(timeout=300)
        wire.fate = lambda name, command: ""
        with serving(data, tmp_path / "work", wire.port) as (process, url):
            until(
                lambda: httpx.post(f"{url}/job_status", data={"jobID": "job"}, timeout=120).json() == {"status": 2},
                alive=lambda: process.poll() is None,
            )
            until(lambda: not list((tmp_path / "work" / "passwords").iterdir()))
        labels = {one["_id"]: one["labels"] for one in wire.collection("study", "AnnotationData")}
        annotations = wire.collection("study", "Annotations")
        assert len(annotations) == len(labels) == 3
        assert all(len(labels[one["data_id"]]) == 25 for one in annotations)
