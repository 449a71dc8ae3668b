"""The reader that is chosen by content, and the file of a folder that belongs to a recording."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emow2v.errors import Emow2vError, FormatError
from emow2v.speech.segmentation import SegmentFolder, find_segments, read_segments
from emow2v.speech.segmentation.files import write_files
from emow2v.speech.segmentation.text import parse_time
from fuzzing import mangled
from segmentations import EAF, read, refusal

pytestmark = pytest.mark.quick
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

FILES = {
    ".eaf": EAF,
    ".TextGrid": 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n1\n"IntervalTier"\n"VP"\n0\n1\n1\n0\n1\n"x"\n',
    ".rttm": "SPEAKER talk 1 0 1 <NA> <NA> A <NA> <NA>\n",
    ".json": json.dumps({"segments": [{"start": 0, "end": 1, "text": "x"}]}),
    ".vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nx\n",
    ".srt": "1\n00:00:00,000 --> 00:00:01,000\nx\n",
    ".tsv": "start\tend\ttext\n0\t1000\tx\n",
    ".csv": "start,end,label\n0,1,x\n",
    ".txt": "0.0\t1.0\tx\n",
}
FORMATS = ["ELAN", "TextGrid", "RTTM", "whisper", "WebVTT", "SRT", "CSV", "CSV", "Audacity"]


@pytest.mark.parametrize(("ending", "kind"), list(zip(FILES, FORMATS, strict=True)))
def test_the_content_decides_not_the_ending(tmp_path: Path, ending: str, kind: str) -> None:
    for name in ("talk.bin", f"talk{ending.upper()}"):
        found = read(tmp_path, name, FILES[ending])
        assert found.format == kind
        assert found.source == tmp_path / name
        assert found.segments


@pytest.mark.parametrize("ending", FILES)
def test_an_ending_alone_is_no_file(tmp_path: Path, ending: str) -> None:
    for content in (
        b"\x00\x01\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"%PDF-1.4\n%\xe2\xe3",
        b"<",
        b"{",
        b"x",
    ):
        refusal(tmp_path, f"talk{ending}", content)


@one_folder
@given(mangled([content.encode() for content in FILES.values()]), st.sampled_from([*FILES, ".annotation", ""]))
def test_nothing_but_our_own_errors_comes_out(tmp_path: Path, content: bytes, ending: str) -> None:
    try:
        found = read(tmp_path, f"talk{ending}", content)
    except Emow2vError as error:
        assert "\n" not in str(error)
    else:
        assert all(one.start == one.start and one.end == one.end for one in found.segments)


def test_what_cannot_be_read_costs_a_sentence(tmp_path: Path) -> None:
    for path, sentence in [
        (tmp_path / "none.eaf", "it cannot be read (No such file or directory); expected a file with segments"),
        (tmp_path, "it is a folder; expected a file with segments"),
    ]:
        with pytest.raises(FormatError) as error:
            read_segments(path)
        assert sentence in str(error.value)
    with pytest.raises(Emow2vError, match="too long"):
        read_segments(tmp_path / ("x" * 300))


def place(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES.get(path.suffix, ""), encoding="utf-8")
    return paths


@pytest.mark.parametrize(
    "kind", [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
)
def test_a_recording_is_no_file_with_turns(tmp_path: Path, kind: tuple[str, str]) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000, np.float32), 16000, kind[1], format=kind[0])
    for name in ("talk.ogg", "talk.csv"):
        assert refusal(tmp_path, name, file.getvalue()).startswith("it is a recording, no file with turns; expected")


def test_the_file_of_a_recording_has_its_name(tmp_path: Path) -> None:
    eaf, grid, _, unicode = place(tmp_path, "talk.eaf", "sub/other.TextGrid", "talk2.eaf", "Ju\u0308rgen.srt")
    folder = SegmentFolder(tmp_path)
    assert folder.find("anywhere/talk.wav") == eaf
    assert folder.find("other.mp4") == grid
    assert folder.find("J\u00fcrgen.wav") == unicode
    assert folder.find("nobody.wav") is None
    assert find_segments(tmp_path, tmp_path / "talk.wav") == eaf
    (whole,) = place(tmp_path, "third.wav.TextGrid")
    assert SegmentFolder(tmp_path).find("third.wav") == whole
    with pytest.raises(FormatError, match="is no folder; expected one with files of segments"):
        SegmentFolder(eaf)


def test_folders_are_told_apart_by_their_names(tmp_path: Path) -> None:
    first, second = place(tmp_path / "segments", "a/talk.eaf", "b/talk.eaf")
    folder = SegmentFolder(tmp_path / "segments")
    assert folder.find(tmp_path / "recordings" / "a" / "talk.wav") == first
    assert folder.find(tmp_path / "recordings" / "b" / "talk.wav") == second


def test_a_copy_of_ours_counts_only_alone(tmp_path: Path) -> None:
    """talk.eaf in a folder of results, beside the one that somebody made in another."""
    (own,) = place(tmp_path, "turns/talk.eaf")
    write_files({tmp_path / "out" / "talk.eaf": EAF})
    assert SegmentFolder(tmp_path).find("recordings/talk.wav") == own
    assert SegmentFolder(tmp_path / "out").find("recordings/talk.wav") == tmp_path / "out" / "talk.eaf"
    place(tmp_path, "more/talk.eaf")
    with pytest.raises(FormatError, match=r"talk\.wav has files with segments in 2 folders"):
        SegmentFolder(tmp_path).find("recordings/talk.wav")


def test_two_files_that_people_made_are_one_too_many(tmp_path: Path) -> None:
    place(tmp_path, "talk.eaf", "talk.TextGrid", "talk.srt")
    with pytest.raises(FormatError) as error:
        find_segments(tmp_path, "talk.wav")
    assert (
        str(error.value)
        == "talk.wav has several files with segments (talk.TextGrid, talk.eaf); expected one; move the others."
    )


def test_of_what_programs_write_the_richest_counts(tmp_path: Path) -> None:
    names = ["talk.json", "talk.vtt", "talk.srt", "talk.tsv", "talk.txt"]  # all that whisper writes
    paths = place(tmp_path, *names)
    for path in paths:
        assert find_segments(tmp_path, "talk.wav") == path
        path.unlink()
    assert find_segments(tmp_path, "talk.wav") is None


def test_results_of_ours_and_other_files_are_no_segments(tmp_path: Path) -> None:
    rows = "file,start,end,arousal,dominance,valence,confidence\ntalk.wav,0,0.04,0.1,0.1,0.1,1\n"
    (tmp_path / "talk.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "talk.json").write_text('{"file": "talk.wav", "columns": [], "rows": []}', encoding="utf-8")
    (tmp_path / "talk.txt").write_text("words without times\n", encoding="utf-8")
    assert find_segments(tmp_path, "talk.wav") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5", 1.5), ("1,5", 1.5), (".5", 0.5), ("-2", -2), ("\N{MINUS SIGN}2", -2), ("1e1", 10), ("90 s", 90), ("1500ms", 1.5),
        ("01:30", 90), ("1:01:30,25", 3690.25), ("0 days 00:01:30.500000", 90.5), ("-1 days +23:59:59", -1), ("2 days", 172800),
        ("-0:01", -1),
    ],
)  # fmt: skip
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1:2:3:4",
        "nan",
        "٣",
        "1.5.5",
        "1e99",
        "--1",
        "0x10",
        ":",
        "1:",
        "9" * 400,
        "inf",
        "1" + " " * 200_000 + "x",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="a time is"):
        parse_time(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("talk.xml", "<!---->" * 580 + "<b/>"),
        ("talk.vtt", "WEBVTT\n\n00:01.0 --> 00:02.0\n" + "<v " * 200_000),
        ("talk.vtt", "WEBVTT\n\n00:01.0 --> 00:02.0\n" + "<b" * 200_000 + "{\\" * 200_000 + "<1" * 200_000),
        ("talk.csv", "start" + " " * 100_000 + "x,end\n0,1"),
        ("talk.csv", "start,end\n1" + " " * 100_000 + "x,2"),
        ("talk.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid' + '"' * 300_001),
        ("talk.json", '[{"start": ' + "[" * 900 + "]" * 900 + "}]"),
        ("talk.json", '[{"segments": ' + "[" * 900 + "]" * 900 + "}]"),
        ("talk.txt", "0\t1\t" + "x" * 300_000 + "\n" + "1\t" * 100_000),
    ],
)
def test_hostile_files_end(tmp_path: Path, name: str, content: str) -> None:
    try:
        found = read(tmp_path, name, content)
    except FormatError as error:
        assert len(str(error)) < 600
    else:
        assert len(found.segments) <= 2


def test_arrows_in_labels_are_no_subtitles(tmp_path: Path) -> None:
    assert read(tmp_path, "talk.csv", "start,end,label\n0,1,a --> b\n").segments[0].label == "a --> b"


def test_a_name_with_a_point_is_no_ending(tmp_path: Path) -> None:
    table = "file,start,end\ntalk.part1,0,1\n"
    assert read(tmp_path, "all.csv", table, recording="talk.part1.wav").segments
    with pytest.raises(FormatError, match=r"has no turn of talk\.wav"):
        read(tmp_path, "all.csv", table, recording="talk.wav")
    assert read(tmp_path, "all.csv", table.replace("part1", "MP3"), recording="talk.wav").segments
