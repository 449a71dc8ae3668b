"""Transcripts in JSON of whisper and its relatives."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from emow2v.speech.segments import Tier
from segmentations import read, refusal, times, try_beginnings

pytestmark = pytest.mark.quick

WHISPERX: dict[str, Any] = {
    "segments": [
        {
            "start": 0.5, "end": 2, "text": " Hallo du", "speaker": "SPEAKER_00",
            "words": [{"word": "Hallo", "start": 0.5, "end": 1.0, "score": 0.9, "speaker": "SPEAKER_00"}, {"word": "1984"}],
        },
        {"start": 2, "end": 3, "text": "ja", "words": [{"word": " ja", "start": 2, "end": 2.5, "probability": 0.1}]},
    ],
    "word_segments": [{"word": "Hallo", "start": 0.5, "end": 1.0}],
    "language": "de",
}  # fmt: skip


def test_segments_words_and_speakers(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.json", json.dumps(WHISPERX))
    assert times(found) == [
        (0.5, 2, "SPEAKER_00", "segments", "Hallo du"),
        (2, 3, "", "segments", "ja"),
        (0.5, 1, "SPEAKER_00", "words", "Hallo"),
        (2, 2.5, "", "words", "ja"),
    ]
    assert found.tiers == (Tier("segments"), Tier("words", parent="segments"))
    assert found.notices == ("talk.json: 1 segment or word without times is left out.",)
    assert len(read(tmp_path, "talk.json", json.dumps(WHISPERX), tiers=[]).segments) == 2
    assert len(read(tmp_path, "talk.json", json.dumps(WHISPERX), tiers=["words"]).segments) == 2


def test_relatives(tmp_path: Path) -> None:
    transformers = {
        "text": "a b",
        "chunks": [{"timestamp": [0.0, 1.5], "text": " a"}, {"timestamp": [1.5, None], "text": "b"}],
    }
    found = read(tmp_path, "talk.json", json.dumps(transformers))
    assert [(one.start, one.end, one.label) for one in found.segments] == [(0, 1.5, "a"), (1.5, math.inf, "b")]
    cpp = {
        "transcription": [{"timestamps": {"from": "00:00:00,000"}, "offsets": {"from": 250, "to": 11000}, "text": " x"}]
    }
    assert times(read(tmp_path, "talk.json", json.dumps(cpp))) == [(0.25, 11, "", "segments", "x")]
    plain = [{"start": 1, "end": 2, "speaker": "A", "text": "x"}]
    assert times(read(tmp_path, "talk.json", json.dumps(plain).encode("utf-16"))) == [(1, 2, "A", "segments", "x")]
    assert read(tmp_path, "talk.json", '{"segments": [], "text": ""}').segments == ()


def test_every_beginning_costs_a_sentence(tmp_path: Path) -> None:
    whole = json.dumps(WHISPERX, ensure_ascii=False).encode()
    read_, refused = try_beginnings(tmp_path, "talk.json", whole)
    assert (read_, refused) == (0, len(whole))
    assert refusal(tmp_path, "talk.json", whole[:-10]).startswith(
        "it is cut off; expected segments as whisper writes them"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"file": "talk.wav", "rows": []}', "it holds 'file, rows'; expected segments as whisper writes them"),
        ("12", "it holds 'int'"),
        ("[1]", "a segment is '1'"),
        ("{x}", "it is no JSON (Expecting property name"),
        ('[{"start": "1", "end": 2}]', "a time is '1'; expected seconds as a number"),
        ('[{"start": true, "end": 2}]', "a time is 'True'"),
        ('[{"start": 1e999, "end": 2}]', "a time is inf s"),
        ('[{"start": [[]], "end": 2}]', "a time is list"),
        (f'[{{"start": 1, "end": {"9" * 100}}}]', "a time has more than 19 digits"),
        (f'[{{"start": 1, "end": {"9" * 9000}}}]', "it is no JSON that can be read"),
        ('[{"start": 1, "end": 1e300}]', "a time is 1e+300 s"),
        ("[" * 200_000, "it is no JSON that can be read"),
    ],
)
def test_what_is_none_costs_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    assert refusal(tmp_path, "talk.json", text).startswith(sentence)


def test_no_time_is_no_time(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "talk.json",
        '[{"start": NaN, "end": 2}, {"end": 2}, {"start": 1, "end": 2, "text": null, "speaker": 3}]',
    )
    assert times(found) == [(1, 2, "", "segments", "")]
    assert found.notices == ("talk.json: 2 segments or words without times are left out.",)
