"""Training of `lite`: python -m emow2v.training.lite --data CORPORA --encoder WHISPER -o DIR [CONFIG.yaml] [key=value ...]

A run that was stopped goes on from its last whole epoch; the same seed, threads and device give the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from emow2v.errors import FormatError, told
from emow2v.networks.lite import FRAME_HOP, Lite, LiteConfig, load_whisper
from emow2v.training.augment import Augmenter
from emow2v.training.corpora import EMOTIONS, TARGETS, Clip, Signals, decode, read_manifest
from emow2v.training.held_out import held_out_figures
from emow2v.training.losses import ccc_loss
from emow2v.training.memory import keep_memory

RATE = 16000
RECIPE = Path(__file__).with_name("recipes") / "lite.yaml"
NEUTRAL = torch.tensor(TARGETS["neutral"])
SURE_WITHIN = 0.15  # a distance from the target at which the network should be sure by 1 / e
LARGEST_SHIFT = 1000  # samples that the averaged network hears less of
STATISTICS_BATCHES = 64  # of 32 crops, for the mean and deviation of embeddings


@dataclass(frozen=True)
class Recipe:
    """What a run is made of; the same recipe, data and number of threads give the same network.

    Attributes:
        leave_out: a corpus that is not trained on but measured, whole, with the held-out speakers; for experiments
        corpus_shares: of the clips in an epoch; corpora that are not named, and an empty mapping, go by their size
        crop_seconds: shortest and longest crop, one length a batch, short ones more often (its logarithm is uniform)
        long_share: of batches with crops of `long_seconds`
        repeat_short: share of the clips shorter than their crop that are repeated to its length; the others lie in zeros
        speed: largest change of tempo and pitch together, a share
        frozen_layers: of the encoder, left as they are with the convolutions and positions; 0 trains everything
        emotion_weight, consistency_weight, confidence_weight: of the parts of the loss beside the CCC of the scores:
            classes; distance from what the averaged network says of the unchanged crop, less its first 0 to 62 ms; how
            sure it should be
        consistency_from: epoch (from 0) at which the averaged network has learnt enough to be followed
        no_speech: rows of a batch that hold none, and are to be neutral and not sure
        average_decay: of the averaged weights, which are what is kept
        half: compute in bf16 where that is safe (autocast)
    """

    epochs: int = 6
    batch_size: int = 32
    leave_out: str = ""
    corpus_shares: dict[str, float] = field(default_factory=lambda: {"nemo": 0.48, "ravdess": 0.32, "baved": 0.20})
    crop_seconds: tuple[float, float] = (0.8, 4.0)
    long_share: float = 0.05
    long_seconds: float = 8.0
    repeat_short: float = 0.7
    speed: float = 0.1
    frozen_layers: int = 1
    trunk_rate: float = 1e-4
    head_rate: float = 7e-4
    weight_decay: float = 0.02
    emotion_weight: float = 0.5
    consistency_weight: float = 4.0
    consistency_from: int = 3
    confidence_weight: float = 0.3
    no_speech: int = 2
    average_decay: float = 0.998
    half: bool = False
    seed: int = 1


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file of its fields, with "key=value" (the value in YAML) instead of what it says.

    Raises:
        FormatError: no such file, no field of that name, a value of another kind
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for text in overrides:
            key, sign, value = text.partition("=")
            if not sign:
                raise FormatError(f"'{text}' changes nothing; expected key=value, such as epochs=2.")
            given[key] = yaml.safe_load(value)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path} is no recipe: {str(error).splitlines()[0]}; expected YAML with a value for each key."
        ) from None
    known = asdict(Recipe())
    for key, value in given.items():
        if key not in known:
            raise FormatError(f"A recipe has no '{key}'; it has {', '.join(known)}.")
        wanted = known[key]
        if isinstance(wanted, tuple) and isinstance(value, list) and len(value) == len(wanted):
            given[key] = tuple(float(one) for one in value)
        elif isinstance(wanted, float) and (type(value) is int or _is_number(value)):  # YAML takes 1e-4 for a word
            given[key] = float(value)
        elif type(value) is not type(wanted):
            raise FormatError(f"'{key}' of a recipe is {value!r}; expected something like {wanted!r}.")
    return Recipe(**given)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def crop(
    signal: npt.NDArray[np.float32], samples: int, rng: np.random.Generator, repeat_short: float = 0.0
) -> npt.NDArray[np.float32]:
    """A random stretch with speech in it; clips that are too short are repeated, or lie somewhere in zeros."""
    if signal.size <= samples:
        if signal.size and rng.uniform() < repeat_short:
            return np.resize(np.roll(signal, -int(rng.integers(signal.size))), samples)
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

    def __init__(
        self, recipe: Recipe, model: Lite, clips: list[Clip], signals: Signals, folder: Path, device: str = "cpu"
    ) -> None:
        self.recipe, self.clips, self.signals, self.folder = recipe, clips, signals, folder
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.indices = [index for index, clip in enumerate(clips) if not clip.held_out]
        self.targets = torch.tensor([clip.targets for clip in clips], dtype=torch.float32, device=self.device)
        self.emotions = torch.tensor([clip.emotion for clip in clips], device=self.device)
        frozen = ("conv1.", "conv2.", "embed_positions.", *(f"layers.{k}." for k in range(recipe.frozen_layers)))
        if recipe.frozen_layers:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not name.startswith(frozen))
        new = ("head.", "emotion.", "certainty.")
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        trunk = [p for name, p in trained.items() if not name.startswith(new)]
        head = [p for name, p in trained.items() if name.startswith(new)]
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
        if not self._resume():
            self._standardise(self.model)
            self.average.module.load_state_dict(self.model.state_dict())
        while self.epoch < self.recipe.epochs:
            started = time.monotonic()
            loss = self._train_epoch()
            self.epoch += 1
            self._save()
            averaged = self._averaged().cpu()
            figures = held_out_figures(averaged, self.clips, self.signals, every=12)
            record = {"epoch": self.epoch, "loss": loss, "seconds": time.monotonic() - started, **figures}
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
        return self._averaged().cpu()

    def _train_epoch(self) -> float:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.epoch])
        generator = torch.Generator(self.device).manual_seed(recipe.seed * 1000 + self.epoch)
        torch.manual_seed(recipe.seed * 1000 + self.epoch)  # dropout
        augment = Augmenter(generator)
        order = self._order(rng)
        self._train_mode()
        losses = []
        for batch in order.reshape(-1, recipe.batch_size):
            signal = self._crops(batch, rng)
            first = int(rng.integers(0, self._positions(signal.shape[1])))
            with torch.no_grad():
                clean = self.model.log_mel(signal[:, int(rng.integers(0, LARGEST_SHIFT + 1)) :])
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

    def _train_mode(self) -> None:
        """Dropout on; embeddings are standardised by fixed figures, as they will be when the network is used.

        With those of each batch the head would never see that short crops have other embeddings than long ones, and
        scores of real recordings would be off by a third of the scale.
        """
        self.model.train()
        self.model.standardise.eval()
        self.average.module.eval()

    def _order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Clips of an epoch: of each corpus its share, all of its clips before one of them comes again."""
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
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half):
            embeddings = model.embed(features, first)
        scores = model.head(embeddings)
        targets, emotions = self.targets[batch].clone(), self.emotions[batch].clone()
        targets[: recipe.no_speech], emotions[: recipe.no_speech] = torch.nan, -1
        loss = ccc_loss(targets, scores)
        if recipe.no_speech:
            loss = loss + functional.mse_loss(
                scores[: recipe.no_speech], NEUTRAL.to(scores).expand(recipe.no_speech, 3)
            )
        if model.emotion is not None and bool((emotions >= 0).any()):
            loss = loss + recipe.emotion_weight * functional.cross_entropy(
                model.emotion(embeddings), emotions, ignore_index=-1
            )
        if recipe.consistency_weight and self.epoch >= recipe.consistency_from:
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
        """Fill in the mean and deviation of embeddings, over training crops altered as in training.

        What stands behind them is changed so that the network gives what it gave.
        """
        rng = np.random.default_rng(self.recipe.seed)
        augment = Augmenter(torch.Generator(self.device).manual_seed(self.recipe.seed))
        standardise, model.standardise = model.standardise, torch.nn.Identity()  # type: ignore[assignment]
        model.eval()
        rows = []
        with torch.no_grad():
            for _ in range(STATISTICS_BATCHES):
                batch = rng.choice(self.indices, 32)
                rows.append(model.embed(augment.mask_bands(model.log_mel(augment(self._crops(batch, rng))))))
        values = torch.cat(rows)
        model.standardise = standardise
        model.restandardise(values.mean(dim=0), values.var(dim=0))

    def _averaged(self) -> Lite:
        """The averaged weights, embeddings standardised over the training crops."""
        model = Lite(self.model.config).to(self.device)
        model.load_state_dict(self.average.module.state_dict())
        self._standardise(model)
        return model.eval()

    def _crops(self, batch: npt.NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Crops of one random length, [batch, samples], a little faster or slower than they were spoken."""
        recipe = self.recipe
        shortest, longest = recipe.crop_seconds
        seconds = (
            recipe.long_seconds
            if rng.uniform() < recipe.long_share
            else float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
        )
        samples = int(seconds * RATE) // FRAME_HOP * FRAME_HOP
        factor = 1 + rng.uniform(-recipe.speed, recipe.speed) if recipe.speed else 1.0
        taken = round(samples * factor)
        crops = torch.from_numpy(
            np.stack([crop(self.signals[index], taken, rng, recipe.repeat_short) for index in batch])
        ).to(self.device)
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

    def _resume(self) -> bool:
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if {**state["recipe"], "crop_seconds": tuple(state["recipe"]["crop_seconds"])} != asdict(self.recipe):
            raise SystemExit(f"{path} was made by another recipe; choose another folder or remove it.")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch = state["epoch"]
        return True


@told
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m emow2v.training.lite", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or name of the Whisper encoder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for state, log and model.pt")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to PyTorch")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: a GPU if there is one")
    parser.add_argument("recipe", nargs="*", help="YAML file [default: the one of lite], then key=value as one likes")
    options = parser.parse_args(arguments)
    files = [text for text in options.recipe if "=" not in text]
    recipe = read_recipe(Path(files[0]) if files else RECIPE, [text for text in options.recipe if "=" in text])
    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    keep_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    clips = [
        replace(clip, left_out=clip.corpus == recipe.leave_out) for clip in read_manifest(options.data / "manifest.csv")
    ]
    signals = decode(clips, options.output / "signals.npz")
    torch.manual_seed(recipe.seed)
    model = Lite(LiteConfig(emotions=len(EMOTIONS), confidence=1))
    load_whisper(model, options.encoder)
    trained = Trainer(recipe, model, clips, signals, options.output, device).run()
    figures = held_out_figures(trained, clips, signals, recall=True)
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
