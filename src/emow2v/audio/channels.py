"""Channels of a recording: choice of channels, and measures of silence, clipping and phase."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from emow2v.audio.resampling import mix_down
from emow2v.errors import AudioError
from emow2v.framing import Signal
from emow2v.storage import counted

Channel = Literal["mix", "left", "right"] | int

# Only the beginning of some blocks is measured, more often at the start of a recording. Lasting faults are found this
# way at little cost.
_FIRST, _FIRST_STEP, _STEP = 64, 4, 64  # blocks
_MEASURED = 2048  # samples
_SILENT = 1 / 32768  # of full scale, one step of 16 bit
_CLIPPED = 0.9999  # of full scale
_CLIPPED_SHARE = 0.001
_CANCELLED = 0.1  # share of the channels' power that is left in their mean
_LOUD = 8.0  # times full scale; such samples were not scaled to -1..1


def parse_channel(text: str) -> Channel | Literal["each"]:
    """Parse a channel as people write it: mix, left, right, a number from 1, or each.

    Raises:
        AudioError: the text is none of these
    """
    text = text.strip().lower()
    named: dict[str, Channel | Literal["each"]] = {"mix": "mix", "left": "left", "right": "right", "each": "each"}
    if text in named:
        return named[text]
    if re.fullmatch("0*[1-9][0-9]{0,3}", text, re.ASCII):
        return int(text)
    raise AudioError(f"The channel is '{text[:20]}'; expected mix, left, right, a number from 1, or each.")


def check_channel(channel: Channel) -> Channel:
    """Check a channel, and convert whole numbers of NumPy to int.

    Raises:
        AudioError: the channel is not mix, left, right or a number from 1
    """
    if isinstance(channel, str) and channel in ("mix", "left", "right"):
        return channel
    if (number := whole_number(channel)) is not None and number > 0:
        return number
    raise AudioError(f"The channel is {channel!r}; expected mix, left, right or a number from 1.")


def check_track(track: int | None) -> int | None:
    """Check the number of a track, and convert whole numbers of NumPy to int; None is no choice.

    Raises:
        AudioError: the track is not a whole number
    """
    if track is not None and whole_number(track) is None:
        raise AudioError(f"The track is {track!r}; expected its number, from 1.")
    return whole_number(track)


def whole_number(value: object) -> int | None:
    """A whole number of Python or NumPy as int; None for everything else, including booleans."""
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else None


class Channels:
    """Converts blocks [channels, samples] to mono, and measures the channels.

    Args:
        name: of the recording, for messages
        channel: "mix" for the mean of all, "left", "right", or a number from 1
        names: names of the channels, such as FL and FR, if the container has them
    """

    def __init__(self, name: str, channel: Channel = "mix", names: Sequence[str] = ()) -> None:
        self._name = name
        self._channel: Channel = check_channel(channel)
        self._names = list(names)
        self._count = 0
        self._index: int | None = None
        self._has_sound: list[bool] = []
        self._some_silent = True  # at least one channel that is read was silent so far
        self._blocks = 0
        self._measured = np.zeros(3)  # power of channel 1, of channel 2, of their product
        self._samples = 0
        self._clipped = 0
        self._peak = 0.0

    def expect(self, count: int) -> None:
        """Set the number of channels of the next blocks.

        Raises:
            AudioError: the chosen channel does not exist
        """
        self._count = count
        self._has_sound += [False] * (count - len(self._has_sound))
        if self._channel == "mix":
            return
        number = self._channel if isinstance(self._channel, int) else self._side(count)
        if number > count:
            has = counted(count, "channel")
            raise AudioError(f"{self._name} has {has}; channel {self._channel} was asked for; choose one that it has.")
        self._index = number - 1

    def _side(self, count: int) -> int:
        name, number = ("FL", 1) if self._channel == "left" else ("FR", 2)
        return self._names.index(name) + 1 if name in self._names and len(self._names) == count else number

    def mono(self, block: npt.NDArray[Any]) -> Signal:
        """Convert one block [channels, samples] to float32 [samples]."""
        if block.shape[0] != self._count:
            self.expect(block.shape[0])
        if self._index is not None:
            block = block[self._index : self._index + 1]
        if self._some_silent:
            self._find_sound(block)
        if self._blocks % (_FIRST_STEP if self._blocks < _FIRST else _STEP) == 0:
            self._measure(block)
        self._blocks += 1
        return mix_down(block)

    def _find_sound(self, block: npt.NDArray[Any]) -> None:
        centre, full = _scale(block.dtype)
        for k, one in enumerate(block):
            row = k if self._index is None else self._index
            if not self._has_sound[row] and one.size:
                self._has_sound[row] = max(float(one.max()) - centre, centre - float(one.min())) > _SILENT * full
        chosen = self._has_sound if self._index is None else [self._has_sound[self._index]]
        self._some_silent = not all(chosen)

    def _measure(self, block: npt.NDArray[Any]) -> None:
        centre, full = _scale(block.dtype)
        # samples that are not finite are refused after decoding
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.ascontiguousarray(block[:, :_MEASURED], np.float32)
            values = (part - np.float32(centre)) / np.float32(full)
            loud = np.abs(values)
            self._peak = max(self._peak, float(loud.max(initial=0.0)))
            self._clipped += int(np.count_nonzero(loud >= _CLIPPED))
            self._samples += values.size
            if len(values) == 2:
                first, second = values - values.mean(axis=1, keepdims=True)
                self._measured += (first * first).sum(), (second * second).sum(), (first * second).sum()

    def facts(self) -> dict[str, str | float]:
        """Results of the measures, as plain strings and numbers; empty for sound without faults."""
        facts: dict[str, str | float] = {}
        silent = [str(k + 1) for k, has_sound in enumerate(self._has_sound) if not has_sound]
        if self._blocks and self._index is None and 0 < len(silent) < len(self._has_sound):
            facts["silent_channels"] = ", ".join(silent)
        chosen = self._has_sound if self._index is None else [self._has_sound[self._index]]
        if self._blocks and not any(chosen):
            facts["silent"] = "yes"
        first, second, product = self._measured
        if self._count == 2 and min(first, second) > 0 and first + second + 2 * product < _CANCELLED * (first + second):
            facts["opposite_phase"] = "yes"
        if self._peak > _LOUD:
            facts["peak"] = round(self._peak, 1)
        elif self._clipped > _CLIPPED_SHARE * self._samples:
            facts["clipped_share"] = round(self._clipped / self._samples, 4)
        return facts


def _scale(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The value of silence in a sample type, and the distance from there to full scale."""
    if dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    half = (float(limits.max) - float(limits.min) + 1) / 2
    return (0.0 if dtype.kind == "i" else half), half
