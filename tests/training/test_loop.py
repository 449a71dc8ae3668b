"""The loop: going on to the same numbers, refusing another run, a full disk, when to stop, what counts as best."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from filelock import FileLock

from emow2v.errors import FormatError
from emow2v.training import state as states
from emow2v.training.loop import Loop
from runs import Counting, plain, stopped_after


def test_a_run_that_was_stopped_anywhere_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    whole = Counting([0.1, 0.3, 0.2])
    expected = Loop(whole, tmp_path / "whole", {"a": 1}, 3, checkpoint_steps=2).run()
    assert whole.done == [(epoch, step) for epoch in range(3) for step in range(3)] and whole.kept == [1, 2]
    for stop in range(1, 10):
        folder = tmp_path / str(stop)
        with stopped_after(Counting, stop):
            Loop(Counting([0.1, 0.3, 0.2]), folder, {"a": 1}, 3, checkpoint_steps=2).run()
        resumed = Counting([0.1, 0.3, 0.2])
        assert plain(Loop(resumed, folder, {"a": 1}, 3, checkpoint_steps=2).run()) == plain(expected)
        assert len(resumed.done) <= 9 - stop + 2  # at most what was done since the last state
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert plain(lines) == plain(expected)
    finished = Counting([0.1, 0.3, 0.2])
    assert plain(Loop(finished, tmp_path / "whole", {"a": 1}, 3, checkpoint_steps=2).run()) == plain(expected)
    assert not finished.done


def test_a_run_of_something_else_is_refused(tmp_path: Path) -> None:
    Loop(Counting([0.1]), tmp_path, {"seed": 1, "sizes": (1, 2), "corpus": "a"}, 1).run()
    before = (tmp_path / states.FILE).read_bytes()
    Loop(Counting([0.1]), tmp_path, {"seed": 1, "sizes": [1, 2], "corpus": "a"}, 1).run()
    with pytest.raises(FormatError, match=r"made by another recipe \(seed was 1 and is 2, corpus was a and is None\)"):
        Loop(Counting([0.1]), tmp_path, {"seed": 2, "sizes": (1, 2)}, 1).run()
    assert (tmp_path / states.FILE).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_a_state_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / states.FILE).write_bytes(content)
    with pytest.raises(FormatError, match="is no state of a training"):
        Loop(Counting([0.1]), tmp_path, {}, 1).run()


def test_a_full_disk_leaves_the_last_state_and_the_run_goes_on_from_it(tmp_path: Path, monkeypatch) -> None:
    expected = Loop(Counting([0.1, 0.2]), tmp_path / "whole", {}, 2, checkpoint_steps=1).run()
    folder, fsync, left = tmp_path / "full", os.fsync, 2

    def full(number: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FormatError, match=r"No space left on device\); the last one is whole"):
            Loop(Counting([0.1, 0.2]), folder, {}, 2, checkpoint_steps=1).run()
    assert not list(folder.glob("*.part")) and states.read(folder, {}) is not None
    assert plain(Loop(Counting([0.1, 0.2]), folder, {}, 2, checkpoint_steps=1).run()) == plain(expected)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_disk_that_fills_while_pytorch_writes_is_told_in_words(tmp_path: Path, monkeypatch) -> None:
    states.write(tmp_path, {"made_of": {}, "value": 1})
    opened = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda path, *more: opened("/dev/full", os.O_WRONLY) if str(path).endswith(".part") else opened(path, *more),
    )
    with pytest.raises(FormatError, match=r"cannot be written.*No space left.*the last one is whole"):
        states.write(tmp_path, {"made_of": {}, "value": torch.zeros(100_000)})
    monkeypatch.undo()
    assert states.read(tmp_path, {}) == {"made_of": {}, "value": 1}


def test_it_ends_when_nothing_gets_better(tmp_path: Path) -> None:
    task = Counting([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    loop = Loop(task, tmp_path, {}, 6, patience=2)
    assert len(loop.run()) == 4 and task.kept == [1, 2]
    assert loop.best is not None and loop.best["epoch"] == 2
    again = Loop(Counting([]), tmp_path, {}, 6, patience=2)
    assert len(again.run()) == 4


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(FormatError, match="being trained in by another process"):
        Loop(Counting([0.1]), tmp_path, {}, 1).run()


def test_a_process_that_does_not_write_writes_nothing(tmp_path: Path) -> None:
    assert len(Loop(Counting([0.1]), tmp_path / "run", {}, 1, writes=False).run()) == 1
    assert not list((tmp_path / "run").iterdir())
