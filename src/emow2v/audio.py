"""Sources to blocks: anything with sound in it becomes mono float32 at one sampling rate, block by block.

PyAV decodes (its wheels bring FFmpeg's libraries, so every container and codec a user meets is read
in the same way on every platform, without a program to install); soxr resamples in a stream, once per
recording, so that no window has a resampler's edge in it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from emow2v import containers
from emow2v.errors import AudioError, TooLong
from emow2v.signals import Resampler, mix_down

SAMPLING_RATE = 16000  # Hz, what every model takes

# Gaps in the timeline (a video whose sound starts late, packets lost on the way) are filled with
# zeros so that time stays true; codec delays and rounding stay well below this.
GAP_TOLERANCE_S = 0.1
_JITTER_S = 0.005  # timestamps of a millisecond, as Matroska has them, and their rounding
_LONGEST_GAP_S = 24 * 3600  # a longer one is a damaged timestamp
_RATES = (1000, 10_000_000)  # Hz, sampling rates that are believed
_BLOCK = 1 << 13  # samples handed on at a time, at the source's rate

Signal = npt.NDArray[np.float32]
Source = str | os.PathLike[str] | IO[bytes] | npt.NDArray[Any]


@dataclass
class Recording:
    """One pass over the sound of a source.

    Iterating gives mono float32 blocks [samples] at `sampling_rate`. After the last block `duration`
    is exact: decoded samples over their own rate, not what a header says.

    Attributes:
        name: what to call the source in results and messages
        sampling_rate: Hz of the blocks
        expected_duration: seconds as the container states them, None where it does not; for progress only
        duration: seconds decoded so far, exact
        damaged: number of packets that could not be decoded (their time is filled with zeros)
        longest_s: decoding ends with an error beyond so many seconds; 0 for any number
        begin: seconds at which the first block begins, known with it; 0 but where only a stretch is read
    """

    name: str
    sampling_rate: int
    expected_duration: float | None = None
    duration: Fraction = Fraction(0)
    damaged: int = 0
    longest_s: float = 0
    begin: float = 0.0
    _blocks: Iterator[Signal] = field(default_factory=lambda: iter(()), repr=False)
    _close: Callable[[], None] = field(default=lambda: None, repr=False)

    def __iter__(self) -> Iterator[Signal]:
        return self._blocks

    def close(self) -> None:
        """Let go of the source before its end."""
        self._close()

    def check(self, seconds: float | Fraction) -> None:
        """Refuse a duration, stated or reached, that is longer than what is taken.

        Raises:
            TooLong: it is
        """
        if 0 < self.longest_s < seconds:
            raise TooLong(f"{self.name} lasts longer than the {self.longest_s:g} s that are taken; cut it into parts.")


def open_recording(
    source: Source,
    sampling_rate: int | None = None,
    *,
    target_rate: int | None = SAMPLING_RATE,
    start: float = 0.0,
) -> Recording:
    """Open a path, a binary file object or an array for one pass.

    Args:
        source: path to anything with sound in it, a readable binary file object,
            or an array [samples] or [channels, samples]
        sampling_rate: Hz of an array; files say it themselves
        target_rate: Hz of the blocks; None keeps the source's own rate
        start: seconds from which on the sound is wanted; what comes before is left out as far as a file's
            container leads there (`begin` says where the blocks do begin)

    Raises:
        AudioError: nothing there, no sound in it, or not decodable
    """
    if isinstance(source, np.ndarray):
        return _open_array(source, sampling_rate, target_rate)
    if isinstance(source, str | os.PathLike):
        return _open_file(Path(source), target_rate, start)
    if hasattr(source, "read"):
        return _open_stream(source, str(getattr(source, "name", "stream")), target_rate, start)
    raise AudioError(f"Expected a path, a binary file object or an array, got {type(source).__name__}.")


def read(
    source: Source, sampling_rate: int | None = None, *, target_rate: int | None = SAMPLING_RATE
) -> tuple[Signal, int]:
    """The whole signal [samples] and its sampling rate in Hz; for short clips."""
    recording = open_recording(source, sampling_rate, target_rate=target_rate)
    blocks = list(recording)
    signal = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return signal, recording.sampling_rate


def _open_array(signal: npt.NDArray[Any], sampling_rate: int | None, target_rate: int | None) -> Recording:
    if sampling_rate is None or not sampling_rate > 0:
        raise AudioError("An array needs its sampling rate in Hz: predict(signal, sampling_rate=16000).")
    _check_rate("The signal", sampling_rate)
    signal = np.atleast_1d(signal)
    if signal.ndim > 2 or (signal.ndim == 2 and signal.shape[0] > max(32, signal.shape[1])):
        raise AudioError(f"Expected an array [samples] or [channels, samples], got {list(signal.shape)}; transpose it.")
    if signal.shape[0] == 0 and signal.ndim == 2:
        raise AudioError(f"Expected an array [samples] or [channels, samples], got no channels {list(signal.shape)}.")
    if signal.dtype.kind not in "fiu":
        raise AudioError(f"Expected an array of floats or integers, got {signal.dtype}.")
    mono = mix_down(np.atleast_2d(signal))
    if not np.isfinite(mono).all():
        raise AudioError("The signal contains NaN or infinity; expected finite samples, about -1..1.")
    recording = Recording("signal", target_rate or int(sampling_rate), mono.size / sampling_rate)
    pieces = ((mono[begin : begin + _BLOCK], int(sampling_rate)) for begin in range(0, mono.size, _BLOCK))
    recording._blocks = _resampled(recording, pieces)
    return recording


def _open_file(path: Path, target_rate: int | None, start: float) -> Recording:
    file = containers.open_file(path)
    try:
        return _open_stream(file, str(path), target_rate, start, file.close, glance=containers.is_plain(file))
    except BaseException:
        file.close()
        raise


def _open_stream(
    file: IO[bytes],
    name: str,
    target_rate: int | None,
    start: float,
    close_file: Callable[[], None] = lambda: None,
    *,
    glance: bool = False,
) -> Recording:
    """Sound of an open file; one that the caller opened is left open."""
    container = containers.open_container(file, name, glance=glance)
    rate = target_rate or container.streams.audio[0].rate
    recording = Recording(name, rate, containers.stated_duration(container))
    decoded = _decoded(recording, container, close_file, start if containers.is_seekable(file) else 0.0)
    resampled = _resampled(recording, _on_grid(recording, decoded))
    recording._blocks = resampled

    def close() -> None:
        resampled.close()  # nothing may ask the decoder for more once its container is closed
        decoded.close()
        container.close()
        close_file()

    recording._close = close
    return recording


def _check_rate(name: str, rate: float) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise AudioError(f"{name} has a sampling rate of {rate:g} Hz; expected {_RATES[0]} to {_RATES[1]} Hz.")


class _Held:
    """Frames of one kind on their way to a block: codec frames are 10 to 80 ms, too small to go on one by one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._frames: list[npt.NDArray[Any]] = []
        self.samples = 0
        self.rate = 0

    def fits(self, frame: npt.NDArray[Any], rate: int) -> bool:
        first = self._frames[0] if self._frames else frame
        alike = first.dtype == frame.dtype and first.shape[0] == frame.shape[0] and rate == self.rate
        return alike and self.samples < _BLOCK

    def add(self, frame: npt.NDArray[Any], rate: int) -> None:
        self._frames.append(frame)
        self.samples += frame.shape[1]
        self.rate = rate

    def shorten(self, samples: int) -> None:
        """Drop the last `samples` where they are a part of the last frame."""
        if self._frames and 0 < samples < self._frames[-1].shape[1]:
            self._frames[-1] = self._frames[-1][:, :-samples]
            self.samples -= samples

    def take(self) -> Iterator[tuple[Signal, int]]:
        if not self.samples:
            return
        block = mix_down(np.concatenate(self._frames, axis=1) if len(self._frames) > 1 else self._frames[0])
        if not np.isfinite(block).all():
            raise AudioError(f"{self._name} contains NaN or infinity; expected finite samples, about -1..1.")
        self._frames, self.samples = [], 0
        yield block, self.rate


def _decoded(
    recording: Recording, container: Any, close_file: Callable[[], None], start: float
) -> Generator[tuple[Signal, int], None, None]:
    """Mono blocks at the rate they were recorded with, gaps in the timeline filled with zeros."""
    import av.error
    from av.error import FFmpegError

    stream = container.streams.audio[0]
    tick = float(stream.time_base)
    origin = (container.start_time or 0) / 1e6
    stated_end = recording.expected_duration + 1 if recording.expected_duration else math.inf
    held = _Held(recording.name)
    tolerance = GAP_TOLERANCE_S
    rate = 0
    before = 0.0  # seconds given out at other rates
    count = 0  # samples given out at this one
    entry = 0.0  # seconds where it was entered
    lost = False  # true until it is known
    try:
        lost = containers.enter(container, start)
        for packet in containers.packets(container):
            try:
                frames = packet.decode()
            except av.error.EOFError:  # told twice that no more packets come
                continue
            except FFmpegError:
                # as ffmpeg does, go on; the next frame's time shows how much is missing
                recording.damaged += 1
                tolerance = _JITTER_S
                continue
            for frame in frames:
                if lost:
                    if frame.pts is None:
                        continue
                    before = entry = recording.begin = frame.pts * tick - origin
                    lost = False
                if frame.sample_rate != rate:
                    before += count / rate if rate else 0
                    count, rate = 0, frame.sample_rate
                    _check_rate(recording.name, rate)
                if frame.pts is not None:
                    at = frame.pts * tick - origin
                    gap = at - before - count / rate
                    if tolerance < gap <= _LONGEST_GAP_S and at <= stated_end:
                        yield from held.take()
                        missing = round(gap * rate)
                        count += missing
                        yield from ((np.zeros(n, np.float32), rate) for n in _pieces(missing, _BLOCK))
                    tolerance = GAP_TOLERANCE_S
                samples = _samples(frame)
                if not held.fits(samples, rate):
                    yield from held.take()
                held.add(samples, rate)
                count += samples.shape[1]
        if stream.duration and stream.time_base * rate == 1 and before == entry:
            # a container that counts samples says how many of the last frame only fill it
            beginning = (stream.start_time or 0) * tick - origin
            held.shorten(count + round((entry - beginning) * rate) - stream.duration)
        yield from held.take()
    except (FFmpegError, OSError, ValueError) as error:
        seconds = before + (count / rate if rate else 0)
        raise AudioError(f"{recording.name} cannot be read further after {seconds:.2f} s ({error}).") from None
    finally:
        container.close()
        close_file()
    if not count and not lost:
        raise AudioError(f"{recording.name} holds no sound that can be decoded; expected a recording.")


def _on_grid(recording: Recording, blocks: Iterator[tuple[Signal, int]]) -> Iterator[tuple[Signal, int]]:
    """Blocks that begin where a sample of the source and one of the result fall together, as both do at 0."""
    skip: int | None = None
    for block, rate in blocks:
        if skip is None:
            at = round(recording.begin * rate)
            skip = -at % (rate // math.gcd(rate, recording.sampling_rate))
            recording.begin = (at + skip) / rate
        yield block[skip:], rate
        skip = max(0, skip - block.size)


def _pieces(total: int, size: int) -> Iterator[int]:
    for begin in range(0, total, size):
        yield min(size, total - begin)


def _samples(frame: Any) -> npt.NDArray[Any]:
    """A decoded frame as [channels, samples] in its own sample type."""
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return samples


def _resampled(recording: Recording, blocks: Iterator[tuple[Signal, int]]) -> Generator[Signal, None, None]:
    """Blocks at the recording's rate; its duration grows with them."""
    resampler = Resampler(recording.sampling_rate)
    for block, rate in blocks:
        out = resampler.add(block, rate)
        recording.duration = resampler.duration
        recording.check(recording.duration)
        if out.size:
            yield out
    tail = resampler.finish()
    if tail.size:
        yield tail
