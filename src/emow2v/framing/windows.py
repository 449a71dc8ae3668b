"""Cutting of samples into windows, stretches and pieces, in one pass and in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from emow2v.errors import FramingError
from emow2v.framing import SAMPLING_RATE, Framing, Signal, exact


class Grid:
    """Positions of windows in samples. They are exact: computed as whole numbers of 1 / unit of a sample."""

    def __init__(self, framing: Framing, sampling_rate: int) -> None:
        if framing.whole:
            raise FramingError("A window over the whole recording is not cut into windows.")
        self.framing = framing
        self.length = framing.window_samples(sampling_rate)
        # frame i ends at (i * step + behind) samples
        step = framing.step_ms * sampling_rate / 1000
        behind = (framing.core_ms + exact(framing.right_context_ms)) * sampling_rate / 1000
        self._unit = math.lcm(step.denominator, behind.denominator)
        self._step = int(step * self._unit)
        self._behind = int(behind * self._unit)
        self.hop = int(step) if step.denominator == 1 else None
        # number of frames before `end`
        self.last = None if not framing.end_ms else framing.count(exact(framing.end_ms) / 1000)

    def end(self, index: int) -> int:
        """The sample after the last one of window `index`."""
        return -(-(index * self._step + self._behind) // self._unit)

    def begin(self, index: int) -> int:
        """The first sample of window `index`; below 0 if the window begins before the recording."""
        return self.end(index) - self.length

    def complete(self, samples: int) -> int:
        """Number of frames whose window and step both end within the first `samples` samples."""
        return self._count(samples, max(self._behind, self._step))

    def inside(self, samples: int) -> int:
        """Number of frames whose window ends within the first `samples` samples."""
        return self._count(samples, self._behind)

    def _count(self, samples: int, behind: int) -> int:
        frames = max(0, (samples * self._unit - behind) // self._step + 1)
        return frames if self.last is None else min(frames, self.last)


class _SampleBuffer:
    """A buffer of the samples that later windows need, with padding before and after the recording."""

    def __init__(self, framing: Framing) -> None:
        self._edge = framing.padding == "edge"
        self._chunks: list[Signal] = []
        self._offset = 0  # first sample in the buffer
        self._filler = np.float32(0)
        self.received = 0

    def add(self, block: Signal, reach: int) -> None:
        """Add samples. The first call adds `reach` samples of padding before them."""
        if not self.received and reach > 0:
            self._chunks.append(np.full(reach, block[0] if self._edge else 0, np.float32))
            self._offset = -reach
        if self._edge:
            self._filler = block[-1]
        self.received += block.size
        self._chunks.append(block)

    def fill(self, samples: int) -> None:
        """Add `samples` samples of padding after the end of the recording."""
        self._chunks.append(np.full(samples, self._filler, np.float32))
        self.received += samples

    @property
    def first(self) -> int:
        """The first sample in the buffer."""
        return self._offset

    def between(self, begin: int, end: int) -> Signal:
        """Samples from `begin` to `end`, as a view."""
        if len(self._chunks) > 1:
            self._chunks = [np.concatenate(self._chunks)]
        return self._chunks[0][begin - self._offset : end - self._offset]

    def drop(self, begin: int) -> None:
        """Drop samples before `begin`."""
        while self._chunks and self._offset + self._chunks[0].size <= begin:
            self._offset += self._chunks.pop(0).size
        if not self._chunks:
            self._offset = max(self._offset, min(begin, self.received))
        elif self._offset < begin:
            self._chunks[0] = self._chunks[0][begin - self._offset :]
            self._offset = begin

    def clear(self) -> None:
        self._chunks.clear()


class Windower:
    """Cuts samples into windows, in one pass and in constant memory.

    `add` gives batches of windows [batch, samples] when they are complete; `finish` gives the rest. Batches are views of
    the buffer if the step is a whole number of samples.

    Args:
        framing: the windows
        sampling_rate: Hz
        batch_size: maximum number of windows in a batch

    Attributes:
        next: index of the next window
    """

    def __init__(self, framing: Framing, sampling_rate: int, batch_size: int = 1) -> None:
        self._grid = Grid(framing, sampling_rate)
        self._samples = _SampleBuffer(framing)
        self._rate = sampling_rate
        self.batch_size = batch_size
        self.next = framing.first_frame

    def add(self, block: Signal) -> Iterator[tuple[int, Signal]]:
        """Add mono samples [samples]; gives (index of the first window, windows [batch, samples])."""
        if block.size:
            self._samples.add(block, -self._grid.begin(0))
            yield from self._ready(self._complete(), self.batch_size)

    def finish(self, duration: Fraction) -> Iterator[tuple[int, Signal]]:
        """The last windows of a recording of `duration` seconds, padded at its end."""
        count = self._grid.framing.count(duration)
        if not self._samples.received or self.next >= count:
            return
        # in pieces, so that a long right context needs no more memory
        for begin in range(0, missing := self._grid.end(count - 1) - self._samples.received, self._rate):
            self._samples.fill(min(self._rate, missing - begin))
            yield from self._ready(min(count, self._complete()), self.batch_size)
        yield from self._ready(count, 1)

    @property
    def exhausted(self) -> bool:
        """Whether all frames before `end` were given."""
        return self._grid.last is not None and self.next >= self._grid.last

    def flush(self) -> Iterator[tuple[int, Signal]]:
        """All complete windows, without waiting for a whole batch; for live use."""
        yield from self._ready(self._complete(), 1)

    def _complete(self) -> int:
        return self._grid.complete(self._samples.received)

    def _ready(self, complete: int, fewest: int) -> Iterator[tuple[int, Signal]]:
        """Batches of the windows before index `complete`, with at least `fewest` windows each."""
        while complete - self.next >= fewest:
            size = min(complete - self.next, self.batch_size)
            first, self.next = self.next, self.next + size
            yield first, self._windows(first, size)
        if self.exhausted:
            self._samples.clear()  # no later window needs samples
        self._samples.drop(self._grid.begin(self.next))

    def _windows(self, first: int, size: int) -> Signal:
        length, begin = self._grid.length, self._grid.begin(first)
        self._samples.drop(begin)
        samples = self._samples.between(begin, self._grid.end(first + size - 1))
        if self._grid.hop is not None:
            return np.lib.stride_tricks.sliding_window_view(samples, length)[:: self._grid.hop][:size]
        starts = [self._grid.begin(first + k) - begin for k in range(size)]
        return np.stack([samples[start : start + length] for start in starts])


@dataclass(frozen=True)
class Stretch:
    """A long part of a recording, and the windows in it.

    Attributes:
        first: index of the first window
        signal: float32 [samples]
        begins: int64 [windows], first sample of each window, counted from the beginning of the stretch
        only: whether the recording has only this stretch, as far as is known
    """

    first: int
    signal: Signal
    begins: npt.NDArray[np.int64]
    only: bool = False


class Stretches:
    """Cuts samples into stretches that contain each window once. A stretch is computed once for all its windows.

    The last stretch ends with the recording. A window begins and ends at least `margin` samples inside its stretch,
    except at the ends of the recording (with its padding). Memory: two stretches, for any duration.

    Args:
        framing: the windows
        sampling_rate: Hz
        usual: samples in each stretch but the last
        longest: maximum number of samples in the last stretch; the rest of a recording is divided only if it is longer
        margin: samples

    Raises:
        FramingError: the windows are too long to lie in a stretch
    """

    def __init__(self, framing: Framing, sampling_rate: int, usual: int, longest: int, margin: int) -> None:
        self._grid = Grid(framing, sampling_rate)
        self._samples = _SampleBuffer(framing)
        self._usual, self._longest, self._margin = usual, longest, margin
        self._stretch_count = 0
        self.next = framing.first_frame
        most = usual - 2 * margin - 1
        if self._grid.length > most:
            raise FramingError(
                f"Windows of {float(framing.window_ms) / 1000:g} s are too long to share their context; expected at most "
                f"{most / sampling_rate:.4g} s, or the context window."
            )

    def add(self, block: Signal) -> Iterator[Stretch]:
        """Add mono samples [samples]; gives the stretches that became complete."""
        if not block.size:
            return
        self._samples.add(block, -self._grid.begin(0))
        yield from self._ready(self._grid.complete(self._samples.received))
        if self.exhausted:
            self._samples.clear()  # no later window needs samples
        # the last stretch may begin as early as its length before the end
        self._samples.drop(min(self._begin(), self._samples.received - self._usual))

    def finish(self, duration: Fraction) -> Iterator[Stretch]:
        """The last stretch of a recording of `duration` seconds, if windows are left."""
        count = self._grid.framing.count(duration)
        if not self._samples.received or self.next >= count:
            return
        if (missing := self._grid.end(count - 1) - self._samples.received) > 0:
            self._samples.fill(missing)
            yield from self._ready(count)
        if self.next < count:
            end = self._samples.received
            begin = min(self._begin(), max(self._samples.first, end - self._usual))
            yield self._stretch(begin, end, count, only=not self._stretch_count)

    @property
    def exhausted(self) -> bool:
        """Whether all frames before `end` were given."""
        return self._grid.last is not None and self.next >= self._grid.last

    def _ready(self, count: int) -> Iterator[Stretch]:
        """Complete stretches, with windows before index `count`."""
        while self.next < count and self._begin() + self._longest < self._samples.received:
            end = self._begin() + self._usual
            yield self._stretch(self._begin(), end, min(count, self._grid.inside(end - self._margin)))

    def _begin(self) -> int:
        """The first sample of the stretch that begins with the next window."""
        return max(self._samples.first, self._grid.begin(self.next) - self._margin)

    def _stretch(self, begin: int, end: int, count: int, *, only: bool = False) -> Stretch:
        first, self.next = self.next, count
        self._stretch_count += 1
        begins = np.array([self._grid.begin(index) - begin for index in range(first, count)], np.int64)
        return Stretch(first, self._samples.between(begin, end), begins, only)


class Pieces:
    """Cuts a long window, or a whole recording, into pieces of at most `longest` samples, with their weights.

    All pieces have `longest` samples. The last piece ends with the recording, so it overlaps the piece before. The weight
    of a piece is the number of samples that it adds, so that every sample counts once in the mean. A shorter recording
    is one piece. Memory: two pieces, for any duration.

    Args:
        longest: samples
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._last = np.zeros(0, np.float32)  # the previous piece
        self._chunks: list[Signal] = []  # samples after the previous piece
        self._new = 0  # number of samples in `_chunks`

    def add(self, block: Signal) -> Iterator[tuple[Signal, int]]:
        """Add samples; gives (piece [samples], its weight in samples)."""
        self._chunks.append(block)
        self._new += block.size
        while self._new >= self.longest:
            joined = np.concatenate(self._chunks) if len(self._chunks) > 1 else self._chunks[0]
            self._last, rest = joined[: self.longest], joined[self.longest :]
            self._chunks = [rest]
            self._new = rest.size
            yield self._last, self.longest

    def finish(self) -> Iterator[tuple[Signal, int]]:
        """The last piece, if samples followed the previous one."""
        if self._new:
            yield np.concatenate([self._last, *self._chunks])[-self.longest :], self._new
        self._last, self._chunks, self._new = np.zeros(0, np.float32), [], 0


def cut(signal: Signal, framing: Framing, sampling_rate: int = SAMPLING_RATE) -> Signal:
    """All windows that lie within a short signal, without padding.

    Without left context, the first window begins with the signal.

    Args:
        signal: float32 [samples]
        framing: the windows
        sampling_rate: Hz

    Returns:
        float32 [windows, samples]; no windows if the signal is shorter than a window
    """
    grid = Grid(framing, sampling_rate)
    begins = [begin for index in range(grid.inside(signal.size)) if (begin := grid.begin(index)) >= 0]
    windows = np.empty((len(begins), grid.length), np.float32)
    for window, begin in zip(windows, begins, strict=True):
        window[:] = signal[begin : begin + grid.length]
    return windows
