"""CSV and JSON hold what the trajectory holds, and every reader of CSV and JSON reads them."""

import csv
import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from emow2v import formats
from emow2v.errors import FormatError
from emow2v.formats.table import COLUMNS, rows
from emow2v.framing import Framing
from emow2v.trajectory import Block, Info, Trajectory

pytestmark = pytest.mark.quick

NAMES = [
    "talk.wav",
    "Gespräch mit Frau Öztürk.wav",
    'say "yes"; no.wav',
    "a,b\nc.wav",
    "C:\\data\\talk.wav",
    "日本 😀.wav",
    "50 % #1?.wav",
]
PROVENANCE: dict[str, str | float] = {"model": "lite", "frame_step_ms": 40.0, "citation": 'Müller & "others"'}


def trajectory(name: str = "talk.wav", count: int = 30, first: int = 0, framing: Framing | None = None) -> Trajectory:
    """Two blocks (one, where there is one row; none without rows) of random values."""
    framing = framing or Framing()
    generator = np.random.default_rng(count)
    blocks = []
    for begin, size in ((first, count // 2), (first + count // 2, count - count // 2)):
        scores, confidence = generator.normal(0.5, 0.4, (size, 3)), generator.random((size, 3))
        embeddings = np.zeros((size, 1024), np.float32)
        times = framing.times(begin, size)
        blocks.append(Block(begin, *times, embeddings, scores.astype(np.float32), confidence.astype(np.float32)))
    return Trajectory(Info(name, framing, PROVENANCE), lambda: iter([block for block in blocks if len(block)]))


def with_scores(scores: list[float]) -> Trajectory:
    times = Framing().times(0, 1)
    block = Block(
        0, *times, np.zeros((1, 1024), np.float32), np.array([scores], np.float32), np.ones((1, 3), np.float32)
    )
    return Trajectory(Info("talk.wav", Framing(), PROVENANCE), lambda: iter([block]))


@pytest.mark.parametrize("framing", [Framing(), Framing(frame_step_ms=33.3, start_ms=1000), Framing(frame_step_ms=7)])
@pytest.mark.parametrize("name", NAMES)
def test_csv_agrees_with_the_frame(tmp_path: Path, name: str, framing: Framing) -> None:
    one = trajectory(name, first=framing.first_frame, framing=framing)
    formats.write(one, tmp_path / "talk.csv")
    table = pd.read_csv(tmp_path / "talk.csv")
    assert tuple(table.columns) == COLUMNS
    frame = one.to_frame().reset_index()
    assert table["file"].tolist() == frame["file"].tolist() == [name] * 30
    for column in ("start", "end"):
        assert np.allclose(table[column], frame[column].dt.total_seconds(), atol=1e-6)
    for column in ("arousal", "dominance", "valence", "confidence"):
        assert np.allclose(table[column], frame[column], atol=1e-6)


def test_csv_is_plain(tmp_path: Path) -> None:
    formats.write(trajectory('a "quoted", name.wav', count=2), tmp_path / "talk.csv")
    lines = (tmp_path / "talk.csv").read_bytes().split(b"\n")
    assert lines[0] == b"file,start,end,arousal,dominance,valence,confidence"
    assert lines[1].startswith(b'"a ""quoted"", name.wav",0.0,0.04,')
    assert lines[2].startswith(b'"a ""quoted"", name.wav",0.04,0.08,') and lines[3:] == [b""]
    assert all(len(field.split(".")[1]) == 6 for field in lines[1].decode().split(",")[4:])


@pytest.mark.parametrize("name", ["talk", "Gespräch mit Frau Öztürk", "50 % #1?"])
def test_metadata_describe_the_table(tmp_path: Path, name: str) -> None:
    formats.write(trajectory(), tmp_path / f"{name}.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.csv", f"{name}.csv-metadata.json"]
    found = json.loads((tmp_path / f"{name}.csv-metadata.json").read_text("utf-8"))
    assert found["@context"] == "http://www.w3.org/ns/csvw"
    assert unquote(found["url"]) == f"{name}.csv" and not set(found["url"]) & set(" #?ä")
    assert [column["name"] for column in found["tableSchema"]["columns"]] == list(COLUMNS)
    assert found["tableSchema"]["columns"][1]["dc:description"] == "seconds from the beginning of the recording"
    assert found["emow2v:provenance"] == PROVENANCE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [30, 1, 0])
def test_json_agrees_with_the_frame(tmp_path: Path, name: str, count: int) -> None:
    one = trajectory(name, count)
    formats.write(one, tmp_path / "talk.json")
    found = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    assert found["file"] == name and found["provenance"] == PROVENANCE and found["columns"] == list(COLUMNS[1:])
    assert len(found["rows"]) == count
    if count:
        frame = one.to_frame().reset_index()
        times = np.stack([frame["start"].dt.total_seconds(), frame["end"].dt.total_seconds()], axis=1)
        assert np.allclose(np.array(found["rows"])[:, :2], times, atol=1e-6)
        assert np.allclose(np.array(found["rows"])[:, 2:], frame.iloc[:, 3:], atol=1e-6)


def test_csv_without_rows_has_its_head(tmp_path: Path) -> None:
    formats.write(trajectory(count=0), tmp_path / "talk.csv")
    assert (tmp_path / "talk.csv").read_text() == ",".join(COLUMNS) + "\n"


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_what_is_no_number_is_missing(tmp_path: Path) -> None:
    one = with_scores([float("nan"), float("inf"), 0.5])
    formats.write(one, tmp_path / "talk.json")
    formats.write(one, tmp_path / "talk.csv")
    found = json.loads((tmp_path / "talk.json").read_text(), parse_constant=refuse)
    assert found["rows"] == [[0.0, 0.04, None, None, 0.5, 1.0]]
    table = pd.read_csv(tmp_path / "talk.csv")
    assert table[["arousal", "dominance"]].isna().all(axis=None) and table["valence"][0] == 0.5
    assert json.loads((tmp_path / "talk.csv-metadata.json").read_text())["null"] == "null"


def test_scores_are_given_as_the_model_gives_them(tmp_path: Path) -> None:
    formats.write(with_scores([-0.25, 1.75, 1e-9]), tmp_path / "talk.csv")
    with (tmp_path / "talk.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][3:6] == ["-0.250000", "1.750000", "0.000000"]


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    # a file name in Latin-1 on a machine with UTF-8 comes out of the operating system like this
    name = b"Gespr\xe4ch.wav".decode("utf-8", "surrogateescape")
    formats.record(trajectory(name), formats.writers(["csv", "json"], tmp_path, "talk"))
    assert json.loads((tmp_path / "talk.json").read_text("utf-8"))["file"] == name
    assert pd.read_csv(tmp_path / "talk.csv")["file"][0] == "Gespr\\udce4ch.wav"


def test_rows_are_json_and_csv_at_once() -> None:
    (block,) = with_scores([0.5, 0.25, 1])
    assert rows(block) == [("0.0", "0.04", "0.500000", "0.250000", "1.000000", "1.000000")]


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    for name in ("talk.xlsx", "talk"):
        with pytest.raises(
            FormatError, match="is unknown; expected csv, json, ndjson, annotation, stream, npz, png, svg or pdf"
        ):
            formats.write(trajectory(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_endings_choose_the_format(tmp_path: Path) -> None:
    one = trajectory()
    for name in ("a.CSV", "b.json", "c.stream", "d.annotation", "e.valence.annotation"):
        formats.write(one, tmp_path / "new" / "folder" / name)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        ["a.CSV", "a.CSV-metadata.json", "b.json", "c.stream", "c.stream~"]
        + [f"d.{one}.annotation{end}" for one in ("arousal", "dominance", "valence") for end in ("", "~")]
        + ["e.valence.annotation", "e.valence.annotation~"]
    )
