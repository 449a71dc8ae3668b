"""Functions that worker processes import: what multiprocessing sends must have a module."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from emow2v.model import Model


def logits(signal: np.ndarray, sampling_rate: int, model: Model) -> np.ndarray:
    """As `audinterface.Feature` calls it: [channels, samples] in, [features] out."""
    return model(signal, sampling_rate)["logits"][0]


def scores_and_identity(model: Model, signal: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Scores, the process, and which object of it the model is."""
    return model(signal, 16000)["logits"][0], os.getpid(), id(model)


class Clips:
    """A dataset for PyTorch's DataLoader that holds a model."""

    def __init__(self, model: Model, signals: list[np.ndarray]) -> None:
        self.model, self.signals = model, signals

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, number: int) -> Any:
        return self.model(self.signals[number], 16000)["hidden_states"][0]
