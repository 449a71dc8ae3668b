"""The loop of every training: epochs of steps, a state to continue from, the best network, the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emow2v.errors import FormatError
from emow2v.storage import locks
from emow2v.storage.files import write_text
from emow2v.training import state as states
from emow2v.training.watch import Watch

LOG = "log.jsonl"  # a line an epoch


class Task(Protocol):
    """A network in training. The same state and the same next step give the same numbers."""

    @property
    def steps_per_epoch(self) -> int: ...

    def begin_epoch(self, epoch: int, first: int) -> None:
        """Prepare the steps of an epoch (from 0), of which `first` are done."""

    def step(self) -> float:
        """Do the next step; returns its loss."""

    def evaluate(self) -> tuple[dict[str, Any], float | None]:
        """Measure the network at the end of an epoch: figures for the log, with `ccc` by dimension, and the figure by which
        the best network is chosen (more is better), or None where the last one is the result."""

    def keep_best(self, figures: Mapping[str, Any]) -> None:
        """Write the network in the place of the best one so far; not called where none is chosen."""

    def state(self, *, finished: bool) -> dict[str, Any]:
        """All that the next step depends on: tensors, numbers, words; of a finished run, what its result depends on."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""


@dataclass
class Loop:
    """A run in a folder.

    Attributes:
        made_of: everything on which its result depends; a run that was begun with something else is refused
        epochs: at most
        patience: epochs without a better figure after which it ends; 0 for all epochs
        checkpoint_steps: steps from one state on the disk to the next, beside those at the end of an epoch; 0 for none
        writes: False in all processes but one
        watch: shows the progress
        wait_for_all: waits for the other processes
        on_begin: called before the first step, when the folder is known to be of this run
        resumed: whether the run continues from a state
    """

    task: Task
    folder: Path
    made_of: Mapping[str, Any]
    epochs: int
    patience: int = 0
    checkpoint_steps: int = 0
    writes: bool = True
    watch: Watch | None = None
    wait_for_all: Callable[[], None] = lambda: None
    on_begin: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._epoch = self._step = 0
        self._losses: list[float] = []
        self._history: list[dict[str, Any]] = []
        self._seconds = 0.0
        self.resumed = False

    @property
    def best(self) -> dict[str, Any] | None:
        """The log's record of the best epoch."""
        scored = [record for record in self._history if not math.isnan(record.get("score", math.nan))]
        return max(scored, key=lambda record: float(record["score"])) if scored else None

    def run(self) -> list[dict[str, Any]]:
        """Train to the end, from the last state on the disk; returns the record of each epoch.

        Raises:
            FormatError: another run is in the folder, or the disk cannot be written
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.writes:
                return self._run()
            with locks.acquire(self.folder / ".lock", f"{self.folder} is being trained in", "choose another folder"):
                return self._run()
        except OSError as error:
            raise FormatError(f"{self.folder} cannot be written ({error.strerror or error}); make room.") from None

    def _run(self) -> list[dict[str, Any]]:
        if self.writes:
            states.sweep(self.folder)
        state = states.read(self.folder, self.made_of)
        self.resumed = state is not None
        if state is not None:
            self._epoch, self._step, self._seconds = state["epoch"], state["step"], state["seconds"]
            self._losses, self._history = state["losses"], state["history"]
            self.task.restore(state["task"])
            if state["finished"]:
                return self._history
            del state
        self.wait_for_all()  # no process writes before all have read
        self.on_begin()
        per_epoch = self.task.steps_per_epoch
        done = self._epoch * per_epoch + self._step
        if self.watch:
            self.watch.begin(done, self.epochs * per_epoch)
        since = time.monotonic()
        while self._epoch < self.epochs and not self._is_over():
            self.task.begin_epoch(self._epoch, self._step)
            while self._step < per_epoch:
                loss = self.task.step()
                self._losses.append(loss)
                self._step, done = self._step + 1, done + 1
                if self.watch:
                    self.watch.step(done, self._epoch, loss)
                if self.checkpoint_steps and self._step % self.checkpoint_steps == 0 and self._step < per_epoch:
                    self._seconds, since = self._seconds + time.monotonic() - since, time.monotonic()
                    self._save()
            figures, score = self.task.evaluate()
            best = self.best
            self._seconds, since = self._seconds + time.monotonic() - since, time.monotonic()
            loss = math.fsum(self._losses) / len(self._losses)
            record = {"epoch": self._epoch + 1, "loss": loss, "seconds": self._seconds}
            record |= figures if score is None else {"score": score, **figures}
            self._history.append(record)
            # the best network is written before the state that names it: a run killed between does the epoch again, alike
            better = score is not None and not math.isnan(score) and (best is None or score > best["score"])
            if self.writes and better:
                self.task.keep_best(record)
            self._epoch, self._step, self._losses, self._seconds = self._epoch + 1, 0, [], 0.0
            self._save(finished=self._epoch == self.epochs or self._is_over())
            if self.watch:
                self.watch.epoch(done, record)
        return self._history

    def _is_over(self) -> bool:
        """Whether the last `patience` epochs brought nothing better."""
        best = self.best
        return bool(self.patience and best and self._epoch - best["epoch"] >= self.patience)

    def _save(self, *, finished: bool = False) -> None:
        self.wait_for_all()
        if not self.writes:
            return
        state = {
            "made_of": dict(self.made_of),
            "epoch": self._epoch,
            "step": self._step,
            "seconds": self._seconds,
            "losses": self._losses,
            "history": self._history,
            "finished": finished,
            "task": self.task.state(finished=finished),
        }
        states.write(self.folder, state)
        lines = "".join(json.dumps(record) + "\n" for record in self._history)
        if lines:
            write_text(self.folder / LOG, lines, overwrite=True)
