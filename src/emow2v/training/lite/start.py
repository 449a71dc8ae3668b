"""The network of an earlier training, from which another one begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from emow2v import cards
from emow2v.errors import ModelError
from emow2v.networks.lite import Lite
from emow2v.training import state

HALF = ".half"  # behind the name of a tensor that a graph stores in half precision
NEW = ("emotion.", "lower.", "both.", "share")  # what a start need not have


def begin_with(model: Lite, source: str) -> None:
    """Fill a network with the tensors of an earlier one; those that only the new one has stay as they are.

    Args:
        source: model.pt of a training, or a package or its name

    Raises:
        ModelError: neither, another network, or one that already has the second head that is to be trained
    """
    tensors = _tensors(source)
    own = model.state_dict()
    if model.config.beside and "share" in tensors:
        raise ModelError(
            f"{source} has a head on a lower layer already; expected a lite with one head, such as lite 1.0 (docs/lite.md has "
            "the command that makes its folder)."
        )
    for name, target in own.items():
        if name.endswith("num_batches_tracked"):
            continue
        value = tensors.get(name)
        if value is None and name.startswith(NEW):
            continue
        if value is None or value.shape != target.shape:
            raise ModelError(f"{source} has no {name} of {list(target.shape)}; expected a lite of as many layers.")
        target.copy_(value.float())


def _tensors(source: str) -> Mapping[str, Tensor]:
    if Path(source).is_file():
        tensors: Mapping[str, Tensor] = state.read_network(Path(source), "the model.pt of a lite")["model"]
        return tensors
    card = cards.find(source)
    graph = onnx.load(card.verified_graph()).graph
    return {
        tensor.name.removesuffix(HALF): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
