"""PyTorch (extra `torch`): runs checkpoints and the embedded models, and uses a GPU where there is one. It masks clips of
different lengths where the network can.

It is the reference for the other engines: float32 from end to end, without TensorFloat-32. Half precision is an option
on GPUs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emow2v.cards import Card
from emow2v.engines import Floats, Outputs, cannot_run, onnx_graph
from emow2v.engines.outputs import stacked
from emow2v.errors import ModelError
from emow2v.networks import packaged, wav2vec2
from emow2v.networks.lite import Lite
from emow2v.networks.lite_frames import LiteFrames
from emow2v.networks.wav2vec2 import Wav2Vec2Emotion

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# In wav2vec2-large, a sample of a window takes about 2 kB of memory: four copies of 512 channels at a fifth of the rate,
# in float32. Twice as much is assumed, and a batch that does not fit all the same is halved.
BYTES_PER_SAMPLE = 4096
MOST_SAMPLES = 8_192_000  # 512 windows of 1 s
_Network = Wav2Vec2Emotion | packaged.Windows

REPEATS = 3  # of one shape in a row before a CUDA graph is made


class TorchEngine:
    """A wav2vec2 checkpoint, or an embedded model of windows, on PyTorch.

    Args:
        threads: CPU threads, for the whole process; 0 leaves PyTorch's choice
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps"
        precision: of the transformer: "fp32"; "fp16" or "bf16" on a GPU. Normalisation, spectrum, pooling and head are always fp32
        normalise: False runs a checkpoint without the normalisation of its input; None as it says

    Raises:
        ModelError: the model cannot be loaded, the device does not exist, or it has no such precision
    """

    def __init__(
        self,
        card: Card,
        *,
        threads: int = 0,
        device: str = "auto",
        precision: str = "fp32",
        normalise: bool | None = None,
    ) -> None:
        self._device = prepared(device, precision, threads)
        self.name = name_on(self._device)
        self.precision = precision
        self.parallel_batches = 1
        self._model: _Network
        if card.network:
            model = packaged_network(card)
            assert isinstance(model, Lite)
            self._model = packaged.Windows(model, card.min_samples).to(self._device)
        else:
            checkpoint = wav2vec2.load(card.folder).model.to(self._device)
            checkpoint.normalise = checkpoint.normalise if normalise is None else normalise
            self._model = checkpoint
        self._model.transformer_to(TYPES[precision])
        self._repeated = _Repeated(self._model)
        self._lock = threading.Lock()

    @property
    def batch_samples(self) -> int | None:
        """Samples in a batch that fit into the free memory of the GPU; None on a processor, where the card's number counts."""
        return fitting_samples(self._device)

    def run_parallel(self, signal: Floats) -> Outputs:
        return self.run(signal)

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """See `Engine.run`; with `lengths`, the result of each window is that of its valid samples by themselves.

        Raises:
            ModelError: impossible lengths, or a network that cannot mask
        """
        shortest = self._model.min_samples
        if not len(signal) or signal.shape[1] < shortest:
            raise cannot_run(signal, f"it takes one or more windows of at least {shortest} samples")
        longest = getattr(self._model, "max_samples", signal.shape[1])
        if signal.shape[1] > longest:
            raise cannot_run(signal, f"it takes windows of at most {longest} samples")
        if lengths is not None:
            lengths = np.asarray(lengths)
            if lengths.shape != signal.shape[:1] or lengths.min() < shortest or lengths.max() > signal.shape[1]:
                raise ModelError(
                    f"lengths do not fit a batch of {len(signal)} x {signal.shape[1]} samples; "
                    f"expected one number a clip, from {shortest} to {signal.shape[1]}."
                )
            if not self._model.masks and not (lengths == signal.shape[1]).all():
                raise ModelError(
                    "This network normalises over time and cannot mask; expected clips of one length; run the clips of each "
                    "length separately."
                )
            lengths = np.asarray(lengths, np.int64)
        return self._halving(signal, lengths)

    def frames(self, signal: Floats) -> Floats:
        return self._compute(lambda: (self._model.hidden(self._to_device(signal)),), signal)[0]

    def frames_parallel(self, signal: Floats) -> Floats:
        return self.frames(signal)

    def pooled(self, frames: Floats) -> Outputs:
        return _outputs(self._compute(lambda: self._model.read(self._to_device(frames)), frames))

    def _halving(self, signal: Floats, lengths: npt.NDArray[np.int64] | None) -> Outputs:
        """Compute the whole batch, or, where memory is too small, its halves one after the other."""
        try:
            if lengths is None:
                return _outputs(self._compute(lambda: self._repeated(self._to_device(signal)), signal))
            valid = torch.from_numpy(lengths).to(self._device)
            model = self._model
            if isinstance(model, packaged.Windows):  # all are whole
                return _outputs(self._compute(lambda: model(self._to_device(signal)), signal))
            return _outputs(self._compute(lambda: model(self._to_device(signal), valid), signal))
        except torch.OutOfMemoryError:
            if len(signal) == 1:
                raise ModelError(
                    f"{self._device} has no memory for a window of {signal.shape[1]} samples; choose shorter windows "
                    "or another device."
                ) from None
        with self._lock:  # another thread may be running the graph
            self._repeated.forget()
        middle = len(signal) // 2
        return stacked(
            [
                self._halving(signal[part], None if lengths is None else lengths[part])
                for part in (slice(None, middle), slice(middle, None))
            ]
        )

    def _compute(self, work: Callable[[], tuple[Tensor, ...]], values: Floats) -> tuple[Floats, ...]:
        unmixed = torch.autocast(self._device.type, enabled=False)  # the caller may have its own
        with self._lock, torch.inference_mode(), unmixed, EXACT:
            results = tuple(result.float().cpu().numpy() for result in work())
        if self.precision == "fp16" and np.isfinite(values).all() and not np.isfinite(results[0]).all():
            raise ModelError("Values of this model are too large for fp16; choose bf16 or fp32.")
        return results

    def _to_device(self, values: Floats) -> Tensor:
        return to_device(torch.from_numpy(np.require(values, np.float32, ["C", "W"])), self._device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on a device."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _outputs(results: tuple[Floats, ...]) -> Outputs:
    embeddings, scores, *confidence = results
    return embeddings, scores, confidence[0] if confidence else None


def packaged_network(card: Card) -> Lite | LiteFrames:
    """The network of a package, from the weights in its graphs.

    Raises:
        ModelError: they are not those that the card describes
    """
    paths = [card.folder / name for name in (card.graph, card.readout) if name]
    tensors = onnx_graph.weights_of(paths, "model.")
    return packaged.network(card.network, tensors, frames=card.one_pass, origin=card.folder)


def prepared(device: str, precision: str, threads: int) -> torch.device:
    """The device of a name, for a precision.

    Raises:
        ModelError: there is no such device, or it has no such precision
    """
    found = find_device(device)
    if precision not in device_precisions(found):
        possible = " or ".join(device_precisions(found))
        raise ModelError(
            f"PyTorch does not compute in {precision} on {found.type}; expected {possible}. On a processor, bf16 "
            "requires the engine openvino and a package that emow2v export wrote."
        )
    if threads:
        torch.set_num_threads(threads)
    return found


def name_on(device: torch.device) -> str:
    """The name and version of the engine on a device, for provenance."""
    return f"torch {torch.__version__.split('+')[0]} {device.type}"


def fitting_samples(device: torch.device) -> int | None:
    """Samples in a batch that fit into the free memory of a GPU; None on a processor."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(free // BYTES_PER_SAMPLE, MOST_SAMPLES))


class _Repeated:
    """The network on windows. On a CUDA device, windows of a repeated shape are run by a CUDA graph, which starts hundreds
    of kernels together instead of one by one from Python.
    """

    def __init__(self, model: _Network) -> None:
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Release the memory of the graph."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: Tensor | None = None
        self._result: tuple[Tensor, ...] = ()
        self._shape: tuple[int, ...] = ()
        self._seen = 0
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __call__(self, signal: Tensor) -> tuple[Tensor, ...]:
        """Hidden states and scores, valid until the next call."""
        if signal.device.type != "cuda":
            return self._eager(signal)
        shape = tuple(signal.shape)
        if self._graph is not None and self._given is not None and shape == tuple(self._given.shape):
            self._given.copy_(signal)
            self._graph.replay()
            return self._result
        self._seen = self._seen + 1 if shape == self._shape else 1
        self._shape = shape
        if self._seen < REPEATS:
            return self._eager(signal)
        self._capture(signal)
        return self._result

    def _eager(self, signal: Tensor) -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...] = self._model(signal)
        return result

    def _capture(self, signal: Tensor) -> None:
        """Record the network on a shape that ran before (which chose the algorithms), and run it."""
        self._graph = None  # releases its memory for the next one
        given = signal.clone()
        torch.cuda.synchronize(signal.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(signal.device), torch.cuda.graph(graph):
            result = self._eager(given)
        graph.replay()
        self._graph, self._given, self._result = graph, given, result


def device_precisions(device: torch.device) -> list[str]:
    """Precisions in which PyTorch computes on a device without emulation."""
    if device.type == "cuda":
        return list(TYPES) if torch.cuda.is_bf16_supported(including_emulation=False) else ["fp32", "fp16"]
    return ["fp32", "fp16"] if device.type == "mps" else ["fp32"]


def find_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: "auto" for a GPU where there is one, else the processor; or a name of PyTorch

    Raises:
        ModelError: this computer has no such device
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ModelError(
            f"This computer has no device '{name}'; expected auto, cpu, or cuda or mps where there is a GPU."
        ) from None
    return device


class _Exact:
    """Exact float32 products while any engine computes, whatever the settings of the process are.

    Settings of the whole process let PyTorch round products to TensorFloat-32 (or to bfloat16, on processors that have it).
    The first engine that begins changes them, and the last one that ends restores them. If one in between restored them,
    another engine would compute rounded products and leave the settings changed for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: tuple[str, bool] = ("highest", False)

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
                torch.set_float32_matmul_precision("highest")
                torch.backends.cudnn.allow_tf32 = False
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_float32_matmul_precision(self._before[0])
                torch.backends.cudnn.allow_tf32 = self._before[1]


EXACT = _Exact()
