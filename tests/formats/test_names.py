"""Names of recordings as operating systems allow them stand in every format, and every reader finds its rows."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emow2v import formats
from emow2v.archive import run
from emow2v.errors import FormatError
from emow2v.formats.ssi import read_annotation, read_stream
from emow2v.formats.table_read import read_table
from emow2v.framing import Framing
from emow2v.trajectory import Block, Info, Trajectory

BREAKING = {
    "VT": "a\x0bb.wav", "FF": "\x0ctalk.wav", "FS": "a\x1cb.wav", "GS": "a\x1d.wav", "RS": "a\x1eb", "NEL": "a\x85b.wav",
    "LS": "a\u2028b.wav", "PS": "\u2029", "CR": "a\rb.wav", "LF": "a\nb.wav", "all": "\x0b,\x0c\"\x85\u2028;\u2029 x.wav",
}  # fmt: skip
PLAIN = [
    "talk.wav",
    "a,b.wav",
    'say "yes".wav',
    "C:\\data\\u2028\\talk.wav",
    "  .wav",
    "=1+1.wav",
    "日本 😀.wav",
    "'.wav",
    "\t",
]
NO_UNICODE = ["Gespr\udce4ch.wav", "\udcff\udcfe", "a\ud83d.wav", "\ude00", "\udce4\u2028,\udc80.wav"]
NAMES = [*BREAKING.values(), *PLAIN]


def trajectory(name: str, rows: int = 3) -> Trajectory:
    scores = np.full((rows, 3), 0.25, np.float32)
    block = Block(0, *Framing().times(0, rows), np.ones((rows, 4), np.float32), scores, np.ones((rows, 3), np.float32))
    return Trajectory(Info(name, Framing(), {"model": "lite", "note": name}), lambda: iter([block]))


def by_csv(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["file"] for row in csv.DictReader(file)]


def by_pandas(path: Path) -> list[str]:
    return list(pd.read_csv(path, keep_default_na=False)["file"])


def by_pandas_python(path: Path) -> list[str]:
    return list(pd.read_csv(path, engine="python", keep_default_na=False)["file"])


def by_ourselves(path: Path) -> list[str]:
    return [name for name, table in read_table(path).items() for _ in table.starts]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("reader", [by_csv, by_pandas, by_pandas_python, by_ourselves])
def test_csv_gives_the_name_back(tmp_path: Path, name: str, reader: Callable[[Path], list[str]]) -> None:
    if reader in (by_pandas, by_pandas_python) and "\r" in name:
        pytest.skip("pandas reads a carriage return in quotes as a line feed")
    formats.write(trajectory(name), tmp_path / "talk.csv")
    assert reader(tmp_path / "talk.csv") == [name] * 3


@pytest.mark.parametrize("name", BREAKING.values(), ids=ascii)
def test_csv_has_its_rows_also_where_lines_are_split_too_often(tmp_path: Path, name: str) -> None:
    formats.write(trajectory(name), tmp_path / "talk.csv")
    found = list(csv.DictReader((tmp_path / "talk.csv").read_text(encoding="utf-8").splitlines()))
    assert [float(row["arousal"]) for row in found] == [0.25] * 3 and None not in found[0]


def by_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def by_line_feeds(text: str) -> list[Any]:
    return [json.loads(line) for line in text.rstrip("\n").split("\n")]


def by_pandas_lines(text: str) -> list[Any]:
    return list(pd.read_json(io.StringIO(text.split("\n", 1)[1]), lines=True).to_dict("records"))


@pytest.mark.parametrize("name", [*NAMES, *NO_UNICODE], ids=ascii)
def test_ndjson_is_read_line_by_line_by_anybody(tmp_path: Path, name: str) -> None:
    formats.write(trajectory(name), tmp_path / "talk.ndjson")
    text = (tmp_path / "talk.ndjson").read_text(encoding="utf-8")
    for reader in (by_lines, by_line_feeds):
        head, *rows = reader(text)
        assert head["file"] == head["provenance"]["note"] == name
        assert [row["valence"] for row in rows] == [0.25] * 3
    assert len(by_pandas_lines(text)) == 3
    assert by_ourselves(tmp_path / "talk.ndjson") == [name] * 3


@pytest.mark.parametrize("name", [*NAMES, *NO_UNICODE], ids=ascii)
def test_json_gives_the_name_back(tmp_path: Path, name: str) -> None:
    formats.write(trajectory(name), tmp_path / "talk.json")
    text = (tmp_path / "talk.json").read_bytes().decode("utf-8")  # strict
    assert json.loads(text)["file"] == json.loads("".join(text.splitlines()))["file"] == name
    assert by_ourselves(tmp_path / "talk.json") == [name] * 3


@pytest.mark.parametrize("name", [*NAMES, *NO_UNICODE], ids=ascii)
def test_every_writer_takes_it_again_and_again(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        formats.record(trajectory(name), formats.writers(formats.FORMATS, tmp_path, "talk"))
    for path in tmp_path.iterdir():
        if path.suffix[-1] != "~" and path.suffix not in (".npz", ".png", ".pdf"):
            path.read_bytes().decode("utf-8")
    with np.load(tmp_path / "talk.npz") as arrays:
        assert json.loads(str(arrays["provenance"]))["note"] == name
    assert json.loads((tmp_path / "talk.csv-metadata.json").read_text("utf-8"))["emow2v:provenance"]["note"] == name
    assert len(read_annotation(tmp_path / "talk.arousal.annotation")) == 3
    assert len(read_stream(tmp_path / "talk.embeddings.stream")) == 3


@pytest.mark.parametrize("name", NO_UNICODE, ids=ascii)
def test_what_is_no_unicode_is_an_escape_in_csv(tmp_path: Path, name: str) -> None:
    formats.write(trajectory(name), tmp_path / "talk.csv")
    assert by_csv(tmp_path / "talk.csv") == [name.encode("utf-8", "backslashreplace").decode()] * 3


@pytest.mark.parametrize("name", [*NAMES, *NO_UNICODE], ids=ascii)
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_what_is_printed_can_be_read(name: str, kind: str) -> None:
    """A terminal's stream is strict UTF-8."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    formats.record(trajectory(name), [run._printer([kind], stream)])
    stream.flush()
    text = raw.getvalue().decode("utf-8")
    if kind == "json":
        assert json.loads(text)["file"] == name and text.count("\n") == len(text.splitlines()) == 1
    else:
        assert len(list(csv.DictReader(io.StringIO(text, newline="")))) == 3


@pytest.mark.parametrize("name", NO_UNICODE, ids=ascii)
def test_a_stem_that_is_no_unicode_is_written_or_refused(tmp_path: Path, name: str) -> None:
    try:
        formats.record(trajectory("talk.wav"), formats.writers(formats.FORMATS, tmp_path, name))
    except FormatError as error:
        assert "cannot be written" in str(error) and str(error).encode("utf-8")
        assert list(tmp_path.iterdir()) == []
    else:
        assert len(list(tmp_path.iterdir())) == 16


# --------------------------------------------------------------------------------------------------- decimal commas

STREAM = (
    '<stream ssi-v="2"><info ftype="ASCII" sr="25,00" dim="{dim}" byte="4" type="{type}" delim="{delim}" /></stream>'
)


@pytest.mark.parametrize(
    ("delim", "type_", "text", "expected"),
    [
        (" ", "FLOAT", "0,50 1,25\n-0,5 2\n", [[0.5, 1.25], [-0.5, 2]]),
        (";", "FLOAT", "0,50;1,25\n-0,5;2\n", [[0.5, 1.25], [-0.5, 2]]),
        ("\t", "DOUBLE", "0,5\t1e-3\n2,5e1\t3\n", [[0.5, 0.001], [25, 3]]),
        (" ", "FLOAT", "0,50 0.50\n,5 5,\n", [[0.5, 0.5], [0.5, 5]]),
        (",", "FLOAT", "0.50,1.25\n1,2\n", [[0.5, 1.25], [1, 2]]),
        (";", "DOUBLE", "0,123456789;1\r\n2;NaN\r\n", [[0.123456789, 1], [2, np.nan]]),
    ],
)
def test_streams_with_decimal_commas(
    tmp_path: Path, delim: str, type_: str, text: str, expected: list[list[float]]
) -> None:
    path = tmp_path / "talk.stream"
    delim_ = delim.replace("\t", "&#9;")
    path.write_text(STREAM.format(dim=2, type=type_, delim=delim_))
    path.with_name("talk.stream~").write_text(text)
    found = read_stream(path)
    np.testing.assert_allclose(found.data, expected, rtol=1e-6)
    assert found.sampling_rate == 25


@pytest.mark.parametrize("text", ["0,5,1 2\n", "a,b 1\n", ", 1\n"])
def test_commas_that_make_no_number_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "talk.stream"
    path.write_text(STREAM.format(dim=2, type="FLOAT", delim=" "))
    path.with_name("talk.stream~").write_text(text)
    with pytest.raises(FormatError, match=r"expected 2 numbers; correct the line"):
        read_stream(path)


def test_an_annotation_with_decimal_commas_is_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.annotation"
    path.write_text(
        '<annotation><info ftype="ASCII"/><scheme name="x" type="CONTINUOUS" sr="25,0" min="0" max="1"/></annotation>'
    )
    path.with_name("talk.annotation~").write_text("0,50;0,75\n")
    assert read_annotation(path).scores.tolist() == [0.5]
