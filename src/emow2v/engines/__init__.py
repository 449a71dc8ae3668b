"""Engines: they run a network on windows, and give embeddings and scores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from emow2v.cards import Card
from emow2v.errors import ModelError
from emow2v.rows import Floats as Floats
from emow2v.storage import counted

Outputs = tuple[Floats, Floats, Floats | None]
T = TypeVar("T")
R = TypeVar("R")

# In the order in which `auto` tries them: the fastest first
ENGINES = ("openvino", "onnxruntime", "torch")
# Engines by the precision that they compute in; fp16 requires a GPU, int8 a package that was made for it
COMPUTES = {"fp32": ENGINES, "bf16": ("openvino", "torch"), "fp16": ("torch",), "int8": ("openvino",)}
PRECISIONS = tuple(COMPUTES)


@dataclass(frozen=True)
class CutPoints:
    """Names of the tensors at which a graph can be cut; "" where they are not known.

    Attributes:
        features: the tensor behind the front end (normalisation, spectrum), which stays in float32 in every precision
        frames: the tensor before pooling over time, [batch, time, width]
    """

    features: str = ""
    frames: str = ""


WHOLE = CutPoints()


class Engine(Protocol):
    """A network that is ready to run. This protocol is the one place that says how a network is run.

    A model of windows keeps no state: a window's result depends on that window alone. A model of frames has more methods
    (`emow2v.engines.frames.FramesEngine`), and its card says how far it looks back.

    Attributes:
        name: name and version, for provenance
        precision: of the arithmetic, such as "fp32"
        parallel_batches: number of batches that are best computed at the same time
        batch_samples: samples in a batch for which the device has memory; None where the card's number counts
    """

    name: str
    precision: str
    parallel_batches: int

    @property
    def batch_samples(self) -> int | None: ...

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """Compute windows.

        Args:
            signal: float32 [batch, samples]
            lengths: valid samples of each window, int64 [batch], for engines that can mask; None where all are whole

        Returns:
            embeddings [batch, 1024], scores [batch, 3], and confidence [batch, 3] or None

        Raises:
            ModelError: the network cannot take such windows
        """
        ...

    def run_parallel(self, signal: Floats) -> Outputs:
        """`run`, for `parallel_batches` threads that call it at the same time: each call uses fewer threads."""
        ...

    def frames(self, signal: Floats) -> Floats:
        """Hidden states over time [batch, time, width], before pooling, of stretches float32 [batch, samples]."""
        ...

    def frames_parallel(self, signal: Floats) -> Floats:
        """`frames`, for `parallel_batches` threads that call it at the same time."""
        ...

    def pooled(self, frames: Floats) -> Outputs:
        """The results of `run` for windows whose frames [batch, time, width] are given, as `frames` computes them."""
        ...


def installed(name: str) -> bool:
    """Whether the package of an engine, or another package, is installed."""
    return find_spec(name) is not None and (name != "torch" or find_spec("transformers") is not None)


def can_run(card: Card, name: str) -> bool:
    """Whether an engine that can run a model is installed; networks of packages do not need Transformers."""
    return find_spec("torch") is not None if name == "torch" and card.network else installed(name)


def check_name(engine: str) -> None:
    """Refuse the name of an unknown engine.

    Raises:
        ModelError: neither "auto" nor one of `ENGINES`
    """
    if engine != "auto" and engine not in ENGINES:
        raise ModelError(f"Engine '{engine}' is unknown; expected auto, {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")


def check_int8(engine: str, precision: str) -> None:
    """Refuse int8 on an engine that does not compute in it, before a package for it is looked for.

    Raises:
        ModelError: the engine is unknown, or another one
    """
    check_name(engine)
    if precision == "int8" and engine not in ("auto", *COMPUTES["int8"]):
        raise ModelError(
            f"Engine {engine} does not compute in int8; choose the engine {' or '.join(COMPUTES['int8'])}."
        )


def engines_for(card: Card) -> list[str]:
    """Names of the engines that can run a model, installed or not, the fastest first."""
    if card.precision == "int8":
        return ["openvino"]
    return [name for name in ENGINES if (card.pytorch or card.network if name == "torch" else card.graph)]


def choose(card: Card, engine: str = "auto", *, precision: str = "", threads: int = 0, device: str = "auto") -> Engine:
    """Load a model on the engine of that name, or on the fastest installed one.

    Args:
        precision: of the arithmetic: "fp32"; "bf16" behind the front end, on a GPU or a processor that has it;
            "fp16" on a GPU; "" for the precision of the package
        threads: CPU threads; 0 for all cores that the process may use
        device: device of the engine torch; the name of a GPU also chooses this engine

    Raises:
        ModelError: the engine is unknown or not installed, or has no such device, or a file of the model is missing or
            damaged
    """
    precision = precision or card.precision
    for name in candidates(card, _for_device(engine, device), precision):
        if can_run(card, name):
            if name == "torch":
                card.verify_files()
                if card.one_pass:
                    from emow2v.engines.torch_frames import open_frames as open_torch

                    return open_torch(card, threads=threads, device=device, precision=precision)
                from emow2v.engines.torch import TorchEngine

                return TorchEngine(card, threads=threads, device=device, precision=precision)
            graph = card.verified_graph()
            if card.one_pass:
                from emow2v.engines.frames import open_frames

                return open_frames(name, card, threads=threads, precision=precision)
            return open_graph(
                name, graph, threads=threads, precision=precision, cuts=CutPoints(card.features, card.frames)
            )
    raise _not_installed(candidates(card, _for_device(engine, device), precision)[0])


def check(card: Card, engine: str = "auto", *, precision: str = "", device: str = "auto") -> None:
    """Refuse an engine, a precision or a device that `choose` refuses, without loading the model.

    Raises:
        ModelError: as `choose`
    """
    precision = precision or card.precision
    names = candidates(card, _for_device(engine, device), precision)
    usable = [name for name in names if can_run(card, name)]
    if not usable:
        raise _not_installed(names[0])
    if usable[0] == "torch":
        from emow2v.engines.torch import prepared

        prepared(device, precision, 0)


def _for_device(engine: str, device: str) -> str:
    """The engine of a name; the name of a GPU chooses torch where any engine may be taken."""
    if device in ("auto", "cpu"):
        return engine
    check_name(engine)
    if engine not in ("auto", "torch"):
        raise ModelError(
            f"The device {device} belongs to the engine torch; expected the engine torch with it, or the device auto."
        )
    return "torch"


def _not_installed(name: str) -> ModelError:
    return ModelError(f"Engine {name} is not installed; run: pip install 'emow2v[{name}]'")


def candidates(card: Card, engine: str, precision: str = "fp32") -> list[str]:
    """Names of the engines that can run a model, by a name and a precision; installed or not, the fastest first.

    Args:
        engine: name of an engine, or "auto"

    Raises:
        ModelError: there is none, with the reason
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
    usable = engines_for(card)
    if engine != "auto" and engine not in usable:
        if not card.graph:
            card.verified_graph()  # raises, with what to do
        if card.precision == "int8":
            raise ModelError(f"Model {card.name} is quantised, which only the engine openvino runs; choose it or auto.")
        raise ModelError(f"Model {card.name} holds no weights for PyTorch; choose the engine {' or '.join(usable)}.")
    possible = COMPUTES[precision]
    if engine not in ("auto", *possible):
        raise ModelError(f"Engine {engine} does not compute in {precision}; choose the engine {' or '.join(possible)}.")
    left = [name for name in usable if name in possible and engine in ("auto", name)]
    if not left:
        card.verified_graph()  # raises for a checkpoint, which must be exported
        raise ModelError(
            f"Model {card.name} holds no weights for PyTorch, which alone computes in {precision}; choose fp32, or a checkpoint."
        )
    return left


def open_graph(name: str, graph: Path, *, threads: int = 0, precision: str = "fp32", cuts: CutPoints = WHOLE) -> Engine:
    """Load an ONNX graph on OpenVINO, or on ONNX Runtime, which computes in fp32 only.

    Raises:
        ModelError: the graph cannot be run
    """
    if name == "openvino":
        from emow2v.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(graph, threads=threads, precision=precision, cuts=cuts)
    from emow2v.engines.onnxruntime import ONNXRuntimeEngine

    return ONNXRuntimeEngine(graph, threads=threads, cuts=cuts)


def overlapped(engine: Engine, batches: Iterable[tuple[int, T]], run: Callable[[T], R]) -> Generator[tuple[int, R]]:
    """Run batches in order, several at a time; the next ones are prepared while the engine computes.

    Args:
        batches: pairs of a number, which is returned with the outputs, and windows [batch, samples] or what `run` takes
        run: `engine.run_parallel`, or a function around it
    """
    pool = ThreadPoolExecutor(engine.parallel_batches, thread_name_prefix="emow2v-engine")
    running: deque[tuple[int, Future[R]]] = deque()
    try:
        for number, windows in batches:
            if len(running) > engine.parallel_batches:  # one more than it computes at a time, so that it never waits
                first, future = running.popleft()
                yield first, future.result()
            running.append((number, pool.submit(run, windows)))
        while running:
            first, future = running.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # a caller that stops early does not wait for batches that have not begun


def cores() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cannot_run(signal: Floats, reason: str) -> ModelError:
    """The error for windows that a graph refuses."""
    windows = counted(len(signal), "window")
    length = counted(signal.shape[1], "sample" if signal.ndim == 2 else "frame")
    return ModelError(
        f"The model cannot take {windows} of {length} ({' '.join(reason.split())[:150]}); "
        "expected a graph for windows of any length and number."
    )


def cannot_take(values: Mapping[str, npt.NDArray[Any]], reason: str) -> ModelError:
    """The error for inputs by name that a graph refuses."""
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in values.items())
    return ModelError(
        f"The model cannot take {shapes[:200]} ({' '.join(reason.split())[:150]}); expected a chunk and the state of the chunk "
        "before it, of the same model and number of streams."
    )


def cannot_open(graph: Path, runtime: str, reason: str) -> ModelError:
    """The error for a graph that a runtime refuses."""
    return ModelError(f"{graph} cannot be run by {runtime} ({reason}); copy or export the model again.")


def need_frames(frames: str, graph: Path) -> None:
    """Refuse shared context for a graph whose frames are not known.

    Args:
        frames: name of the tensor, or ""

    Raises:
        ModelError: the name is "", with what to do
    """
    if not frames:
        raise ModelError(
            f"{graph.parent} does not name its frames, which shared context requires; export or install the model "
            "again, or choose the context window."
        )


def precisions(card: Card, engine: str) -> list[str]:
    """Precisions in which an engine can run a model on this computer."""
    if card.precision != "fp32":
        return [card.precision]
    if engine == "torch":
        from emow2v.engines.torch import device_precisions, find_device

        return device_precisions(find_device("auto"))
    if engine != "openvino" or not (card.features or card.one_pass):
        return ["fp32"]
    from emow2v.engines.openvino import has_bf16

    return ["fp32", "bf16"] if has_bf16() else ["fp32"]


def refuse_lengths(lengths: npt.NDArray[np.int64] | None, signal: Floats) -> None:
    """Refuse windows of different lengths: graphs have no mask."""
    if lengths is not None and not (lengths == signal.shape[1]).all():
        raise ModelError("This engine takes batches of one length; run clips of each length by themselves.")
