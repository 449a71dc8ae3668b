"""Models of frames on PyTorch: the states of streams stay on the device from one step to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emow2v.cards import Card
from emow2v.engines import cannot_take
from emow2v.engines.frames import CHUNK, Array, Combined, FramesEngine
from emow2v.engines.torch import EXACT, fitting_samples, name_on, packaged_network, prepared, to_device
from emow2v.errors import ModelError
from emow2v.networks.lite_frames import LiteFrames

GPU_CHUNK = 1024  # frames, 41 s: a GPU needs more rows than a processor


class NamedFunction:
    """A function of tensors by name, as a graph (`emow2v.engines.frames.Graph`).

    Args:
        function: takes tensors and gives tensors by name
        kept: begins the names of outputs that stay on the device; "" for none
    """

    def __init__(
        self, function: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], device: torch.device, kept: str = ""
    ) -> None:
        self.engine = name_on(device)
        self._function, self._device, self._kept = function, device, kept

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        unmixed = torch.autocast(self._device.type, enabled=False)  # the caller may have its own
        with torch.inference_mode(), unmixed, EXACT:
            try:
                results = self._computed({name: self._tensor(value) for name, value in values.items()})
            except torch.OutOfMemoryError:
                raise ModelError(
                    f"{self._device} has no memory for one stream or recording; choose another device."
                ) from None
            except (KeyError, RuntimeError) as error:
                raise cannot_take(values, str(error)) from None
            return {
                name: value if self._kept and name.startswith(self._kept) else value.float().cpu().numpy()
                for name, value in results.items()
            }

    def _computed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The results; of one half of the rows and then of the other where the device has no memory for all."""
        rows = len(next(iter(values.values())))
        try:
            return self._function(values)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        first, second = (
            self._computed({name: value[part] for name, value in values.items()})
            for part in (slice(None, rows // 2), slice(rows // 2, None))
        )
        return {name: torch.cat([first[name], second[name]]) for name in first}

    def join(self, parts: list[Any]) -> Any:
        """Inputs of several calls, of one name, as those of one call."""
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts)
        with torch.inference_mode():
            return torch.cat([self._tensor(part) for part in parts])

    def _tensor(self, value: Array | Tensor) -> Tensor:
        if isinstance(value, Tensor):
            return value
        return to_device(torch.from_numpy(np.require(value, requirements=["C", "W"])), self._device)


def open_frames(card: Card, *, threads: int = 0, device: str = "auto", precision: str = "fp32") -> FramesEngine:
    """Load a model of frames.

    Raises:
        ModelError: the weights are not those that the card describes, there is no such device, or another precision is asked for
    """
    if precision != "fp32":
        raise ModelError(f"Model {card.name} computes in fp32, not {precision}; choose fp32.")
    found = prepared(device, precision, threads)
    model = packaged_network(card).to(found)
    assert isinstance(model, LiteFrames)

    def step(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = {name: values[name] for name in card.states}
        frames, speech, following = model.step(values["signal"], values["length"], state)
        return {"frames": frames, "speech": speech, **{f"next.{name}": value for name, value in following.items()}}

    def read(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        results = model.read(model.moments(values["mean"], values["variance"]))
        return dict(zip(("hidden_states", "logits", "confidence"), results, strict=False))

    on_gpu = found.type != "cpu"
    stepping = NamedFunction(step, found, kept="next.")
    return FramesEngine(
        card,
        Combined(stepping, stepping.join),
        Combined(NamedFunction(read, found)),
        chunk=GPU_CHUNK if on_gpu else CHUNK,
        batch_samples=fitting_samples(found),
    )
