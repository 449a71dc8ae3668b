"""What the recordings of a corpus hold: durations, silence, damage, copies."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v.audio import recording as audio
from emow2v.audio.excerpts import read_stretch, stated_duration
from emow2v.corpora.clip import Clip, is_missing
from emow2v.errors import AudioError

SILENT = 0.001  # a signal within +-0.001 of its middle, which is -60 dB, is silent


@dataclass(frozen=True)
class Content:
    """What a file holds, or the sentence why it cannot be read.

    Attributes:
        duration: seconds
        corrupt: the sentence, "" where the file can be read
        missing: seconds that the header states and the file does not hold
        silent: whether each of its clips is silent, in their order; empty where nothing was decoded
        digests: of the samples of its clips, likewise
    """

    duration: float = math.nan
    corrupt: str = ""
    missing: float = 0.0
    silent: Sequence[bool] = ()
    digests: Sequence[bytes] = ()


def read_contents(
    clips: Sequence[Clip],
    *,
    thorough: bool = False,
    threads: int = 0,
    on_file: Callable[[Path], None] = lambda file: None,
) -> dict[Path, Content]:
    """The contents of all files of a corpus that exist.

    Args:
        thorough: decode every sample; otherwise read the headers only
        threads: files that are read at a time; 0 takes four a core for headers, one a core for decoding
        on_file: called after each file; may raise to stop
    """
    clips_of: dict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        clips_of[clip.file].append(clip)
    files = [file for file in clips_of if not is_missing(file)]
    read: Callable[[Path], Content] = partial(_decoded, clips_of) if thorough else _from_header
    pool = ThreadPoolExecutor(threads or (os.cpu_count() or 1) * (1 if thorough else 4))
    contents = {}
    try:
        for file, content in zip(files, pool.map(read, files), strict=True):
            contents[file] = content
            on_file(file)
    finally:
        pool.shutdown(cancel_futures=True)
    return contents


def is_silent(signal: npt.NDArray[np.float32]) -> bool:
    """Whether a signal [samples] holds no sound: no samples, or all within `SILENT` of their middle."""
    return not signal.size or float(signal.max() - signal.min()) <= 2 * SILENT


def _from_header(file: Path) -> Content:
    """The content as the header states it; a file whose header states no duration is decoded."""
    try:
        stated = stated_duration(file)
        if stated is not None:
            return Content(stated)
        recording = audio.open_recording(file)
        for _ in recording:
            pass
        return Content(float(recording.duration))
    except AudioError as error:
        return Content(corrupt=str(error))


def _decoded(clips_of: Mapping[Path, Sequence[Clip]], file: Path) -> Content:
    """Every sample of a file, and each of its clips as a training reads it."""
    clips = clips_of[file]
    sounds = [_Sound() for _ in clips]
    whole = [sound for sound, clip in zip(sounds, clips, strict=True) if clip.is_whole]
    try:
        recording = audio.open_recording(file)
        for block in recording:
            for sound in whole:
                sound.add(block)
        for sound, clip in zip(sounds, clips, strict=True):
            if not clip.is_whole:
                sound.add(read_stretch(file, clip.start, clip.end))
    except AudioError as error:
        return Content(corrupt=str(error))
    if recording.damaged:
        return Content(corrupt=f"{recording.damaged} packets of {file} cannot be decoded; expected a whole recording.")
    duration = float(recording.duration)
    missing = (recording.expected_duration or 0.0) - duration
    return Content(duration, "", missing, [one.silent for one in sounds], [one.digest.digest() for one in sounds])


class _Sound:
    """The range and the digest of samples that come in parts."""

    def __init__(self) -> None:
        self._lowest, self._highest = math.inf, -math.inf
        self.digest = hashlib.blake2b(digest_size=16)

    def add(self, part: npt.NDArray[np.float32]) -> None:
        if part.size:
            self._lowest, self._highest = min(self._lowest, float(part.min())), max(self._highest, float(part.max()))
            self.digest.update(part.tobytes())

    @property
    def silent(self) -> bool:
        return self._highest - self._lowest < 2 * SILENT
