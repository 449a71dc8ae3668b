"""Framing: frame step, contexts and padding, and the number and times of frames.

Times are exact fractions of a millisecond. Frame i begins at i * step. Its window begins `left_context` before that, and
ends `frame_size + right_context` after it. Frame i exists if i * step + step lies within the recording (and is not after
`end`). With the defaults of DISCOVER (40 ms, 960 ms, 0) value i describes the second that ends at 40 ms * (i + 1).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from emow2v.errors import FramingError

SAMPLING_RATE = 16000  # Hz; all models need 16 kHz, and all recordings are resampled to it
NO_END = 1 << 40  # for the end of the recording, in samples or frames: none is so long

Padding = Literal["edge", "zeros"]
Unit = Literal["windows", "files"]  # values over time, or one value for a whole recording
Align = Literal["step", "centre"]  # a value's step is the end of its window (without right context), or its middle
Context = Literal["window", "shared"]  # each window is computed separately, or pooled from longer stretches
Signal = npt.NDArray[np.float32]  # mono samples

_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)?\s*", re.IGNORECASE | re.ASCII)
_LONGEST_MS = 366 * 24 * 3600 * 1000  # a year; a longer time is a typing error
_LONGEST_WINDOW_MS = 3600 * 1000  # an hour; its samples need 230 MB of memory


def parse_time(text: str, name: str = "time") -> Fraction:
    """Milliseconds from "40ms", "33.3ms", "0.04s", "2 S", "40" (no dot: milliseconds) or "0.04" (seconds).

    Raises:
        FramingError: the text is not a time; the sentence begins with `name`
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


def exact(milliseconds: float | Fraction) -> Fraction:
    """Milliseconds as an exact fraction; the float 33.3 becomes 333/10, not the binary number next to it."""
    return milliseconds if isinstance(milliseconds, Fraction) else Fraction(str(milliseconds))


@dataclass(frozen=True)
class Framing:
    """The windows of a recording: step, length, contexts, start, end and padding. Times are in milliseconds.

    Attributes:
        frame_step_ms: time from one value to the next; 0 for one window over the whole recording
        frame_size_ms: length of a window without its contexts; None for the step
        left_context_ms: context before the frame
        right_context_ms: context after the frame
        start_ms: frames that begin before this time are not computed
        end_ms: frames that end after this time are not computed; None for the end of the recording
        padding: samples before the start and after the end of the recording: "edge" repeats the first or last sample, as
            the reference does; "zeros" is silence
        align: "step" places windows by their contexts; "centre" places windows of the same length so that each has its
            step in the middle: the sum of the contexts is shared between left and right, and `frame_size_ms` is the step

    Raises:
        FramingError: a time is negative or longer than a year, the end is before the start, the window is shorter than
            1 ms or longer than an hour, the step is shorter than 0.1 ms, or a window in the middle is shorter than its step
    """

    frame_step_ms: float | Fraction = 40
    frame_size_ms: float | Fraction | None = None
    left_context_ms: float | Fraction = 960
    right_context_ms: float | Fraction = 0
    start_ms: float | Fraction = 0
    end_ms: float | Fraction | None = None
    padding: Padding = "edge"
    align: Align = "step"

    def __post_init__(self) -> None:
        for name in ("frame_step_ms", "frame_size_ms", "left_context_ms", "right_context_ms", "start_ms", "end_ms"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _LONGEST_MS:
                raise FramingError(f"{name} is {value}; expected 0 or more milliseconds.")
        if self.padding not in ("edge", "zeros"):
            raise FramingError(f"padding is '{self.padding}'; expected edge or zeros.")
        if self.end_ms is not None and 0 < self.end_ms <= self.start_ms:
            raise FramingError(
                f"end ({float(self.end_ms):g} ms) lies before start ({float(self.start_ms):g} ms); expected a later end."
            )
        if not self.whole and self.window_ms < 1:
            raise FramingError(f"A window of {float(self.window_ms):g} ms is too short; expected at least 1 ms.")
        if not self.whole and self.window_ms > _LONGEST_WINDOW_MS:
            raise FramingError(
                f"A window of {float(self.window_ms / 60000):g} min is too long; expected at most an hour."
            )
        if not self.whole and self.step_ms < Fraction(1, 10):
            raise FramingError(f"A frame step of {float(self.step_ms):g} ms is too short; expected at least 0.1 ms.")
        if self.align not in ("step", "centre"):
            raise FramingError(f"align is '{self.align}'; expected step or centre.")
        if self.align == "centre" and not self.whole:
            self._centre()

    def _centre(self) -> None:
        """Share the contexts, so that the step lies in the middle of its window."""
        context = (self.window_ms - self.step_ms) / 2
        if context < 0:
            raise FramingError(
                f"A window of {float(self.window_ms):g} ms is shorter than its step of {float(self.step_ms):g} ms and cannot "
                "have it in its middle; expected more context, or align step."
            )
        for name, value in (("frame_size_ms", None), ("left_context_ms", context), ("right_context_ms", context)):
            object.__setattr__(self, name, value)

    @classmethod
    def files(cls, *, start_ms: float | Fraction = 0, end_ms: float | Fraction | None = None) -> Framing:
        """The framing for one value for the whole recording, or for its part between start and end."""
        return cls(frame_step_ms=0, left_context_ms=0, right_context_ms=0, start_ms=start_ms, end_ms=end_ms)

    @property
    def whole(self) -> bool:
        """Whether there is only one window, over the whole recording."""
        return self.frame_step_ms == 0

    @property
    def step_ms(self) -> Fraction:
        """The step, exact."""
        return exact(self.frame_step_ms)

    @property
    def core_ms(self) -> Fraction:
        """Length of a window without its contexts, exact."""
        size = 0 if self.frame_size_ms is None else self.frame_size_ms
        return exact(size) or self.step_ms

    @property
    def window_ms(self) -> Fraction:
        """Length of a window with its contexts, exact."""
        return exact(self.left_context_ms) + self.core_ms + exact(self.right_context_ms)

    @property
    def covers(self) -> str:
        """The sound that a value describes, in words.

        >>> from emow2v.framing import Framing
        >>> Framing().covers
        "the sound from 0.96 s before a row's start to its end"
        >>> Framing(align="centre").covers
        "the sound from 0.48 s before a row's start to 0.48 s after its end"
        """
        if self.whole:
            begin, end = (float(ms or 0) / 1000 for ms in (self.start_ms, self.end_ms))
            until = f"to {end:g} s" if end else "to its end"
            return f"the recording from {begin:g} s {until}" if begin or end else "the whole recording"
        before = float(exact(self.left_context_ms)) / 1000
        after = float(self.core_ms + exact(self.right_context_ms) - self.step_ms) / 1000
        begins = f"{before:g} s before a row's start" if before else "a row's start"
        ends = f"{abs(after):g} s {'after' if after > 0 else 'before'} its end" if after else "its end"
        return f"the sound from {begins} to {ends}"

    @property
    def first_frame(self) -> int:
        """Index of the first frame that begins at or after `start_ms`."""
        return 0 if self.whole else math.ceil(exact(self.start_ms) / self.step_ms)

    def count(self, duration: Fraction) -> int:
        """Number of frames in a recording of `duration` seconds: floor(limit / step), with limit = min(duration, end)."""
        limit = self._limit(duration * 1000)
        if self.whole:
            return int(limit > exact(self.start_ms))
        return int(limit / self.step_ms)

    def _limit(self, duration_ms: Fraction) -> Fraction:
        return min(duration_ms, exact(self.end_ms)) if self.end_ms else duration_ms

    def window_samples(self, sampling_rate: int) -> int:
        """Number of samples in each window at a rate in Hz, rounded up."""
        return math.ceil(self.window_ms * sampling_rate / 1000)

    def span(self, sampling_rate: int) -> tuple[int, int]:
        """The first sample at or after `start_ms`, and the one after the last before `end_ms` (`NO_END`: the recording's end),
        each rounded."""
        begin, end = (round(float(ms or 0) * sampling_rate / 1000) for ms in (self.start_ms, self.end_ms))
        return begin, end or NO_END

    def times(self, first: int, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Starts and ends of the steps of `count` frames from index `first` on, float64 [count] each, in seconds."""
        step = self.step_ms
        edges = np.array([float(index * step / 1000) for index in range(first, first + count + 1)])
        return edges[:-1], edges[1:]
