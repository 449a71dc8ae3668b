"""SSI pairs: what is written is read by the reference and by us; whatever is read, nothing but FormatError comes out."""

import base64
import json
import logging
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emow2v import formats
from emow2v.errors import FormatError
from emow2v.formats import AnnotationFacts
from emow2v.formats.ssi import Annotation, AnnotationWriter, StreamWriter, read_annotation, read_stream
from emow2v.framing import Framing
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory

pytestmark = pytest.mark.quick

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "spec" / "golden"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"the recorded samples of the reference are not at {GOLDEN}"
)
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example overwrites its files

PROVENANCE: dict[str, str | float] = {
    "model": "lite",
    "model_version": "1.0",
    "weights_sha256": "0123456789abcdef" * 4,
    "licence": "Apache-2.0",
    "citation": 'Somebody & "others" <2026>',
    "engine": "numpy",
    "precision": "float32",
    "software": "emow2v 0.0",
}


def rows_of(scores: Any, framing: Framing, first: int = 0, confidence: Any = None) -> Block:
    """A block whose embeddings say which row they belong to."""
    scores = np.asarray(scores, np.float32).reshape(-1, 3)
    count = len(scores)
    starts, ends = framing.times(first, count)
    sure = np.ones((count, 3)) if confidence is None else np.asarray(confidence).reshape(-1, 3)
    embeddings = (np.arange(first, first + count)[:, None] + np.arange(1024) / 1024).astype(np.float32)
    return Block(first, starts, ends, embeddings, scores, sure.astype(np.float32))


def trajectory(*blocks: Block, framing: Framing | None = None) -> Trajectory:
    return Trajectory(Info("talk.wav", framing or Framing(), PROVENANCE), lambda: iter(blocks))


def annotate(
    path: Path, one: Trajectory, *, role: str = "", low: float = 0, high: float = 1, **options: str
) -> AnnotationWriter:
    writer = AnnotationWriter(path, "arousal", facts=AnnotationFacts(role, low, high), **options)
    formats.record(one, [writer])
    return writer


def stream(path: Path, one: Trajectory) -> None:
    formats.record(one, [StreamWriter(path)])


def data_of(path: Path) -> bytes:
    return path.with_name(path.name + "~").read_bytes()


def pair(path: Path, header: str | bytes, data: bytes | None) -> Path:
    path.write_bytes(header if isinstance(header, bytes) else header.encode())
    beside = path.with_name(path.name + "~")
    beside.unlink(missing_ok=True)
    if data is not None:
        beside.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def reference() -> Iterator[Callable[[Path], Any]]:
    """The reference's reader; what it warns of on its own account is not ours."""
    pytest.importorskip("discover_utils", reason="hcai-discover-utils is not installed")
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from discover_utils.data.handler.file_handler import FileHandler

    def load(path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return FileHandler().load(path)

    yield load
    logging.disable(logging.NOTSET)


# ------------------------------------------------------------------------------------------- annotations written


def test_annotation_is_what_the_specification_says(tmp_path: Path) -> None:
    path = tmp_path / "talk.arousal.annotation"
    annotate(path, trajectory(rows_of([[0.25, 0, 0], [0.123456789, 0, 0]], Framing())))
    assert data_of(path) == b"0.250000;1.000000\n0.123457;1.000000\n"
    header = path.read_bytes()
    assert header.startswith(
        b'<annotation ssi-v="3">\n    <info ftype="ASCII" size="2" />\n    <meta role="" annotator='
    )
    root = ElementTree.fromstring(header)
    scheme = root.find("scheme")
    meta = root.find("meta")
    assert scheme is not None and meta is not None
    assert dict(scheme.attrib) == {
        "name": "arousal", "type": "CONTINUOUS", "sr": "25.000", "min": "0", "max": "1"
    }  # fmt: skip
    assert meta.attrib["annotator"] == "emow2v lite 1.0"
    assert meta.attrib["description"] == (
        "model: lite 1.0; weights sha256: 0123456789ab; engine: numpy float32; framing: step 40 ms, frame 40 ms, "
        "context 960 ms left and 0 ms right, edge padding; software: emow2v 0.0; licence: Apache-2.0; "
        'citation: Somebody & "others" <2026>'
    )


def test_every_dimension_takes_its_own_column_and_confidence(tmp_path: Path) -> None:
    confidence = [[0.5, 0.6, 0.7]] * 2
    one = trajectory(rows_of([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], Framing(), confidence=confidence))
    formats.write(one, tmp_path / "talk.annotation")
    for column, dimension in enumerate(DIMENSIONS):
        found = read_annotation(tmp_path / f"talk.{dimension}.annotation")
        assert found.name == dimension
        assert np.allclose(found.scores, [0.1 + column / 10, 0.4 + column / 10], atol=1e-6)
        assert np.allclose(found.confidence, 0.5 + column / 10, atol=1e-6)


def test_reference_reads_annotations(tmp_path: Path, reference: Callable[[Path], Any]) -> None:
    generator = np.random.default_rng(1)
    scores = generator.random((60, 3), np.float32)
    blocks = [rows_of(scores[:50], Framing()), rows_of(scores[50:], Framing(), first=50)]
    path = tmp_path / "talk.annotation"
    annotate(path, trajectory(*blocks), scheme="energie", role='Kundin <1> & "Ärzt"\n😀', annotator="änn")
    theirs = reference(path)
    assert np.allclose(theirs.data["score"], scores[:, 0], atol=1e-6)
    assert (theirs.data["conf"] == 1).all()
    assert theirs.annotation_scheme.sample_rate == 25
    assert (theirs.annotation_scheme.min_val, theirs.annotation_scheme.max_val) == (0, 1)
    assert theirs.annotation_scheme.name == "energie"
    assert theirs.meta_data.role == 'Kundin <1> & "Ärzt"\n😀'
    assert theirs.meta_data.annotator == "änn"
    assert theirs.meta_data.description.startswith("model: lite 1.0; ")
    assert path.read_bytes().isascii()


@one_folder
@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_can_be_a_role(tmp_path: Path, role: str) -> None:
    path = tmp_path / "x.annotation"
    annotate(path, trajectory(rows_of([0, 0, 0], Framing())), role=role, scheme=role, annotator="a" + role)
    header = path.read_bytes()
    assert header.isascii()
    allowed = "".join(
        c for c in role if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
    found = read_annotation(path)
    assert (found.role, found.annotator) == (allowed, "a" + allowed)


def test_characters_that_xml_forbids_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.annotation"
    annotate(path, trajectory(rows_of([0, 0, 0], Framing())), role="a\x00\x0b\ud800\uffffb")
    assert read_annotation(path).role == "ab"


@pytest.mark.parametrize(
    ("step_ms", "written"),
    [
        (40, "25.000"), (20, "50.000"), (1000, "1.000"), (33, "30.303030303"), (33.3, "30.030030030"), (7, "142.857142857"),
        (16, "62.500"), (3000, "0.333333333"), (64, "15.625"), (128, "7.8125"), (0.1, "10000.000"), (3600000, "0.000277777778"),
    ],
)  # fmt: skip
def test_rates_are_as_long_as_they_need(
    tmp_path: Path, reference: Callable[[Path], Any], step_ms: float, written: str
) -> None:
    framing = Framing(frame_step_ms=step_ms, frame_size_ms=40, left_context_ms=0)
    one = trajectory(rows_of([[0.5] * 3] * 3, framing), framing=framing)
    annotate(tmp_path / "x.annotation", one)
    stream(tmp_path / "x.stream", one)
    for path in (tmp_path / "x.annotation", tmp_path / "x.stream"):
        assert f' sr="{written}"' in path.read_text()
    ours = read_annotation(tmp_path / "x.annotation")
    assert reference(tmp_path / "x.annotation").annotation_scheme.sample_rate == ours.sampling_rate == float(written)
    assert reference(tmp_path / "x.stream").meta_data.sample_rate == float(written)
    assert np.allclose(ours.starts, one.starts, rtol=1e-8)
    assert np.allclose(ours.ends, one.ends, rtol=1e-8)


def test_clipped_scores_are_counted_and_missing_ones_never_written(tmp_path: Path) -> None:
    scores = np.zeros((8, 3))
    scores[:, 0] = [-0.25, 1.5, np.nan, np.inf, -np.inf, 1, -0.0, 0.5]
    confidence = np.ones((8, 3))
    confidence[5:, 0] = [np.nan, 1.7, -1]
    path = tmp_path / "x.annotation"
    writer = annotate(path, trajectory(rows_of(scores, Framing(), confidence=confidence)))
    assert writer.clipped == 2
    assert data_of(path).decode().split() == [
        "0.000000;1.000000", "1.000000;1.000000", "0.000000;0.000000", "0.000000;0.000000", "0.000000;0.000000",
        "1.000000;0.000000", "0.000000;1.000000", "0.500000;0.000000",
    ]  # fmt: skip


def test_rows_before_start_keep_the_time(tmp_path: Path, reference: Callable[[Path], Any]) -> None:
    framing = Framing(start_ms=100_000)
    first = framing.first_frame
    assert first == 2500
    one = trajectory(
        rows_of([[0.5] * 3] * 4, framing, first), rows_of([[0.6] * 3], framing, first + 4), framing=framing
    )
    annotate(tmp_path / "x.annotation", one)
    stream(tmp_path / "x.stream", one)
    ours = read_annotation(tmp_path / "x.annotation")
    assert len(ours) == 2505
    assert not ours.scores[:2500].any() and not ours.confidence[:2500].any()
    assert np.allclose(ours.scores[2500:], [0.5] * 4 + [0.6], atol=1e-6) and (ours.confidence[2500:] == 1).all()
    assert ours.starts[2500] == 100
    assert ", start 100000 ms" in ours.description
    assert len(reference(tmp_path / "x.annotation").data) == 2505
    embeddings = reference(tmp_path / "x.stream").data
    assert embeddings.shape == (2505, 1024)
    assert not embeddings[:2500].any()
    assert np.array_equal(embeddings[2500:], one.embeddings)


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    one = trajectory(rows_of([[0.5] * 3] * 4, Framing()), rows_of([0.5] * 3, Framing(), first=2))
    with pytest.raises(FormatError, match="row 2 came after row 3"):
        annotate(tmp_path / "x.annotation", one)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "written"), [(2.0, "0.500"), (3.7, "0.270270270"), (7200.0, "0.000138888889")])
def test_a_whole_recording_is_one_row(tmp_path: Path, seconds: float, written: str) -> None:
    framing = Framing.files(start_ms=1000)
    block = rows_of([0.5] * 3, Framing())
    block = Block(0, np.array([1.0]), np.array([1.0 + seconds]), block.embeddings, block.scores, block.confidence)
    one = trajectory(block, framing=framing)
    annotate(tmp_path / "x.annotation", one)
    stream(tmp_path / "x.stream", one)
    ours = read_annotation(tmp_path / "x.annotation")
    assert f' sr="{written}"' in (tmp_path / "x.annotation").read_text()
    assert ours.ends[0] == pytest.approx(seconds, rel=1e-8)
    assert "framing: one value for the whole recording, start 1000 ms" in ours.description
    assert read_stream(tmp_path / "x.stream").data.shape == (1, 1024)


@pytest.mark.parametrize("framing", [Framing(), Framing.files()])
@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(tmp_path: Path, reference: Callable[[Path], Any], framing: Framing, count: int) -> None:
    # The reference cannot read an annotation of one row (it takes it for a number); everybody else can.
    one = trajectory(rows_of([[0.5] * 3] * count, Framing()), framing=framing)
    annotate(tmp_path / "x.annotation", one)
    stream(tmp_path / "x.stream", one)
    ours = read_annotation(tmp_path / "x.annotation")
    assert len(ours) == count and ours.scores.tolist() == [0.5] * count
    assert read_stream(tmp_path / "x.stream").data.shape == (count, 1024)
    theirs = reference(tmp_path / "x.stream")
    assert theirs.data.shape == (count, 1024)
    if not count:
        assert len(reference(tmp_path / "x.annotation").data) == 0


def test_a_trajectory_without_blocks(tmp_path: Path) -> None:
    annotate(tmp_path / "x.annotation", trajectory())
    stream(tmp_path / "x.stream", trajectory())
    assert len(read_annotation(tmp_path / "x.annotation")) == 0
    assert read_stream(tmp_path / "x.stream").data.shape == (0, 1024)


def test_dimension_is_checked(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'anger'; expected one of arousal, dominance, valence"):
        AnnotationWriter(tmp_path / "x.annotation", "anger")


def test_data_come_into_place_before_the_header(tmp_path: Path) -> None:
    for writer in (AnnotationWriter(tmp_path / "x.annotation", "arousal"), StreamWriter(tmp_path / "x.stream")):
        writer.open(trajectory().info)
        assert [path.suffix[-1] for _, path in writer.staged.moves()] == ["~", writer.path.suffix[-1]]
        writer.staged.discard()


def test_provenance_may_say_little(tmp_path: Path) -> None:
    info = Info("talk.wav", Framing(end_ms=5000, padding="zeros"), {})
    annotate(tmp_path / "x.annotation", Trajectory(info, lambda: iter(())))
    found = read_annotation(tmp_path / "x.annotation")
    assert found.annotator == "emow2v"
    assert found.description == (
        "framing: step 40 ms, frame 40 ms, context 960 ms left and 0 ms right, zeros padding, end 5000 ms"
    )


@settings(one_folder, max_examples=40)
@given(st.lists(st.floats(0, 1, width=32), max_size=30), st.integers(1, 5000), st.integers(0, 40))
def test_annotations_round_trip(tmp_path: Path, values: list[float], step_ms: int, first: int) -> None:
    framing = Framing(frame_step_ms=step_ms, start_ms=first * step_ms)
    one = trajectory(rows_of([[v] * 3 for v in values], framing, first), framing=framing)
    annotate(tmp_path / "x.annotation", one)
    found = read_annotation(tmp_path / "x.annotation")
    assert len(found) == (first + len(values) if values else 0)
    assert np.allclose(found.scores[first:], values, atol=6e-7)
    assert np.allclose(found.starts[first:], one.starts, rtol=1e-8, atol=1e-8)


# ------------------------------------------------------------------------------------------------- streams written


def test_reference_reads_streams(tmp_path: Path, reference: Callable[[Path], Any]) -> None:
    blocks = [rows_of([[0.5] * 3] * 50, Framing()), rows_of([[0.5] * 3] * 25, Framing(), first=50)]
    one = trajectory(*blocks)
    path = tmp_path / "x.stream"
    stream(path, one)
    theirs = reference(path)
    assert theirs.data.dtype == np.float32
    assert np.array_equal(theirs.data, one.embeddings)
    assert theirs.meta_data.sample_rate == 25 and theirs.meta_data.sample_shape == (1024,)
    assert theirs.meta_data.num_samples == 75 and theirs.meta_data.duration == 3000
    ours = read_stream(path)
    assert np.array_equal(ours.data, one.embeddings) and ours.data.dtype == np.float32
    assert np.allclose(ours.times, one.starts)
    assert ours.meta["type"] == "feature" and ours.meta["annotator"] == "emow2v lite 1.0"
    assert ours.meta["description"].startswith("model: lite 1.0; ")
    header = path.read_text()
    assert header.startswith(
        '<stream ssi-v="2">\n    <info ftype="BINARY" sr="25.000" dim="1024" byte="4" type="FLOAT" delim='
    )
    assert '<chunk from="0.000" to="3.000" byte="0" num="75" />' in header


def test_stream_without_frames_over_a_fractional_rate(tmp_path: Path) -> None:
    framing = Framing(frame_step_ms=33)
    stream(tmp_path / "x.stream", trajectory(rows_of([[0.5] * 3] * 10, framing), framing=framing))
    assert 'to="0.330"' in (tmp_path / "x.stream").read_text()


# ------------------------------------------------------------------------------------- samples of the reference


@needs_golden
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("files/*.annotation")), ids=lambda path: path.stem)
def test_reads_what_the_reference_reads(path: Path, reference: Callable[[Path], Any]) -> None:
    ours, theirs = read_annotation(path), reference(path)
    assert len(ours) == len(theirs.data)
    assert np.allclose(ours.confidence, theirs.data["conf"], equal_nan=True)
    assert ours.name == theirs.annotation_scheme.name
    assert (ours.role, ours.annotator) == (theirs.meta_data.role, theirs.meta_data.annotator)
    if ours.scheme == "CONTINUOUS":
        assert np.allclose(ours.scores, theirs.data["score"], equal_nan=True)
        assert ours.sampling_rate == theirs.annotation_scheme.sample_rate
        assert (ours.minimum, ours.maximum) == (theirs.annotation_scheme.min_val, theirs.annotation_scheme.max_val)
    else:
        assert ours.values.tolist() == theirs.data["id"].tolist()
        assert np.allclose(ours.starts * 1000, theirs.data["from"]) and np.allclose(ours.ends * 1000, theirs.data["to"])
        assert ours.classes == {int(k): v["name"] for k, v in theirs.annotation_scheme.classes.items()}


@needs_golden
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("files/*.stream")), ids=lambda path: path.stem)
def test_reads_the_streams_that_the_reference_reads(path: Path, reference: Callable[[Path], Any]) -> None:
    ours, theirs = read_stream(path), reference(path)
    assert np.array_equal(ours.data, theirs.data) and ours.data.dtype == theirs.data.dtype
    assert ours.sampling_rate == theirs.meta_data.sample_rate
    assert np.allclose(ours.times, np.arange(len(ours)) / 25)


@needs_golden
def test_reads_what_the_reference_writes_and_cannot_read() -> None:
    broken = GOLDEN / "broken"
    single = read_annotation(broken / "continuous_single_sample.annotation")
    assert single.scores.tolist() == [0.12] and single.sampling_rate == 30.303
    assert len(read_annotation(broken / "continuous_empty.annotation")) == 0
    same = read_annotation(broken / "continuous_conf_equals_score.annotation")
    assert np.array_equal(same.scores, same.confidence)
    discrete = read_annotation(broken / "discrete_binary_wrong_layout.annotation")
    assert discrete.starts.tolist() == [0, 0.5] and discrete.ends.tolist() == [0.5, 0.7]
    assert discrete.values.tolist() == [1, 0] and discrete.confidence == pytest.approx([0.987, 1], abs=0.01)
    unquoted = read_annotation(broken / "free_ascii_unquoted.annotation")
    assert unquoted.values.tolist() == ['hi; there "x"', "ünï"] and unquoted.confidence.tolist() == [1, 0.33]
    newline = read_annotation(broken / "free_newline_label.annotation")
    assert newline.values.tolist() == ["line1\nline2", ""] and newline.ends.tolist() == [1.23, 2]
    double = read_stream(broken / "stream_float_header_double_data.stream")
    assert double.type == "DOUBLE" and double.data.tolist() == [[0, 1], [2, 3], [4, 5]]


REFUSED = {
    "c13": "c13.annotation~ is missing; expected a header and its data",
    "c20": "sr is missing; expected a number",
    "c24": "the header is no XML",
    "s15": "ftype is 'BIN_LZ4'; expected ASCII, BINARY",
    "s16": "sr is '0'; expected a number",
}
CONTINUOUS = [(0.1, 1), (0.25, 0.5), (0.75, 1)]
STREAM = [[0, 1], [2, 3], [4, 5]]
READ: dict[str, list[Any]] = {  # where it is not what the variant's family has
    "c8": [(0.1, 1), (0.2, 1)],  # no confidence
    "c9": [(0.1, 1), (0.2, 1)],
    "c10": [(np.nan, 1), (np.nan, 0), (-np.inf, 1)],
    "c11": [],
    "c12": [(0.5, 1)],
    "c15": [(0.1, 1), (0.25, 0.5)],  # cut off
    "c25": [(0.1, 1)],
    "c26": [(0.1, 1), (0.2, 1)],
    "c27": [(0.001, 1), (0.5, 1)],
    "d2": [(0, 1.5, 0, 1)],
    "d4": [(0, 1.5, -1, 1), (1.5, 2.25, 7, 0.5)],
    "d6": [],
    "f1": [(0, 1.5, "hello", 1), (1.5, 2.25, "wörld", 0.5)],
    "f2": [(0, 1.5, "hel;lo", 1)],
    "f3": [(0, 1.5, "hel;lo", 1)],
    "f6": [(0, 1.5, "wörld", 0.5)],
    "f7": [(0, 1.5, "hi", 0.5)],
    "f8": [],
}
FAMILIES: dict[str, list[Any]] = {
    "c": CONTINUOUS,
    "d": [(0, 1.5, 0, 1), (1.5, 2.25, 1, 0.5)],
    "f": [(0, 1.5, "hi", 1)],
}
VARIANTS: dict[str, dict[str, str | None]] = (
    json.loads((GOLDEN / "readers" / "reader_matrix_inputs.json").read_text("utf-8")) if GOLDEN.is_dir() else {}
)


def table_of(found: Annotation) -> list[tuple[Any, ...]]:
    if found.scheme == "CONTINUOUS":
        return list(zip(found.scores.tolist(), found.confidence.tolist(), strict=True))
    columns = (found.starts, found.ends, found.values, found.confidence)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@needs_golden
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_variants_of_all_writers(tmp_path: Path, name: str) -> None:
    variant, stem = VARIANTS[name], name.split(".")[0]
    data = None if variant["data_b64"] is None else base64.b64decode(variant["data_b64"])
    path = pair(tmp_path / name, variant["header"] or "", data)
    if stem in REFUSED:
        with pytest.raises(FormatError) as told:
            (read_stream if name.endswith("stream") else read_annotation)(path)
        assert REFUSED[stem] in str(told.value) and str(path) in str(told.value)
    elif name.endswith("stream"):
        found = read_stream(path)
        expected = [[0], [2], [4]] if stem == "s4" else STREAM
        assert found.data.tolist() == expected
        times = [0, 5, 5.04] if stem == "s18" else [0, 0.04, 0.08]
        assert found.times == pytest.approx(times)
    else:
        found_rows = table_of(read_annotation(path))
        expected = READ.get(stem, FAMILIES[stem[0]])
        assert len(found_rows) == len(expected)
        for got, wanted in zip(found_rows, expected, strict=True):
            for a, b in zip(got, wanted, strict=True):
                assert a == b if isinstance(b, str) else a == pytest.approx(b, abs=1e-6, nan_ok=True)


# ------------------------------------------------------------------------------------------------- tolerant readers

HEADER = '<annotation ssi-v="3"><info ftype="{}" size="{}"/><scheme name="x" type="{}" sr="25" min="0" max="1"/></annotation>'
FREE = HEADER.format("BINARY", 2, "FREE")
STREAM_HEADER = '<stream ssi-v="2"><info ftype="{}" sr="25" dim="{}" byte="4" type="{}" delim="{}"/>{}</stream>'


def label(start: float, end: float, text: bytes, count: int) -> bytes:
    return struct.pack("<ddI", start, end, count) + text + struct.pack("<f", 0.5)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("unit", ["bytes", "characters"])
def test_binary_labels_of_both_lengths(tmp_path: Path, encoding: str, unit: str) -> None:
    texts = ["wörld", "", "plain", "größer äöü"] + (["日本 😀!"] if encoding == "utf-8" else [])
    data = b""
    for text in texts:
        coded = text.encode(encoding)
        units = len(text.encode("utf-16-le")) // 2 if unit == "characters" else len(coded)
        data += label(1, 2, coded, units)
    found = read_annotation(pair(tmp_path / "x.annotation", FREE, data))
    assert found.values.tolist() == texts
    assert set(found.confidence) == {0.5} and set(found.ends) == {2}


def test_binary_labels_cut_off_or_astray(tmp_path: Path) -> None:
    path = tmp_path / "x.annotation"
    whole = label(0, 1, b"one", 3)
    assert read_annotation(pair(path, FREE, whole + label(1, 2, b"two", 3)[:-2])).values.tolist() == ["one"]
    with pytest.raises(FormatError, match="lengths of the labels do not fit"):
        read_annotation(pair(path, FREE, label(0, 1, b"one", 2**32 - 1)))
    with pytest.raises(FormatError, match="lengths of the labels do not fit"):
        read_annotation(pair(path, FREE, label(np.nan, 1, b"one", 3) + b"rest"))
    with pytest.raises(FormatError, match="no finite number"):
        read_annotation(pair(path, FREE, label(np.nan, 1, b"one", 3)))


def test_encodings_and_line_ends(tmp_path: Path) -> None:
    header = HEADER.format("ascii", 1, "free").replace('"x"', '"größe"')
    line = "0;1;fröhlich;0,5\r\n\r\n"
    for encoding in ("utf-8", "utf-8-sig", "cp1252", "utf-16"):
        path = pair(tmp_path / "x.annotation", header.encode(encoding), line.encode(encoding))
        found = read_annotation(path)
        assert (found.name, found.values.tolist(), found.confidence.tolist()) == ("größe", ["fröhlich"], [0.5])


def test_text_labels(tmp_path: Path) -> None:
    header = HEADER.format("ASCII", 1, "FREE")
    cases = {
        "0;1;no confidence\n": [("no confidence", 1)],
        '0;1;"he said ""yes"";";0.5\n': [('he said "yes";', 0.5)],
        "0;1;a;1;color=#FF00;\n1;2;b;0.25;extra\n": [("a", 1), ("b", 0.25)],
        "0;1;over\nthree\nlines;1\n2;3;next;1": [("over\nthree\nlines", 1), ("next", 1)],
        "0;1;unit\u2028separator\x0b;1\n": [("unit\u2028separator\x0b", 1)],
        "": [],
    }
    for text, expected in cases.items():
        found = read_annotation(pair(tmp_path / "x.annotation", header, text.encode()))
        assert list(zip(found.values, found.confidence, strict=True)) == expected
    for text in ("words\n", "0;1\n", "0;1;a;1\nwords\n", "0;.;a;1\n", "0;1e999;a;1\n"):
        with pytest.raises(FormatError):
            read_annotation(pair(tmp_path / "x.annotation", header, text.encode()))


@pytest.mark.parametrize(
    "kind", ["CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG", "FLOAT", "DOUBLE", "LDOUBLE"]
)
@pytest.mark.parametrize("ftype", ["ASCII", "BINARY"])
def test_streams_of_all_types(tmp_path: Path, kind: str, ftype: str) -> None:
    dtypes = dict(zip(["CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG"], "bBhHiIqQ", strict=True))
    dtype = np.dtype("<" + dtypes.get(kind, "f" if kind == "FLOAT" else "d"))
    values = np.array([[0, 1, 2], [3, 4, 5]], dtype)
    data = values.tobytes() if ftype == "BINARY" else b"0;1;2;\r\n\r\n3;4;5;9\r\n"
    header = STREAM_HEADER.format(ftype.lower(), 3, kind.lower(), ";", "<chunk from='0' to='1' byte='0' num='2'/>")
    found = read_stream(pair(tmp_path / "x.stream", header.replace(' byte="4"', ""), data))
    assert found.data.dtype == dtype and np.array_equal(found.data, values) and found.type == kind


@pytest.mark.parametrize(("ftype", "data"), [("ASCII", b"0 1\n1 0\n"), ("BINARY", b"\0\1\1\0")])
def test_streams_of_truth_values(tmp_path: Path, ftype: str, data: bytes) -> None:
    found = read_stream(pair(tmp_path / "x.stream", STREAM_HEADER.format(ftype, 2, "BOOL", " ", ""), data))
    assert found.data.tolist() == [[False, True], [True, False]] and found.data.dtype == bool


def test_chunks_that_do_not_fit_the_data(tmp_path: Path) -> None:
    chunks = "<chunk num='0'/><chunk from='2' to='3' num='1'/><chunk from='7' num='1'/>"
    data = np.arange(4, dtype="<f4").tobytes() + b"cut"
    found = read_stream(pair(tmp_path / "x.stream", STREAM_HEADER.format("BINARY", 1, "FLOAT", "", chunks), data))
    assert found.times.tolist() == [2, 7, 7.04, 7.08]  # what no chunk names follows the last
    lie = "<chunk num='9007199254740'/>" * 3 + "<chunk from='5' num='1'/>"
    with pytest.raises(FormatError, match="num is '9007199254740'"):
        read_stream(pair(tmp_path / "x.stream", STREAM_HEADER.format("BINARY", 1, "FLOAT", "", lie), data))
    lie = lie.replace("9007199254740", "2147483647")
    found = read_stream(pair(tmp_path / "x.stream", STREAM_HEADER.format("BINARY", 1, "FLOAT", "", lie), data))
    assert found.times.tolist() == pytest.approx([0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"BINARY": "LZ"}, "ftype is 'LZ'; expected ASCII, BINARY"),
        ({"FLOAT": "IMAGE"}, "type is 'IMAGE'; expected CHAR, "),
        ({"FLOAT": "INT", "BINARY": "ASCII"}, "a line is '0.5 1'; expected 2 numbers"),
        ({"FLOAT": "CHAR", "BINARY": "ASCII", "0.5": "300"}, "a line is '300 1'; expected 2 numbers"),
        ({"BINARY": "ASCII", 'dim="2"': 'dim="2147483647"'}, "expected 2147483647 numbers"),
        ({'dim="2"': 'dim="2147483647"'}, "dim is 2147483647; expected samples of at most 6 bytes"),
        ({'dim="2"': 'dim="2147483648"'}, "dim is '2147483648'; expected a number from 1 to 2147483647"),
        ({'dim="2"': 'dim="0"'}, "dim is '0'; expected a number from 1"),
        ({'dim="2"': 'dim="1.5"'}, "dim is '1.5'; expected a whole number"),
        ({'dim="2"': ""}, "dim is missing"),
        ({'sr="25"': 'sr="nan"'}, "sr is 'nan'"),
        ({'sr="25"': 'sr="1e-300"'}, "sr is '1e-300'"),
        ({"<stream": "<annotation", "</stream": "</annotation"}, "the header holds <annotation>; expected <stream>"),
        ({'ssi-v="2"': 'ssi-v="2'}, "the header is no XML"),
    ],
)
def test_refusals_say_what_to_do(tmp_path: Path, changes: dict[str, str], expected: str) -> None:
    header, data = STREAM_HEADER.format("BINARY", 2, "FLOAT", " ", ""), "0.5 1\n"
    for old, new in changes.items():
        header, data = header.replace(old, new), data.replace(old, new)
    with pytest.raises(FormatError) as told:
        read_stream(pair(tmp_path / "x.stream", header, data.encode()))
    assert expected in str(told.value)
    assert str(told.value).startswith(str(tmp_path / "x.stream") + ": ") and str(told.value).endswith(".")


@pytest.mark.parametrize(
    ("dim", "line", "expected"),
    [(1, "x", "expected 1 number;"), (2, "1 x", "expected 2 numbers;"), (3, "1", "expected 3 numbers;")],
)
def test_one_is_no_plural_in_a_refusal(tmp_path: Path, dim: int, line: str, expected: str) -> None:
    header = f'<stream ssi-v="2"><info ftype="ASCII" sr="25" dim="{dim}" byte="4" type="FLOAT" delim=" "/></stream>'
    path = tmp_path / "talk.stream"
    path.write_text(header)
    path.with_name("talk.stream~").write_text(line + "\n")
    with pytest.raises(FormatError, match=expected):
        read_stream(path)


@pytest.mark.parametrize(
    "header",
    [
        '<!DOCTYPE a [<!ENTITY b "bbb">]><annotation><info ftype="&b;"/></annotation>',
        '<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_doctype_is_refused(tmp_path: Path, header: str, encoding: str) -> None:
    with pytest.raises(FormatError, match="DOCTYPE"):
        read_annotation(pair(tmp_path / "x.annotation", header.encode(encoding), b""))


def test_headers_can_be_neither_deep_nor_endless(tmp_path: Path) -> None:
    deep = "<annotation>" + "<a>" * 200_000 + "</a>" * 200_000 + "</annotation>"
    with pytest.raises(FormatError, match="scheme type is missing"):
        read_annotation(pair(tmp_path / "x.annotation", deep, b""))
    with (tmp_path / "x.stream").open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(FormatError, match="larger than"):
        read_stream(tmp_path / "x.stream")


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.stream").mkdir()
    for path in (tmp_path / "no.stream", tmp_path / "folder.stream", tmp_path / "zero\0byte", tmp_path / ("x" * 300)):
        for read in (read_annotation, read_stream):
            with pytest.raises(FormatError):
                read(str(path))


def test_scores_are_of_continuous_annotations_only(tmp_path: Path) -> None:
    found = read_annotation(pair(tmp_path / "x.annotation", FREE, b""))
    assert found.sampling_rate == 0
    with pytest.raises(FormatError, match="is FREE; expected CONTINUOUS"):
        _ = found.scores


# -------------------------------------------------------------------------------------------------------- fuzz

SOME_WORDS = (
    "ASCII BINARY ascii CONTINUOUS DISCRETE FREE FLOAT INT 0 1 2 3 25 25,0 1e308 -1 nan inf 1e-9 99999999999 ; ,"
)
words = st.one_of(
    st.sampled_from(["", " ", *SOME_WORDS.split()]),
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters='<&"'), max_size=8),
)
numbers = st.one_of(st.sampled_from(["0", "1", "2", "25"]), st.sampled_from(["0", "1", "2", "25"]), words)
lines = st.lists(
    st.lists(st.one_of(st.floats().map(str), st.text(max_size=5), words), max_size=6).map(";".join), max_size=6
).map(lambda found: "\n".join(found).encode(errors="replace"))
contents = st.one_of(
    st.binary(max_size=120), lines, st.lists(st.floats(), max_size=12).map(lambda v: np.array(v).tobytes())
)


@st.composite
def headers(draw: st.DrawFn, name: str) -> bytes:
    def element(tag: str, *keys: str) -> str:
        if not draw(st.integers(0, 12)):
            return ""
        pairs = "".join(f' {key}="{draw(numbers)}"' for key in keys if draw(st.integers(0, 12)))
        return f"<{tag}{pairs}/>"

    likely = {
        "ftype": ("ASCII", "BINARY"),
        "type": ("CONTINUOUS", "DISCRETE", "FREE"),
        "sr": ("25",),
        "dim": ("1", "2"),
    }
    if name == "stream":
        likely["type"] = ("FLOAT", "INT", "DOUBLE", "BOOL", "CHAR")
    parts = element("info", "size", "byte", "delim") + element("meta", "role", "type")
    parts = parts.replace("<info", "<info " + " ".join(f'{k}="{draw(st.sampled_from(v))}"' for k, v in likely.items()))
    scheme = f'<scheme type="{draw(st.sampled_from(likely["type"]))}" sr="{draw(numbers)}">' + element(
        "item", "id", "name"
    )
    chunks = "".join(element("chunk", "from", "to", "byte", "num") for _ in range(draw(st.integers(0, 3))))
    return f"<{name}>{parts}{scheme}</scheme>{chunks}</{name}>".encode()


@pytest.mark.parametrize("name", ["annotation", "stream"])
@settings(one_folder, max_examples=400)
@given(drawn=st.data())
def test_nothing_but_a_format_error_comes_out(tmp_path: Path, name: str, drawn: st.DataObject) -> None:
    header = drawn.draw(st.one_of(st.binary(max_size=60), headers(name), headers(name), headers(name)))
    path = pair(tmp_path / f"x.{name}", header, drawn.draw(contents))
    try:
        found: Any = (read_stream if name == "stream" else read_annotation)(path)
    except FormatError as error:
        assert str(error).startswith(f"{path}: ") and str(error).endswith(".")
    else:
        times = found.times if name == "stream" else found.starts
        assert len(times) == len(found) and times.dtype == np.float64 and np.isfinite(times).all()


def test_the_package_does_not_import_the_reference() -> None:
    code = "import sys, emow2v.formats.ssi as s; s.read_annotation; sys.exit('discover_utils' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
