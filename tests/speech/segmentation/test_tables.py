"""Turns in tables, as spreadsheets, pandas, audformat, Praat, ELAN and whisper write them."""

import math
import pickle
from pathlib import Path

import pandas as pd
import pytest

from emow2v.errors import FormatError
from emow2v.speech.segmentation import read_segments
from segmentations import read, refusal, times, try_beginnings

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "text",
    [
        "start,end,speaker,label\n0.5,1.75,Anna,ja\n",
        "Start;Ende;End;Speaker;Text\n0,5;x;1,75;Anna;ja\n",
        "sep=|\nstart|end|participant|annotation\n0.5|1.75|Anna|ja\n",
        "onset\toffset\tspeaker\tword\n0.5\t1.75\tAnna\tja",
        "onset,duration,speaker,label\n0.5,1.25,Anna,ja",
        "offset,duration,speaker,text\n0.5,1.25,Anna,ja",
        "start_ms,end_ms,speaker,text\n500,1750,Anna,ja",
        "start [s],end [s],speaker,text\n0.5,1.75,Anna,ja",
        "begin,end,who,label\n0:00:00.5,00:01.75,Anna,ja",
        "start,end,speaker,label\n0 days 00:00:00.500000,0 days 00:00:01.750000,Anna,ja\n\n,,,\n",
        "start,duration,speaker,label\n500 ms,1.25 s,Anna,ja",
        "Participant\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\tEnd Time - hh:mm:ss.ms\tAnnotation\n"
        "Anna\t00:00:00.500\t0.5\t00:00:01.750\tja",
        "Participant\tBegin Time - msec\tEnd Time - msec\tAnnotation\nAnna\t500\t1750\tja",
    ],
)
def test_the_words_that_people_use(tmp_path: Path, text: str) -> None:
    assert times(read(tmp_path, "talk.csv", text)) == [(0.5, 1.75, "Anna", "", "ja")]


def test_praats_table_and_whispers(tmp_path: Path) -> None:
    praat = "tmin\ttier\ttext\ttmax\n0.5\tVP\tja\t1.75\n"
    assert times(read(tmp_path, "talk.Table.txt", praat)) == [(0.5, 1.75, "", "VP", "ja")]
    assert times(read(tmp_path, "talk.txt", praat, tiers=["VP"])) == [(0.5, 1.75, "", "VP", "ja")]
    whisper = read(tmp_path, "talk.tsv", "start\tend\ttext\n0\t1750\thallo\n1750\t3000\tja\n")
    assert times(whisper) == [(0, 1.75, "", "", "hallo"), (1.75, 3, "", "", "ja")]
    assert whisper.notices == (
        "talk.tsv: its times are whole numbers and are read as milliseconds, as whisper writes them.",
    )


def test_what_pandas_and_audformat_write(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_arrays(
        [
            ["audio/talk.wav", "audio/talk.wav", "audio/other.wav"],
            pd.to_timedelta([0.5, 2, 3], unit="s"),
            pd.to_timedelta([1.75, None, 4], unit="s"),
        ],
        names=["file", "start", "end"],
    )
    path = tmp_path / "db.turns.csv"
    pd.DataFrame({"speaker": ["Anna", None, "Bob"], "emotion": "x"}, index=index).to_csv(path)
    found = read(tmp_path, path.name, path.read_bytes(), recording=tmp_path / "audio" / "talk.wav")
    assert [(one.start, one.end, one.speaker) for one in found.segments] == [(0.5, 1.75, "Anna"), (2, math.inf, "")]
    assert found.notices == ("db.turns.csv: 1 turn has no end and lasts until the end of the recording.",)
    assert not read_segments(path, recording=tmp_path / "audio" / "other.wav").notices  # not of its turns


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_audformat_writes(tmp_path: Path, ending: str) -> None:
    audformat = pytest.importorskip("audformat")
    database = audformat.Database("talks", source="here", usage=audformat.define.Usage.UNRESTRICTED)
    database["turns"] = audformat.Table(audformat.segmented_index(["talk.wav"] * 2, [0.5, 2], [1.75, 3]))
    database["turns"]["speaker"] = audformat.Column()
    database["turns"]["speaker"].set(["Anna", "Bob"])
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    database.save(str(tmp_path / "db"), storage_format=ending)
    content = (tmp_path / "db" / f"db.turns.{ending}").read_bytes()
    assert times(read(tmp_path, f"turns.{ending}", content)) == [(0.5, 1.75, "Anna", "", ""), (2, 3, "Bob", "", "")]


def test_parquet_of_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "talks.parquet"
    start, end = pd.to_timedelta([0.5, 2, 3.1], unit="s"), pd.to_timedelta([1.75, None, 4], unit="s")
    files = ["talk.wav", "a/talk.wav", "other.wav"]
    table = pd.DataFrame(
        {"file": files, "start": start, "end": end, "words": [["x"], [], []], "tier": ["VP", None, "IV"]}
    )
    table.set_index(["file", "start", "end"]).to_parquet(path)
    found = read_segments(path, recording="x/a/talk.wav")
    assert times(found) == [(2, math.inf, "", "", "")] and found.format == "Parquet"
    assert found.notices == ("talks.parquet: 1 turn has no end and lasts until the end of the recording.",)
    pd.DataFrame({"start_ms": [500, 2000], "duration_ms": [1250, 500], "speaker": [1, 2]}).to_parquet(path)
    assert times(read_segments(path)) == [(0.5, 1.75, "1", "", ""), (2, 2.5, "2", "", "")]
    content = path.read_bytes()
    assert "no whole Parquet table" in refusal(tmp_path, "cut.parquet", content[:-30])
    pd.DataFrame({"a": [1]}).to_parquet(path)
    assert "its first line is 'a'" in refusal(tmp_path, "talks.parquet", path.read_bytes())
    scores = {name: [0.5] for name in ("start", "end", "arousal", "dominance", "valence", "confidence")}
    pd.DataFrame(scores).to_parquet(path)
    assert "a table of values that emow2v wrote" in refusal(tmp_path, "talks.parquet", path.read_bytes())


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    """Whoever opens this one makes a file."""
    attack = tmp_path / "opened"

    class Attack:
        def __reduce__(self) -> tuple:
            return Path.touch, (attack,)

    for name, protocol in (("turns.pkl", 0), ("turns.pkl", 5), ("turns.csv", 4)):
        sentence = refusal(tmp_path, name, pickle.dumps(Attack(), protocol))
        assert "storage_format='csv'" in sentence and not attack.exists()
    pickle.loads(pickle.dumps(Attack()))
    assert attack.exists()


def test_the_recording_that_is_meant(tmp_path: Path) -> None:
    table = "file,start,end\na\\talk.wav,0,1\nb\\talk.wav,1,2\n"
    assert times(read(tmp_path, "all.csv", table, recording="x/b/talk.wav")) == [(1, 2, "", "", "")]
    with pytest.raises(FormatError, match=r"has no turn of other\.wav"):
        read(tmp_path, "all.csv", table, recording="other.wav")
    assert "it names 2 recordings" in refusal(tmp_path, "all.csv", table)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "windows-1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "start;end;speaker;label\n0,5;1,75;Jürgen;größer “so”\n"
    found = read(tmp_path, "talk.csv", text.encode(encoding))
    assert times(found) == [(0.5, 1.75, "Jürgen", "", "größer “so”")]
    assert bool(found.notices) == (encoding == "windows-1252")


def test_every_beginning(tmp_path: Path) -> None:
    text = 'start,end,speaker,label\n0.5,1.75,Anna,"ja, ""so"""\n2,3,Bob,nein\n'
    read_, refused = try_beginnings(tmp_path, "talk.csv", text.encode())
    assert read_ > 20 and refused > 10


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,age\nx,3", "its first line is 'name,age'; expected a header with start and end"),
        ("start,speaker\n1,x", "its first line is 'start,speaker'"),
        ("start,end\nsoon,2", "line 2: a time is 'soon'; expected seconds"),
        ("start,end\n1,2,3", "line 2 has 3 values, the header 2; expected as many"),
        ("start,end\n,2", "line 2 has no start"),
        ("start,end\ninf,2", "line 2 has no start"),
        ('start,end,label\n1,2,"x', "line 3 cannot be read (unexpected end of data)"),
        ("start,end\n1,99999999999", "line 2: a time is 1e+11 s"),
        (
            "file,start,end,arousal,dominance,valence,confidence\ntalk.wav,0,0.04,1,1,1,1",
            "it is a table of values that emow2v wrote; expected turns",
        ),
        (b"PK\3\4abc", "it is a workbook or an archive; expected text"),
        (b"start,end\n\x00\x01\x02", "it is no text in UTF-8"),
        (b"\1\0\2\0\3\0\4\0\0\xdc\5\0" * 40, "it is no text in UTF-8"),  # zeros of any other file
        (b"", "it is empty"),
        (b" \r\n", "it is empty"),
        ("start,end,label\n0,1,äö\n1,2,ü".encode()[:-1], "it is cut off within a letter"),
        ("start,end\n0,1".encode("utf-16")[:-1], "its UTF-16 is damaged or cut off"),
    ],
)
def test_what_is_none_costs_a_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    assert refusal(tmp_path, "talk.csv", text).startswith(sentence) or sentence.startswith("line 3 cannot")
    assert sentence.removeprefix("line 3 ") in refusal(tmp_path, "talk.csv", text)
