"""A loss over a whole batch, though neither memory nor one process holds it: exact, where the mean of parts is not.

CCC is no mean over clips: that of a batch does not follow from those of its parts. So scores are computed for all parts
first, the loss and its gradient with respect to them over the whole batch and all processes, and only then does each
part, computed once more with the same random draws, pass its share of that gradient on (gradient caching, Gao et al.,
2021, arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def backward(
    accelerator: Any,
    forward: Callable[[int], Tensor],
    parts: Sequence[npt.NDArray[np.int64]],
    truth: Tensor,
    parameters: Iterable[nn.Parameter],
    loss: Loss,
) -> float:
    """Add the gradient of a whole batch's loss to parameters; the same in every process.

    Args:
        accelerator: Accelerate's, whose processes each have other parts of the batch
        forward: scores float32 [rows of the part, dimensions] of part k; twice the same for the same k
        parts: rows of the batch that this process computes, together; may be none
        truth: of the whole batch, [batch, dimensions]; NaN where it is not known
        parameters: those with gradients
        loss: of truth and prediction, over the whole batch

    Returns:
        the loss
    """
    scores = torch.zeros(truth.shape, device=truth.device)
    held = None
    for k, rows in enumerate(parts):
        last = k == len(parts) - 1  # its graph can be kept: it is the first to go backward
        with torch.set_grad_enabled(last):
            held = forward(k)
        scores[_index(rows, scores)] = held.detach().to(scores)
    scores = accelerator.reduce(scores, reduction="sum").requires_grad_()
    value = loss(truth, scores)
    (gradient,) = torch.autograd.grad(value, scores)
    for k in reversed(range(len(parts))):
        if held is None:
            held = forward(k)
        accelerator.backward((held * gradient[_index(parts[k], scores)]).sum())
        held = None
    if accelerator.num_processes > 1:
        _add_up(accelerator, parameters)
    return float(value.detach())


def _index(rows: npt.NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device)


def _add_up(accelerator: Any, parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over processes. Each has the gradient of the same loss through its own rows, so a sum is the whole.

    Not left to DistributedDataParallel, which sends as it goes backward and takes a layer that layerdrop left out of the
    last part for one without a gradient.
    """
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad = accelerator.reduce(parameter.grad, reduction="sum")
