"""ONNX Runtime (extra `onnxruntime`): a second opinion, and an engine for platforms without wheels of OpenVINO."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Mapping
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
    need_frames,
    onnx_graph,
    refuse_lengths,
)

# The first name is that of version 1.29 and later, the second one was used for a while before
_REFUSALS = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")


def import_onnxruntime() -> Any:
    """Import ONNX Runtime without its usage telemetry.

    From version 1.29 on, its wheels write an identifier into the home folder during the import and send events to
    Microsoft, also on Linux and macOS; `disable_telemetry_events` comes too late for both. The value of the variable during
    the import counts for the whole process. Where the host program has imported it before, only later events are stopped.
    """
    missing = [name for name in _REFUSALS if name not in os.environ]
    os.environ.update(dict.fromkeys(missing, "1"))
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    finally:
        for name in missing:
            os.environ.pop(name, None)
    onnxruntime.disable_telemetry_events()  # of the Windows builds
    return onnxruntime


class ONNXRuntimeEngine:
    """An ONNX graph on ONNX Runtime's CPU provider, in float32."""

    def __init__(self, graph: Path, *, threads: int = 0, cuts: CutPoints = WHOLE) -> None:
        onnxruntime = import_onnxruntime()
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.precision = "fp32"
        self.parallel_batches = 1
        self.batch_samples: int | None = None  # the card knows
        self._graph = graph
        self._threads = threads
        self._frames = cuts.frames
        _ = self._whole  # an impossible graph is refused now

    def run_parallel(self, signal: Floats) -> Outputs:
        return self.run(signal)

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        refuse_lengths(lengths, signal)
        return _outputs(_run(self._whole, signal))

    def frames(self, signal: Floats) -> Floats:
        need_frames(self._frames, self._graph)
        return _run(self._trunk, signal)[self._frames]

    def frames_parallel(self, signal: Floats) -> Floats:
        return self.frames(signal)

    def pooled(self, frames: Floats) -> Outputs:
        need_frames(self._frames, self._graph)
        return _outputs(_run(self._head, frames))

    @functools.cached_property
    def _whole(self) -> Any:
        return self._session(str(self._graph))

    @functools.cached_property
    def _trunk(self) -> Any:
        return self._session(self._section("signal", self._frames))

    @functools.cached_property
    def _head(self) -> Any:
        return self._session(self._section(self._frames, ""))

    def _section(self, begin: str, end: str) -> bytes:
        content: bytes = onnx_graph.section(onnx_graph.read_bare(self._graph), begin, end).SerializeToString()
        return content

    def _session(self, graph: str | bytes) -> Any:
        return _session(self._graph, graph, self._threads)


class NamedGraph:
    """An ONNX graph with inputs and outputs by name, in float32."""

    def __init__(self, graph: Path, *, threads: int = 0) -> None:
        self.engine = f"onnxruntime {import_onnxruntime().__version__}"
        self._session = _session(graph, str(graph), threads)

    def __call__(self, values: Mapping[str, npt.NDArray[Any]]) -> dict[str, Floats]:
        names = [output.name for output in self._session.get_outputs()]
        try:
            results = self._session.run(names, {name: np.ascontiguousarray(value) for name, value in values.items()})
        except failures() as error:
            raise cannot_take(values, str(error)) from None
        return dict(zip(names, results, strict=True))


def _session(path: Path, graph: str | bytes, threads: int) -> Any:
    """A session of a graph, or of a part of it in bytes."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if isinstance(graph, bytes):  # it does not contain the folder of the weights that it names
        folder = str(path.resolve().parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except failures() as error:
        raise cannot_open(path, "ONNX Runtime", storage.reason(error)) from None


@functools.cache
def failures() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime about a graph or its input; their only common base class is Exception."""
    names = vars(importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state"))
    own = (one for one in names.values() if isinstance(one, type) and issubclass(one, Exception))
    return (*own, RuntimeError, ValueError, OSError)  # ValueError: wrong names and shapes, of its part in Python


def _run(session: Any, values: Floats) -> dict[str, Floats]:
    (entry,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    try:
        results = session.run(names, {entry.name: np.ascontiguousarray(values, np.float32)})
    except failures() as error:
        raise cannot_run(values, str(error)) from None
    return {name: np.asarray(result, np.float32) for name, result in zip(names, results, strict=True)}


def _outputs(named: dict[str, Floats]) -> Outputs:
    return named["hidden_states"], named["logits"], named.get("confidence")
