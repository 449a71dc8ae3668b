"""The concordance correlation coefficient, as a figure and as a loss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def ccc(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Concordance correlation coefficient of two series, -1..1; pairs with NaN are left out.

    2 cov(x, y) / (var x + var y + (mean x - mean y)^2), with population moments: Lin (1989),
    A concordance correlation coefficient to evaluate reproducibility, Biometrics 45.
    NaN where fewer than two pairs are left or nothing varies.
    """
    x, y = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if x.size < 2:
        return float("nan")
    denominator = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / denominator) if denominator > 0 else float("nan")


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
