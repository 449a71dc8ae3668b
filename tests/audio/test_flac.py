"""Copies as FLAC: what libsndfile reads of them is what was recorded."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.audio.flac import MOST_CHANNELS, write_flac
from emow2v.audio.recording import open_recording
from emow2v.errors import AudioError

RATE = 16000


@pytest.mark.parametrize("channels", [1, 2, 6, MOST_CHANNELS])
def test_a_copy_at_the_same_rate_has_every_sample(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(channels).integers(-(2**15), 2**15, (RATE + 777, channels)).astype(np.int16)
    soundfile.write(tmp_path / "talk.wav", values, RATE)
    write_flac(
        [open_recording(tmp_path / "talk.wav", channel=one + 1) for one in range(channels)], tmp_path / "copy.flac"
    )
    found, rate = soundfile.read(tmp_path / "copy.flac", dtype="int16", always_2d=True)
    assert rate == RATE and np.array_equal(found, values)
    assert soundfile.info(tmp_path / "copy.flac").subtype == "PCM_16"


def test_a_copy_of_another_rate_is_what_a_model_hears(tmp_path: Path) -> None:
    time = np.arange(3 * 44100) / 44100
    soundfile.write(tmp_path / "talk.wav", 0.3 * np.sin(2 * np.pi * 440 * time), 44100)
    write_flac([open_recording(tmp_path / "talk.wav")], tmp_path / "copy.flac")
    found, rate = soundfile.read(tmp_path / "copy.flac")
    heard = np.concatenate(list(open_recording(tmp_path / "talk.wav")))
    assert rate == RATE and found.size == heard.size
    assert np.abs(found - heard).max() <= 0.51 / 32768


def test_a_recording_that_ends_in_damage_leaves_no_copy(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"talk\.wav"):
        write_flac([open_recording(tmp_path / "talk.wav")], tmp_path / "copy.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]
