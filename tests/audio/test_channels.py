"""What training and evaluation hear of a stretch is what `predict` hears there, whatever the container makes of a seek.

`predict` reads from the beginning and its engine is listened to; the loader, the check and evaluation jump to the stretch.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.corpora import contents
from emow2v.corpora.clip import Clip
from emow2v.corpora.read import load
from emow2v.evaluation.evaluate import _signal
from emow2v.framing import Framing
from emow2v.model import Model

RATE = 16000
SECONDS = 70
STRETCHES = [(60.0, 64.0), (3.0, 5.0), (41.0, 42.0)]


class Listening:
    """An engine that keeps what it is given."""

    name, precision, parallel_batches, batch_samples = "listening", "fp32", 1, None

    def __init__(self) -> None:
        self.windows: list[np.ndarray] = []

    def run(self, signal: np.ndarray, lengths: np.ndarray | None = None):
        self.windows += list(signal.copy())
        return np.zeros((len(signal), 1024), np.float32), np.zeros((len(signal), 3), np.float32), None

    run_parallel = run


def sound(seconds: float, rate: int = RATE) -> np.ndarray:
    """A sweep with clicks: every place sounds like no other."""
    times = np.arange(round(seconds * rate)) / rate
    signal = 0.3 * np.sin(2 * np.pi * (200 * times + 8 * times**2))
    signal[:: rate // 3] += 0.4
    return signal.astype(np.float32)


def plain(path: Path) -> None:
    soundfile.write(path, sound(SECONDS), RATE)


def adpcm(path: Path) -> None:
    soundfile.write(path, sound(SECONDS), RATE, subtype="IMA_ADPCM")


def chained(path: Path) -> None:
    """Two Ogg streams in one file, as internet radio and cutting tools write them."""
    parts = []
    for begin, end in ((0, 40), (40, SECONDS)):
        soundfile.write(path, sound(SECONDS)[begin * RATE : end * RATE], RATE, format="OGG", subtype="VORBIS")
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))


def wrong_byte_rate(path: Path) -> None:
    """PCM whose header states twice the bytes a second."""
    plain(path)
    data = bytearray(path.read_bytes())
    data[28:32] = struct.pack("<I", 4 * RATE)
    path.write_bytes(data)


def no_byte_rate(path: Path) -> None:
    plain(path)
    data = bytearray(path.read_bytes())
    data[28:32] = struct.pack("<I", 0)
    path.write_bytes(data)


def mu_law(path: Path) -> None:
    soundfile.write(path, sound(SECONDS, 8000), 8000, subtype="ULAW")


KINDS: dict[str, Callable[[Path], None]] = {
    "plain.wav": plain, "plain.flac": plain, "44k.flac": lambda path: soundfile.write(path, sound(SECONDS, 44100), 44100),
    "ima.wav": adpcm, "chained.ogg": chained, "byte rate.wav": wrong_byte_rate, "no byte rate.wav": no_byte_rate,
    "mu law.wav": mu_law, "stream.mp3": plain, "vorbis.ogg": plain, "plain.aiff": plain,
    "opus.opus": lambda path: soundfile.write(path, sound(SECONDS), RATE, format="OGG", subtype="OPUS"),
}  # fmt: skip


@pytest.fixture(params=list(KINDS))
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    try:
        KINDS[request.param](path)
    except (ValueError, soundfile.LibsndfileError):
        pytest.skip("this libsndfile does not write it")
    return path


def heard(lite: Model, path: Path) -> np.ndarray:
    """Every sample that the engine is given, second by second, by a prediction over the whole recording."""
    engine = Listening()
    model = Model(dataclasses.replace(lite.card, name="listening"), engine)  # type: ignore[arg-type]
    model.predict(path, framing=Framing(frame_step_ms=1000, left_context_ms=0)).scores  # noqa: B018
    return np.concatenate(engine.windows)


def test_training_and_evaluation_hear_what_predict_hears(lite: Model, recording: Path) -> None:
    whole = heard(lite, recording)
    assert whole.size >= 65 * RATE
    clips = [Clip(recording, recording.name, start, end) for start, end in STRETCHES]
    for clip in clips:
        expected = whole[round(clip.start * RATE) : round(clip.end * RATE)]
        for signal in (load(clip), _signal(clip)):
            assert signal.size == expected.size
            np.testing.assert_allclose(signal, expected, atol=2e-3)
    # the check hears by the loader: its digests are those of what the loader gives
    found = contents._decoded({recording: clips}, recording)
    assert not found.corrupt
    for clip, digest in zip(clips, found.digests, strict=True):
        alone = contents._Sound()
        alone.add(load(clip))
        assert alone.digest.digest() == digest
