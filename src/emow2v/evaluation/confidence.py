"""Whether a model's confidence tells its errors: fifths by confidence, and shares of small errors by confidence."""

from __future__ import annotations

import numpy as np

from emow2v.evaluation.intervals import Floats, missing
from emow2v.trajectory import DIMENSIONS

FIFTHS = 5
CLOSE = 0.1  # an error below this is small; the confidence of lite 2 is the probability of one


def confidence_of(ratings: Floats, scores: Floats, confidence: Floats) -> dict[str, dict[str, object]]:
    """By dimension, whether errors fall as confidence rises; empty for models without a confidence.

    Args:
        ratings, scores, confidence: [rows, 3]; NaN where nobody rated

    Returns:
        of each dimension: the rank correlation of confidence and absolute error; of fifths of the rows by rising confidence
        the mean confidence, mean absolute error and share of errors below `CLOSE`; `surest_to_least_sure`, the error of
        the last fifth as a share of that of the first one; and `reliability`, of steps of confidence of 0.2 the rows, mean
        confidence and share of errors below `CLOSE`
    """
    figures: dict[str, dict[str, object]] = {}
    for column, name in enumerate(DIMENSIONS):
        rated = np.isfinite(ratings[:, column])
        sure = confidence[rated, column]
        if rated.sum() < 2 * FIFTHS or np.ptp(sure) == 0:
            continue
        error = np.abs(scores[rated, column] - ratings[rated, column])
        order = np.array_split(np.argsort(sure, kind="stable"), FIFTHS)
        errors = [float(error[part].mean()) for part in order]
        figures[name] = {
            "rank_correlation": _spearman(sure, error),
            "confidence": [round(float(sure[part].mean()), 4) for part in order],
            "mean_absolute_error": [round(one, 4) for one in errors],
            "share_below": [round(float((error[part] < CLOSE).mean()), 4) for part in order],
            "below": CLOSE,
            "surest_to_least_sure": round(errors[-1] / errors[0], 4) if errors[0] > 0 else None,
            "reliability": _reliability(sure, error < CLOSE),
        }
    return figures


def _reliability(sure: Floats, close: Floats) -> list[dict[str, float | int]]:
    """Rows, mean confidence and share of small errors of every step of confidence that has rows."""
    step = np.minimum((sure * FIFTHS).astype(int), FIFTHS - 1)
    return [
        {
            "from": round(number / FIFTHS, 1),
            "to": round((number + 1) / FIFTHS, 1),
            "rows": int(part.sum()),
            "confidence": round(float(sure[part].mean()), 4),
            "share_below": round(float(close[part].mean()), 4),
        }
        for number in range(FIFTHS)
        if (part := step == number).any()
    ]


def _spearman(first: Floats, second: Floats) -> float | None:
    """Rank correlation; None where one of the two does not vary."""
    try:
        from scipy.stats import spearmanr
    except ImportError:
        raise missing() from None
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return round(float(spearmanr(first, second).statistic), 4)
