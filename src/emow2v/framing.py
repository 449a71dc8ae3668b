"""Frame step, contexts, padding, counts: the only place that knows time.

Times are exact fractions of a millisecond inside. Frame i starts at i * step and its window reaches from
`left_context` before that to `frame_size + right_context` behind it; it exists while i * step + step lies
within the recording (and before `end`). With the DISCOVER defaults (40 ms, 960 ms, 0) value i describes
the second that ends at 40 ms * (i + 1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from emow2v.errors import FramingError

Signal = npt.NDArray[np.float32]
Padding = Literal["edge", "zeros"]

_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)?\s*", re.IGNORECASE | re.ASCII)
_LONGEST_MS = 366 * 24 * 3600 * 1000  # a year: beyond it a time is a slip of the keyboard
_LONGEST_WINDOW_MS = 3600 * 1000  # its samples are held in memory: 230 MB


def parse_time(text: str, name: str = "time") -> Fraction:
    """Milliseconds from "40ms", "33.3ms", "0.04s", "2 S", "40" (no dot: milliseconds) or "0.04" (seconds).

    Raises:
        FramingError: anything else; `name` says which field it was
    """
    match = _TIME.fullmatch(text) if len(text) <= 100 else None
    if match is None:
        raise FramingError(f"{name} is '{text[:40]}'; expected a time such as 40ms, 0.04s, 40 (ms) or 0.04 (s).")
    number, unit = match[1], (match[2] or "").lower()
    in_seconds = unit == "s" or (not unit and "." in number)
    value = Fraction(number) * (1000 if in_seconds else 1)
    if value > _LONGEST_MS:
        raise FramingError(f"{name} is '{text[:40]}'; expected less than a year.")
    return value


def _exact(milliseconds: float | Fraction) -> Fraction:
    # 33.3 means 33.3, not the binary number next to it
    return milliseconds if isinstance(milliseconds, Fraction) else Fraction(str(milliseconds))


@dataclass(frozen=True)
class Framing:
    """How a recording is cut into windows.

    Attributes:
        frame_step_ms: from one value to the next; 0: one window over the whole recording, one value
        frame_size_ms: core of a window; None: the step
        left_context_ms: added before the core
        right_context_ms: added behind the core
        start_ms: frames that begin before it are not computed
        end_ms: no frame ends after it; None: the end of the recording
        padding: what stands for samples before the start and behind the end of the recording: "edge"
            repeats the first or last sample, as the reference does; "zeros" is silence
    """

    frame_step_ms: float | Fraction = 40
    frame_size_ms: float | Fraction | None = None
    left_context_ms: float | Fraction = 960
    right_context_ms: float | Fraction = 0
    start_ms: float | Fraction = 0
    end_ms: float | Fraction | None = None
    padding: Padding = "edge"

    def __post_init__(self) -> None:
        for name in ("frame_step_ms", "frame_size_ms", "left_context_ms", "right_context_ms", "start_ms", "end_ms"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _LONGEST_MS:
                raise FramingError(f"{name} is {value}; expected 0 or more milliseconds.")
        if self.padding not in ("edge", "zeros"):
            raise FramingError(f"padding is '{self.padding}'; expected edge or zeros.")
        if self.end_ms is not None and 0 < self.end_ms <= self.start_ms:
            raise FramingError(f"end ({float(self.end_ms):g} ms) lies before start ({float(self.start_ms):g} ms).")
        if not self.whole and self.window_ms < 1:
            raise FramingError(f"A window of {float(self.window_ms):g} ms is too short; expected at least 1 ms.")
        if not self.whole and self.window_ms > _LONGEST_WINDOW_MS:
            raise FramingError(
                f"A window of {float(self.window_ms / 60000):g} min is too long; expected at most an hour."
            )
        if not self.whole and self.step_ms < Fraction(1, 10):
            raise FramingError(f"A frame step of {float(self.step_ms):g} ms is too short; expected at least 0.1 ms.")

    @classmethod
    def files(cls, *, start_ms: float | Fraction = 0, end_ms: float | Fraction | None = None) -> Framing:
        """One value for the whole recording."""
        return cls(frame_step_ms=0, left_context_ms=0, right_context_ms=0, start_ms=start_ms, end_ms=end_ms)

    @property
    def whole(self) -> bool:
        """One window over the whole recording."""
        return self.frame_step_ms == 0

    @property
    def step_ms(self) -> Fraction:
        return _exact(self.frame_step_ms)

    @property
    def core_ms(self) -> Fraction:
        size = 0 if self.frame_size_ms is None else self.frame_size_ms
        return _exact(size) or self.step_ms

    @property
    def window_ms(self) -> Fraction:
        """Length of a window with its contexts."""
        return _exact(self.left_context_ms) + self.core_ms + _exact(self.right_context_ms)

    @property
    def first_frame(self) -> int:
        """Index of the first frame that begins at or after `start_ms`."""
        return 0 if self.whole else math.ceil(_exact(self.start_ms) / self.step_ms)

    def count(self, duration: Fraction) -> int:
        """Number of frames of a recording of that many seconds: floor(limit / step)."""
        limit = self._limit(duration * 1000)
        if self.whole:
            return int(limit > _exact(self.start_ms))
        return int(limit / self.step_ms)

    def _limit(self, duration_ms: Fraction) -> Fraction:
        return min(duration_ms, _exact(self.end_ms)) if self.end_ms else duration_ms

    def window_samples(self, sampling_rate: int) -> int:
        """Samples in every window; a fraction is rounded up, the same for all windows."""
        return math.ceil(self.window_ms * sampling_rate / 1000)

    def window_end(self, index: int, sampling_rate: int) -> int:
        """Sample behind the last one of window `index`."""
        end_ms = index * self.step_ms + self.core_ms + _exact(self.right_context_ms)
        return math.ceil(end_ms * sampling_rate / 1000)

    def times(self, first: int, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Begin and end in seconds of `count` frames from index `first`: the step each value stands for."""
        step = self.step_ms
        edges = np.array([float(index * step / 1000) for index in range(first, first + count + 1)])
        return edges[:-1], edges[1:]


class _Grid:
    """Where the windows of a framing lie, in samples; exact in whole numbers of 1 / unit of a sample."""

    def __init__(self, framing: Framing, sampling_rate: int) -> None:
        if framing.whole:
            raise FramingError("A window over the whole recording is not cut into windows.")
        self.framing = framing
        self.length = framing.window_samples(sampling_rate)
        # frame i ends at (i * step + behind) samples
        step = framing.step_ms * sampling_rate / 1000
        behind = (framing.core_ms + _exact(framing.right_context_ms)) * sampling_rate / 1000
        self._unit = math.lcm(step.denominator, behind.denominator)
        self._step = int(step * self._unit)
        self._behind = int(behind * self._unit)
        self.hop = int(step) if step.denominator == 1 else None
        self.last = None if not framing.end_ms else framing.count(_exact(framing.end_ms) / 1000)  # frames before end

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
    """Samples in, stretches out that together hold every window once, for what is computed once for many windows.

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
