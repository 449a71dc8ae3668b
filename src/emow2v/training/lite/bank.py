"""Recorded noises and measured rooms, from which the changes of training speech draw."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emow2v.audio.excerpts import read_stretch
from emow2v.errors import AudioError, FormatError
from emow2v.evaluation.robustness.rooms import is_room, none_in
from emow2v.framing import SAMPLING_RATE
from emow2v.speech.activity import probabilities

DIRECT = SAMPLING_RATE * 25 // 10_000  # samples about the peak of an impulse response that are the direct sound: 2.5 ms
SPOKEN = 0.5  # probability of speech above which a frame of 32 ms holds some


class Bank:
    """Recordings, of which any stretch can be drawn.

    Attributes:
        digest: SHA-256 of the recordings

    Args:
        recordings: float32 [samples] each
        from_start: whether a stretch begins with its recording
    """

    def __init__(self, recordings: list[npt.NDArray[np.float32]], *, from_start: bool = False) -> None:
        self._recordings, self._from_start = recordings, from_start
        self.digest = hashlib.sha256(b"".join(one.tobytes() for one in recordings)).hexdigest()

    def __len__(self) -> int:
        return len(self._recordings)

    def without_speech(self) -> Bank:
        """The recordings in which the detector of speech hears nobody.

        Raises:
            FormatError: somebody speaks in all of them
        """
        quiet = [one for one in self._recordings if float(probabilities([one]).max(initial=0.0)) <= SPOKEN]
        if not quiet:
            raise FormatError(f"Somebody speaks in all of {len(self)} recorded noises; expected some without speech.")
        return Bank(quiet, from_start=self._from_start)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> Tensor:
        """Stretches [batch, samples] of random recordings; one that is too short is repeated, or has zeros behind it where
        stretches begin with their recording."""
        numbers = torch.rand(batch, 2, generator=generator, device=generator.device).tolist()
        rows = [self._stretch(samples, which, where) for which, where in numbers]
        return torch.from_numpy(np.stack(rows)).to(generator.device)

    def _stretch(self, samples: int, which: float, where: float) -> npt.NDArray[np.float32]:
        recording = self._recordings[int(which * len(self._recordings))]
        if self._from_start:
            return np.pad(recording[:samples], (0, max(0, samples - recording.size)))
        if recording.size <= samples:
            return np.resize(np.roll(recording, -int(where * recording.size)), samples)
        begin = int(where * (recording.size - samples + 1))
        return recording[begin : begin + samples]


def read_noises(folder: Path) -> Bank:
    """All recordings below a folder.

    Raises:
        FormatError: no recordings there, or one that cannot be read
    """
    return Bank([signal for signal in _read(folder) if np.any(signal)])


def read_rooms(folder: Path) -> Bank:
    """What follows the direct sound in each impulse response below a folder whose decay is that of a room.

    Raises:
        FormatError: no such impulse response there, or a file that cannot be read
    """
    tails = []
    for response in _read(folder):
        peak = int(np.argmax(np.abs(response)))
        if is_room(response[peak:]):
            tail = response[peak:].copy()
            tail[:DIRECT] = 0
            tails.append(tail)
    if not tails:
        raise none_in(folder)
    return Bank(tails, from_start=True)


def _read(folder: Path) -> list[npt.NDArray[np.float32]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise FormatError(f"{folder} holds no files; expected recordings.")
    try:
        return [read_stretch(file) for file in files]
    except AudioError as error:
        raise FormatError(f"{error} Remove the file from {folder}, or mend it.") from None
