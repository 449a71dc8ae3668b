"""Laboratories for tests: a server with named tokens, whose jobs wait until a test runs them."""

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import soundfile
from starlette.applications import Starlette
from starlette.testclient import TestClient

from emow2v.cards import find
from emow2v.cli.demo import request
from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.app import create_app
from emow2v.server.jobs.store import Store
from emow2v.server.live.route import Live
from emow2v.server.models.held import HeldModels
from emow2v.server.options import ServerOptions
from emow2v.server.people.tokens import Tokens
from emow2v.server.state import ServerState

SINGLE = "the single token"


class Idle:
    """Workers that run nothing, so that jobs wait."""

    ready = deaths = loads = 0
    models: ClassVar[list[dict[str, int]]] = []

    def start(self) -> None: ...
    def wake(self) -> None: ...
    def stop(self, patience_s: float) -> None: ...


@dataclass
class Laboratory:
    """A server with names.

    Attributes:
        tokens: by name
    """

    app: Starlette
    work: Path
    data: Path
    store: Store
    tokens: dict[str, str]

    def client(self, name: str) -> TestClient:
        """A client of a person, or of nobody."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}"} if name else {}
        return TestClient(self.app, headers=headers, raise_server_exceptions=False, follow_redirects=False)

    def snapshot(self) -> dict[str, str]:
        """The tables of the store, and the digests of all files."""
        with contextlib.closing(sqlite3.connect(self.store.path)) as database:
            dump = "\n".join(database.iterdump())
        left_out = ("jobs.sqlite", "audit.ndjson")
        files = [path for root in (self.work, self.data) for path in root.rglob("*") if path.is_file()]
        return {"the store": dump} | {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if not path.name.startswith(left_out)
        }


def tokens_of(work: Path) -> dict[str, str]:
    """Tokens of two members, an administrator and a program for metrics, and the single one."""
    tokens = Tokens(work)
    made = {name: tokens.add(name) for name in ("anna", "bob")}
    made["boss"] = tokens.add("boss", "administrator")
    made["prometheus"] = tokens.add("prometheus", "metrics")
    return made | {SINGLE: SINGLE}


def idle(
    folder: Path, *, token: str = SINGLE, named: bool = True, model: Model | None = None, **options: Any
) -> Laboratory:
    """A laboratory whose jobs wait.

    Args:
        named: there are tokens with names, as `tokens_of` makes them if there are none
        model: of live streams; default: none may begin
    """
    data, work = folder / "data", folder / "work"
    data.mkdir(exist_ok=True)
    made = tokens_of(work) if named and not (work / "tokens.json").exists() else {}
    chosen = ServerOptions(host="0.0.0.0", token=token, data_dirs=(data,), **options)
    store, places = Store(work / "jobs.sqlite"), Places([data], work)

    def load(name: str) -> Model:
        assert model is not None, "no stream here"
        return model

    state = ServerState(chosen, find("lite"), places, store, Idle())
    made_app = create_app(state, Live(HeldModels(load), state.card))
    made_app.state.server = state  # the application is not started, so that its store stays open
    return Laboratory(made_app, work, data, store, made)


def short(folder: Path, name: str = "short.wav", seconds: float = 1) -> Path:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / name, signal[rate : rate + int(seconds * rate)], rate)
    return folder / name


def to_fetch(folder: Path, upload: str = "", **changes: str) -> dict[str, str]:
    """A DISCOVER request whose outputs are fetched."""
    data = json.loads(request(folder, folder / "short.wav")["data"].replace('"file:', '"request:'))
    data[0] = {"src": "request:stream:audio", "type": "input", "id": "audio", "data": upload}
    if not upload:
        data[0] = {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "short.wav"}
    return request(folder, folder / "short.wav") | {"data": json.dumps(data)} | changes
