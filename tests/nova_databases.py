"""Databases for tests that speak MongoDB's protocol: briskdb in a process of its own, and the server of `mongo_wire`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from emow2v.trajectory import DIMENSIONS

SERVE = """
import sys, briskdb
with briskdb.open(sys.argv[1], config=briskdb.Config(shards=2, documents=True)) as database:
    served = database.serve(admin=None, mongo="127.0.0.1:0")
    print(served.mongo_address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def briskdb(folder: Path) -> Iterator[int]:
    """The port of a new briskdb while it runs, without users and TLS; documents have at most 0.5 MiB there."""
    if find_spec("briskdb") is None:
        pytest.skip("briskdb is not installed; it has no wheels for this system")
    command = [sys.executable, "-c", SERVE, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # it was seen to wait for ever at its end; nothing in it is kept
            process.kill()
            process.wait()
        process.stdout.close()


def dataset(database: Any, *, rate: float = 25.0, low: float = 0.0, high: float = 1.0) -> None:
    """Fill a database of pymongo as NOVA does for a study of two sessions with one scheme of each kind."""
    facts = {"location": "lab", "language": "de", "date": None, "duration": 0, "isValid": True}
    database.Sessions.insert_many([{"name": name, **facts} for name in ("first", "second")])
    database.Roles.insert_many([{"name": name, "isValid": True} for name in ("anna", "ben")])
    database.Annotators.insert_one({"name": "emow2v", "fullname": "emow2v", "email": "", "expertise": 0})
    facts = {"type": "CONTINUOUS", "sr": rate, "min": low, "max": high, "isValid": True}
    classes = [{"id": 0, "name": "talks", "color": "#FF0000", "isValid": True}, {"id": 1, "name": "laughs"}]
    schemes: list[dict[str, Any]] = [{"name": name, **facts} for name in ("arousal", "dominance", "valence")]
    schemes.append({"name": "activity", "type": "DISCRETE", "labels": classes, "isValid": True})
    schemes.append({"name": "transcript", "type": "FREE", "isValid": True})
    database.Schemes.insert_many(schemes)
    stream = {"name": "audio", "fileExt": "wav", "sr": 16000.0, "type": "audio", "dimlabels": [], "isValid": True}
    database.Streams.insert_one(stream)


def recordings(data: Path, study: str) -> str:
    """Give each session of a dataset a recording of anna, a second of speech; gives the dataset's name."""
    for session in ("first", "second"):
        (data / study / session).mkdir(parents=True)
        shutil.copyfile(data / "talk.wav", data / study / session / "anna.audio.wav")
    return study


def form(port: int, study: str, sessions: list[str], *, embedding: bool = False, **changes: str) -> dict[str, str]:
    """A request as NOVA's dialog builds it."""
    entries: list[dict[str, Any]] = [
        {"src": "db:stream:Audio", "type": "input", "id": "audio", "name": "audio", "role": "anna", "active": True}
    ]
    entries += [
        {"src": "db:annotation:Continuous", "type": "output", "id": name, "scheme": name, "annotator": "emow2v", "role": "anna"}
        for name in DIMENSIONS
    ]  # fmt: skip
    if embedding:
        entries.append(
            {"src": "db:stream:SSIStream", "type": "output", "id": "embedding", "name": "emow2v", "role": "anna"}
        )
    window = {"frameSize": "40", "leftContext": "960", "rightContext": "0", "force": "False"}
    where = {"dbHost": "127.0.0.1", "dbPort": str(port), "dbUser": "", "dbPassword": "", "dataset": study}
    named = {"jobID": "nova", "trainerFilePath": r"modules\emow2v\emow2v.trainer", "sessions": json.dumps(sessions)}
    return {**window, **where, **named, "data": json.dumps(entries), **changes}
