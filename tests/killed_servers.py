"""Servers that a test kills and starts again on the same work folder, and a recording for them."""

import contextlib
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
from emow2v.engines.kept import has_grown
from emow2v.modelstore.verify import EXAMPLE
from waiting import HANG_S, until


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

        self.client = httpx.Client(base_url=until(address), timeout=HANG_S)
        until(lambda: self.client.get("/readyz").status_code == 200)

    def kill_worker(self) -> None:
        """Kill the worker, and wait until it is gone."""
        worker = until(self._worker)
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()  # type: ignore[union-attr]
        psutil.wait_procs([worker])

    def _worker(self) -> psutil.Process | None:
        """None where the next one has not started."""
        assert self.process is not None
        for one in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has just died
                if "spawn_main" in " ".join(one.cmdline()):
                    return one
        return None

    def kill_server(self) -> None:
        assert self.process is not None
        workers = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(workers, timeout=HANG_S)  # they notice that their parent is gone
        self.client.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(HANG_S)
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
        until(lambda: not self.goes_on(name))
        return self.job(name)

    def results(self, name: str) -> dict[str, bytes]:
        """All that the job left: its files, and its provenance."""
        job = self.ended(name)
        assert job["state"] == "finished", job
        files = {path.name: path.read_bytes() for path in self.places.results(name).iterdir()}
        return files | {"provenance": json.dumps(job["provenance"]).encode()}

    def log(self, name: str) -> str:
        return self.client.get(f"/log/{name}").text

    def begun(self, rows: int, **form: str) -> str:
        """A new job that has computed so many values and goes on; "" where it ended before anybody looked."""
        name = self.post(**form)
        until(lambda: (self.job(name)["rows"] > rows and self.keeps()) or not self.goes_on(name))
        return name if self.goes_on(name) else ""

    def keeps(self) -> bool:
        """Whether values of a job that goes on are in its file."""
        return any(map(has_grown, (self.places.work_dir / "computed").glob("*")))

    def goes_on(self, name: str) -> bool:
        return self.job(name)["state"] in ("waiting", "running")


def talk(folder: Path, seconds: int) -> None:
    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    noise = np.random.default_rng(0).normal(0, 0.001, seconds * rate)
    soundfile.write(folder / "talk.wav", np.resize(signal_, seconds * rate) + noise, rate)
