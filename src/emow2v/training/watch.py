"""What is seen of a training: a bar with time left, a line an epoch, TensorBoard's curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emow2v.progress import Steps

CURVES = "tensorboard"  # folder in that of the run


class Watch:
    """The watcher of a `Loop`; in processes that do not write, it is not made.

    Args:
        accelerator: Accelerate's with its tracker `tensorboard`, or None for no curves
    """

    def __init__(self, bar: Steps, epochs: int, folder: Path, accelerator: Any = None) -> None:
        self._bar, self._epochs, self._folder, self._accelerator = bar, epochs, folder, accelerator
        self._best: float | None = None
        self._losses: list[float] = []

    def begin(self, step: int, steps: int) -> None:
        self._bar.begin(step, steps)
        if step:
            self._bar.say(f"going on after step {step} of {steps}")
        if self._accelerator is not None:
            # what a killed run wrote behind its last state is done again
            about = {CURVES: {"purge_step": step + 1}}
            self._accelerator.init_trackers("", init_kwargs=about)

    def step(self, step: int, epoch: int, loss: float) -> None:
        self._losses = [*self._losses[-19:], loss]
        mean = sum(self._losses) / len(self._losses)
        self._bar.at(step, f"epoch {epoch + 1}/{self._epochs}, loss {mean:.3f}")
        self._curves({"loss": loss}, step)

    def epoch(self, step: int, record: Mapping[str, Any]) -> None:
        better = self._best is None or record["score"] > self._best
        self._best = record["score"] if better else self._best
        self._bar.say(sentence(record) + (", the best so far" if better else ""))
        told = {f"ccc/{name}": value for name, value in record["ccc"].items()}
        self._curves({**told, "ccc/mean": record["score"], "loss/epoch": record["loss"]}, step)

    def _curves(self, values: Mapping[str, float], step: int) -> None:
        if self._accelerator is not None:
            self._accelerator.log(dict(values), step=step)

    def end(self) -> None:
        if self._accelerator is not None:
            self._accelerator.end_training()


def sentence(record: Mapping[str, Any]) -> str:
    """An epoch in words."""
    figures = ", ".join(f"{name} {value:.3f}" for name, value in record["ccc"].items())
    return f"epoch {record['epoch']}: loss {record['loss']:.3f}, CCC {record['score']:.3f} ({figures})"
