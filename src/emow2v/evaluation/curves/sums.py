"""Agreement of long series from sums by unit (a recording, or a stretch of one), so that a draw of units costs little."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from emow2v.evaluation.intervals import Figure

Floats = npt.NDArray[np.float64]

_CONSTANT = 1e-7  # a deviation up to this is rounding: differences of sums of squares have half of the digits
_MIDDLE = 0.5  # values lie about it; sums of squares about it lose no digits


def sums(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Moments of each unit, float64 [units, 6]: number, x, y, x squared, y squared, x times y; pairs with NaN are left out.

    Args:
        pairs: series x and y [values] of each unit, on about 0..1
    """
    rows = []
    for x, y in pairs:
        known = np.isfinite(x) & np.isfinite(y)
        a, b = x[known] - _MIDDLE, y[known] - _MIDDLE
        rows.append([a.size, a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()])
    return np.array(rows, np.float64).reshape(len(rows), 6)


def ccc_of(total: Floats) -> Floats:
    """Concordance correlation coefficient from summed moments [..., 6], as `agreement.ccc`; NaN where it is not defined."""
    number, x, y, xx, yy, xy = np.moveaxis(np.asarray(total, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my = x / number, y / number
        spread = xx / number - mx**2 + yy / number - my**2 + (mx - my) ** 2
        result = 2 * (xy / number - mx * my) / spread
    return np.where((number >= 2) & (spread > _CONSTANT**2), result, np.nan)


def correlation_within(units: Floats) -> float:
    """Pearson's correlation of two series less their mean in each unit [units, 6]; NaN where one is constant in each."""
    number, x, y, xx, yy, xy = units[units[:, 0] > 0].T
    a, b = float((xx - x * x / number).sum()), float((yy - y * y / number).sum())
    count = float(number.sum())
    if not count or min(a, b) / count <= _CONSTANT**2:
        return math.nan
    return float((xy - x * y / number).sum() / math.sqrt(a * b))


def ccc_with_interval(units: Floats, draws: int, seed: int = 0) -> Figure:
    """CCC over all units [units, 6], and the 2.5th and 97.5th percentile over draws of as many units with replacement.

    No interval with fewer than three units that have values, or without draws.
    """
    units = units[units[:, 0] > 0]
    value = float(ccc_of(units.sum(axis=0)))
    if len(units) < 3 or not draws or not math.isfinite(value):
        return Figure(value)
    counts = np.random.default_rng(seed).multinomial(len(units), np.full(len(units), 1 / len(units)), draws)
    drawn = ccc_of(counts @ units)
    drawn = drawn[np.isfinite(drawn)]
    return Figure(value, *np.percentile(drawn, [2.5, 97.5]).tolist()) if drawn.size else Figure(value)
