"""Rows of sound: crops between pauses, rows without speech, and what a detector of speech says of them."""

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch

from emow2v.modelstore.verify import EXAMPLE
from emow2v.networks.lite_frames import FRAME
from emow2v.training.frames.rows import compose, speech_by_frame
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.bank import Bank


def rows(noises: Bank | None = None, seed: int = 3):
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    crops = torch.from_numpy(np.stack([signal[16000 * k : 16000 * k + 30 * FRAME] for k in range(8)]))
    augment = Augmenter(torch.Generator().manual_seed(seed))
    return crops, compose(crops, 2, 20, (5, 25), np.random.default_rng(seed), augment, noises)


def test_crops_lie_between_pauses_and_the_teacher_hears_a_window_of_them() -> None:
    crops, made = rows()
    assert made.signal.shape == (8, 50 * FRAME)
    assert made.window.shape == (6, 20 * FRAME)
    assert torch.equal(made.window, crops[2:, 5 * FRAME : 25 * FRAME])
    assert made.crop[2:].sum(dim=1).tolist() == [30.0] * 6
    assert made.crop[:2].sum(dim=1).tolist() == [50.0] * 2
    begins = made.crop[2:].argmax(dim=1)
    assert torch.equal(made.first, begins + 5)
    assert len(set(begins.tolist())) > 2
    assert min(begins) == 0  # some begin with their crop


def test_speech_is_where_somebody_speaks_and_not_in_pauses_and_noise() -> None:
    _, made = rows(Bank([np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)]))
    inside, outside = (made.speech[2:][made.crop[2:] == value] for value in (1, 0))
    assert inside.mean() > 0.6
    assert outside.mean() < inside.mean() / 2
    assert made.speech[:2].mean() < 0.2


def test_rows_come_again_with_their_seeds() -> None:
    for one, other in zip(rows()[1].__dict__.values(), rows()[1].__dict__.values(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(rows()[1].signal, rows(seed=4)[1].signal)


def test_probabilities_of_frames_are_those_of_the_detectors_frames_in_time() -> None:
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    silent = np.concatenate([np.zeros(16000, np.float32), signal[16000:64000], np.zeros(16000, np.float32)])
    said = speech_by_frame(silent)
    assert said.shape == (silent.size // FRAME,)
    assert said[:20].max() < 0.3
    assert said[30:95].mean() > 0.6
