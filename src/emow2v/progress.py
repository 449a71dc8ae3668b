"""What a person at a terminal sees while recordings are computed; quiet in a pipe."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import progress as rich_progress
from rich.console import Console

from emow2v.batch import Outcome
from emow2v.trajectory import Block, Info


class _Bar:
    """A bar that is shown for the length of a with block, and sentences above it."""

    def __init__(self, console: Console, bar: rich_progress.Progress) -> None:
        self._console, self._bar = console, bar

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        self._bar.print(sentence) if not self._bar.disable else self._console.print(sentence)


class Progress(_Bar):
    """A bar over all recordings with time left; errors and results as lines above it."""

    def __init__(self, recordings: int, console: Console) -> None:
        super().__init__(console, _counting(console))
        self._task = self._bar.add_task("predicting", total=recordings)
        self._finished = 0
        self._rows = 0

    def block(self, block: Block, info: Info) -> None:
        """Some rows of the current recording are done."""
        self._rows += len(block)
        share = min(1.0, self._rows / info.expected_rows) if info.expected_rows else 0.0
        self._bar.update(self._task, completed=self._finished + share)

    def done(self, outcome: Outcome) -> None:
        """A recording is finished, one way or the other."""
        self._finished, self._rows = self._finished + 1, 0
        self._bar.update(self._task, completed=self._finished)
        if outcome.error:
            self.say(outcome.error)
        elif outcome.files and self._console.is_terminal:
            clipped = f", {outcome.clipped} clipped to 0..1" if outcome.clipped else ""
            places = ", ".join(str(path) for path in outcome.files)
            self.say(f"{outcome.path}: {outcome.rows} values{clipped} in {places}")


class Count(_Bar):
    """A bar over so many things, with time left."""

    def __init__(self, what: str, number: int, console: Console) -> None:
        super().__init__(console, _counting(console))
        self._task = self._bar.add_task(what, total=number)

    def advance(self) -> None:
        """One more is done."""
        self._bar.advance(self._task)


class Steps(_Bar):
    """A bar over the steps of a training, with what it is at and time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, _counting(console))
        self._task = self._bar.add_task("training", total=None)

    def begin(self, step: int, steps: int) -> None:
        """So many steps of all are done, maybe by an earlier run: they do not count for the time left."""
        self._bar.reset(self._task, total=steps, completed=step)

    def at(self, step: int, what: str) -> None:
        """A step is done."""
        self._bar.update(self._task, completed=step, description=what)


def _counting(console: Console) -> rich_progress.Progress:
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class DownloadProgress(_Bar):
    """A bar for each file that comes over the network, with speed and time left; sentences between them."""

    def __init__(self, console: Console) -> None:
        bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        super().__init__(console, bar)
        self._tasks: dict[str, rich_progress.TaskID] = {}

    def update(self, what: str, done: int, total: int | None) -> None:
        """Bytes of a file that are here, of all where that is known."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
