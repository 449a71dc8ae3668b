"""Calls of a graph by many threads, and sums of frames; judged by a graph that is written down and by NumPy."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import soundfile

import emow2v
from emow2v import cards
from emow2v.engines import choose
from emow2v.engines.frames import SHORT, ByLength, Combined, FramesEngine, FrameTotals, SpanSums
from emow2v.errors import ModelError
from emow2v.framing import Framing
from emow2v.modelstore.verify import EXAMPLE


class Doubling:
    """Doubles its input; its first call goes on until `others` calls wait behind it. Refuses rows that begin with 13."""

    engine = "doubling"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go_on = threading.Event()

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        self.batches.append(len(values["x"]))
        assert self.go_on.wait(300)
        if (values["x"][:, 0] == 13).any():
            raise ModelError("thirteen")
        return {"y": 2 * values["x"]}


def run_behind_one(graph: Doubling, combined: Combined, inputs: list[np.ndarray]) -> list[Any]:
    """Results or errors of calls that came while the first of them was computed."""
    found: list[Any] = [None] * len(inputs)
    begun = threading.Barrier(len(inputs))

    def call(number: int) -> None:
        begun.wait(300)
        try:
            found[number] = combined({"x": inputs[number]})["y"]
        except ModelError as error:
            found[number] = str(error)

    def first() -> None:
        combined({"x": np.zeros((1, 2))})

    with ThreadPoolExecutor(len(inputs) + 1) as pool:
        work = [pool.submit(first)]
        while not graph.batches:
            pass
        work += [pool.submit(call, number) for number in range(len(inputs))]
        while len(combined._waiting) < len(inputs):
            pass
        graph.go_on.set()
        for one in work:
            one.result()
    return found


def test_calls_that_come_while_one_is_computed_are_one_batch() -> None:
    graph = Doubling()
    inputs = [np.full((number % 2 + 1, 2), number, np.float32) for number in range(6)] + [np.ones((1, 3), np.float32)]
    found = run_behind_one(graph, Combined(graph), inputs)
    for result, values in zip(found, inputs, strict=True):
        np.testing.assert_array_equal(result, 2 * values)
    assert sorted(graph.batches) == [1, 1, 9]  # the first call, the one of another shape, and the nine rows of six


def test_an_error_is_that_of_its_call_alone() -> None:
    graph = Doubling()
    inputs = [np.full((1, 2), number, np.float32) for number in (1, 13, 2)]
    found = run_behind_one(graph, Combined(graph), inputs)
    assert found[1] == "thirteen"
    np.testing.assert_array_equal(found[0], 2 * inputs[0])
    np.testing.assert_array_equal(found[2], 2 * inputs[2])


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 50]])
def test_mean_and_variance_of_frames_that_come_in_parts(cuts: list[int]) -> None:
    frames = np.random.default_rng(0).normal(3, 2, (70, 4)).astype(np.float32)
    totals, sums = FrameTotals(), SpanSums()
    for part in np.split(frames, cuts):
        totals.add(part)
        sums.add(part)
    for mean, variance in (totals.moments(), sums.moments(np.array([0]), np.array([70]))):
        np.testing.assert_allclose(mean[0], frames.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(variance[0], frames.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_short_and_long_steps_of_the_embedded_model_give_the_same_frames(name: str) -> None:
    """Those of a graph of their own, against PyTorch, which computes all of them at once."""
    pytest.importorskip("torch")
    card = cards.find("lite-frames")
    engine, judge = choose(card, name), choose(card, "torch", device="cpu")
    assert card.short and isinstance(engine, FramesEngine) and isinstance(judge, FramesEngine)
    signal = np.random.default_rng(0).normal(0, 0.1, (2, 27 * 640)).astype(np.float32)
    state, parts, begin = engine.start(2), [], 0
    for frames in (2, SHORT, SHORT + 1, 3, 13):
        end = begin + frames * 640
        values, _, state = engine.step(signal[:, begin:end], np.full(2, end - begin), state)
        parts.append(values)
        begin = end
    expected, _, _ = judge.step(signal, np.full(2, 27 * 640), judge.start(2))
    got = np.concatenate(parts, axis=1)
    assert np.abs(expected[:, card.delay :]).max() > 1
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_graph_of_short_steps_is_loaded_when_it_is_needed() -> None:
    made = []

    class Named(Doubling):
        def __init__(self, engine: str) -> None:
            super().__init__()
            self.engine = engine
            self.go_on.set()

        def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
            return {self.engine: values["signal"]}

    def short() -> Named:
        made.append("short")
        return Named("short")

    graph = ByLength(Named("long"), short, hop=10)
    assert list(graph({"signal": np.zeros((1, SHORT * 10 + 10))})) == ["long"] and not made
    for _ in range(2):
        assert list(graph({"signal": np.zeros((1, SHORT * 10))})) == ["short"]
    assert made == ["short"] and graph.engine == "long"


def test_bf16_is_close_in_one_pass_and_live_and_an_offset_does_not_swallow_the_sound() -> None:
    from emow2v.engines.openvino import has_bf16

    if not has_bf16():
        with pytest.raises(ModelError, match="This processor has no bf16"):
            emow2v.load("lite-frames", precision="bf16")
        pytest.skip("this processor has no bf16; that it says so was tested")
    exact, fast = (emow2v.load("lite-frames", precision=precision) for precision in ("fp32", "bf16"))
    assert fast.engine.precision == fast.provenance(Framing())["precision"] == "bf16"
    signal = soundfile.read(EXAMPLE, dtype="float32")[0][: 16000 * 6]
    for offset in (0, 20):  # in bf16 the sound would be lost beside the larger one
        expected, said = (model.predict(signal + np.float32(offset), 16000).load() for model in (exact, fast))
        assert 0 < np.abs(said.scores - expected.scores).max() < 0.03
        assert np.corrcoef(said.scores[:, 0], expected.scores[:, 0])[0, 1] > 0.99
    with fast.stream() as stream:  # short steps have a graph of their own
        live = np.concatenate([block.scores for part in np.split(signal, 75) for block in stream.add(part)])
    assert len(live) > 100
    np.testing.assert_allclose(live, fast.predict(signal, 16000).scores[: len(live)], atol=0.03)
    with pytest.raises(ModelError, match="onnxruntime does not compute in bf16"):
        emow2v.load("lite-frames", engine="onnxruntime", precision="bf16")
