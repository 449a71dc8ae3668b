"""Surgery on ONNX graphs, judged by ONNX's own reference evaluator and by NumPy."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

from emow2v.engines import onnx_graph
from emow2v.errors import ModelError


def tiny(opset: int = 17, reshape: list[int] | None = None) -> onnx.ModelProto:
    """signal [1, n] -> hidden_states: sums of pairs through a reshape; logits: three constants times the mean."""
    shape = reshape or [1, -1, 2]
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    reduce = {"axes": [1]} if opset < 18 else {}
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["signal", "shape"], ["pairs"], "pairs"),
            helper.make_node("ReduceMean", ["pairs"] + ([] if opset < 18 else ["axes"]), ["hidden_states"], keepdims=0, **reduce),
            helper.make_node("MatMul", ["hidden_states", "weight"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("signal", TensorProto.FLOAT, [1, "time"])],
        [
            helper.make_tensor_value_info("hidden_states", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3]),
        ],
        [
            numpy_helper.from_array(np.array(shape, np.int64), "shape"),
            numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "weight"),
            *([] if opset < 18 else [axes]),
        ],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(graph: onnx.ModelProto, signal: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(graph)
    return ReferenceEvaluator(graph).run(None, {"signal": signal.astype(np.float32)})


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21])
def test_normalisation_in_front_is_that_of_the_feature_extractor(opset: int) -> None:
    graph = tiny(opset)
    plain = tiny(opset)
    signal = np.random.default_rng(0).normal(0.3, 0.05, (1, 64)).astype(np.float32)
    levelled = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-7)
    onnx_graph.add_normalisation(graph)
    assert onnx_graph.normalises(graph) and not onnx_graph.normalises(plain)
    np.testing.assert_allclose(run(graph, signal)[0], run(plain, levelled)[0], atol=1e-5)
    onnx_graph.strip_normalisation(graph)
    assert graph.SerializeToString() == plain.SerializeToString()


@pytest.mark.parametrize("shape", [[1, -1, 2], [-1, 32, 2], [0, -1, 2]])
def test_a_batch_gives_what_its_clips_give(shape: list[int]) -> None:
    single, batched = tiny(reshape=shape), tiny(reshape=shape)
    onnx_graph.free_batch(batched)
    signals = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    together = run(batched, signals)
    for k, signal in enumerate(signals):
        for got, expected in zip(together, run(single, signal[None]), strict=True):
            np.testing.assert_allclose(got[k : k + 1], expected, atol=1e-6)
    assert [one.dim_param for one in batched.graph.input[0].type.tensor_type.shape.dim] == ["batch", "samples"]


def test_reshapes_of_weights_are_left_alone() -> None:
    graph = tiny()
    graph.graph.initializer.append(numpy_helper.from_array(np.array([1, 6], np.int64), "flat"))
    graph.graph.node.append(helper.make_node("Reshape", ["weight", "flat"], ["row"]))
    onnx_graph.free_batch(graph)
    assert [node.input[1] for node in graph.graph.node if node.op_type == "Reshape"][-1] == "flat"


def test_half_the_bytes_the_same_arithmetic() -> None:
    graph = tiny()
    large = np.random.default_rng(2).normal(size=(2, 3)).astype(np.float32)
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(large, "weight"))
    onnx_graph.halve(graph, smallest=6)
    types = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    assert types == {"shape": TensorProto.INT64, "weight.half": TensorProto.FLOAT16}
    signal = np.random.default_rng(3).normal(size=(1, 64)).astype(np.float32)
    hidden, logits = run(graph, signal)
    np.testing.assert_allclose(logits, hidden @ large.astype(np.float16).astype(np.float32), rtol=1e-6)


def test_graphs_name_the_bytes_of_a_safetensors_file(tmp_path: Path) -> None:
    graph = tiny()
    large = np.random.default_rng(4).normal(size=(2, 3)).astype(np.float32)
    wide = np.random.default_rng(5).normal(size=(40, 40)).astype(np.float32)
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(large, "weight"))
    graph.graph.initializer.append(numpy_helper.from_array(wide, "wide"))
    graph.graph.initializer.append(numpy_helper.from_array(wide.astype(np.float16), "narrow.half"))
    taken = onnx_graph.take_out(graph)
    assert taken.keys() == {"wide", "narrow"}
    onnx_graph.write_weights(taken, tmp_path / onnx_graph.WEIGHTS)
    onnx_graph.point_at(graph, tmp_path / onnx_graph.WEIGHTS)
    onnx_graph.save(graph, tmp_path / "one.onnx")
    assert (tmp_path / "one.onnx").stat().st_size < 2000
    found = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "one.onnx").graph.initializer
    }
    np.testing.assert_array_equal(found["wide"], wide)
    np.testing.assert_array_equal(found["narrow.half"], wide.astype(np.float16))
    np.testing.assert_array_equal(found["weight"], large)
    np.testing.assert_array_equal(load_file(tmp_path / onnx_graph.WEIGHTS)["wide"], wide)


def test_weights_of_another_form_are_refused(tmp_path: Path) -> None:
    graph = tiny()
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros((40, 40), np.float32), "wide"))
    onnx_graph.write_weights({"wide": np.zeros((20, 80), np.float32)}, tmp_path / onnx_graph.WEIGHTS)
    with pytest.raises(ModelError, match="holds wide in another form"):
        onnx_graph.point_at(graph, tmp_path / onnx_graph.WEIGHTS)


@pytest.mark.parametrize("data", [b"", b"this is text", bytes(200), struct.pack("<Q", 7) + json.dumps({}).encode()])
def test_what_is_no_graph_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"x\.onnx is not a whole ONNX graph") as error:
        onnx_graph.read(tmp_path / "x.onnx")
    assert "\n" not in str(error.value)


def test_graphs_with_other_ports_are_refused(tmp_path: Path) -> None:
    graph = tiny()
    onnx_graph.check_ports(graph, tmp_path)
    graph.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 6
    with pytest.raises(ModelError, match="expected 3 of them"):
        onnx_graph.check_ports(graph, tmp_path)
    graph.graph.output[1].name = "scores"
    with pytest.raises(ModelError, match="takes signal and gives hidden_states, scores; expected a graph from signal"):
        onnx_graph.check_ports(graph, tmp_path)
