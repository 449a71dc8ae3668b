"""PyTorch (extra `torch`): runs checkpoints as they are, masks clips of different lengths, uses a GPU where there is one.

The reference for the other engines: float32 from end to end, TensorFloat-32 off.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from emow2v.cards import Card
from emow2v.engines import Floats, Outputs, cannot_run
from emow2v.errors import ModelError
from emow2v.networks import wav2vec2


class TorchEngine:
    """A wav2vec2 checkpoint on PyTorch.

    Args:
        threads: CPU threads, for the whole process; 0 leaves PyTorch's choice
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps"
        normalise: False to ask what the network gives without the normalisation of its input

    Raises:
        ModelError: the checkpoint cannot be loaded, or the device is not there
    """

    def __init__(self, card: Card, *, threads: int = 0, device: str = "auto", normalise: bool | None = None) -> None:
        self._device = _device(device)
        self.name = f"torch {torch.__version__.split('+')[0]} {self._device.type}"
        self.precision = "fp32"
        self.side_by_side = 1
        if threads:
            torch.set_num_threads(threads)
        self._model = wav2vec2.load(card.folder).model.to(self._device)
        if normalise is not None:
            self._model.normalise = normalise
        self._lock = threading.Lock()

    def run_beside(self, signal: Floats) -> Outputs:
        return self.run(signal)

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """Windows [batch, samples]; `lengths` gives the valid samples of each, and each gets what it gets alone.

        Raises:
            ModelError: lengths that no window can have, or a network that cannot mask
        """
        shortest = self._model.min_samples
        if not len(signal) or signal.shape[1] < shortest:
            raise cannot_run(signal, f"it takes one or more, of {shortest} samples at least")
        valid = None
        if lengths is not None:
            lengths = np.asarray(lengths)
            if lengths.shape != signal.shape[:1] or lengths.min() < shortest or lengths.max() > signal.shape[1]:
                raise ModelError(
                    f"lengths do not fit a batch of {len(signal)} x {signal.shape[1]} samples; "
                    f"expected one a clip, from {shortest} to {signal.shape[1]}."
                )
            valid = torch.from_numpy(np.asarray(lengths, np.int64)).to(self._device)
        with self._lock, torch.inference_mode(), _exact():
            given = torch.from_numpy(np.ascontiguousarray(signal, np.float32)).to(self._device)
            try:
                hidden, scores = self._model(given, valid)
            except torch.OutOfMemoryError:
                raise ModelError(
                    f"{self._device} has no memory for {signal.shape[0]} windows of {signal.shape[1]} samples; "
                    "choose a smaller batch size or shorter windows."
                ) from None
            except ValueError as error:
                raise ModelError(f"The batch cannot be run: {error}.") from None
            return hidden.float().cpu().numpy(), scores.float().cpu().numpy(), None


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ModelError(
            f"Device '{name}' is not there; expected auto, cpu, cuda or mps, of those this machine has."
        ) from None
    return device


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Float32 products on NVIDIA GPUs, where PyTorch lets convolutions round to TensorFloat-32."""
    if not torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
