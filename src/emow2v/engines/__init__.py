"""Engines: one window or many in, embeddings and scores out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from emow2v.cards import Card
from emow2v.errors import ModelError

Floats = npt.NDArray[np.float32]
Outputs = tuple[Floats, Floats, Floats | None]

# In the order in which `auto` tries them: fastest first.
ENGINES = ("openvino", "onnxruntime", "torch")
PRECISIONS = ("fp32", "bf16")


class Engine(Protocol):
    """A network ready to run.

    Attributes:
        name: with its version, for provenance
        precision: of the arithmetic, e.g. "fp32"
        side_by_side: batches that it computes best at the same time
    """

    name: str
    precision: str
    side_by_side: int

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """Windows float32 [batch, samples] to embeddings [batch, 1024], scores [batch, 3] and
        confidence [batch, 3] or None. `lengths` in samples is for engines that can mask."""
        ...

    def run_beside(self, signal: Floats) -> Outputs:
        """`run` as one of `side_by_side` calls from different threads: fewer threads each, more together."""
        ...


def installed(name: str) -> bool:
    return find_spec(name) is not None and (name != "torch" or find_spec("transformers") is not None)


def check_name(engine: str) -> None:
    """Refuse a name that is no engine.

    Raises:
        ModelError: neither "auto" nor one of `ENGINES`
    """
    if engine != "auto" and engine not in ENGINES:
        raise ModelError(f"Engine '{engine}' is unknown; expected auto, {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")


def able(card: Card) -> list[str]:
    """Engines that can run a model, installed or not, fastest first."""
    return [name for name in ENGINES if (card.pytorch if name == "torch" else card.graph)]


def choose(
    card: Card, engine: str = "auto", *, precision: str = "fp32", threads: int = 0, device: str = "auto"
) -> Engine:
    """The engine of that name for a model, or the fastest one installed.

    Args:
        precision: of the arithmetic: "fp32"; "bf16" behind the front end, on OpenVINO where the processor has it
        threads: CPU threads; 0 takes every core the process may use
        device: for the engine torch, see there

    Raises:
        ModelError: unknown or not installed, or the model's files are not whole
    """
    for name in candidates(card, engine, precision):
        if installed(name):
            if name == "torch":
                from emow2v.engines.torch import TorchEngine

                card.verify_files()
                return TorchEngine(card, threads=threads, device=device)
            graph = card.verified_graph()
            return open_graph(name, graph, threads=threads, precision=precision, features=card.features)
    wanted = candidates(card, engine, precision)[0]
    raise ModelError(f"Engine {wanted} is not installed; run: pip install 'emow2v[{wanted}]'")


def candidates(card: Card, engine: str, precision: str = "fp32") -> list[str]:
    """Engines that an asked-for name and precision leave for a model, installed or not, fastest first.

    Raises:
        ModelError: none, with the reason
    """
    check_name(engine)
    if precision not in PRECISIONS:
        raise ModelError(f"Precision '{precision}' is unknown; expected {', '.join(PRECISIONS)}.")
    usable = able(card)
    if engine != "auto" and engine not in usable:
        if not card.graph:
            card.verified_graph()  # says what to do
        raise ModelError(f"Model {card.name} holds no weights for PyTorch; choose the engine {' or '.join(usable)}.")
    if precision != "fp32":
        if engine not in ("auto", "openvino"):
            raise ModelError(f"Engine {engine} computes in fp32 only; choose the engine openvino for {precision}.")
        usable = [name for name in usable if name == "openvino"]
        if not usable:
            card.verified_graph()  # says that a checkpoint must be exported
    return [name for name in usable if engine in ("auto", name)]


def open_graph(name: str, graph: Path, *, threads: int = 0, precision: str = "fp32", features: str = "") -> Engine:
    """An ONNX graph on OpenVINO or ONNX Runtime, which computes in fp32 only.

    Raises:
        ModelError: the graph cannot be run
    """
    if name == "openvino":
        from emow2v.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(graph, threads=threads, precision=precision, features=features)
    from emow2v.engines.onnxruntime import ONNXRuntimeEngine

    return ONNXRuntimeEngine(graph, threads=threads)


def overlapped(engine: Engine, batches: Iterable[tuple[int, Floats]]) -> Generator[tuple[int, Outputs]]:
    """Run batches as they come, in order; the next ones are made ready while the engine computes.

    Args:
        batches: a number that comes back with the outputs, and windows [batch, samples]
    """
    with ThreadPoolExecutor(engine.side_by_side, thread_name_prefix="emow2v-engine") as pool:
        under_way: deque[tuple[int, Future[Outputs]]] = deque()
        for number, windows in batches:
            if len(under_way) > engine.side_by_side:  # one more than it computes, so that it never waits
                first, future = under_way.popleft()
                yield first, future.result()
            under_way.append((number, pool.submit(engine.run_beside, windows)))
        while under_way:
            first, future = under_way.popleft()
            yield first, future.result()


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cannot_run(signal: Floats, reason: str) -> ModelError:
    """The error for windows that a graph refuses."""
    batch, samples = signal.shape
    return ModelError(
        f"The model cannot take {batch} windows of {samples} samples ({' '.join(reason.split())[:150]}); "
        "expected a graph for windows of any length and number."
    )


def precisions(card: Card, engine: str) -> list[str]:
    """Those in which an engine can run a model on this machine."""
    if engine != "openvino" or not card.features:
        return ["fp32"]
    from emow2v.engines.openvino import has_bf16

    return ["fp32", "bf16"] if has_bf16() else ["fp32"]


def refuse_lengths(lengths: npt.NDArray[np.int64] | None, signal: Floats) -> None:
    """Graphs have no mask: clips of different lengths must come one length at a time."""
    if lengths is not None and not (lengths == signal.shape[1]).all():
        raise ModelError("This engine takes batches of one length; run clips of each length by themselves.")
