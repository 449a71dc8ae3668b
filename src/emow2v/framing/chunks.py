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

_NONE: npt.NDArray[np.int64] = np.zeros(0, np.int64)
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


class FrameChunks:
    """Cuts samples into chunks of whole frames, in one pass and in constant memory; no windows.

    Args:
        hop: samples of a frame
        delay: frames by which those of a model are late: so many follow the last sample before all are known
        size: frames in a chunk
        last: frames that are needed; None for all
    """

    def __init__(self, *, hop: int, delay: int, size: int, last: int | None = None) -> None:
        self._hop, self._delay, self._size, self._last = hop, delay, size, last
        self._parts: list[Signal] = []  # samples that no chunk has yet
        self._received = 0  # samples
        self._given = 0  # samples in the chunks so far, with those behind the end

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

    def doubled(self) -> Iterator[Chunk]:
        """One chunk of 2, 4, 8 ... frames, as many as there are: few lengths, so that streams share batches."""
        frames = min((self._received - self._given) // self._hop, self._size)
        if frames >= FEWEST and not self.exhausted:
            yield self._chunk((1 << (frames.bit_length() - 1)) * self._hop)

    @property
    def more(self) -> bool:
        """Whether `doubled` gives a chunk without more samples."""
        return self._received - self._given >= FEWEST * self._hop and not self.exhausted

    def finish(self, duration: Fraction) -> Iterator[Chunk]:
        """The last chunks of a recording of `duration` seconds."""
        frames = -(-self._received // self._hop)
        missing = (frames + self._delay) * self._hop - self._given
        while self._received and self._continues(duration, missing):
            samples = max(FEWEST * self._hop, min(self._size * self._hop, missing))
            missing -= samples
            yield self._chunk(samples, frames, duration if missing <= 0 else None)

    @property
    def exhausted(self) -> bool:
        """Whether no more samples are needed."""
        return self._last is not None and self._given // self._hop - self._delay >= self._last

    def _continues(self, duration: Fraction, missing: int) -> bool:
        """Whether chunks follow behind the end of a recording.

        Args:
            missing: samples that have to follow until all frames are known
        """
        return missing > 0 and not self.exhausted

    def _chunk(self, samples: int, frames: int | None = None, duration: Fraction | None = None) -> Chunk:
        """The chunk of the next samples.

        Args:
            frames: of the recording, if its end is known
            duration: of the recording, if all frames are known behind this chunk
        """
        joined = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        signal, rest = joined[:samples], joined[samples:]
        self._parts = [rest] if rest.size else []
        self._given += samples
        padded = signal if signal.size == samples else np.pad(signal, (0, samples - signal.size))
        return Chunk(padded, signal.size, *self._windows(self._given // self._hop - self._delay, frames, duration))

    def _windows(
        self, known: int, frames: int | None, duration: Fraction | None
    ) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The windows of a chunk behind which `known` frames are known: the index of the first one, begins and ends."""
        return 0, _NONE, _NONE


class Chunks(FrameChunks):
    """Cuts samples into chunks, and windows into spans of frames.

    The frames of a window are those between its ends, each rounded to the nearest boundary of frames. Nothing is padded:
    what lies before the recording or behind it has no frames.

    Args:
        framing: the windows
        sampling_rate: Hz
        hop, delay, size: as for `FrameChunks`

    Attributes:
        next: index of the next window
    """

    def __init__(self, framing: Framing, sampling_rate: int, *, hop: int, delay: int, size: int) -> None:
        super().__init__(hop=hop, delay=delay, size=size)
        self._grid = Grid(framing, sampling_rate)
        self.next = framing.first_frame

    @property
    def exhausted(self) -> bool:
        """Whether all windows before `end` were given."""
        return self._grid.last is not None and self.next >= self._grid.last

    def spans(self, samples: int, duration: Fraction) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Begins and ends of all windows of a recording with so many samples; none where it is too short for one."""
        _, begins, ends = self._windows(0, -(-samples // self._hop), duration)
        return begins, ends

    def _continues(self, duration: Fraction, missing: int) -> bool:
        return self.next < self._grid.framing.count(duration)

    def _windows(
        self, known: int, frames: int | None, duration: Fraction | None
    ) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        complete = self._complete(known) if duration is None else self._grid.framing.count(duration)
        count = max(self.next, complete)
        last = np.array([self._grid.end(index) for index in range(self.next, count)], np.int64)
        begins, ends = spans_of_frames(last - self._grid.length, last, self._hop, known if frames is None else frames)
        first, self.next = self.next, count
        return first, begins, ends

    def _complete(self, known: int) -> int:
        """Number of windows whose frames are all among the first `known` frames."""
        count = self._grid.complete(max(0, min(self._received, (known + 1) * self._hop)))
        while count > self.next and max(1, _frame(self._grid.end(count - 1), self._hop)) > known:
            count -= 1
        return count


def spans_of_frames(begins: Any, ends: Any, hop: int, frames: int) -> tuple[Any, Any]:
    """First frames of stretches, and those after their last ones: one frame or more of the first `frames`.

    Args:
        begins, ends: samples, numbers or arrays of them
    """
    ends = np.clip(_frame(ends, hop), 1, frames)
    return np.clip(_frame(begins, hop), 0, ends - 1), ends


def _frame(sample: Any, hop: int) -> Any:
    """The boundary of frames that lies nearest to a sample."""
    return (2 * sample + hop) // (2 * hop)
