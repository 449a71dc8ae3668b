"""Readers of corpora, each on a miniature in the layout of the real one."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.corpora.clip import Clip
from emow2v.corpora.read import load, read_corpus
from emow2v.errors import AudioError, Emow2vError, FormatError
from small_corpora import (
    audformat_database,
    csv_corpus,
    iemocap,
    msp_podcast,
    old_msp_podcast,
    stretch,
    write_csv,
    write_noise,
)

NAN = math.nan
# in audformat 1.4.3, by pandas 3
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword", "ignore:The 'float_precision' argument")


def speakers(clips: list[Clip]) -> dict[str, set[str]]:
    """Of each partition."""
    found: dict[str, set[str]] = {}
    for clip in clips:
        found.setdefault(clip.partition, set()).add(clip.speaker)
    return found


@pytest.mark.parametrize(
    "labels", ["Labels/labels_consensus.csv", "Labels/labels_concensus.csv", "labels_consensus.csv"]
)
def test_msp_podcast(tmp_path: Path, labels: str) -> None:
    clips = read_corpus("msp-podcast", msp_podcast(tmp_path, labels=labels))
    assert [clip.partition for clip in clips] == ["train"] * 3 + ["development", "test"]
    assert [clip.speaker for clip in clips] == ["127", "127", "", "9", "11"]
    assert clips[0].ratings == pytest.approx((0.2, 1.6 / 6, 0.5))  # arousal, dominance, valence
    assert clips[2].ratings == (1.0, 1.0, 0.0)
    assert all(clip.file.is_file() and clip.end is None for clip in clips)


def test_old_and_new_releases_of_msp_podcast_say_the_same(tmp_path: Path) -> None:
    new = read_corpus("msp-podcast", msp_podcast(tmp_path / "new"), tests=["test1", "Test2"])
    old = read_corpus("msp-podcast", old_msp_podcast(tmp_path / "old"), tests=["test1", "Test2"])
    assert len(new) == 6 and new[-1].partition == "test"
    for one, other in zip(new, old, strict=True):
        assert (one.file.name, one.speaker, one.partition) == (other.file.name, other.speaker, other.partition)
        assert one.ratings == pytest.approx(other.ratings)
        assert other.file.is_file()


def test_iemocap(tmp_path: Path) -> None:
    clips = read_corpus("iemocap", iemocap(tmp_path / "IEMOCAP_full_release"))
    assert len(clips) == 5 * 2 * 2
    assert clips[0].file.is_file() and clips[0].file.name == "Ses01F_impro01_F000.wav"
    assert clips[0].ratings == pytest.approx((0.5, 0.75, 0.375))
    assert clips[1].speaker == "Ses01M" and clips[1].ratings == pytest.approx((1.0, 3.6667 / 4, 0.0))
    folds = speakers(clips)
    assert folds["test"] == {"Ses05F", "Ses05M"} and folds["development"] == {"Ses04F", "Ses04M"}
    assert len(folds["train"]) == 6
    other = speakers(read_corpus("iemocap", tmp_path, test_session=1, development_session=2))
    assert other["test"] == {"Ses01F", "Ses01M"} and other["development"] == {"Ses02F", "Ses02M"}


def test_audformat(tmp_path: Path) -> None:
    pytest.importorskip("audformat")
    clips = sorted(read_corpus("audformat", audformat_database(tmp_path)), key=lambda one: (one.file, one.start))
    assert [(one.file.name, one.start, one.end, one.speaker, one.partition) for one in clips] == [
        ("a.wav", 0.0, None, "ann", "train"),
        ("b.wav", 0.0, None, "bob", "development"),
        ("c.wav", 0.0, 0.5, "cem", "test"),
        ("c.wav", 0.5, None, "cem", "test"),
    ]
    assert clips[0].ratings == (0.5, 1.0, 0.25)
    assert clips[2].ratings == pytest.approx((0.75, NAN, NAN), nan_ok=True)  # two raters, from -1 to 1
    assert clips[3].ratings[0] == 0.5  # one of them said nothing
    assert all(one.file.is_file() for one in clips)
    only = read_corpus("audformat", tmp_path, tables="emotion.train", development_share=0)
    assert [one.file.name for one in only] == ["a.wav"]


def test_audformat_without_a_scale(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    write_noise(tmp_path / "a.wav")
    database = audformat.Database("bare")
    database["files"] = audformat.Table(audformat.filewise_index(["a.wav"]))
    database["files"]["Valence"] = audformat.Column()
    database["files"]["Valence"].set([4.0])
    database.save(tmp_path)
    with pytest.raises(FormatError, match=r'Valence does not say its lowest.*"valence=1:7"'):
        read_corpus("audformat", tmp_path, development_share=0, test_share=0)
    (clip,) = read_corpus("audformat", tmp_path, scale="1:7", development_share=0, test_share=0)
    assert clip.ratings[2] == 0.5 and clip.speaker == "" and clip.partition == "train"


@pytest.mark.parametrize(
    ("scale", "first"),
    [("1:7", (0.0, 0.0, 1.0)), (["-5:7", "valence=1:13"], (0.5, 0.5, 0.5)), ({"arousal": "1:7", "dominance": "0:4", "valence": "-7:7"}, (0.0, 0.25, 1.0))],
)  # fmt: skip
def test_csv(tmp_path: Path, scale: object, first: tuple[float, float, float]) -> None:
    path = csv_corpus(tmp_path, partitions=["Train", "dev", "TEST"])
    clips = read_corpus("csv", path, scale=scale)
    assert clips[0].ratings == pytest.approx(first)
    assert speakers(clips) == {"train": {"s0", "s3"}, "development": {"s1", "s4"}, "test": {"s2", "s5"}}


def test_load_gives_the_stretch(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 3.0)
    signal, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(load(stretch(path, 0.25, 1.0)), signal[4000:16000])
    with pytest.raises(AudioError, match="ends before 7 s"):
        load(stretch(path, 7.0, None))


def ambiguous(folder: Path) -> Path:
    """A database whose tables put one file into train and test."""
    import audformat

    database = audformat.Database("ambiguous")
    for name in ("train", "test"):
        database.splits[name] = audformat.Split(name)
        database[name] = audformat.Table(audformat.filewise_index(["a.wav"]), split_id=name)
        database[name]["arousal"] = audformat.Column()
        database[name]["arousal"].set([0.5])
    database.save(folder)
    return folder


def without(path: Path, text: str, instead: str) -> None:
    path.write_text(path.read_text().replace(text, instead, 1))


def test_corpora_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("audformat")
    (tmp_path / "Audios").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "db.yaml").write_text("name: [")
    bad = tmp_path / "bad.csv"
    write_csv(bad, [{"file": "a.wav", "partition": "training"}, {"file": "b.wav", "partition": "left"}])
    some = write_csv(
        tmp_path / "some.csv", [{"file": "a.wav", "partition": "train"}, {"file": "b.wav", "partition": ""}]
    )
    msp = msp_podcast(tmp_path / "msp")
    without(msp / "Labels" / "labels_consensus.csv", "5.5", "high")
    sessions = iemocap(tmp_path / "iemocap")
    garbled = iemocap(tmp_path / "garbled")
    without(garbled / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt", "[2.5000, ", "[2.5000; ")
    cases: list[tuple[str, Path, dict[str, object], str]] = [
        ("wav", tmp_path, {}, "'wav' is no kind of corpus; expected one of csv, msp-podcast, iemocap, audformat"),
        ("csv", bad, {"tests": "Test1"}, "kind csv has no option tests; it has scale, development_share"),
        ("csv", tmp_path / "none.csv", {}, "cannot be read"),
        ("csv", bad, {}, "b.wav: 'left' is no partition; expected train, development or test"),
        ("csv", some, {}, "1 of 2 clips have no partition"),
        ("csv", some, {"scale": 67}, r'67 is no scale; expected LOW:HIGH in quotes, such as "1:7"'),
        ("csv", some, {"scale": {"mood": "1:7"}}, "is no scale"),
        ("csv", some, {"test_share": 0.5, "development_share": 0.5}, "sum is below 1"),
        ("csv", some, {"test_share": "half"}, "expected two numbers"),
        ("csv", some, {"seed": "x"}, "and a whole one from 0"),
        ("csv", some, {"seed": -1}, "and a whole one from 0"),
        ("msp-podcast", tmp_path / "bad", {}, "no folder Audios"),
        ("msp-podcast", tmp_path, {}, "neither Labels/labels_consensus.csv nor labels.txt"),
        ("msp-podcast", msp, {}, "line 3: EmoAct is 'high'; expected a number"),
        ("iemocap", tmp_path, {}, "has the sessions of no kind"),
        ("iemocap", sessions, {"test_session": 4}, "test_session 4 and development_session 4"),
        ("iemocap", sessions, {"test_session": 7}, "has the sessions 1, 2, 3, 4, 5; expected"),
        ("iemocap", garbled, {}, r"Ses02F_impro01.txt, line 3: '.*expected \[start - end\]"),
        ("audformat", tmp_path, {}, "has no db.yaml"),
        ("audformat", tmp_path / "bad", {}, "no audformat database that can be read"),
        ("audformat", ambiguous(tmp_path / "two"), {"scale": "0:1"}, "a.wav is in test and, by the table train, in train"),
        ("audformat", audformat_database(tmp_path / "db"), {"tables": "all"}, "no table all; it has emotion.dev, emotion.test"),
        ("audformat", tmp_path / "db", {"tables": ["files"]}, "no column or scheme named arousal"),
    ]  # fmt: skip
    for kind, path, options, sentence in cases:
        with pytest.raises(FormatError, match=sentence):
            read_corpus(kind, path, **options)


def test_corpora_need_no_pytorch() -> None:
    code = "import sys, emow2v.corpora.checks, emow2v.corpora.report, emow2v.corpora.read; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "x",
        "a: [",
        "name: x",
        "name: x\ntables: 3",
        "name: x\nsource: s\nusage: research\nschemes: [a]",
        "\xff\0",
    ],
)
def test_headers_of_databases_that_are_none(tmp_path: Path, text: str) -> None:
    pytest.importorskip("audformat")
    (tmp_path / "db.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=r"audformat database that can be read") as caught:
        read_corpus("audformat", tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("ending", ["csv", "parquet", "pkl"])
@pytest.mark.parametrize("content", [b"", b"garbage\n1,2", b"\xff\xfe"])
def test_tables_of_databases_that_are_none(tmp_path: Path, ending: str, content: bytes) -> None:
    pytest.importorskip("audformat")
    audformat_database(tmp_path)
    for path in tmp_path.glob("db.*.*"):
        path.unlink()
        path.with_suffix(f".{ending}").write_bytes(content)
    with pytest.raises(FormatError, match=r"the table .* cannot be read|no column or scheme") as caught:
        read_corpus("audformat", tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_our_own_mistakes_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audformat = pytest.importorskip("audformat")

    def mistaken(*arguments: object, **options: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(audformat.Database, "load", mistaken)
    with pytest.raises(TypeError, match="a mistake of ours"):
        read_corpus("audformat", audformat_database(tmp_path))


@pytest.mark.parametrize("kind", ["msp-podcast", "iemocap", "audformat", "csv"])
@pytest.mark.parametrize("name", ["x" * 300, "a\nb\n" * 200])
def test_places_that_an_operating_system_refuses(tmp_path: Path, kind: str, name: str) -> None:
    pytest.importorskip("audformat")
    with pytest.raises(Emow2vError) as caught:
        read_corpus(kind, tmp_path / name)
    assert len(str(caught.value)) < 600
