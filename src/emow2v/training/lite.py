"""Training of `lite`: python -m emow2v.training.lite --data CORPORA --encoder WHISPER -o DIR

A run that was stopped goes on from its last whole epoch; the same seed gives the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from emow2v.compare import ccc
from emow2v.networks.lite import FRAME_HOP, Lite, LiteConfig, load_whisper
from emow2v.training.augment import Augmenter
from emow2v.training.corpora import EMOTIONS, TARGETS, Clip, Signals, decode, read_manifest
from emow2v.training.losses import ccc_loss

RATE = 16000
NEUTRAL = torch.tensor(TARGETS["neutral"])
SURE_WITHIN = 0.15  # a distance from the target at which the network should be sure by 1 / e
STATISTICS_BATCHES = 64  # of 32 crops, for the mean and deviation of embeddings


@dataclass(frozen=True)
class Recipe:
    """What a run is made of; the same recipe, data and number of threads give the same network.

    Attributes:
        crop_seconds: shortest and longest crop, one length a batch
        long_share: of batches with crops of `long_seconds`
        speed: largest change of tempo and pitch together, a share
        emotion_weight, consistency_weight, confidence_weight: of the parts of the loss beside the CCC of the scores:
            classes; distance from what the averaged network says of the unchanged crop; how sure it should be
        no_speech: rows of a batch that hold none, and are to be neutral and not sure
        average_decay: of the averaged weights, which are what is kept
        half: compute in bf16 where that is safe (autocast)
    """

    epochs: int = 24
    batch_size: int = 32
    crop_seconds: tuple[float, float] = (0.8, 4.0)
    long_share: float = 0.05
    long_seconds: float = 8.0
    speed: float = 0.08
    trunk_rate: float = 1e-4
    head_rate: float = 7e-4
    weight_decay: float = 0.02
    emotion_weight: float = 0.5
    consistency_weight: float = 4.0
    confidence_weight: float = 0.3
    no_speech: int = 2
    average_decay: float = 0.998
    half: bool = False
    seed: int = 1


def crop(signal: npt.NDArray[np.float32], samples: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A random stretch with speech in it; clips that are too short lie somewhere in zeros."""
    if signal.size <= samples:
        before = int(rng.integers(0, samples - signal.size + 1))
        return np.pad(signal, (before, samples - signal.size - before))
    loudness = float(np.mean(signal**2))
    piece = signal[:samples]
    for _ in range(5):  # corpora leave silence around the words; a label says nothing about it
        begin = int(rng.integers(0, signal.size - samples + 1))
        piece = signal[begin : begin + samples]
        if float(np.mean(piece**2)) > 0.4 * loudness:
            break
    return piece


class Trainer:
    """One run in one folder: state.pt after every epoch, log.jsonl beside it."""

    def __init__(self, recipe: Recipe, model: Lite, clips: list[Clip], signals: Signals, folder: Path) -> None:
        self.recipe, self.model, self.clips, self.signals, self.folder = recipe, model, clips, signals, folder
        self.indices = [index for index, clip in enumerate(clips) if not clip.held_out]
        self.targets = torch.tensor([clip.targets for clip in clips], dtype=torch.float32)
        self.emotions = torch.tensor([clip.emotion for clip in clips])
        new = ("head.", "emotion.")
        trunk = [p for name, p in model.named_parameters() if not name.startswith(new)]
        head = [p for name, p in model.named_parameters() if name.startswith(new)]
        rates = [recipe.trunk_rate, recipe.head_rate]
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "lr": rate} for p, rate in zip([trunk, head], rates, strict=True)],
            weight_decay=recipe.weight_decay,
        )
        self.steps_per_epoch = len(self.indices) // recipe.batch_size
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rates, total_steps=recipe.epochs * self.steps_per_epoch + 1, pct_start=0.15
        )
        self.average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
        )
        self.epoch = 0

    def run(self) -> Lite:
        """Train to the end; returns the averaged model with its statistics taken anew."""
        self._resume()
        while self.epoch < self.recipe.epochs:
            started = time.monotonic()
            loss = self._train_epoch()
            self.epoch += 1
            self._save()
            averaged = self._averaged()
            figures = held_out_figures(averaged, self.clips, self.signals, every=4)
            record = {"epoch": self.epoch, "loss": loss, "seconds": time.monotonic() - started, **figures}
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
        return self._averaged()

    def _train_epoch(self) -> float:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.epoch])
        generator = torch.Generator().manual_seed(recipe.seed * 1000 + self.epoch)
        torch.manual_seed(recipe.seed * 1000 + self.epoch)  # dropout
        augment = Augmenter(generator)
        order = rng.permutation(self.indices)[: self.steps_per_epoch * recipe.batch_size]
        self.model.train()
        self.average.module.eval()
        losses = []
        for batch in order.reshape(-1, recipe.batch_size):
            signal = self._crops(batch, rng)
            first = int(rng.integers(0, self._positions(signal.shape[1])))
            with torch.no_grad():
                clean = self.model.log_mel(signal)
                changed = augment(signal).clone()
                if recipe.no_speech:
                    changed[: recipe.no_speech] = augment.nothing(recipe.no_speech, signal.shape[1])
                features = augment.mask_bands(self.model.log_mel(changed))
            loss = self._loss(features, clean, first, batch)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.average.update_parameters(self.model)
            losses.append(loss.item())
            if len(losses) % 20 == 0:
                print(f"epoch {self.epoch} step {len(losses)}/{self.steps_per_epoch} loss {np.mean(losses[-20:]):.3f}")
        return float(np.mean(losses))

    def _positions(self, samples: int) -> int:
        """Places at which a crop may stand in the table of positions."""
        return self.model.config.positions - (samples // FRAME_HOP + 1) + 1

    def _loss(self, features: Tensor, clean: Tensor, first: int, batch: npt.NDArray[np.int64]) -> Tensor:
        recipe, model = self.recipe, self.model
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
            embeddings = model.embed(features, first)
        scores = model.head(embeddings)
        targets, emotions = self.targets[batch].clone(), self.emotions[batch].clone()
        targets[: recipe.no_speech], emotions[: recipe.no_speech] = torch.nan, -1
        loss = ccc_loss(targets, scores)
        if recipe.no_speech:
            loss = loss + functional.mse_loss(scores[: recipe.no_speech], NEUTRAL.expand(recipe.no_speech, 3))
        if model.emotion is not None and bool((emotions >= 0).any()):
            loss = loss + recipe.emotion_weight * functional.cross_entropy(
                model.emotion(embeddings), emotions, ignore_index=-1
            )
        if recipe.consistency_weight and self.epoch:  # the averaged network has learnt something by then
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
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

    def _averaged(self) -> Lite:
        """The averaged weights, with the mean and deviation of embeddings taken anew over training crops.

        While it is trained, the head sees embeddings standardised by their batch; these statistics, of the
        final weights and of crops altered in the same way, are what comes closest to that for single clips.
        """
        model = Lite(self.model.config)
        model.load_state_dict(self.average.module.state_dict())
        rng = np.random.default_rng(self.recipe.seed)
        augment = Augmenter(torch.Generator().manual_seed(self.recipe.seed))
        standardise, model.standardise = model.standardise, torch.nn.Identity()  # type: ignore[assignment]
        model.eval()
        rows = []
        with torch.no_grad():
            for _ in range(STATISTICS_BATCHES):
                batch = rng.choice(self.indices, 32)
                rows.append(model.embed(augment.mask_bands(model.log_mel(augment(self._crops(batch, rng))))))
        values = torch.cat(rows)
        standardise.running_mean = values.mean(dim=0)
        standardise.running_var = values.var(dim=0)  # over all lengths, not only within a batch of one
        model.standardise = standardise
        return model.eval()

    def _crops(self, batch: npt.NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Crops of one random length, [batch, samples], a little faster or slower than they were spoken."""
        recipe = self.recipe
        shortest, longest = recipe.crop_seconds
        seconds = recipe.long_seconds if rng.uniform() < recipe.long_share else rng.uniform(shortest, longest)
        samples = int(seconds * RATE) // FRAME_HOP * FRAME_HOP
        factor = 1 + rng.uniform(-recipe.speed, recipe.speed) if recipe.speed else 1.0
        taken = round(samples * factor)
        crops = torch.from_numpy(np.stack([crop(self.signals[index], taken, rng) for index in batch]))
        if taken == samples:
            return crops
        return functional.interpolate(crops[:, None], size=samples, mode="linear", align_corners=False)[:, 0]

    def _save(self) -> None:
        state = {
            "epoch": self.epoch,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        part = self.folder / "state.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "state.pt")

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if {**state["recipe"], "crop_seconds": tuple(state["recipe"]["crop_seconds"])} != asdict(self.recipe):
            raise SystemExit(f"{path} was made by another recipe; choose another folder or remove it.")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch = state["epoch"]


def held_out_figures(model: Lite, clips: list[Clip], signals: Signals, every: int = 1) -> dict[str, Any]:
    """CCC on speakers never trained on: whole clips (up to 10 s), 1 s windows, and their mean over a clip."""
    model.eval()
    indices = [index for index, clip in enumerate(clips) if clip.held_out][::every]
    truth = np.array([clips[index].targets for index in indices])
    whole, windows, single, single_truth = [], [], [], []
    with torch.no_grad():
        for index, target in zip(indices, truth, strict=True):
            signal = torch.from_numpy(signals[index])[: model.max_samples]
            whole.append(model(signal[None])[1][0].numpy())
            pieces = (
                torch.stack([signal[b : b + RATE] for b in range(0, signal.shape[0] - RATE + 1, RATE // 2)])
                if (signal.shape[0] >= RATE)
                else functional.pad(signal, (0, RATE - signal.shape[0]))[None]
            )
            scores = model(pieces)[1].numpy()
            windows.append(scores.mean(axis=0))
            single.extend(scores)
            single_truth.extend([target] * len(scores))
    names = ("arousal", "dominance", "valence")

    def figures(truth: Any, prediction: Any) -> dict[str, float]:
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        values = {name: round(ccc(truth[:, k], prediction[:, k]), 3) for k, name in enumerate(names)}
        return {name: value for name, value in values.items() if not np.isnan(value)}

    corpora = np.array([clips[index].corpus for index in indices])
    return {
        "clips": len(indices),
        "whole": figures(truth, whole),
        "whole_by_corpus": {
            name: figures(truth[corpora == name], np.array(whole)[corpora == name])
            for name in np.unique(corpora).tolist()
        },
        "windows_averaged": figures(truth, windows),
        "single_windows": figures(single_truth, single),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m emow2v.training.lite", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or name of the Whisper encoder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for state, log and model.pt")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--half", action="store_true", help="compute in bf16 where that is safe")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    clips = read_manifest(options.data / "manifest.csv")
    signals = decode(clips, options.output / "signals.npz")
    torch.manual_seed(options.seed)
    model = Lite(LiteConfig(emotions=len(EMOTIONS), confidence=1))
    load_whisper(model, options.encoder)
    recipe = Recipe(epochs=options.epochs, seed=options.seed, half=options.half)
    trained = Trainer(recipe, model, clips, signals, options.output).run()
    figures = held_out_figures(trained, clips, signals)
    torch.save(
        {
            "config": trained.config.to_dict(),
            "recipe": asdict(recipe),
            "figures": figures,
            "model": trained.state_dict(),
        },
        options.output / "model.pt",
    )
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
