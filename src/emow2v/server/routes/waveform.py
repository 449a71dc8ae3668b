"""The waveform of a recording: the lowest and highest sample of each stretch, in one pass with little memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emow2v.audio import recording as audio
from emow2v.audio.recording import Channel, Source

Peaks = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Waveform:
    """The lowest and highest samples of a recording.

    Attributes:
        duration: seconds
        step: seconds of a stretch; the last one may be shorter
        lowest, highest: float32 [stretches], -1..1
        channels: number of channels that the track has
    """

    duration: float
    step: float
    lowest: Peaks
    highest: Peaks
    channels: int = 1


def waveform(source: Source, points: int, *, track: int | None = None, channel: Channel = "mix") -> Waveform:
    """Read the waveform of a recording at its own sampling rate.

    The length of a recording is known only at its end. Stretches therefore begin with one sample each; whenever there
    are too many stretches, pairs of them are merged. Memory depends on the number of points, not on the length.

    Args:
        points: the most stretches, 2 or more; at least half as many are returned if the recording has enough samples
        track, channel: as for `audio.open_recording`

    Raises:
        AudioError: the recording does not exist, cannot be decoded, or has no such track or channel
    """
    recording = audio.open_recording(source, target_rate=None, track=track, channel=channel)
    max_count = points - points % 2  # pairs are merged
    width, count = 1, 0  # samples of a stretch, stretches so far
    lowest, highest = np.empty(max_count, np.float32), np.empty(max_count, np.float32)
    rest = np.zeros(0, np.float32)
    try:
        for block in recording:
            rest = np.concatenate([rest, block]) if rest.size else block
            while rest.size >= width:
                if count == max_count:
                    count //= 2
                    lowest[:count] = lowest.reshape(-1, 2).min(axis=1)
                    highest[:count] = highest.reshape(-1, 2).max(axis=1)
                    width *= 2
                    continue
                whole = min(rest.size // width, max_count - count)
                stretches = rest[: whole * width].reshape(whole, width)
                lowest[count : count + whole] = stretches.min(axis=1)
                highest[count : count + whole] = stretches.max(axis=1)
                rest, count = rest[whole * width :], count + whole
    finally:
        recording.close()
    if rest.size and count < max_count:
        lowest[count], highest[count] = rest.min(), rest.max()
        count += 1
    elif rest.size:
        lowest[-1], highest[-1] = min(lowest[-1], rest.min()), max(highest[-1], rest.max())
    step, channels = width / recording.sampling_rate, int(recording.facts["channels"])
    return Waveform(float(recording.duration), step, lowest[:count], highest[:count], channels)
