"""How far two series lie apart: differences, Pearson's correlation, the concordance correlation coefficient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.trajectory import DIMENSIONS

ROUNDING = 1e-9  # a deviation up to this is rounding; as a share of the values where these are above 1

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Agreement:
    """How far two series of one dimension lie apart.

    Attributes:
        name: arousal, dominance, valence or embeddings
        rows: pairs that were compared
        mean, largest: absolute difference; of embeddings the distance as a share of the first one's norm
        correlation: Pearson's; NaN where one of the two series is constant
        ccc: concordance correlation coefficient, see `ccc`
    """

    name: str
    rows: int
    mean: float
    largest: float
    correlation: float
    ccc: float

    def figures(self) -> dict[str, float | int | None]:
        """For JSON; None where a figure is not defined."""
        values = {"mean": self.mean, "largest": self.largest, "correlation": self.correlation, "ccc": self.ccc}
        return {"rows": self.rows} | {
            name: float(f"{value:.5g}") if math.isfinite(value) else None for name, value in values.items()
        }


def agreement(first: Floats, second: Floats, names: Sequence[str] = DIMENSIONS) -> list[Agreement]:
    """Agreements of scores [rows, dimensions]."""
    return [agreement_of(name, first[:, k], second[:, k]) for k, name in enumerate(names)]


def relative_distance(first: Floats, second: Floats) -> Floats:
    """Euclidean distance of rows [rows, values] as a share of the first one's norm, [rows]."""
    norm = np.linalg.norm(first, axis=1)
    distance: Floats = np.linalg.norm(second - first, axis=1) / np.maximum(norm, 1e-12)
    return distance


def varies(values: Floats) -> bool:
    """Whether a series is not constant, rounding aside."""
    values = np.asarray(values, np.float64)
    return values.size > 1 and float(values.std()) > ROUNDING * max(1.0, float(np.abs(values).max()))


def pearson(truth: Floats, prediction: Floats) -> float:
    """Pearson's correlation of two series without NaN; NaN where one of the two is constant."""
    if not varies(truth) or not varies(prediction):
        return math.nan
    return float(np.corrcoef(np.asarray(truth, np.float64), np.asarray(prediction, np.float64))[0, 1])


def within_classes(truth: Floats, prediction: Floats, classes: npt.NDArray[Any]) -> float:
    """Pearson's correlation of two series within classes: each value counts less the mean of its class in its series.

    It shows whether scores follow ratings where the class does not tell them.

    Args:
        truth, prediction: [rows], without NaN
        classes: number of the class [rows]

    Returns:
        NaN where one of the two series is constant within each class
    """
    _, number = np.unique(classes, return_inverse=True)

    def centred(values: Floats) -> Floats:
        values = np.asarray(values, np.float64)
        means = np.bincount(number, weights=values) / np.bincount(number)
        result: Floats = values - means[number]
        return result

    return pearson(centred(truth), centred(prediction))


def ccc(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Concordance correlation coefficient of two series, -1..1; pairs with a value that is not finite are left out.

    2 cov(x, y) / (var x + var y + (mean x - mean y)^2), with population moments: Lin (1989),
    A concordance correlation coefficient to evaluate reproducibility, Biometrics 45.
    NaN where fewer than two pairs are left, or both series are constant and equal.
    """
    x, y = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if x.size < 2:
        return float("nan")
    denominator = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    rounding = (ROUNDING * max(1.0, float(np.abs(x).max()), float(np.abs(y).max()))) ** 2
    return float(2 * covariance / denominator) if denominator > rounding else float("nan")


def agreement_of(name: str, first: Floats, second: Floats, difference: Floats | None = None) -> Agreement:
    """How far two series [rows] of one dimension lie apart; pairs with a value that is not finite are left out.

    Args:
        difference: absolute differences [rows], where they are not those of the values
    """
    first, second = np.ravel(first), np.ravel(second)
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    difference = np.abs(second - first) if difference is None else difference
    return Agreement(
        name=name,
        rows=difference.size,
        mean=float(difference.mean()) if difference.size else math.nan,
        largest=float(difference.max()) if difference.size else math.nan,
        correlation=pearson(first, second),
        ccc=ccc(first, second),
    )
