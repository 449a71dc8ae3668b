"""A trajectory is computed when it is asked for, once a pass, and lets go of what it holds."""

import copy
import gc
import io
import operator
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from emow2v import formats
from emow2v.audio.recording import Recording
from emow2v.errors import AudioError, Closed, FormatError, PlaceTaken
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.trajectory import Block, Info, Trajectory, concatenate

PROVENANCE: dict[str, str | float] = {"model": "lite", "frame_step_ms": 40.0}


def block(first: int, rows: int = 4) -> Block:
    numbers = np.arange(first, first + rows, dtype=np.float32)
    scores = np.stack([numbers, numbers + 0.25, numbers + 0.5], axis=1)
    embeddings = np.repeat(numbers[:, None], 1024, axis=1)
    confidence = np.stack([numbers * 0 + one for one in (0.75, 0.25, 0.5)], axis=1)
    return Block(first, *Framing().times(first, rows), embeddings, scores, confidence)


class Counted:
    """Three blocks of four rows; counts passes, blocks and closings."""

    def __init__(self, expected: int | None = 12) -> None:
        self.passes = self.blocks = self.ended = self.closed = 0
        self.trajectory = Trajectory(Info("talk.wav", Framing(), PROVENANCE, expected), self.give, self.close)

    def give(self) -> Iterator[Block]:
        self.passes += 1
        try:
            for first in (0, 4, 8):
                self.blocks += 1
                yield block(first)
        finally:
            self.ended += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture(scope="module")
def clip() -> bytes:
    """Two seconds of speech as a file."""
    signal, rate = soundfile.read(EXAMPLE, frames=2 * 16000)
    file = io.BytesIO()
    soundfile.write(file, signal, rate, format="WAV")
    return file.getvalue()


ROWS = 50  # of the clip


# ------------------------------------------------------------------------------------------------- once, and when asked


def count_by_hand(trajectory: Trajectory) -> int:
    return sum(len(one) for one in trajectory)


PASSES: dict[str, Callable[[Trajectory], Any]] = {
    "for": count_by_hand,
    "list": list,
    "tuple": tuple,
    "star": lambda trajectory: [*trajectory],
    "extend": lambda trajectory: [].extend(trajectory),  # type: ignore[func-returns-value]
    "sorted": lambda trajectory: sorted(trajectory, key=lambda one: one.first),
    "scores": lambda trajectory: trajectory.scores,
    "scores twice": lambda trajectory: (trajectory.scores, trajectory.ends),
    "frame": lambda trajectory: trajectory.to_frame(),
}
NONE: dict[str, Callable[[Trajectory], Any]] = {
    "bool": bool,
    "if": lambda trajectory: 1 if trajectory else 0,
    "repr": repr,
    "hint": operator.length_hint,
    "provenance": lambda trajectory: trajectory.provenance,
}


@pytest.mark.parametrize("how", PASSES)
def test_one_pass_computes_once(counted: Counted, how: str) -> None:
    PASSES[how](counted.trajectory)
    assert (counted.passes, counted.blocks, counted.ended) == (1, 3, 1)


@pytest.mark.parametrize("how", PASSES)
def test_one_pass_of_a_recording_runs_the_engine_once_a_batch(
    windows: Model, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (tmp_path / "talk.wav").write_bytes(clip)
    calls: list[int] = []
    run = windows.engine.run_parallel
    monkeypatch.setattr(windows.engine, "run_parallel", lambda signal: calls.append(len(signal)) or run(signal))
    PASSES[how](windows.predict(tmp_path / "talk.wav", batch_size=10))
    assert sum(calls) == ROWS


@pytest.mark.parametrize("how", PASSES)
def test_a_stream_is_read_in_its_first_pass(lite: Model, clip: bytes, how: str) -> None:
    PASSES[how](lite.predict(io.BytesIO(clip)))


@pytest.mark.parametrize("how", NONE)
def test_asking_about_it_computes_nothing(counted: Counted, how: str) -> None:
    NONE[how](counted.trajectory)
    assert counted.passes == 0


def test_it_is_true_and_has_no_length_before_its_rows(counted: Counted) -> None:
    one = counted.trajectory
    assert bool(one) and bool(Trajectory(one.info, lambda: iter(())))
    with pytest.raises(TypeError, match=r"not computed yet; len\(trajectory\.starts\) computes"):
        len(one)
    assert counted.passes == 0
    assert len(one.starts) == len(one) == 12 and counted.passes == 1
    empty = Trajectory(one.info, lambda: iter(()))
    assert len(empty.starts) == len(empty) == 0 and bool(empty)


@pytest.mark.parametrize(("expected", "hint"), [(None, 0), (0, 0), (321, 321), (65_536, 65_536), (10**18, 65_536)])
def test_a_hint_is_what_the_container_says_within_reason(expected: int | None, hint: int) -> None:
    """list() makes room for what is hinted; a header may state any duration."""
    one = Counted(expected).trajectory
    assert operator.length_hint(one) == hint
    assert len(list(one)) == 3


def test_every_pass_without_kept_rows_computes_anew(counted: Counted) -> None:
    first, second = ([one.first for one in counted.trajectory] for _ in range(2))
    assert list(first) == list(second) == [0, 4, 8] and counted.passes == 2


def test_kept_rows_are_given_as_one_block(counted: Counted) -> None:
    scores = counted.trajectory.scores
    (kept,) = counted.trajectory
    assert kept.first == 0 and len(kept) == 12 and kept.scores is scores and counted.passes == 1


# -------------------------------------------------------------------------------------------------------- what it holds


def test_rows_are_those_of_the_blocks(counted: Counted) -> None:
    one = counted.trajectory
    numbers = np.arange(12)
    assert one.provenance is one.info.provenance
    np.testing.assert_allclose(one.starts, numbers * 0.04)
    np.testing.assert_allclose(one.ends, (numbers + 1) * 0.04)
    np.testing.assert_array_equal(one.scores[:, 1], numbers + 0.25)
    np.testing.assert_array_equal(one.embeddings[:, 1023], numbers)
    np.testing.assert_array_equal(one.confidence, np.tile([0.75, 0.25, 0.5], (12, 1)))
    assert one.scores.dtype == one.embeddings.dtype == one.confidence.dtype == np.float32
    assert counted.passes == 1


def test_the_frame_is_indexed_as_audformat_has_it(counted: Counted) -> None:
    frame = counted.trajectory.to_frame()
    assert list(frame.index.names) == ["file", "start", "end"] and frame.attrs == PROVENANCE
    assert list(frame.columns) == ["arousal", "dominance", "valence", "confidence"]
    assert frame.index[3] == ("talk.wav", pd.Timedelta("120ms"), pd.Timedelta("160ms"))
    assert frame["confidence"].eq(0.25).all() and frame["valence"].tolist() == [k + 0.5 for k in range(12)]


def test_scores_and_embeddings_stand_in_one_frame_with_names(counted: Counted) -> None:
    """The embeddings had columns 0 .. 1023 without scores: nobody could tell rows of a saved table apart."""
    frame = counted.trajectory.to_frame(embeddings=True)
    scores = counted.trajectory.to_frame()
    features = frame.filter(like="embedding_")
    assert list(frame.columns[:4]) == list(scores.columns) and frame.iloc[:, :4].equals(scores)
    assert list(features.columns) == [f"embedding_{number}" for number in range(1024)]
    np.testing.assert_array_equal(features, counted.trajectory.embeddings)
    assert (features.dtypes == np.float32).all() and frame.attrs == PROVENANCE and counted.passes == 1


def test_a_frame_names_the_channel_where_each_has_its_own() -> None:
    info = Info("talk.wav", Framing(), PROVENANCE, channel="left")
    frame = Trajectory(info, lambda: iter([block(0)])).to_frame()
    assert list(frame.columns) == ["arousal", "dominance", "valence", "confidence", "channel"]
    assert frame["channel"].tolist() == ["left"] * 4


def test_the_frame_is_an_index_of_audformat(counted: Counted) -> None:
    audformat = pytest.importorskip("audformat")
    audformat.assert_index(counted.trajectory.to_frame().index)
    audformat.assert_index(Trajectory(counted.trajectory.info, lambda: iter(())).to_frame().index)


def test_the_mean_is_that_of_every_row(counted: Counted) -> None:
    mean = counted.trajectory.mean()
    assert mean == pytest.approx((5.5, 5.75, 6.0)) and mean.valence == 6.0
    assert mean._fields == ("arousal", "dominance", "valence") and counted.passes == 1
    assert np.isnan(Trajectory(counted.trajectory.info, lambda: iter(())).mean()).all()


def test_load_keeps_the_rows_and_gives_the_trajectory(counted: Counted) -> None:
    assert counted.trajectory.load() is counted.trajectory
    assert len(counted.trajectory) == 12 and counted.passes == 1


def test_saving_writes_what_the_ending_says_block_by_block(counted: Counted, tmp_path: Path) -> None:
    """As `formats.write` does; judged by pandas."""
    counted.trajectory.save(tmp_path / "talk.csv")
    assert counted.passes == 1
    with pytest.raises(TypeError):
        len(counted.trajectory)  # nothing was kept
    table = pd.read_csv(tmp_path / "talk.csv")
    assert table["valence"].tolist() == [k + 0.5 for k in range(12)]
    (tmp_path / "talk.csv").write_text("labels by hand")
    with pytest.raises(PlaceTaken):
        counted.trajectory.save(tmp_path / "talk.csv")
    counted.trajectory.save(str(tmp_path / "talk.csv"), overwrite=True)
    assert len(pd.read_csv(tmp_path / "talk.csv")) == 12
    with pytest.raises(FormatError, match="expected csv, json, ndjson, annotation, stream, npz, png, svg or pdf"):
        counted.trajectory.save(tmp_path / "talk.xlsx")


@pytest.mark.parametrize(
    ("rows", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (None, "not computed yet"), (-1, "closed")]
)
def test_it_says_what_it_is(rows: int | None, said: str) -> None:
    one = Trajectory(Info("talk.wav", Framing(), {}), lambda: iter([block(0, rows)] if rows else []))
    if rows == -1:
        one.close()
    elif rows is not None:
        assert len(one.starts) == rows
    assert repr(one) == f"<Trajectory of talk.wav: {said}>"


def test_no_blocks_are_no_rows_of_the_right_width() -> None:
    empty = concatenate([])
    assert empty.first == 0 and len(empty) == 0
    assert empty.scores.shape == empty.confidence.shape == (0, 3) and empty.embeddings.shape == (0, 1024)


# ------------------------------------------------------------------------------------------------------------- let go


def engine_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("emow2v-engine")}


@pytest.mark.parametrize("way", ["close", "with", "iterator", "dropped", "error"])
@pytest.mark.parametrize("context", ["window", "shared"])
def test_a_pass_that_stops_early_lets_go_of_threads_and_file(
    windows: Model, clip: bytes, tmp_path: Path, way: str, context: Any
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(clip)
    before = engine_threads()
    trajectory = windows.predict(path, batch_size=4, context=context)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        if way == "with":
            with trajectory:
                iterator = iter(trajectory)
                next(iterator)
        elif way == "error":
            with pytest.raises(ZeroDivisionError) as kept:  # its traceback holds the frame, and that the iteration
                formats.record(trajectory, formats.writers(["json"], tmp_path, "t"), lambda _: 1 // 0)  # type: ignore[arg-type]
            assert kept.tb is not None
        else:
            iterator = iter(trajectory)
            next(iterator)
            assert engine_threads() - before
            if way == "close":
                trajectory.close()
            elif way == "iterator":
                iterator.close()
            else:
                del iterator
        assert not engine_threads() - before
        gc.collect()
    path.unlink()  # on Windows it would be in use


def test_a_closed_pass_never_looks_as_if_the_recording_had_ended(counted: Counted) -> None:
    iterator = iter(counted.trajectory)
    next(iterator)
    counted.trajectory.close()
    assert counted.ended == 1
    for _ in range(2):
        with pytest.raises(Closed, match=r"The trajectory of talk\.wav is closed"):
            next(iterator)
    for ask in (list, count_by_hand, lambda one: one.scores):
        with pytest.raises(Closed):
            ask(counted.trajectory)


def test_a_pass_that_is_over_stays_over(counted: Counted) -> None:
    iterator = iter(counted.trajectory)
    assert len(list(iterator)) == 3
    counted.trajectory.close()
    assert list(iterator) == []


def test_kept_rows_outlive_the_closing(counted: Counted) -> None:
    with counted.trajectory as one:
        assert len(one.scores) == 12
    assert len(one.scores) == 12 and len(list(one)) == 1 and counted.closed == 1
    one.close()
    assert counted.closed == 1


def test_nobody_has_it_any_more(counted: Counted) -> None:
    iterator = iter(counted.trajectory)
    del counted.trajectory
    gc.collect()
    assert counted.closed == 0 and next(iterator).first == 0  # the iteration has it
    del iterator
    gc.collect()
    assert (counted.closed, counted.ended) == (1, 1)


@pytest.mark.parametrize("way", ["close", "with", "dropped"])
def test_a_stream_that_is_never_read_is_let_go_of(
    lite: Model, clip: bytes, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    closed: list[str] = []
    close = Recording.close
    monkeypatch.setattr(Recording, "close", lambda self: closed.append(self.name) or close(self))
    trajectory = lite.predict(io.BytesIO(clip))
    assert closed == []
    if way == "close":
        trajectory.close()
    elif way == "with":
        with trajectory:
            pass
    else:
        del trajectory
        gc.collect()
    assert closed == ["stream"]


def test_a_stream_of_the_caller_stays_open(lite: Model, clip: bytes) -> None:
    stream = io.BytesIO(clip)
    lite.predict(stream).close()
    assert not stream.closed
    stream.seek(0)
    with lite.predict(stream) as trajectory:
        next(iter(trajectory))
    assert not stream.closed


def test_closing_from_within_ends_behind_the_block() -> None:
    def give() -> Iterator[Block]:
        yield block(0)
        one.close()
        yield block(4)
        pytest.fail("went on")

    one = Trajectory(Info("talk.wav", Framing(), {}), give)
    iterator = iter(one)
    assert [next(iterator).first, next(iterator).first] == [0, 4]
    with pytest.raises(Closed):
        next(iterator)


# -------------------------------------------------------------------------------------------------------------- threads


def test_threads_that_ask_at_once_are_served_by_one_pass() -> None:
    counted, together = Counted(), threading.Barrier(4)

    def ask(_: int) -> np.ndarray:
        together.wait()
        return counted.trajectory.scores

    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(ask, range(4)))
    assert counted.passes == 1 and all(one is scores[0] for one in scores)


def test_threads_share_an_iterator(lite: Model, clip: bytes) -> None:
    """Every block goes to one of them; Python's own generators refuse that."""
    iterator = iter(lite.predict(io.BytesIO(clip), batch_size=4))
    with ThreadPoolExecutor(4) as pool:
        found = [one for part in pool.map(lambda _: list(iterator), range(4)) for one in part]
    assert sorted(row for one in found for row in range(one.first, one.first + len(one))) == list(range(ROWS))


def test_one_of_two_threads_gets_a_stream(lite: Model, clip: bytes) -> None:
    trajectory, together = lite.predict(io.BytesIO(clip)), threading.Barrier(2)

    def read(_: int) -> int | str:
        together.wait()
        try:
            return count_by_hand(trajectory)
        except AudioError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(read, range(2)))
    assert ROWS in found and any("only once" in str(one) for one in found)


def test_closing_waits_for_the_block_that_another_thread_computes() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def give() -> Iterator[Block]:
        begun.set()
        assert go_on.wait(300)
        yield block(0)
        pytest.fail("went on")

    one = Trajectory(Info("talk.wav", Framing(), {}), give)
    iterator = iter(one)
    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(next, iterator)
        assert begun.wait(300)
        closing = pool.submit(one.close)
        assert not closing.done()
        go_on.set()
        assert taken.result().first == 0 and closing.result() is None
    with pytest.raises(Closed):
        next(iterator)


@pytest.mark.parametrize("call", [pickle.dumps, copy.deepcopy, copy.copy])
def test_what_cannot_be_handed_on_names_what_can(lite: Model, call: Callable[[Trajectory], Any]) -> None:
    one = lite.predict(EXAMPLE, framing=Framing(frame_step_ms=2000))
    with pytest.raises(TypeError, match=r"use to_frame\(\) instead"):
        call(one)
    frame = one.to_frame()
    assert pickle.loads(pickle.dumps(frame)).equals(frame)
