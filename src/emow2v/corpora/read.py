"""Clips of every kind of corpus that has a reader, and their signals, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from emow2v.audio.excerpts import read_stretch
from emow2v.corpora.audformat import read_audformat
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_manifest import read_csv
from emow2v.corpora.iemocap import read_iemocap
from emow2v.corpora.msp_podcast import read_msp_podcast
from emow2v.corpora.partitions import split
from emow2v.errors import AudioError, FormatError
from emow2v.framing import Signal

_READERS: dict[str, Callable[..., list[Clip]]] = {
    "csv": read_csv, "msp-podcast": read_msp_podcast, "iemocap": read_iemocap, "audformat": read_audformat,
}  # fmt: skip


def read_corpus(
    kind: str,
    path: str | Path,
    *,
    development_share: float = 0.15,
    test_share: float = 0.15,
    seed: int = 1,
    **options: Any,
) -> list[Clip]:
    """All clips of a corpus in its own order, each in a partition. No recording is opened (see `checks`).

    Args:
        kind: "csv", "msp-podcast", "iemocap" or "audformat"
        path: the CSV file, or the folder of the corpus
        development_share, test_share, seed: how speakers are drawn where the corpus has no partitions, or no development
        options: of the reader of that kind

    Raises:
        FormatError: no such kind or option, or something in the corpus that is not as expected
    """
    if kind not in _READERS:
        raise FormatError(f"'{kind}' is no kind of corpus; expected one of {', '.join(_READERS)}.")
    parameters = signature(_READERS[kind]).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            shared = "development_share, test_share, seed"
            raise FormatError(f"A corpus of kind {kind} has no option {name}; it has {', '.join(known)}, {shared}.")
    clips = _READERS[kind](Path(path), **options)
    return split(clips, development_share=development_share, test_share=test_share, seed=seed)


def load(clip: Clip) -> Signal:
    """The signal of a clip [samples], mono at 16 kHz; little more of a long recording is decoded.

    Raises:
        AudioError: nothing there, not decodable, or the recording ends before the clip begins
    """
    signal = read_stretch(clip.file, clip.start, clip.end)
    if not signal.size:
        raise AudioError(f"{clip.file} ends before {clip.start:g} s; expected times within the recording.")
    return signal
