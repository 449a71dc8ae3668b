"""Engines: one window or many in, embeddings and scores out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

import numpy as np
import numpy.typing as npt

from emow2v.cards import Card
from emow2v.errors import ModelError

Floats = npt.NDArray[np.float32]
Outputs = tuple[Floats, Floats, Floats | None]

# In the order in which `auto` tries them: fastest first.
ENGINES = ("openvino", "onnxruntime")


class Engine(Protocol):
    """A network ready to run.

    Attributes:
        name: with its version, for provenance
        precision: of the arithmetic, e.g. "fp32"
    """

    name: str
    precision: str

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """Windows float32 [batch, samples] to embeddings [batch, 1024], scores [batch, 3] and
        confidence [batch, 3] or None. `lengths` in samples is for engines that can mask."""
        ...


def installed(name: str) -> bool:
    return find_spec(name) is not None


def check_name(engine: str) -> None:
    """Refuse a name that is no engine.

    Raises:
        ModelError: neither "auto" nor one of `ENGINES`
    """
    if engine != "auto" and engine not in ENGINES:
        raise ModelError(f"Engine '{engine}' is unknown; expected auto, {' or '.join(ENGINES)}.")


def choose(card: Card, engine: str = "auto", *, threads: int = 0) -> Engine:
    """The engine of that name for a model, or the fastest one installed.

    Args:
        threads: CPU threads; 0 takes every core the process may use

    Raises:
        ModelError: unknown or not installed, or the model's files are not whole
    """
    check_name(engine)
    for name in ENGINES:
        if engine in ("auto", name) and installed(name):
            graph = card.verified_graph()
            if name == "openvino":
                from emow2v.engines.openvino import OpenVINOEngine

                return OpenVINOEngine(graph, threads=threads)
            from emow2v.engines.onnxruntime import ONNXRuntimeEngine

            return ONNXRuntimeEngine(graph, threads=threads)
    wanted = ENGINES[0] if engine == "auto" else engine
    raise ModelError(f"Engine {wanted} is not installed; run: pip install 'emow2v[{wanted}]'.")


def refuse_lengths(lengths: npt.NDArray[np.int64] | None, signal: Floats) -> None:
    """Graphs have no mask: clips of different lengths must come one length at a time."""
    if lengths is not None and not (lengths == signal.shape[1]).all():
        raise ModelError("This engine takes batches of one length; run clips of each length by themselves.")
