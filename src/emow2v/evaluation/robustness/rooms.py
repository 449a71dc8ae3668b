"""Measured rooms: impulse responses of the user, and how long they reverberate (no response is shipped)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emow2v import storage
from emow2v.audio.excerpts import read_stretch
from emow2v.errors import AudioError, FormatError
from emow2v.evaluation.robustness.transmission import as_loud, library
from emow2v.framing import SAMPLING_RATE, Signal
from emow2v.inputs.expand import expand

DECAYS_S = (0.1, 1.2)  # of rooms, for 60 dB; below are filters, beyond are caves and effects
LONGEST_S = 10  # of a response only so much is read


def decay_s(response: Signal) -> float:
    """Seconds in which the sound of a room falls by 60 dB, from its fall from -5 to -25 dB; 0 where it does not fall so far.

    The energy that is still to come, integrated backwards: Schroeder (1965), New method of measuring reverberation time,
    Journal of the Acoustical Society of America 37.

    Args:
        response: float32 [samples] at 16 kHz, from its direct sound on
    """
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    if not energy.size or energy[0] <= 0:
        return 0.0
    level = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    begin, end = (int(np.argmax(level < limit)) for limit in (-5, -25))
    return 3 * (end - begin) / SAMPLING_RATE if end > begin > 0 else 0.0


def is_room(response: Signal) -> bool:
    """Whether a response, from its direct sound on, decays as that of a room."""
    return DECAYS_S[0] <= decay_s(response) <= DECAYS_S[1]


def none_in(folder: Path) -> FormatError:
    """The error for a folder without responses of rooms."""
    return FormatError(
        f"{storage.shown(folder)} holds no impulse response that decays by 60 dB in {DECAYS_S[0]:g} to {DECAYS_S[1]:g} s; "
        "expected rooms."
    )


def read_responses(folder: Path) -> list[Signal]:
    """Impulse responses of rooms in a folder and below it, float32 [samples] at 16 kHz, from the direct sound on.

    Files that cannot be read and responses of no room are left out. Memory: at most 640 kB for each.

    Raises:
        FormatError: no such folder, or no response of a room there
    """
    found = []
    for one in expand([str(folder)])[0] if storage.is_folder(folder) else ():
        try:
            response = read_stretch(one.path, end=LONGEST_S)
        except AudioError:
            continue
        direct = response[int(np.argmax(np.abs(response))) :] if response.size else response
        if is_room(direct):
            found.append(direct)
    if not found:
        raise none_in(folder)
    return found


def reverberated(signal: Signal, responses: Sequence[Signal], rng: np.random.Generator) -> Signal:
    """The signal in one of the rooms at random, in time with it and as loud.

    Raises:
        Unfit: silence
    """
    response = responses[int(rng.integers(len(responses)))]
    return as_loud(library("scipy.signal").fftconvolve(signal, response)[: signal.size], signal)
