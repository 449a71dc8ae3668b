"""A small model of frames with random weights: in memory, computed by PyTorch, or as a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emow2v import cards
from emow2v.engines.frames import FramesEngine
from emow2v.model import Model
from emow2v.networks.lite_frames import FRAME, FramesConfig, LiteFrames
from emow2v.training.frames.package import write_graphs

CONFIG = FramesConfig(
    layers=2, heads=4, intermediate=64, hidden=16, beside=1, back=(7, 5), ahead=(3, 2), level_back=30, confidence=1
)
ABOUT = {
    "name": "frames", "version": "0", "description": "made", "licence": "CC0-1.0", "citation": "none", "sampling_rate": 16000,
    "batch_samples": 256_000,
}  # fmt: skip


def frames_network() -> LiteFrames:
    torch.manual_seed(0)
    model = LiteFrames(CONFIG)
    for layer in model.layers:
        torch.nn.init.normal_(layer.distant_keys)
        torch.nn.init.normal_(layer.distant_values)
    randomise(model)
    return model.eval()


def randomise(model: torch.nn.Module) -> None:
    """Random norms, in place of ones and zeros: of equal tensors a graph keeps one."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1, 0.01)
            torch.nn.init.normal_(module.bias, 0, 0.01)
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            torch.nn.init.normal_(module.running_mean, 0, 0.01)
            torch.nn.init.uniform_(module.running_var, 0.99, 1.01)


def write_frames_package(folder: Path) -> None:
    about = {**ABOUT, "network": CONFIG.to_dict()}
    cards.write_card(folder, {**about, **write_graphs(frames_network(), folder, half_weights=False)})


class TorchGraph:
    """A graph that PyTorch computes."""

    engine = "torch"

    def __init__(self, run: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]) -> None:
        self._run = run

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            results = self._run({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()})
        return {name: tensor.numpy() for name, tensor in results.items()}


def frames_model(folder: Path) -> Model:
    """The model in memory; its card lies in a folder."""
    network = frames_network()

    def step(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state = {name: values[name] for name in network.states()}
        frames, speech, following = network.step(values["signal"], values["length"], state)
        return {"frames": frames, "speech": speech, **{f"next.{name}": one for name, one in following.items()}}

    def read(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        results = network.read(network.moments(values["mean"], values["variance"]))
        return dict(zip(("hidden_states", "logits", "confidence"), results, strict=True))

    for name in ("model.onnx", "readout.onnx"):
        (folder / name).write_text("computed by PyTorch")
    card = cards.write_card(
        folder,
        {
            **ABOUT, "graph": "model.onnx", "readout": "readout.onnx", "frame_hop": FRAME, "delay": network.delay,
            "states": {name: list(size) for name, size in network.states().items()}, "look_back": network.look_back,
            "look_ahead": network.look_ahead, "min_samples": 400, "max_samples": 16000 * 60,
        },
    )  # fmt: skip
    return Model(card, FramesEngine(card, TorchGraph(step), TorchGraph(read)))
