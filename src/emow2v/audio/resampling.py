"""Conversion of decoded samples to one channel in float32, and to one sampling rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.framing import Signal


def mix_down(signal: npt.NDArray[Any]) -> Signal:
    """Mean over the channels of [channels, samples], as float32 [samples].

    Integers are scaled to -1..1; those of 16 bit are divided by 32768.
    """
    # samples that are not finite are refused by the caller, which knows the recording's name
    with np.errstate(over="ignore", invalid="ignore"):
        # contiguous rows are seven times faster than the interleaved order of most files
        mono = signal[0] if signal.shape[0] == 1 else np.ascontiguousarray(signal).mean(axis=0, dtype=np.float64)
        if signal.dtype.kind == "f":
            return np.ascontiguousarray(mono, np.float32)
    limits = np.iinfo(signal.dtype)
    full_scale = (float(limits.max) - float(limits.min) + 1) / 2  # 32768 for 16 bit
    centre = 0.0 if signal.dtype.kind == "i" else full_scale
    return np.asarray((mono - centre) / full_scale, np.float32)


class Resampler:
    """Resamples mono blocks of any sampling rates to one rate, to floor(duration * rate) samples in all.

    Args:
        rate: Hz of the output

    Attributes:
        duration: exact duration of the input so far, in seconds
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.duration = Fraction(0)
        self._stream: Any = None
        self._input_rate = 0
        self._written = 0

    def add(self, block: Signal, rate: int) -> Signal:
        """Resample one more block [samples] with a rate in Hz. The output is delayed a little, and may be empty."""
        self.duration += Fraction(block.size, rate)
        if rate == self.rate and self._stream is None:
            self._written += block.size
            return block
        before = np.zeros(0, np.float32)
        if rate != self._input_rate:  # also if the rate of a recording changes
            if self._stream is not None:
                before = self._stream.resample_chunk(before, last=True)
            import soxr

            self._stream = soxr.ResampleStream(rate, self.rate, 1, dtype="float32", quality="HQ")
            self._input_rate = rate
        out: Signal = self._stream.resample_chunk(block)
        if before.size:
            out = np.concatenate([before, out])
        self._written += out.size
        return out

    def finish(self) -> Signal:
        """The last samples, cut or extended to the exact length.

        The number of windows depends on the length, and soxr rounds it differently.
        """
        if self._stream is None:
            return np.zeros(0, np.float32)
        tail = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = max(0, int(self.duration * self.rate) - self._written)
        last = tail[-1] if tail.size else np.float32(0)
        self._stream = None
        return np.concatenate([tail[:missing], np.full(max(missing - tail.size, 0), last, np.float32)])
