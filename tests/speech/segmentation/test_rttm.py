"""RTTM, as diarisation programs write it."""

from pathlib import Path

import pytest

from emow2v.errors import FormatError
from segmentations import read, refusal, times, try_beginnings

pytestmark = pytest.mark.quick

RTTM = """;; a remark
SPKR-INFO talk 1 <NA> <NA> <NA> unknown A <NA> <NA>
SPEAKER talk 1 0.500 1.250 <NA> <NA> SPEAKER_00 <NA> <NA>
SPEAKER talk 1 1.0 2 <NA> <NA> SPEAKER_01 <NA>
NON-SPEECH talk 1 4 1 <NA> noise <NA> <NA>
SPEAKER b/other 1 7 1 <NA> <NA> SPEAKER_00 <NA> <NA>
"""


def test_the_turns_of_the_recording_that_is_meant(tmp_path: Path) -> None:
    found = read(tmp_path, "all.rttm", RTTM, recording=tmp_path / "talk.wav")
    assert times(found) == [(0.5, 1.75, "SPEAKER_00", "", ""), (1, 3, "SPEAKER_01", "", "")]
    assert found.notices == ("all.rttm: lines of other types than SPEAKER are left out: 1 of type NON-SPEECH.",)
    assert times(read(tmp_path, "all.rttm", RTTM, recording="a/b/other.flac")) == [(7, 8, "SPEAKER_00", "", "")]
    assert times(read(tmp_path, "all.rttm", RTTM, recording="talk.wav", tiers=["SPEAKER_01"])) == [
        (1, 3, "SPEAKER_01", "", "")
    ]


def test_several_recordings_need_one_that_is_meant(tmp_path: Path) -> None:
    assert refusal(tmp_path, "all.rttm", RTTM).startswith("it names 2 recordings (talk ...); expected one")
    with pytest.raises(FormatError, match=r"it has no turn of third\.wav; it names talk and others; expected"):
        read(tmp_path, "all.rttm", RTTM, recording="third.wav")
    waveform = "SPEAKER waveform 1 0 1 <NA> <NA> A <NA> <NA>"
    with pytest.raises(FormatError, match=r"names waveform; expected the recording's name in it, or as the file's own"):
        read(tmp_path, "all.rttm", waveform, recording="talk.wav")
    named = read(tmp_path, "talk.rttm", waveform, recording="talk.wav")
    assert times(named) == [(0, 1, "A", "", "")]
    assert named.notices == ("talk.rttm: it names waveform and is taken for talk.wav by its own name.",)
    one = "SPEAKER talk 1 0 1 <NA> <NA> A <NA> <NA>"
    assert times(read(tmp_path, "one.txt", one)) == [(0, 1, "A", "", "")]  # by its content


def test_every_beginning(tmp_path: Path) -> None:
    single = RTTM.replace("b/other", "talk").encode()
    read_, refused = try_beginnings(tmp_path, "all.rttm", single)
    assert read_ > 50 and refused > 100
    cut = refusal(tmp_path, "all.rttm", "SPEAKER talk 1 0.500 1.25")
    assert cut.startswith("line 1 has 5 fields; expected type, file, channel, start, duration")
    assert "cut off" in cut


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("SPEAKER t 1 x 1 <NA> <NA> A", "a time is 'x'; expected seconds"),
        ("SPEAKER t 1 0 nan <NA> <NA> A", "a time is 'nan'"),
        ("start,end\n0,1", "line 1 begins with 'start,end'; expected SPEAKER"),
    ],
)
def test_what_is_none_costs_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    assert refusal(tmp_path, "all.rttm", text).startswith(sentence)
