"""Annotations are written in steps, and any step may be the last."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emow2v.errors import DatabaseError
from emow2v.nova import writing
from emow2v.nova.connection import Credentials, Databases
from emow2v.nova.store import Dataset, Names
from emow2v.nova.writing import AnnotationChange

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

import nova_databases
from mongo_wire import MongoWire, mongo_wire

NAMES = Names("first", "anna", "arousal", "emow2v")
OLD = [{"score": 0.25, "conf": 1.0}] * 3
NEW = [{"score": 0.75, "conf": 0.5}] * 4


def opened(port: int, dataset: str) -> Dataset:
    host = f"127.0.0.1:{port}"
    return Dataset(Databases((host,), tls=False).connect(host, "", Credentials()), dataset)


@pytest.fixture
def ours(port: int, dataset: str, database: Any) -> Iterator[Dataset]:
    """The test's dataset as emow2v opens it."""
    one = opened(port, dataset)
    yield one
    one.connection.close()


def write(dataset: Dataset, labels: list[dict[str, float]]) -> AnnotationChange:
    change = AnnotationChange(dataset, dataset.place(NAMES))
    change.insert(labels)
    writing.apply([change])
    return change


def stored(database: Any) -> list[Any]:
    """The labels that each annotation names; None where it names nothing."""
    found = [database.AnnotationData.find_one({"_id": one["data_id"]}) for one in database.Annotations.find({})]
    return [one and one["labels"] for one in found]


def test_the_reference_loads_what_was_written(ours: Dataset, database: Any, reference: Any, dataset: str) -> None:
    write(ours, OLD).finish()
    assert reference.load(dataset, "arousal", "first", "emow2v", "anna").data.tolist() == [(0.25, 1.0)] * 3
    write(ours, NEW).finish()
    assert reference.load(dataset, "arousal", "first", "emow2v", "anna").data.tolist() == [(0.75, 0.5)] * 4
    assert stored(database) == [NEW] and len(list(database.AnnotationData.find({}))) == 1


def test_we_replace_what_the_reference_saved(ours: Dataset, database: Any, reference: Any, dataset: str) -> None:
    saved = reference.load(dataset, "arousal", "first", "emow2v", "anna", header_only=True)
    saved.data = [(0.5, 1.0)] * 50
    reference.save(saved, dataset, "first", "emow2v", "anna", "arousal")
    place = ours.place(NAMES)
    assert place.present is not None and not ours.is_ours(place)
    write(ours, NEW).finish()
    assert stored(database) == [NEW] and len(list(database.AnnotationData.find({}))) == 1
    assert ours.is_ours(ours.place(NAMES))


def test_the_same_labels_again_change_nothing(ours: Dataset, database: Any) -> None:
    write(ours, NEW).finish()
    before = list(database.Annotations.find({}))
    write(ours, NEW).finish()
    assert list(database.Annotations.find({})) == before and stored(database) == [NEW]


def test_the_same_labels_replace_those_that_somebody_changed_in_place(ours: Dataset, database: Any) -> None:
    write(ours, NEW).finish()
    database.AnnotationData.update_one({}, {"$set": {"labels": OLD}})
    assert not ours.is_ours(ours.place(NAMES))
    write(ours, NEW).finish()
    assert stored(database) == [NEW] and len(list(database.AnnotationData.find({}))) == 1


@pytest.mark.parametrize("first", [[], OLD], ids=["none", "old"])
def test_an_undone_change_leaves_what_was_there(ours: Dataset, database: Any, first: list[dict[str, float]]) -> None:
    if first:
        write(ours, first).finish()
        database.Annotations.update_one({}, {"$set": {"isFinished": True}})
    before = [list(database[name].find({})) for name in ("Annotations", "AnnotationData")]
    write(ours, NEW).undo()
    change = AnnotationChange(ours, ours.place(NAMES))
    change.insert(NEW)
    change.undo()
    assert [list(database[name].find({})) for name in ("Annotations", "AnnotationData")] == before


def test_a_locked_annotation_is_refused_also_when_it_is_locked_meanwhile(ours: Dataset, database: Any) -> None:
    write(ours, OLD).finish()
    change = AnnotationChange(ours, ours.place(NAMES))
    change.insert(NEW)
    database.Annotations.update_one({}, {"$set": {"isLocked": True}})
    with pytest.raises(
        DatabaseError, match="arousal of anna in the session first by emow2v is locked; unlock it in NOVA"
    ):
        writing.apply([change])
    with pytest.raises(DatabaseError, match="is locked"):
        ours.place(NAMES).refuse_locked()
    assert stored(database) == [OLD] and len(list(database.AnnotationData.find({}))) == 1


def test_an_annotation_that_was_changed_meanwhile_is_left(ours: Dataset, database: Any) -> None:
    first, second = (AnnotationChange(ours, ours.place(NAMES)) for _ in range(2))
    first.insert(OLD)
    second.insert(NEW)
    writing.apply([first])
    with pytest.raises(DatabaseError, match="was changed while the job ran; post the request again"):
        writing.apply([second])
    assert stored(database) == [OLD] and len(list(database.AnnotationData.find({}))) == 1


def test_of_several_annotations_all_or_none_change(ours: Dataset, database: Any) -> None:
    database.Schemes.insert_one({"name": "other", "type": "CONTINUOUS", "sr": 25.0, "min": 0.0, "max": 1.0})
    other = Names("first", "anna", "other", "emow2v")
    write(ours, OLD).finish()
    changes = [AnnotationChange(ours, ours.place(names)) for names in (NAMES, other)]
    for change in changes:
        change.insert(NEW)
    rival = AnnotationChange(ours, ours.place(other))
    rival.insert(OLD)
    writing.apply([rival])
    with pytest.raises(DatabaseError, match="other of anna in the session first by emow2v was changed while"):
        writing.apply(changes)
    assert stored(database) == [OLD, OLD]


# --- cuts, with the server of mongo_wire ---


@pytest.fixture
def wire(dataset: str) -> Iterator[MongoWire]:
    with mongo_wire() as server, pymongo.MongoClient("127.0.0.1", server.port, directConnection=True) as client:
        nova_databases.dataset(client[dataset])
        server.commands.clear()
        yield server


def at(number: int, kind: str, always: bool = False) -> Callable[[str, Any], Any]:
    """A fate for the command of that number (and, with `always`, for all that follow)."""
    count = iter(range(10_000))

    def fate(name: str, command: Any) -> str:
        here = next(count)
        return kind if here == number or (always and here > number) else ""

    return fate


def commands_of(wire: MongoWire, dataset: str) -> int:
    """Number of commands of an undisturbed change."""
    for labels in (OLD, NEW):
        wire.commands.clear()
        one = opened(wire.port, dataset)  # anew, since names are looked up once
        write(one, labels).finish()
        one.connection.close()
    return len(wire.commands)


def reset(wire: MongoWire, dataset: str) -> None:
    wire.fate = at(-1, "")
    for name in ("Annotations", "AnnotationData"):
        wire.collection(dataset, name).clear()
    one = opened(wire.port, dataset)
    write(one, OLD).finish()
    one.connection.close()


def named(wire: MongoWire, dataset: str) -> list[Any]:
    labels = {one["_id"]: one["labels"] for one in wire.collection(dataset, "AnnotationData")}
    return [labels.get(one["data_id"]) for one in wire.collection(dataset, "Annotations")]


@pytest.mark.parametrize("kind", ["cut", "lost"])
def test_a_connection_that_is_lost_once_at_any_point_loses_nothing(wire: MongoWire, dataset: str, kind: str) -> None:
    for number in range(commands_of(wire, dataset)):
        reset(wire, dataset)
        wire.fate = at(number, kind)
        one = opened(wire.port, dataset)
        write(one, NEW).finish()
        one.connection.close()
        assert named(wire, dataset) == [NEW], number
        assert len(wire.collection(dataset, "AnnotationData")) == 1, number


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "lost"])
def test_a_server_that_is_gone_from_any_point_leaves_the_old_or_the_new_whole(
    wire: MongoWire, dataset: str, kind: str
) -> None:
    seen = []
    for number in range(commands_of(wire, dataset)):
        reset(wire, dataset)
        wire.fate = at(number, kind, always=True)
        one = opened(wire.port, dataset)
        with pytest.raises(DatabaseError, match=r"does not answer; check that it runs"):
            write(one, NEW).finish()
        one.connection.close()
        seen += named(wire, dataset)
    assert OLD in seen and NEW in seen and all(one in (OLD, NEW) for one in seen)
