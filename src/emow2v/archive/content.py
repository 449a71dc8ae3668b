"""What tells a recording from a changed one: size and time of its file, and the SHA-256 of its decoded samples."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emow2v.audio.recording import Recording, WatchedPath, open_recording
from emow2v.errors import AudioError, Emow2vError
from emow2v.framing import Signal
from emow2v.inputs import STDIN
from emow2v.inputs.table import Chosen
from emow2v.stores import is_address, public


@dataclass(frozen=True)
class _Passage:
    """The samples of one pass over a recording.

    Attributes:
        channel: as for `open_recording`
        rate: Hz
        samples: their number; a pass may end before the recording does
        sha256: of the samples as float32
        whole: whether the recording ended there
    """

    channel: str | int
    rate: int
    samples: int
    sha256: str
    whole: bool


class _Pass:
    """Sees the blocks of a recording on their way."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.samples, self.whole = 0, False
        self._digest = hashlib.sha256()
        recording.tee(self._pass_on)

    def _pass_on(self, blocks: Iterator[Signal]) -> Iterator[Signal]:
        for block in blocks:
            self._digest.update(np.ascontiguousarray(block).data)
            self.samples += len(block)
            yield block
        self.whole = True

    def passage(self) -> _Passage:
        channel: Any = self.recording.facts["channel"]
        return _Passage(channel, self.recording.sampling_rate, self.samples, self._digest.hexdigest(), self.whole)


class ContentPath(WatchedPath):
    """A path whose recordings a `Content` watches."""

    def __init__(self, path: str, content: Content) -> None:
        super().__init__(path, content.watch)
        self.content = content


class Content:
    """What one computation reads of a recording.

    Args:
        path: of the recording
    """

    def __init__(self, path: str) -> None:
        self.source = ContentPath(path, self)
        self._passes: list[_Pass] = []
        self._elsewhere: tuple[str, float] | None = None

    def watch(self, recording: Recording) -> None:
        """See the samples of a recording that was opened."""
        self._passes.append(_Pass(recording))

    def read_elsewhere(self, text: str, duration_s: float) -> None:
        """Take over what another process has read, as its `text` and its `duration_s`."""
        self._elsewhere = text, duration_s

    @property
    def duration_s(self) -> float:
        """Seconds of sound that were read."""
        if self._elsewhere is not None:
            return self._elsewhere[1]
        return max((float(one.recording.duration) for one in self._passes), default=0.0)

    def text(self) -> str:
        """The longest passage of each channel, as JSON for `is_same`."""
        if self._elsewhere is not None:
            return self._elsewhere[0]
        longest: dict[str | int, _Passage] = {}
        for one in (one.passage() for one in self._passes if one.samples):
            if one.channel not in longest or longest[one.channel].samples < one.samples:
                longest[one.channel] = one
        return json.dumps([asdict(one) for one in longest.values()])


def is_same(path: str, track: int | None, text: str) -> bool:
    """Whether a recording still has the sound that was read; it is decoded as far as it was then.

    Args:
        track: as for `open_recording`
        text: from `Content.text`
    """
    passages = [_Passage(**one) for one in json.loads(text)]
    return bool(passages) and all(_has(path, track, one) for one in passages)


def _has(path: str, track: int | None, passage: _Passage) -> bool:
    digest, samples = hashlib.sha256(), 0
    try:
        recording = open_recording(path, target_rate=passage.rate, track=track, channel=passage.channel)  # type: ignore[arg-type]
        with contextlib.closing(recording):
            for block in recording:
                digest.update(np.ascontiguousarray(block[: passage.samples - samples]).data)
                samples += len(block)
                if samples > passage.samples or (samples == passage.samples and not passage.whole):
                    break
    except (Emow2vError, OSError):  # the computation meets it again, and says so
        return False
    ended = samples == passage.samples if passage.whole else samples >= passage.samples
    return ended and digest.hexdigest() == passage.sha256


def size_and_time(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns of a file; zeros where it does not say."""
    if path == STDIN:
        return 0, 0
    if is_address(path):
        return _of_object(path)
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _of_object(address: str) -> tuple[int, int]:
    """Size of an object, and the number that its store's ETag or time makes."""
    from emow2v.stores.connection import facts

    try:
        found = facts(address)
    except AudioError:  # reading it meets that again, and says so
        return 0, 0
    return found.size or 0, found.stamp


def shown_as(path: str) -> str:
    """The path, or the address without what may be a secret."""
    return public(path) if is_address(path) else path


def own_key(path: str) -> str:
    """A key for one of several recordings that are shown as the same."""
    digest = hashlib.sha256(path.encode(errors="backslashreplace")).hexdigest()
    return path if shown_as(path) == path else f"{shown_as(path)} {digest[:16]}"


class Sizes(Mapping[str, int]):
    """Bytes of recordings by their path, as their files say."""

    def __init__(self, recordings: Chosen) -> None:
        self._recordings = recordings

    def __len__(self) -> int:
        return len(self._recordings)

    def __iter__(self) -> Iterator[str]:
        return self._recordings.paths()

    def __getitem__(self, path: str) -> int:
        return size_and_time(path)[0]
