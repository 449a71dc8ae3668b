"""Servers for tests: the application with a worker in a thread, so that a test chooses its models."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from starlette.applications import Starlette

from emow2v.cards import Card
from emow2v.cli.demo import request
from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.app import create_app
from emow2v.server.jobs import worker as module
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.worker import Worker
from emow2v.server.live.route import Live
from emow2v.server.models.held import DEFAULT, HeldModels, Limits
from emow2v.server.options import ServerOptions
from emow2v.server.state import ServerState


@dataclass(frozen=True)
class Loaded:
    """Models for a worker (`emow2v.server.jobs.worker.Models`) that are loaded already."""

    card: Card
    places: Places
    load: Callable[[str], Model]
    max_duration_s: float
    limits: Limits = DEFAULT
    workers: int = 1

    @property
    def warm(self) -> tuple[str, ...]:
        return (self.card.name,)


@dataclass
class Threads:
    """A worker in a thread; the same interface as `Pool`."""

    path: Path
    config: Loaded
    deaths = 0
    loads = 0

    def start(self) -> None:
        self.worker = Worker("thread", self.path, self.config)
        self.thread = threading.Thread(target=self.worker.work)
        self.thread.start()

    def wake(self) -> None:
        self.worker.receive(module.WAKE)

    @property
    def ready(self) -> int:
        return int(self.thread.is_alive())

    @property
    def models(self) -> list[dict[str, int]]:
        return [dict(self.worker.models.sizes)]

    def stop(self, patience_s: float) -> None:
        self.worker.receive(module.STOP)
        self.worker.receive(module.HURRY)
        self.thread.join()


def app(card: Card, data: list[Path], work: Path, load: Callable[[str], Model], **options: Any) -> Starlette:
    """The application with a worker in a thread. It answers to every name, unless `options` has another host."""
    chosen = ServerOptions(**{"host": "0.0.0.0", **options})
    places = Places(data, work, chosen.web, chosen.databases, chosen.overwrite, stores=chosen.data_stores)
    path = work / "jobs.sqlite"
    workers = Threads(path, Loaded(card, places, load, chosen.max_duration_s))
    live = Live(HeldModels(load), card, chosen.max_streams)
    return create_app(ServerState(chosen, card, places, Store(path), workers), live)


def form(data: Path, name: str, seconds: float, **changes: str) -> dict[str, str]:
    """A request for a recording of so many seconds."""
    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / f"{name}.wav", np.resize(signal_, int(seconds * rate)), rate)
    return request(data, data / f"{name}.wav") | {"jobID": name} | changes


def erased(client: httpx.Client, job_id: str) -> httpx.Response | None:
    """The answer to erasing a job; None as long as a worker of a busy machine has not noticed."""
    answer = client.delete(f"/v1/jobs/{job_id}")
    return None if answer.status_code == 429 else answer


def now(store: Store, name: str) -> Job:
    job = store.get(name)
    assert job is not None
    return job
