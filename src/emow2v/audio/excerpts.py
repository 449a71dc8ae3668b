"""What a corpus asks of its recordings: stretches of them, and how long they are, without decoding the rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emow2v.audio import container as containers
from emow2v.audio import recording as audio
from emow2v.errors import AudioError
from emow2v.framing import SAMPLING_RATE, Signal


def read_stretch(
    path: str | os.PathLike[str],
    start: float = 0.0,
    end: float | None = None,
    notice: Callable[[Sequence[str]], object] = lambda sentences: None,
) -> Signal:
    """What `audio.read` gives from `start` to `end` (seconds; None is the recording's own) [samples] at 16 kHz; it is
    empty where the recording ends before. Only the stretch is kept in memory, and little more than it is decoded.

    Args:
        notice: called with sentences on what is missing or unusual in the stretch

    Raises:
        AudioError: nothing there, no sound in it, or not decodable
    """
    first, last = round(start * SAMPLING_RATE), None if end is None else round(end * SAMPLING_RATE)
    recording = audio.open_recording(path, start=start)
    kept, at = [np.zeros(0, np.float32)], 0
    try:
        for number, block in enumerate(recording):
            at = at if number else round(recording.begin * SAMPLING_RATE)
            kept.append(block[max(0, first - at) : None if last is None else max(0, last - at)])
            at += block.size
            if last is not None and at >= last:
                break
    finally:
        recording.close()
    notice(recording.notices)
    return np.concatenate(kept)


def stated_duration(path: str | os.PathLike[str]) -> float | None:
    """Seconds of a recording as its header states them, None where it does not; nothing is decoded.

    Raises:
        AudioError: nothing there, no sound in it, or not decodable
    """
    with contextlib.suppress(AudioError):  # a glance is enough for most
        if stated := _stated(Path(path), glance=True):
            return stated
    return _stated(Path(path), glance=False)


def _stated(path: Path, *, glance: bool) -> float | None:
    with containers.open_file(path) as file:
        container = containers.open_container(file, str(path), glance=glance or containers.is_plain(file))
        try:
            return container.stated_s
        finally:
            container.close()
