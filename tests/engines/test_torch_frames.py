"""Models of frames on PyTorch, against the graphs of the same package on OpenVINO and on ONNX Runtime."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from emow2v import cards
from emow2v.engines import choose
from emow2v.engines.frames import FramesEngine
from emow2v.engines.torch_frames import NamedFunction, open_frames
from emow2v.errors import ModelError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from frames_package import write_frames_package

HOP = 640


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> cards.Card:
    folder = tmp_path_factory.mktemp("frames") / "package"
    write_frames_package(folder)
    return cards.read_card(folder)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def test_lite_frames_is_that_of_openvino() -> None:
    card = cards.find("lite-frames")
    signal = soundfile.read(EXAMPLE, dtype="float32")[0][: 4 * 16000]
    rows = [
        Model(card, choose(card, name, device="cpu")).predict(signal, 16000).load() for name in ("torch", "openvino")
    ]
    assert rows[0].info.provenance["engine"].startswith("torch") and len(rows[0]) == len(rows[1]) == 100
    np.testing.assert_allclose(rows[0].scores, rows[1].scores, atol=1e-5)
    np.testing.assert_allclose(rows[0].confidence, rows[1].confidence, atol=1e-5)
    norms = np.linalg.norm(rows[1].embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(rows[0].embeddings / norms, rows[1].embeddings / norms, atol=1e-5)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_steps_of_streams_and_clips_of_several_lengths(small: cards.Card, name: str) -> None:
    ours, other = choose(small, "torch", device="cpu"), choose(small, name)
    assert isinstance(ours, FramesEngine) and isinstance(other, FramesEngine)
    states = [engine.start(3) for engine in (ours, other)]
    for step, frames in enumerate((2, 7, 40)):
        given, lengths = (
            np.stack([sound(frames * HOP, step + row) for row in range(3)]),
            np.array([frames * HOP, 0, 900]),
        )
        results = [engine.step(given, lengths, state) for engine, state in zip((ours, other), states, strict=True)]
        for one, two in zip(results[0][:2], results[1][:2], strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4 * np.abs(two).max())
        states = [result[2] for result in results]
        assert all(isinstance(value, torch.Tensor) for value in states[0].values())
    clips = [sound(samples) for samples in (400, 9000, 33333)]
    for (one, heard), (two, also) in zip(ours.signals(clips), other.signals(clips), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4 * np.abs(two).max())
        np.testing.assert_allclose(heard, also, atol=1e-5)
    np.testing.assert_allclose(ours.run(clips[2][None])[1], other.run(clips[2][None])[1], atol=1e-5)


def test_streams_of_threads_that_share_batches_keep_their_states(small: cards.Card) -> None:
    """States lie on the device and are joined there, those that begin in NumPy among them."""
    engine = choose(small, "torch", device="cpu")
    assert isinstance(engine, FramesEngine)
    signals = [sound(8 * HOP, number) for number in range(6)]
    begun = threading.Barrier(len(signals))

    def frames(number: int) -> np.ndarray:
        state, parts = engine.start(1), []
        begun.wait(300)
        for begin in range(0, 8 * HOP, 2 * HOP):
            part = signals[number][None, begin : begin + 2 * HOP]
            values, _, state = engine.step(part, np.array([2 * HOP]), state)
            parts.append(values[0])
        return np.concatenate(parts)

    with ThreadPoolExecutor(len(signals)) as pool:
        together = list(pool.map(frames, range(len(signals))))
    for signal, got in zip(signals, together, strict=True):
        alone, _, _ = engine.step(signal[None], np.array([8 * HOP]), engine.start(1))
        np.testing.assert_allclose(got, alone[0], atol=1e-4 * np.abs(alone).max())


def test_inputs_of_several_calls_are_joined() -> None:
    graph = NamedFunction(lambda values: dict(values), torch.device("cpu"), kept="next.")
    first, second = np.zeros((1, 2), np.float32), torch.ones(2, 2)
    assert isinstance(graph.join([first, first]), np.ndarray)
    np.testing.assert_array_equal(graph.join([first, second]).numpy(), [[0, 0], [1, 1], [1, 1]])
    results = graph({"next.x": first, "frames": first})
    assert isinstance(results["next.x"], torch.Tensor) and isinstance(results["frames"], np.ndarray)


def test_a_batch_without_room_on_the_device_is_computed_in_parts() -> None:
    computed: list[int] = []

    def function(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rows = len(values["x"])
        if rows > room:
            raise torch.OutOfMemoryError("no room")
        computed.append(rows)
        return {"next.x": values["x"] + 1, "frames": 2 * values["x"]}

    graph, given = NamedFunction(function, torch.device("cpu"), kept="next."), sound(7).reshape(7, 1)
    room = 2
    results = graph({"x": given})
    assert computed == [1, 2, 2, 2]
    np.testing.assert_array_equal(results["next.x"].numpy(), given + 1)
    np.testing.assert_array_equal(results["frames"], 2 * given)
    room = 0
    with pytest.raises(ModelError, match="cpu has no memory for one stream or recording; choose another device"):
        graph({"x": given})


def test_what_it_cannot_compute(small: cards.Card) -> None:
    with pytest.raises(ModelError, match="Model frames computes in fp32, not bf16; choose fp32"):
        open_frames(small, precision="bf16")
    engine = open_frames(small, device="cpu")
    wrong = {**engine.start(1), "power": np.zeros((1, 3), np.float32)}
    with pytest.raises(ModelError, match="expected a chunk and the state of the chunk before it, of the same model"):
        engine.step(np.zeros((1, 4 * HOP), np.float32), np.array([4 * HOP]), wrong)
