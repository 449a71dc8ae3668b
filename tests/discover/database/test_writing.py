"""Values over time as the labels of a scheme, loaded by the reference over the wire."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from emow2v.discover.database.writing import SessionWriting
from emow2v.errors import DatabaseError
from emow2v.framing import Framing
from emow2v.nova.connection import Credentials, Databases
from emow2v.nova.documents import StreamEntry
from emow2v.nova.store import Dataset, Names
from emow2v.rows import Block, Info

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

import nova_databases
from mongo_wire import MongoWire, mongo_wire

STUDY, NAMES = "study", Names("first", "anna", "valence", "emow2v")


@pytest.fixture
def wire() -> Iterator[MongoWire]:
    with mongo_wire() as server:
        yield server


def opened(port: int, **scheme: float) -> Dataset:
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True, retryWrites=False) as client:
        nova_databases.dataset(client[STUDY], **scheme)
    return Dataset(Databases((f"127.0.0.1:{port}",), tls=False).connect("127.0.0.1", str(port), Credentials()), STUDY)


def rows(count: int, first: int = 0, speech: Any = None) -> Block:
    generator = np.random.default_rng(count)
    starts = (first + np.arange(count)) * 0.04
    scores, confidence = generator.random((2, count, 3)).astype(np.float32)
    return Block(first, starts, starts + 0.04, np.zeros((count, 2), np.float32), scores, confidence, speech)


def write(dataset: Dataset, *blocks: Block, framing: Framing | None = None, gaps: bool = False) -> None:
    try:
        with SessionWriting(dataset, [("valence", dataset.place(NAMES))], [], gaps=gaps) as written:
            (writer,) = written.writers
            writer.open(Info("talk.wav", framing or Framing(), {}))
            for block in blocks:
                writer.add(block)
            writer.close()
            written.commit()
        assert written.notices == []
    finally:
        dataset.connection.close()


def loaded(port: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The annotation as the reference loads it."""
    handler = pytest.importorskip("discover_utils.data.handler.nova_db_handler").AnnotationHandler()
    monkeypatch.setenv("DISCOVER_USE_TLS", "false")
    handler.connect("127.0.0.1", port)
    annotation = handler.load(STUDY, "valence", "first", "emow2v", "anna")
    handler.client.close()
    return annotation


def test_values_at_the_rate_and_in_the_range_of_the_scheme(wire: MongoWire, monkeypatch: pytest.MonkeyPatch) -> None:
    block = rows(103)
    write(opened(wire.port, rate=5.0, low=-1.0, high=1.0), block)
    annotation = loaded(wire.port, monkeypatch)
    assert annotation.meta_data.duration == 4.0 and annotation.annotation_scheme.min_val == -1
    means = block.scores[:100, 2].reshape(20, 5).mean(axis=1)
    np.testing.assert_allclose(annotation.data["score"], 2 * means - 1, atol=1e-6)
    np.testing.assert_allclose(
        annotation.data["conf"], block.confidence[:100, 2].reshape(20, 5).mean(axis=1), atol=1e-6
    )


def test_rows_before_the_first_have_no_confidence(wire: MongoWire, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = rows(5, 3), rows(4, 8)
    write(opened(wire.port), first, second)
    data = loaded(wire.port, monkeypatch).data
    assert data[:3].tolist() == [(0.0, 0.0)] * 3
    np.testing.assert_array_equal(data["score"][3:], np.concatenate([first.scores, second.scores])[:, 2])


def test_rows_without_speech_are_gaps_where_these_are_asked_for(
    wire: MongoWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = rows(4, speech=np.array([0.9, 0.1, 0.2, 0.5], np.float32))
    write(opened(wire.port), block, gaps=True)
    data = loaded(wire.port, monkeypatch).data
    assert np.isnan(data["score"]).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(data["conf"], block.confidence[:, 2])


def test_values_beyond_the_range_are_clipped_and_none_becomes_the_lowest(
    wire: MongoWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = rows(3)
    block.scores[:, 2] = [-0.5, 1.5, np.nan]
    write(opened(wire.port, low=1.0, high=5.0), block)
    data = loaded(wire.port, monkeypatch).data
    assert data["score"].tolist() == [1, 5, 1] and data["conf"][2] == 0


def test_a_value_of_a_whole_recording_is_held(wire: MongoWire, monkeypatch: pytest.MonkeyPatch) -> None:
    block = rows(1)
    whole = Block(0, block.starts, np.array([2.02]), block.embeddings, block.scores, block.confidence)
    write(opened(wire.port), whole, framing=Framing.files())
    data = loaded(wire.port, monkeypatch).data
    assert len(data) == 50 and set(data["score"].tolist()) == {float(block.scores[0, 2])}


def test_after_an_error_the_database_is_as_before(wire: MongoWire) -> None:
    dataset = opened(wire.port)
    with (
        pytest.raises(KeyError),
        SessionWriting(
            dataset, [("valence", dataset.place(NAMES))], [StreamEntry("e", "stream", Fraction(25))], gaps=False
        ) as written,
    ):
        written.writers[0].open(Info("talk.wav", Framing(), {}))
        written.writers[0].add(rows(3))
        written.writers[0].close()
        assert len(wire.collection(STUDY, "AnnotationData")) == 1
        raise KeyError
    dataset.connection.close()
    assert wire.collection(STUDY, "AnnotationData") == wire.collection(STUDY, "Annotations") == []


def register(dataset: Dataset, rate: float, fails: bool = False) -> None:
    with SessionWriting(dataset, [], [StreamEntry("emow2v", "stream", Fraction(rate))], gaps=False) as written:
        written.commit()
        if fails:
            raise KeyError


def rates(wire: MongoWire) -> list[tuple[str, float]]:
    return [(one["name"], one["sr"]) for one in wire.collection(STUDY, "Streams")]


def test_a_stream_is_registered_once_and_has_the_rate_of_the_last_files(wire: MongoWire) -> None:
    dataset = opened(wire.port)
    dataset.check_stream(StreamEntry("emow2v", "stream", Fraction(25)))
    for rate in (25, 25, 12.5):
        register(dataset, rate)
    assert rates(wire) == [("audio", 16000), ("emow2v", 12.5)]
    (document,) = (one for one in wire.collection(STUDY, "Streams") if one["name"] == "emow2v")
    document |= {"dimlabels": [{"id": 0, "name": "one"}], "isValid": False}  # somebody's
    register(dataset, 5)
    assert document["sr"] == 5 and document["dimlabels"] and not document["isValid"]
    dataset.connection.close()


def test_a_stream_has_its_old_rate_after_an_error(wire: MongoWire) -> None:
    dataset = opened(wire.port)
    register(dataset, 25)
    with pytest.raises(KeyError):
        register(dataset, 5, fails=True)
    assert rates(wire)[1:] == [("emow2v", 25)]
    wire.fate = lambda name, command: "lost" if name == "update" else ""
    with pytest.raises(DatabaseError, match="does not answer"):  # it was done, and nobody knows
        register(dataset, 5)
    wire.fate = lambda name, command: ""
    register(dataset, 25)
    dataset.connection.close()
    assert rates(wire)[1:] == [("emow2v", 25)]


@pytest.mark.parametrize("fate", ["cut", "lost"])
def test_a_stream_is_registered_once_where_an_answer_is_lost(wire: MongoWire, fate: Any) -> None:
    dataset = opened(wire.port)
    for number, rate in enumerate((25, 5)):
        lost = iter([fate])
        wire.fate = lambda name, command, lost=lost: next(lost, "") if name in ("insert", "update") else ""
        register(dataset, rate)
        assert rates(wire)[1:] == [("emow2v", rate)] and next(lost, None) is None, number
    dataset.connection.close()


def test_a_stream_of_other_files_keeps_its_name(wire: MongoWire) -> None:
    dataset = opened(wire.port)
    register(dataset, 25)
    with pytest.raises(DatabaseError, match=r"has a stream audio of \.wav files; choose another name"):
        dataset.check_stream(StreamEntry("audio", "stream", Fraction(25)), overwrite=True)
    slower = StreamEntry("emow2v", "stream", Fraction(25, 2))
    with pytest.raises(DatabaseError, match=r"a stream emow2v of 25 Hz, and this request has 12\.5 Hz; choose another"):
        dataset.check_stream(slower)
    dataset.check_stream(slower, overwrite=True)
    dataset.connection.close()


@pytest.mark.slow
def test_four_hours_fit_and_the_reference_loads_them(wire: MongoWire, monkeypatch: pytest.MonkeyPatch) -> None:
    block = rows(4 * 3600 * 25)
    write(opened(wire.port), block)
    data = loaded(wire.port, monkeypatch).data
    np.testing.assert_array_equal(data["score"], block.scores[:, 2])


def test_more_values_than_a_document_holds_are_refused(wire: MongoWire) -> None:
    with pytest.raises(
        DatabaseError, match=r"would have 410000 values, 16\.\d MiB; a document of MongoDB holds 16 MiB"
    ):
        write(opened(wire.port, rate=25e3), rows(410))
    assert wire.collection(STUDY, "AnnotationData") == wire.collection(STUDY, "Annotations") == []


def test_a_server_that_takes_smaller_documents_is_told(tmp_path: Any) -> None:
    with nova_databases.briskdb(tmp_path) as port, pytest.raises(DatabaseError, match="takes no document so large"):
        write(opened(port), rows(20_000))
