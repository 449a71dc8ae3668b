"""Changes of a recording that should not change its scores, and how often they may.

They follow Derington et al., Testing Correctness, Fairness, and Robustness of Speech Emotion Recognition Models
(arXiv 2312.06270), with the parameters and thresholds of the authors' documentation and public test code
(https://audeering.github.io/ser-tests/method-tests.html, https://github.com/audeering/ser-tests). Where those use
recordings that are not shipped here, or give no number, a comment says what stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from emow2v.evaluation.robustness import noises
from emow2v.evaluation.robustness.noises import Generator, Sound
from emow2v.evaluation.robustness.rooms import read_responses, reverberated
from emow2v.evaluation.robustness.transmission import Codec, Room, Unfit, as_loud, level, library, telephone, tilted
from emow2v.framing import SAMPLING_RATE, Signal

SMALL = "small changes"
BACKGROUND = "background noise"
PHONE = "low quality phone"
CONDITION = "recording condition"
TILT = "spectral tilt"
CODECS = "codecs"
GROUPS = (SMALL, BACKGROUND, PHONE, CONDITION, TILT, CODECS)

Apply = Callable[[Signal, Generator, Sequence[Signal]], Signal]


@dataclass(frozen=True)
class Change:
    """A way to change a signal, and the share of predictions that must stay the same.

    Attributes:
        name, group: as tables write them
        threshold: the test is passed when a larger share of predictions is unchanged
        does: the change in a sentence
        change: (signal, random generator, other signals of the run) to the changed signal
        reference: (signal) to the signal that the changed one is compared with; None for the signal as it is
        sound: "synthetic" or "recorded" where there is a background sound, else ""
        published: whether test and threshold are those of the paper, or ours
    """

    name: str
    group: str
    threshold: float
    does: str
    change: Apply
    reference: Callable[[Signal], Signal] | None = None
    sound: str = ""
    published: bool = True

    def apply(self, signal: Signal, rng: Generator, others: Sequence[Signal] = ()) -> Signal:
        """The changed signal [samples], float32 at 16 kHz; `signal` itself stays as it is.

        Args:
            others: signals of other recordings, for babble

        Raises:
            Unfit: the signal is too short or silent, or the machine lacks the codec
            Emow2vError: a library of the extra is not installed
        """
        return np.ascontiguousarray(self.change(signal, rng, others), np.float32)


def changes(folder: str | Path | None = None, rooms: str | Path | None = None) -> tuple[Change, ...]:
    """All changes, in the order of the tables.

    Args:
        folder: recordings of noises, see `noises.backgrounds`
        rooms: folder of measured impulse responses; None leaves them out

    Raises:
        FormatError: a folder without noises, or without responses of rooms
    """
    measured = () if rooms is None else (_measured(read_responses(Path(rooms))),)
    return (*_small(), *_background(folder), _phone(), *_conditions(), *measured, *_tilts(), *_codecs())


def versions() -> dict[str, str]:
    """Versions of the libraries that make the changes."""
    import av
    import soxr

    installed = {name: str(library(name).__version__) for name in ("pyroomacoustics", "scipy")}
    return installed | {"av": str(av.__version__), "soxr": str(soxr.__version__)}


def _drawn(change: Callable[[Signal, Generator, float], Signal], *values: float) -> Apply:
    """A change by one of these values at random."""
    return lambda signal, rng, others: change(signal, rng, float(rng.choice(values)))


def _fixed(change: Callable[[Signal], Signal]) -> Apply:
    """A change without random choices."""
    return lambda signal, rng, others: change(signal)


def _small() -> Iterator[Change]:
    lengths = (100, 500, 1000)
    for name, does, change in (
        (
            "additive tone",
            "A tone of 5 to 7 kHz, its peak 40, 45 or 50 dB below the signal's.",
            _drawn(_tone, 40, 45, 50),
        ),
        ("append zeros", "100, 500 or 1000 samples of silence after it.", _drawn(_appended, *lengths)),
        ("clip", "The loudest 0.1, 0.2 or 0.3 % of samples clipped.", _drawn(_clipped, 0.001, 0.002, 0.003)),
        ("crop beginning", "Without the first 100, 500 or 1000 samples.", _drawn(_without_beginning, *lengths)),
        ("crop end", "Without the last 100, 500 or 1000 samples.", _drawn(_without_end, *lengths)),
        ("gain", "1 or 2 dB louder or softer.", _drawn(_gain, -2, -1, 1, 2)),
        ("high pass", "First-order Butterworth filter at 50, 100 or 150 Hz.", _drawn(_high_pass, 50, 100, 150)),
        ("low pass", "First-order Butterworth filter at 7500, 7000 or 6500 Hz.", _drawn(_low_pass, 7500, 7000, 6500)),
        ("prepend zeros", "100, 500 or 1000 samples of silence before it.", _drawn(_prepended, *lengths)),
        ("white noise", "Gaussian noise 35, 40 or 45 dB below the signal.", _drawn(_white_noise, 35, 40, 45)),
    ):
        yield Change(name, SMALL, 0.95, does, change)


def _tone(signal: Signal, rng: Generator, below_db: float) -> Signal:
    hertz = rng.integers(5000, 7001)
    peak = np.abs(signal).max() * 10 ** (-below_db / 20)
    tone = peak * np.sin(2 * np.pi * hertz * np.arange(signal.size) / SAMPLING_RATE)
    return np.asarray(signal + tone, np.float32)


def _prepended(signal: Signal, rng: Generator, samples: float) -> Signal:
    return np.pad(signal, (int(samples), 0))


def _appended(signal: Signal, rng: Generator, samples: float) -> Signal:
    return np.pad(signal, (0, int(samples)))


def _without_beginning(signal: Signal, rng: Generator, samples: float) -> Signal:
    if signal.size <= samples:
        raise Unfit("The recording is no longer than the part that is cut off.")
    return signal[int(samples) :]


def _without_end(signal: Signal, rng: Generator, samples: float) -> Signal:
    return _without_beginning(signal[::-1], rng, samples)[::-1]


def _clipped(signal: Signal, rng: Generator, share: float) -> Signal:
    limit = np.quantile(np.abs(signal), 1 - share)
    return np.clip(signal, -limit, limit)


def _gain(signal: Signal, rng: Generator, db: float) -> Signal:
    return np.asarray(signal * 10 ** (db / 20), np.float32)


def _high_pass(signal: Signal, rng: Generator, hertz: float) -> Signal:
    return _filtered(signal, "highpass", hertz)


def _low_pass(signal: Signal, rng: Generator, hertz: float) -> Signal:
    return _filtered(signal, "lowpass", hertz)


def _filtered(signal: Signal, kind: str, hertz: float) -> Signal:
    """By a first-order Butterworth filter, 6 dB an octave."""
    filters = library("scipy.signal")
    return np.asarray(
        filters.sosfilt(filters.butter(1, hertz, kind, fs=SAMPLING_RATE, output="sos"), signal), np.float32
    )


def _white_noise(signal: Signal, rng: Generator, snr_db: float) -> Signal:
    noise = rng.standard_normal(signal.size) * level(signal) * 10 ** (-snr_db / 20)
    return np.asarray(signal + noise, np.float32)


def _background(folder: str | Path | None) -> Iterator[Change]:
    sounds = noises.backgrounds(folder)
    for kind, snr_db, does in (
        ("babble", 20, "4 to 7 voices talk 20 dB below the signal."),
        ("coughs", 10, "Somebody coughs once, 10 dB below the whole signal."),
        ("environment", 20, "Noises of a place, 20 dB below the signal."),
        ("music", 20, "Music 20 dB below the signal."),
        ("sneezes", 10, "Somebody sneezes once, 10 dB below the whole signal."),
    ):
        if kind in sounds:
            sound = "recorded" if sounds[kind].recorded else "synthetic"
            yield Change(kind, BACKGROUND, 0.9, does, _with_sound(sounds[kind].sound, snr_db), sound=sound)
        else:  # no recordings of voices: other files of the run are the voices
            yield Change(kind, BACKGROUND, 0.9, does, partial(_with_others, snr_db), sound="recorded")
    louder = _drawn(lambda signal, rng, snr_db: as_loud(_white_noise(signal, rng, snr_db), signal), 20)
    yield Change("white noise", BACKGROUND, 0.9, "Gaussian noise 20 dB below the signal.", louder, sound="synthetic")


def _with_sound(sound: Sound, snr_db: float) -> Apply:
    return lambda signal, rng, others: mix(signal, sound(rng, signal.size), snr_db)


def _with_others(snr_db: float, signal: Signal, rng: Generator, others: Sequence[Signal]) -> Signal:
    if not others:
        raise Unfit("Babble is made of other recordings; expected two or more, or a folder of noises with some.")
    return mix(signal, noises.babble(rng, signal.size, partial(noises.one_of, others)), snr_db)


def mix(signal: Signal, noise: Signal, snr_db: float) -> Signal:
    """Signal and noise [samples] together, as loud as the signal alone.

    Args:
        snr_db: level of the signal over the noise's, of all samples

    Raises:
        Unfit: one of the two is silent
    """
    return as_loud(signal + noise * np.float32(level(signal) / level(noise) * 10 ** (-snr_db / 20)), signal)


def _phone() -> Change:
    does = "Overdriven, coded by AMR narrow band at 7.4 kbit/s, with hiss above 3 kHz."
    return Change("AMR telephone", PHONE, 0.5, does, lambda signal, rng, others: telephone(signal, rng))


# The published test takes responses measured in four rooms of the Aachen Impulse Response database (Jeub et al. 2009).
# Boxes of the same kinds stand in for them, not those rooms: size and absorption, and metres to the microphone, are
# chosen here; behind each the reverberation time that comes of it.
BOOTH = Room((3.0, 1.8, 2.2), 0.50), 1.5  # 0.1 s
ROOMS = (
    (Room((10.8, 10.9, 3.15), 0.30), 2.25),  # a lecture room, 0.8 s
    (Room((8.0, 5.0, 3.1), 0.54), 1.9),  # a meeting room, 0.2 s
    (Room((5.0, 6.4, 2.9), 0.30), 2.0),  # an office, 0.4 s
)
# Likewise for nine positions, which the published test takes from the database MARDY (Wen et al. 2006): 1 to 3 m away,
# left, ahead and right. The room, which reverberates for 0.3 to 0.4 s, and the 30 degrees are chosen here.
HALL = Room((7.0, 5.0, 3.0), 0.36)
AHEAD = (1.0, 0.0)
POSITIONS = tuple((metres, degrees) for metres in (1.0, 2.0, 3.0) for degrees in (-30.0, 0.0, 30.0))


def _conditions() -> Iterator[Change]:
    elsewhere = [position for position in POSITIONS if position != AHEAD]

    def moved(signal: Signal, rng: Generator, others: Sequence[Signal]) -> Signal:
        return HALL.reverberated(signal, *elsewhere[rng.integers(len(elsewhere))])

    def another_room(signal: Signal, rng: Generator, others: Sequence[Signal]) -> Signal:
        room, metres = ROOMS[rng.integers(len(ROOMS))]
        return room.reverberated(signal, metres)

    booth, distance = BOOTH
    yield Change(
        "simulated position",
        CONDITION,
        0.8,
        "In one room 1 to 3 m away, also to the side, against 1 m straight ahead.",
        moved,
        reference=lambda signal: HALL.reverberated(signal, *AHEAD),
    )
    yield Change(
        "simulated room",
        CONDITION,
        0.8,
        "In a lecture room, a meeting room or an office, against a recording booth.",
        another_room,
        reference=lambda signal: booth.reverberated(signal, distance),
    )


def _measured(responses: Sequence[Signal]) -> Change:
    # no part of the paper in this form: it compares with a measured booth, which a folder of the user need not have
    does = "In a measured room, against the recording as it is."
    return Change(
        "measured room", CONDITION, 0.8, does, lambda signal, rng, others: reverberated(signal, responses, rng),
        published=False,
    )  # fmt: skip


def _tilts() -> Iterator[Change]:
    # the published filters are linear over frequency and shown on an axis of 30 dB; how steep they are is not said
    for name, rise_db, does in (
        ("downward tilt", -20, "The spectrum falls by 20 dB from 0 to 8 kHz."),
        ("upward tilt", 20, "The spectrum rises by 20 dB from 0 to 8 kHz."),
    ):
        yield Change(name, TILT, 0.8, does, _fixed(partial(tilted, rise_db=rise_db)))


def _codecs() -> Iterator[Change]:
    # no part of the paper: the threshold is that of background noise, and of the recording condition for half the band
    for name, threshold, does, codec in (
        ("AAC", 0.9, "AAC at 32 kbit/s.", Codec("aac", "ipod", 32000)),
        ("G.711", 0.8, "A telephone line: 8 kHz, mu-law.", Codec("pcm_mulaw", "wav", 0, 8000)),
        ("MP3", 0.9, "MP3 at 32 kbit/s.", Codec("libmp3lame", "mp3", 32000)),
        ("Opus", 0.9, "Opus at 16 kbit/s.", Codec("libopus", "ogg", 16000)),
    ):
        yield Change(name, CODECS, threshold, does, _fixed(codec.coded), published=False)
