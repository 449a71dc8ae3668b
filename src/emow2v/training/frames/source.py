"""The rows of sound of an epoch, composed step by step: in the process of the training, or ahead in others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite_frames import FRAME
from emow2v.training.frames.recipe import SHORTEST, FramesRecipe
from emow2v.training.frames.rows import Rows, compose
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.bank import Bank
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.task import random_crops

WHOLE = 0.5  # share of batches whose window is the whole crop


class RowSource(Dataset[Rows]):
    """The rows of each step of an epoch, on the processor.

    Every step has random numbers of its own: the same recipe, epoch and step give the same rows in any process, and a run
    that goes on needs no state of them.

    Args:
        batches: clips of each step, [steps, rows]
        banks: `noises` and `rooms` for the changes
    """

    def __init__(
        self,
        recipe: FramesRecipe,
        signals: Signals,
        batches: npt.NDArray[np.int64],
        banks: Mapping[str, Bank | None],
        epoch: int,
    ) -> None:
        self.recipe, self.signals, self.batches, self.banks, self.epoch = recipe, signals, batches, banks, epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Rows:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.epoch, step])
        augment = Augmenter(torch.Generator().manual_seed(int(rng.integers(2**62))), **self.banks)
        crops = random_crops(recipe, self.signals, self.batches[step], rng)
        crops = crops[:, : crops.shape[1] // FRAME * FRAME]
        frames = crops.shape[1] // FRAME
        length = frames
        if rng.uniform() > WHOLE:
            length = round(float(np.exp(rng.uniform(np.log(SHORTEST), np.log(frames)))))
        begin = int(rng.integers(0, frames - length + 1))
        pause = round(recipe.pause_seconds * SAMPLING_RATE / FRAME)
        span = (begin, begin + length)
        return compose(crops, recipe.no_speech, pause, span, rng, augment, self.banks["noises"])

    def rows(self, first: int) -> Iterator[Rows]:
        """The rows of all steps from `first` on, in order; `workers` processes compose those of the next steps."""
        steps = range(first, len(self))
        return iter(DataLoader(self, batch_size=None, sampler=steps, num_workers=self.recipe.workers))
