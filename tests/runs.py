"""What tests of trainings share: stopping one, and its log without what a clock says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch


class StopError(Exception):
    """Somebody stopped the run."""


@contextmanager
def stopped_after(task: type[Any], steps: int) -> Iterator[None]:
    """A run within the block is stopped at the end of so many steps, before their state can be written."""
    step, left = task.step, steps

    def counted(self: Any) -> float:
        nonlocal left
        loss: float = step(self)
        left -= 1
        if not left:
            raise StopError
        return loss

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(task, "step", counted)
        yield


def log(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def better_by_epoch(
    evaluate: Callable[..., tuple[dict[str, Any], float]],
) -> Callable[..., tuple[dict[str, Any], float]]:
    """An evaluation by which every epoch is better than the last, so that each writes a best network."""

    def better(task: Any) -> tuple[dict[str, Any], float]:
        figures, score = evaluate(task)
        return figures, score + task._epoch

    return better


class Counting:
    """A task whose loss tells where it is."""

    steps_per_epoch = 3

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.value, self.epoch, self.kept = scores, torch.zeros(1), 0, []
        self.done: list[tuple[int, int]] = []

    def begin_epoch(self, epoch: int, first: int) -> None:
        self.epoch, self.at = epoch, first

    def step(self) -> float:
        self.done.append((self.epoch, self.at))
        self.at += 1
        self.value = self.value * 1.1 + self.at
        return float(self.value)

    def evaluate(self) -> tuple[dict[str, Any], float]:
        return {"value": float(self.value)}, self.scores[self.epoch]

    def keep_best(self, figures: Mapping[str, Any]) -> None:
        self.kept.append(figures["epoch"])

    def state(self, *, finished: bool) -> dict[str, Any]:
        return {"value": self.value}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.value = state["value"]


def plain(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what a clock says."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]
