"""The networks of packages whose graphs hold the weights under the names of this room: `lite`, and models of frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from emow2v.errors import ModelError
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.networks.lite_frames import FramesConfig, LiteFrames


class Windows(nn.Module):
    """A `Lite` with the methods that the engine torch asks of every network of windows.

    Args:
        shortest: samples of the shortest window
    """

    masks = False  # it levels a window by all of its samples

    def __init__(self, model: Lite, shortest: int) -> None:
        super().__init__()
        self.model, self.min_samples, self.max_samples = model, shortest, model.max_samples
        self._type = torch.float32

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        """Embeddings [batch, 1024], scores [batch, 3], and confidence [batch, 3] where there is one."""
        return self.read(self.hidden(signal))

    def hidden(self, signal: Tensor) -> Tensor:
        """Hidden states over time, float32 [batch, frames, width]. The spectrum is computed in float32."""
        features = self.model.log_mel(signal)
        kind, low = signal.device.type, self._type != torch.float32
        with torch.autocast(kind, self._type if low else None, enabled=low, cache_enabled=False):
            return self.model.frames(features).float()

    def read(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """`forward`, of hidden states."""
        return self.model.read(self.model.pool(hidden))

    def transformer_to(self, dtype: torch.dtype) -> None:
        """Change the precision of the products between the spectrum and pooling; weights stay in float32."""
        self._type = dtype


def network(
    sizes: Mapping[str, Any], tensors: Mapping[str, Any], *, frames: bool, origin: object = "The package"
) -> Lite | LiteFrames:
    """The network of a package.

    Args:
        sizes: attributes of its configuration, as its card has them
        tensors: NumPy arrays of the weights by their names, of any precision
        frames: it is a model of frames
        origin: of both, for the error

    Raises:
        ModelError: there are no such sizes, or the weights are not those of this network
    """
    try:
        configuration = FramesConfig if frames else LiteConfig
        unknown = sizes.keys() - {one.name for one in dataclasses.fields(configuration)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()
        }
        if unknown or not all(map(_is_number, chain.from_iterable(map(_each, values.values())))):
            raise ValueError(f"unknown sizes or no numbers: {', '.join(sorted(unknown)) or values}")
        model = LiteFrames(FramesConfig(**values)) if frames else Lite(LiteConfig(**values))
        own = model.state_dict()
        counters = {name for name in own if name.endswith(".num_batches_tracked")}  # of training
        weights = {name: torch.tensor(tensors[name]).to(own[name].dtype) for name in own if name not in counters}
        model.load_state_dict(weights, strict=False)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise ModelError(
            f"{origin} does not hold the network that its card describes ({reason}); install or copy the package again."
        ) from None
    return model.eval().requires_grad_(False)


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)
