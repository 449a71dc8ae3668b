"""Recordings: files, streams and arrays as mono float32 blocks at one sampling rate.

PyAV decodes. Its wheels contain FFmpeg's libraries, so that all containers and codecs are read in the same way on every
platform, and no program must be installed. soxr resamples each recording in one stream, so that no window contains an
edge of the resampler.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from emow2v.audio import container as containers
from emow2v.audio.arrays import channels_of, is_array
from emow2v.audio.channels import Channel, Channels, check_channel, check_track
from emow2v.audio.decoding import BLOCK, check_rate, decode
from emow2v.audio.notices import sentences
from emow2v.audio.reader import is_seekable
from emow2v.audio.resampling import Resampler, mix_down
from emow2v.errors import AudioError, TooLong
from emow2v.framing import SAMPLING_RATE, Signal
from emow2v.stores import is_address, public

__all__ = [
    "SAMPLING_RATE",
    "Channel",
    "OpenedPath",
    "Recording",
    "Source",
    "StoredPath",
    "WatchedPath",
    "mix_down",
    "open_recording",
    "read",
    "stored",
]

Source = str | os.PathLike[str] | IO[bytes] | npt.ArrayLike  # an array, a tensor, a list of numbers


@dataclass
class Recording:
    """One pass over the sound of a source.

    Iterating gives mono float32 blocks [samples] at `sampling_rate`. After the last block `duration` is exact: it is the
    number of decoded samples divided by their own rate, not the duration in a header.

    Attributes:
        name: the source's name in results and messages
        sampling_rate: Hz of the blocks
        expected_duration: seconds that the container states; None if it states none; for progress only
        duration: seconds decoded so far, exact
        damaged: number of packets that could not be decoded (their time is filled with zeros)
        max_duration_s: a longer recording ends with an error, in seconds; 0 for any length
        begin: seconds at which the first block begins, set with the first block; 0 unless only a stretch is read
        facts: facts on the sound that was read, as plain strings and numbers: track, tracks, channels and channel from
            the beginning; damaged_packets, missing_s and others if they occur; complete after the last block
    """

    name: str
    sampling_rate: int
    expected_duration: float | None = None
    duration: Fraction = Fraction(0)
    damaged: int = 0
    max_duration_s: float = 0
    begin: float = 0.0
    facts: dict[str, str | float] = field(default_factory=dict)
    _blocks: Iterator[Signal] = field(default_factory=lambda: iter(()), repr=False)
    _close: Callable[[], None] = field(default=lambda: None, repr=False)
    _again: Callable[[], Recording] | None = field(default=None, repr=False)
    _is_pcm_wav: bool = field(default=False, repr=False)

    def __iter__(self) -> Iterator[Signal]:
        return self._blocks

    @property
    def notices(self) -> list[str]:
        """One sentence for each missing or unusual part of the recording; complete after the last block."""
        return sentences(self.facts)

    def again(self) -> Recording:
        """Open the same source again, from its beginning.

        Raises:
            AudioError: the source is a stream, or the file does not exist any more
        """
        if self._again is None:
            raise AudioError("A stream can be read only once; keep its rows or open it again.")
        return self._again()

    def tee(self, pass_on: Callable[[Iterator[Signal]], Iterator[Signal]]) -> None:
        """Let an iterator see all blocks on their way: `pass_on` takes the blocks and gives the same ones."""
        self._blocks = pass_on(self._blocks)

    def close(self) -> None:
        """Close the source. The recording may be closed before its end, and more than once."""
        self._close()

    def check(self, seconds: float | Fraction) -> None:
        """Refuse a duration in seconds, stated or reached, that is longer than `max_duration_s`.

        Raises:
            TooLong: the duration is longer
        """
        if 0 < self.max_duration_s < seconds:
            raise TooLong(
                f"{self.name} lasts longer than the {self.max_duration_s:g} s that are allowed; cut it into parts."
            )


class WatchedPath(os.PathLike[str]):
    """A path, and a function that gets each recording opened from it before its first sample.

    Args:
        path: of the file
        watch: may let an iterator see the samples with `Recording.tee`; a recording may be closed without being read
    """

    def __init__(self, path: str | os.PathLike[str], watch: Callable[[Recording], None]) -> None:
        self._path, self.watch = os.fspath(path), watch
        self.opened: OpenedPath | None = None  # of an address

    def __fspath__(self) -> str:
        return self._path


class OpenedPath(os.PathLike[str]):
    """The name of a recording that is no file here, and a function that opens it anew for each pass.

    Args:
        name: for results and messages; its ending helps to recognise the format
        opening: gives the recording from its beginning; may raise AudioError
    """

    def __init__(self, name: str, opening: Callable[[], io.BufferedReader]) -> None:
        self.name, self.opening = name, opening

    def __fspath__(self) -> str:
        return self.name


class StoredPath(OpenedPath):
    """A recording at an address that fsspec reads. What was fetched of it is kept for further passes.

    Args:
        address: of the recording
    """

    def __init__(self, address: str) -> None:
        from emow2v.stores.objects import StoredObject

        self._object = StoredObject(address)
        super().__init__(public(address), self._object.open)

    def fetch(self) -> None:
        """Fetch it, if it is short. Raises as `open_recording`."""
        self._object.fetch()


def stored(source: Source) -> Source:
    """The source; one at an address as, or with, a `StoredPath`, so that several passes fetch it once."""
    if isinstance(source, WatchedPath) and source.opened is None and is_address(os.fspath(source)):
        source.opened = StoredPath(os.fspath(source))
    return StoredPath(source) if isinstance(source, str) and is_address(source) else source


def open_recording(
    source: Source,
    sampling_rate: float | None = None,
    *,
    target_rate: int | None = SAMPLING_RATE,
    start: float = 0.0,
    track: int | None = None,
    channel: Channel = "mix",
) -> Recording:
    """Open a path, a binary file object or an array for one pass.

    Args:
        source: path or address of an audio or video file, a readable binary file object, or an array, tensor or list
            [samples] or [channels, samples]
        sampling_rate: Hz of an array; files state their own
        target_rate: Hz of the blocks; None keeps the source's own rate
        start: seconds at which the sound should begin; earlier sound is skipped if the container allows it (the blocks
            begin at `Recording.begin`)
        track: number of a file's track of sound, from 1; None for the one that is marked as default, or else the first
        channel: "mix" for the mean of all, "left", "right", or a channel's number from 1

    Raises:
        AudioError: the source does not exist, has no sound, cannot be decoded, or has no such track or channel
    """
    channel, track = check_channel(channel), check_track(track)
    if sampling_rate is not None and not isinstance(sampling_rate, int | float | np.number):
        raise AudioError(f"The sampling rate is {sampling_rate!r}; expected a number of Hz, such as 16000.")
    if is_array(source):
        if track not in (None, 1):
            raise AudioError(f"An array has no tracks; track {track} was asked for; choose a channel instead.")
        return open_array(source, sampling_rate, target_rate, channel)
    if isinstance(source, str | os.PathLike):
        recording = _open_file(source, target_rate, start, track, channel)
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "stream"))
        recording = _open_stream(cast(IO[bytes], source), name, target_rate, start, track, channel)
    else:
        remedy = "io.BytesIO makes a file" if isinstance(source, bytes | bytearray) else "numpy.asarray makes an array"
        raise AudioError(f"Expected a path, a binary file object or an array, got {type(source).__name__}; {remedy}.")
    if sampling_rate is not None and sampling_rate != recording.facts["source_sampling_rate"]:
        recording.close()
        raise AudioError(
            f"{recording.name} has a sampling rate of {recording.facts['source_sampling_rate']} Hz, but "
            f"{sampling_rate:g} Hz were given; leave the rate out, files state their own."
        )
    return recording


def read(
    source: Source,
    sampling_rate: float | None = None,
    *,
    target_rate: int | None = SAMPLING_RATE,
    track: int | None = None,
    channel: Channel = "mix",
) -> tuple[Signal, int]:
    """Read a whole recording; for short clips.

    Args:
        source, sampling_rate, target_rate, track, channel: as for `open_recording`

    Returns:
        signal: float32 [samples], mono
        sampling_rate: Hz

    Raises:
        AudioError: as for `open_recording`
    """
    recording = open_recording(source, sampling_rate, target_rate=target_rate, track=track, channel=channel)
    try:
        blocks = list(recording)
    finally:  # the garbage collector would close the decoder where Python cannot handle Ctrl+C
        recording.close()
    signal = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return signal, recording.sampling_rate


def open_array(
    source: npt.ArrayLike, sampling_rate: float | None, target_rate: int | None, channel: Channel
) -> Recording:
    """Open an array, tensor or list [samples] or [channels, samples]; errors are those of `open_recording`."""
    if sampling_rate is None or not sampling_rate > 0:
        raise AudioError("An array needs its sampling rate in Hz: predict(signal, sampling_rate=16000).")
    check_rate("The signal", sampling_rate)
    if sampling_rate != int(sampling_rate):
        raise AudioError(
            f"The sampling rate is {sampling_rate!r}; expected whole Hz; resample the signal to such a rate."
        )
    signal = channels_of(source)
    channels = Channels("The signal", channel)
    channels.expect(len(signal))
    rate = int(sampling_rate)
    mono = np.zeros(signal.shape[1], np.float32)  # a copy: the caller may change the array
    for begin in range(0, mono.size, BLOCK):
        mono[begin : begin + BLOCK] = channels.mono(signal[:, begin : begin + BLOCK])
    if not np.isfinite(mono).all():
        raise AudioError("The signal contains NaN or infinity; expected finite samples, about -1..1.")
    facts: dict[str, str | float] = {"channels": len(signal), "channel": channel, "source_sampling_rate": rate}
    facts |= channels.facts()

    def again() -> Recording:
        recording = Recording("signal", target_rate or rate, mono.size / rate, facts=dict(facts), _again=again)
        pieces = ((mono[begin : begin + BLOCK], rate) for begin in range(0, mono.size, BLOCK))
        recording._blocks = _resample(recording, pieces)
        return recording

    return again()


def _open_file(
    source: str | os.PathLike[str],
    target_rate: int | None,
    start: float,
    track: int | None,
    channel: Channel,
    search: Mapping[str, str] | None = None,
) -> Recording:
    source = cast(str | os.PathLike[str], stored(source))
    opened = source.opened if isinstance(source, WatchedPath) else source
    opened = opened if isinstance(opened, OpenedPath) else None
    name = str(Path(source)) if opened is None else opened.name
    file = containers.open_file(Path(source)) if opened is None else opened.opening()
    try:
        search = search or containers.search_options(file)
        recording = _open_stream(file, name, target_rate, start, track, channel, file.close, search)
    except BaseException:
        file.close()
        raise
    known = containers.GLANCE if recording._is_pcm_wav else None  # the search has found no other encoding
    recording._again = partial(_open_file, source, target_rate, start, track, channel, known)
    if isinstance(source, WatchedPath):
        source.watch(recording)
    return recording


def _open_stream(
    file: IO[bytes],
    name: str,
    target_rate: int | None,
    start: float,
    track: int | None,
    channel: Channel,
    close_file: Callable[[], None] = lambda: None,
    search: Mapping[str, str] | None = None,
) -> Recording:
    """Open the sound of an open file. A file that the caller opened stays open."""
    if getattr(file, "closed", False):
        raise AudioError(f"{name} is closed; expected an open file; open it again.")
    if isinstance(file, io.TextIOBase):
        raise AudioError(f'{name} was opened as text; expected a binary file; open it with mode "rb".')
    container = containers.open_container(file, name, track=track, search=search)
    codec = container.stream.codec_context
    try:
        channels = Channels(name, channel, [one.name for one in codec.layout.channels])
        if codec.layout.nb_channels:
            channels.expect(codec.layout.nb_channels)
    except BaseException:
        container.close()
        raise
    recording = Recording(name, target_rate or container.stream.rate, container.stated_s)
    recording.facts |= container.facts | {
        "channels": codec.layout.nb_channels,
        "channel": channel,
        "source_sampling_rate": container.stream.rate,
    }
    recording._is_pcm_wav = container.format == "wav" and str(codec.name).startswith("pcm_")
    blocks = decode(recording, container, channels, close_file, start if is_seekable(file) else 0.0)
    resampled = _resample(recording, _from_common_sample(recording, blocks))
    recording._blocks = resampled

    def close() -> None:
        resampled.close()  # first, so that nothing reads from a decoder whose container is closed
        blocks.close()
        container.close()
        close_file()

    recording._close = close
    return recording


def _from_common_sample(recording: Recording, blocks: Iterator[tuple[Signal, int]]) -> Iterator[tuple[Signal, int]]:
    """Blocks from the first time on at which both sampling rates have a sample, as they have at 0 s."""
    skip: int | None = None
    for block, rate in blocks:
        if skip is None:
            at = round(recording.begin * rate)
            skip = -at % (rate // math.gcd(rate, recording.sampling_rate))
            recording.begin = (at + skip) / rate
        yield block[skip:], rate
        skip = max(0, skip - block.size)


def _resample(recording: Recording, blocks: Iterator[tuple[Signal, int]]) -> Generator[Signal, None, None]:
    """Blocks at the recording's rate. The recording's duration is updated with each of them."""
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
