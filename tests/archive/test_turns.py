"""Turns of many recordings: each has the file that is named as it is, and one bad file costs one sentence."""

import csv
from pathlib import Path

import pytest
import soundfile

from commands import caller
from emow2v.archive.turns import Turns
from emow2v.errors import FormatError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from segmentations import EAF

HEAD = "file,start,end,speaker,tier,label,arousal,dominance,valence,confidence,n,speech".split(",")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five recordings; turns of three, one cut off, one of none."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    for name in ("a", "b", "c", "d", "e"):
        soundfile.write(tmp_path / f"{name}.wav", signal[: 5 * rate], rate)
    (tmp_path / "turns").mkdir()
    (tmp_path / "turns" / "a.eaf").write_text(EAF, "utf-8")
    (tmp_path / "turns" / "b.csv").write_text("start,end,speaker\n1,2,Eva\n3,4.5,Ina\n")
    (tmp_path / "turns" / "c.TextGrid").write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n5\n<exists>\n3\n'
    )
    (tmp_path / "turns" / "e.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\n[Anna]: Guten Morgen.\n", "utf-8")
    return tmp_path


def test_a_folder_is_matched_by_names_and_failures_cost_a_sentence(lite: Model, folder: Path, monkeypatch) -> None:
    out = folder / "out"
    recordings = [folder / f"{name}.wav" for name in "abcde"]
    result = caller(monkeypatch, lite)("predict", *recordings, "--segments", folder / "turns", "-o", out)
    assert result.exit_code == 1
    assert sorted(path.name for path in out.glob("*.csv")) == ["a.csv", "b.csv", "e.csv"]
    failures = [line for line in result.output.splitlines() if "c.TextGrid" in line or "d.wav" in line]
    assert len(failures) == 2 and "d.eaf" in failures[1]
    with (out / "e.csv").open(newline="", encoding="utf-8") as file:
        header, row = csv.reader(file)
    assert header == HEAD and row[1:6] == ["1.0", "2.5", "Anna", "", "Guten Morgen."]
    with (out / "b.csv").open(newline="", encoding="utf-8") as file:
        assert [line["speaker"] for line in csv.DictReader(file)] == ["Eva", "Ina"]


def test_one_file_belongs_to_one_recording_unless_it_names_several(folder: Path) -> None:
    recordings = [str(folder / "a.wav"), str(folder / "b.wav")]
    finder = Turns(folder / "turns" / "a.eaf").finder(recordings)
    assert finder.segmentation(recordings[0]) is not None
    with pytest.raises(FormatError, match="is not named as"):
        finder.segmentation(recordings[1])
    assert Turns(folder / "turns" / "a.eaf").finder(recordings[1:]).segmentation(recordings[1]) is not None
    several = folder / "all.csv"
    several.write_text("file,start,end\na.wav,0,1\nb.wav,1,2\nb.wav,3,4\n")
    found = Turns(several).finder(recordings)
    assert [len(found.segmentation(one).segments) for one in recordings] == [1, 2]
    assert Turns().finder(recordings).segmentation(recordings[0]) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--segments", "none.eaf"), "does not exist"),
        (("--segments", "turns", "--unit", "files"), "expected --unit turns"),
        (("--tier", "VP"), "expected --segments"),
        (("--pool",), "--pool belongs to turns"),
        (("--unit", "turns", "--start", "1s"), "times of their own"),
        (("--unit", "turns", "--longest-turn", "300ms"), "The longest turn is 300 ms; expected"),
        (("--segments", "turns", "--tier", "=left"), "expected a name"),
        (("--segments", "turns/a.eaf", "--tier", "XX"), "expected one of 'VP'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    lite: Model, folder: Path, monkeypatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    result = caller(monkeypatch, lite)("predict", "a.wav", "-o", "out", *arguments)
    assert result.exit_code == 1
    words = (
        str(result.exception) if result.exception and not isinstance(result.exception, SystemExit) else result.output
    )
    assert sentence in words
    assert not (folder / "out").exists()
