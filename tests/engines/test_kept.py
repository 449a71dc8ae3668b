"""Outputs that an interrupted computation has kept: the rest has the bytes of an undisturbed one, and nothing is computed twice."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import emow2v
from emow2v.engines import kept as module
from emow2v.engines.frames import CHUNK, FramesEngine
from emow2v.engines.kept import KeptOutputs, has_grown, keeping
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import Block, concatenate

RATE = 16000
FACTS = {"weights": "abc", "precision": "fp32"}
STEP = emow2v.Framing(frame_step_ms=400)
REQUESTS: dict[str, dict[str, Any]] = {
    "windows": {"framing": STEP, "batch_size": 8},
    "windows with speech": {"framing": STEP, "batch_size": 8, "speech": True},
    "shared": {"framing": STEP, "context": "shared"},
    "long windows": {"framing": emow2v.Framing(frame_size_ms=25_000, left_context_ms=0, frame_step_ms=7000)},
    "one value": {"unit": "files"},
}
SECONDS = 36


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEGIN_S", 0)


@pytest.fixture(scope="module")
def frames_model() -> Model:
    return emow2v.load("lite-frames", threads=1)


@pytest.fixture(scope="module")
def talk() -> npt.NDArray[np.float32]:
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    noise = np.random.default_rng(0).normal(0, 0.002, SECONDS * RATE)
    return (np.resize(signal, SECONDS * RATE) + noise).astype(np.float32)  # no two windows are the same


class Counting:
    """Counts the samples that an engine computes, and ends the computation after a number of calls."""

    def __init__(self, calls: float = float("inf")) -> None:
        self.calls, self.samples = calls, 0

    def count(self, signal: npt.NDArray[np.float32]) -> None:
        if self.calls <= 0:
            raise KeyboardInterrupt
        self.calls -= 1
        self.samples += signal.size

    def engine(self, model: Model) -> Any:
        engine = copy.copy(model.engine)
        if isinstance(engine, FramesEngine):
            engine._step = CountedStep(engine._step, self.count)
            return engine
        for name in ("run", "run_parallel", "frames", "frames_parallel"):
            setattr(engine, name, self.counted(getattr(engine, name)))
        return engine

    def counted(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        def computed(signal: npt.NDArray[np.float32], *arguments: Any) -> Any:
            self.count(signal)
            return compute(signal, *arguments)

        return computed


class CountedStep:
    def __init__(self, step: Any, count: Callable[[npt.NDArray[np.float32]], None]) -> None:
        self.engine, self._step, self._count = step.engine, step, count

    def __call__(self, values: Any) -> Any:
        self._count(values["signal"])
        return self._step(values)


def keeping_model(model: Model, counting: Counting, kept: KeptOutputs, *, embeddings: bool = True) -> Model:
    return Model(model.card, keeping(counting.engine(model), model.card, kept, embeddings=embeddings))


def rows(model: Model, talk: npt.NDArray[np.float32], **request: Any) -> Block:
    with model.predict(talk, RATE, **request) as trajectory:
        return concatenate(list(trajectory))


def same(one: Block, other: Block) -> None:
    for name in ("starts", "ends", "scores", "confidence", "embeddings"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert (one.speech is None) is (other.speech is None)
    assert one.speech is None or other.speech is None or np.array_equal(one.speech, other.speech)


def interrupted(model: Model, talk: npt.NDArray[np.float32], path: Path, calls: int, **request: Any) -> Counting:
    """A computation that ends by a signal after some calls of the engine; gives what counted them."""
    counting, kept = Counting(calls), KeptOutputs(path, FACTS)
    with pytest.raises(KeyboardInterrupt):
        rows(keeping_model(model, counting, kept), talk, **request)
    kept.close()
    return counting


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_an_interrupted_computation_goes_on_to_the_last_digit(
    lite: Model, talk: npt.NDArray[np.float32], tmp_path: Path, request_: dict[str, Any]
) -> None:
    whole = Counting()
    undisturbed = rows(Model(lite.card, whole.engine(lite)), talk, **request_)
    first = interrupted(lite, talk, tmp_path / "kept", 2, **request_)
    kept, second = KeptOutputs(tmp_path / "kept", FACTS), Counting()
    assert len(kept) == 2
    same(rows(keeping_model(lite, second, kept), talk, **request_), undisturbed)
    assert first.samples and first.samples + second.samples == whole.samples
    third = Counting(0)
    kept.close()
    kept = KeptOutputs(tmp_path / "kept", FACTS)  # after an interruption at the very end
    same(rows(keeping_model(lite, third, kept), talk, **request_), undisturbed)
    kept.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unit", ["windows", "files"])
def test_a_model_of_frames_looks_back_before_it_goes_on(
    frames_model: Model, talk: npt.NDArray[np.float32], tmp_path: Path, unit: str
) -> None:
    whole = Counting()
    card, chunk = frames_model.card, CHUNK * frames_model.card.frame_hop
    request: dict[str, Any] = {"unit": unit, "speech": unit == "windows"}
    undisturbed = rows(Model(card, whole.engine(frames_model)), talk, **request)
    interrupted(frames_model, talk, tmp_path / "kept", 5, **request)
    kept, second = KeptOutputs(tmp_path / "kept", FACTS), Counting()
    assert len(kept) == 5
    same(rows(keeping_model(frames_model, second, kept), talk, **request), undisturbed)
    looked_back = 5 * chunk + second.samples - whole.samples
    assert card.look_back <= looked_back < card.look_back + 3 * chunk
    kept.close()


def arrays(number: int) -> list[npt.NDArray[np.float32] | None]:
    values = np.random.default_rng(number).random((number % 3 + 1, 4), np.float32)
    return [values, None if number % 2 else values[:, :0], values * 2]


def filled(path: Path, count: int) -> KeptOutputs:
    kept = KeptOutputs(path, FACTS, "emow2v 1")
    for number in range(count):
        kept.add(str(number).encode().ljust(16), arrays(number))
    kept.close()
    return KeptOutputs(path, FACTS, "emow2v 2")


def test_of_a_file_that_was_cut_anywhere_the_whole_records_are_used(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    filled(path, 5).close()
    whole = path.read_bytes()
    found = []
    for size in [*range(0, len(whole), 41), len(whole)]:
        path.write_bytes(whole[:size])
        kept = KeptOutputs(path, FACTS)
        kept.add(b"more".ljust(16), arrays(7))
        kept.close()
        kept = KeptOutputs(path, FACTS)
        found.append(len(kept) - 1)
        for number in range(found[-1]):
            for one, other in zip(kept.find(str(number).encode().ljust(16)) or [], arrays(number), strict=True):
                assert (one is None) is (other is None) and (one is None or other is None or np.array_equal(one, other))
        assert kept.find(b"more".ljust(16)) and kept.find(b"none".ljust(16)) is None
        kept.close()
    assert found == sorted(found) and (found[0], found[-1]) == (0, 5)


def test_a_damaged_record_ends_what_is_used(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    filled(path, 5).close()
    damaged = bytearray(path.read_bytes())
    damaged[-40] ^= 1  # the last record says that the file was opened again
    path.write_bytes(damaged)
    kept = KeptOutputs(path, FACTS)
    assert len(kept) == 4
    kept.close()


def test_outputs_of_other_weights_are_not_used_and_another_program_is_named(tmp_path: Path) -> None:
    kept = filled(tmp_path / "kept", 3)
    assert (len(kept), kept.software) == (3, "emow2v 1")
    kept.close()
    kept = KeptOutputs(tmp_path / "kept", FACTS | {"weights": "other"})
    assert (len(kept), kept.software) == (0, "")
    kept.close()
    kept = KeptOutputs(tmp_path / "kept", FACTS)
    assert len(kept) == 0
    kept.close()


def test_of_a_recording_that_was_changed_the_rest_is_computed(
    lite: Model, talk: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    talk, request = talk[: 8 * RATE], {"framing": emow2v.Framing(frame_step_ms=500), "batch_size": 4}
    interrupted(lite, talk, tmp_path / "kept", 3, **request)
    changed = talk.copy()
    changed[-5 * RATE] += 0.01
    kept, counting = KeptOutputs(tmp_path / "kept", FACTS), Counting()
    same(rows(keeping_model(lite, counting, kept), changed, **request), rows(lite, changed, **request))
    assert counting.calls == float("inf") and counting.samples > 0
    kept.close()


def test_without_embeddings_scores_are_kept_alone(lite: Model, talk: npt.NDArray[np.float32], tmp_path: Path) -> None:
    talk, request = talk[: 4 * RATE], {"framing": emow2v.Framing(frame_step_ms=500), "batch_size": 4}
    kept = KeptOutputs(tmp_path / "kept", FACTS)
    first = rows(keeping_model(lite, Counting(), kept, embeddings=False), talk, **request)
    kept.close()
    assert (tmp_path / "kept").stat().st_size < 100 * len(first) + 1000
    kept = KeptOutputs(tmp_path / "kept", FACTS)
    again = rows(keeping_model(lite, Counting(0), kept, embeddings=False), talk, **request)
    assert np.array_equal(again.scores, first.scores) and not again.embeddings.any()
    kept.close()


def test_a_short_computation_writes_no_file(
    lite: Model, talk: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN_S", 3600)
    kept = KeptOutputs(tmp_path / "kept", FACTS)
    rows(keeping_model(lite, Counting(), kept), talk[: 2 * RATE], unit="files")
    assert not list(tmp_path.iterdir())
    kept.remove()


def test_a_file_that_cannot_be_written_stops_nothing(
    lite: Model, talk: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    kept = KeptOutputs(tmp_path / "file" / "kept", FACTS)  # no folder can be there
    assert len(rows(keeping_model(lite, Counting(), kept), talk[: 2 * RATE], unit="files")) == 1
    kept.remove()
    monkeypatch.setattr(module, "MOST_BYTES", 1500)
    kept = filled(tmp_path / "kept", 5)
    assert 0 < len(kept) < 5 and (tmp_path / "kept").stat().st_size <= 1500
    kept.close()


def test_an_attempt_that_got_further_is_told_from_one_that_did_not(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert not has_grown(path)
    kept = filled(path, 3)  # opened again
    assert not has_grown(path)
    kept.add(b"new".ljust(16), arrays(1))
    assert has_grown(path)
    kept.close()
    KeptOutputs(path, FACTS).close()
    assert not has_grown(path)
    kept = KeptOutputs(path, FACTS | {"weights": "other"})
    assert not has_grown(path)
    kept.add(b"new".ljust(16), arrays(1))
    assert has_grown(path)
    kept.close()
