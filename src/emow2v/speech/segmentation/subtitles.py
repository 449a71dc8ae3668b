"""Subtitles: a reader of SRT, and a reader and a writer of WebVTT with its voices (www.w3.org/TR/webvtt1)."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence

from emow2v.errors import FormatError
from emow2v.rows import DIMENSIONS
from emow2v.speech.segmentation.text import lines_of, parse_time, quoted
from emow2v.speech.segments import Segment, Segmentation, Turn

ARROW = "-->"
TIMES = re.compile(r"^\s*[\d:.,]{1,20}\s*-->\s*[\d:.,]{1,20}", re.ASCII | re.MULTILINE)
_TIMING = re.compile(r"\s*(?P<start>[\d:.,]+)\s*-->\s*(?P<end>[\d:.,]+)(?:\s.*)?", re.ASCII)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t\n]+(?P<name>[^<>]{1,200})>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,400}>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,400}\}")
_VALUES = re.compile(r"\n?arousal (?:[-.\d]+, dominance [-.\d]+, valence [-.\d]+|-)$")  # as `vtt` writes them
_BRACKETED = re.compile(r"\[(?P<name>[^\[\]\n]{1,80})\]:\s*")  # as whisperX writes speakers


def read_vtt(text: str) -> Segmentation:
    """The cues of a WebVTT file; the speaker is that of <v Name>, a cue with several voices is a segment for each.

    Raises:
        FormatError: no WebVTT, or a cue that is cut off
    """
    lines = lines_of(text.lstrip("\ufeff"))
    if not re.fullmatch(r"WEBVTT(?:[ \t].*)?", lines[0]):
        raise FormatError(f"it begins with {quoted(lines[0])}; expected WEBVTT; choose another file")
    offset = any(line.startswith("X-TIMESTAMP-MAP") for line in lines[:10])
    segments = []
    for start, end, words in _cues(lines[1:]):
        for speaker, part in _voices(words):
            label = _VALUES.sub("", html.unescape(_TAG.sub("", part)).strip())
            segments.append(Segment(start, end, speaker, "", label))
    notice = "it is a piece of a stream (X-TIMESTAMP-MAP); its times are taken as they are"
    return Segmentation(tuple(segments), "WebVTT", notices=(notice,) if offset else ())


def read_srt(text: str) -> Segmentation:
    """The subtitles of an SRT file; the speaker is that of `[NAME]: ` before the words, as whisperX writes it.

    Raises:
        FormatError: no SRT, or a subtitle that is cut off
    """
    segments = []
    for start, end, words in _cues(lines_of(text)):
        plain = _TAG.sub("", words).strip()
        name = _BRACKETED.match(plain)
        segments.append(Segment(start, end, name["name"] if name else "", "", plain[name.end() :] if name else plain))
    if not segments:
        raise FormatError(
            f"it holds no time such as 00:00:01,000 {ARROW} 00:00:02,500; expected subtitles; choose another file"
        )
    return Segmentation(tuple(segments), "SRT")


def _cues(lines: list[str]) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each cue; a blank line ends it."""
    place = 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if line.startswith(("NOTE", "STYLE", "REGION")) and ARROW not in line:
            while place < len(lines) and lines[place].strip():
                place += 1
            continue
        if ARROW not in line:
            continue  # a number, a name or nothing
        timing = _TIMING.fullmatch(line)
        if not timing:
            raise FormatError(
                f"a line is {quoted(line)}; expected times such as 00:00:01,000 {ARROW} 00:00:02,500; the file may be cut off"
            )
        words = []
        while place < len(lines) and lines[place].strip() and ARROW not in lines[place]:
            words.append(lines[place])
            place += 1
        if place < len(lines) and ARROW in lines[place] and words and words[-1].strip().isdecimal():
            words.pop()  # the number of a cue without a blank line before it
        yield parse_time(timing["start"]), parse_time(timing["end"]), "\n".join(words)


def _voices(words: str) -> Iterator[tuple[str, str]]:
    """Speaker and text of each voice."""
    marks = list(_VOICE.finditer(words))
    if not marks or words[: marks[0].start()].strip():
        before = words[: marks[0].start()] if marks else words
        bracketed = _BRACKETED.match(before)
        yield (bracketed["name"], before[bracketed.end() :]) if bracketed else ("", before)
    ends = [mark.start() for mark in marks[1:]] + [len(words)]
    for mark, end in zip(marks, ends, strict=False):
        yield html.unescape(" ".join(mark["name"].split())), words[mark.end() : end]


def vtt(turns: Sequence[Turn]) -> str:
    """Turns as WebVTT: a cue for each, in the order of their starts, with its speaker, its label, and its values on a line."""
    parts = ["WEBVTT\n"]
    for turn in sorted(turns, key=lambda one: (one.segment.start, one.segment.end)):
        one = turn.segment
        values = ", ".join(f"{name} {score:.3f}" for name, score in zip(DIMENSIONS, turn.scores, strict=True))
        lines = [*_plain_lines(one.label), values if math.isfinite(turn.scores[0]) else f"{DIMENSIONS[0]} -"]
        voice = f"<v {html.escape(' '.join(one.speaker.split()), quote=False)}>" if one.speaker.strip() else ""
        parts.append(f"{_clock(one.start)} {ARROW} {_clock(one.end)}\n{voice}" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _plain_lines(label: str) -> list[str]:
    """The lines of a label as text of a cue, which holds no blank line and no arrow."""
    lines = [" ".join(line.split()) for line in label.splitlines()]
    return [html.escape(line, quote=False) for line in lines if line]


def _clock(seconds: float) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
