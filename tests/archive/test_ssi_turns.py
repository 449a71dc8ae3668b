"""Turns as annotations of SSI: the reference reads speakers, labels and values; nothing of other people is replaced."""

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from commands import predictor
from emow2v.errors import FormatError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import DIMENSIONS
from emow2v.speech.segmentation import read_segments

TURNS = (
    'start,end,speaker,label\n0.5,1.5,Eva,one\n1.25,2.5,"Ina/""2""","zwei; & ""<2>"""\n3,4.75,Eva,\n3.5,4,Eva,drei\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "talk.wav", signal[: 5 * rate], rate)
    soundfile.write(tmp_path / "silence.wav", 0 * signal[: 2 * rate], rate)
    (tmp_path / "turns.csv").write_text(TURNS, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(lite: Model, monkeypatch):
    return predictor(monkeypatch, lite)


@pytest.fixture(scope="module")
def reference() -> Iterator[Callable[[Path], Any]]:
    """The reference's reader; what it warns of on its own account is not ours."""
    pytest.importorskip("discover_utils", reason="hcai-discover-utils is not installed")
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from discover_utils.data.handler.file_handler import FileHandler

        yield FileHandler().load
    logging.disable(logging.NOTSET)


def test_the_reference_reads_who_speaks_when(lite: Model, folder: Path, predict, reference) -> None:
    predict("talk.wav", "--segments", "turns.csv", "--format", "annotation", "--range", "-1:1", "-o", "out")
    written = {path.name.removesuffix(".annotation") for path in (folder / "out").glob("*.annotation")}
    assert written == {
        *(f"talk.{who}.{scheme}" for who in ("Eva", "Eva (2)", "Ina_2_") for scheme in ("turns", "labels", *DIMENSIONS))
    }
    rows = lite.predict_turns("talk.wav", segments="turns.csv").load()
    turns = reference(folder / "out" / "talk.Eva.turns.annotation")
    assert (turns.meta_data.role, turns.annotation_scheme.name) == ("Eva", "turns")
    classes = {int(number): item["name"] for number, item in turns.annotation_scheme.classes.items()}
    assert sorted(classes.values()) == ["Eva", 'Ina/"2"']
    assert [(one["from"], one["to"], classes[one["id"]]) for one in turns.data] == [
        (500, 1500, "Eva"), (3000, 4750, "Eva")
    ]  # fmt: skip
    assert [one["conf"] for one in turns.data] == pytest.approx(rows.speech[[0, 2]], abs=1e-6)
    other = reference(folder / "out" / "talk.Ina_2_.labels.annotation")
    assert other.meta_data.role == 'Ina/"2"'
    assert [(one["from"], one["to"], one["name"]) for one in other.data] == [(1250, 2500, "zwei, & '<2>'")]
    second = reference(folder / "out" / "talk.Eva (2).turns.annotation")
    assert [(one["from"], one["to"]) for one in second.data] == [(3500, 4000)]
    for column, name in enumerate(DIMENSIONS):
        curve = reference(folder / "out" / f"talk.Eva.{name}.annotation")
        scheme = curve.annotation_scheme
        assert (scheme.min_val, scheme.max_val, scheme.sample_rate) == (-1, 1, 25)
        values = curve.data["score"]
        assert len(values) == np.ceil(4.75 * 25)
        inside = np.zeros(len(values), bool)
        inside[12:38] = inside[75:] = True  # 0.5 s is between two values, as 1.5 s is
        assert np.isfinite(values).tolist() == inside.tolist()
        np.testing.assert_allclose(values[15:35], np.clip(rows.scores[0, column], 0, 1) * 2 - 1, atol=2e-6)
        np.testing.assert_allclose(values[75:], np.clip(rows.scores[2, column], 0, 1) * 2 - 1, atol=2e-6)


def test_they_are_turns_of_the_next_run(folder: Path, predict) -> None:
    predict("talk.wav", "--segments", "turns.csv", "--format", "annotation", "-o", "out")
    found = read_segments(folder / "out" / "talk.Eva.turns.annotation", ())
    assert [(one.start, one.end, one.speaker, one.tier) for one in found.segments] == [
        (0.5, 1.5, "Eva", "turns"), (3, 4.75, "Eva", "turns")
    ]  # fmt: skip
    labels = read_segments(folder / "out" / "talk.Eva.labels.annotation", ())
    assert [(one.speaker, one.label) for one in labels.segments] == [("Eva", "one")]


def test_turns_of_the_detector_have_the_role_that_is_given(folder: Path, predict) -> None:
    predict("talk.wav", "--unit", "turns", "--format", "annotation", "--role", "VP", "-o", "out")
    root = ElementTree.parse(folder / "out" / "talk.turns.annotation").getroot()
    assert [one.get("name") for one in root.iterfind("scheme/item")] == ["speech"]
    meta = root.find("meta")
    assert meta.get("role") == "VP" and "one value for each turn" in meta.get("description")
    assert not (folder / "out" / "talk.labels.annotation").exists()
    predict("silence.wav", "--unit", "turns", "--format", "annotation", "--role", "VP", "-o", "silent", code=1)
    assert not (folder / "silent").exists()


def test_turns_are_not_saved_as_values_of_every_step(lite: Model, folder: Path) -> None:
    for ending in ("annotation", "stream"):
        with (
            pytest.raises(FormatError, match="turns have none; expected"),
            lite.predict_turns("talk.wav") as turns,
        ):
            turns.save(f"x.{ending}")
    assert not list(folder.glob("x*"))


def test_only_own_files_are_replaced(folder: Path, predict) -> None:
    arguments = ["talk.wav", "--segments", "turns.csv", "--format", "annotation"]
    predict(*arguments)
    predict(*arguments)
    mine = folder / "talk.Eva.turns.annotation~"
    mine.write_text("0.5;1.4;0;1\n")
    result = predict(*arguments, code=1)
    assert "talk.Eva.turns.annotation~ was changed since emow2v wrote it" in result.output
    assert mine.read_text() == "0.5;1.4;0;1\n"
    predict("talk.wav", "--segments", "turns.csv", "--format", "annotation", "--overwrite")
    original = folder / "talk.Eva.turns.annotation"
    before = original.read_bytes()
    result = predict("talk.wav", "--segments", str(original), "--format", "annotation", "--overwrite", code=1)
    assert "is the file with the turns itself" in result.output and original.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--range", "1:-1", "--format", "annotation"], "range of annotations is 1:-1; expected LOW:HIGH"),
        (["--range", "nan:1", "--format", "annotation"], "expected LOW:HIGH"),
        (["--range", "-1..1", "--format", "annotation"], "'-1..1' is no range; expected LOW:HIGH"),
        (["--role", "VP"], "--role belongs to annotations; expected --format annotation"),
        (["--range", "-1:1", "--format", "csv"], "--range belongs to annotations"),
    ],
)
def test_roles_and_ranges_that_fit_nothing_are_refused(folder: Path, predict, options, sentence: str) -> None:
    assert sentence in str(predict("talk.wav", *options, "-o", "out", code=1).exception)
    assert not (folder / "out").exists()


def test_a_continued_run_keeps_role_and_range(folder: Path, predict) -> None:
    (folder / "in").mkdir()
    (folder / "talk.wav").rename(folder / "in" / "talk.wav")
    options = ["in", "--unit", "files", "--format", "annotation", "--role", "VP", "-o", "out"]
    predict(*options, "--range", "-1:1")
    predict(*options, "--range", "-1.0:1")
    result = predict(*options, code=1)
    assert "range: -1:1 there, none now" in str(result.exception)
