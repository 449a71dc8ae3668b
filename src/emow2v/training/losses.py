"""The concordance correlation coefficient as a loss."""

from __future__ import annotations

import torch
from torch import Tensor


def ccc_loss(truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean over dimensions of 1 - CCC over the batch, for [batch, dimensions]; NaN in `truth` is left out.

    A dimension with fewer than two known values in the batch adds nothing.
    """
    known = ~torch.isnan(truth)
    count = known.sum(dim=0)
    truth = torch.where(known, truth, torch.zeros_like(truth))
    prediction = torch.where(known, prediction, torch.zeros_like(prediction))
    n = count.clamp(min=1)
    mean_x, mean_y = truth.sum(dim=0) / n, prediction.sum(dim=0) / n
    x = torch.where(known, truth - mean_x, torch.zeros_like(truth))
    y = torch.where(known, prediction - mean_y, torch.zeros_like(prediction))
    covariance = (x * y).sum(dim=0) / n
    denominator = (x * x).sum(dim=0) / n + (y * y).sum(dim=0) / n + (mean_x - mean_y) ** 2
    loss = 1 - 2 * covariance / (denominator + 1e-8)
    usable = count >= 2
    return (loss * usable).sum() / usable.sum().clamp(min=1)
