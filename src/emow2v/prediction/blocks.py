"""Blocks of a trajectory, from the outputs of an engine, and the error for a recording without rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from emow2v.audio.recording import Recording
from emow2v.engines import Outputs
from emow2v.errors import AudioError
from emow2v.framing import Framing, Signal
from emow2v.rows import Block

T = TypeVar("T")
Cut = TypeVar("Cut", covariant=True)


class Cutter(Protocol[Cut]):
    """Cuts samples into windows or stretches; a `Windower` or `Stretches`."""

    @property
    def exhausted(self) -> bool: ...
    def add(self, block: Signal) -> Iterator[Cut]: ...
    def finish(self, duration: Fraction) -> Iterator[Cut]: ...


def expected_rows(seconds: float, framing: Framing) -> int:
    """Number of rows of a recording whose header states a duration; decimal seconds such as 12.84 are exact."""
    if not math.isfinite(seconds):
        return 0
    return max(0, framing.count(Fraction(seconds).limit_denominator(10**6)) - framing.first_frame)


def cut(recording: Recording, cutter: Cutter[T], check: Callable[[], None]) -> Iterator[T]:
    """Cut a recording into windows or stretches, until the cutter needs no more samples."""
    for samples in recording:
        check()
        yield from cutter.add(samples)
        if cutter.exhausted:
            break
    yield from cutter.finish(recording.duration)


def blocks_of(
    computed: Generator[tuple[int, Outputs]], recording: Recording, framing: Framing, check: Callable[[], None]
) -> Iterator[Block]:
    """Blocks from numbered outputs.

    Raises:
        AudioError: there are no outputs
    """
    rows = 0
    # closing ends the decoder's generator before the recording is closed
    with contextlib.closing(computed):
        for first, outputs in computed:
            check()
            rows += len(outputs[1])
            yield block_of(first, framing.times(first, len(outputs[1])), outputs)
    if not rows:
        raise no_values(recording.name, recording.duration, framing)


def samples_between(recording: Recording, framing: Framing, check: Callable[[], None]) -> Iterator[Signal]:
    """The samples of a recording between the framing's start and end, block by block."""
    begin, end = framing.span(recording.sampling_rate)
    position = 0
    for samples in recording:
        check()
        yield samples[max(0, begin - position) : end - position]
        position += samples.size
        if position >= end:
            break


def with_checks(parts: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """Blocks of samples or batches, with a call of `check` before each is used."""
    for part in parts:
        check()
        yield part


def block_of(first: int, times: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], outputs: Outputs) -> Block:
    """A block of rows; the confidence is 1 if the model gives none.

    Args:
        first: index of the first row
        times: starts and ends in seconds, float64 [rows]
    """
    embeddings, scores, confidence = outputs
    return Block(
        first=first,
        starts=times[0],
        ends=times[1],
        embeddings=embeddings,
        scores=scores,
        confidence=np.ones_like(scores) if confidence is None else confidence,
    )


def whole_block(framing: Framing, seconds: float, outputs: Outputs) -> Block:
    """The one row of a recording with `seconds` seconds between start and end."""
    start = float(framing.start_ms) / 1000
    return block_of(0, (np.array([start]), np.array([start + seconds])), outputs)


def no_values(name: str, duration: Fraction, framing: Framing, needed_s: float = 0) -> AudioError:
    """The error for a recording without a value, in all of it or between start and end.

    Args:
        name: of the recording
        duration: seconds that were read
        needed_s: seconds that a value needs; 0 for the framing's step
    """
    total, start = float(duration), float(framing.start_ms) / 1000
    end = float(framing.end_ms or 0) / 1000
    needed = needed_s or float(framing.step_ms) / 1000
    if end and not framing.whole and framing.count(Fraction(end)) <= framing.first_frame:
        total = max(total, end)  # reading ended early, because no frame lies before end
    if start and start >= total:
        return AudioError(f"{name} lasts {total:g} s: nothing lies after start ({start:g} s); expected an earlier one.")
    if start or 0 < end < total:
        part = min(end or total, total) - start
        return AudioError(
            f"Of {name} {part * 1000:.4g} ms lie between start and end, expected at least {needed * 1000:g} ms; "
            "choose a longer stretch."
        )
    remedy = f", expected at least {needed * 1000:g} ms" if needed else "; expected a longer recording"
    return AudioError(f"{name} is too short: it lasts {total * 1000:.4g} ms{remedy}.")
