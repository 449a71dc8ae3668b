"""Copies of recordings as FLAC, 16 bit, at the rate of their readers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emow2v.audio.recording import Recording
from emow2v.storage.atomic import atomic_file

LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # by the number of channels
MOST_CHANNELS = len(LAYOUTS)


def write_flac(channels: Sequence[Recording], path: Path) -> None:
    """Write one channel or more into one file, which appears whole or not at all; the recordings are closed.

    Args:
        channels: readers of the channels of one recording, 1 to `MOST_CHANNELS`

    Raises:
        AudioError: a recording cannot be decoded
        OSError: the file cannot be written
    """
    import av

    rate = channels[0].sampling_rate
    with contextlib.ExitStack() as stack:
        for one in channels:
            stack.callback(one.close)
        file = stack.enter_context(atomic_file(path, mode=0o600))
        container = stack.enter_context(av.open(file, "w", format="flac"))
        stream: Any = container.add_stream("flac", rate=rate)
        stream.layout, stream.format = LAYOUTS[len(channels) - 1], "s16"
        position = 0
        for blocks in zip(*channels, strict=True):
            samples = np.stack(blocks, axis=1)  # of one decoder each: blocks of one length
            values = np.rint(samples.clip(-1, 32767 / 32768) * 32768).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), format="s16", layout=stream.layout.name)
            frame.sample_rate, frame.pts = rate, position
            position += len(values)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
