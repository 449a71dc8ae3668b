"""OpenVINO, the default engine on CPUs: the fastest of those measured, on Windows, Linux and macOS alike."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.engines import Floats, Outputs, cannot_run, cores, refuse_lengths
from emow2v.errors import ModelError

_TELEMETRY = "openvino_telemetry"
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_FEATURES = "emow2v.features"  # what the front end gives to the rest
MOST_STREAMS = 8  # batches side by side; each holds its own activations in memory
SHORTEST_BESIDE = 3200  # samples, 0.2 s


def import_openvino() -> Any:
    """OpenVINO without its usage telemetry, which it would send while it is imported.

    A None in sys.modules makes the import of the telemetry package fail; OpenVINO then takes the stub
    that it keeps for installations without it. What the host program imported before stays as it is.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        import openvino
    else:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[_TELEMETRY]
    return openvino


class OpenVINOEngine:
    """An ONNX graph on OpenVINO's CPU plugin, in float32 from end to end, or in bf16 behind a front end in float32.

    Compiled twice, each when it is first needed: with all threads on one batch, for the answer that comes soonest;
    and with several batches side by side, one thread or few each, which computes a recording fastest.
    """

    def __init__(self, graph: Path, *, threads: int = 0, precision: str = "fp32", features: str = "") -> None:
        openvino = import_openvino()
        self.name = f"openvino {openvino.__version__.split('-')[0]}"
        self.precision = precision
        self._graph = graph
        self._threads = threads or cores()
        self.side_by_side = min(self._threads, MOST_STREAMS)
        self._core = openvino.Core()
        if precision == "bf16":
            _check_bf16(self._core, graph, features)
        try:
            self._parts = [self._core.read_model(str(graph))]
            if precision == "bf16":
                self._parts = _cut(self._core, graph, features)
        except RuntimeError as error:
            raise ModelError(f"{graph} cannot be run by OpenVINO ({_first_line(error)}).") from None
        self._narrow = _Lazy(lambda: self._compile(streams=1))
        self._wide = _Lazy(lambda: self._compile(streams=self.side_by_side))

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        refuse_lengths(lengths, signal)
        return self._narrow.get().run(signal)

    def run_beside(self, signal: Floats) -> Outputs:
        # Each stream would have to be warmed up for the shortest windows (see _Compiled); they are rare.
        wide = self.side_by_side > 1 and signal.shape[1] >= SHORTEST_BESIDE
        return (self._wide if wide else self._narrow).get().run(signal)

    def _compile(self, *, streams: int) -> _Compiled:
        config: dict[str, Any] = {
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # else activations are rounded to 8 bit on the fly
            "INFERENCE_NUM_THREADS": str(self._threads),
            "NUM_STREAMS": str(streams),
        }
        # said for each part, for the default is bf16 on processors that have it; the front end is always float32
        hints = ["f32", _HINTS[self.precision]][-len(self._parts) :]
        try:
            parts = [
                self._core.compile_model(part, "CPU", {**config, "INFERENCE_PRECISION_HINT": hint})
                for part, hint in zip(self._parts, hints, strict=True)
            ]
            return _Compiled(parts, streams)
        except RuntimeError as error:
            raise ModelError(f"{self._graph} cannot be run by OpenVINO ({_first_line(error)}).") from None


class _Compiled:
    """A model, or its front end and the rest, with requests for each stream; callers beyond those wait their turn."""

    def __init__(self, parts: list[Any], streams: int) -> None:
        # a tensor can have several names, those of casts that OpenVINO found to do nothing
        self._outputs = {name: output for output in parts[-1].outputs for name in output.get_names()}
        self._takes_features = [_FEATURES in one.get_names() for one in parts[-1].inputs]
        self._free: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        for _ in range(streams):
            self._free.put([part.create_infer_request() for part in parts])
        # OpenVINO 2026.4 goes on with wrong numbers when attention sees a single frame (a window of 25 ms)
        # before it saw more; the order of later shapes does not matter.
        self.run(np.zeros((1, 16000), np.float32))

    def run(self, signal: Floats) -> Outputs:
        given = np.ascontiguousarray(signal, np.float32)
        features = given
        requests = self._free.get()
        try:
            if len(requests) > 1:
                features = next(iter(requests[0].infer([given]).values()))
            result = requests[-1].infer([features if takes else given for takes in self._takes_features])
            embeddings = np.array(result[self._outputs["hidden_states"]], np.float32)
            scores = np.array(result[self._outputs["logits"]], np.float32)
            confidence = self._outputs.get("confidence")
            return embeddings, scores, None if confidence is None else np.array(result[confidence])
        except RuntimeError as error:
            raise cannot_run(signal, _first_line(error)) from None
        finally:
            self._free.put(requests)


def has_bf16() -> bool:
    """The processor computes products of bf16 by itself."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _check_bf16(core: Any, graph: Path, features: str) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError(
            "This processor has no bf16 (AVX512-BF16 or AMX), which would only be imitated, slower; choose fp32."
        )
    if not features:
        raise ModelError(
            f"{graph.parent} does not say where its front end ends, which stays in fp32; export the model again, or choose fp32."
        )


def _cut(core: Any, graph: Path, tensor: str) -> list[Any]:
    """The graph up to a tensor, and from there on (with the signal too, where shapes are taken from it)."""
    openvino = import_openvino()
    front = core.read_model(str(graph))
    front = openvino.Model([openvino.opset13.result(_port(front, tensor, graph))], front.get_parameters())
    rest = core.read_model(str(graph))
    port = _port(rest, tensor, graph)
    features = openvino.opset13.parameter(port.get_partial_shape(), np.float32)
    features.output(0).set_names({_FEATURES})
    for user in list(port.get_target_inputs()):
        user.replace_source_output(features.output(0))
    results = rest.get_results()
    rest = openvino.Model(results, [*rest.get_parameters(), features])
    used = [one for one in rest.get_parameters() if one.output(0).get_target_inputs()]
    return [front, openvino.Model(results, used)]


def _port(model: Any, tensor: str, graph: Path) -> Any:
    for operation in model.get_ordered_ops():
        for output in operation.outputs():
            if tensor in output.get_names():
                return output
    raise ModelError(
        f"{graph} has no tensor '{tensor}', where its card says its front end ends; export the model again."
    )


class _Lazy:
    """Made when it is first asked for, once, whichever thread asks."""

    def __init__(self, make: Callable[[], _Compiled]) -> None:
        self._make = make
        self._made: _Compiled | None = None
        self._lock = threading.Lock()

    def get(self) -> _Compiled:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
