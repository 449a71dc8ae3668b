"""Subtitles are read as FFmpeg, an independent reader, reads them; voices are speakers."""

from pathlib import Path

import av
import pytest

from segmentations import read, refusal, times, try_beginnings

pytestmark = pytest.mark.quick

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>hallo</i> &amp; {\\an8}tschüss
second line

2
00:00:02,500 --> 00:01:03,250
[SPEAKER_00]: ja

3
01:00:00,000 --> 01:00:01,000
1984
"""

VTT = """WEBVTT - talk

NOTE a remark
of two lines

STYLE
::cue { color: red }

first
00:01.000 --> 00:02.500 align:start position:10%
<v Anna Müller>hallo <b>du</b> &lt;3</v>

00:02.500 --> 01:00:03.250
<v.loud Bob>ja</v>
<v Anna Müller>nein</v>

00:04.000 --> 00:05.000
nobody <00:04.500>speaks
"""


def judged(path: Path) -> list[tuple[float, float]]:
    """Begin and end of each subtitle, by FFmpeg."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        packets = [one for one in container.demux(stream) if one.pts is not None]
        assert stream.time_base is not None
        return [
            (float(one.pts * stream.time_base), float((one.pts + (one.duration or 0)) * stream.time_base))
            for one in packets
        ]


def test_srt(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.srt", SRT)
    assert times(found) == [
        (1, 2.5, "", "", "hallo &amp; tschüss\nsecond line"),
        (2.5, 63.25, "SPEAKER_00", "", "ja"),
        (3600, 3601, "", "", "1984"),
    ]
    assert judged(tmp_path / "talk.srt") == [(one.start, one.end) for one in found.segments]
    assert found.speakers == ("SPEAKER_00",)


def test_vtt(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.vtt", VTT)
    assert times(found) == [
        (1, 2.5, "Anna Müller", "", "hallo du <3"),
        (2.5, 3603.25, "Bob", "", "ja"),
        (2.5, 3603.25, "Anna Müller", "", "nein"),
        (4, 5, "", "", "nobody speaks"),
    ]
    assert judged(tmp_path / "talk.vtt") == [(1, 2.5), (2.5, 3603.25), (4, 5)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    for name, text in (("talk.srt", SRT), ("talk.vtt", VTT)):
        expected = times(read(tmp_path, name, text))
        found = read(tmp_path, name, text.replace("\n", end).encode(encoding))
        assert times(found) == expected
        assert bool(found.notices) == (encoding == "windows-1252")


def test_what_people_write(tmp_path: Path) -> None:
    sloppy = "1\n0:00:01.0 --> 0:00:02.5\nhallo\n2\n00:03 --> 00:04\nja\n\n\n12\n1:02:03,5 --> 1:02:04,5\n\n"
    assert times(read(tmp_path, "talk.srt", sloppy)) == [
        (1, 2.5, "", "", "hallo"), (3, 4, "", "", "ja"), (3723.5, 3724.5, "", "", ""),
    ]  # fmt: skip
    assert read(tmp_path, "talk.vtt", "WEBVTT\n").segments == ()
    assert read(
        tmp_path, "talk.vtt", "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:9\n\n00:01.0 --> 00:02.0\na"
    ).notices == ("talk.vtt: it is a piece of a stream (X-TIMESTAMP-MAP); its times are taken as they are.",)


def test_every_beginning(tmp_path: Path) -> None:
    for name, text in (("talk.srt", SRT), ("talk.vtt", VTT)):
        read_, refused = try_beginnings(tmp_path, name, text.encode())
        assert read_ > 100 and refused > 10  # a subtitle more or less leaves a whole file


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("talk.vtt", "WEBVT", "it begins with 'WEBVT'; expected WEBVTT"),
        ("talk.srt", "1\n00:00:01,000 --> 00:0", "a time is '00:0'"),
        ("talk.srt", "1\n00:00:01,000 --> soon\nx", "a line is '00:00:01,000 --> soon'; expected times such as"),
        ("talk.srt", "Once upon a time", "it holds no time such as 00:00:01,000 -->"),
    ],
)
def test_what_is_none_costs_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    if sentence.startswith("a time"):
        assert times(read(tmp_path, name, text)) == [(1, 0, "", "", "")]  # 00:0 is a time, too
    else:
        assert refusal(tmp_path, name, text).startswith(sentence)
