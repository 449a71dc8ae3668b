"""Stretches of recordings, and their durations, without decoding the rest."""

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
    """Read the part of a recording between two times, mono at 16 kHz.

    The samples are those that `audio.read` gives there. Only the part is kept in memory, and little more is decoded.

    Args:
        start: seconds
        end: seconds; None is the end of the recording
        notice: called with sentences on missing or unusual parts of the recording, as far as it was read

    Returns:
        float32 [samples]; empty if the recording ends before `start`

    Raises:
        AudioError: the file does not exist, has no sound, or cannot be decoded
    """
    first, last = round(start * SAMPLING_RATE), None if end is None else round(end * SAMPLING_RATE)
    recording = audio.open_recording(path, start=start)
    blocks, at = [np.zeros(0, np.float32)], 0
    try:
        for number, block in enumerate(recording):
            at = at if number else round(recording.begin * SAMPLING_RATE)
            blocks.append(block[max(0, first - at) : None if last is None else max(0, last - at)])
            at += block.size
            if last is not None and at >= last:
                break
    finally:
        recording.close()
    notice(recording.notices)
    return np.concatenate(blocks)


def stated_duration(path: str | os.PathLike[str]) -> float | None:
    """Duration in seconds that the header of a recording states; None if it states none. Nothing is decoded.

    Raises:
        AudioError: the file does not exist, has no sound, or cannot be decoded
    """
    with contextlib.suppress(AudioError):  # the first bytes are enough for most files
        if stated := _stated(Path(path), glance=True):
            return stated
    return _stated(Path(path), glance=False)


def _stated(path: Path, *, glance: bool) -> float | None:
    with containers.open_file(path) as file:
        search = containers.GLANCE if glance else containers.search_options(file)
        container = containers.open_container(file, str(path), search=search)
        try:
            return container.stated_s
        finally:
            container.close()
