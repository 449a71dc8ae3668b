"""A recording as the eye sees it: the lowest and highest sample of every stretch, in one pass and little memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emow2v.audio import recording as audio
from emow2v.audio.recording import Channel, Source

Peaks = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Waveform:
    """Attributes:
    duration: seconds
    step: seconds of a stretch; the last may be shorter
    lowest, highest: float32 [stretches], -1..1
    """

    duration: float
    step: float
    lowest: Peaks
    highest: Peaks


def waveform(source: Source, points: int, *, track: int | None = None, channel: Channel = "mix") -> Waveform:
    """Peaks of a recording at its own rate.

    How long it is shows only at its end: stretches begin with one sample, and whenever there are too many two
    become one. Memory depends on the number of points, not on the length of the recording.

    Args:
        points: at most so many stretches, at least half as many (of recordings with so many samples); 2 or more
        track, channel: as `audio.open_recording` takes them

    Raises:
        AudioError: nothing there, not decodable, or no such track or channel
    """
    recording = audio.open_recording(source, target_rate=None, track=track, channel=channel)
    most = points - points % 2
    width, count, taken = 1, 0, 0
    lowest, highest = np.empty(most, np.float32), np.empty(most, np.float32)
    rest = np.zeros(0, np.float32)
    try:
        for block in recording:
            taken += block.size
            rest = np.concatenate([rest, block]) if rest.size else block
            while rest.size >= width:
                if count == most:
                    count //= 2
                    lowest[:count] = lowest.reshape(-1, 2).min(axis=1)
                    highest[:count] = highest.reshape(-1, 2).max(axis=1)
                    width *= 2
                    continue
                whole = min(rest.size // width, most - count)
                stretches = rest[: whole * width].reshape(whole, width)
                lowest[count : count + whole] = stretches.min(axis=1)
                highest[count : count + whole] = stretches.max(axis=1)
                rest, count = rest[whole * width :], count + whole
    finally:
        recording.close()
    if rest.size and count < most:
        lowest[count], highest[count] = rest.min(), rest.max()
        count += 1
    elif rest.size:
        lowest[-1], highest[-1] = min(lowest[-1], rest.min()), max(highest[-1], rest.max())
    return Waveform(float(recording.duration), width / recording.sampling_rate, lowest[:count], highest[:count])
