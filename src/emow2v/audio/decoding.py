"""Decoding of packets to mono blocks at their own sampling rate, on one clock without gaps or jumps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emow2v.audio.channels import Channels
from emow2v.audio.container import Container, index_at_end
from emow2v.errors import AudioError
from emow2v.framing import Signal

if TYPE_CHECKING:
    from emow2v.audio.recording import Recording

# Longer gaps in the timeline are filled with zeros, so that times stay true. They occur if sound starts later than its
# video, or if packets were lost. Delays of codecs and rounding are much shorter.
GAP_TOLERANCE_S = 0.1
_JITTER_S = 0.005  # timestamps are rounded, in Matroska to milliseconds
_JUMP_S = 60.0  # a longer gap between two packets is a jump of the clock, not lost sound
_OVERLAP_S = 1.0  # packets may be this early, because of delays of codecs or joined files
_LATEST_START_S = 24 * 3600  # a later start is a damaged timestamp
_STATED_TOLERANCE_S = 0.25  # a stated length may differ from the actual one by this much
_RATES = (1000, 10_000_000)  # Hz, plausible sampling rates
BLOCK = 1 << 13  # samples in a block, at the source's rate
_MAX_DAMAGED_RATIO = 10  # damaged packets for each good one


def check_rate(name: str, rate: float) -> None:
    """Refuse an implausible sampling rate in Hz.

    Raises:
        AudioError: the rate is below 1 kHz or above 10 MHz
    """
    if not _RATES[0] <= rate <= _RATES[1]:
        raise AudioError(
            f"{name} has a sampling rate of {rate:g} Hz; expected {_RATES[0]} to {_RATES[1]} Hz; convert it to one of them."
        )


class _FrameBuffer:
    """Collects frames until they make a block. Frames of codecs last 10 to 80 ms, too short to be processed singly."""

    def __init__(self, name: str, channels: Channels) -> None:
        self._name = name
        self._channels = channels
        self._frames: list[npt.NDArray[Any]] = []
        self.samples = 0
        self.rate: int = 0

    def fits(self, frame: npt.NDArray[Any], rate: int) -> bool:
        """Whether the frame belongs to the same block as the others: same rate, type and channels, and there is room."""
        if not self._frames:
            return True
        first = self._frames[0]
        return self.samples < BLOCK and rate == self.rate and first.dtype == frame.dtype and len(first) == len(frame)

    def add(self, frame: npt.NDArray[Any], samples: int, rate: int) -> None:
        """Add a frame [channels, samples]."""
        self._frames.append(frame)
        self.samples += samples
        self.rate = rate

    def shorten(self, samples: int) -> None:
        """Drop the last `samples` where they are a part of the last frame."""
        if self._frames and 0 < samples < self._frames[-1].shape[1]:
            self._frames[-1] = self._frames[-1][:, :-samples]
            self.samples -= samples

    def take(self) -> Iterator[tuple[Signal, int]]:
        if not self.samples:
            return
        frames = np.concatenate(self._frames, axis=1) if len(self._frames) > 1 else self._frames[0]
        block = self._channels.mono(frames)
        if not np.isfinite(block).all():
            raise AudioError(f"{self._name} contains NaN or infinity; expected finite samples, about -1..1.")
        self._frames, self.samples = [], 0
        yield block, self.rate


class _Clock:
    """The time of the decoded sound, and its gaps and jumps according to the timestamps of the container.

    Attributes:
        at: seconds of sound so far
        unknown: whether the time is unknown: after a seek, until the first frame with a timestamp
        entry: seconds at which decoding began after a seek; 0 without one
        missing: seconds that were filled with silence
        jumps: (time of the jump, size of the jump) in seconds
        rates: all sampling rates so far, in Hz
        rate: current sampling rate in Hz
        count: samples so far at this rate
        begins: timestamp in seconds at which the samples of this rate begin
        after_damage: whether the last packet could not be decoded; the next timestamp shows how much is missing
    """

    def __init__(self, container: Container) -> None:
        self.tick = float(container.stream.time_base)
        self._origin = container.begins_s
        self.begins = self._origin
        # a clock of 33 bits begins at 0 again after this many seconds
        self._wrap_s = (1 << 33) * self.tick if container.format in ("mpegts", "mpeg") else 0.0
        self.after_damage = False
        self.unknown = False
        self.entry = 0.0
        self.missing = 0.0
        self.jumps: list[tuple[float, float]] = []
        self.rates: list[int] = []
        self.rate: int = 0
        self.count: int = 0
        self._before = 0.0  # seconds at earlier rates

    @property
    def at(self) -> float:
        return self._before + (self.count / self.rate if self.rate else 0.0)

    @property
    def samples_since_entry(self) -> int | None:
        """Samples since decoding began; None if the rate has changed since."""
        return self.count if self._before == self.entry else None

    def enter(self, frame: Any) -> bool:
        """Set the time from the first frame after a seek; False if the frame has no timestamp."""
        if frame.pts is None:
            return False
        self._before = self.entry = frame.pts * self.tick - self._origin
        self.begins = self._origin + self._before
        self.unknown = False
        return True

    def gap(self, frame: Any) -> int:
        """Number of zeros to insert before a frame. Updates the rate, and the clock if it jumps."""
        if frame.sample_rate != self.rate:
            self._before = self.at
            self.count, self.rate = 0, frame.sample_rate
            self.begins = self._origin + self._before
            if self.rate not in self.rates:
                self.rates.append(self.rate)
        if frame.pts is None:
            return 0
        gap = frame.pts * self.tick - self._origin - self.at
        if self._wrap_s and gap > self._wrap_s / 2:  # FFmpeg mistakes a small step back for a wrap of the clock
            gap -= self._wrap_s
        tolerance, self.after_damage = _JITTER_S if self.after_damage else GAP_TOLERANCE_S, False
        first = not self.count and not self._before
        if -_OVERLAP_S <= gap <= tolerance:
            return 0
        if gap < 0 or gap > (_LATEST_START_S if first else _JUMP_S):
            if first and gap < 0:
                return 0  # a codec's padding before the beginning
            self.jumps.append((self.at, gap))
            self._origin += gap
            self.begins += gap
            return 0
        missing: int = round(gap * self.rate)
        if not first or tolerance < GAP_TOLERANCE_S:
            self.missing += gap
        self.count += missing
        return missing


def decode(
    recording: Recording, container: Container, channels: Channels, close_file: Callable[[], None], start: float
) -> Generator[tuple[Signal, int], None, None]:
    """Mono blocks and their sampling rates in Hz, with gaps in the timeline filled with zeros.

    Facts about damage, gaps and channels are added to the recording when the pass ends.

    Args:
        start: seconds at which the sound should begin; the container is sought if that is exact
    """
    import av.error
    from av.error import FFmpegError

    clock = _Clock(container)
    buffer = _FrameBuffer(recording.name, channels)
    tick = clock.tick
    good_packets = 0
    try:
        clock.unknown = sought = container.seek(start)
        for packet in container.packets():
            if not good_packets:
                _refuse_encrypted(recording, packet)
            try:
                frames = packet.decode()
            except av.error.EOFError:  # the decoder got the end twice
                continue
            except FFmpegError:
                # continue, as ffmpeg does; the next timestamp shows how much is missing
                _refuse_encrypted(recording, packet)
                _refuse_undecodable(recording, container.stream.codec_context)
                recording.damaged += 1
                clock.after_damage = True
                continue
            good_packets += 1
            for frame in frames:
                if clock.unknown:
                    if not clock.enter(frame):
                        continue
                    recording.begin = clock.entry
                rate, pts = frame.sample_rate, frame.pts
                if rate != clock.rate:
                    check_rate(recording.name, rate)
                if (
                    rate != clock.rate
                    or clock.after_damage
                    or pts is None
                    or not -_OVERLAP_S <= pts * tick - clock.begins - clock.count / rate <= GAP_TOLERANCE_S
                ) and (missing := clock.gap(frame)):
                    yield from buffer.take()
                    yield from ((np.zeros(n, np.float32), rate) for n in _piece_sizes(missing, BLOCK))
                samples, count = _samples(recording.name, frame), frame.samples
                if not buffer.fits(samples, rate):
                    yield from buffer.take()
                buffer.add(samples, count, rate)
                clock.count += count
        if container.unsupported is not None:
            if not clock.count:
                raise container.unsupported
            recording.facts["changes_at_s"] = round(clock.at, 3)
        stream, decoded = container.stream, clock.samples_since_entry
        if stream.duration and stream.time_base * clock.rate == 1 and decoded is not None and not clock.jumps:
            # such a container counts samples; the last frame may have padding behind them
            beginning = (stream.start_time or 0) * float(stream.time_base) - container.begins_s
            buffer.shorten(decoded + round((clock.entry - beginning) * clock.rate) - stream.duration)
        yield from buffer.take()
        # the last good packet is empty: it marks the end
        if recording.damaged > max(1, _MAX_DAMAGED_RATIO * (good_packets - 1)):
            raise AudioError(
                f"{recording.name} cannot be decoded: {recording.damaged} of its {recording.damaged + good_packets - 1} packets are "
                "damaged or encrypted; "
                "expected a whole recording without copy protection; copy it again."
            )
        if not sought:
            recording.facts |= _end_facts(container, clock)
    except FFmpegError as error:
        if container.is_piped_mp4 and not clock.count:
            raise index_at_end(recording.name) from None
        raise _unreadable(recording.name, clock.at, error) from None
    except OSError as error:
        raise _unreadable(recording.name, clock.at, error) from None
    finally:
        recording.facts |= _facts(recording, clock, good_packets - 1) | channels.facts()
        container.close()
        close_file()
    if not clock.count and not clock.unknown:
        raise AudioError(f"{recording.name} holds no sound that can be decoded; expected a recording.")


def _unreadable(name: str, seconds: float, error: Exception) -> AudioError:
    return AudioError(f"{name} cannot be read further after {seconds:.2f} s ({error}); copy it again.")


def _refuse_encrypted(recording: Recording, packet: Any) -> None:
    if packet.size and packet.has_sidedata("encryption_info"):
        raise AudioError(f"{recording.name} is encrypted; expected a recording without copy protection (DRM).")


def _refuse_undecodable(recording: Recording, codec: Any) -> None:
    """Refuse a track whose decoder did not open for its first packet: it opens for no other one."""
    if not codec.is_open:
        raise AudioError(
            f"{recording.name} cannot be decoded: FFmpeg opens no decoder for the sound that its header states; the header may "
            "be damaged; copy the recording again."
        )


def _facts(recording: Recording, clock: _Clock, good_packets: int) -> dict[str, str | float]:
    """Facts about damage, gaps, jumps and rates, as plain strings and numbers."""
    facts: dict[str, str | float] = {}
    if recording.damaged:
        facts |= {"damaged_packets": recording.damaged, "packets": good_packets + recording.damaged}
    if clock.missing:
        facts["missing_s"] = round(clock.missing, 3)
    if clock.jumps:
        at, by = clock.jumps[0]
        facts |= {"clock_jumps": len(clock.jumps), "clock_jump_at_s": round(at, 3), "clock_jump_s": round(by, 3)}
    if len(clock.rates) > 1:
        facts["rates"] = ", ".join(map(str, clock.rates))
    return facts


def _end_facts(container: Container, clock: _Clock) -> dict[str, str | float]:
    """Facts about an end that differs from the header, after the last packet."""
    header, stream = container.header, container.stream
    stated = header.stated_s
    if stated is None and stream.duration and _states_exact_length(container):
        stated = float((stream.duration + (stream.start_time or 0)) * stream.time_base) - container.begins_s
    if stated is None and container.format == "matroska,webm":
        stated = _matroska_s(container)
    if stated is not None and abs(stated - clock.at) > _STATED_TOLERANCE_S and not clock.jumps:
        return {"stated_s": round(stated, 3), "ends_s": round(clock.at, 3)}
    if header.missing_bytes:
        return {"missing_bytes": header.missing_bytes}
    if container.has_unread_sound:
        return {"unread_behind_s": round(clock.at, 3)}
    return {"unfinished": "yes"} if header.unfinished else {}


def _states_exact_length(container: Container) -> bool:
    """Whether the container states the exact length of its track, not an estimate."""
    if container.format == "mp3":
        return container.header.kind == "mpeg with length"
    return container.format in ("mov,mp4,m4a,3gp,3g2,mj2", "aiff", "caf", "w64")


def _matroska_s(container: Container) -> float | None:
    """Seconds of the track from its tags, or those of the file if it has only this track; else None."""
    for name, text in container.stream.metadata.items():
        if name.upper().startswith("DURATION"):
            parts = text.split(":")
            if len(parts) == 3 and all(part.replace(".", "", 1).isdecimal() for part in parts):
                return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2]) - container.begins_s
    return container.stated_s if len(container.pyav.streams) == 1 else None


def _piece_sizes(total: int, size: int) -> Iterator[int]:
    """Split a number of samples into pieces of at most `size`."""
    for begin in range(0, total, size):
        yield min(size, total - begin)


def _samples(name: str, frame: Any) -> npt.NDArray[Any]:
    """A decoded frame as [channels, samples] in its own sample type."""
    try:
        samples: npt.NDArray[Any] = frame.to_ndarray()
    except ValueError:
        raise AudioError(f"{name} has samples of the type {frame.format.name}; convert it to 16-bit wav.") from None
    if samples.shape[1] != frame.samples:  # several channels, interleaved; faster than to ask for the format
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return samples
