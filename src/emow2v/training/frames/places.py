"""What positions give to keys and values of a model of windows, taken over by distance into a model of frames.

Each frame then attends as the frame in the middle of a window of 3 s does.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite import FRAME_HOP, Layer, Lite
from emow2v.networks.lite_frames import BandedLayer, LiteFrames

WINDOW = 3 * SAMPLING_RATE  # samples
_AT_ONCE = 8  # windows


@torch.no_grad()
def take_places(model: LiteFrames, teacher: Lite, windows: Tensor) -> None:
    """Set the position of all frames and the parts of keys and values by distance.

    A part is the difference of two means over many windows: of what a layer of the teacher computes at a place, and in the
    middle. Sound has no part in it, as it may be anywhere.

    Args:
        windows: [rows, 48000]; more rows give a better mean
    """
    middle = WINDOW // FRAME_HOP // 2
    model.position.copy_(teacher.embed_positions.weight[middle])
    means = _means(teacher, windows)
    for number, layer in enumerate(model.layers, start=1):
        assert isinstance(layer, BandedLayer)
        here = middle if number <= teacher.config.halve_after else middle // 2
        for mean, target in zip(means[number - 1], (layer.distant_keys, layer.distant_values), strict=True):
            places = torch.arange(here - layer.back, here + layer.ahead + 1).clamp(0, len(mean) - 1)
            target.copy_((mean[places] - mean[here]).unflatten(1, (layer.heads, -1)).transpose(0, 1))


def _means(teacher: Lite, windows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each layer the means of keys and values over windows, [time, width]."""
    kept: dict[str, list[Tensor]] = {}
    hooks = [
        cast("Layer", layer)
        .self_attn[f"{name}_proj"]
        .register_forward_hook(
            lambda module, given, result, key=f"{number}{name}": kept.setdefault(key, []).append(result.sum(dim=0))
        )
        for number, layer in enumerate(teacher.layers)
        for name in ("k", "v")
    ]
    try:
        for part in windows.split(_AT_ONCE):
            teacher.frames(teacher.log_mel(part))
    finally:
        for hook in hooks:
            hook.remove()
    sums = {key: torch.stack(parts).sum(dim=0) / len(windows) for key, parts in kept.items()}
    return [(sums[f"{number}k"], sums[f"{number}v"]) for number in range(len(teacher.layers))]
