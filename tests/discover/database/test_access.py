"""Requests with `db:` as tasks: durations of sessions, rates of streams, and a database that is lost at any point."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from emow2v.discover.observer import Observer
from emow2v.discover.places import Places
from emow2v.discover.task import DiscoverTask
from emow2v.errors import DatabaseError, Emow2vError, RequestError
from emow2v.formats.ssi_read import read_stream
from emow2v.model import Model
from emow2v.nova.connection import Databases

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

import nova_databases
from mongo_wire import MongoWire, mongo_wire
from nova_databases import form

STUDY, OVERWRITE = "study", json.dumps({"overwrite": True})


class Sentences(Observer):
    """Keeps the notices of a job."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, sentences: Any) -> None:
        self.notices += sentences


@pytest.fixture
def wire(data: Path) -> Iterator[MongoWire]:
    nova_databases.recordings(data, STUDY)
    with mongo_wire() as server:
        with pymongo.MongoClient("127.0.0.1", server.port, directConnection=True) as client:
            nova_databases.dataset(client[STUDY])
        server.commands.clear()
        yield server


@pytest.fixture
def run(wire: MongoWire, data: Path, tmp_path: Path, lite: Model) -> Callable[..., list[str]]:
    """Checks and carries out a request; gives its notices."""

    def carry_out(embedding: bool = False, overwrite: bool = False, reached_s: float = 60, **changes: str) -> list[str]:
        databases = Databases((f"127.0.0.1:{wire.port}",), tls=False, reached_s=reached_s)
        places = Places([data], tmp_path / "work", databases=databases, overwrite=overwrite)
        observer = Sentences()
        posted = form(wire.port, STUDY, ["first"], embedding=embedding) | changes
        with closing(DiscoverTask("nova", posted, places)) as task:
            task.check(lite.card)
            task.run(lite, observer)
        return observer.notices

    return carry_out


def counts(wire: MongoWire) -> list[int]:
    """Number of labels of each annotation, in the order in which they were made."""
    labels = {one["_id"]: one["labels"] for one in wire.collection(STUDY, "AnnotationData")}
    return [len(labels[one["data_id"]]) for one in wire.collection(STUDY, "Annotations")]


@pytest.mark.parametrize(
    ("duration", "changes", "count"),
    [
        (0, {}, 25),
        (None, {}, 25),
        (3600, {}, 25),  # a session has no values where its recording has ended
        (0.5, {}, 12),
        (0.5, {"end": "0.4s"}, 10),
        (0.5, {"end": "0.8s"}, 12),
        (0.5, {"frameSize": "0"}, 12),  # one value for all, held
    ],
)
def test_values_end_with_the_session_as_those_of_the_reference(
    run: Callable[..., list[str]], wire: MongoWire, duration: float | None, changes: dict[str, str], count: int
) -> None:
    wire.collection(STUDY, "Sessions")[0]["duration"] = duration
    notices = run(**changes)
    assert counts(wire) == [count] * 3
    said = "Values end at 0.5 s, as the session does in the database."
    assert (said in notices) == (duration == 0.5 and "0.4s" not in changes.values())


def test_a_session_that_is_too_short_for_a_value_is_refused(run: Callable[..., list[str]], wire: MongoWire) -> None:
    wire.collection(STUDY, "Sessions")[0]["duration"] = 0.03
    with pytest.raises(RequestError, match=r"The session first lasts 0\.03 s in the database, .* or set it to 0\."):
        run()
    assert set(wire.commands) == {"find"}


def test_a_stream_of_another_rate_is_replaced_only_on_request(
    run: Callable[..., list[str]], wire: MongoWire, data: Path
) -> None:
    audio, *_, stream = json.loads(form(wire.port, STUDY, [], embedding=True)["data"])
    posted = {"data": json.dumps([audio, stream]), "leftContext": "920"}
    run(data=posted["data"])
    path = data / STUDY / "first" / "anna.emow2v.stream"
    with pytest.raises(DatabaseError, match=r"a stream emow2v of 25 Hz, and this request has 12\.5 Hz; choose"):
        run(**posted, frameSize="80")
    assert read_stream(path).sampling_rate == 25
    run(**posted, frameSize="80", options=OVERWRITE)
    entry = next(one for one in wire.collection(STUDY, "Streams") if one["name"] == "emow2v")
    assert entry["sr"] == read_stream(path).sampling_rate == 12.5


def test_an_administrator_may_let_every_request_overwrite_but_no_locked_annotation(
    run: Callable[..., list[str]], wire: MongoWire
) -> None:
    run()
    with pytest.raises(RequestError, match="is there already"):
        run(end="0.4s")
    run(end="0.4s", overwrite=True)
    assert counts(wire) == [10] * 3 and len(wire.collection(STUDY, "AnnotationData")) == 3
    wire.collection(STUDY, "Annotations")[1]["isLocked"] = True
    with pytest.raises(DatabaseError, match=r"The annotation dominance of anna .* is locked; unlock it in NOVA"):
        run(overwrite=True)
    assert counts(wire) == [10] * 3


@pytest.mark.parametrize("field", ["dataset", "sessions", "dbHost"])
def test_a_request_says_where_its_data_lie(run: Callable[..., list[str]], wire: MongoWire, field: str) -> None:
    with pytest.raises(RequestError, match=f"data has the origin db:, but {field} is missing; expected"):
        run(**{field: " "})
    assert wire.commands == []


# --- a database that is lost while a request runs, which replaces three annotations and a stream ---


def state(wire: MongoWire, data: Path) -> tuple[list[int], float, int]:
    """Labels of each annotation, and rate and rows of the stream."""
    stream = read_stream(data / STUDY / "first" / "anna.emow2v.stream")
    return counts(wire), stream.sampling_rate, len(stream.data)


def lose(wire: MongoWire, number: int, fate: str, always: bool) -> None:
    """Lose the command of that number and, with `always`, all that follow."""
    passed = iter(range(10_000))

    def decide(name: str, command: Any) -> Any:
        here = next(passed)
        return fate if here == number or (always and here > number) else ""

    wire.fate = decide


SLOWER = {"frameSize": "80", "leftContext": "920", "options": OVERWRITE}


@pytest.mark.slow
@pytest.mark.parametrize("fate", ["cut", "lost"])
@pytest.mark.parametrize("always", [False, True], ids=["once", "for good"])
def test_a_database_that_is_lost_at_any_point_has_the_old_or_the_new_whole(
    run: Callable[..., list[str]], wire: MongoWire, data: Path, fate: str, always: bool
) -> None:
    run(embedding=True)
    for scheme in wire.collection(STUDY, "Schemes")[:3]:
        scheme["sr"] = 12.5
    old = state(wire, data)
    wire.commands.clear()
    run(embedding=True, **SLOWER)
    new, steps = state(wire, data), len(wire.commands)
    assert old == ([25] * 3, 25, 25) and new == ([12] * 3, 12.5, 12)
    seen: set[str] = set()
    # each loss for good is waited for; every point of one annotation alone is in tests/nova/test_writing.py
    for number in range(fate == "lost", steps + 1, 3 if always else 1):
        lose(wire, -1, "", False)
        for name in ("Annotations", "AnnotationData"):
            wire.collection(STUDY, name).clear()
        run(embedding=True, options=OVERWRITE)
        before = [one["data_id"] for one in wire.collection(STUDY, "Annotations")]
        lose(wire, number, fate, always)
        failed = False
        try:
            run(embedding=True, reached_s=1.5 if always else 60, **SLOWER)
        except Emow2vError as error:
            assert "does not answer; check that it runs" in str(error) and "\n" not in str(error)
            failed = True
        after = [one["data_id"] for one in wire.collection(STUDY, "Annotations")]
        labels = {one["_id"] for one in wire.collection(STUDY, "AnnotationData")}
        assert set(after) <= labels, number  # each annotation has labels, old or new
        rate = state(wire, data)[1]
        if not failed:
            assert rate == 12.5 and not set(before) & set(after), number
            assert always or labels == set(after), number
        else:
            assert always and rate == 25, (
                number
            )  # the files of a session appear together with their annotations, or not
        seen.add("new" if not failed else "old" if before == after else "mixed")
    assert "new" in seen and ("old" in seen) == always
