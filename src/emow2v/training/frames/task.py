"""Training of `LiteFrames` by a model of windows, which says of any window of any recording what it would have said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emow2v.corpora.clip import Clip
from emow2v.networks.lite import Lite
from emow2v.networks.lite_frames import LiteFrames
from emow2v.training.frames.places import WINDOW, take_places
from emow2v.training.frames.recipe import FramesRecipe
from emow2v.training.frames.rows import Rows
from emow2v.training.frames.source import RowSource
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.task import NEUTRAL, LiteTraining, crop
from emow2v.training.losses import ccc_loss

STATISTICS_BATCHES = 12  # of 32 crops, for the mean and deviation of pooled values
AT_ONCE = 8  # crops that are heard together for them, in less memory than a step takes
PLACES_WINDOWS = 192  # for the means of keys and values by place


class FramesTraining(LiteTraining):
    """The task of a `Loop`: rows of sound with crops between pauses; targets are what the teacher says of a window in each
    crop (frames, scores of both heads, confidence), the values and classes of the corpora, and a detector of speech.

    The teacher hears the window alone and unchanged. Its frames are computed with each step: they cost a fifth of it, and
    no window comes twice.

    Args:
        model: with the tensors of the teacher; trained in place
        teacher: on the processor or the GPU of the training
    """

    recipe: FramesRecipe
    model: LiteFrames  # type: ignore[assignment]

    def __init__(
        self,
        recipe: FramesRecipe,
        model: LiteFrames,
        clips: Sequence[Clip],
        signals: Signals,
        *rest: Any,
        teacher: Lite,
    ) -> None:
        super().__init__(recipe, model, clips, signals, *rest)  # type: ignore[arg-type]
        self._rows: Iterator[Rows] = iter(())
        self.teacher = teacher.eval().requires_grad_(False).to(self.device)

    def is_trained(self, name: str) -> bool:
        """Frozen layers learn how to do without positions, and nothing else."""
        frozen = ("conv1.", "conv2.", *(f"layers.{k}." for k in range(self.recipe.frozen_layers)))
        return not name.startswith(frozen) or name.endswith(("distant_keys", "distant_values"))

    def is_new(self, name: str) -> bool:
        return (
            super().is_new(name)
            or name.startswith("speech.")
            or name.endswith(("distant_keys", "distant_values", "position"))
        )

    def step(self) -> float:
        return self._descend(self._loss_of(next(self._rows), self._batches[self._step]))

    def _loss_of(self, rows: Rows, batch: Any) -> Tensor:
        recipe, model, teacher = self.recipe, self.model, self.teacher
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half):
            frames = model.frames(rows.signal.to(self.device)).float()
            with torch.no_grad():
                taught = teacher.frames(teacher.log_mel(rows.window.to(self.device))).float()
        quiet, length = recipe.no_speech, taught.shape[1]
        places = (rows.first[:, None] + torch.arange(length)).to(self.device)
        heard = frames[quiet:].gather(1, places[:, :, None].expand(-1, -1, frames.shape[2]))
        loss = recipe.frame_weight * functional.mse_loss(heard, taught)
        scores, said = self._parts(model, model.pooled(heard)), self._parts(teacher, model.pooled(taught))
        loss = loss + recipe.score_weight * functional.mse_loss(scores[:, :6], said[:, :6])
        total, expected = (self._total(one) for one in (scores, said))
        loss = loss + ccc_loss(expected, total)
        loss = loss + recipe.confidence_weight * functional.binary_cross_entropy_with_logits(
            scores[:, 6:], torch.sigmoid(said[:, 6:])
        )
        whole = model.pooled(frames, rows.crop.to(self.device))
        loss = loss + self._labels(whole, batch)
        speech = functional.binary_cross_entropy_with_logits(model.speech(frames)[:, :, 0], rows.speech.to(self.device))
        return loss + recipe.speech_weight * speech

    def _labels(self, pooled: tuple[Tensor, Tensor], batch: Any) -> Tensor:
        """Distance from the values and classes of crops, and of rows without speech from neutral without confidence."""
        recipe, quiet = self.recipe, self.recipe.no_speech
        parts = self._parts(self.model, pooled)
        targets, emotions = self.targets[batch][quiet:], self.emotions[batch][quiet:]
        loss = recipe.label_weight * ccc_loss(targets, self._total(parts)[quiet:])
        if self.model.emotion is not None and bool((emotions >= 0).any()):
            classes = self.model.emotion(self.model.standardise(pooled[1][quiet:]))
            loss = loss + recipe.emotion_weight * functional.cross_entropy(classes, emotions, ignore_index=-1)
        if quiet:
            neutral = NEUTRAL.to(parts).repeat(2).expand(quiet, 6)
            loss = loss + functional.mse_loss(parts[:quiet, :6], neutral)
            unsure = functional.binary_cross_entropy_with_logits(parts[:quiet, 6:], torch.zeros_like(parts[:quiet, 6:]))
            loss = loss + recipe.confidence_weight * unsure
        return loss

    @staticmethod
    def _parts(model: Lite | LiteFrames, pooled: tuple[Tensor, ...]) -> Tensor:
        """Scores of the lower head, of the upper one, and logits of confidence: [batch, 9]."""
        assert model.lower is not None and model.certainty is not None
        last = model.standardise(pooled[1])
        lower = model.lower.head(model.lower.standardise(pooled[0]))
        return torch.cat([lower, model.head(last), model.certainty(last)], dim=1)

    def _total(self, parts: Tensor) -> Tensor:
        return self.model.share * parts[:, :3] + (1 - self.model.share) * parts[:, 3:6]

    def begin_epoch(self, epoch: int, first: int) -> None:
        if not (epoch or first):
            self._take_places()
            self._take_statistics()
        super().begin_epoch(epoch, first)
        self._rows = RowSource(self.recipe, self.signals, self._batches, self._banks, epoch).rows(first)

    def _take_places(self) -> None:
        """What positions of the teacher are for, by distance."""
        rng = np.random.default_rng(self.recipe.seed)
        drawn = rng.choice(self.indices, PLACES_WINDOWS)
        windows = np.stack([crop(self.signals[index], WINDOW, rng, 1.0) for index in drawn])
        take_places(self.model, self.teacher, torch.from_numpy(windows).to(self.device))

    def _take_statistics(self) -> None:
        """Standardise by the frames of this network before its first step: heads expect standardised values, and those of
        the teacher lie elsewhere."""
        lower, last = self._pooled_rows(self.model)
        assert self.model.lower is not None
        for statistics, values in ((self.model.lower.standardise, lower), (self.model.standardise, last)):
            assert statistics.running_mean is not None and statistics.running_var is not None
            statistics.running_mean.copy_(values.mean(dim=0))
            statistics.running_var.copy_(values.var(dim=0))

    def _standardise(self, model: Any) -> None:
        lower, last = self._pooled_rows(model)
        model.lower.restandardise(lower.mean(dim=0), lower.var(dim=0))
        model.restandardise(last.mean(dim=0), last.var(dim=0))
        model.restandardise_both(lower, last)

    def _pooled_rows(self, model: LiteFrames) -> tuple[Tensor, Tensor]:
        """Pooled values of changed crops, [rows, 1024] of each layer."""
        rng, augment = np.random.default_rng(self.recipe.seed), self._changes(self.recipe.seed)
        model.eval()
        rows = []
        with torch.no_grad():
            for _ in range(STATISTICS_BATCHES):
                crops = augment(self._crops(rng.choice(self.indices, 32), rng), edges=False)
                rows += [model.pooled(model.frames(part)) for part in crops.split(AT_ONCE)]
        lower, last = (torch.cat(parts) for parts in zip(*rows, strict=True))
        return lower, last
