"""OpenVINO, the default engine: the fastest of those measured on CPUs, with wheels for Windows, Linux and macOS."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.engines import (
    WHOLE,
    CutPoints,
    Floats,
    Outputs,
    cannot_open,
    cannot_run,
    cannot_take,
    cores,
    need_frames,
    refuse_lengths,
)
from emow2v.engines.openvino_rewrites import keep_channels_last
from emow2v.errors import ModelError
from emow2v.framing import SAMPLING_RATE

_TELEMETRY = "openvino_telemetry"
_silencing = threading.Lock()  # two threads that import at the same time would disturb each other
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # int8: for the operations that the package leaves in float32
_CUT = "emow2v.cut"  # the input of a part of a graph that the part before computes
# OpenVINO compiles kernels for each new shape and keeps 5000 of them: with recordings of many lengths, memory grew by
# more than a megabyte a recording. With 64 it does not, and nothing was slower.
_SMALL_CACHE = {"CPU_RUNTIME_CACHE_CAPACITY": "64"}
_CONFIG = {
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # otherwise activations are rounded to 8 bit while they are computed
    "ENABLE_CPU_PINNING": "NO",  # otherwise engines of one thread in several processes all compute on the first core
}
MOST_STREAMS = 8  # parallel batches; each has its own activations in memory
SHORTEST_PARALLEL = 3200  # samples, 0.2 s


def import_openvino() -> Any:
    """Import OpenVINO without its usage telemetry, which it would send during the import."""
    return import_silent("openvino")


def import_silent(name: str) -> Any:
    """Import a package of OpenVINO's makers without their usage telemetry.

    A None in sys.modules makes the import of the telemetry package fail; the package then uses its stub for installations
    without telemetry. A package that the host program has imported before stays as it is. Telemetry is also off where the
    host program has imported the telemetry package itself.
    """
    with _silencing:
        if name in sys.modules:
            return importlib.import_module(name)
        before = {_TELEMETRY: sys.modules[_TELEMETRY]} if _TELEMETRY in sys.modules else {}
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules[_TELEMETRY]
            sys.modules.update(before)


_core_of: dict[int, Any] = {}  # by process: threads do not survive a fork, so a child gets its own
_making = threading.Lock()


def openvino_core() -> Any:
    """The one `Core` of this process, which is never freed.

    OpenVINO's CPU plugin gives the thread that loads it another stack for its signal handlers, unmaps that stack when the
    plugin is freed, and puts back the stack that it found. With two cores, of which the older is freed first, that is one
    that is gone: the next signal that Python handles, such as that of Ctrl+C, ends the process by a segmentation fault
    (seen with 2026.4 on Linux).
    """
    with _making:
        if os.getpid() not in _core_of:
            _core_of[os.getpid()] = import_openvino().Core()
        return _core_of[os.getpid()]


class OpenVINOEngine:
    """An ONNX graph on OpenVINO's CPU plugin, in float32 from end to end, or in bf16 behind a front end in float32.

    The graph is compiled twice, each time when it is first needed: with all threads on one batch, for the shortest wait;
    and for several parallel batches with one or a few threads each, for the shortest time a recording. For shared context
    the graph is also compiled up to its frames, and from there on.
    """

    def __init__(self, graph: Path, *, threads: int = 0, precision: str = "fp32", cuts: CutPoints = WHOLE) -> None:
        self.name = _name()
        self.precision = precision
        self.batch_samples: int | None = None  # the card's number counts
        self._graph = graph
        self._threads = threads or cores()
        self.parallel_batches = min(self._threads, MOST_STREAMS)
        self._core = openvino_core()
        if precision == "bf16":
            _check_bf16(self._core, graph, cuts.features)
        if precision == "int8":
            _check_int8()
        self._front = [cuts.features] if precision == "bf16" else []
        self._frames = cuts.frames
        self._read()  # an unreadable graph is refused now, although it is compiled later
        self._narrow = _Lazy(lambda: self._compile(self._read(), streams=1))
        self._wide = _Lazy(lambda: self._compile(self._read(), streams=self.parallel_batches))
        self._narrow_trunk = _Lazy(lambda: self._compile(self._read(until=self._frames), streams=1))
        self._wide_trunk = _Lazy(lambda: self._compile(self._read(until=self._frames), streams=self.parallel_batches))
        self._head = _Lazy(lambda: self._compile(self._read(begin=self._frames), streams=self.parallel_batches))

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        refuse_lengths(lengths, signal)
        return _outputs(self._narrow.get()(signal))

    def run_parallel(self, signal: Floats) -> Outputs:
        # For the shortest windows each stream would have to run once before (see _Chain); they are rare.
        wide = self.parallel_batches > 1 and signal.shape[1] >= SHORTEST_PARALLEL
        return _outputs((self._wide if wide else self._narrow).get()(signal))

    def frames(self, signal: Floats) -> Floats:
        need_frames(self._frames, self._graph)
        return self._narrow_trunk.get()(signal)[self._frames]

    def frames_parallel(self, signal: Floats) -> Floats:
        need_frames(self._frames, self._graph)
        return self._wide_trunk.get()(signal)[self._frames]

    def pooled(self, frames: Floats) -> Outputs:
        need_frames(self._frames, self._graph)
        return _outputs(self._head.get()(frames))

    def _read(self, begin: str = "", until: str = "") -> list[Any]:
        """The parts of the graph between two tensors ("" for its ends); it is cut where the front end has its own precision."""
        try:
            if begin:
                return [_section(self._core, self._graph, begin, until)]
            bounds = ["", *self._front, until]
            return [_section(self._core, self._graph, *pair) for pair in itertools.pairwise(bounds)]
        except RuntimeError as error:
            raise cannot_open(self._graph, "OpenVINO", storage.reason(error, -1)) from None

    def _compile(self, parts: list[Any], *, streams: int) -> _Chain:
        config = _CONFIG | {"INFERENCE_NUM_THREADS": str(self._threads), "NUM_STREAMS": str(streams)}
        # stated for each part: the default is bf16 where the processor has it; front end and head are always float32
        hints = ["f32"] * len(self._front) + [_HINTS[self.precision]] if len(parts) > len(self._front) else ["f32"]
        try:
            compiled = [
                _compiled(self._core, part, {**config, "INFERENCE_PRECISION_HINT": hint})
                for part, hint in zip(parts, hints, strict=True)
            ]
            return _Chain(compiled, streams)
        except RuntimeError as error:
            raise cannot_open(self._graph, "OpenVINO", storage.reason(error, -1)) from None


def _compiled(core: Any, part: Any, config: dict[str, Any]) -> Any:
    try:
        return core.compile_model(part, "CPU", {**config, **_SMALL_CACHE})
    except RuntimeError:  # a version without this property; any other error is raised again
        return core.compile_model(part, "CPU", config)


class NamedGraph:
    """An ONNX graph with inputs and outputs by name, on all threads; one call at a time. In float32 from end to end, or in
    bf16 behind a front end in float32.

    Args:
        state: input to which the result of the front end is joined; "" for a graph without a front end
    """

    def __init__(self, graph: Path, *, threads: int = 0, precision: str = "fp32", state: str = "") -> None:
        self.engine = _name()
        config = _CONFIG | {"INFERENCE_NUM_THREADS": str(threads or cores()), "NUM_STREAMS": "1"}
        core, parts = openvino_core(), {"f32": str(graph)}
        if precision == "bf16":
            _check_bf16(core, graph, state)
        try:
            if precision == "bf16":
                parts = dict(zip(("f32", "bf16"), _parts_at(core, graph, state), strict=True))
            compiled = [_compiled(core, part, {**config, "INFERENCE_PRECISION_HINT": h}) for h, part in parts.items()]
        except RuntimeError as error:
            raise cannot_open(graph, "OpenVINO", storage.reason(error, -1)) from None
        # a tensor can have several names: those of operations that OpenVINO removed
        self._parts = [
            (
                part.create_infer_request(),
                set().union(*(port.get_names() for port in part.inputs)),
                [(port.get_names(), port) for port in part.outputs],
            )
            for part in compiled
        ]
        self._tensor = import_openvino().Tensor
        self._lock = threading.Lock()

    def __call__(self, values: Mapping[str, npt.NDArray[Any]]) -> dict[str, Floats]:
        results: dict[str, Floats] = {}
        with self._lock:
            # Tensors are set one by one, as copies: `infer` of a dictionary takes a millisecond for the state of one stream.
            try:
                for request, inputs, outputs in self._parts:
                    for name, value in {**values, **results}.items():
                        if name in inputs:
                            request.set_tensor(name, self._tensor(np.ascontiguousarray(value)))
                    request.infer()
                    arrays = [(names, np.array(request.get_tensor(port).data)) for names, port in outputs]
                    results |= {name: array for names, array in arrays for name in names}
            except RuntimeError as error:
                raise cannot_take(values, storage.reason(error, -1)) from None
            return results


class _Chain:
    """Compiled parts of a graph, run one after the other, with requests for each stream; further callers wait."""

    def __init__(self, parts: list[Any], streams: int) -> None:
        self._free: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        # a tensor can have several names: those of casts that OpenVINO removed
        self._outputs = {name: output for output in parts[-1].outputs for name in output.get_names()}
        self._takes_cut = [[_CUT in one.get_names() for one in part.inputs] for part in parts]
        for _ in range(streams):
            self._free.put([part.create_infer_request() for part in parts])
        if not any(self._takes_cut[0]):
            # OpenVINO 2026.4 gives wrong numbers for good when attention gets a single frame (a window of 25 ms) before
            # it got more; the order of later shapes does not matter.
            self(np.zeros((1, SAMPLING_RATE), np.float32))

    def __call__(self, values: Floats) -> dict[str, Floats]:
        """The outputs of the last part, by name."""
        first = cut = np.ascontiguousarray(values, np.float32)
        requests = self._free.get()
        try:
            for request, takes_cut in zip(requests, self._takes_cut, strict=True):
                # Inputs and outputs are copied: sharing memory with OpenVINO would save less than a thousandth of the
                # time, and in a trial one result was wrong, which could not be reproduced.
                result = request.infer([cut if takes else first for takes in takes_cut])
                cut = next(iter(result.values()))
            return {name: np.array(result[output]) for name, output in self._outputs.items()}
        except RuntimeError as error:
            raise cannot_run(first, storage.reason(error, -1)) from None
        finally:
            self._free.put(requests)


def _name() -> str:
    return f"openvino {import_openvino().__version__.split('-')[0]}"


def _outputs(named: dict[str, Floats]) -> Outputs:
    embeddings, scores = (np.asarray(named[name], np.float32) for name in ("hidden_states", "logits"))
    return embeddings, scores, named.get("confidence")


def has_bf16() -> bool:
    """Whether the processor has instructions for products in bf16."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def has_int8() -> bool:
    """Whether the processor adds products of 8 bits into 32 bits (VNNI, or similar), not into 16.

    A trial shows it, for OpenVINO reports int8 for every processor: without these instructions the sum of two large
    products overflows 16 bits and is clipped silently, and nothing is faster than in float32.
    """
    openvino = import_openvino()
    operations = openvino.opset13
    width, most = 256, 255.0
    entry = operations.parameter([-1, width], np.float32)
    low, high = np.float32(0), np.float32(most)
    levels = operations.fake_quantize(entry, low, high, low, high, 256)
    weights = operations.convert(operations.constant(np.full((width, width), 127, np.int8)), "f32")
    scaled = operations.multiply(weights, operations.constant(np.ones((width, 1), np.float32)))
    model = openvino.Model([operations.matmul(levels, scaled, False, True)], [entry])
    request = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    result = next(iter(request.infer([np.full((16, width), most, np.float32)]).values()))
    return bool(np.allclose(result, most * 127 * width, rtol=1e-3))


def _check_int8() -> None:
    if not has_int8():
        raise ModelError(
            "This processor cannot add 8-bit products into 32 bits (VNNI); int8 would be wrong on it, and no faster; "
            "choose fp32."
        )


def _check_bf16(core: Any, graph: Path, features: str) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError(
            "This processor has no bf16 (AVX512-BF16 or AMX) and would only emulate it, more slowly; choose fp32."
        )
    if not features:
        raise ModelError(
            f"{graph.parent} does not name the end of its front end, which stays in fp32; export the model again, or choose fp32."
        )


def _section(core: Any, graph: Path, begin: str, end: str) -> Any:
    """The part of the graph between two tensors, "" for its own ends; the signal is also an input where it sets shapes."""
    openvino = import_openvino()
    model = core.read_model(str(graph))
    keep_channels_last(model, openvino.opset13)
    parameters = model.get_parameters()
    if begin:
        port = find_port(model, begin, graph)
        cut = openvino.opset13.parameter(port.get_partial_shape(), np.float32)
        cut.output(0).set_names({_CUT})
        for user in list(port.get_target_inputs()):
            user.replace_source_output(cut.output(0))
        parameters = [*parameters, cut]
    results = [openvino.opset13.result(find_port(model, end, graph))] if end else model.get_results()
    return _model(results, parameters)


def _model(results: list[Any], parameters: list[Any]) -> Any:
    """A model of those parameters that its results need."""
    openvino = import_openvino()
    section = openvino.Model(results, parameters)
    reached = {operation.get_friendly_name() for operation in section.get_ordered_ops()}
    used = [one for one in parameters if any(user.get_node().get_friendly_name() in reached for user in _users(one))]
    return openvino.Model(results, used) if len(used) < len(parameters) else section


def _parts_at(core: Any, graph: Path, state: str) -> tuple[Any, Any]:
    """The front end of a graph, whose result is joined to an input, and all that needs this result; both are models."""
    operations = import_openvino().opset13

    def read() -> tuple[Any, Any, list[Any], list[Any]]:
        """The model, the result of the front end, and the model's results before and behind it."""
        model = core.read_model(str(graph))
        (join,) = [one.get_node() for one in find_port(model, state, graph).get_target_inputs()
                   if one.get_node().get_type_name() == "Concat"]  # fmt: skip
        (features,) = [port for port in map(join.input_value, range(2)) if state not in port.get_names()]
        behind, new = {join.get_friendly_name()}, [join]
        while new:
            users = [one.get_node() for port in new.pop().outputs() for one in port.get_target_inputs()]
            new += [one for one in users if one.get_friendly_name() not in behind]
            behind |= {one.get_friendly_name() for one in users}
        before = [one for one in model.get_results() if one.get_friendly_name() not in behind]
        return model, features, before, [one for one in model.get_results() if one.get_friendly_name() in behind]

    model, features, before, _ = read()
    features.add_names({_CUT})
    front = _model([*before, operations.result(features)], model.get_parameters())
    model, features, _, behind = read()
    cut = operations.parameter(features.get_partial_shape(), np.float32)
    cut.output(0).set_names({_CUT})
    for user in list(features.get_target_inputs()):
        user.replace_source_output(cut.output(0))
    return front, _model(behind, [*model.get_parameters(), cut])


def _users(node: Any) -> list[Any]:
    return list(node.output(0).get_target_inputs())


def find_port(model: Any, tensor: str, graph: Path) -> Any:
    """The output of a model that has the name of a tensor.

    Raises:
        ModelError: there is no such tensor
    """
    for operation in model.get_ordered_ops():
        for output in operation.outputs():
            if tensor in output.get_names():
                return output
    raise ModelError(f"{graph} has no tensor '{tensor}', which its card names; export or install the model again.")


class _Lazy:
    """A chain that is compiled when it is first needed, once for all threads."""

    def __init__(self, make: Callable[[], _Chain]) -> None:
        self._make = make
        self._made: _Chain | None = None
        self._lock = threading.Lock()

    def get(self) -> _Chain:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made
