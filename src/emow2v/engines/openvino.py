"""OpenVINO, the default engine on CPUs: the fastest of those measured, on Windows, Linux and macOS alike."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.engines import Floats, Outputs, cannot_run, refuse_lengths
from emow2v.errors import ModelError

_TELEMETRY = "openvino_telemetry"


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
    """An ONNX graph on OpenVINO's CPU plugin, in float32 from end to end."""

    def __init__(self, graph: Path, *, threads: int = 0) -> None:
        openvino = import_openvino()
        self.name = f"openvino {openvino.__version__.split('-')[0]}"
        self.precision = "fp32"
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 on processors that have it
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # else activations are rounded to 8 bit on the fly
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._compiled = openvino.Core().compile_model(str(graph), "CPU", config)
        except RuntimeError as error:
            raise ModelError(f"{graph} cannot be run by OpenVINO ({_first_line(error)}).") from None
        self._request = self._compiled.create_infer_request()
        self._outputs = {next(iter(output.get_names())): output for output in self._compiled.outputs}
        self._lock = threading.Lock()
        # OpenVINO 2026.4 goes on with wrong numbers when attention sees a single frame (a window of 25 ms)
        # before it saw more; the order of later shapes does not matter.
        self.run(np.zeros((1, 16000), np.float32))

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        refuse_lengths(lengths, signal)
        with self._lock:  # one request; callers in other threads wait their turn
            try:
                result = self._request.infer([np.ascontiguousarray(signal, np.float32)])
            except RuntimeError as error:
                raise cannot_run(signal, _first_line(error)) from None
            embeddings = np.array(result[self._outputs["hidden_states"]])
            scores = np.array(result[self._outputs["logits"]])
            confidence = self._outputs.get("confidence")
            return embeddings, scores, None if confidence is None else np.array(result[confidence])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
