"""Sources to blocks: anything with sound in it becomes mono float32 at one sampling rate, block by block.

PyAV decodes (its wheels bring FFmpeg's libraries, so every container and codec a user meets is read
in the same way on every platform, without a program to install); soxr resamples in a stream, once per
recording, so that no window has a resampler's edge in it.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from emow2v.errors import AudioError

SAMPLING_RATE = 16000  # Hz, what every model takes

# Gaps in the timeline (a video whose sound starts late, packets lost on the way) are filled with
# zeros so that time stays true; codec delays and rounding stay well below this.
GAP_TOLERANCE_S = 0.1
_BLOCK = 1 << 13  # samples handed on at a time, at the source's rate

# Demuxers that open further files or network addresses named inside the file: a playlist somebody
# uploads must not read the server's disk. Everything else reads the one stream it is given.
_REFERRING_DEMUXERS = {
    "applehttp", "concat", "concatf", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp",
}  # fmt: skip

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
    """

    name: str
    sampling_rate: int
    expected_duration: float | None = None
    duration: Fraction = Fraction(0)
    damaged: int = 0
    _blocks: Iterator[Signal] = field(default_factory=lambda: iter(()), repr=False)
    _close: Callable[[], None] = field(default=lambda: None, repr=False)

    def __iter__(self) -> Iterator[Signal]:
        return self._blocks

    def close(self) -> None:
        """Let go of the source before its end."""
        self._close()


def open_recording(
    source: Source, sampling_rate: int | None = None, *, target_rate: int | None = SAMPLING_RATE
) -> Recording:
    """Open a path, a binary file object or an array for one pass.

    Args:
        source: path to anything with sound in it, a readable binary file object,
            or an array [samples] or [channels, samples]
        sampling_rate: Hz of an array; files say it themselves
        target_rate: Hz of the blocks; None keeps the source's own rate

    Raises:
        AudioError: nothing there, no sound in it, or not decodable
    """
    if isinstance(source, np.ndarray):
        return _open_array(source, sampling_rate, target_rate)
    if isinstance(source, str | os.PathLike):
        return _open_file(Path(source), target_rate)
    if hasattr(source, "read"):
        return _open_stream(source, str(getattr(source, "name", "stream")), target_rate)
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
    if sampling_rate is None or sampling_rate <= 0:
        raise AudioError("An array needs its sampling rate in Hz: predict(signal, sampling_rate=16000).")
    signal = np.atleast_1d(signal)
    if signal.ndim > 2 or (signal.ndim == 2 and signal.shape[0] > max(32, signal.shape[1])):
        raise AudioError(
            f"Expected an array [samples] or [channels, samples], got {list(signal.shape)}; transpose it."
        )
    if signal.dtype.kind not in "fiu":
        raise AudioError(f"Expected an array of floats or integers, got {signal.dtype}.")
    mono = mix_down(np.atleast_2d(signal))
    if not np.isfinite(mono).all():
        raise AudioError("The signal contains NaN or infinity; expected finite samples, about -1..1.")
    recording = Recording("signal", target_rate or int(sampling_rate), mono.size / sampling_rate)
    pieces = ((mono[begin : begin + _BLOCK], int(sampling_rate)) for begin in range(0, mono.size, _BLOCK))
    recording._blocks = _resampled(recording, pieces, target_rate)
    return recording


def _open_file(path: Path, target_rate: int | None) -> Recording:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path} is a folder; expected a recording.")
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes); expected a recording.")
        file = path.open("rb")
    except FileNotFoundError:
        raise AudioError(f"{path} does not exist; expected a recording.") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    return _open_stream(file, str(path), target_rate)


def _open_stream(file: IO[bytes], name: str, target_rate: int | None) -> Recording:
    import av  # 70 ms; only where something is decoded
    from av.error import FFmpegError

    # FFmpeg gets the open file, never the name: a name could be read as a protocol ("http:", "concat:").
    seekable = getattr(file, "seekable", lambda: False)()
    reader: Any = file if seekable else _Sequential(file)
    try:
        container = av.open(reader, options={"format_whitelist": _allowed_demuxers()}, metadata_errors="replace")
    except (FFmpegError, ValueError, OSError):
        file.close()
        raise AudioError(f"{name} is not a recording that can be decoded; expected audio or video, e.g. wav.") from None
    if not container.streams.audio:
        container.close()
        file.close()
        raise AudioError(f"{name} holds no sound; expected a file with an audio track.")
    duration = container.duration / 1e6 if container.duration else None
    recording = Recording(name, target_rate or container.streams.audio[0].rate, duration)
    recording._blocks = _resampled(recording, _decoded(recording, container, file), target_rate)

    def close() -> None:
        container.close()
        file.close()

    recording._close = close
    return recording


class _Sequential(io.RawIOBase):
    """A pipe as PyAV wants it: read only, so that FFmpeg does not try to seek."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.name = "pipe"

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


@lru_cache
def _allowed_demuxers() -> str:
    from av.format import formats_available

    return ",".join(sorted(set(formats_available) - _REFERRING_DEMUXERS))


def _decoded(recording: Recording, container: Any, file: IO[bytes]) -> Iterator[tuple[Signal, int]]:
    """Mono blocks at the rate they were recorded with, gaps in the timeline filled with zeros."""
    from av.error import FFmpegError

    stream = container.streams.audio[0]
    origin = (container.start_time or 0) / 1e6
    stated_end = (container.duration or 0) / 1e6 + 1
    held: list[Signal] = []  # codec frames are 10 to 80 ms: too small to resample and frame one by one
    held_samples = 0
    rate = 0
    before = 0.0  # seconds given out at other rates
    count = 0  # samples given out at this one
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                recording.damaged += 1  # as ffmpeg does, go on; the next frame's time shows how much is missing
                continue
            for frame in frames:
                if frame.sample_rate != rate or held_samples >= _BLOCK:
                    if held:
                        yield _joined(held, recording), rate
                        held, held_samples = [], 0
                    if frame.sample_rate != rate:
                        before += count / rate if rate else 0
                        count, rate = 0, frame.sample_rate
                if frame.pts is not None and frame.time_base is not None:
                    at = frame.pts * float(frame.time_base) - origin
                    gap = at - before - count / rate
                    if GAP_TOLERANCE_S < gap and at <= stated_end:
                        if held:
                            yield _joined(held, recording), rate
                            held, held_samples = [], 0
                        missing = round(gap * rate)
                        count += missing
                        yield from ((np.zeros(n, np.float32), rate) for n in _pieces(missing, _BLOCK))
                signal = mix_down(_samples(frame))
                count += signal.size
                held.append(signal)
                held_samples += signal.size
        if held:
            yield _joined(held, recording), rate
    except (FFmpegError, OSError) as error:
        seconds = before + (count / rate if rate else 0)
        raise AudioError(f"{recording.name} cannot be read further after {seconds:.2f} s ({error}).") from None
    finally:
        container.close()
        file.close()
    if not rate:
        raise AudioError(f"{recording.name} holds no sound that can be decoded; expected a recording.")


def _joined(held: list[Signal], recording: Recording) -> Signal:
    block = np.concatenate(held) if len(held) > 1 else held[0]
    if not np.isfinite(block).all():
        raise AudioError(f"{recording.name} contains NaN or infinity; expected finite samples, about -1..1.")
    return block


def _pieces(total: int, size: int) -> Iterator[int]:
    for begin in range(0, total, size):
        yield min(size, total - begin)


def _samples(frame: Any) -> npt.NDArray[Any]:
    """A decoded frame as [channels, samples] in its own sample type."""
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return samples


def mix_down(signal: npt.NDArray[Any]) -> Signal:
    """Mean over channels of [channels, samples]; integers are scaled to -1..1 (16 bit: divided by 32768)."""
    mono = signal[0] if signal.shape[0] == 1 else signal.mean(axis=0, dtype=np.float64)
    if signal.dtype.kind == "f":
        return np.ascontiguousarray(mono, np.float32)
    limits = np.iinfo(signal.dtype)
    full_scale = (float(limits.max) - float(limits.min) + 1) / 2  # 32768 for 16 bit
    centre = 0.0 if signal.dtype.kind == "i" else full_scale
    return np.asarray((mono - centre) / full_scale, np.float32)


def _resampled(
    recording: Recording, blocks: Iterator[tuple[Signal, int]], target_rate: int | None
) -> Iterator[Signal]:
    """Blocks at the target rate, floor(duration * rate) samples in all, and the exact duration."""
    resampler: Any = None
    rate = 0
    written = 0
    last = np.float32(0)
    for block, block_rate in blocks:
        recording.duration += Fraction(block.size, block_rate)
        if target_rate is None or (block_rate == target_rate and resampler is None):
            if block.size:
                last = block[-1]
                written += block.size
                yield block
            continue
        if block_rate != rate:  # also when a stream changes its rate on the way
            if resampler is not None:
                tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
                written += tail.size
                yield tail
            import soxr

            resampler = soxr.ResampleStream(block_rate, target_rate, 1, dtype="float32", quality="HQ")
            rate = block_rate
        out = resampler.resample_chunk(block)
        if out.size:
            written += out.size
            yield out
    if resampler is None or target_rate is None:
        return
    # The resampler rounds its length as it likes; the count of windows hangs on it, so it is made exact.
    tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    missing = max(0, int(recording.duration * target_rate) - written)
    if tail.size:
        last = tail[-1]
    tail = np.concatenate([tail[:missing], np.full(max(missing - tail.size, 0), last, np.float32)])
    if tail.size:
        yield tail
