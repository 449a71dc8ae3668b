"""Reading, cutting and rewriting ONNX graphs of speech models, without the framework that made them.

Every graph has the input `signal` and the outputs `hidden_states` and `logits`. A package keeps its weights once, in a
safetensors file that the graphs name as external data: both graphs, PyTorch and other readers share it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from emow2v import storage
from emow2v.errors import FormatError, ModelError, is_own
from emow2v.trajectory import DIMENSIONS

Graph = Any  # onnx.ModelProto, whose annotations are not complete

SINGLE = "model.onnx"  # [1, samples], the form of audonnx
BATCHED = "batched.onnx"  # [batch, samples], for our engines
WEIGHTS = "model.safetensors"
LABELS = "model.yaml"

_HALF = ".half"  # suffix of an initialiser that is stored as float16, with a cast to float32 behind it
_KEPT_IN_GRAPH = 1024  # bytes; smaller tensors (shapes, constants) stay in the graph
_NORMALISE = "emow2v.normalise."  # prefix of our nodes and their tensors
_EPSILON = 1e-7


def read(path: Path) -> Graph:
    """A graph with its weights.

    Raises:
        ModelError: the file is no ONNX graph, is damaged, or its weights file is missing
    """
    reason = "no nodes"
    try:
        graph = onnx.load(str(path))
        if graph.graph.node:
            return graph
    except Exception as error:  # protobuf, onnx and the file system each have their own, for a damaged file
        if is_own(error):
            raise
        reason = storage.reason(error)
    raise ModelError(f"{path} is not a whole ONNX graph ({reason}); copy or download it again.")


def read_bare(path: Path) -> Graph:
    """A graph without its external weights."""
    return onnx.load(str(path), load_external_data=False)


def check_ports(graph: Graph, path: Path) -> None:
    """Refuse graphs with other inputs and outputs than signal, hidden_states and logits.

    Raises:
        ModelError: with the inputs and outputs of the graph
    """
    weights = {tensor.name for tensor in graph.graph.initializer}
    inputs = [one.name for one in graph.graph.input if one.name not in weights]
    outputs = {one.name: _shape(one) for one in graph.graph.output}
    if inputs != ["signal"] or not {"hidden_states", "logits"} <= outputs.keys():
        raise ModelError(
            f"{path} takes {', '.join(inputs) or 'nothing'} and gives {', '.join(outputs) or 'nothing'}; "
            "expected a graph from signal to hidden_states and logits."
        )
    kind = next(one for one in graph.graph.input if one.name == "signal").type.tensor_type
    if kind.elem_type != TensorProto.FLOAT or len(kind.shape.dim) != 2:
        raise ModelError(f"{path} takes a signal of another type or shape; expected float32 [batch, samples].")
    ranks = {name: len(outputs[name]) for name in ("hidden_states", "logits")}
    if set(ranks.values()) != {2}:
        raise ModelError(f"{path} does not declare hidden_states and logits as [batch, values]; export it again.")
    if outputs["logits"][-1:] != [len(DIMENSIONS)]:
        raise ModelError(f"{path} gives logits {outputs['logits']}; expected {len(DIMENSIONS)} of them.")


def normalises(graph: Graph) -> bool:
    """Whether our normalisation is at the front of a graph."""
    return any(node.name.startswith(_NORMALISE) for node in graph.graph.node)


def add_normalisation(graph: Graph) -> None:
    """Put (x - mean) / sqrt(variance + 1e-7) over the samples of each window in front, in float32."""
    for node in graph.graph.node:
        for k, name in enumerate(node.input):
            if name == "signal":
                node.input[k] = _NORMALISE + "signal"
    # Axes of a mean were an attribute up to opset 17 and are an input since; a global pool over one channel has neither
    # and is the same in every opset. The mean is subtracted twice: that of a loud offset is rounded in float32, and the
    # rest would not be silence.
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Unsqueeze", ["signal"], "row", {}),
        ("GlobalAveragePool", ["row"], "mean", {}),
        ("Sub", ["row", "mean"], "near", {}),
        ("GlobalAveragePool", ["near"], "rest", {}),
        ("Sub", ["near", "rest"], "centred", {}),
        ("Mul", ["centred", "centred"], "square", {}),
        ("GlobalAveragePool", ["square"], "variance", {}),
        ("Add", ["variance", "epsilon"], "floored", {}),
        ("Sqrt", ["floored"], "deviation", {}),
        ("Div", ["centred", "deviation"], "levelled", {}),
        ("Squeeze", ["levelled"], "signal", {}),
    ]
    opset = next(one.version for one in graph.opset_import if one.domain in ("", "ai.onnx"))
    nodes = []
    for operator, inputs, output, attributes in steps:
        names = [name if name == "signal" and operator == "Unsqueeze" else _NORMALISE + name for name in inputs]
        if operator in ("Unsqueeze", "Squeeze"):
            if opset < 13:
                attributes = {"axes": [1]}
            else:
                names.append(_NORMALISE + "axes")
        nodes.append(helper.make_node(operator, names, [_NORMALISE + output], _NORMALISE + output, **attributes))
    kept = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *kept])
    graph.graph.initializer.append(numpy_helper.from_array(np.array(_EPSILON, np.float32), _NORMALISE + "epsilon"))
    if opset >= 13:
        graph.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), _NORMALISE + "axes"))


def front_end(graph: Graph, weight: str = "") -> str:
    """Name of the input of the first convolution, or of the one with a weight; "" where that is the signal itself."""
    for node in graph.graph.node:
        if node.op_type == "Conv" and (not weight or node.input[1] == weight):
            return "" if node.input[0] == "signal" else str(node.input[0])
    return ""


def frames(graph: Graph) -> str:
    """Name of the tensor [batch, time, width] before pooling over time, from which alone all outputs follow; or ""."""
    nodes = [graph.graph.node[k] for k in sorted(_behind(graph, ["hidden_states"], ""), reverse=True)]
    pools = ("ReduceMean", "ReduceSum", "GlobalAveragePool")
    for name in dict.fromkeys(node.input[0] for node in nodes if node.op_type in pools):
        try:
            section(graph, name, "")
        except ModelError:  # the outputs need other tensors, too
            continue
        return str(name)
    return ""


def section(graph: Graph, begin: str, end: str) -> Graph:
    """The part of a graph from one tensor to another, or to its outputs ("").

    Raises:
        ModelError: the part requires other tensors, too
    """
    outputs = [one for one in graph.graph.output if not end]
    if end:
        outputs = [helper.make_tensor_value_info(end, TensorProto.FLOAT, None)]
    kept = _behind(graph, [one.name for one in outputs], begin)
    part = type(graph)()
    part.CopyFrom(graph)
    for field in ("node", "input", "output", "initializer", "value_info"):
        part.graph.ClearField(field)
    part.graph.node.extend(graph.graph.node[k] for k in sorted(kept))
    needed = {name for node in part.graph.node for name in node.input}
    tensors = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    part.graph.initializer.extend(tensors)
    port = next((one for one in graph.graph.input if one.name == begin), None)
    part.graph.input.append(port or helper.make_tensor_value_info(begin, TensorProto.FLOAT, ["batch", "time", "width"]))
    part.graph.output.extend(outputs)
    made = {name for node in part.graph.node for name in node.output}
    missing = needed - made - {tensor.name for tensor in tensors} - {begin, ""}
    if missing or begin not in needed:
        raise ModelError(f"The graph cannot be cut at '{begin}'; export or pull the model again.")
    return part


def _behind(graph: Graph, ends: list[str], begin: str) -> set[int]:
    """Indices of the nodes that compute some tensors, back to `begin`."""
    made = {output: k for k, node in enumerate(graph.graph.node) for output in node.output}
    indices: set[int] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name != begin and name in made and made[name] not in indices:
            indices.add(made[name])
            waiting += graph.graph.node[made[name]].input
    return indices


def strip_normalisation(graph: Graph) -> None:
    """Undo `add_normalisation`."""
    kept = [node for node in graph.graph.node if not node.name.startswith(_NORMALISE)]
    for node in kept:
        for k, name in enumerate(node.input):
            if name == _NORMALISE + "signal":
                node.input[k] = "signal"
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    tensors = [tensor for tensor in graph.graph.initializer if not tensor.name.startswith(_NORMALISE)]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(tensors)


def set_batch(graph: Graph, batch: int | str) -> None:
    """Declare the first dimension of the input and the outputs: a number, or a name for any."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    ports = [one for one in graph.graph.input if one.name not in weights] + list(graph.graph.output)
    for port in ports:
        first = port.type.tensor_type.shape.dim[0]
        first.Clear()
        if isinstance(batch, int):
            first.dim_value = batch
        else:
            first.dim_param = batch
    samples = next(one for one in ports if one.name == "signal").type.tensor_type.shape.dim[1]
    samples.Clear()
    samples.dim_param = "samples"
    del graph.graph.value_info[:]  # shapes inferred for another batch


def free_batch(graph: Graph) -> None:
    """Let a graph that was traced with one clip take a batch.

    Tracing wrote the batch into the target shapes of reshapes, as the first number: 1, or 1 * 16 heads. Each is
    multiplied by the batch at run time. A first number that comes from the tensor itself stays. The caller must try whether
    a batch then gives the same as its clips one by one.
    """
    constants = {tensor.name for tensor in graph.graph.initializer}
    values = {tensor.name: tensor for tensor in graph.graph.initializer}
    made = {output: node for node in graph.graph.node for output in node.output}
    nodes: list[Any] = [
        helper.make_node("Shape", ["signal"], ["emow2v.batch.shape"], "emow2v.batch.shape"),
        helper.make_node(
            "Gather",
            ["emow2v.batch.shape", "emow2v.batch.zero"],
            ["emow2v.batch"],
            "emow2v.batch",
            axis=0,
        ),
    ]
    graph.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "emow2v.batch.zero"))
    for node in graph.graph.node:
        baked = None
        if node.op_type in ("Reshape", "Expand") and not _constant(node.input[0], constants, made):
            baked = _leading(node.input[1], values, made)
        if baked is not None and baked[0] > 0:
            length = baked[1]
            name = f"emow2v.batch.{node.output[0]}"
            ones = helper.make_node(
                "Concat", ["emow2v.batch", name + ".ones"], [name + ".factor"], name + ".factor", axis=0
            )
            scaled = helper.make_node("Mul", [node.input[1], name + ".factor"], [name], name)
            graph.graph.initializer.append(numpy_helper.from_array(np.ones(length - 1, np.int64), name + ".ones"))
            nodes += [ones, scaled]
            node.input[1] = name
        nodes.append(node)
    copied = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(copied)
    set_batch(graph, "batch")


def _constant(name: str, constants: set[str], made: Mapping[str, Any]) -> bool:
    return name in constants or (name in made and made[name].op_type == "Constant")


def _leading(name: str, values: Mapping[str, Any], made: Mapping[str, Any]) -> tuple[int, int] | None:
    """The first number of a shape and the length of the shape, where tracing wrote a constant; else None."""
    value = _value(name, values, made)
    if value is not None:
        return (int(value.reshape(-1)[0]), value.size) if value.size else None
    node = made.get(name)
    if node is None:
        return None
    if node.op_type == "Concat":
        parts = [_value(one, values, made) for one in node.input]
        # parts that are no constants are single numbers: lengths of a tensor
        length = sum(1 if part is None else part.size for part in parts)
        first = parts[0]
        return None if first is None or not first.size else (int(first.reshape(-1)[0]), length)
    if node.op_type in ("Cast", "Identity"):
        return _leading(node.input[0], values, made)
    return None


def _value(name: str, values: Mapping[str, Any], made: Mapping[str, Any]) -> Any:
    if name in values:
        return numpy_helper.to_array(values[name])
    node = made.get(name)
    if node is None:
        return None
    if node.op_type == "Constant":
        return next((numpy_helper.to_array(one.t) for one in node.attribute if one.name == "value"), None)
    if node.op_type in ("Unsqueeze", "Identity", "Cast"):
        inner = _value(node.input[0], values, made)
        return None if inner is None else inner.reshape(-1)
    return None


def halve(graph: Graph, *, smallest: int = 4096, keep: str = "") -> None:
    """Store large weights as float16 with a cast to float32 behind them: half the size, the same arithmetic.

    Args:
        smallest: number of values; smaller tensors (biases, norms) stay in float32
        keep: tensors with this text in their names stay in float32
    """
    casts = []
    for tensor in list(graph.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < smallest or (keep and keep in tensor.name):
            continue
        name = tensor.name
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + _HALF))
        casts.append(helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT, name=name + ".cast"))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    own = {cast.output[0] for cast in casts}
    for info in [value for value in graph.graph.value_info if value.name in own]:
        graph.graph.value_info.remove(info)


def take_out(graph: Graph) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a graph that belong in the weights file, by their names there."""
    return {
        tensor.name.removesuffix(_HALF): numpy_helper.to_array(tensor)
        for tensor in graph.graph.initializer
        if np.prod(tensor.dims) * 4 >= _KEPT_IN_GRAPH and tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }


def weights_of(paths: Iterable[Path], prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of float32 or float16 in graphs, by their names in the network.

    Args:
        prefix: left out where a name begins with it

    Raises:
        ModelError: see `read`
    """
    return {
        tensor.name.removesuffix(_HALF).removeprefix(prefix): numpy_helper.to_array(tensor)
        for path in paths
        for tensor in read(path).graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }


def point_at(graph: Graph, weights: Path) -> None:
    """Replace the large tensors of a graph by references to a safetensors file beside it."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        table = json.loads(file.read(length))
    for tensor in graph.graph.initializer:
        entry = table.get(tensor.name.removesuffix(_HALF))
        if entry is None or (end := entry["data_offsets"][1]) - (begin := entry["data_offsets"][0]) < _KEPT_IN_GRAPH:
            continue
        if list(tensor.dims) != entry["shape"] or _ITEM[entry["dtype"]] != tensor.data_type:
            raise ModelError(f"{weights} holds {tensor.name} in another form than the graph; export the model again.")
        tensor.ClearField("float_data")
        tensor.raw_data = b""  # the helper refuses a tensor without the field
        external_data_helper.set_external_data(tensor, weights.name, offset=8 + length + begin, length=end - begin)
        tensor.ClearField("raw_data")


def write_weights(tensors: Mapping[str, np.ndarray[Any, Any]], path: Path) -> None:
    """Write a safetensors file with the permissions of other new files."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.touch()
    mode = path.stat().st_mode
    whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt"})
    except SafetensorError as error:  # such as a full disk
        raise FormatError(f"{path.parent} cannot be written ({error}); make room or choose another folder.") from None
    path.chmod(mode)  # safetensors makes it readable for its owner only


_ITEM = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16}


def save(graph: Graph, path: Path) -> None:
    """Write a graph into the folder of the weights that it names, and check it."""
    path.write_bytes(graph.SerializeToString())
    onnx.checker.check_model(str(path))


def labels_yaml() -> str:
    """The description of model.onnx for audonnx."""
    lines = ["$audonnx.core.model.Model==1.0.1:", f"  path: {SINGLE}", "  labels:", "    logits:"]
    lines += [f"    - {name}" for name in DIMENSIONS]
    return "\n".join([*lines, "  transform: null", ""])


def _shape(port: Any) -> list[int | str]:
    return [one.dim_value or one.dim_param or "?" for one in port.type.tensor_type.shape.dim]
