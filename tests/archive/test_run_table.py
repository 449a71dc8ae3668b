"""One table for a run: every format holds the same rows, to independent readers, and none of a recording that failed."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from commands import predictor
from emow2v.archive.run_table import RecordingRows, RunTable
from emow2v.errors import FormatError, PlaceTaken
from emow2v.formats import run_table
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import DIMENSIONS

SCORES = list(DIMENSIONS)
LABELS = ["=1+1", 'say "x"; y, z', "Grüß 😀\x01", "http://example.org", "0012"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Two recordings of 3 s, a text file that is called .wav, and turns of the first."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "a.wav", signal[: 3 * rate], rate)
    soundfile.write(tmp_path / "b.wav", np.stack([signal[6 * rate : 9 * rate], 0 * signal[: 3 * rate]], 1), rate)
    (tmp_path / "c.wav").write_text("no sound")
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(0.5 + k / 2, 0.9 + k / 2, "Ana", "VP", label) for k, label in enumerate(LABELS)]
        csv.writer(file).writerows([("start", "end", "speaker", "tier", "label"), *rows])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(lite: Model, monkeypatch):
    return predictor(monkeypatch, lite)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".xlsx":
        pytest.importorskip("openpyxl")
        return pd.read_excel(path, engine="openpyxl")
    return pytest.importorskip("pyreadstat").read_sav(path)[0]


def needed(ending: str) -> None:
    for name in {"parquet": ["pyarrow"], "xlsx": ["xlsxwriter", "openpyxl"], "sav": ["pyreadstat"]}.get(ending, []):
        pytest.importorskip(name)


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx", "sav"])
def test_every_format_holds_the_rows_of_the_library(lite: Model, folder: Path, predict, ending: str) -> None:
    needed(ending)
    result = predict("a.wav", "c.wav", "b.wav", "--speech", "--table", f"all.{ending}", code=1)
    assert "c.wav is not a recording" in result.output and "1 failed" in result.output
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["a.wav", "b.wav", "c.wav", "a.csv", f"all.{ending}", f"all.{ending}-metadata.json"]
    )
    rows = read(folder / f"all.{ending}")
    assert list(rows.columns) == ["file", "start", "end", *SCORES, "confidence", "speech"]
    frames = [lite.predict(name, speech=True).to_frame().reset_index() for name in ("a.wav", "b.wav")]
    expected = pd.concat(frames)
    assert rows["file"].tolist() == expected["file"].tolist()
    np.testing.assert_allclose(rows["start"], expected["start"].dt.total_seconds(), atol=1e-6)
    for column in [*SCORES, "confidence", "speech"]:
        np.testing.assert_allclose(rows[column], expected[column], atol=1e-6)
    assert rows["valence"].isna().any() and rows["valence"].notna().any()
    described = json.loads((folder / f"all.{ending}-metadata.json").read_text("utf-8"))
    assert described["provenance"]["model"] == "lite" and described["provenance"]["speech_threshold"] == 0.5
    assert [one["file"] for one in described["recordings"]] == ["a.wav", "b.wav"]
    assert [one["channels"] for one in described["recordings"]] == [1, 2]
    assert [one["file"] for one in described["failed"]] == ["c.wav"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx", "sav"])
def test_labels_arrive_as_they_are(folder: Path, predict, ending: str) -> None:
    needed(ending)
    predict("a.wav", "--segments", "a.csv", "--table", f"all.{ending}")
    options = {"dtype": {"label": str}}
    if ending == "csv":
        rows = pd.read_csv(folder / "all.csv", **options)
    elif ending == "xlsx":
        rows = pd.read_excel(folder / "all.xlsx", engine="openpyxl", **options)
        with zipfile.ZipFile(folder / "all.xlsx") as book:
            assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
    else:
        rows = read(folder / f"all.{ending}")
    assert rows["label"].str.replace("_x0001_", "\x01").tolist() == LABELS
    assert rows["speaker"].tolist() == ["Ana"] * 5 and rows["n"].tolist() == [1] * 5


def test_spss_has_labels_and_numbers(folder: Path, predict) -> None:
    pyreadstat = pytest.importorskip("pyreadstat")
    predict("a.wav", "--segments", "a.csv", "--table", "all.sav")
    _, facts = pyreadstat.read_sav(folder / "all.sav")
    assert dict(zip(facts.column_names, facts.column_labels, strict=True))["n"].startswith("number of values")
    assert {name: kind for name, kind in facts.readstat_variable_types.items() if kind == "string"}.keys() == {
        "file", "speaker", "tier", "label"
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx", "sav"])
def test_the_sound_that_a_value_describes_stands_in_every_table(folder: Path, predict, ending: str) -> None:
    needed(ending)
    windows = ["--frame-step", "500ms", "--left-context", "500ms", "--align", "centre"]
    predict("a.wav", *windows, "--table", f"all.{ending}", "--format", "csv", "-o", "out")
    words = "the sound from 0.25 s before a row's start to 0.25 s after its end"
    path = folder / f"all.{ending}"
    if ending == "csv":
        found = json.loads((folder / "all.csv-metadata.json").read_text("utf-8"))["columns"]["valence"]
    elif ending == "parquet":
        schema = pytest.importorskip("pyarrow.parquet").read_schema(path)
        found = schema.field("valence").metadata[b"description"].decode()
    elif ending == "xlsx":
        sheet = pytest.importorskip("openpyxl").load_workbook(path).active
        head = {cell.value: cell for cell in sheet[1]}
        found = head["valence"].comment.text
        assert head["start"].comment.text == "seconds from the beginning of the recording"
    else:
        _, facts = pytest.importorskip("pyreadstat").read_sav(path)
        found = dict(zip(facts.column_names, facts.column_labels, strict=True))["valence"]
    assert found == f"about 0..1, as the model gives it, for {words}"
    described = json.loads((folder / "out" / "a.csv-metadata.json").read_text("utf-8"))
    columns = {column["name"]: column["dc:description"] for column in described["tableSchema"]["columns"]}
    assert columns["valence"] == found and described["emow2v:provenance"]["covers"] == words
    assert described["emow2v:provenance"]["align"] == "centre"


def test_align_without_values_over_time_is_refused(folder: Path, predict) -> None:
    for more in (["--unit", "files"], ["--unit", "turns"], ["--segments", "a.csv"], ["--frame-step", "0"]):
        result = predict("a.wav", "--align", "centre", *more, code=1)
        assert "--align centre belongs to values over time" in str(result.exception)
    assert not (folder / "a.csv-metadata.json").exists()


def test_a_decimal_comma_is_what_a_german_excel_reads(folder: Path, predict) -> None:
    predict("a.wav", "--segments", "a.csv", "--table", "point.csv")
    predict("a.wav", "--segments", "a.csv", "--table", "comma.csv", "--decimal", ",")
    assert (folder / "comma.csv").read_bytes().startswith(b"\xef\xbb\xbffile;start;")
    point = pd.read_csv(folder / "point.csv")
    comma = pd.read_csv(folder / "comma.csv", sep=";", decimal=",", encoding="utf-8-sig")
    pd.testing.assert_frame_equal(point, comma)


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx"])
def test_embeddings_are_columns_or_lists(lite: Model, folder: Path, predict, ending: str) -> None:
    needed(ending)
    predict("a.wav", "--unit", "files", "--table", f"all.{ending}", "--embeddings")
    rows = read(folder / f"all.{ending}")
    if ending == "parquet":
        found = np.stack(rows["embedding"].tolist())
    else:
        found = rows[[f"embedding_{number}" for number in range(1024)]].to_numpy()
    np.testing.assert_allclose(found, lite.predict("a.wav", unit="files").embeddings, rtol=1e-5, atol=1e-6)


def test_channels_and_files_beside_the_table(folder: Path, predict) -> None:
    predict("b.wav", "--channel", "each", "--unit", "files", "--table", "all.csv", "--format", "json", "-o", "out")
    rows = pd.read_csv(folder / "all.csv")
    assert rows["channel"].tolist() == ["left", "right"] and rows["valence"].notna().all()
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["b.left.json", "b.right.json"]


def test_tables_replace_only_their_own(folder: Path, predict) -> None:
    predict("a.wav", "--unit", "files", "--table", "all.csv")
    predict("a.wav", "b.wav", "--unit", "files", "--table", "all.csv")
    assert len(pd.read_csv(folder / "all.csv")) == 2
    (folder / "all.csv").write_text((folder / "all.csv").read_text() + "mine,0,1,1,1,1,1\n")
    assert isinstance(predict("a.wav", "--table", "all.csv", code=1).exception, PlaceTaken | SystemExit)
    assert "mine" in (folder / "all.csv").read_text()
    predict("a.wav", "--unit", "files", "--table", "all.csv", "--overwrite")
    assert len(pd.read_csv(folder / "all.csv")) == 1


def test_no_table_appears_where_every_recording_fails(folder: Path, predict) -> None:
    predict("c.wav", "--table", "all.csv", code=1)
    assert not list(folder.glob("all*")) and not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("all.ods", {}, "cannot end in '.ods'"),
        ("all.csv", {"decimal": "x"}, "expected a point or a comma"),
        ("all.xlsx", {"decimal": ","}, "Only .csv tables"),
        ("all.sav", {"embeddings": True}, "1024 embeddings"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str, options, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        RunTable(tmp_path / name, **options)


def test_a_sheet_without_room_leaves_the_recording_out(folder: Path, predict, monkeypatch) -> None:
    needed("xlsx")
    monkeypatch.setattr("emow2v.formats.run_table._MOST_ROWS", 100)
    result = predict("a.wav", "b.wav", "--table", "all.xlsx", code=1)
    assert "A sheet of Excel has 100 rows" in result.output
    assert set(read(folder / "all.xlsx")["file"]) == {"a.wav"}


def test_a_table_that_cannot_be_written_does_not_appear(folder: Path, predict, monkeypatch) -> None:
    written = []

    def fail(self, columns, embeddings) -> None:
        written.append(1)
        if len(written) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("emow2v.formats.run_table._CSV.add", fail)
    result = predict("a.wav", "b.wav", "--table", "all.csv", code=1)
    assert "No space left" in result.output + str(result.exception)
    assert not list(folder.glob("*all*"))


@pytest.mark.parametrize("arguments", [("--embeddings",), ("--decimal", ",")])
def test_options_of_tables_need_a_table(folder: Path, predict, arguments: tuple[str, ...]) -> None:
    result = predict("a.wav", *arguments, code=1)
    assert "expected --table" in (result.output + str(result.exception))
    assert not (folder / "a.csv-metadata.json").exists()


def break_table(monkeypatch, error: BaseException, after: int = 1) -> None:
    """The table's file takes so many parts, then fails."""
    taken = []
    add = run_table._CSV.add

    def fail(self, columns, embeddings) -> None:
        taken.append(columns)
        if len(taken) > after:
            raise error
        add(self, columns, embeddings)

    monkeypatch.setattr(run_table._CSV, "add", fail)


def test_a_full_disk_costs_the_table_and_no_other_result(folder: Path, predict, monkeypatch) -> None:
    break_table(monkeypatch, FormatError("No space left on device; free some space."))
    result = predict("a.wav", "b.wav", "--unit", "files", "--table", "all.csv", "--format", "json", "-o", "out", code=1)
    assert result.output.splitlines()[-2:] == [
        "all.csv was not written: No space left on device; free some space.",
        "2 of 2 recordings done; results are in out.",
    ]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.json", "b.json"]
    assert not list(folder.glob("*all*"))


def test_nothing_is_computed_for_a_table_that_cannot_be_written(folder: Path, predict, monkeypatch) -> None:
    break_table(monkeypatch, FormatError("No space left on device; free some space."), after=0)
    result = predict("a.wav", "b.wav", "--unit", "files", "--table", "all.csv", code=1)
    assert result.output.splitlines() == [
        "all.csv was not written: No space left on device; free some space.",
        "0 of 2 recordings done, 1 failed, 1 not done.",
    ]
    assert not list(folder.glob("*all*"))


def test_a_stopped_run_leaves_what_was_done(folder: Path, predict, monkeypatch) -> None:
    """Ctrl+C within the second recording."""
    begin = RecordingRows.open

    def stop(self, info):
        if info.source == "b.wav":
            raise KeyboardInterrupt
        begin(self, info)

    monkeypatch.setattr(RecordingRows, "open", stop)
    command = ["a.wav", "b.wav", "--unit", "files", "--table", "all.csv"]
    result = predict(*command, code=130)
    assert result.output.splitlines()[0] == "1 of 2 recordings done, 1 not done; the table is all.csv."
    assert pd.read_csv(folder / "all.csv")["file"].tolist() == ["a.wav"]
    described = json.loads((folder / "all.csv-metadata.json").read_text("utf-8"))
    assert described["stopped"] == "before the last recording"
    before = (folder / "all.csv").read_bytes()
    result = predict(*command, code=130)  # a table that is there stays
    assert "all.csv was not written, because the run was stopped." in result.output
    assert (folder / "all.csv").read_bytes() == before


def test_a_stop_within_the_rows_of_a_recording_leaves_no_table(folder: Path, predict, monkeypatch) -> None:
    break_table(monkeypatch, KeyboardInterrupt())
    result = predict("a.wav", "b.wav", "--unit", "files", "--table", "all.csv", code=130)
    assert "all.csv was not written, because the run was stopped." in result.output
    assert not list(folder.glob("*all*"))


# ----------------------------------------------------------------------------------------------------------------- shards


def test_a_folder_of_shards_has_the_rows_of_a_file(folder: Path, predict) -> None:
    pytest.importorskip("pyarrow")
    options = ("a.wav", "b.wav", "--unit", "files", "--embeddings")
    predict(*options, "--table", "one.parquet")
    result = predict(*options, "--table", "many/")
    assert result.output.splitlines()[-1] == "2 of 2 recordings done; the table is many."
    assert [path.name for path in (folder / "many").iterdir()] == ["part-00000.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "many"), pd.read_parquet(folder / "one.parquet"))
    described, alone = (
        json.loads((folder / f"{name}-metadata.json").read_text("utf-8")) for name in ("many", "one.parquet")
    )
    assert {**described, "mark": ""} == {**alone, "mark": ""}


def test_shards_replace_only_their_own(folder: Path, predict) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    command = ("a.wav", "--unit", "files", "--table", "many/")
    predict(*command)
    table = parquet.read_table(folder / "many" / "part-00000.parquet")
    predict("b.wav", "--unit", "files", "--table", "many")  # a folder that is there
    assert pd.read_parquet(folder / "many")["file"].tolist() == ["b.wav"]
    parquet.write_table(table, folder / "many" / "part-00001.parquet")
    with pytest.raises(PlaceTaken, match=r"part-00001.parquet is there already"):
        RunTable(folder / "many", sharded=True)
    predict(*command, "--overwrite")  # an older shard that the new table does not have goes
    assert [path.name for path in (folder / "many").iterdir()] == ["part-00000.parquet"]
    parquet.write_table(table, folder / "many" / "mine.parquet")
    with pytest.raises(FormatError, match="readers would take for a part of the table"):
        RunTable(folder / "many", sharded=True)
    with pytest.raises(FormatError, match="is a file; expected a folder for shards"):
        RunTable(folder / "a.wav", sharded=True)


def test_a_run_that_is_stopped_leaves_older_shards(folder: Path, predict, monkeypatch) -> None:
    pytest.importorskip("pyarrow")
    predict("a.wav", "--unit", "files", "--table", "many/")
    before = (folder / "many" / "part-00000.parquet").read_bytes()

    def stop(self, info):
        raise KeyboardInterrupt

    monkeypatch.setattr(RecordingRows, "open", stop)
    predict("a.wav", "b.wav", "--unit", "files", "--table", "many/", code=130)
    assert (folder / "many" / "part-00000.parquet").read_bytes() == before


def test_embeddings_of_16_bit_belong_to_parquet(folder: Path, predict) -> None:
    pytest.importorskip("pyarrow")
    predict("a.wav", "--unit", "files", "--table", "half.parquet", "--embeddings", "--half")
    predict("a.wav", "--unit", "files", "--table", "whole.parquet", "--embeddings")
    half, whole = (np.stack(pd.read_parquet(folder / f"{name}.parquet")["embedding"]) for name in ("half", "whole"))
    assert (half.dtype, whole.dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    for arguments in (("--table", "all.csv", "--embeddings"), ("--table", "all.parquet")):
        result = predict("a.wav", *arguments, "--half", code=1)
        assert "Embeddings of 16 bit belong to .parquet tables" in result.output + str(result.exception)
