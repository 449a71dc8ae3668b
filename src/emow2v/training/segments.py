"""Segments of speech with what people said of them, from every corpus that has a reader, and their signals, lazily."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emow2v import audio
from emow2v.audio import Signal
from emow2v.errors import AudioError, FormatError

PARTITIONS = ("train", "development", "test")


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, who speaks in it, and how it was rated.

    Attributes:
        file: where the recording is
        start, end: seconds; end is None for the recording's own
        speaker: "" where nobody knows
        partition: one of `PARTITIONS`
        targets: arousal, dominance, valence on 0..1, NaN where there is none
    """

    file: Path
    start: float
    end: float | None
    speaker: str
    partition: str
    targets: tuple[float, float, float]


def read_corpus(kind: str, path: str | Path, **options: Any) -> list[Segment]:
    """All segments of a corpus, in its own order; nothing is decoded.

    Args:
        kind: "csv", "msp-podcast", "iemocap" or "audformat"
        path: the CSV file, or the folder of the corpus
        options: of the kind's reader, see there

    Raises:
        FormatError: no such kind or option, or something in the corpus that is not as expected
    """
    raise FormatError(f"'{kind}' is no kind of corpus; expected one of {', '.join(READERS)}.")


READERS: dict[str, Callable[..., list[Segment]]] = {}


def load(segment: Segment) -> Signal:
    """The signal of a segment [samples], mono at 16 kHz; no more of the recording is read than it takes.

    Raises:
        AudioError: nothing there, not decodable, or the recording ends before the segment begins
    """
    signal = audio.read_stretch(segment.file, segment.start, segment.end)
    if not signal.size:
        raise AudioError(f"{segment.file} ends before {segment.start:g} s; expected times within the recording.")
    return signal
