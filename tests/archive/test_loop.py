"""The loop over recordings: turns of the next recording are found while one is computed, and errors stay with theirs."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emow2v.archive.loop import each, predictions
from emow2v.errors import AudioError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import Info
from emow2v.trajectory import Trajectory

WAIT_S = 300


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """The example, a file that is no recording, silence, and part of the example."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "a.wav", signal, rate)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "c.wav", np.zeros(2 * rate), rate)
    soundfile.write(tmp_path / "d.wav", signal[3 * rate :], rate)
    return sorted(tmp_path.glob("*.wav"))


def test_turns_of_many_recordings_are_those_of_each(lite: Model, recordings: list[Path]) -> None:
    rows: dict[Path, Any] = {}
    with predictions(lite, recordings, lambda one: {"pool": one.stem == "d"}, lambda one: one, "mix", turns=True) as of:

        def work(one: Path) -> None:
            (trajectory,) = of(one)
            rows[one] = trajectory.load()

        errors = {result.item.stem: result.error for result in each(recordings, work, lambda one: one)}
    assert list(rows) == [recordings[0], recordings[3]]
    assert "b.wav" in errors["b"] and "c.wav has no turn" in errors["c"]
    for path, trajectory in rows.items():
        alone = lite.predict_turns(path, pool=path.stem == "d").load()
        assert len(alone) > 1
        np.testing.assert_array_equal(trajectory.starts, alone.starts)
        np.testing.assert_array_equal(trajectory.scores, alone.scores)


class Turns:
    """A model whose turns take as long to find as a test wants."""

    def __init__(self, prepare: Callable[[str, Callable[[], None]], None]) -> None:
        self._prepare = prepare
        self.closed: list[str] = []

    def predict_turns(self, source: str, *, check: Callable[[], None], channel: str) -> Trajectory:
        assert channel == "mix"
        return Trajectory(
            Info(source, Framing(), {}), lambda: iter(()), partial(self.closed.append, source),
            prepare=partial(self._prepare, source, check),
        )  # fmt: skip

    def predict(self, *_: Any, **__: Any) -> Trajectory:
        raise AssertionError("turns are asked for")

    predict_channels = predict_ahead = predict  # type: ignore[assignment]


def test_the_turns_of_the_next_recording_are_found_while_one_is_computed() -> None:
    found: dict[str, threading.Event] = {name: threading.Event() for name in "abc"}
    model = Turns(lambda source, check: found[source].set())
    with predictions(model, "abc", lambda one: {}, lambda one: one, "mix", turns=True) as of:  # type: ignore[arg-type]
        of("a")
        assert found["b"].wait(WAIT_S) and not found["c"].is_set()
        of("b")
        assert found["c"].wait(WAIT_S)
    assert sorted(model.closed) == ["a", "b", "c"]


def test_a_stop_ends_the_search_for_turns() -> None:
    searching, stopped = threading.Event(), threading.Event()

    def prepare(source: str, check: Callable[[], None]) -> None:
        if source == "b":
            searching.set()
            try:
                while True:
                    check()
            finally:
                stopped.set()

    model = Turns(prepare)
    with (
        pytest.raises(KeyboardInterrupt),
        predictions(model, "abc", lambda one: {}, lambda one: one, "mix", turns=True) as of,  # type: ignore[arg-type]
    ):
        of("a")
        assert searching.wait(WAIT_S)
        raise KeyboardInterrupt
    assert stopped.is_set() and "b" in model.closed


def test_turns_that_were_found_ahead_are_found_once(lite: Model, recordings: list[Path], monkeypatch) -> None:
    from emow2v.prediction import turns

    passes = []
    monkeypatch.setattr(turns, "turns_of", lambda *a, _of=turns.turns_of, **o: passes.append(1) or _of(*a, **o))
    trajectory = lite.predict_turns(recordings[0])
    trajectory.prepare()
    trajectory.prepare()
    assert len(passes) == 1
    first = [block.starts for block in trajectory]
    assert len(passes) == 1
    again = [block.starts for block in trajectory]
    assert len(passes) == 2
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    with pytest.raises(AudioError, match="has no turn"):
        lite.predict_turns(recordings[2]).prepare()
