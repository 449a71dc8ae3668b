"""Nodes of a cluster of Ray on this computer, each a group of processes that can be killed as by a power cut."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from waiting import until

_TOKEN = secrets.token_hex(32)
ENVIRONMENT = {  # of nodes and commands; the packages of the tests, and a secret of their own
    **os.environ,
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": _TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


class Nodes:
    """A head, which has no processors for work by itself, and nodes that come and go.

    Attributes:
        address: HOST:PORT of the head
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        port, other = _free_ports()
        self.address = f"127.0.0.1:{port}"
        head = [
            "--head",
            f"--port={port}",
            "--include-dashboard=false",
            f"--ray-client-server-port={other}",
            "--num-cpus=0",
        ]
        process = self._start(*head, f"--temp-dir={folder}", "--disable-usage-stats")
        until(self._answers, "the head did not start", alive=lambda: process.poll() is None)

    def add(self, cpus: int = 1, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a node, and wait until it has joined the cluster."""
        said = self._folder / f"{len(self._processes)}.log"
        process = self._start(f"--address={self.address}", f"--num-cpus={cpus}", environment=environment)
        until(
            lambda: b"Ray runtime started" in said.read_bytes(),
            "a node did not start",
            alive=lambda: process.poll() is None,
        )
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a node with all its processes, as by a power cut."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in reversed(self._processes):
            self.kill(process)

    def _start(self, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--block"]
        with (self._folder / f"{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--object-store-memory=100000000"],
                env={**ENVIRONMENT, **(environment or {})},
                start_new_session=True,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            host, port = self.address.split(":")
            socket.create_connection((host, int(port)), 1).close()
            return True
        return False


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@contextlib.contextmanager
def nodes() -> Iterator[Nodes]:
    """A head within the block; its folder has a short path, since Ray makes sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    try:
        cluster = Nodes(folder)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
