"""Engines: one window or many in, embeddings and scores out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from emow2v.cards import Card
from emow2v.errors import ModelError
from emow2v.rows import Floats as Floats
from emow2v.storage import counted

Outputs = tuple[Floats, Floats, Floats | None]
T = TypeVar("T")

# In the order in which `auto` tries them: fastest first.
ENGINES = ("openvino", "onnxruntime", "torch")
# In what each precision is computed; fp16 only on a GPU, int8 only from a package that was made for it.
COMPUTES = {"fp32": ENGINES, "bf16": ("openvino", "torch"), "fp16": ("torch",), "int8": ("openvino",)}
PRECISIONS = tuple(COMPUTES)


@dataclass(frozen=True)
class Cuts:
    """Tensors at which a graph can be cut, "" where that is not known.

    Attributes:
        features: behind the front end (normalisation, spectrum), which stays in float32 whatever the rest does
        frames: before the pooling over time, [batch, time, width]
    """

    features: str = ""
    frames: str = ""


WHOLE = Cuts()


class Engine(Protocol):
    """A network ready to run.

    Attributes:
        name: with its version, for provenance
        precision: of the arithmetic, e.g. "fp32"
        side_by_side: batches that it computes best at the same time
        batch_samples: samples in a batch that the device's memory is good for; None where the card knows better
    """

    name: str
    precision: str
    side_by_side: int

    @property
    def batch_samples(self) -> int | None: ...

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """Windows float32 [batch, samples] to embeddings [batch, 1024], scores [batch, 3] and
        confidence [batch, 3] or None. `lengths` in samples is for engines that can mask."""
        ...

    def run_beside(self, signal: Floats) -> Outputs:
        """`run` as one of `side_by_side` calls from different threads: fewer threads each, more together."""
        ...

    def frames(self, signal: Floats) -> Floats:
        """Stretches float32 [batch, samples] to hidden states over time [batch, time, width], before they are pooled."""
        ...

    def frames_beside(self, signal: Floats) -> Floats:
        """`frames` as one of `side_by_side` calls from different threads."""
        ...

    def pooled(self, frames: Floats) -> Outputs:
        """Frames of windows [batch, time, width], as `frames` gave them, to what `run` gives for those windows."""
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
    if card.precision == "int8":
        return ["openvino"]
    return [name for name in ENGINES if (card.pytorch if name == "torch" else card.graph)]


def choose(card: Card, engine: str = "auto", *, precision: str = "", threads: int = 0, device: str = "auto") -> Engine:
    """The engine of that name for a model, or the fastest one installed.

    Args:
        precision: of the arithmetic: "fp32"; "bf16" behind the front end, where the processor has it, or a GPU;
            "fp16" on a GPU; "" for the one the package was made in
        threads: CPU threads; 0 takes every core the process may use
        device: for the engine torch, which a GPU's name chooses

    Raises:
        ModelError: unknown or not installed, or the model's files are not whole
    """
    if engine == "auto" and device not in ("auto", "cpu"):
        engine = "torch"
    precision = precision or card.precision
    for name in candidates(card, engine, precision):
        if installed(name):
            if name == "torch":
                from emow2v.engines.torch import TorchEngine

                card.verify_files()
                return TorchEngine(card, threads=threads, device=device, precision=precision)
            graph = card.verified_graph()
            return open_graph(name, graph, threads=threads, precision=precision, cuts=Cuts(card.features, card.frames))
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
    if (precision == "int8") != (card.precision == "int8"):
        raise ModelError(
            f"Model {card.name} is made for {card.precision}, not {precision}"
            + (
                f"; run: emow2v models quantize {card.name}"
                if precision == "int8"
                else "; choose the model it came from."
            )
        )
    usable = able(card)
    if engine != "auto" and engine not in usable:
        if not card.graph:
            card.verified_graph()  # says what to do
        if card.precision == "int8":
            raise ModelError(f"Model {card.name} is quantised, which only the engine openvino runs; choose it or auto.")
        raise ModelError(f"Model {card.name} holds no weights for PyTorch; choose the engine {' or '.join(usable)}.")
    possible = COMPUTES[precision]
    if engine not in ("auto", *possible):
        raise ModelError(f"Engine {engine} does not compute in {precision}; choose the engine {' or '.join(possible)}.")
    left = [name for name in usable if name in possible and engine in ("auto", name)]
    if not left:
        card.verified_graph()  # says that a checkpoint must be exported
        raise ModelError(
            f"Model {card.name} holds no weights for PyTorch, which alone computes in {precision}; choose fp32, or a checkpoint."
        )
    return left


def open_graph(name: str, graph: Path, *, threads: int = 0, precision: str = "fp32", cuts: Cuts = WHOLE) -> Engine:
    """An ONNX graph on OpenVINO or ONNX Runtime, which computes in fp32 only.

    Raises:
        ModelError: the graph cannot be run
    """
    if name == "openvino":
        from emow2v.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(graph, threads=threads, precision=precision, cuts=cuts)
    from emow2v.engines.onnxruntime import ONNXRuntimeEngine

    return ONNXRuntimeEngine(graph, threads=threads, cuts=cuts)


def overlapped(
    engine: Engine, batches: Iterable[tuple[int, T]], run: Callable[[T], Outputs]
) -> Generator[tuple[int, Outputs]]:
    """Run batches as they come, in order; the next ones are made ready while the engine computes.

    Args:
        batches: a number that comes back with the outputs, and windows [batch, samples], or what `run` takes
        run: what the engine does with them, `engine.run_beside` or more
    """
    pool = ThreadPoolExecutor(engine.side_by_side, thread_name_prefix="emow2v-engine")
    under_way: deque[tuple[int, Future[Outputs]]] = deque()
    try:
        for number, windows in batches:
            if len(under_way) > engine.side_by_side:  # one more than it computes, so that it never waits
                first, future = under_way.popleft()
                yield first, future.result()
            under_way.append((number, pool.submit(run, windows)))
        while under_way:
            first, future = under_way.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # who stops does not wait for batches that have not begun


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cannot_run(signal: Floats, reason: str) -> ModelError:
    """The error for windows that a graph refuses."""
    windows = counted(len(signal), "window")
    long = counted(signal.shape[1], "sample" if signal.ndim == 2 else "frame")
    return ModelError(
        f"The model cannot take {windows} of {long} ({' '.join(reason.split())[:150]}); "
        "expected a graph for windows of any length and number."
    )


def need_frames(frames: str, graph: Path) -> None:
    """Refuse to share context with a graph of which nobody knows where it pools.

    Raises:
        ModelError: what to do about it
    """
    if not frames:
        raise ModelError(
            f"{graph.parent} does not say where its frames are, which shared context pools; export or pull the model "
            "again, or choose the context window."
        )


def precisions(card: Card, engine: str) -> list[str]:
    """Those in which an engine can run a model on this machine."""
    if card.precision != "fp32":
        return [card.precision]
    if engine == "torch":
        from emow2v.engines.torch import device_precisions, find_device

        return device_precisions(find_device("auto"))
    if engine != "openvino" or not card.features:
        return ["fp32"]
    from emow2v.engines.openvino import has_bf16

    return ["fp32", "bf16"] if has_bf16() else ["fp32"]


def refuse_lengths(lengths: npt.NDArray[np.int64] | None, signal: Floats) -> None:
    """Graphs have no mask: clips of different lengths must come one length at a time."""
    if lengths is not None and not (lengths == signal.shape[1]).all():
        raise ModelError("This engine takes batches of one length; run clips of each length by themselves.")
