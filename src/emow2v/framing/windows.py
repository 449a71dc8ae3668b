"""Windows: samples in, windows out, in one pass and in flat memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from emow2v.errors import FramingError
from emow2v.framing import SAMPLING_RATE, Framing, Signal, exact


class _Grid:
    """Where the windows of a framing lie, in samples; exact in whole numbers of 1 / unit of a sample."""

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
        self.last = None if not framing.end_ms else framing.count(exact(framing.end_ms) / 1000)  # frames before end

    def end(self, index: int) -> int:
        """Sample behind the last one of window `index`."""
        return -(-(index * self._step + self._behind) // self._unit)

    def begin(self, index: int) -> int:
        """First sample of window `index`; below 0 where it reaches over the start of the recording."""
        return self.end(index) - self.length

    def complete(self, samples: int) -> int:
        """Number of frames whose window, and whose step, ends within so many samples."""
        return self._count(samples, max(self._behind, self._step))

    def inside(self, samples: int) -> int:
        """Number of frames whose window ends within so many samples."""
        return self._count(samples, self._behind)

    def _count(self, samples: int, behind: int) -> int:
        frames = max(0, (samples * self._unit - behind) // self._step + 1)
        return frames if self.last is None else min(frames, self.last)


class _Held:
    """Samples that may still be needed, with what stands for those before the recording and behind it."""

    def __init__(self, framing: Framing) -> None:
        self._edge = framing.padding == "edge"
        self._chunks: list[Signal] = []
        self._offset = 0  # sample at which what is held begins
        self._filler = np.float32(0)
        self.received = 0

    def add(self, block: Signal, reach: int) -> None:
        """Take samples; the first ones come with `reach` samples before them."""
        if not self.received and reach > 0:
            self._chunks.append(np.full(reach, block[0] if self._edge else 0, np.float32))
            self._offset = -reach
        if self._edge:
            self._filler = block[-1]
        self.received += block.size
        self._chunks.append(block)

    def fill(self, samples: int) -> None:
        """So many samples behind the end of the recording."""
        self._chunks.append(np.full(samples, self._filler, np.float32))
        self.received += samples

    @property
    def first(self) -> int:
        """The first sample held."""
        return self._offset

    def between(self, begin: int, end: int) -> Signal:
        """A view."""
        if len(self._chunks) > 1:
            self._chunks = [np.concatenate(self._chunks)]
        return self._chunks[0][begin - self._offset : end - self._offset]

    def drop(self, begin: int) -> None:
        """Forget samples before `begin`."""
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
    """Samples in, windows out, in one pass and in flat memory.

    `add` gives batches of windows [batch, samples] as they become complete, `finish` the rest. The batches
    are views of the samples held where the step is a whole number of samples.
    """

    def __init__(self, framing: Framing, sampling_rate: int, batch_size: int = 1) -> None:
        self._grid = _Grid(framing, sampling_rate)
        self._samples = _Held(framing)
        self._rate = sampling_rate
        self.batch_size = batch_size
        self.next = framing.first_frame

    def add(self, block: Signal) -> Iterator[tuple[int, Signal]]:
        """Take mono samples; gives (index of the first window, windows [batch, samples])."""
        if block.size:
            self._samples.add(block, -self._grid.begin(0))
            yield from self._ready(self._complete(), self.batch_size)

    def finish(self, duration: Fraction) -> Iterator[tuple[int, Signal]]:
        """The windows that are left of a recording of `duration` seconds, padded at its end."""
        count = self._grid.framing.count(duration)
        if not self._samples.received or self.next >= count:
            return
        # piecewise: a right context of an hour must not take an hour's memory
        for begin in range(0, missing := self._grid.end(count - 1) - self._samples.received, self._rate):
            self._samples.fill(min(self._rate, missing - begin))
            yield from self._ready(min(count, self._complete()), self.batch_size)
        yield from self._ready(count, 1)

    @property
    def exhausted(self) -> bool:
        """Every frame before `end` was given."""
        return self._grid.last is not None and self.next >= self._grid.last

    def flush(self) -> Iterator[tuple[int, Signal]]:
        """Every window that is complete, without waiting for a whole batch (live use)."""
        yield from self._ready(self._complete(), 1)

    def _complete(self) -> int:
        return self._grid.complete(self._samples.received)

    def _ready(self, complete: int, fewest: int) -> Iterator[tuple[int, Signal]]:
        """Batches of the windows before index `complete`, none of fewer than `fewest`."""
        while complete - self.next >= fewest:
            size = min(complete - self.next, self.batch_size)
            first, self.next = self.next, self.next + size
            yield first, self._windows(first, size)
        if self.exhausted:
            self._samples.clear()  # behind `end`: nothing is needed any more
        self._samples.drop(self._grid.begin(self.next))

    def _windows(self, first: int, size: int) -> Signal:
        length, begin = self._grid.length, self._grid.begin(first)
        self._samples.drop(begin)
        held = self._samples.between(begin, self._grid.end(first + size - 1))
        if self._grid.hop is not None:
            return np.lib.stride_tricks.sliding_window_view(held, length)[:: self._grid.hop][:size]
        starts = [self._grid.begin(first + k) - begin for k in range(size)]
        return np.stack([held[start : start + length] for start in starts])


@dataclass(frozen=True)
class Stretch:
    """A long piece of a recording with windows in it.

    Attributes:
        first: index of the first window
        signal: float32 [samples]
        begins: int64 [windows], the sample of the stretch at which each window begins
        only: it is known that no other stretch comes before or behind it
    """

    first: int
    signal: Signal
    begins: npt.NDArray[np.int64]
    only: bool = False


class Stretches:
    """Samples in, stretches out that together contain each window once: a stretch is computed once for all its windows.

    All are of `usual` samples, but the last one, which ends with the recording: it takes up to `longest`, so that a little
    more than a usual stretch is not two of them. A window lies at least `margin` samples inside its stretch, except
    at the ends of the recording (with its padding). Memory: two stretches, whatever the length.

    Raises:
        FramingError: the windows are too long to lie in a stretch
    """

    def __init__(self, framing: Framing, sampling_rate: int, usual: int, longest: int, margin: int) -> None:
        self._grid = _Grid(framing, sampling_rate)
        self._samples = _Held(framing)
        self._usual, self._longest, self._margin = usual, longest, margin
        self._given = 0
        self.next = framing.first_frame
        most = usual - 2 * margin - 1
        if self._grid.length > most:
            raise FramingError(
                f"Windows of {float(framing.window_ms) / 1000:g} s are too long to share their context; expected at most "
                f"{most / sampling_rate:.4g} s, or the context window."
            )

    def add(self, block: Signal) -> Iterator[Stretch]:
        """Take mono samples; gives the stretches that became complete."""
        if not block.size:
            return
        self._samples.add(block, -self._grid.begin(0))
        yield from self._ready(self._grid.complete(self._samples.received))
        if self.exhausted:
            self._samples.clear()  # behind `end`: nothing is needed any more
        # the last stretch may reach back as far as its length
        self._samples.drop(min(self._begin(), self._samples.received - self._usual))

    def finish(self, duration: Fraction) -> Iterator[Stretch]:
        """The stretch that ends with a recording of `duration` seconds, if windows are left for it."""
        count = self._grid.framing.count(duration)
        if not self._samples.received or self.next >= count:
            return
        if (missing := self._grid.end(count - 1) - self._samples.received) > 0:
            self._samples.fill(missing)
            yield from self._ready(count)
        if self.next < count:
            end = self._samples.received
            begin = min(self._begin(), max(self._samples.first, end - self._usual))
            yield self._stretch(begin, end, count, only=not self._given)

    @property
    def exhausted(self) -> bool:
        """Every frame before `end` was given."""
        return self._grid.last is not None and self.next >= self._grid.last

    def _ready(self, count: int) -> Iterator[Stretch]:
        """Whole stretches, with windows before index `count`."""
        while self.next < count and self._begin() + self._longest < self._samples.received:
            end = self._begin() + self._usual
            yield self._stretch(self._begin(), end, min(count, self._grid.inside(end - self._margin)))

    def _begin(self) -> int:
        """Where a stretch begins that holds the next window."""
        return max(self._samples.first, self._grid.begin(self.next) - self._margin)

    def _stretch(self, begin: int, end: int, count: int, *, only: bool = False) -> Stretch:
        first, self.next = self.next, count
        self._given += 1
        begins = np.array([self._grid.begin(index) - begin for index in range(first, count)], np.int64)
        return Stretch(first, self._samples.between(begin, end), begins, only)


class Pieces:
    """One long window, or a whole recording, as pieces of at most `longest` samples, with their weights.

    Pieces of equal length follow each other; the last one ends with the recording and so overlaps the one
    before it. Each weighs as much as the audio it adds, so that in the mean every sample counts once.
    What fits into one piece is that piece. Memory: two pieces, whatever the length.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._last = np.zeros(0, np.float32)  # the piece given last
        self._chunks: list[Signal] = []  # what came behind it
        self._new = 0  # samples in them

    def add(self, block: Signal) -> Iterator[tuple[Signal, int]]:
        """Take samples; gives (piece [samples], its weight in samples)."""
        self._chunks.append(block)
        self._new += block.size
        while self._new >= self.longest:
            joined = np.concatenate(self._chunks) if len(self._chunks) > 1 else self._chunks[0]
            self._last, rest = joined[: self.longest], joined[self.longest :]
            self._chunks = [rest]
            self._new = rest.size
            yield self._last, self.longest

    def finish(self) -> Iterator[tuple[Signal, int]]:
        """The piece that ends with the last sample, if something came behind the piece before."""
        if self._new:
            yield np.concatenate([self._last, *self._chunks])[-self.longest :], self._new
        self._last, self._chunks, self._new = np.zeros(0, np.float32), [], 0


def cut(signal: Signal, framing: Framing, sampling_rate: int = SAMPLING_RATE) -> Signal:
    """All windows of a short signal [samples] that lie within it, without padding, [windows, samples]; none where it is
    shorter than a window. The first one begins with the signal where the framing has no left context.
    """
    grid = _Grid(framing, sampling_rate)
    begins = [begin for index in range(grid.inside(signal.size)) if (begin := grid.begin(index)) >= 0]
    windows = np.empty((len(begins), grid.length), np.float32)
    for window, begin in zip(windows, begins, strict=True):
        window[:] = signal[begin : begin + grid.length]
    return windows
