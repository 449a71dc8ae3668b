"""Arrays as sources of sound: NumPy arrays, tensors and lists become arrays [channels, samples] of numbers."""

from __future__ import annotations

import os
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from emow2v.audio.resampling import mix_down
from emow2v.errors import AudioError
from emow2v.framing import Signal

_MOST_CHANNELS = 32  # an array with more rows than this, and than columns, is [samples, channels]


def is_array(source: object) -> TypeGuard[npt.ArrayLike]:
    """Whether a source is an array, a tensor (`__array__` or DLPack) or a list of numbers."""
    if isinstance(source, str | bytes | os.PathLike):  # strings of NumPy have `__array__`
        return False
    return (
        isinstance(source, np.ndarray | list | tuple) or hasattr(source, "__array__") or hasattr(source, "__dlpack__")
    )


def channels_of(source: Any) -> npt.NDArray[Any]:
    """An array, tensor or list as an array [channels, samples]; a NumPy array is not copied.

    Args:
        source: numbers [samples] or [channels, samples]; of a list, numbers with a decimal point

    Raises:
        AudioError: no numbers, another shape, or a list whose numbers have no known full scale
    """
    signal = np.atleast_1d(_numpy(source))
    if signal.ndim > 2 or (signal.ndim == 2 and signal.shape[0] > max(_MOST_CHANNELS, signal.shape[1])):
        samples_first = ", which looks like [samples, channels]" if signal.ndim == 2 else ""
        raise AudioError(
            f"Expected an array [samples] or [channels, samples], got {list(signal.shape)}{samples_first}; transpose it."
        )
    if signal.shape[0] == 0 and signal.ndim == 2:
        raise AudioError(
            f"Expected an array [samples] or [channels, samples], got no channels {list(signal.shape)}; give it one or more."
        )
    if signal.dtype.kind not in "fiu":
        raise AudioError(f"Expected an array of floats or integers, got {signal.dtype}; convert it to float32.")
    if isinstance(source, list | tuple) and signal.dtype.kind != "f":
        raise AudioError(
            "A list of whole numbers does not say its full scale; expected an array: numpy.asarray(samples, numpy.int16)."
        )
    return np.atleast_2d(signal)


def mono(source: Any) -> Signal:
    """An array, tensor or list of one channel as float32 [samples]; float32 of NumPy is not copied.

    Raises:
        AudioError: as `channels_of`, or more than one channel
    """
    if isinstance(source, np.ndarray) and source.dtype == np.float32 and source.ndim == 1:
        return source
    channels = channels_of(source)
    if len(channels) != 1:
        raise AudioError(f"Expected samples of one channel [samples], got {list(channels.shape)}; mix them down first.")
    return mix_down(channels)


def _numpy(source: Any) -> npt.NDArray[Any]:
    """The source as an array of NumPy's; tensors of PyTorch from any device, with or without gradients."""
    if isinstance(source, np.ndarray):
        return source
    if type(source).__module__.partition(".")[0] == "torch":
        source = source.detach().cpu()
        if str(source.dtype) == "torch.bfloat16":  # which NumPy does not have
            source = source.float()
    try:
        if isinstance(source, list | tuple) or hasattr(source, "__array__"):
            return np.asarray(source)
        return np.from_dlpack(source)
    except (ValueError, RuntimeError, BufferError) as error:
        reason = " ".join(str(error).split())[:150]
        raise AudioError(
            f"The signal cannot be read as an array of numbers ({reason}); expected [samples] or [channels, samples]."
        ) from None
