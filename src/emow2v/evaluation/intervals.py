"""Figures with intervals for another sample of speakers, not only of their clips.

Intervals are those of the package confidence_intervals (Ferrer and Riera): speakers are drawn with replacement, then
clips of the drawn speakers; the 2.5th and 97.5th percentile of the figure over the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from emow2v.agreement import Floats as Floats
from emow2v.agreement import ccc, pearson
from emow2v.errors import Emow2vError
from emow2v.trajectory import DIMENSIONS

FEWEST_SPEAKERS = 3  # with fewer there are no intervals

Metric = Callable[[Floats, Floats], float]


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % interval; NaN where one is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def from_json(cls, values: Mapping[str, float | None]) -> Figure:
        """The figure that `to_json` wrote, rounded."""
        return cls(*(math.nan if (value := values[name]) is None else value for name in ("value", "low", "high")))

    def to_json(self) -> dict[str, float | None]:
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: round(value, 4) if math.isfinite(value) else None for name, value in values.items()}


def mae(truth: Floats, prediction: Floats) -> float:
    """Mean absolute error."""
    return float(np.abs(prediction - truth).mean())


def bias(truth: Floats, prediction: Floats) -> float:
    """Mean of prediction less truth."""
    return float((prediction - truth).mean())


METRICS: Mapping[str, Metric] = {"ccc": ccc, "pearson": pearson, "mae": mae, "bias": bias}


class Draws:
    """Draws of clips, the same for every figure of the same clips.

    Args:
        speakers: int [clips], who speaks
        number: of draws; 0 for figures without intervals
    """

    def __init__(self, speakers: npt.NDArray[np.int64], number: int) -> None:
        self._bootstrap = None
        groups = np.unique(speakers).size
        if not number or groups < FEWEST_SPEAKERS:
            return
        try:
            from confidence_intervals.confidence_intervals import Bootstrap
        except ImportError:
            raise missing() from None
        self._bootstrap = Bootstrap(number)
        # a speaker for each clip is the plain bootstrap, which is much quicker
        self._bootstrap.get_bootstrap_sets(speakers.size, None if groups == speakers.size else speakers)

    def figure(
        self, metric: Callable[..., float], truth: Floats, prediction: Floats, third: Floats | None = None
    ) -> Figure:
        """metric(truth, prediction), or metric(truth, prediction, third), with its interval."""
        value = metric(truth, prediction) if third is None else metric(truth, prediction, third)
        if self._bootstrap is None or not math.isfinite(value):
            return Figure(value)
        self._bootstrap.metric = metric
        drawn = self._bootstrap.get_metric_values_for_bootstrap_sets(prediction, truth, third)
        drawn = drawn[np.isfinite(drawn)]
        return Figure(value, *np.percentile(drawn, [2.5, 97.5]).tolist()) if drawn.size else Figure(value)


def agreement(
    ratings: Floats, scores: Floats, speakers: npt.NDArray[np.int64], draws: int
) -> dict[str, dict[str, Figure | int]]:
    """Every metric of `METRICS` for each dimension that has ratings, with the number of clips and speakers.

    Args:
        ratings, scores: [clips, 3]; NaN where there is no rating
        speakers: int [clips]
        draws: for the intervals
    """
    figures: dict[str, dict[str, Figure | int]] = {}
    shared: dict[bytes, Draws] = {}  # by the clips that are rated, for dimensions with ratings of the same clips
    for column, name in enumerate(DIMENSIONS):
        rated = np.flatnonzero(np.isfinite(ratings[:, column]))
        if rated.size < 2:
            continue
        key = rated.tobytes()
        if key not in shared:
            shared[key] = Draws(speakers[rated], draws)
        truth, prediction = ratings[rated, column], scores[rated, column]
        figures[name] = {one: shared[key].figure(metric, truth, prediction) for one, metric in METRICS.items()} | {
            "clips": int(rated.size),
            "speakers": int(np.unique(speakers[rated]).size),
        }
    return figures


def difference(
    ratings: Floats, scores: Floats, speakers: npt.NDArray[np.int64], first: npt.NDArray[np.bool_], draws: int
) -> dict[str, Figure]:
    """CCC of the clips in `first` less that of the others, for each dimension rated in both."""

    def gap(truth: Floats, prediction: Floats, chosen: Floats) -> float:
        of_first = chosen > 0
        return ccc(truth[of_first], prediction[of_first]) - ccc(truth[~of_first], prediction[~of_first])

    differences = {}
    for column, name in enumerate(DIMENSIONS):
        rated = np.isfinite(ratings[:, column])
        if not (rated & first).any() or not (rated & ~first).any():
            continue
        drawn = Draws(speakers[rated], draws)
        differences[name] = drawn.figure(
            gap, ratings[rated, column], scores[rated, column], first[rated].astype(np.float64)
        )
    return differences


def require(*packages: str) -> None:
    """Check, before hours of work, that packages of the extra `evaluate` are installed.

    Raises:
        Emow2vError: one of them is not installed
    """
    if any(find_spec(name) is None for name in packages):
        raise missing()


def missing() -> Emow2vError:
    """The error for a library of the extra `evaluate` that is not installed."""
    return Emow2vError("Evaluation needs its own libraries; run: pip install 'emow2v[evaluate]'")
