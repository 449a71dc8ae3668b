"""The sound of a recording is told from another by its samples, as far as they were read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.archive.content import Content, is_same
from emow2v.audio.recording import open_recording
from emow2v.model import Model

RATE = 16000


def write(path: Path, signal: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, signal, rate, subtype="FLOAT")
    return path


@pytest.fixture
def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)


def read(path: Path, seconds: float = 1e9, **options: object) -> str:
    """The content of a pass that ends after so many seconds, at the end of a block."""
    content, heard = Content(str(path)), 0
    recording = open_recording(content.source, **options)  # type: ignore[arg-type]
    for block in recording:
        heard += len(block)
        if heard >= seconds * RATE:
            break
    recording.close()
    return content.text()


def test_it_is_the_digest_of_the_samples(tmp_path: Path, sound: np.ndarray) -> None:
    path = write(tmp_path / "talk.wav", sound)
    samples, _ = soundfile.read(path, dtype="float32")
    assert json.loads(read(path)) == [
        {
            "channel": "mix",
            "rate": RATE,
            "samples": 3 * RATE,
            "sha256": hashlib.sha256(samples).hexdigest(),
            "whole": True,
        }
    ]


def test_predictions_take_it_on_their_way(lite: Model, tmp_path: Path, sound: np.ndarray) -> None:
    path = write(tmp_path / "talk.wav", np.stack([sound, -sound / 2], 1))
    content = Content(str(path))
    with lite.predict(content.source) as trajectory:
        assert len(trajectory.starts) == 75
    assert content.text() == read(path) and content.duration_s == 3
    content = Content(str(path))
    for trajectory in lite.predict_channels(content.source):
        trajectory.load()
    digests = {one["channel"]: one["sha256"] for one in json.loads(content.text())}
    assert digests == {
        1: hashlib.sha256(sound).hexdigest(), 2: hashlib.sha256(-sound / 2).hexdigest()
    }  # fmt: skip
    assert is_same(str(path), None, content.text())
    write(path, np.stack([sound, sound / 2], 1))
    assert not is_same(str(path), None, content.text())


@pytest.mark.parametrize("change", ["sample", "longer", "shorter", "text", "gone"])
def test_another_sound_is_another_content(tmp_path: Path, sound: np.ndarray, change: str) -> None:
    path = write(tmp_path / "talk.wav", sound)
    content = read(path)
    assert is_same(str(path), None, content)
    if change == "sample":
        sound[12345] += 1e-4
        write(path, sound)
    elif change == "longer":
        write(path, np.append(sound, np.float32(0)))
    elif change == "shorter":
        write(path, sound[:-1])
    elif change == "text":
        path.write_text("no sound")
    else:
        path.unlink()
    assert not is_same(str(path), None, content)


def test_the_same_sound_in_another_file_is_the_same(tmp_path: Path, sound: np.ndarray) -> None:
    sixteen = (sound * 32767).round().clip(-32768, 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", sixteen, RATE)
    soundfile.write(tmp_path / "b.flac", sixteen, RATE)
    assert is_same(str(tmp_path / "b.flac"), None, read(tmp_path / "a.wav"))


def test_sound_behind_the_end_of_a_pass_does_not_count(tmp_path: Path) -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 60 * RATE).astype(np.float32)
    path = write(tmp_path / "talk.wav", sound)
    content = read(path, 5)
    samples = json.loads(content)[0]["samples"]
    assert 5 * RATE <= samples < 55 * RATE and not json.loads(content)[0]["whole"]
    changed = sound.copy()
    changed[-1] += 0.1
    write(path, changed)
    assert is_same(str(path), None, content)
    changed[samples - 1] += 0.1
    write(path, changed)
    assert not is_same(str(path), None, content)


def test_what_was_never_read_is_never_the_same(tmp_path: Path, sound: np.ndarray) -> None:
    assert not is_same(str(write(tmp_path / "talk.wav", sound)), None, Content("x").text())
