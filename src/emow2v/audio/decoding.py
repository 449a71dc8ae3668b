"""Decoding: packets of a track to mono blocks at their own rate, on one clock without gaps or jumps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emow2v.audio.channels import Channels
from emow2v.audio.container import Container, index_behind
from emow2v.errors import AudioError
from emow2v.framing import Signal

if TYPE_CHECKING:
    from emow2v.audio.recording import Recording

# Gaps in the timeline (a video whose sound starts late, packets lost on the way) are filled with
# zeros so that time stays true; codec delays and rounding stay well below this.
GAP_TOLERANCE_S = 0.1
_JITTER_S = 0.005  # timestamps of a millisecond, as Matroska has them, and their rounding
_JUMP_S = 60.0  # a longer gap between two packets is another clock, not lost sound
_OVERLAP_S = 1.0  # by which packets may come too early: codecs' delays, pieces that were joined
_LATEST_S = 24 * 3600  # a later start of the sound is a damaged timestamp
_STATED_S = 0.25  # by which a stated length may differ from what is there
_RATES = (1000, 10_000_000)  # Hz, sampling rates that are believed
BLOCK = 1 << 13  # samples handed on at a time, at the source's rate
_NEARLY_NOTHING = 10  # times as many packets that cannot be decoded as ones that can


def check_rate(name: str, rate: float) -> None:
    """Refuse a sampling rate that nobody records with.

    Raises:
        AudioError: it is not believed
    """
    if not _RATES[0] <= rate <= _RATES[1]:
        raise AudioError(
            f"{name} has a sampling rate of {rate:g} Hz; expected {_RATES[0]} to {_RATES[1]} Hz; convert it to one of them."
        )


class _Held:
    """Frames of one kind on their way to a block: codec frames are 10 to 80 ms, too small to go on one by one."""

    def __init__(self, name: str, channels: Channels) -> None:
        self._name = name
        self._channels = channels
        self._frames: list[npt.NDArray[Any]] = []
        self.samples = 0
        self.rate: int = 0

    def fits(self, frame: npt.NDArray[Any], rate: int) -> bool:
        first = self._frames[0] if self._frames else frame
        alike = first.dtype == frame.dtype and first.shape[0] == frame.shape[0] and rate == self.rate
        return alike and self.samples < BLOCK

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
        frames = np.concatenate(self._frames, axis=1) if len(self._frames) > 1 else self._frames[0]
        block = self._channels.mono(frames)
        if not np.isfinite(block).all():
            raise AudioError(f"{self._name} contains NaN or infinity; expected finite samples, about -1..1.")
        self._frames, self.samples = [], 0
        yield block, self.rate


class _Clock:
    """Where the sound has come to, in its own seconds, and what its container's timestamps say of gaps.

    Attributes:
        lost: nobody knows where: after a seek, until a packet says it
        entry: seconds at which it was entered
        missing: seconds that became silence
        jumps: (seconds, by how much) of its timestamps
        rates: that it had, in Hz
    """

    def __init__(self, container: Container) -> None:
        self.tick = float(container.stream.time_base)
        self._origin = container.begins_s
        self.begins = self._origin  # by its timestamps, of what has this rate
        # seconds after which a clock of 33 bits begins anew
        self._turn = (1 << 33) * self.tick if container.format in ("mpegts", "mpeg") else 0.0
        self.wary = False  # a packet could not be decoded: the next frame's time shows how much is missing
        self.lost = False
        self.entry = 0.0
        self.missing = 0.0
        self.jumps: list[tuple[float, float]] = []
        self.rates: list[int] = []
        self.rate: int = 0
        self.count: int = 0  # samples given out at this rate
        self._before = 0.0  # seconds given out at other rates

    @property
    def at(self) -> float:
        return self._before + (self.count / self.rate if self.rate else 0.0)

    @property
    def samples_since_entry(self) -> int | None:
        """Samples since it was entered, None where their rate has changed."""
        return self.count if self._before == self.entry else None

    def enter(self, frame: Any) -> bool:
        """Take the place from a frame after a seek; whether it says it."""
        if frame.pts is None:
            return False
        self._before = self.entry = frame.pts * self.tick - self._origin
        self.begins = self._origin + self._before
        self.lost = False
        return True

    def gap(self, frame: Any) -> int:
        """Samples to be filled before a frame; its timestamps are believed from it on."""
        if frame.sample_rate != self.rate:
            self._before = self.at
            self.count, self.rate = 0, frame.sample_rate
            self.begins = self._origin + self._before
            if self.rate not in self.rates:
                self.rates.append(self.rate)
        if frame.pts is None:
            return 0
        gap = frame.pts * self.tick - self._origin - self.at
        if self._turn and gap > self._turn / 2:  # FFmpeg takes a step back for a turn of such a clock
            gap -= self._turn
        tolerance, self.wary = _JITTER_S if self.wary else GAP_TOLERANCE_S, False
        first = not self.count and not self._before
        if -_OVERLAP_S <= gap <= tolerance:
            return 0
        if gap < 0 or gap > (_LATEST_S if first else _JUMP_S):
            if first and gap < 0:
                return 0  # what a codec puts before the beginning
            self.jumps.append((self.at, gap))
            self._origin += gap
            self.begins += gap
            return 0
        missing: int = round(gap * self.rate)
        if not first or tolerance < GAP_TOLERANCE_S:
            self.missing += gap
        self.count += missing
        return missing


def decoded(
    recording: Recording, container: Container, channels: Channels, close_file: Callable[[], None], start: float
) -> Generator[tuple[Signal, int], None, None]:
    """Mono blocks at the rate they were recorded with, gaps in the timeline filled with zeros."""
    import av.error
    from av.error import FFmpegError

    clock = _Clock(container)
    held = _Held(recording.name, channels)
    tick = clock.tick
    good = 0
    try:
        clock.lost = entered = container.enter(start)
        for packet in _packets(recording, container, clock):
            if not good:
                _refuse_encrypted(recording, packet)
            try:
                frames = packet.decode()
            except av.error.EOFError:  # the end of the packets was sent twice
                continue
            except FFmpegError:
                # as ffmpeg does, go on; the next frame's time shows how much is missing
                _refuse_encrypted(recording, packet)
                recording.damaged += 1
                clock.wary = True
                continue
            good += 1
            for frame in frames:
                if clock.lost:
                    if not clock.enter(frame):
                        continue
                    recording.begin = clock.entry
                rate, pts = frame.sample_rate, frame.pts
                if rate != clock.rate:
                    check_rate(recording.name, rate)
                if (
                    rate != clock.rate
                    or clock.wary
                    or pts is None
                    or not -_OVERLAP_S <= pts * tick - clock.begins - clock.count / rate <= GAP_TOLERANCE_S
                ) and (missing := clock.gap(frame)):
                    yield from held.take()
                    yield from ((np.zeros(n, np.float32), rate) for n in _pieces(missing, BLOCK))
                samples = _samples(recording.name, frame)
                if not held.fits(samples, rate):
                    yield from held.take()
                held.add(samples, rate)
                clock.count += samples.shape[1]
        stream, counted = container.stream, clock.samples_since_entry
        if stream.duration and stream.time_base * clock.rate == 1 and counted is not None and not clock.jumps:
            # a container that counts samples says how many of the last frame only fill it
            beginning = (stream.start_time or 0) * float(stream.time_base) - container.begins_s
            held.shorten(counted + round((clock.entry - beginning) * clock.rate) - stream.duration)
        yield from held.take()
        # one of the good packets only says that no more come
        if recording.damaged > max(1, _NEARLY_NOTHING * (good - 1)):
            raise AudioError(
                f"{recording.name} cannot be decoded: {recording.damaged} of its {recording.damaged + good - 1} packets are damaged or encrypted; "
                "expected a whole recording without copy protection; copy it again."
            )
        if not entered:
            recording.facts |= _ending(container, clock)
    except FFmpegError as error:
        if container.piped_index and not clock.count:
            raise index_behind(recording.name) from None
        raise _unreadable(recording.name, clock.at, error) from None
    except OSError as error:
        raise _unreadable(recording.name, clock.at, error) from None
    finally:
        recording.facts |= _facts(recording, clock, good - 1) | channels.facts()
        container.close()
        close_file()
    if not clock.count and not clock.lost:
        raise AudioError(f"{recording.name} holds no sound that can be decoded; expected a recording.")


def _packets(recording: Recording, container: Container, clock: _Clock) -> Iterator[Any]:
    """Packets up to where a chained recording becomes one that FFmpeg does not follow it to."""
    from av.error import PatchWelcomeError

    try:
        yield from container.packets()
    except PatchWelcomeError:
        if not clock.count:
            raise
        recording.facts["changes_at_s"] = round(clock.at, 3)


def _unreadable(name: str, seconds: float, error: Exception) -> AudioError:
    return AudioError(f"{name} cannot be read further after {seconds:.2f} s ({error}); copy it again.")


def _refuse_encrypted(recording: Recording, packet: Any) -> None:
    if packet.size and packet.has_sidedata("encryption_info"):
        raise AudioError(f"{recording.name} is encrypted; expected a recording without copy protection (DRM).")


def _facts(recording: Recording, clock: _Clock, good: int) -> dict[str, str | float]:
    """What the pass came upon, as plain strings and numbers."""
    found: dict[str, str | float] = {}
    if recording.damaged:
        found |= {"damaged_packets": recording.damaged, "packets": good + recording.damaged}
    if clock.missing:
        found["missing_s"] = round(clock.missing, 3)
    if clock.jumps:
        at, by = clock.jumps[0]
        found |= {"clock_jumps": len(clock.jumps), "clock_jump_at_s": round(at, 3), "clock_jump_s": round(by, 3)}
    if len(clock.rates) > 1:
        found["rates"] = ", ".join(map(str, clock.rates))
    return found


def _ending(container: Container, clock: _Clock) -> dict[str, str | float]:
    """Whether the sound ends where its header says, once it has come to its end."""
    header, stream = container.header, container.stream
    stated = header.stated_s
    if stated is None and stream.duration and _exact(container):
        stated = float((stream.duration + (stream.start_time or 0)) * stream.time_base) - container.begins_s
    if stated is None and container.format == "matroska,webm":
        stated = _matroska_s(container)
    if stated is not None and abs(stated - clock.at) > _STATED_S and not clock.jumps:
        return {"stated_s": round(stated, 3), "ends_s": round(clock.at, 3)}
    if header.missing_bytes:
        return {"missing_bytes": header.missing_bytes}
    if container.unread:
        return {"unread_behind_s": round(clock.at, 3)}
    return {"unfinished": "yes"} if header.unfinished else {}


def _exact(container: Container) -> bool:
    """Whether the length of its track is counted, not estimated."""
    if container.format == "mp3":
        return container.header.kind == "mpeg with length"
    return container.format in ("mov,mp4,m4a,3gp,3g2,mj2", "aiff", "caf", "w64")


def _matroska_s(container: Container) -> float | None:
    """Seconds of the track as its tags have it; of the file, where nothing but this track is in it."""
    for name, text in container.stream.metadata.items():
        if name.upper().startswith("DURATION"):
            parts = text.split(":")
            if len(parts) == 3 and all(part.replace(".", "", 1).isdecimal() for part in parts):
                return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2]) - container.begins_s
    return container.stated_s if len(container.pyav.streams) == 1 else None


def _pieces(total: int, size: int) -> Iterator[int]:
    for begin in range(0, total, size):
        yield min(size, total - begin)


def _samples(name: str, frame: Any) -> npt.NDArray[Any]:
    """A decoded frame as [channels, samples] in its own sample type."""
    try:
        samples: npt.NDArray[Any] = frame.to_ndarray()
    except ValueError:
        raise AudioError(f"{name} has samples of the type {frame.format.name}; convert it to 16-bit wav.") from None
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return samples
