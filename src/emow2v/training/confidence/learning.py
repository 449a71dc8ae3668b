"""What the confidence of a network learns: classes and speech from crops of the training, its scale from people's ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from emow2v.corpora.clip import Clip
from emow2v.evaluation.confidence import CLOSE, confidence_of
from emow2v.framing import SAMPLING_RATE
from emow2v.framing.windows import cut
from emow2v.networks.lite import Lite
from emow2v.networks.lite_frames import LiteFrames
from emow2v.training.confidence.recipe import ConfidenceRecipe
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.bank import Bank
from emow2v.training.lite.held_out import WINDOWS, pooled_by_frames
from emow2v.training.lite.rated import RatedSpeech
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.targets import TARGETS, emotion_of
from emow2v.training.lite.task import crops

ROWS = 128  # of a step
AT_ONCE = 8  # signals that a model of frames hears together


@dataclass(frozen=True)
class Examples:
    """Crops as the confidence sees them.

    Attributes:
        values: standardised values of both layers [rows, 2048]
        classes: number of the class [rows], -1 where it is not known
        speech: whether somebody speaks [rows]
    """

    values: Tensor
    classes: Tensor
    speech: Tensor


class Drawing:
    """Draws crops of training speech, and sound without speech, batch by batch.

    Args:
        clips, signals: of the corpora
        indices: of the clips to draw from
        noises: recorded, without speech
        rooms: for half of the rooms
    """

    def __init__(
        self,
        recipe: ConfidenceRecipe,
        clips: Sequence[Clip],
        signals: Signals,
        indices: Sequence[int],
        noises: Bank | None,
        rooms: Bank | None,
    ) -> None:
        self._recipe, self._clips, self._signals, self._noises = recipe, clips, signals, noises
        self._indices = np.array(indices)
        self._rng = np.random.default_rng(recipe.seed)
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._augment = Augmenter(self._generator, noises, rooms)
        corpora = np.array([clips[index].corpus for index in indices])
        names, counts = np.unique(corpora, return_counts=True)
        each = {
            name: recipe.corpus_shares.get(name, count / len(indices)) / count
            for name, count in zip(names, counts, strict=True)
        }
        weights = np.array([each[name] for name in corpora])
        self._weights = weights / weights.sum()

    @torch.no_grad()
    def batch(self, model: Lite | LiteFrames) -> Examples:
        recipe, rng = self._recipe, self._rng
        chosen = rng.choice(self._indices, recipe.batch_size, p=self._weights)
        shortest, longest = recipe.crop_seconds
        seconds = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
        speech = crops([self._signals[index] for index in chosen], seconds, rng, recipe.speed, recipe.repeat_short)
        samples = speech.shape[1]
        recorded = recipe.no_speech // 2 if self._noises else 0
        rows = [self._augment(speech), self._augment.nothing(recipe.no_speech - recorded, samples)]
        if self._noises and recorded:
            rows.append(self._augment(self._noises.draw(recorded, samples, self._generator)))
        return Examples(
            torch.cat(model.heads(_pooled(model, torch.cat(rows)))[2], dim=1),
            torch.tensor([emotion_of(self._clips[index]) for index in chosen] + [-1] * recipe.no_speech),
            torch.tensor([1.0] * recipe.batch_size + [0.0] * recipe.no_speech),
        )


def _pooled(model: Lite | LiteFrames, signals: Tensor) -> tuple[Tensor, ...]:
    """Pooled values of signals [rows, samples]."""
    if isinstance(model, LiteFrames):
        parts = [model.pooled(model.frames(part)) for part in signals.split(AT_ONCE)]
        return tuple(torch.cat(layer) for layer in zip(*parts, strict=True))
    return model.pooled(model.log_mel(signals))


def joined(batches: Sequence[Examples]) -> Examples:
    return Examples(
        torch.cat([one.values for one in batches]),
        torch.cat([one.classes for one in batches]),
        torch.cat([one.speech for one in batches]),
    )


def learn(model: Lite | LiteFrames, examples: Examples, recipe: ConfidenceRecipe) -> None:
    """Fit classes and speech of the network's confidence to examples."""
    confidence = model.confidence
    assert confidence is not None
    confidence.values.copy_(torch.tensor(list(TARGETS.values())))
    torch.manual_seed(recipe.seed)  # dropout
    known = examples.classes >= 0
    _fit(confidence.classes, examples.values[known], examples.classes[known], recipe.steps, recipe)
    with torch.no_grad():
        confidence.classes.weight.div_(recipe.temperature)
        confidence.classes.bias.div_(recipe.temperature)
    _fit(confidence.speech, examples.values, examples.speech, recipe.speech_steps, recipe)


def _fit(layer: nn.Linear, values: Tensor, truth: Tensor, steps: int, recipe: ConfidenceRecipe) -> None:
    """Minimise the cross-entropy of a linear layer, from zero."""
    rng = np.random.default_rng(recipe.seed)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps + 1)
    for _ in range(steps):
        rows = torch.from_numpy(rng.integers(0, len(values), ROWS))
        logits = layer(functional.dropout(values[rows], recipe.dropout))
        if layer.out_features == 1:
            loss = functional.binary_cross_entropy_with_logits(logits[:, 0], truth[rows])
        else:
            loss = functional.cross_entropy(logits, truth[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@dataclass(frozen=True)
class Measured:
    """What the network says of rated clips as a whole, or of their windows of 1 s.

    Attributes:
        ratings, scores, confidence: [rows, 3]
        signs: [rows, 3, signs]
        weights: of each row [rows]; those of a clip's windows add up to 1
    """

    ratings: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    signs: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float64]


@torch.no_grad()
def measure(model: Lite | LiteFrames, rated: RatedSpeech, *, windows: bool = False) -> Measured:
    """The scores, confidence and signs of rated speech."""
    assert model.confidence is not None and model.certainty is not None
    rows: list[list[npt.NDArray[np.float32]]] = [[], [], []]
    counts = []
    for index in range(len(rated.clips)):
        signal = rated.signals[index]
        padded = np.pad(signal, (0, max(0, SAMPLING_RATE - signal.size)))
        if isinstance(model, LiteFrames):
            pooled = pooled_by_frames(model, torch.from_numpy(padded)[None], signal.size)[windows]
        else:
            inputs = cut(padded, WINDOWS) if windows else signal[None, : model.max_samples]
            pooled = _pooled(model, torch.from_numpy(inputs))
        _, scores, layers = model.heads(pooled)
        values, certainty = torch.cat(layers, dim=1), model.certainty(layers[0])
        signs = torch.stack(model.confidence.signs(values, scores, certainty), dim=2)
        found = (scores, model.confidence(values, scores, certainty), signs)
        for kept, one in zip(rows, found, strict=True):
            kept.append(one.numpy())
        counts.append(len(scores))
    ratings = np.repeat(np.array([clip.ratings for clip in rated.clips], np.float64), counts, axis=0)
    said, sure, told = (np.concatenate(one) for one in rows)
    return Measured(ratings, said, sure, told, np.repeat(1 / np.array(counts), counts))


def calibrate(model: Lite | LiteFrames, parts: Sequence[Measured]) -> None:
    """Set the weights of the signs, so that confidence is the probability of an error below `CLOSE`.

    A logistic regression for each dimension, in which a clip counts as much as its windows together. A dimension without
    ratings, such as dominance, takes the weights of arousal.
    """
    from sklearn.linear_model import LogisticRegression

    assert model.confidence is not None
    ratings, scores, signs = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("ratings", "scores", "signs")
    )
    weights = np.concatenate([one.weights for one in parts])
    for column in range(3):
        known = np.isfinite(ratings[:, column])
        close = np.abs(scores[known, column] - ratings[known, column]) < CLOSE
        if np.unique(close).size < 2:
            model.confidence.weight[column] = model.confidence.weight[0]
            model.confidence.offset[column] = model.confidence.offset[0]
            continue
        values = signs[known, column].astype(np.float64)
        mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-9
        fitted = LogisticRegression().fit((values - mean) / deviation, close, sample_weight=weights[known])
        slopes = fitted.coef_[0] / deviation
        model.confidence.weight[column] = torch.from_numpy(slopes)
        model.confidence.offset[column] = float(fitted.intercept_[0] - (slopes * mean).sum())


def figures(parts: Sequence[Measured]) -> dict[str, Any]:
    """Whether the confidence of whole clips and of their windows tells their errors."""
    return {
        name: confidence_of(one.ratings, one.scores, one.confidence)
        for name, one in zip(("whole", "single_windows"), parts, strict=True)
    }
