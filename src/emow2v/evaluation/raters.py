"""Agreement of several raters of the same clips, beside which the agreement of scores with them is read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emow2v.agreement import Floats, ccc
from emow2v.corpora.clip import Clip
from emow2v.trajectory import DIMENSIONS


@dataclass(frozen=True)
class RaterFigures:
    """Agreement of one dimension with single raters, and of these with each other.

    Attributes:
        raters: number of raters
        score_with_rater: mean CCC of the scores with each rater
        rater_with_others: mean CCC of each rater with the mean of the others
        rater_with_rater: mean CCC of pairs of raters
    """

    raters: int
    score_with_rater: float
    rater_with_others: float
    rater_with_rater: float

    def to_json(self) -> dict[str, float | int | None]:
        return {name: (round(one, 4) if math.isfinite(one) else None) for name, one in vars(self).items()}


def raters_of(clips: Sequence[Clip], scores: Floats) -> dict[str, RaterFigures]:
    """Figures by dimension that two raters or more have rated; clips count where the raters concerned gave a rating.

    Args:
        scores: [clips, 3]
    """
    names = list(dict.fromkeys(name for clip in clips for name in clip.by_rater))
    unrated = (math.nan,) * len(DIMENSIONS)
    ratings = np.array([[clip.by_rater.get(name, unrated) for clip in clips] for name in names], np.float64)
    figures = {}
    for column, dimension in enumerate(DIMENSIONS):
        rated = [one for one in ratings[:, :, column] if np.isfinite(one).sum() > 1] if names else []
        if len(rated) < 2:
            continue
        figures[dimension] = RaterFigures(
            raters=len(rated),
            score_with_rater=_mean([ccc(one, scores[:, column]) for one in rated]),
            rater_with_others=_mean(
                [ccc(one, mean_of([other for other in rated if other is not one])) for one in rated]
            ),
            rater_with_rater=_mean([ccc(a, b) for a, b in itertools.combinations(rated, 2)]),
        )
    return figures


def mean_of(raters: Sequence[Floats]) -> Floats:
    """Mean over the raters of each clip that gave a rating, [clips]; NaN where none did."""
    values = np.stack(raters)
    given = np.isfinite(values)
    total = np.where(given, values, 0).sum(axis=0)
    result: Floats = np.where(given.any(axis=0), total / np.maximum(given.sum(axis=0), 1), math.nan)
    return result


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def table(figures: Mapping[str, RaterFigures]) -> list[list[str]]:
    """A row of text for each dimension, under `HEAD`."""
    return [
        [
            name,
            *(f"{one:.3f}" for one in (of.score_with_rater, of.rater_with_others, of.rater_with_rater)),
            str(of.raters),
        ]
        for name, of in figures.items()
    ]


HEAD = ("", "scores with a rater", "a rater with the others", "a rater with another", "raters")
