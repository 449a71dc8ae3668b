"""Databases of audformat: its own package reads what the library computes, of values over time, files, turns and channels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from commands import predictor
from emow2v.errors import PlaceTaken
from emow2v.formats.audformat_tables import _yaml
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import DIMENSIONS
from emow2v.speech.segmentation import read_segments

audformat = pytest.importorskip("audformat")
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # of audformat, by pandas 3.1

SCORES = list(DIMENSIONS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Two recordings of 3 s in the folder of the database, and a third outside."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    (tmp_path / "in" / "day").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "a.wav", signal[: 3 * rate], rate)
    soundfile.write(tmp_path / "in" / "day" / "b.wav", np.stack([signal[: 3 * rate], signal[3 * rate : 6 * rate]], 1), rate)  # fmt: skip
    soundfile.write(tmp_path / "c.wav", signal[6 * rate : 9 * rate], rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(lite: Model, monkeypatch):
    return predictor(monkeypatch, lite)


def test_values_over_time_are_a_segmented_table(lite: Model, folder: Path, predict) -> None:
    predict("in", "c.wav", "--frame-step", "500ms", "--speech", "--table", "in/db.yaml", "-o", "out")
    database = audformat.Database.load("in", load_data=True)
    found = database["scores"].df
    audformat.assert_index(found.index)
    files = ["in/a.wav", "in/day/b.wav", "c.wav"]
    expected = lite.predict_files(files, framing=Framing(frame_step_ms=500), speech=True)
    names = {"in/a.wav": "a.wav", "in/day/b.wav": "day/b.wav", "c.wav": "../c.wav"}
    expected.index = expected.index.set_levels([names[name] for name in expected.index.levels[0]], level="file")
    pd.testing.assert_frame_equal(
        found.sort_index(), expected[found.columns].sort_index(), check_dtype=False, check_index_type=False, rtol=1e-6
    )
    assert found["valence"].isna().any() and database.raters["emow2v"].type == "machine"
    assert database.meta["emow2v"]["model"] == "lite"
    here = audformat.utils.expand_file_path(found.index, str(folder / "in")).get_level_values("file")
    assert all(Path(name).is_file() for name in here)


def test_files_are_a_filewise_table_with_embeddings(lite: Model, folder: Path, predict) -> None:
    predict("in/a.wav", "c.wav", "--unit", "files", "--embeddings", "--table", "in/study.yaml")
    database = audformat.Database.load("in", name="study")
    found = database["scores"].get()
    assert database["scores"].type == "filewise" and list(found.index) == ["a.wav", "../c.wav"]
    rows = lite.predict("in/a.wav", unit="files")
    np.testing.assert_allclose(found.iloc[0][SCORES].astype(float), rows.scores[0], rtol=1e-6)
    numbers = found.iloc[0][[f"embedding_{k}" for k in range(1024)]].astype(float)
    np.testing.assert_allclose(numbers, rows.embeddings[0], rtol=1e-6)


def test_turns_have_speakers_and_any_label(folder: Path, predict) -> None:
    turns = 'start,end,speaker,label\n0.5,1.5,Ana,NA\n0.5,1.5,Ben,"two\nlines, ""x"""\n2,2.5,,null\n'
    (folder / "a.csv").write_text(turns, "utf-8")
    predict("in/a.wav", "--segments", "a.csv", "--table", "in/db.yaml")
    database = audformat.Database.load("in")
    first, second = database["scores"].df, database["scores-2"].df
    audformat.assert_no_duplicates(first.index)
    assert [first.index[0][1:], second.index[0][1:]] == [(pd.Timedelta("0.5s"), pd.Timedelta("1.5s"))] * 2
    assert first["label"].tolist() == ["NA", "null"] and second["label"].tolist() == ['two\nlines, "x"']
    assert first["speaker"].isna().tolist() == [False, True] and second["speaker"].tolist() == ["Ben"]
    assert database.get("speaker", tables="scores")["speaker"].dropna().tolist() == ["Ana"]
    segments = read_segments(folder / "a.csv", ())
    assert len(first) + len(second) == len(segments.segments)


def test_channels_and_relative_values(lite: Model, folder: Path, predict) -> None:
    predict("in/day", "--channel", "each", "--frame-step", "500ms", "--table", "in/db.yaml", "-o", "out",
            "--relative", "file")  # fmt: skip
    database = audformat.Database.load("in", load_data=True)
    assert sorted(database.tables) == ["scores-left", "scores-right"]
    for table, trajectory in zip(
        ("scores-left", "scores-right"),
        lite.predict_channels("in/day/b.wav", framing=Framing(frame_step_ms=500)),
        strict=True,
    ):
        found, scores = database[table].df, trajectory.load().scores.astype(float)
        np.testing.assert_allclose(found[SCORES], scores, rtol=1e-6)
        relative = (scores - scores.mean(axis=0)) / scores.std(axis=0, ddof=1)
        np.testing.assert_allclose(found[[f"{name}_relative" for name in SCORES]], relative, atol=1e-4)


def test_only_own_files_are_replaced(folder: Path, predict) -> None:
    arguments = ["in/a.wav", "--unit", "files", "--table", "in/db.yaml"]
    predict(*arguments)
    predict(*arguments)
    table, header = folder / "in" / "db.scores.parquet", folder / "in" / "db.yaml"
    for path in (table, header):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"emow2v", b"EMOW2V", 1) if path == header else content[:-1] + b"x")
        result = predict(*arguments, code=1)
        assert isinstance(result.exception, PlaceTaken) and path.name in str(result.exception)
        path.write_bytes(content)
    audformat.Database("other", source="people", usage="research").save(str(folder / "other"))
    before = (folder / "other" / "db.yaml").read_bytes()
    assert "nothing in it shows" in str(predict("in/a.wav", "--table", "other/db.yaml", code=1).exception)
    assert (folder / "other" / "db.yaml").read_bytes() == before


def test_texts_of_the_header_are_read_alike(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    content = {"a": 'say "x": #1\n- \u2028é', "b": {"c": 1e-05, "d": 12.5, "e": {}}, "f": "null", "g": "\udce4"}
    found = yaml.safe_load("\n".join(_yaml(content)))
    assert float(found["b"]["c"]) == 1e-05
    assert found | {"b": 0} == content | {"b": 0, "g": "\\udce4"}
