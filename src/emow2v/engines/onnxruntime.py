"""ONNX Runtime (extra `onnxruntime`): the second opinion, and for platforms that OpenVINO has no wheels for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v.engines import Floats, Outputs, cannot_run, refuse_lengths
from emow2v.errors import ModelError


class ONNXRuntimeEngine:
    """An ONNX graph on ONNX Runtime's CPU provider, in float32."""

    def __init__(self, graph: Path, *, threads: int = 0) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # on by default in the Windows builds
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.precision = "fp32"
        self.side_by_side = 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise ModelError(f"{graph} cannot be run by ONNX Runtime ({str(error)[:200]}).") from None
        names = {output.name for output in self._session.get_outputs()}
        self._wanted = [name for name in ("hidden_states", "logits", "confidence") if name in names]

    def run_beside(self, signal: Floats) -> Outputs:
        return self.run(signal)

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        refuse_lengths(lengths, signal)
        try:
            results = self._session.run(self._wanted, {"signal": np.ascontiguousarray(signal, np.float32)})
        except Exception as error:  # its exceptions share no base class
            raise cannot_run(signal, str(error)) from None
        embeddings, scores = (np.asarray(values, np.float32) for values in results[:2])
        return embeddings, scores, results[2] if len(results) > 2 else None
