"""The signals of all clips in memory, decoded once and kept for the next run."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v.audio.excerpts import read_stretch
from emow2v.corpora.clip import Clip, is_missing
from emow2v.corpora.contents import is_silent
from emow2v.errors import AudioError, FormatError
from emow2v.storage.files import StagedFiles


@dataclass(frozen=True)
class Signals:
    """The signals of clips, end to end, as 16 bit at 16 kHz (an hour takes 115 MB).

    Attributes:
        samples: int16 of all clips
        offsets: int64 [clips + 1], the sample at which each clip begins, and the end of the last
        faults: of each clip the sentence why it cannot be used, "" where it can
    """

    samples: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int64]
    faults: tuple[str, ...]

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        """The signal of a clip, float32 [samples]."""
        samples: npt.NDArray[np.float32] = self._of(index).astype(np.float32)
        return samples * np.float32(1 / 32768)

    def digest(self, index: int) -> str:
        """The SHA-256 of a clip's samples: the same for the same sound under two names."""
        return hashlib.sha256(self._of(index).tobytes()).hexdigest()

    def usable(self, clips: Sequence[Clip]) -> tuple[list[Clip], Signals]:
        """The clips that can be used, and their signals."""
        if not any(self.faults):
            return list(clips), self
        indices = [index for index, fault in enumerate(self.faults) if not fault]
        return [clips[index] for index in indices], _joined([self._of(index) for index in indices])

    def _of(self, index: int) -> npt.NDArray[np.int16]:
        return self.samples[self.offsets[index] : self.offsets[index + 1]]


def _joined(parts: Sequence[npt.NDArray[np.int16]], faults: Sequence[str] = ()) -> Signals:
    offsets = np.concatenate([[0], np.cumsum([part.size for part in parts])]).astype(np.int64)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Signals(samples, offsets, tuple(faults) or ("",) * len(parts))


def decode(
    clips: Sequence[Clip], cache: Path | None = None, on_clip: Callable[[Clip], None] = lambda clip: None
) -> Signals:
    """Decode every clip, or read what an earlier run decoded.

    Args:
        cache: file (.npz) of the decoded signals, which is read, or else written; None for none
        on_clip: called after each clip that was decoded; may raise to stop

    Raises:
        FormatError: files that do not exist, or the cache cannot be written
    """
    names = np.array([_name(clip) for clip in clips])
    if cache and (cached := _cached(cache, names)):
        return cached
    missing = [clip.file for clip in clips if is_missing(clip.file)]
    if missing:
        raise FormatError(
            f"{len(missing)} of {len(clips)} files do not exist, such as {missing[0]}; expected every file of the "
            "manifest."
        )
    parts, faults = [], []
    pool = ThreadPoolExecutor(2)
    try:
        for clip, (part, fault) in zip(clips, pool.map(_decoded, clips), strict=True):
            parts.append(part)
            faults.append(fault)
            on_clip(clip)
    finally:
        pool.shutdown(cancel_futures=True)
    signals = _joined(parts, faults)
    if cache:
        with StagedFiles(overwrite=True) as staged:
            np.savez(
                staged.open(cache),
                names=names,
                samples=signals.samples,
                offsets=signals.offsets,
                why=np.array(signals.faults, np.str_),
            )
    return signals


def _name(clip: Clip) -> str:
    """What tells clips apart in a cache."""
    return str(clip.file) if clip.is_whole else f"{clip.file} from {clip.start} to {clip.end}"


def _decoded(clip: Clip) -> tuple[npt.NDArray[np.int16], str]:
    """The samples of a clip, and the sentence why it cannot be used, or ""."""
    try:
        signal = read_stretch(clip.file, clip.start, clip.end)
    except AudioError as error:
        return np.zeros(0, np.int16), str(error)
    samples = np.round(np.clip(signal, -1, 32767 / 32768) * 32768).astype(np.int16)
    return samples, f"{clip.file} holds silence." if is_silent(signal) else ""


def _cached(cache: Path, names: npt.NDArray[np.str_]) -> Signals | None:
    """What an earlier run decoded of the same clips."""
    try:
        with np.load(cache) as stored:
            if np.array_equal(stored["names"], names):
                return Signals(stored["samples"], stored["offsets"], tuple(stored["why"].tolist()))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # no cache, cut off, or of another version
        pass
    return None
