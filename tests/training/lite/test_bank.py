"""Recorded noises and measured rooms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch

from emow2v.errors import FormatError
from emow2v.modelstore.verify import EXAMPLE
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.bank import Bank, read_noises, read_rooms
from impulse_responses import room


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rooms_are_what_follows_the_direct_sound_and_no_effects(tmp_path: Path) -> None:
    click = np.zeros(800, np.float32)
    click[10] = 0.5
    for name, response in (("room", room(0.4, before=100)), ("cave", room(5.0)), ("filter", click)):
        soundfile.write(tmp_path / f"{name}.wav", response, 16000, subtype="FLOAT")
    bank = read_rooms(tmp_path)
    assert len(bank) == 1
    tails = bank.draw(3, 8000, seeded()).numpy()
    expected = room(0.4)[:8000].copy()
    expected[:40] = 0  # 2.5 ms
    np.testing.assert_allclose(tails, np.tile(expected, (3, 1)), atol=1e-6)
    longer = bank.draw(1, 20000, seeded()).numpy()[0]
    assert not longer[int(0.6 * 16000) :].any()
    (tmp_path / "room.wav").unlink()
    with pytest.raises(FormatError, match=r"no impulse response that decays by 60 dB in 0\.1 to 1\.2 s"):
        read_rooms(tmp_path)


def test_noises_are_stretches_of_recordings(tmp_path: Path) -> None:
    long, short = np.linspace(0.1, 0.9, 9000, dtype=np.float32), np.linspace(-0.9, -0.1, 1000, dtype=np.float32)
    for name, signal in (("a", long), ("b", short), ("silence", np.zeros(500, np.float32))):
        soundfile.write(tmp_path / f"{name}.wav", signal, 16000, subtype="FLOAT")
    bank = read_noises(tmp_path)
    assert len(bank) == 2 and bank.digest == read_noises(tmp_path).digest
    rows = bank.draw(40, 3000, seeded()).numpy()
    np.testing.assert_array_equal(rows, bank.draw(40, 3000, seeded()).numpy())
    of_long = rows[:, 0] > 0
    assert 5 < of_long.sum() < 35
    assert np.ptp(np.diff(rows[of_long], axis=1)) < 1e-6  # of the straight line
    assert all(set(np.round(row, 5)) == set(np.round(short, 5)) for row in rows[~of_long])
    (tmp_path / "c.wav").write_bytes(b"no sound")
    with pytest.raises(FormatError, match="Remove the file from"):
        read_noises(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="holds no files"):
        read_noises(tmp_path / "empty")


def test_half_of_the_changes_are_recorded_ones() -> None:
    signal = torch.randn(200, 4000, generator=seeded(2)) * 0.1
    noise = Bank([np.sin(np.arange(4000) / 5).astype(np.float32)])
    added = Augmenter(seeded(3), noises=noise).add_noise(signal) - signal
    tone = torch.from_numpy(np.sin(np.arange(4000) / 5).astype(np.float32))
    likeness = torch.stack([torch.fft.rfft(row).abs() for row in added]) @ torch.fft.rfft(tone).abs()
    likeness = likeness / torch.fft.rfft(added).abs().norm(dim=1) / torch.fft.rfft(tone).abs().norm()
    share = (likeness > 0.95).float().mean()
    assert 0.4 < share < 0.6
    echo = np.zeros(8000, np.float32)
    echo[1600] = 1.0
    wet = Augmenter(seeded(4), rooms=Bank([echo], from_start=True)).reverberate(signal)
    late = ((wet - signal)[:, :1600].abs().amax(dim=1) < 1e-4).float().mean()  # nothing before the echo
    assert 0.4 < late < 0.6
    plain, without = Augmenter(seeded(5))(signal), Augmenter(seeded(5), None, None)(signal)
    assert torch.equal(plain, without)


def test_noises_in_which_somebody_speaks_are_left_out() -> None:
    speech = soundfile.read(EXAMPLE, dtype="float32")[0]
    noise = np.random.default_rng(0).normal(0, 0.05, 32_000).astype(np.float32)
    quiet = Bank([speech, noise, np.concatenate([noise, 0.5 * speech])]).without_speech()
    assert len(quiet) == 1 and quiet.digest == Bank([noise]).digest
    with pytest.raises(FormatError, match="Somebody speaks in all of 1 recorded noises"):
        Bank([speech]).without_speech()
