"""Training of `lite`: the lower layers of an encoder and a small head, on acted emotional speech changed at random."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from emow2v.corpora.clip import Clip
from emow2v.errors import FormatError, ModelError
from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite import FRAME_HOP, Lite
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.bank import Bank
from emow2v.training.lite.held_out import held_out_figures
from emow2v.training.lite.rated import RatedSpeech
from emow2v.training.lite.recipe import LARGEST_SHIFT, LiteRecipe
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.targets import TARGETS, emotion_of, is_held_out, spread, target_of
from emow2v.training.losses import ccc_loss

NEUTRAL = torch.tensor(TARGETS["neutral"])
SURE_WITHIN = 0.15  # a distance from the target at which the network should be sure by 1 / e
STATISTICS_BATCHES = 64  # of 32 crops, for the mean and deviation of embeddings
WATCHED = 12  # one in so many of the held-out clips is measured after an epoch


def crop(
    signal: npt.NDArray[np.float32], samples: int, rng: np.random.Generator, repeat_short: float = 0.0
) -> npt.NDArray[np.float32]:
    """A random stretch with speech in it; a clip that is too short is repeated, or lies somewhere in zeros."""
    if signal.size <= samples:
        if signal.size and rng.uniform() < repeat_short:
            return np.resize(np.roll(signal, -int(rng.integers(signal.size))), samples)
        before = int(rng.integers(0, samples - signal.size + 1))
        return np.pad(signal, (before, samples - signal.size - before))
    loudness = float(np.mean(signal**2))
    piece = signal[:samples]
    for _ in range(5):  # a label says nothing about the silence around the words
        begin = int(rng.integers(0, signal.size - samples + 1))
        piece = signal[begin : begin + samples]
        if float(np.mean(piece**2)) > 0.4 * loudness:
            break
    return piece


def crops(
    signals: Sequence[npt.NDArray[np.float32]],
    seconds: float,
    rng: np.random.Generator,
    speed: float,
    repeat_short: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A crop of each signal, [signals, samples], a little faster or slower than it was spoken.

    Args:
        speed: largest change of tempo and pitch together, as a share; the same for all
        repeat_short: as in `crop`
    """
    samples = int(seconds * SAMPLING_RATE) // FRAME_HOP * FRAME_HOP
    factor = 1 + rng.uniform(-speed, speed) if speed else 1.0
    taken = round(samples * factor)
    cut = torch.from_numpy(np.stack([crop(signal, taken, rng, repeat_short) for signal in signals])).to(device)
    if taken == samples:
        return cut
    return functional.interpolate(cut[:, None], size=samples, mode="linear", align_corners=False)[:, 0]


def random_crops(
    recipe: LiteRecipe,
    signals: Signals,
    batch: npt.NDArray[np.int64],
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Crops of clips, of one random length, [batch, samples], a little faster or slower than they were spoken."""
    shortest, longest = recipe.crop_seconds
    seconds = (
        recipe.long_seconds
        if rng.uniform() < recipe.long_share
        else float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    )
    return crops([signals[index] for index in batch], seconds, rng, recipe.speed, recipe.repeat_short, device)


class LiteTraining:
    """The task of a `Loop`: steps on crops of the training clips, figures of the averaged network on held-out speakers.

    Nothing is chosen by those figures: the result is the averaged network of the last epoch.

    Args:
        model: with its first weights; it is trained in place
        signals: of the clips
        rated: speech that people rated, by which the network is measured, too
        noises, rooms: for the changes of crops

    Raises:
        FormatError: fewer clips to train on than a batch has, or no held-out speaker among them
    """

    def __init__(
        self,
        recipe: LiteRecipe,
        model: Lite,
        clips: Sequence[Clip],
        signals: Signals,
        device: str = "cpu",
        rated: RatedSpeech | None = None,
        noises: Bank | None = None,
        rooms: Bank | None = None,
    ) -> None:
        self.recipe, self.clips, self.signals, self.rated = recipe, clips, signals, rated
        self._banks = {"noises": noises, "rooms": rooms}
        self.device = torch.device(device)
        self.model = model.to(self.device)
        held_out = [is_held_out(clip, recipe.leave_out) for clip in clips]
        self.indices = [index for index, out in enumerate(held_out) if not out]
        self.held_out = [index for index, out in enumerate(held_out) if out]
        if len(self.indices) < recipe.batch_size:
            raise FormatError(
                f"{len(self.indices)} clips are there to train on; expected a batch of {recipe.batch_size} or more."
            )
        if not self.held_out:
            raise FormatError(
                f"None of {len(clips)} clips is by a held-out speaker; expected some, to measure what is learnt; "
                "emow2v/training/lite/targets.py names them."
            )
        values = [spread(target_of(clip), recipe.spread) for clip in clips]
        self.targets = torch.tensor(values, dtype=torch.float32, device=self.device)
        self.emotions = torch.tensor([emotion_of(clip) for clip in clips], device=self.device)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.is_trained(name))
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        trunk = [p for name, p in trained.items() if not self.is_new(name)]
        head = [p for name, p in trained.items() if self.is_new(name)]
        rates = [recipe.trunk_rate, recipe.head_rate]
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "lr": rate} for p, rate in zip([trunk, head], rates, strict=True)],
            weight_decay=recipe.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rates, total_steps=recipe.epochs * self.steps_per_epoch + 1, pct_start=0.15
        )
        self.average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
        )
        self._epoch = self._step = 0
        self._batches: npt.NDArray[np.int64] = np.zeros((0, recipe.batch_size), np.int64)
        self._rng = np.random.default_rng(0)
        self._augment = self._changes(0)
        self._draws: Mapping[str, Any] = {}

    @property
    def steps_per_epoch(self) -> int:
        return len(self.indices) // self.recipe.batch_size

    def is_trained(self, name: str) -> bool:
        """Whether the parameter of this name is trained."""
        if self.model.lower is not None:
            return name.startswith("lower.")
        frozen = ("conv1.", "conv2.", "embed_positions.", *(f"layers.{k}." for k in range(self.recipe.frozen_layers)))
        return not (self.recipe.frozen_layers and name.startswith(frozen))

    def is_new(self, name: str) -> bool:
        """Whether the parameter of this name is one behind the encoder, with a rate of its own."""
        return name.startswith(("head.", "emotion.", "certainty.", "lower."))

    def begin_epoch(self, epoch: int, first: int) -> None:
        recipe = self.recipe
        if not (epoch or first):
            self._standardise(self.model)
            self.average.module.load_state_dict(self.model.state_dict())
        self._rng = np.random.default_rng([recipe.seed, epoch])
        self._augment = self._changes(recipe.seed * 1000 + epoch)
        torch.manual_seed(recipe.seed * 1000 + epoch)  # dropout
        self._batches = self._order(self._rng).reshape(-1, recipe.batch_size)
        self._epoch, self._step = epoch, first
        if first:
            self._restore_draws()
        self._train_mode()

    def step(self) -> float:
        recipe, rng, augment = self.recipe, self._rng, self._augment
        batch = self._batches[self._step]
        signal = self._crops(batch, rng)
        first = int(rng.integers(0, self._positions(signal.shape[1]))) if recipe.random_positions else 0
        with torch.no_grad():
            clean = self.model.log_mel(signal[:, int(rng.integers(0, LARGEST_SHIFT + 1)) :])
            changed = augment(signal).clone()
            if recipe.no_speech:
                changed[: recipe.no_speech] = augment.nothing(recipe.no_speech, signal.shape[1])
            features = augment.mask_bands(self.model.log_mel(changed))
        return self._descend(self._loss(features, clean, first, batch))

    def _descend(self, loss: Tensor) -> float:
        """A step of the optimiser and of the averaged network; returns the loss."""
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"The loss is no number in step {self._step + 1} of epoch {self._epoch + 1}; try a smaller trunk_rate and "
                "head_rate, or half=false."
            )
        self._step += 1
        return value

    def evaluate(self) -> tuple[dict[str, Any], None]:
        model = self.averaged()
        figures = held_out_figures(model, self.clips, self.signals, self.held_out[::WATCHED])
        record = {"ccc": figures.pop("whole"), **figures}
        return record | ({"rated": self.rated.figures(model)} if self.rated else {}), None

    def keep_best(self, figures: Mapping[str, Any]) -> None:
        """No network is chosen."""

    def averaged(self) -> Lite:
        """The network with averaged weights, its embeddings standardised over the training crops."""
        model = type(self.model)(self.model.config).to(self.device)
        model.load_state_dict(self.average.module.state_dict())
        self._standardise(model)
        return model.eval()

    def state(self, *, finished: bool) -> dict[str, Any]:
        average = {"average": self.average.state_dict()}
        if finished:
            return average
        draws = {
            "crops": json.dumps(self._rng.bit_generator.state),
            "changes": self._augment.generator.get_state(),
            "dropout": torch.cuda.get_rng_state(self.device) if self._on_gpu else torch.get_rng_state(),
        }
        return {
            **average,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "draws": draws,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        if "model" not in state:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._draws = state["draws"]

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def _changes(self, seed: int) -> Augmenter:
        return Augmenter(torch.Generator(self.device).manual_seed(seed), **self._banks)

    def _restore_draws(self) -> None:
        """Continue the random numbers from a state that was written within an epoch."""
        self._rng.bit_generator.state = json.loads(self._draws["crops"])
        self._augment.generator.set_state(self._draws["changes"])
        if self._on_gpu:
            torch.cuda.set_rng_state(self._draws["dropout"], self.device)
        else:
            torch.set_rng_state(self._draws["dropout"])

    def _train_mode(self) -> None:
        """Switch dropout on; embeddings are standardised by fixed figures, as when the network is used.

        With the figures of each batch the head would never see that short crops have other embeddings than long ones,
        and scores of real recordings would be off by a third of the scale.
        """
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.eval()
        self.average.module.eval()

    def _order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """The clips of an epoch: of each corpus its share, all of its clips before one of them comes again."""
        size = self.steps_per_epoch * self.recipe.batch_size
        groups: dict[str, list[int]] = {}
        for index in self.indices:
            groups.setdefault(self.clips[index].corpus, []).append(index)
        shares = {
            name: self.recipe.corpus_shares.get(name, len(group) / len(self.indices)) for name, group in groups.items()
        }
        drawn = []
        for name, group in groups.items():
            count = -(-size * shares[name] // sum(shares.values()))  # rounded up
            while count > 0:
                drawn.append(rng.permutation(group)[: int(count)])
                count -= len(group)
        return rng.permutation(np.concatenate(drawn))[:size]

    def _positions(self, samples: int) -> int:
        """Places at which a crop may stand in the table of positions."""
        return self.model.config.positions - (samples // FRAME_HOP + 1) + 1

    def _loss(self, features: Tensor, clean: Tensor, first: int, batch: npt.NDArray[np.int64]) -> Tensor:
        recipe, model = self.recipe, self.model
        branch = model.lower or model  # only the lower branch is trained where there is one
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half):
            pooled = model.pooled(features, first, lower_only=model.lower is not None)
        embeddings = branch.standardise(pooled[0])
        scores = branch.head(embeddings)
        targets, emotions = self.targets[batch].clone(), self.emotions[batch].clone()
        targets[: recipe.no_speech], emotions[: recipe.no_speech] = torch.nan, -1
        loss = ccc_loss(targets, scores)
        if recipe.no_speech:
            loss = loss + functional.mse_loss(
                scores[: recipe.no_speech], NEUTRAL.to(scores).expand(recipe.no_speech, 3)
            )
        if branch.emotion is not None and bool((emotions >= 0).any()):
            loss = loss + recipe.emotion_weight * functional.cross_entropy(
                branch.emotion(embeddings), emotions, ignore_index=-1
            )
        if model.lower is not None:
            return loss
        if recipe.consistency_weight and self._epoch >= recipe.consistency_from:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half):
                teacher = cast(Lite, self.average.module)
                steady = teacher.head(teacher.embed(clean))
            speech = slice(recipe.no_speech, None)
            loss = loss + recipe.consistency_weight * functional.mse_loss(scores[speech], steady.float()[speech])
        if model.certainty is not None:
            sure = torch.exp(-(scores.detach() - targets).abs() / SURE_WITHIN)
            sure[: recipe.no_speech] = 0.0
            known = ~torch.isnan(sure)
            loss = loss + recipe.confidence_weight * functional.binary_cross_entropy_with_logits(
                model.certainty(embeddings)[known], sure[known]
            )
        return loss

    def _standardise(self, model: Lite) -> None:
        """Set the mean and deviation of embeddings, over training crops changed as in training.

        The layers behind are changed so that the scores of the network stay the same.
        """
        rng = np.random.default_rng(self.recipe.seed)
        augment = self._changes(self.recipe.seed)
        model.eval()
        rows = []
        with torch.no_grad():
            for _ in range(STATISTICS_BATCHES):
                batch = rng.choice(self.indices, 32)
                rows.append(model.pooled(augment.mask_bands(model.log_mel(augment(self._crops(batch, rng))))))
        values = [torch.cat(parts) for parts in zip(*rows, strict=True)]
        if model.lower is None:
            model.restandardise(values[0].mean(dim=0), values[0].var(dim=0))
        else:
            model.lower.restandardise(values[0].mean(dim=0), values[0].var(dim=0))
            model.restandardise_both(*values)

    def _crops(self, batch: npt.NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        return random_crops(self.recipe, self.signals, batch, rng, self.device)
