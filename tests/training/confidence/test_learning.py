from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
import torch

from emow2v.corpora.clip import Clip
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.training.confidence.learning import Drawing, Examples, Measured, calibrate, joined, learn, measure
from emow2v.training.confidence.recipe import ConfidenceRecipe
from emow2v.training.lite.bank import Bank
from emow2v.training.lite.rated import RatedSpeech
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.targets import EMOTIONS, TARGETS

SMALL = LiteConfig(layers=2, width=32, heads=2, intermediate=64, hidden=16, beside=1, confidence=2)


def network() -> Lite:
    torch.manual_seed(0)
    return Lite(SMALL).eval()


def speech(count: int) -> tuple[list[Clip], Signals]:
    """Clips of noise, of two corpora in turn."""
    rng = np.random.default_rng(0)
    parts = [(rng.normal(0, 3000, 12_000 + 700 * k)).astype(np.int16) for k in range(count)]
    offsets = np.concatenate([[0], np.cumsum([part.size for part in parts])])
    clips = [
        Clip(
            Path(f"{k}.wav"), f"{k}.wav", speaker="x", emotion=("anger", "sadness", "")[k % 3],
            groups={"corpus": ("nemo", "baved")[k % 2]}, ratings=(0.4, np.nan, 0.6),
        )
        for k in range(count)
    ]  # fmt: skip
    return clips, Signals(np.concatenate(parts), offsets, ("",) * count)


def test_a_batch_has_crops_of_the_corpora_by_their_share_and_rows_without_speech() -> None:
    clips, signals = speech(9)
    recipe = ConfidenceRecipe(
        batch_size=20, no_speech=6, crop_seconds=(0.3, 0.6), corpus_shares={"nemo": 1, "baved": 0}
    )
    noises = Bank([np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)])
    drawn = [Drawing(recipe, clips, signals, range(8), noises, None).batch(network()) for _ in range(2)]
    assert torch.equal(drawn[0].values, drawn[1].values)  # the same recipe, the same crops
    both = joined(drawn)
    assert both.values.shape == (52, 128) and torch.isfinite(both.values).all()
    assert drawn[0].speech.tolist() == [1.0] * 20 + [0.0] * 6
    # clips 0, 2, 4 and 6 are nEMO's: anger, no class, sadness, anger
    assert set(drawn[0].classes[:20].tolist()) <= {EMOTIONS.index("anger"), EMOTIONS.index("sadness"), -1}
    assert set(drawn[0].classes[20:].tolist()) == {-1}


def test_classes_and_speech_are_learnt_and_classes_are_made_less_certain() -> None:
    """From values that tell them: the first eight say the class, the ninth whether somebody speaks."""
    rng = np.random.default_rng(0)
    classes = torch.from_numpy(rng.integers(0, 8, 600))
    said = torch.ones(600)
    said[400:], classes[400:] = 0.0, -1
    classes[:50] = -1  # speech whose class is not known
    values = torch.from_numpy(rng.normal(0, 0.3, (600, 128))).float()
    values[torch.arange(600), classes.clamp(min=0)] += 3.0 * (classes >= 0)
    values[:, 8] += 6 * said - 3
    learnt = {}
    for temperature in (1.0, 3.0):
        model = network()
        learn(model, Examples(values, classes, said), ConfidenceRecipe(rate=2e-2, temperature=temperature))
        with torch.no_grad():
            learnt[temperature] = model.confidence.classes(values)
            spoken = torch.sigmoid(model.confidence.speech(values))[:, 0]
    assert (learnt[1.0][50:400].argmax(1) == classes[50:400]).float().mean() > 0.95
    torch.testing.assert_close(learnt[1.0] / 3, learnt[3.0])
    assert torch.equal((spoken > 0.5).float(), said)
    np.testing.assert_allclose(model.confidence.values, list(TARGETS.values()), atol=1e-6)


def test_confidence_becomes_the_probability_of_a_small_error() -> None:
    """Errors are made small with a probability that follows from the signs; dominance, unrated, takes arousal's weights."""
    rng = np.random.default_rng(0)
    rows = 4000
    signs = rng.normal(0, 1, (rows, 3, 3)) * [1, 0.3, 0.05] + [0, 2, 0.1]
    true = np.array([[1.0, 2.0, -8.0], [0, 0, 0], [-0.5, 3.0, 4.0]])
    logits = (signs * true).sum(axis=2) - [4, 0, 6]
    ratings = rng.uniform(0, 1, (rows, 3))
    close = rng.uniform(0, 1, (rows, 3)) < 1 / (1 + np.exp(-logits))
    scores = ratings + np.where(close, 0.03, 0.2)
    ratings[:, 1] = np.nan
    halves = [
        Measured(ratings[k::2], scores[k::2].astype(np.float32), scores[k::2].astype(np.float32), signs[k::2].astype(np.float32),
                 np.ones(rows // 2))
        for k in (0, 1)
    ]  # fmt: skip
    model = network()
    calibrate(model, halves)
    weight, offset = model.confidence.weight.numpy(), model.confidence.offset.numpy()
    found = (signs * weight).sum(axis=2) + offset
    for column in (0, 2):
        np.testing.assert_allclose(found[:, column], logits[:, column], atol=0.4)
    np.testing.assert_array_equal(weight[1], weight[0])
    assert offset[1] == offset[0]


def test_rated_clips_are_measured_whole_and_by_windows_that_count_as_much() -> None:
    clips, signals = speech(3)
    long = np.tile(signals.samples, 2)
    rated = RatedSpeech(clips[:2], Signals(long, np.array([0, 40_000, 52_000]), ("", "")))
    model = network()
    whole, windows = (measure(model, rated, windows=one) for one in (False, True))
    assert whole.weights.tolist() == [1, 1] and windows.weights == pytest.approx([0.25] * 4 + [1])
    assert windows.ratings[:, 0].tolist() == [0.4] * 5 and windows.signs.shape == (5, 3, 3)
    with torch.no_grad():
        _, scores, confidence = model(torch.from_numpy(rated.signals[0])[None])
    np.testing.assert_allclose(whole.scores[0], scores[0], atol=1e-5)
    np.testing.assert_allclose(whole.confidence[0], confidence[0], atol=1e-5)
