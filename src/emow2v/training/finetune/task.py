"""Fine-tuning of a wav2vec2, HuBERT or WavLM encoder with its regression head, on people's ratings of speech."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from accelerate.utils import gather_object
from pydantic.dataclasses import dataclass
from torch import Tensor

from emow2v import cards
from emow2v._version import __version__
from emow2v.agreement import ccc
from emow2v.corpora.checks import CheckedCorpus
from emow2v.corpora.partitions import DEVELOPMENT, TRAIN
from emow2v.errors import FormatError, ModelError
from emow2v.framing import SAMPLING_RATE, Signal
from emow2v.networks import checkpoint, wav2vec2
from emow2v.storage.folders import atomic_folder
from emow2v.training import recipe as recipes
from emow2v.training.finetune.batches import ClipSignals, Indices, draws, order, padded
from emow2v.training.finetune.whole_batch_loss import backward
from emow2v.training.losses import ccc_loss
from emow2v.training.recipe import Count, CountFromZero, NumberFromZero, PositiveNumber, Switch
from emow2v.trajectory import DIMENSIONS

BEST = "best"  # folder of the best network
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # ours, and what Accelerate calls them
# Of config.json: how a network is trained, not what it computes
SETTINGS = ("activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "hidden_dropout", "layerdrop",
            "apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks", "mask_feature_prob",
            "mask_feature_length", "mask_feature_min_masks")  # fmt: skip


@dataclass(frozen=True, config=recipes.CONFIG)
class FineTuningRecipe:
    """The settings of a fine-tuning. The same recipe, data, device and number of threads give the same network.

    Attributes:
        model: folder of a checkpoint with a regression head, such as `emow2v prune` writes
        corpus, data: kind of corpus and where it lies
        corpus_options: options of the reader of the corpus
        allow: faults of the corpus that do not stop the run, by their names in `emow2v.corpora.checks`
        thorough: decode the whole corpus before the first step, to find silence and damage
        batch_size: clips in a step, over all processes; the loss is that of the whole batch
        micro_batch: clips that a process computes at a time, to save memory; 0 for its whole share
        max_seconds: of a longer clip a random stretch of that length is trained on, and its middle evaluated
        learning_rate: of Adam, the same in every step
        max_gradient_norm: longer gradients are shortened to it; 0 leaves them
        freeze_feature_encoder: do not train the convolutions
        network: dropouts, layerdrop and masks in place of those in the checkpoint's config.json
        precision: of the encoder's arithmetic
        gradient_checkpointing: compute layers again on the way back instead of keeping them: less memory, a third slower
        patience: epochs without a better CCC on the development part after which the run ends; 0 for all epochs
        checkpoint_steps: steps from one state on the disk to the next, within an epoch; 0 writes one at an epoch's end
        workers: threads that decode
    """

    model: str = ""
    corpus: str = "csv"
    data: str = ""
    corpus_options: dict[str, Any] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    thorough: Switch = True
    epochs: Count = 5
    batch_size: Count = 32
    micro_batch: CountFromZero = 0
    max_seconds: PositiveNumber = 30.0
    learning_rate: PositiveNumber = 1e-4
    max_gradient_norm: NumberFromZero = 0.0
    freeze_feature_encoder: Switch = True
    network: dict[str, Any] = field(default_factory=dict)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: Switch = False
    patience: CountFromZero = 0
    checkpoint_steps: CountFromZero = 500
    tensorboard: Switch = True
    workers: Count = 2
    seed: CountFromZero = 1

    def __post_init__(self) -> None:
        for name in self.network:
            if name not in SETTINGS:
                known = recipes.known_names(name, SETTINGS)
                raise FormatError(f"'network' of a recipe has no '{name}'; it may have {known}.")

    def numbers(self) -> dict[str, Any]:
        """The settings on which the result of a run depends, beside its corpus and first weights."""
        free = ("model", "data", "thorough", "checkpoint_steps", "tensorboard", "workers")
        return {name: value for name, value in asdict(self).items() if name not in free}


class FineTuning:
    """The task of a `Loop`: steps on the training part, CCC on the development part.

    Args:
        corpus: checked clips
        accelerator: Accelerate's
        folder: in which the best network is kept
    """

    def __init__(self, recipe: FineTuningRecipe, corpus: CheckedCorpus, accelerator: Any, folder: Path) -> None:
        self.recipe, self.accelerator, self.folder = recipe, accelerator, folder
        self.source = Path(recipe.model)
        self.model = wav2vec2.load(self.source, trainable=True, settings=recipe.network).model.to(accelerator.device)
        if recipe.freeze_feature_encoder:
            self.model.encoder.feature_extractor._freeze_parameters()
        if recipe.gradient_checkpointing:
            encoder = self.model.encoder  # renamed in Transformers 5
            begin = getattr(encoder, "activation_checkpointing_enable", None) or encoder.gradient_checkpointing_enable
            begin({"use_reentrant": False})
        self._parameters = [one for one in self.model.parameters() if one.requires_grad]
        adam = torch.optim.Adam(self._parameters, lr=recipe.learning_rate)
        self.optimizer = accelerator.prepare_optimizer(adam)
        parts = np.array([clip.partition for clip in corpus.clips])
        self.train, self.development = (np.flatnonzero(parts == name) for name in (TRAIN, DEVELOPMENT))
        self._durations = corpus.durations
        targets = [clip.ratings for clip in corpus.clips]
        self._targets = torch.tensor(targets, dtype=torch.float32, device=accelerator.device)
        longest = max(int(recipe.max_seconds * SAMPLING_RATE), self._shortest())
        self.signals = ClipSignals(corpus.clips, shortest=self._shortest(), longest=longest, workers=recipe.workers)
        # a network that normalises over time takes clips of one length only: one at a time
        self._micro = (recipe.micro_batch or recipe.batch_size) if self.model.masks else 1
        self._epoch = self._step = 0
        self._batches: list[Indices] = []
        self._signals: Iterator[list[Signal | None]] = iter(())

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.train) // self.recipe.batch_size)

    def _shortest(self) -> int:
        """Samples of a clip: a frame, and where stretches of frames are masked one more than a stretch has."""
        config = self.model.config
        masked = getattr(config, "apply_spec_augment", True) and config.mask_time_prob > 0
        frames = config.mask_time_length + 1 if masked else 1
        return self.model.min_samples + (frames - 1) * math.prod(config.conv_stride)

    def begin_epoch(self, epoch: int, first: int) -> None:
        recipe, rank, processes = self.recipe, self.accelerator.process_index, self.accelerator.num_processes
        chosen = order(self._durations[self.train], recipe.batch_size, seed=recipe.seed, epoch=epoch)
        self._batches = [self.train[batch] for batch in chosen]
        self._epoch, self._step = epoch, first
        mine = [batch[rank::processes].tolist() for batch in self._batches[first:]]
        self._signals = self.signals.ahead(mine, recipe.seed, epoch)
        self.model.train()

    def step(self) -> float:
        accelerator, processes = self.accelerator, self.accelerator.num_processes
        batch, signals = self._batches[self._step], next(self._signals)
        rows = np.arange(len(batch))[accelerator.process_index :: processes]
        here = [k for k, signal in enumerate(signals) if signal is not None]
        usable = torch.zeros(len(batch), device=accelerator.device)
        usable[rows[here]] = 1.0
        usable = accelerator.reduce(usable, reduction="sum")
        truth = torch.where(usable[:, None] > 0, self._targets[batch], torch.nan)
        parts = [here[begin : begin + self._micro] for begin in range(0, len(here), self._micro)]

        def forward(k: int) -> Tensor:
            # the same dropout, layers and masks whenever the part is computed, also after a restart
            seed = draws(self.recipe.seed, self._epoch, self._step, accelerator.process_index, k).integers(2**31)
            torch.manual_seed(int(seed))
            np.random.seed(int(seed))  # Transformers draws masks from NumPy's
            return self._scores([signals[index] for index in parts[k]])  # type: ignore[misc]

        value = backward(accelerator, forward, [rows[part] for part in parts], truth, self._parameters, ccc_loss)
        if not math.isfinite(value):
            raise ModelError(
                f"The loss is no number in step {self._step + 1} of epoch {self._epoch + 1}; try a smaller learning_rate, "
                "max_gradient_norm=1, or precision=fp32."
            )
        if self.recipe.max_gradient_norm:
            accelerator.clip_grad_norm_(self._parameters, self.recipe.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._step += 1
        return value

    def _scores(self, signals: Sequence[Signal]) -> Tensor:
        signal, lengths = (tensor.to(self.accelerator.device) for tensor in padded(signals))
        with self.accelerator.autocast():
            pooled = self.model.pooled(signal, lengths)
        return self.model.scored(pooled)[1]  # the head in float32

    def evaluate(self) -> tuple[dict[str, Any], float]:
        accelerator = self.accelerator
        self.model.eval()
        # the longest first, so that a lack of memory shows at once
        mine = self.development[np.argsort(-self._durations[self.development], kind="stable")]
        mine = mine[accelerator.process_index :: accelerator.num_processes]
        size = self._micro if self._micro != self.recipe.batch_size else min(self._micro, 8)
        batches = [mine[begin : begin + size] for begin in range(0, len(mine), size)]
        scores = torch.zeros(len(self._targets), len(DIMENSIONS), device=accelerator.device)
        usable = torch.zeros(len(self._targets), device=accelerator.device)
        for batch, signals in zip(batches, self.signals.ahead([one.tolist() for one in batches]), strict=True):
            here = [k for k, signal in enumerate(signals) if signal is not None]
            if here:
                with torch.inference_mode():
                    scores[batch[here]] = self._scores([signals[k] for k in here]).float()  # type: ignore[misc]
                usable[batch[here]] = 1.0
        scores, usable = (accelerator.reduce(one, reduction="sum").cpu() for one in (scores, usable))
        chosen = self.development[usable[self.development].numpy() > 0]
        truth, found = self._targets[chosen].double().cpu().numpy(), scores[chosen].double().numpy()
        for skipped in gather_object([self.signals.skipped]):
            self.signals.skipped.update(skipped)
        if all(int(index) in self.signals.skipped for index in self.train):
            raise FormatError(
                f"None of the {len(self.train)} clips of the training part can be used, so that nothing was learnt; the "
                f"first: {self.signals.skipped[int(self.train[0])]}"
            )
        figures = {name: ccc(truth[:, k], found[:, k]) for k, name in enumerate(DIMENSIONS)}
        known = [value for value in figures.values() if not math.isnan(value)]
        if not known:
            raise FormatError(
                f"Nothing can be measured on the development part: {len(chosen)} of {len(self.development)} clips are usable; "
                "expected two or more with different labels."
            )
        defined = {name: value for name, value in figures.items() if not math.isnan(value)}
        return {"ccc": defined, "skipped": len(self.signals.skipped)}, math.fsum(known) / len(known)

    def keep_best(self, figures: Mapping[str, Any]) -> None:
        content = {**wav2vec2.read_json(self.source / "config.json"), **self.recipe.network}
        about = {
            "best": dict(figures),
            "recipe": asdict(self.recipe),
            "with": {
                "emow2v": __version__,
                "torch": str(torch.__version__),
                "transformers": transformers.__version__,
                "processes": self.accelerator.num_processes,
                "device": self.accelerator.device.type,
            },
        }
        licence = cards.stated_licence(self.source)
        front = f"---\nlicense: {licence.lower()}\n---\n" if licence != "unknown" else ""
        readme = (
            f"{front}# {self.source.resolve().name}, fine-tuned\n\nAn encoder of the type {content['model_type']} with a "
            f"regression head for {', '.join(DIMENSIONS)}, fine-tuned by `emow2v train`; training.json says how.\n"
        )
        with atomic_folder(self.folder / BEST, replace=True) as fresh:
            state = self.model.state_dict()
            checkpoint.write(fresh, state, content, normalise=self.model.normalise, readme=readme)
            (fresh / "training.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def state(self, *, finished: bool) -> dict[str, Any]:
        skipped = dict(self.signals.skipped)
        if finished:  # Adam's moments take twice the room of the network, which is in best/
            return {"skipped": skipped}
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "skipped": skipped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.signals.skipped.update(state["skipped"])
        if "model" not in state:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
