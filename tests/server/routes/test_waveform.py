"""Recordings as the eye sees them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from emow2v.audio.recording import Channel
from emow2v.errors import AudioError
from emow2v.server.routes.waveform import waveform


def seen(signal: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of every stretch, the plain way."""
    parts = [signal[begin : begin + step] for begin in range(0, len(signal), step)]
    return np.array([part.min() for part in parts]), np.array([part.max() for part in parts])


@given(length=st.integers(1, 5000), points=st.integers(2, 300))
def test_every_stretch_has_its_lowest_and_highest(
    length: int, points: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    signal = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    path = tmp_path_factory.getbasetemp() / "waveform.wav"
    soundfile.write(path, signal, 8000, subtype="FLOAT")
    found = waveform(path, points)
    step = round(found.step * 8000)
    assert found.duration == length / 8000 and step & (step - 1) == 0
    assert len(found.lowest) <= points and (len(found.lowest) >= points // 2 or step == 1)
    lowest, highest = seen(signal, step)
    if len(lowest) > len(found.lowest):  # a rest for which there was no room belongs to the last stretch
        lowest = np.append(lowest[:-2], lowest[-2:].min())
        highest = np.append(highest[:-2], highest[-2:].max())
    np.testing.assert_array_equal(found.lowest, lowest)
    np.testing.assert_array_equal(found.highest, highest)


def test_blocks_of_a_long_recording_leave_no_seams(tmp_path: Path) -> None:
    signal = np.sin(np.arange(1_000_003) / 7).astype(np.float32) * np.linspace(0, 1, 1_000_003, dtype=np.float32)
    soundfile.write(tmp_path / "a.flac", signal, 16000)
    stored, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    found = waveform(tmp_path / "a.flac", 1000)
    lowest, highest = seen(stored, round(found.step * 16000))
    np.testing.assert_allclose(found.lowest, lowest[: len(found.lowest)], atol=1e-4)
    np.testing.assert_allclose(found.highest, highest[: len(found.highest)], atol=1e-4)
    assert 500 <= len(found.lowest) <= 1000


@pytest.mark.parametrize(("channel", "highest"), [("mix", 0.5), ("left", 0.25), ("right", 0.75), (1, 0.25), (2, 0.75)])
def test_the_channel_that_is_asked_for_is_seen(tmp_path: Path, channel: Channel, highest: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile([[0.25, 0.75], [-0.25, -0.75]], (4000, 1)), 8000, subtype="FLOAT")
    found = waveform(tmp_path / "a.wav", 100, channel=channel)
    np.testing.assert_array_equal(found.highest, np.float32(highest))
    np.testing.assert_array_equal(found.lowest, np.float32(-highest))


def test_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="not a recording"):
        waveform(tmp_path / "a.wav", 100)
