"""Servers that a test kills and starts again on the same work folder, and a recording for them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import soundfile

from emow2v.discover.places import Places
from emow2v.modelstore.verify import EXAMPLE
from waiting import until


class Served:
    """A server of one worker on a work folder, which can be killed and started again.

    Args:
        port: to listen on; 0 for any, another one at each start
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder, self.places, self.port = folder, Places([], folder / "work"), port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "emow2v",
            "serve",
            "--port",
            str(self.port),
            "--threads",
            "1",
            "--keep-jobs",
            "10",
        ]
        command += ["--work-dir", str(self.folder / "work"), "--data-dir", str(self.folder)]
        log = (self.folder / "log").open("ab")
        begin = log.tell()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()

        def address() -> str:
            assert self.process is not None and self.process.poll() is None
            found = re.search(rb"http://\S+", (self.folder / "log").read_bytes()[begin:])
            return found[0].decode() if found else ""

        self.client = httpx.Client(base_url=until(address), timeout=60)
        until(lambda: self.client.get("/readyz").status_code == 200)

    @property
    def worker(self) -> psutil.Process:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return next(one for one in children if "spawn_main" in " ".join(one.cmdline()))

    def kill_server(self) -> None:
        assert self.process is not None
        workers = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(workers, timeout=60)  # they notice that their parent is gone
        self.client.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)
            self.client.close()

    def post(self, **form: str) -> str:
        with (self.folder / "talk.wav").open("rb") as file:
            answer = self.client.post("/v1/predictions", data=form | {"wait": "false"}, files={"file": file})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{name}").json()
        return found

    def ended(self, name: str) -> dict[str, Any]:
        return until(lambda: job if (job := self.job(name))["state"] not in ("waiting", "running") else {})

    def results(self, name: str) -> dict[str, bytes]:
        """All that the job left: its files, and its provenance."""
        job = self.ended(name)
        assert job["state"] == "finished", job
        files = {path.name: path.read_bytes() for path in self.places.results(name).iterdir()}
        return files | {"provenance": json.dumps(job["provenance"]).encode()}

    def log(self, name: str) -> str:
        return self.client.get(f"/log/{name}").text

    def begun(self, name: str, rows: int) -> bool:
        """Whether a job has computed so many values and goes on."""
        job = self.job(name)
        assert job["state"] in ("waiting", "running"), job
        return bool(job["rows"] > rows and any((self.places.work_dir / "computed").glob("*")))


def talk(folder: Path, seconds: int) -> None:
    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    noise = np.random.default_rng(0).normal(0, 0.001, seconds * rate)
    soundfile.write(folder / "talk.wav", np.resize(signal_, seconds * rate) + noise, rate)
