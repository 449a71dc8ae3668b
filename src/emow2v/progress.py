"""Progress of a command: a bar at a terminal; elsewhere a line a minute, and one at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

from emow2v import storage
from emow2v.inputs import Outcome, some
from emow2v.storage import counted, one_line
from emow2v.trajectory import Block, Info

EVERY_S = 60  # between two lines where no bar is shown


class _Bar:
    """A bar that is shown within a with block, and lines above it."""

    def __init__(self, console: Console, bar: rich_progress.Progress) -> None:
        self._console, self._bar = console, bar
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        sentence = one_line(sentence)
        self._bar.print(sentence) if not self._bar.disable else self._console.print(sentence)

    def say_each_minute(self, sentence: Callable[[], str]) -> None:
        """Print a line a minute where no bar is shown, so that a log shows that the work continues."""
        if self._bar.disable and time.monotonic() - self._last_line >= EVERY_S:
            self._last_line = time.monotonic()
            self._console.print(one_line(sentence()))


class Progress(_Bar):
    """A bar over all recordings with time left; errors and results as lines above it, and a sentence at the end.

    Args:
        recordings: number of recordings to be computed
        to: folder of the results; None where they are printed
        table: one table of all recordings; None where there is none
        failed: number of recordings that were refused before
        left_out: number of files that are not read
    """

    def __init__(
        self, recordings: int, console: Console, *, to: Path | str | None = None, table: Path | str | None = None,
        failed: int = 0, left_out: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(console, _counting(console))
        self._task = self._bar.add_task("predicting", total=recordings)
        self._recordings = recordings + failed
        self._to, self.table = to, table
        self._failed, self._left_out = failed, left_out
        self._finished = 0  # of the recordings to be computed, done or failed
        self._done = 0
        self._clipped = 0
        self._rows = 0
        self._earlier = ""  # what earlier runs have done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        stopped = kind is not None
        if kind is None or issubclass(kind, KeyboardInterrupt | SystemExit):
            if closing := self._closing():
                self._console.print(closing)
            complete = self._done == self._recordings and not self._left_out
            has_results = self._to is not None or self.table is not None or closing
            if has_results or stopped or not complete:  # a pipe that worked stays silent
                self._console.print(self.summary())

    def block(self, block: Block, info: Info) -> None:
        """Some rows of the current recording were computed."""
        self._rows += len(block)
        share = min(1.0, self._rows / info.expected_rows) if info.expected_rows else 0.0
        self._bar.update(self._task, completed=self._finished + share)
        self.say_each_minute(lambda: f"{self._so_far()}{self._pace()}; {info.source}: {share:.0%}")

    def _pace(self) -> str:
        """How fast the work goes on, for lines between."""
        return ""

    def _closing(self) -> str:
        """A line above the summary."""
        return ""

    def done(self, outcome: Outcome) -> None:
        """A recording was computed or has failed."""
        self._finished, self._rows = self._finished + 1, 0
        self._bar.update(self._task, completed=self._finished)
        for notice in outcome.notices:
            self.say(notice)
        if outcome.error:
            self._failed += 1
            self.say(outcome.error)
        else:
            self._done += 1
            self._clipped += outcome.clipped
            if outcome.files and self._console.is_terminal:
                clipped = f", {outcome.clipped} clipped to 0..1" if outcome.clipped else ""
                places = some([str(path) for path in outcome.files])
                self.say(f"{storage.shown(outcome.path)}: {counted(outcome.rows, 'value')}{clipped} in {places}")
        self.say_each_minute(lambda: f"{self._so_far()}{self._pace()}.")

    def _so_far(self) -> str:
        parts = [f"{self._done} of {counted(self._recordings, 'recording')} done{self._earlier}"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        return ", ".join(parts)

    def summary(self) -> str:
        """The sentence at the end: how many were done, failed and left out, and where the results are."""
        parts = [self._so_far()]
        rest = self._recordings - self._done - self._failed
        if rest:
            parts.append(f"{rest} not done")
        if self._left_out:
            parts.append(f"{counted(self._left_out, 'other file')} left out")
        sentence = ", ".join(parts)
        if self._to is not None and self._done:
            place = storage.shown(self._to) if self._to != Path() else "the current folder"
            sentence += f"; results are in {place}"
        if self.table is not None and self._done:
            sentence += f"; the table is {storage.shown(self.table)}"
        if self._clipped:
            sentence += f"; {counted(self._clipped, 'value')} of annotations clipped to 0..1"
        return f"{sentence}."


class Run(Protocol):
    """A run that continues earlier ones.

    Attributes:
        done_before, failed_before: number of recordings that earlier runs have done, or that failed in them
        sizes: bytes of each recording to be done, by its path; the time left follows from them
    """

    done_before: int
    failed_before: int

    @property
    def sizes(self) -> Mapping[str, int]: ...


class CorpusProgress(Progress):
    """Progress of a run that continues earlier ones: also hours of sound, how fast they are computed, and the time left.

    Args:
        run: its recordings are chosen

    Attributes:
        failures: file that lists what failed; None where nothing has
    """

    def __init__(
        self, run: Run, console: Console, *, to: Path | str | None, table: Path | str | None, failed: int, left_out: int
    ) -> None:
        sizes, done_before, failed_before = run.sizes, run.done_before, run.failed_before
        super().__init__(len(sizes), console, to=to, table=table, failed=failed, left_out=left_out)
        self._sizes, self._bytes, self._all_bytes = sizes, 0.0, max(1, sum(sizes.values()))
        self._bar.update(self._task, total=self._all_bytes)
        self._recordings += done_before + failed_before
        self._done, self._failed = done_before, failed + failed_before
        self._earlier = f" ({done_before} of them earlier)" if done_before else ""
        self._failed_before = failed_before
        self._began = time.monotonic()
        self._sound_s = self._current_s = self._current_bytes = 0.0
        self.failures: Path | str | None = None

    def block(self, block: Block, info: Info) -> None:
        rows = self._rows + len(block)
        share = min(1.0, rows / info.expected_rows) if info.expected_rows else 0.0
        self._current_s = float(block.ends[-1]) if len(block) else 0.0
        self._current_bytes = share * self._sizes.get(info.source, 0)
        super().block(block, info)
        self._show()

    def done(self, outcome: Outcome) -> None:
        self._bytes += self._sizes.get(outcome.path, 0)
        self._sound_s += outcome.duration_s
        self._current_s = self._current_bytes = 0.0
        super().done(outcome)
        self._show()

    def _show(self) -> None:
        what = f"{self._finished} of {len(self._sizes)}{self._pace(left=False)}"
        self._bar.update(self._task, completed=self._bytes + self._current_bytes, description=what)

    def _pace(self, *, left: bool = True) -> str:
        elapsed, sound = time.monotonic() - self._began, self._sound_s + self._current_s
        finished = (self._bytes + self._current_bytes) / self._all_bytes
        if not (sound and elapsed and finished):
            return ""
        pace = f", {_sound(sound)} of sound, {_times(sound / elapsed)} real time"
        return f"{pace}, {_duration(elapsed / finished - elapsed)} left" if left else pace

    def _closing(self) -> str:
        elapsed = time.monotonic() - self._began
        parts = []
        if self._sound_s and elapsed:
            speed = f"{_times(self._sound_s / elapsed)} real time"
            parts.append(f"{_sound(self._sound_s)} of sound in {_duration(elapsed)}, {speed}")
        if self.failures is not None:
            parts.append(f"{storage.shown(self.failures)} says why recordings failed")
        if self._failed_before:
            parts.append(f"{self._failed_before} of them failed earlier, and --retry-failed tries them again")
        return "; ".join(parts) + "." if parts else ""


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def _sound(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else _duration(seconds)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Count(_Bar):
    """A bar over a number of things, with time left."""

    def __init__(self, what: str, number: int, console: Console) -> None:
        super().__init__(console, _counting(console))
        self._task = self._bar.add_task(what, total=number)
        self._what, self._number, self._done = what, number, 0

    def advance(self) -> None:
        """One more is done."""
        self._bar.advance(self._task)
        self._done += 1
        self.say_each_minute(lambda: f"{self._what}: {self._done} of {self._number} done.")


class Steps(_Bar):
    """A bar over the steps of a training, with its state and time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, _counting(console))
        self._task = self._bar.add_task("training", total=None)

    def begin(self, step: int, steps: int) -> None:
        """Start at a step of all; steps of an earlier run do not count for the time left."""
        self._bar.reset(self._task, total=steps, completed=step)

    def update(self, step: int, what: str) -> None:
        """A step is done; `what` describes the state."""
        self._bar.update(self._task, completed=step, description=what)
        self.say_each_minute(lambda: f"step {step}: {what}")


def _counting(console: Console) -> rich_progress.Progress:
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class DownloadProgress(_Bar):
    """A bar for each file that is downloaded, with speed and time left; lines between them."""

    def __init__(self, console: Console) -> None:
        bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
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
        """So many bytes of a file have arrived, of all where that is known."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
        of = f" of {total / 1e6:.0f}" if total else ""
        self.say_each_minute(lambda: f"{what}: {done / 1e6:.0f}{of} MB")


class Status:
    """The stage of a work: a moving sign at a terminal; elsewhere a line a minute."""

    def __init__(self, what: str, console: Console) -> None:
        self._console = console
        self._status = console.status(Text(what))
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def update(self, what: str) -> None:
        """Another stage begins."""
        if self._console.is_terminal:
            self._status.update(Text(what))
        elif time.monotonic() - self._last_line >= EVERY_S:
            self._last_line = time.monotonic()
            self._console.print(one_line(what))
