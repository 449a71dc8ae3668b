"""The loop of every training here: epochs of steps, a state to go on from, the best network, when to stop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from emow2v.errors import FormatError
from emow2v.storage import locks
from emow2v.storage.files import write_text
from emow2v.training import state as states

LOG = "log.jsonl"  # a line an epoch


class Task(Protocol):
    """What is trained. With the same state and the same next step its numbers are the same."""

    @property
    def steps_per_epoch(self) -> int: ...

    def begin_epoch(self, epoch: int, first: int) -> None:
        """Make ready for the steps of an epoch (from 0), of which `first` are done."""

    def step(self) -> float:
        """The next step; gives its loss."""

    def evaluate(self) -> tuple[dict[str, Any], float | None]:
        """At an epoch's end: figures for the log, with `ccc` by dimension, and the one that decides which network is the
        best (more is better); None where none is chosen, and what counts is the last."""

    def keep_best(self, figures: Mapping[str, Any]) -> None:
        """Write the network as it is, in the place of the best one so far; not asked where none is chosen."""

    def state(self, *, finished: bool) -> dict[str, Any]:
        """All that the next step depends on: tensors, numbers, words; or what is wanted when there is no next step."""

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Watcher(Protocol):
    """What is told while a training runs, in its order."""

    def begin(self, step: int, steps: int) -> None: ...

    def step(self, step: int, epoch: int, loss: float) -> None: ...

    def epoch(self, step: int, record: Mapping[str, Any]) -> None: ...


class Silent:
    """Nobody watches."""

    def begin(self, step: int, steps: int) -> None: ...

    def step(self, step: int, epoch: int, loss: float) -> None: ...

    def epoch(self, step: int, record: Mapping[str, Any]) -> None: ...


@dataclass
class Loop:
    """A run in a folder.

    Attributes:
        made_of: what decides its numbers; a run that was begun with something else is not gone on with
        epochs: at most
        patience: epochs without a better figure after which it ends; 0 for all epochs
        checkpoint_steps: steps from one state on the disk to the next, beside those at the end of an epoch; 0 for none
        writes: False in all processes but one
        together: waits for the other processes
        check: called after each step; may raise to stop the run
        begun: called when it is certain that the folder is this run's
    """

    task: Task
    folder: Path
    made_of: Mapping[str, Any]
    epochs: int
    patience: int = 0
    checkpoint_steps: int = 0
    writes: bool = True
    watcher: Watcher = field(default_factory=Silent)
    together: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    begun: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._epoch = self._step = 0
        self._losses: list[float] = []
        self._history: list[dict[str, Any]] = []
        self._seconds = 0.0

    @property
    def best(self) -> dict[str, Any] | None:
        """The log's record of the best epoch."""
        scored = [record for record in self._history if not math.isnan(record.get("score", math.nan))]
        return max(scored, key=lambda record: float(record["score"])) if scored else None

    def run(self) -> list[dict[str, Any]]:
        """To the end, from where it was left; gives a record an epoch.

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
        if state is not None:
            self._epoch, self._step, self._seconds = state["epoch"], state["step"], state["seconds"]
            self._losses, self._history = state["losses"], state["history"]
            self.task.restore(state["task"])
            if state["finished"]:
                return self._history
            del state
        self.together()  # nobody writes before all have read
        self.begun()
        per_epoch = self.task.steps_per_epoch
        done = self._epoch * per_epoch + self._step
        self.watcher.begin(done, self.epochs * per_epoch)
        since = time.monotonic()
        while self._epoch < self.epochs and not self._enough():
            self.task.begin_epoch(self._epoch, self._step)
            while self._step < per_epoch:
                loss = self.task.step()
                self._losses.append(loss)
                self._step, done = self._step + 1, done + 1
                self.watcher.step(done, self._epoch, loss)
                if self.checkpoint_steps and self._step % self.checkpoint_steps == 0 and self._step < per_epoch:
                    self._seconds, since = self._seconds + time.monotonic() - since, time.monotonic()
                    self._save()
                self.check()
            figures, score = self.task.evaluate()
            best = self.best
            self._seconds, since = self._seconds + time.monotonic() - since, time.monotonic()
            loss = math.fsum(self._losses) / len(self._losses)
            record = {"epoch": self._epoch + 1, "loss": loss, "seconds": self._seconds}
            record |= figures if score is None else {"score": score, **figures}
            self._history.append(record)
            # the best network is there before the state says so: what is cut off between is done again alike
            better = score is not None and not math.isnan(score) and (best is None or score > best["score"])
            if self.writes and better:
                self.task.keep_best(record)
            self._epoch, self._step, self._losses, self._seconds = self._epoch + 1, 0, [], 0.0
            self._save(finished=self._epoch == self.epochs or self._enough())
            self.watcher.epoch(done, record)
        return self._history

    def _enough(self) -> bool:
        """Whether so many epochs brought nothing better."""
        best = self.best
        return bool(self.patience and best and self._epoch - best["epoch"] >= self.patience)

    def _save(self, *, finished: bool = False) -> None:
        self.together()
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
