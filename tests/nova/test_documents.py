"""The reference reads what we build, and we read what it stores, over the wire of two servers."""

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from emow2v.errors import DatabaseError
from emow2v.nova import documents
from emow2v.nova.documents import Scheme, StreamEntry

SCHEME = {"name": "arousal", "type": "CONTINUOUS", "sr": 25.0, "min": -1.0, "max": 1.0}


def ids(database: Any, scheme: str) -> dict[str, Any]:
    """The `_id` of all that an annotation names."""
    names = {"Sessions": "first", "Annotators": "emow2v", "Roles": "anna", "Schemes": scheme}
    keys = ("session_id", "annotator_id", "role_id", "scheme_id")
    found = [database[collection].find_one({"name": name})["_id"] for collection, name in names.items()]
    return dict(zip(keys, found, strict=True))


def test_the_reference_loads_the_continuous_annotation_that_we_build(
    database: Any, dataset: str, reference: Any
) -> None:
    generator = np.random.default_rng(0)
    scores, confidence = generator.random(500), generator.random(500)
    scheme = documents.read_scheme(database.Schemes.find_one({"name": "arousal"}))
    labels = documents.continuous_labels(documents.in_range(scores, scheme), confidence)
    data_id = database.AnnotationData.insert_one({"labels": labels}).inserted_id
    date = datetime(2026, 11, 26, 12, tzinfo=UTC)
    database.Annotations.insert_one(documents.annotation(ids(database, "arousal"), data_id, date))
    loaded = reference.load(dataset, "arousal", "first", "emow2v", "anna")
    np.testing.assert_array_equal(loaded.data["score"], scores.astype(np.float32))
    np.testing.assert_array_equal(loaded.data["conf"], confidence.astype(np.float32))
    assert (loaded.annotation_scheme.sample_rate, loaded.meta_data.duration) == (25.0, 20.0)
    assert (loaded.meta_data.is_locked, loaded.meta_data.is_finished) == (False, False)
    assert loaded.meta_data.last_update == date.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("scheme", "rows", "labels"),
    [
        ("activity", [(0, 1500, 0, 1.0), (1500, 2250, 1, 0.5)], ["talks", "laughs"]),
        ("transcript", [(250, 1000, "Grüß Gott; ja", 1.0)], ["Grüß Gott; ja"]),
    ],
)
def test_we_read_the_segments_that_the_reference_stores(
    database: Any, dataset: str, reference: Any, scheme: str, rows: list[Any], labels: list[str]
) -> None:
    annotation = reference.load(dataset, scheme, "first", "emow2v", "ben", header_only=True)
    annotation.data = np.array(rows, annotation.annotation_scheme.label_dtype)
    reference.save(annotation, dataset, "first", "emow2v", "ben", scheme)
    stored = database.AnnotationData.find_one({"_id": database.Annotations.find_one({})["data_id"]})
    read = documents.read_turns(stored, documents.read_scheme(database.Schemes.find_one({"name": scheme})), "ben")
    found = [(one.start, one.end, one.speaker, one.tier, one.label) for one in read.segments]
    times = [(row[0] / 1000, row[1] / 1000) for row in rows]
    assert found == [(*time, "ben", scheme, label) for time, label in zip(times, labels, strict=True)]
    assert [(tier.name, tier.speaker) for tier in read.tiers] == [(scheme, "ben")]


def test_the_reference_finds_the_file_of_the_stream_that_we_build(
    database: Any, dataset: str, port: int, reference: Any, tmp_path: Any
) -> None:
    entry = StreamEntry("emow2v", "stream", Fraction(25))
    database.Streams.insert_one(documents.stream(entry))
    folder = tmp_path / "data" / dataset / "first"
    folder.mkdir(parents=True)
    header = (
        '<stream ssi-v="2"><info ftype="BINARY" sr="25.0" dim="2" byte="4" type="FLOAT" delim=" " /><meta type="" />'
    )
    (folder / entry.file("anna")).write_text(f'{header}<chunk from="0.0" to="0.12" byte="0" num="3" /></stream>')
    (folder / f"{entry.file('anna')}~").write_bytes(np.arange(6, dtype="<f4").tobytes())
    handler = pytest.importorskip("discover_utils.data.handler.nova_db_handler").StreamHandler(
        data_dir=tmp_path / "data"
    )
    handler.connect("127.0.0.1", port)
    loaded = handler.load(dataset, "first", "anna", "emow2v")
    handler.client.close()
    assert loaded.data.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (loaded.meta_data.db_sample_rate, loaded.meta_data.type, loaded.meta_data.is_valid) == (25, "feature", True)


def test_scores_of_0_to_1_lie_in_the_range_of_the_scheme() -> None:
    scheme = documents.read_scheme(SCHEME)
    assert scheme == Scheme("arousal", "CONTINUOUS", Fraction(25), -1, 1)
    assert documents.in_range(np.array([-0.5, 0, 0.25, 1, 1.2]), scheme).tolist() == [-1, -1, -0.5, 1, 1]
    assert np.isnan(documents.in_range(np.array([np.nan]), scheme)).all()


def test_a_rate_of_a_third_is_that() -> None:
    assert documents.read_scheme(SCHEME | {"sr": 1000 / 33}).rate == Fraction(1000, 33)


def test_labels_of_the_class_for_garbage_are_left_out() -> None:
    labels = [{"from": 0.0, "to": 1.0, "id": -1, "conf": 1.0}, {"from": 1, "to": 2, "id": 7, "conf": 1.0}]
    read = documents.read_turns({"labels": labels}, Scheme("activity", "DISCRETE", classes={0: "talks"}), "anna")
    assert [one.label for one in read.segments] == ["7"]
    assert read.notices == ("1 label of the class for garbage is left out",)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, "A scheme has nothing as its name; expected a text"),
        (SCHEME | {"type": "POLYGON"}, "The scheme arousal is of the type POLYGON; expected CONTINUOUS, DISCRETE"),
        (SCHEME | {"sr": "25"}, "The scheme arousal has 25 as its sr; expected a number"),
        (SCHEME | {"sr": True}, "has True as its sr; expected a number"),
        (SCHEME | {"sr": 10**400}, "as its sr; expected a number"),
        (SCHEME | {"sr": float("nan")}, "has nan as its sr; expected a number"),
        (SCHEME | {"sr": 0.0}, "has the sr 0; expected a rate in Hz"),
        (SCHEME | {"min": 1.0}, "has the range 1 to 1; expected min below max"),
        ({"name": "a", "type": "DISCRETE"}, "The scheme a has no list of labels"),
        (
            {"name": "a", "type": "DISCRETE", "labels": [{"id": 0.5, "name": "b"}]},
            "has 0.5 as its id; expected a whole",
        ),
        ({"name": "a", "type": "DISCRETE", "labels": [{"id": 0, "name": 3}]}, "has 3 as its name; expected a text"),
    ],
)
def test_a_scheme_that_cannot_be_used_is_refused(document: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatabaseError, match=sentence) as refused:
        documents.read_scheme(document)
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    ("scheme", "labels", "sentence"),
    [
        (Scheme("a", "CONTINUOUS"), [], "The annotation a of anna is continuous; expected a discrete or a free one"),
        (Scheme("a", "FREE"), None, "The annotation a of anna has no list of labels"),
        (Scheme("a", "FREE"), [3], "has no list of labels"),
        (Scheme("a", "FREE"), [{"from": 2.0, "to": 1.0, "name": "b"}], "a label from 2 to 1 s; expected its start"),
        (Scheme("a", "FREE"), [{"from": -1.0, "to": 1.0, "name": "b"}], "a label from -1 to 1 s"),
        (Scheme("a", "FREE"), [{"from": 0.0, "name": "b"}], "has nothing as its to; expected a number"),
        (Scheme("a", "FREE"), [{"from": 0.0, "to": 1.0}], "has nothing as its name; expected a text"),
        (Scheme("a", "DISCRETE"), [{"from": 0.0, "to": 1.0, "id": "x"}], "has x as its id; expected a number"),
    ],
)
def test_labels_that_are_no_segments_are_refused(scheme: Scheme, labels: Any, sentence: str) -> None:
    with pytest.raises(DatabaseError, match=sentence):
        documents.read_turns({"labels": labels}, scheme, "anna")


def test_a_stream_without_an_ending_is_refused() -> None:
    assert documents.read_stream({"name": "audio", "fileExt": ".wav"}).file("anna") == "anna.audio.wav"
    with pytest.raises(DatabaseError, match="The stream audio has no fileExt; expected the ending"):
        documents.read_stream({"name": "audio", "fileExt": ""})


@pytest.mark.parametrize(
    ("stated", "number"),
    [(25, 25), (12.5, 12.5), (30.303, 30.303), (0, 0), (-1, 0), (None, 0), ("25", 0), (True, 0), (1e9, 0), (float("nan"), 0)],
)  # fmt: skip
def test_numbers_that_need_not_be_there(stated: Any, number: float) -> None:
    assert float(documents.read_stream({"name": "audio", "fileExt": "wav", "sr": stated}).rate) == number
    assert float(documents.read_duration({"name": "first", "duration": stated})) == number
