"""Background sounds: recordings of the user, or synthetic ones made of noise and tones (no sound is shipped)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.audio.excerpts import read_stretch
from emow2v.errors import AudioError, FormatError
from emow2v.framing import SAMPLING_RATE, Signal
from emow2v.inputs.expand import expand

KINDS = ("babble", "coughs", "environment", "music", "sneezes")  # the names of a folder's sub-folders
LONGEST_S = 300  # of a recording of noise only so much is read

Generator = np.random.Generator
# A sound of so many samples, another one at each call
Sound = Callable[[Generator, int], Signal]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Background:
    """A kind of sound to mix with speech; `recorded` says whether the user's recordings are used."""

    sound: Sound
    recorded: bool


def backgrounds(folder: str | Path | None = None) -> Mapping[str, Background]:
    """Sounds by kind (`KINDS`). Babble is among them only where it is recorded; otherwise it is made of other files.

    Args:
        folder: with sub-folders named as `KINDS`; a kind without a sub-folder is synthetic

    Raises:
        FormatError: no such folder, or none of the sub-folders holds a recording
    """
    sounds = {
        "coughs": Background(partial(_once, cough), False),
        "environment": Background(environment, False),
        "music": Background(music, False),
        "sneezes": Background(partial(_once, sneeze), False),
    }
    if folder is None:
        return sounds
    recordings = {kind: files for kind in KINDS if (files := _recordings(Path(folder) / kind))}
    if not recordings:
        raise FormatError(f"{folder} holds no noises; expected recordings in folders {', '.join(KINDS)} below it.")
    for kind, files in recordings.items():
        stretches = partial(_stretch_of_one, files)
        if kind == "babble":
            sounds[kind] = Background(partial(babble, voice=stretches), True)
        elif kind in ("coughs", "sneezes"):
            sounds[kind] = Background(partial(_once, partial(_one, files)), True)
        else:
            sounds[kind] = Background(stretches, True)
    return sounds


def beginning(
    path: str | Path, seconds: float, notice: Callable[[Sequence[str]], object] = lambda sentences: None
) -> tuple[Signal, bool]:
    """The first seconds of a recording at 16 kHz, and whether it goes on after them; no more is decoded.

    Args:
        notice: called with sentences about missing or unusual parts of it

    Raises:
        AudioError: nothing there that can be decoded
    """
    samples = round(seconds * SAMPLING_RATE)
    signal = read_stretch(
        path, end=(samples + 1) / SAMPLING_RATE, notice=notice
    )  # one more, to see whether there is one
    return signal[:samples], signal.size > samples


def babble(rng: Generator, samples: int, voice: Sound) -> Signal:
    """Four to seven voices at once, up to 7 dB apart."""
    voices = [voice(rng, samples) * 10 ** (-rng.integers(13, 21) / 20) for _ in range(rng.integers(4, 8))]
    return np.asarray(np.sum(voices, axis=0), np.float32)


def one_of(signals: Sequence[Signal], rng: Generator, samples: int) -> Signal:
    """A stretch of one of the signals, both at random."""
    return _stretch(signals[int(rng.integers(len(signals)))], rng, samples)


def coloured(rng: Generator, samples: int, exponent: float) -> _Floats:
    """Noise whose power falls as 1 / frequency^exponent above 20 Hz: 0 is white, 1 pink, 2 brown; its peak is 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLING_RATE), 20)
    noise: _Floats = np.fft.irfft(spectrum * hertz ** (-exponent / 2), n=samples)
    noise /= max(float(np.abs(noise).max()), 1e-12)
    return noise


def cough(rng: Generator) -> Signal:
    """A burst of air, its rushing end and a last voiced sound, in 0.3 to 0.5 s."""
    seconds = _seconds(rng.uniform(0.3, 0.5))
    air = np.exp(-seconds / 0.02) + 0.4 * np.exp(-seconds / 0.12)
    voiced = np.exp(-(((seconds / seconds[-1] - 0.75) / 0.15) ** 2))
    pitch = rng.uniform(120, 280)
    voice = sum(np.sin(2 * np.pi * pitch * k * seconds) / k for k in (1, 2, 3, 4))
    sound = air * coloured(rng, seconds.size, 0.7) + 0.15 * voiced * voice
    return _faded(sound)


def sneeze(rng: Generator) -> Signal:
    """Air inhaled for 0.3 to 0.6 s, then exhaled at once, brighter than a cough."""
    inhaled = _seconds(rng.uniform(0.3, 0.6))
    inwards = 0.1 * (inhaled / inhaled[-1]) ** 2 * coloured(rng, inhaled.size, 0.5)
    exhaled = _seconds(rng.uniform(0.25, 0.4))
    outwards = np.exp(-exhaled / 0.1) * coloured(rng, exhaled.size, 0.0)
    return _faded(np.concatenate([inwards, outwards]))


def music(rng: Generator, samples: int) -> Signal:
    """Major and minor chords of plucked tones, one after the other at a steady pace."""
    beat = int(rng.uniform(0.35, 0.8) * SAMPLING_RATE)
    seconds = np.arange(4 * beat) / SAMPLING_RATE
    envelope = np.minimum(seconds / 0.01, 1) * np.exp(-seconds / rng.uniform(0.3, 0.9))
    tonic = rng.uniform(110, 220)
    sound = np.zeros(samples + 4 * beat)
    for begin in range(0, samples, beat):
        root = rng.choice((0, 2, 4, 5, 7, 9))  # semitones of a major scale
        third = 4 if root in (0, 5, 7) else 3
        for semitone in (root - 12, root, root + third, root + 7):
            hertz = tonic * 2 ** (semitone / 12)
            for partial_tone in range(1, 6):
                tone = np.sin(2 * np.pi * hertz * partial_tone * seconds) / partial_tone**1.5
                sound[begin : begin + seconds.size] += envelope * tone
    return sound[:samples].astype(np.float32)


def environment(rng: Generator, samples: int) -> Signal:
    """Wind, rain or traffic: noise of a random colour that swells and fades, with a knock here and there."""
    swell = np.cumsum(rng.standard_normal(samples // 1600 + 2))  # a step every 0.1 s
    swell = (swell - swell.min()) / max(np.ptp(swell), 1e-12)
    loudness = 0.3 + 0.7 * np.interp(np.arange(samples) / 1600, np.arange(swell.size), swell)
    sound = loudness * coloured(rng, samples, rng.uniform(0.3, 1.8))
    for begin in np.flatnonzero(rng.random(samples) < 0.7 / SAMPLING_RATE):  # 0.7 a second on average
        knock = _seconds(0.05)[: samples - begin]
        hertz = rng.uniform(150, 1500)
        sound[begin : begin + knock.size] += 0.5 * np.exp(-knock / 0.01) * np.sin(2 * np.pi * hertz * knock)
    return np.asarray(sound, np.float32)


def _recordings(folder: Path) -> tuple[Path, ...]:
    """Recordings in a folder and below it; none where there is no such folder."""
    if not storage.is_folder(folder):
        return ()
    return tuple(Path(one.path) for one in expand([str(folder)])[0])


def _one(files: Sequence[Path], rng: Generator) -> Signal:
    """One of the recordings at random; one that cannot be read or is silent is skipped."""
    for number in rng.permutation(len(files)):
        try:
            signal, _ = beginning(files[number], LONGEST_S)
        except AudioError:
            continue
        if signal.any():
            return signal
    raise AudioError(f"{files[0].parent} holds no sound that can be read; expected recordings that are not silent.")


def _stretch_of_one(files: Sequence[Path], rng: Generator, samples: int) -> Signal:
    return _stretch(_one(files, rng), rng, samples)


def _stretch(signal: Signal, rng: Generator, samples: int) -> Signal:
    """So many samples of a signal from a random place on, again from its beginning where it ends."""
    return np.resize(np.roll(signal, -int(rng.integers(signal.size))), samples)


def _once(sound: Callable[[Generator], Signal], rng: Generator, samples: int) -> Signal:
    """A sound at a random place in silence, as much of it as fits."""
    event = sound(rng)[:samples]
    silence = np.zeros(samples, np.float32)
    begin = int(rng.integers(samples - event.size + 1))
    silence[begin : begin + event.size] = event
    return silence


def _seconds(duration: float) -> _Floats:
    return np.arange(round(duration * SAMPLING_RATE)) / SAMPLING_RATE


def _faded(sound: _Floats) -> Signal:
    """No click at either end: 2 ms up and 20 ms down."""
    up, down = SAMPLING_RATE // 500, SAMPLING_RATE // 50
    gain = np.minimum(np.arange(sound.size) / up, 1) * np.minimum(np.arange(sound.size)[::-1] / down, 1)
    return (gain * sound).astype(np.float32)
