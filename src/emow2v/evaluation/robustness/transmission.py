"""The way of sound from a speaker to a file: room, colour of the microphone, telephone, codec."""

from __future__ import annotations

import contextlib
import importlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.agreement import Floats as Floats
from emow2v.audio import recording as audio
from emow2v.errors import AudioError, Emow2vError
from emow2v.evaluation.intervals import missing
from emow2v.evaluation.robustness.noises import Generator, coloured
from emow2v.framing import SAMPLING_RATE, Signal

_SINGLE = np.finfo(np.float32).tiny  # the smallest level that float32 can hold


class Unfit(Emow2vError):
    """A change cannot be made of this signal, or not on this machine; the sentence says why."""


def library(name: str) -> Any:
    """A module of the extra `evaluate`; it may take a second or two to import, so it is imported where it is used.

    Raises:
        Emow2vError: it is not installed
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise missing() from None


def level(signal: Floats) -> float:
    """Root mean square.

    Raises:
        Unfit: silence
    """
    rms = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))) if signal.size else 0.0
    if rms < _SINGLE:
        raise Unfit("Silence has no level to keep or to compare with; expected a sound.")
    return rms


def as_loud(changed: Floats, signal: Signal) -> Signal:
    """A changed signal at the level of the signal before, or as near to it as is possible without clipping.

    Raises:
        Unfit: one of the two is silent
    """
    changed = changed * (level(signal) / level(changed))
    highest = max(1.0, float(np.abs(signal).max()))
    return np.asarray(changed * min(1.0, highest / float(np.abs(changed).max())), np.float32)


# --- codecs and the telephone ---


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg and the container that goes with it.

    Attributes:
        bit_rate: bits a second; 0 where the codec has only one
        sampling_rate: Hz that it works at
        delay: samples at its own rate by which the decoder is late, where the container does not say so
    """

    encoder: str
    container: str
    bit_rate: int = 0
    sampling_rate: int = SAMPLING_RATE
    delay: int = 0

    def coded(self, signal: Signal) -> Signal:
        """The signal coded and decoded in memory: as long as before, and in time with it.

        Raises:
            Unfit: this build of FFmpeg has no such encoder, or the signal is too short for it
        """
        encoded = self._encoded(_resampled(np.clip(signal, -1, 1), SAMPLING_RATE, self.sampling_rate))
        try:
            decoded, _ = audio.read(encoded, target_rate=self.sampling_rate)
        except AudioError:  # too few samples for a packet
            raise Unfit(f"Nothing comes back from {self.encoder}; expected a longer signal.") from None
        decoded = _resampled(decoded[self.delay :], self.sampling_rate, SAMPLING_RATE)
        return np.pad(decoded, (0, max(0, signal.size - decoded.size)))[: signal.size]

    def _encoded(self, signal: Signal) -> io.BytesIO:
        import av

        file = io.BytesIO()
        try:
            with av.open(file, "w", format=self.container) as container:
                stream: Any = container.add_stream(self.encoder, rate=self.sampling_rate, layout="mono")
                if self.bit_rate:
                    stream.bit_rate = self.bit_rate
                container.mux([*stream.encode(_frame(signal, self.sampling_rate)), *stream.encode(None)])
        except (av.error.FFmpegError, ValueError) as error:
            advice = "; PyAV 18 can: pip install 'av<19'" if self is AMR else ""
            raise Unfit(f"PyAV's FFmpeg cannot encode with {self.encoder} ({error}){advice}.") from None
        file.seek(0)
        return file


AMR = Codec("libopencore_amrnb", "amr", 7400, 8000, delay=40)  # the encoder looks 5 ms ahead


def telephone(signal: Signal, rng: Generator) -> Signal:
    """Overdriven, coded by AMR narrow band, with hiss in the empty band above 3 kHz; as loud as before.

    Raises:
        Unfit: silence, or no such codec
    """
    level(signal)
    coded = AMR.coded(_overdriven(signal / np.abs(signal).max()))
    level(coded)
    high_pass = library("scipy.signal").butter(2, 3000, "highpass", fs=SAMPLING_RATE, output="sos")
    # the documentation's -25 dB, taken as those of pink noise that fills -1..1, under speech that does
    hiss = library("scipy.signal").sosfilt(high_pass, 10 ** (-25 / 20) * coloured(rng, signal.size, 1))
    return as_loud(coded / np.abs(coded).max() + hiss, signal)


def _overdriven(signal: Signal) -> Signal:
    """What is x dB over -20 dB gets x / 0.8 dB over it (attack 10 ms, release 20 ms); the result is clipped.

    The documentation calls this a compressor. Its ratio is 0.8, and in auglib, which the authors take, the higher the
    ratio the stronger the reduction: below 1 it is none.
    """
    from av import error
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(format="flt", sample_rate=SAMPLING_RATE, layout="mono")
    curve = graph.add("compand", "attacks=0.01:decays=0.02:points=-90/-90|-20/-20|0/5:soft-knee=4")
    sink: Any = graph.add("abuffersink")
    source.link_to(curve)
    curve.link_to(sink)
    graph.configure()
    source.push(_frame(signal, SAMPLING_RATE))
    source.push(None)
    pieces: list[Floats] = []
    with contextlib.suppress(error.BlockingIOError, error.EOFError):
        while True:
            pieces.append(sink.pull().to_ndarray()[0])
    return np.asarray(np.clip(np.concatenate(pieces), -1, 1), np.float32)


def _frame(signal: Signal, rate: int) -> Any:
    from av import AudioFrame

    frame = AudioFrame.from_ndarray(np.ascontiguousarray(signal[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = rate
    frame.pts = 0
    return frame


def _resampled(signal: Signal, rate: int, to: int) -> Signal:
    import soxr

    resampled: Signal = signal if rate == to else soxr.resample(signal, rate, to)
    return resampled


# --- rooms ---


@dataclass(frozen=True)
class Room:
    """A box, in metres, and the share of a sound's energy that its walls take."""

    size: tuple[float, float, float]
    absorption: float

    def reverberated(self, signal: Signal, metres: float, degrees: float = 0.0) -> Signal:
        """The signal at a microphone so far away and so far to the side, in time with it, its peak at full scale.

        Raises:
            Unfit: silence
        """
        response, delay = response_of(self, metres, degrees)
        changed = library("scipy.signal").fftconvolve(signal, response)[delay : delay + signal.size]
        level(changed)
        return np.asarray(changed / np.abs(changed).max(), np.float32)


@lru_cache
def response_of(room: Room, metres: float, degrees: float) -> tuple[npt.NDArray[np.float64], int]:
    """Impulse response by image sources, and the samples until the direct sound arrives."""
    pyroomacoustics = library("pyroomacoustics")
    length, width, _ = room.size
    microphone = np.array([0.2 * length, 0.46 * width, 1.2])  # off the axis, where reflections do not coincide
    angle = np.radians(degrees)
    source = microphone + np.array([metres * np.cos(angle), metres * np.sin(angle), 0.3])
    walls = pyroomacoustics.Material(room.absorption)
    simulated = pyroomacoustics.ShoeBox(room.size, fs=SAMPLING_RATE, materials=walls, max_order=40)
    simulated.add_source(source)
    simulated.add_microphone(microphone)
    simulated.compute_rir()
    travel = round(float(np.linalg.norm(source - microphone)) / simulated.c * SAMPLING_RATE)
    return simulated.rir[0][0], travel + pyroomacoustics.constants.get("frac_delay_length") // 2


# --- colour ---


def tilted(signal: Signal, rise_db: float) -> Signal:
    """A gain in dB that rises linearly over frequency by so much up to 8 kHz; as loud as before.

    Raises:
        Unfit: silence
    """
    return as_loud(library("scipy.signal").fftconvolve(signal, _tilting(rise_db), mode="same"), signal)


@lru_cache
def _tilting(rise_db: float) -> npt.NDArray[np.float64]:
    """1023 taps, symmetric, so that nothing moves in time."""
    share = np.linspace(0, 1, 65)
    taps: npt.NDArray[np.float64] = library("scipy.signal").firwin2(1023, share, 10 ** (rise_db * (share - 0.5) / 20))
    return taps
