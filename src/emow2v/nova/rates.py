"""Values of a trajectory at the rate of a scheme.

The value k of a continuous annotation lasts from k / sr to (k + 1) / sr, and so do the rows of a trajectory at their own
rate. A value at another rate is the mean of the rows within its time, each weighted by how much of it lies there.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def count_at(rows: int, own: Fraction, rate: Fraction) -> int:
    """Number of whole values at a rate.

    Args:
        rows: of the trajectory
        own: rows a second
        rate: values a second
    """
    return int(rows / own * rate)


def at_rate(values: Values, own: Fraction, rate: Fraction) -> Values:
    """Values at another rate; those at the same rate are returned as they are.

    Args:
        values: float64 [rows]; NaN where there is none
        own: rows a second
        rate: values a second

    Returns:
        float64 [count_at(rows, own, rate)]; NaN where no row within the time has a value
    """
    if own == rate:
        return values
    count = count_at(len(values), own, rate)
    ratio = own / rate
    # with Python's integers: a time that is rounded below an edge would take a row that does not belong to it
    edges = np.arange(count + 1).astype(object) * ratio.numerator
    whole, rest = (edges // ratio.denominator).astype(np.int64), (edges % ratio.denominator).astype(np.float64)
    part = rest / ratio.denominator
    known = np.isfinite(values)
    sums, weights = (_until(each, whole, part) for each in (np.where(known, values, 0.0), known.astype(np.float64)))
    weight = np.diff(weights)
    means = np.full(count, np.nan)
    return np.asarray(np.divide(np.diff(sums), weight, out=means, where=weight > 1e-9))


def _until(values: Values, whole: npt.NDArray[np.int64], part: Values) -> Values:
    """The integral of a step function from 0 to each edge."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(sums[whole] + part * np.concatenate([values, [0.0]])[whole])
