"""Cutting of samples into chunks of whole frames, and of windows into spans of those frames, for models of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.framing import Framing, Signal
from emow2v.framing.windows import Grid

FEWEST = 2  # frames in a chunk: with one, the exporter of graphs takes the length of time for fixed


@dataclass(frozen=True)
class Chunk:
    """The samples that follow, and the windows whose frames are known when they have been computed.

    Attributes:
        signal: float32 [samples], a multiple of the samples of a frame
        length: how many of the samples exist; the others are zeros behind the end of the recording
        first: index of the first window
        begins, ends: int64 [windows], the first frame of each window and the one after its last, counted from the beginning
            of the recording; each window has one frame or more
    """

    signal: Signal
    length: int
    first: int
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Chunks:
    """Cuts samples into chunks, in one pass and in constant memory.

    The frames of a window are those between its ends, each rounded to the nearest boundary of frames. Nothing is padded:
    what lies before the recording or behind it has no frames.

    Args:
        framing: the windows
        sampling_rate: Hz
        hop: samples of a frame
        delay: frames by which those of a model are late: so many follow the last sample before all are known
        size: frames in a chunk

    Attributes:
        next: index of the next window
    """

    def __init__(self, framing: Framing, sampling_rate: int, *, hop: int, delay: int, size: int) -> None:
        self._grid = Grid(framing, sampling_rate)
        self._hop, self._delay, self._size = hop, delay, size
        self._parts: list[Signal] = []  # samples that no chunk has yet
        self._received = 0  # samples
        self._given = 0  # samples in the chunks so far, with those behind the end
        self.next = framing.first_frame

    def add(self, block: Signal) -> Iterator[Chunk]:
        """Add mono samples [samples]; gives the chunks that became complete."""
        self._parts.append(block)
        self._received += block.size
        while self._received - self._given >= self._size * self._hop and not self.exhausted:
            yield self._chunk(self._size * self._hop)

    def flush(self) -> Iterator[Chunk]:
        """A chunk of all whole frames, without waiting for more; for live use."""
        frames = (self._received - self._given) // self._hop
        if frames >= FEWEST and not self.exhausted:
            yield self._chunk(frames * self._hop)

    def finish(self, duration: Fraction) -> Iterator[Chunk]:
        """The last chunks of a recording of `duration` seconds."""
        count = self._grid.framing.count(duration)
        frames = -(-self._received // self._hop)
        missing = (frames + self._delay) * self._hop - self._given
        while self._received and self.next < count:
            samples = max(FEWEST * self._hop, min(self._size * self._hop, missing))
            missing -= samples
            yield self._chunk(samples, frames, count if missing <= 0 else None)

    @property
    def exhausted(self) -> bool:
        """Whether all windows before `end` were given."""
        return self._grid.last is not None and self.next >= self._grid.last

    def _chunk(self, samples: int, frames: int | None = None, count: int | None = None) -> Chunk:
        """The chunk of the next samples.

        Args:
            frames: of the recording, if its end is known
            count: windows of the recording, if all of their frames are known behind this chunk
        """
        joined = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        signal, rest = joined[:samples], joined[samples:]
        self._parts = [rest] if rest.size else []
        self._given += samples
        known = self._given // self._hop - self._delay
        if count is None:
            count = self._count(known)
        begins, ends = self._spans(count, known if frames is None else frames)
        first, self.next = self.next, count
        padded = signal if signal.size == samples else np.pad(signal, (0, samples - signal.size))
        return Chunk(padded, signal.size, first, begins, ends)

    def _count(self, known: int) -> int:
        """Number of windows whose frames are all among the first `known` frames."""
        count = self._grid.complete(max(0, min(self._received, (known + 1) * self._hop)))
        while count > self.next and max(1, _frame(self._grid.end(count - 1), self._hop)) > known:
            count -= 1
        return max(self.next, count)

    def _spans(self, count: int, frames: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        last = np.array([self._grid.end(index) for index in range(self.next, count)], np.int64)
        ends = np.clip(_frame(last, self._hop), 1, frames)
        return np.clip(_frame(last - self._grid.length, self._hop), 0, ends - 1), ends


def _frame(sample: Any, hop: int) -> Any:
    """The boundary of frames that lies nearest to a sample."""
    return (2 * sample + hop) // (2 * hop)
