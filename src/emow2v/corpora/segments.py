"""Segments of speech with what people said of them, from every corpus that has a reader, and their signals, lazily."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from emow2v.audio.excerpts import read_stretch
from emow2v.corpora.partitions import split
from emow2v.errors import AudioError, FormatError
from emow2v.framing import Signal


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, who speaks in it, and how it was rated.

    Attributes:
        file: where the recording is
        start, end: seconds; end is None for the recording's own
        speaker: "" where nobody knows
        partition: "train", "development" or "test"
        targets: arousal, dominance, valence on 0..1, NaN where there is none
    """

    file: Path
    start: float
    end: float | None
    speaker: str
    partition: str
    targets: tuple[float, float, float]


def read_corpus(
    kind: str,
    path: str | Path,
    *,
    development_share: float = 0.15,
    test_share: float = 0.15,
    seed: int = 1,
    **options: Any,
) -> list[Segment]:
    """All segments of a corpus, in its own order; nothing is decoded, and no file looked for (see `checks`).

    Args:
        kind: "csv", "msp-podcast", "iemocap" or "audformat"
        path: the CSV file, or the folder of the corpus
        development_share, test_share, seed: how speakers are drawn where the corpus has no partitions, or no development
        options: of the kind's reader, see there

    Raises:
        FormatError: no such kind or option, or something in the corpus that is not as expected
    """
    from emow2v.corpora.audformat import read_audformat
    from emow2v.corpora.readers import read_csv, read_iemocap, read_msp_podcast

    readers: dict[str, Callable[..., list[Segment]]] = {
        "csv": read_csv, "msp-podcast": read_msp_podcast, "iemocap": read_iemocap, "audformat": read_audformat,
    }  # fmt: skip
    if kind not in readers:
        raise FormatError(f"'{kind}' is no kind of corpus; expected one of {', '.join(readers)}.")
    known = [name for name, one in signature(readers[kind]).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            shared = "development_share, test_share, seed"
            raise FormatError(f"A corpus of kind {kind} has no option {name}; it has {', '.join(known)}, {shared}.")
    segments = readers[kind](Path(path), **options)
    return split(segments, development_share=development_share, test_share=test_share, seed=seed)


def load(segment: Segment) -> Signal:
    """The signal of a segment [samples], mono at 16 kHz; little more of a long recording is read.

    Raises:
        AudioError: nothing there, not decodable, or the recording ends before the segment begins
    """
    signal = read_stretch(segment.file, segment.start, segment.end)
    if not signal.size:
        raise AudioError(f"{segment.file} ends before {segment.start:g} s; expected times within the recording.")
    return signal
