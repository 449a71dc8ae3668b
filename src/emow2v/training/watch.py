"""Progress of a training: a bar with time left, a line an epoch, TensorBoard's curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from emow2v.progress import Steps

CURVES = "tensorboard"  # folder in that of the run


class Watch:
    """Shows the progress of a `Loop`.

    Args:
        folder: of TensorBoard's curves, or None for no curves
    """

    def __init__(self, bar: Steps, epochs: int, folder: Path | None = None) -> None:
        self._bar, self._epochs, self._folder = bar, epochs, folder
        self._writer: Any = None
        self._best: float | None = None
        self._losses: list[float] = []

    def begin(self, step: int, steps: int) -> None:
        """So many steps of all are done, by an earlier run."""
        self._bar.begin(step, steps)
        if step:
            self._bar.say(f"going on after step {step} of {steps}")
        if self._folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            # steps after the last state of a killed run are done again
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def step(self, step: int, epoch: int, loss: float) -> None:
        """A step of an epoch (from 0) is done."""
        self._losses = [*self._losses[-19:], loss]
        mean = sum(self._losses) / len(self._losses)
        self._bar.update(step, f"epoch {epoch + 1}/{self._epochs}, loss {mean:.3f}")
        self._curves({"loss": loss}, step)

    def epoch(self, step: int, record: Mapping[str, Any]) -> None:
        """An epoch is done; `record` is its line of the log."""
        values = {f"ccc/{name}": value for name, value in record["ccc"].items()}
        better = False
        if "score" in record:
            better = self._best is None or record["score"] > self._best
            self._best = record["score"] if better else self._best
            values["ccc/mean"] = record["score"]
        self._bar.say(sentence(record) + (", the best so far" if better else ""))
        self._curves({**values, "loss/epoch": record["loss"]}, step)

    def _curves(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, global_step=step)
            self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def sentence(record: Mapping[str, Any]) -> str:
    """An epoch in words."""
    figures = in_words(record["ccc"])
    score = f"{record['score']:.3f} ({figures})" if "score" in record else figures
    return f"epoch {record['epoch']}: loss {record['loss']:.3f}, CCC {score}"


def in_words(ccc: Mapping[str, float]) -> str:
    """CCC by dimension in words, "unknown" where there is none."""
    return ", ".join(f"{name} {value:.3f}" for name, value in ccc.items()) or "unknown"
