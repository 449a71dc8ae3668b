"""What people see: lines now and then where no bar is shown, and what became of the recordings at the end."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from emow2v import progress
from emow2v.inputs import Outcome
from emow2v.progress import CorpusProgress, Count, DownloadProgress, Progress, Status, Steps
from emow2v.trajectory import Block, Info


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass as a test says."""
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def console(terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), soft_wrap=True, highlight=False, markup=False, force_terminal=terminal, width=200
    )


def lines(one: Console) -> list[str]:
    assert isinstance(one.file, io.StringIO)
    return one.file.getvalue().splitlines()


def block(rows: int) -> Block:
    three = np.zeros((rows, 3), np.float32)
    return Block(0, np.zeros(rows), np.zeros(rows), np.zeros((rows, 4), np.float32), three, three)


def info(source: str, rows: int) -> Info:
    return Info(source=source, framing=None, expected_rows=rows, provenance={})  # type: ignore[arg-type]


def test_a_line_a_minute_where_there_is_no_terminal(clock: list[float]) -> None:
    shown = console()
    with Progress(3, shown, to=Path("out")) as bar:
        for _ in range(10):  # five minutes for the first
            clock[0] += 30
            bar.block(block(10), info("in/a.wav", 100))
        bar.done(Outcome("in/a.wav", rows=100, files=(Path("out/a.csv"),)))
        assert lines(shown)[0] == "0 of 3 recordings done; in/a.wav: 20%"
        assert len(lines(shown)) == 5
        for _ in range(1000):  # a thousand quick ones within a minute are silent
            clock[0] += 0.01
            bar.block(block(1), info("in/b.wav", 1000))
        assert len(lines(shown)) == 5
        bar.done(Outcome("in/b.wav", error="in/b.wav holds no sound."))
        clock[0] += 61
        bar.done(Outcome("in/c.wav", rows=1, clipped=1, files=(Path("out/c.annotation"),)))
    assert lines(shown)[5:] == [
        "in/b.wav holds no sound.",
        "2 of 3 recordings done, 1 failed.",
        "2 of 3 recordings done, 1 failed; results are in out; 1 value of annotations clipped to 0..1.",
    ]


def test_a_terminal_has_a_line_a_recording_and_a_closing_one() -> None:
    shown = console(terminal=True)
    with Progress(2, shown, to=Path(), left_out=1) as bar:
        bar.done(Outcome("a.wav", rows=1, files=(Path("a.csv"),), notices=("a.wav: 1 packet was damaged.",)))
        bar.done(Outcome("b.wav", rows=2, clipped=2, files=(Path("b.csv"), Path("b.json"))))
    text = "\n".join(lines(shown))
    assert "a.wav: 1 packet was damaged." in text
    assert "a.wav: 1 value in a.csv" in text
    assert "b.wav: 2 values, 2 clipped to 0..1 in b.csv, b.json" in text
    assert (
        "2 of 2 recordings done, 1 other file left out; results are in the current folder; 2 values of annotations"
        in text
    )


@pytest.mark.parametrize(
    ("failed", "left_out", "closing"),
    [
        (0, 0, []),
        (1, 0, ["1 of 2 recordings done, 1 failed."]),
        (0, 2, ["1 of 1 recording done, 2 other files left out."]),
    ],
)
def test_a_pipe_that_worked_stays_silent(failed: int, left_out: int, closing: list[str]) -> None:
    shown = console()
    with Progress(1, shown, to=None, failed=failed, left_out=left_out) as bar:
        bar.done(Outcome("a.wav", rows=1))
    assert lines(shown) == closing


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), ["1 of 4 recordings done, 3 not done; results are in out."]),
        (SystemExit(143), ["1 of 4 recordings done, 3 not done; results are in out."]),
        (RuntimeError("ours"), []),
    ],
)
def test_a_stop_says_what_was_done(error: BaseException, said: list[str]) -> None:
    shown = console()
    with pytest.raises(type(error)), Progress(4, shown, to=Path("out")) as bar:
        bar.done(Outcome("a.wav", rows=1, files=(Path("out/a.csv"),)))
        raise error
    assert lines(shown) == said


class Earlier:
    """A run of which 300 recordings of 4 MB are left."""

    done_before, failed_before = 700, 2
    sizes = {f"{number}.wav": 4_000_000 for number in range(300)}  # noqa: RUF012 (read only)


def test_a_run_over_many_recordings_says_how_fast_it_is(clock: list[float]) -> None:
    shown = console()
    about = {"to": Path("out"), "table": None, "failed": 0, "left_out": 0}
    with CorpusProgress(Earlier(), shown, **about) as bar:  # type: ignore[arg-type]
        for number in range(100):  # each has six minutes of sound, and takes 20 s
            clock[0] += 20
            bar.done(Outcome(f"{number}.wav", rows=1, duration_s=360))
        bar.failures = Path("out/failures.csv")
    assert lines(shown)[0] == (
        "703 of 1002 recordings done (700 of them earlier), 2 failed, 0.30 h of sound, 18 times real time, 99 min left."
    )
    assert lines(shown)[-2:] == [
        "10.00 h of sound in 33 min, 18 times real time; out/failures.csv says why recordings failed; 2 of them failed "
        "earlier, and --retry-failed tries them again.",
        "800 of 1002 recordings done (700 of them earlier), 2 failed, 200 not done; results are in out.",
    ]


def test_a_long_recording_counts_while_it_is_computed(clock: list[float]) -> None:
    shown = console()
    run = Earlier()
    run.sizes = {"long.wav": 1000, "next.wav": 1000}
    run.done_before = run.failed_before = 0
    with CorpusProgress(run, shown, to=Path("out"), table=None, failed=0, left_out=0) as bar:  # type: ignore[arg-type]
        clock[0] += 600
        rows = block(50)
        rows.ends[:] = 1800
        bar.block(rows, info("long.wav", 100))
    assert lines(shown)[0] == (
        "0 of 2 recordings done, 0.50 h of sound, 3.0 times real time, 30 min left; long.wav: 50%"
    )


@pytest.mark.parametrize("name", ["a\nb.wav", "\x1b[2Ja.wav", "[bold]a.wav", "a\u2028b.wav", "[/plot].wav"])
def test_names_do_not_steer_the_terminal(name: str) -> None:
    shown = console()
    with Progress(1, shown, to=None) as bar:
        bar.say(f"{name} is no recording.")
    assert len(lines(shown)) == 2 and lines(shown)[0].isprintable()
    assert "[bold]" not in name or "[bold]" in lines(shown)[0]


def test_counts_and_steps_now_and_then(clock: list[float]) -> None:
    shown = console()
    with Count("evaluating", 10, shown) as bar:
        for _ in range(10):
            clock[0] += 25
            bar.advance()
    assert lines(shown) == [f"evaluating: {number} of 10 done." for number in (3, 6, 9)]
    shown = console()
    with Steps(shown) as steps:
        steps.begin(0, 4)
        for step in range(1, 5):
            clock[0] += 40
            steps.update(step, "epoch [1/2]")
    assert lines(shown) == ["step 2: epoch [1/2]", "step 4: epoch [1/2]"]


def test_downloads_and_states_now_and_then(clock: list[float]) -> None:
    shown = console()
    with DownloadProgress(shown) as bar:
        for megabytes in range(0, 660, 10):
            clock[0] += 7
            bar.update("model.zip", megabytes * 1_000_000, 660_000_000)
    assert len(lines(shown)) == 7 and lines(shown)[0] == "model.zip: 80 of 660 MB"
    shown = console()
    with Status("quantising [x]", shown) as status:
        for window in range(10):
            clock[0] += 25
            status.update(f"window {window} [of] 10")
    assert lines(shown) == [f"window {window} [of] 10" for window in (2, 5, 8)]


@pytest.mark.parametrize("text", ["[bold]", "a [/x] b", "emow2v[torch]", "[red]x", "100 [%]"])
def test_what_is_done_is_no_markup(text: str) -> None:
    shown = console(terminal=True)
    with Status(text, shown) as status:
        status.update(f"{text} again")
    assert isinstance(shown.file, io.StringIO)
    with Count(text, 1, shown) as bar:
        bar.advance()
    assert text in shown.file.getvalue()


def test_many_files_are_few_names() -> None:
    shown = console(terminal=True)
    with Progress(1, shown, to=Path("out")) as bar:
        bar.done(Outcome("a.wav", rows=6, files=tuple(Path(f"a.{number}.csv") for number in range(18))))
    assert "a.wav: 6 values in a.0.csv, a.1.csv, a.2.csv and 15 more" in "\n".join(lines(shown))
