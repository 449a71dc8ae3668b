"""Tables as people have them are read, or refused in a sentence with the line; for evaluation and training alike."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_manifest import read_list, read_manifest
from emow2v.corpora.csv_rows import seconds
from emow2v.corpora.read import read_corpus
from emow2v.errors import FormatError
from emow2v.modelstore.verify import EXAMPLE

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "tables"
ONE = [("c1.wav", 0.0, None, "A", 0.5), ("c2.wav", 0.0, None, "B", 0.7)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("c1.wav", "c2.wav", "Gespräch.wav", "談話.wav"):
        soundfile.write(tmp_path / name, np.zeros(1600), 16000)
    return tmp_path


def both(folder: Path, content: str | bytes, encoding: str = "utf-8") -> list[list[Clip]]:
    """A table as `evaluate` and as `train` read it."""
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return [list(read_manifest(path)), list(read_corpus("csv", path, development_share=0, test_share=0))]


def facts(one: Clip) -> tuple[str, float, float | None, str, float]:
    return one.file.name, one.start, one.end, one.speaker, one.ratings[0]


@pytest.mark.parametrize(
    "text",
    [
        "file,speaker,arousal\nc1.wav,A,0.5\nc2.wav,B,0.7\n",
        "file;speaker;arousal\nc1.wav;A;0,5\nc2.wav;B;0,7\n",
        '"file";"speaker";"arousal"\r\n"c1.wav";"A";"0.5"\r\n"c2.wav";"B";"0.7"\r\n',
        "file\tspeaker\tarousal\nc1.wav\tA\t0.5\nc2.wav\tB\t0,7\n",
        "file|speaker|arousal\nc1.wav|A|.5\nc2.wav|B|7e-1\n",
        'file,speaker,arousal\nc1.wav,A,"0,5"\nc2.wav,B,"0,7"\n',
        "sep=;\nfile;speaker;arousal\nc1.wav;A;0,5\nc2.wav;B;0,7\n",
        "file;speaker;arousal;;\nc1.wav;A;0,5;;\nc2.wav;B;0,7;;\n;;;;\n;;;;\n",
        "speaker ; file ; note ; arousal\nA ; c1.wav ; a, b ; 0,5\nB ; c2.wav ; c ; 0,7\n",
        ",file,speaker,arousal\n0,c1.wav,A,0.5\n1,c2.wav,B,0.7\n",
        "file,speaker,arousal\rc1.wav,A,0.5\rc2.wav,B,0.7\r",
        'file,note,speaker,arousal\nc1.wav,"two\nlines",A,0.5\nc2.wav,,B,0.7\n',
        "File,SPEAKER,Arousal\nc1.wav,A,0.5\nc2.wav,B,0.7",
        "file,speaker,arousal\n\nc1.wav,A, 0.5 \n\nc2.wav,B,\u00a00.7\n\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_spreadsheet_says_the_same(folder: Path, text: str, encoding: str) -> None:
    for read in both(folder, text, encoding):
        assert [facts(one) for one in read] == ONE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252", "latin-1"])
def test_names_with_umlauts(folder: Path, encoding: str) -> None:
    for read in both(folder, "file;speaker;arousal\r\nGespräch.wav;Jörg Weiß;0,5\r\n", encoding):
        assert [facts(one) for one in read] == [("Gespräch.wav", 0.0, None, "Jörg Weiß", 0.5)]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("shift_jis", "談話"), ("cp1251", "Разговор"), ("gb18030", "谈话会"), ("koi8_r", "Разговор"), ("cp949", "대화")],
)
def test_other_encodings_are_told(folder: Path, encoding: str, text: str) -> None:
    path = folder / "t.csv"
    path.write_bytes(f"file,arousal\n{text}.wav,0.5\n".encode(encoding))
    with pytest.raises(FormatError, match=r"no CSV file in UTF-8.*save it as CSV in UTF-8"):
        read_manifest(path)


@pytest.mark.parametrize("encoding", ["windows-1252", "mac_roman", "iso8859_15"])
def test_a_guess_is_told(folder: Path, encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "t.csv"
    path.write_bytes("file,speaker,arousal\nc1.wav,Jörg,0.5\n".encode(encoding))
    read_manifest(path)
    assert f"{path} is not in UTF-8; it is read as Windows-1252." in caplog.text


@pytest.mark.parametrize("text", ["", "NA", "NaN", "nan", "N/A", "#N/A", "<NA>", "NaT", "na"])
def test_what_is_unknown(folder: Path, text: str) -> None:
    table = (
        f"file,start,end,speaker,arousal,valence,emotion,sex\nc1.wav,{text},{text},{text},0.5,{text},{text},{text}\n"
    )
    evaluated, trained = both(folder, table)
    assert facts(evaluated[0]) == facts(trained[0]) == ("c1.wav", 0.0, None, "", 0.5)
    assert isinstance(evaluated[0], Clip) and math.isnan(evaluated[0].ratings[2])
    assert not evaluated[0].emotion and not evaluated[0].groups


@pytest.mark.parametrize("name", ["c1.wav", "c2.wav"])
@pytest.mark.parametrize(
    ("start", "end"),
    [(0.0, 1.5), (0.25, None), (61.0, 3723.000001), (90000.5, 90001.0), (0.0, 0.001), (1.1, 2.2)],
)
def test_times_as_pandas_and_audformat_write_them(folder: Path, name: str, start: float, end: float | None) -> None:
    """pandas is the judge: what it writes of an audformat index is read as the seconds it stands for."""
    ends = pd.to_timedelta([end if end is not None else pd.NaT], unit="s")
    index = pd.MultiIndex.from_arrays(
        [[name], pd.to_timedelta([start], unit="s"), ends], names=["file", "start", "end"]
    )
    text = pd.DataFrame({"speaker": ["A"], "arousal": [0.5]}, index=index).to_csv()
    for read in both(folder, text):
        assert facts(read[0]) == (name, pytest.approx(start), None if end is None else pytest.approx(end), "A", 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "0 days",
        "0 days 00:00:01.500000",
        "1 days 02:03:04.5",
        "00:00:07",
        "-1 days +23:59:59",
        "3 days 00:00:00.000001",
    ],
)
def test_times_against_pandas(text: str) -> None:
    assert seconds("", {"end": text}, "end") == pytest.approx(pd.to_timedelta(text).total_seconds())


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("1,5", 1.5), ("1500 ms", 1.5), ("1.5s", 1.5), ("0:01:30", 90.0), ("inf", math.inf), ("2e1", 20.0)],
)
def test_other_ways_to_write_a_time(text: str, value: float) -> None:
    assert seconds("", {"end": text}, "end") == value


@pytest.mark.parametrize("end", ["inf", "Infinity", "INF", "+inf", "NaT"])
def test_no_end_is_the_recordings_own(folder: Path, end: str) -> None:
    for read in both(folder, f"file,start,end,arousal\nc1.wav,0,{end},0.5\n"):
        assert (read[0].start, read[0].end) == (0.0, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,start\nc1.wav,inf\n", "line 2: start is inf"),
        ("file,start\nc1.wav,-1\n", "line 2: start is -1"),
        ("file,start,end\nc1.wav,0,-inf\n", "line 2: start is 0 and end -inf"),
        ("file,end\nc1.wav,1e300\n", "line 2: end is '1e300'; expected seconds within the recording"),
        ("file,end\nc1.wav,1:30\n", "line 2: end is '1:30'; expected seconds, such as 1.5, or 0 days"),
        ("file,end\nc1.wav,soon\n", "line 2: end is 'soon'; expected seconds"),
        ("file,start,end\nc1.wav,0 days 00:00:02,0 days 00:00:01\n", "the end after the start"),
        ("file,arousal\nc1.wav,0.5\nc2.wav,high\n", "line 3: arousal is 'high'; expected a number"),
        ("file,arousal\nc1.wav,1_0\n", "line 2: arousal is '1_0'; expected a number"),
        ("file,arousal\nc1.wav,inf\n", "line 2: arousal is inf, outside 0..1"),
        ("file,arousal\nc1.wav,5;4\n", "line 2: arousal is '5;4'; expected a number"),
        ("file,speaker,arousal\nc1.wav,A,0,5\n", "line 2 has more values .*decimal commas, or use semicolons"),
        ("file;arousal\nc1.wav;0,5;x\n", "line 2 has more values .*semicolons between values only"),
        (
            f"file,arousal\n{'Und dann sagte er ' * 20}.wav,0.5\n",
            "line 2: Und .* is too long for a file's name; expected at most 255",
        ),
        (f"file,arousal\nc1.wav,0.5\n{'談' * 90}.wav,0.5\n", "line 3: 談.* is too long"),
        ("file,arousal,arousal\nc1.wav,0.5,0.6\n", "has the column arousal twice"),
        ("Datei;arousal\nc1.wav;0,5\n", "no column file; expected file, and .*; its first line is Datei;arousal"),
        ("c1.wav;A;0,5\n", "no column file.*its first line is c1.wav;A;0,5"),
        ("file,arousal\nNA,0.5\n", "line 2 names no file"),
        ('file,arousal\n"c1.wav,0.5\n', "no CSV file .*close every quotation mark"),
        ("file\narousal\0\n", "is no CSV file"),
        ("", "is empty; expected a header"),
        ("\n \r\n", "is empty; expected a header"),
    ],
)
def test_what_cannot_be_read_is_a_sentence_with_the_line(folder: Path, text: str, sentence: str) -> None:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    for read in (lambda: read_manifest(path), lambda: read_corpus("csv", path)):
        with pytest.raises(FormatError, match=sentence) as caught:
            read()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("magic", [b"PK\3\4xlsx", b"\xd0\xcf\x11\xe0xls"])
def test_workbooks_by_their_first_bytes(folder: Path, magic: bytes) -> None:
    (folder / "t.csv").write_bytes(magic)
    with pytest.raises(FormatError, match="workbook"):
        read_manifest(folder / "t.csv")


@pytest.mark.skipif(os.sep == "\\", reason="where backslashes are what they are")
def test_backslashes_of_windows(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "s1").mkdir()
    (folder / "c1.wav").rename(folder / "s1" / "c1.wav")
    path = folder / "table.csv"
    path.write_text("file,speaker,arousal\ns1\\c1.wav,A,0.5\nc2.wav,B,0.7\n")
    assert all(clip.file.is_file() for clip in read_manifest(path))
    assert "backslashes in names of files are taken as /" in caplog.text
    path.write_text("file,speaker\n..\\ev\\c1.wav,A\n")
    with pytest.raises(FormatError, match=r"such as ..\\ev\\c1.wav; .* with / between folders"):
        read_manifest(path)


def test_letters_of_columns_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    both(folder, "File,Arousal\nc1.wav,0.5\n")
    assert "File as file, Arousal as arousal" in caplog.text


def test_only_some_by_a_column_in_any_letters(folder: Path) -> None:
    path = folder / "table.csv"
    path.write_text("File;Sex;Group\nc1.wav;female;a\nc2.wav;male;b\n")
    assert len(read_manifest(path, only={"Sex": ["female"]})) == 1
    assert len(read_manifest(path, only={"Group": ["b"]})) == 1
    with pytest.raises(FormatError, match="has no column group"):
        read_manifest(path, only={"group": ["b"]})


def test_a_file_that_may_not_be_looked_at_is_told_at_its_turn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.name == "c1.wav":
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    (folder / "table.csv").write_text("file,arousal\nc1.wav,0.5\nc2.wav,0.7\n")
    assert len(read_manifest(folder / "table.csv")) == 2


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases from the field are not beside this checkout")
@pytest.mark.parametrize(
    "name", ["semicolon", "tab", "timedelta", "nat", "na", "capital", "inf2", "excel_semicolon_point"]
)
def test_tables_from_the_field(name: str) -> None:
    path = CASES / f"{name}.csv"
    clips = read_manifest(path)
    assert clips[0].ratings[0] == 0.5 and clips[0].file.name == "c1.wav"
    trained = read_corpus("csv", path, development_share=0, test_share=0)
    np.testing.assert_array_equal([one.ratings for one in trained], [clip.ratings for clip in clips])


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("a.txt", "a.wav\n\n b/c d.wav \r\nGespräch.wav".encode(), ["a.wav", "b/c d.wav", "Gespräch.wav"]),
        ("a.TXT", "\ufeffa.wav\na.wav\n".encode("utf-16-le"), ["a.wav", "a.wav"]),
        ("a.csv", b"file,speaker\na.wav,1\nb.wav,2\na.wav,3\n", ["a.wav", "b.wav", "a.wav"]),
        ("a.csv", b"speaker;File\n1;a.wav\n2;NA\n3;b.wav\n", ["a.wav", "", "b.wav"]),
        ("a.tsv", b"file\tx\na.wav\t1\n", ["a.wav"]),
        ("a.csv", b"file,start,end\na.wav,0,1\na.wav,1,2\nb.wav,0,1\n", ["a.wav", "b.wav"]),
        ("a.csv", b"RIFF\x24\0\0\0WAVEfmt ", None),
        ("a.txt", b"ID3\x03\0\0\0", None),
        ("a.parquet", b"RIFF", None),
        ("a.wav", b"a.wav\nb.wav\n", None),
    ],
)
def test_lists_of_recordings(tmp_path: Path, name: str, content: bytes, names: list[str] | None) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_list(tmp_path / name)
    assert (None if found is None else list(found)) == names


@pytest.mark.parametrize("levels", [["file"], ["file", "start", "end"]])
def test_tables_of_audformat_list_recordings(tmp_path: Path, levels: list[str]) -> None:
    """As audformat writes them: an index of one or three levels, in Parquet."""
    audformat = pytest.importorskip("audformat")
    pytest.importorskip("pyarrow")
    files = ["a.wav", "b.wav"] if levels == ["file"] else ["a.wav", "a.wav", "b.wav"]
    index = audformat.filewise_index(files)
    if levels != ["file"]:
        index = audformat.segmented_index(files, [0, 1, 0], [1, 2, 1])
    database = audformat.Database("db")
    database["t"] = audformat.Table(index)
    database["t"]["x"] = audformat.Column()
    database["t"]["x"].set(["1"] * len(files))
    database.save(tmp_path, storage_format="parquet")
    assert list(read_list(tmp_path / "db.t.parquet") or ()) == ["a.wav", "b.wav"]


def test_rows_without_a_name_are_kept_for_a_sentence(tmp_path: Path) -> None:
    """Those of segments too, which otherwise name a recording once."""
    (tmp_path / "clips.csv").write_text("file,x\na.wav,1\n,2\nNA,3\na.wav,4\n")
    assert list(read_list(tmp_path / "clips.csv") or ()) == ["a.wav", "", "", "a.wav"]
    (tmp_path / "segments.csv").write_text("file,start\na.wav,1\n,2\na.wav,4\n")
    assert list(read_list(tmp_path / "segments.csv") or ()) == ["a.wav", ""]
    pytest.importorskip("pyarrow")
    pd.DataFrame({"file": ["a.wav", None, "b.wav"]}).to_parquet(tmp_path / "table.parquet")
    assert list(read_list(tmp_path / "table.parquet") or ()) == ["a.wav", "", "b.wav"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"\n \n", "names no recording; expected the name of one on each line"),
        (
            "a.csv",
            b"name,speaker\na.wav,1\n",
            "has no column file; expected a column file, with a recording in each row",
        ),
        ("a.csv", b"file\n", "names no clip"),
        ("a.csv", b"file,x\n,1\n", "names no recording; expected one in each row"),
        ("a.parquet", b"PAR1 and no more", "is no whole Parquet table"),
    ],
)
def test_what_lists_no_recording_is_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=sentence):
        read_list(tmp_path / name)


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.tsv"])
@pytest.mark.parametrize(
    "content", [b"file\na.wav\n\0b.wav\n", "file\nä.wav\n".encode("utf-16-le"), b"file\n\0\0\0", b"b\0.wav"]
)
def test_a_list_with_a_zero_is_called_none(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=r"is no list: it holds a NUL character; .* save it as UTF-8"):
        read_list(tmp_path / name)


def test_a_zero_far_inside_a_list_and_a_recording_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"a.wav\n" * 1000 + b"b\0.wav\n")
    with pytest.raises(FormatError, match="is no list: it holds a NUL character"):
        read_list(tmp_path / "long.txt")
    (tmp_path / "talk.txt").write_bytes(EXAMPLE.read_bytes())
    assert read_list(tmp_path / "talk.txt") is None
    (tmp_path / "silence.txt").write_bytes(bytes(1000))
    assert read_list(tmp_path / "silence.txt") is None
