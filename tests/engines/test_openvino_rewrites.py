"""Convolutions rewritten as products: the same numbers, and only where nothing else would change."""

import numpy as np
import pytest

from emow2v import cards
from emow2v.engines import onnx_graph
from emow2v.engines.openvino import import_openvino, openvino_core
from emow2v.engines.openvino_rewrites import keep_channels_last

openvino = import_openvino()
op = openvino.opset13


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "2": rng.normal(size=(6, 4, 2)).astype(np.float32),
        "3": rng.normal(size=(6, 4, 3)).astype(np.float32),
        "bias": rng.normal(size=(1, 6, 1)).astype(np.float32),
    }


def turned(node):
    return op.transpose(node, np.array([0, 2, 1]))


def model(weights, kernel: str = "3", *, change: str = ""):
    """[batch, time, 4] turned, through a convolution and GELU, and turned back; with one thing that is in the way."""
    given = op.parameter([-1, -1, 4], np.float32)
    front = turned(given)
    inner = op.gelu(front, "erf")
    if change == "scaled over time":
        inner = op.multiply(inner, op.constant(np.linspace(1, 2, 20, dtype=np.float32).reshape(1, 1, 20)))
    settings = {
        "stride": ([3], [0], [0], [1]), "padding": ([2], [1], [1], [1]), "dilation": ([2], [0], [0], [2]),
    }.get(change, ([2], [0], [0], [1]))  # fmt: skip
    convolution = op.convolution(inner, op.constant(weights[kernel]), *settings)
    biased = op.add(convolution, op.constant(weights["bias"]))
    outputs = [turned(biased)]
    if change == "result used twice":
        outputs.append(op.relu(biased))
    if change == "input used twice":
        outputs.append(op.relu(front))
    return openvino.Model(outputs, [given])


def run(made, given: np.ndarray) -> np.ndarray:
    compiled = openvino_core().compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return next(iter(compiled([given]).values())).copy()


@pytest.mark.parametrize("kernel", ["2", "3"])
def test_the_same_numbers_at_every_length(weights, kernel: str) -> None:
    exact, rewritten = model(weights, kernel), model(weights, kernel)
    assert keep_channels_last(rewritten, op) == 1
    assert "Convolution" not in {one.get_type_name() for one in rewritten.get_ordered_ops()}
    for frames in range(int(kernel), 14):
        given = np.random.default_rng(frames).normal(size=(2, frames, 4)).astype(np.float32)
        expected = run(exact, given)
        found = run(rewritten, given)
        assert found.shape == expected.shape == (2, (frames - int(kernel)) // 2 + 1, 6)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    ["stride", "padding", "dilation", "result used twice", "input used twice", "scaled over time"],
)
def test_what_is_in_the_way_stops_it(weights, change: str) -> None:
    made = model(weights, change=change)
    given = np.random.default_rng(1).normal(size=(2, 20, 4)).astype(np.float32)
    expected = run(made, given)
    assert keep_channels_last(made, op) == 0
    np.testing.assert_array_equal(run(made, given), expected)


def test_every_wav2vec2_is_rewritten_and_nothing_else(package, checkpoint, tmp_path) -> None:
    from checkpoints import foreign_graph

    read = openvino_core().read_model
    assert keep_channels_last(read(str(package / onnx_graph.BATCHED)), op) == 6
    for opset in (14, 17):
        foreign = foreign_graph(checkpoint, tmp_path / str(opset) / "model.onnx", normalise=True, opset=opset)
        assert keep_channels_last(read(str(foreign)), op) == 6
    lite = cards.find("lite")
    assert keep_channels_last(read(str(lite.folder / lite.graph)), op) == 0
