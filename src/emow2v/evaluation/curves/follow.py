"""Agreement of a model's scores over time with raters' curves, and of the raters with each other as the ceiling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from emow2v.errors import Emow2vError, FormatError
from emow2v.evaluation.curves.rated import Curve
from emow2v.evaluation.curves.recordings import RatedRecording
from emow2v.evaluation.curves.sums import ccc_with_interval, correlation_within, sums
from emow2v.evaluation.evaluate import facts
from emow2v.evaluation.intervals import FEWEST_SPEAKERS, Figure
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.storage import counted
from emow2v.trajectory import DIMENSIONS

Floats = npt.NDArray[np.float64]

LONGEST_LAG_S = 6.0  # raters react within some seconds
_LAG_STEP_S = 0.1
_FEWEST_VALUES = 20  # from which figures are taken without a remark
_BLOCK_S = 30.0  # of a recording: the unit of intervals where there are too few recordings
_SMALL_GAPS = 0.02  # share of a recording about which no sentence is made
_BEYOND_S = 10.0  # a curve that goes on for so long after its recording's end, and a tenth of it, is of another


@dataclass(frozen=True, eq=False)
class Followed:
    """One recording with the scores of a model and the raters' curves at the same times.

    Attributes:
        times: float64 [values], seconds: the middle of the sound that a score describes
        scores: float64 [values, 3]
        confidence: float64 [values, 3]
        ratings: by dimension and rater, float64 [values]: the curve at `times` plus the lag
        notices: sentences about missing or unusual parts of the recording and of its curves
    """

    name: str
    times: Floats
    scores: Floats
    confidence: Floats
    ratings: Mapping[str, Mapping[str, Floats]]
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class DimensionFigures:
    """How well the scores of one dimension follow people.

    Attributes:
        lag: seconds by which raters are behind the sound
        lag_searched: whether it is the one of the highest correlation
        values: number of times that were compared
        raters: their names
        ccc: of the scores with the mean of the raters
        ccc_without_lag: the same without a lag
        correlation_within: Pearson's, each recording less its own mean
        each_rater: mean CCC of the scores with each rater alone
        raters_with_others: mean CCC of a rater with the mean of the others: the ceiling; NaN with one rater
        raters_with_each_other: mean CCC of pairs of raters
        by_recording: CCC with the mean of the raters
    """

    lag: float
    lag_searched: bool
    values: int
    raters: Sequence[str]
    ccc: Figure
    ccc_without_lag: Figure
    correlation_within: float
    each_rater: Figure
    raters_with_others: Figure
    raters_with_each_other: Figure
    by_recording: Mapping[str, float]


@dataclass(frozen=True)
class CurveEvaluation:
    """Everything about a model and people's curves.

    Attributes:
        about: model, framing, software
        unit: what intervals are drawn of: recordings, or blocks of 30 s where there are fewer than three
        dimensions: by name
        notices: sentences for a reader
        skipped: names of recordings that could not be read, or whose curves are of another one, with the sentence why
    """

    about: Mapping[str, object]
    unit: str
    dimensions: Mapping[str, DimensionFigures]
    recordings: Sequence[Followed]
    notices: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Scored:
    name: str
    times: Floats
    scores: Floats
    confidence: Floats
    curves: Sequence[Curve]
    notices: Sequence[str]


def evaluate_curves(
    model: Model,
    recordings: Sequence[RatedRecording],
    *,
    lag_s: float | None = None,
    window_ms: Fraction | int = 1000,
    step_ms: Fraction | int = 500,
    draws: int = 1000,
    on_recording: Callable[[str], None] = lambda name: None,
) -> CurveEvaluation:
    """Compare the scores of a model over time with raters' curves.

    A score describes the window around it; a curve is read at the window's middle plus the lag.

    Args:
        lag_s: seconds by which raters are behind the sound; None to search 0 to 6 s, for each dimension, for the lag of the
            highest correlation with the mean of the raters within recordings
        window_ms, step_ms: length of a window, and time from one to the next
        draws: of the bootstrap, for 95 % intervals; 0 for none
        on_recording: called after each recording; may raise to stop

    Raises:
        FormatError: a lag below 0
        FramingError: windows that are too short for the model
        Emow2vError: no recording that can be read and has curves of its own
    """
    if lag_s is not None and not 0 <= lag_s <= 60:
        raise FormatError(f"The lag of raters is {lag_s:g} s; expected 0 to 60 s.")
    framing = Framing(frame_step_ms=step_ms, frame_size_ms=window_ms, left_context_ms=0)
    model.check(framing)
    scored, skipped = [], {}
    for one in recordings:
        try:
            scored.append(_score(model, one, framing, float(window_ms) / 1000))
        except Emow2vError as error:
            skipped[one.name] = str(error)
        on_recording(one.name)
    if not scored:
        first = next(iter(skipped.values()), "there is none")
        raise Emow2vError(f"None of the {len(recordings)} recordings could be compared; the first: {first}")
    lags: dict[str, float] = {}
    notices: list[str] = []
    for name in DIMENSIONS:
        if any(curve.dimension == name for one in scored for curve in one.curves):
            lags[name] = _best_lag(scored, name, notices) if lag_s is None else lag_s
    followed = [_followed(one, lags) for one in scored]
    by_recording = len(followed) >= FEWEST_SPEAKERS
    dimensions = {
        name: _figures(name, lag, lag_s is None, scored, followed, draws, by_recording) for name, lag in lags.items()
    }
    return CurveEvaluation(
        about=facts(model, window_ms, step_ms),
        unit="recordings" if by_recording else f"blocks of {_BLOCK_S:g} s",
        dimensions=dimensions,
        recordings=followed,
        notices=[*notices, *_few_values(dimensions)],
        skipped=skipped,
    )


def _score(model: Model, recording: RatedRecording, framing: Framing, window_s: float) -> _Scored:
    with model.predict(recording.file, framing=framing) as trajectory:
        starts, scores, confidence = trajectory.starts, trajectory.scores, trajectory.confidence
        duration = float(trajectory.ends[-1])
        notices = list(trajectory.notices)
    # rows whose window goes on after the recording describe less than a window
    inside = starts + window_s <= duration + 1e-6
    inside |= np.arange(starts.size) == 0
    for curve in recording.curves:
        if curve.end > duration + max(_BEYOND_S, 0.1 * duration):
            remedy = "correct the manifest"
            if 0.1 * duration < curve.end / 1000 <= duration + _BEYOND_S:
                remedy += ", or name its column time_ms if these are milliseconds"
            raise FormatError(
                f"{curve.source} ends at {curve.end:.1f} s and {recording.name} at {duration:.1f} s; expected a curve of "
                f"this recording; {remedy}."
            )
    middle = starts[inside] + window_s / 2
    notices += _parts_without_ratings(recording, middle, duration)
    return _Scored(
        recording.name,
        middle,
        np.asarray(scores[inside], np.float64),
        np.asarray(confidence[inside], np.float64),
        recording.curves,
        notices,
    )


def _parts_without_ratings(recording: RatedRecording, times: Floats, duration: float) -> Iterator[str]:
    """Sentences on curves that have no values for a part of a recording, and on raters who never rated at the same time."""
    rated: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for curve in recording.curves:
        known = np.isfinite(curve.at(times))
        rated.setdefault(curve.dimension, []).append(known)
        span = curve.times[np.isfinite(curve.values)]
        gaps = ~known & (times > span[0]) & (times < span[-1])
        # raters begin and end a little beside the recording
        if known.mean() < 0.9 - min(0.1, _BEYOND_S / duration) or gaps.mean() > _SMALL_GAPS:
            yield (
                f"{curve.source} rates {span[0]:.0f} to {span[-1]:.0f} s of {duration:.0f} s{' with gaps' if gaps.any() else ''}, "
                f"{known.mean():.0%} of the recording; the rest is not compared."
            )
    for name, curves in rated.items():
        if len(curves) > 1 and not np.logical_and.reduce(curves).any():
            raters = ", ".join(curve.rater or curve.source for curve in recording.curves if curve.dimension == name)
            yield (
                f"The raters of {name} ({raters}) rated at no time together, so nothing of {name} is compared here; leave some "
                "of them out."
            )


def _few_values(figures: Mapping[str, DimensionFigures]) -> Iterator[str]:
    for name, one in figures.items():
        if not one.values:
            yield f"No value of {name} was compared: curves and scores share no time at a lag of {one.lag:g} s."
        elif one.values < _FEWEST_VALUES:
            yield f"Only {counted(one.values, 'value')} of {name} could be compared; figures of so few are chance."


def _mean(curves: Sequence[Floats]) -> Floats:
    """Mean over raters where all of them rated, [values]: a rater who stops would else move the mean."""
    result: Floats = np.mean(curves, axis=0)
    return result


def _best_lag(scored: Sequence[_Scored], name: str, notices: list[str]) -> float:
    """The lag of the highest correlation within recordings; the levels of recordings have no part in it."""
    column = DIMENSIONS.index(name)
    lags = np.arange(0, LONGEST_LAG_S + _LAG_STEP_S / 2, _LAG_STEP_S)
    found = []
    for lag in lags:
        pairs = [
            (_mean([curve.at(one.times + lag) for curve in mine]), one.scores[:, column])
            for one in scored
            if (mine := [curve for curve in one.curves if curve.dimension == name])
        ]
        found.append(correlation_within(sums(pairs)))
    correlations = np.array(found)
    if not np.isfinite(correlations).any():
        notices.append(f"The curves of {name} do not move, or share no time with the scores; no lag was searched.")
        return 0.0
    best = int(np.nanargmax(correlations))
    if correlations[best] <= 0:
        notices.append(
            f"No lag from 0 to {LONGEST_LAG_S:g} s has a correlation of {name} above 0; it is taken as 0 s. Are these the "
            "curves of these recordings?"
        )
        return 0.0
    if best == len(lags) - 1:
        notices.append(
            f"The correlation of {name} still rises at a lag of {LONGEST_LAG_S:g} s; state the lag with --lag if it is known."
        )
    return round(float(lags[best]), 3)


def _followed(one: _Scored, lags: Mapping[str, float]) -> Followed:
    ratings: dict[str, dict[str, Floats]] = {}
    for curve in one.curves:
        ratings.setdefault(curve.dimension, {})[curve.rater] = curve.at(one.times + lags[curve.dimension])
    return Followed(one.name, one.times, one.scores, one.confidence, ratings, one.notices)


def _figures(
    name: str,
    lag: float,
    searched: bool,
    scored: Sequence[_Scored],
    followed: Sequence[Followed],
    draws: int,
    by_recording: bool,
) -> DimensionFigures:
    column = DIMENSIONS.index(name)
    rated = [one for one in followed if name in one.ratings]
    raters = sorted({rater for one in rated for rater in one.ratings[name]})

    def figure(pairs: Sequence[tuple[Followed, Floats, Floats]]) -> Figure:
        units = [unit for one, x, y in pairs for unit in _units(one.times, x, y, by_recording)]
        return ccc_with_interval(sums(units), draws)

    def mean_of(parts: Sequence[Figure]) -> Figure:
        values = [one.value for one in parts if math.isfinite(one.value)]
        if len(parts) == 1:
            return parts[0]
        return Figure(float(np.mean(values)) if values else math.nan)

    means = [(one, _mean(list(one.ratings[name].values())), one.scores[:, column]) for one in rated]
    without = [
        (one, _mean([curve.at(one.times) for curve in first.curves if curve.dimension == name]), one.scores[:, column])
        for first, one in zip(scored, followed, strict=True)
        if name in one.ratings
    ]
    alone = [
        figure([(one, one.ratings[name][rater], one.scores[:, column]) for one in rated if rater in one.ratings[name]])
        for rater in raters
    ]
    others = [
        figure(
            [
                (one, one.ratings[name][rater], _mean([y for other, y in one.ratings[name].items() if other != rater]))
                for one in rated
                if rater in one.ratings[name] and len(one.ratings[name]) > 1
            ]
        )
        for rater in raters
    ]
    pairs = [
        figure([(one, one.ratings[name][a], one.ratings[name][b]) for one in rated if {a, b} <= set(one.ratings[name])])
        for a, b in itertools.combinations(raters, 2)
    ]
    by_name = [(one.name, sums([(x, y)])) for one, x, y in means]
    total = sums([(x, y) for _, x, y in means])
    return DimensionFigures(
        lag=lag,
        lag_searched=searched,
        values=int(total[:, 0].sum()),
        raters=raters,
        ccc=figure(means),
        ccc_without_lag=figure(without),
        correlation_within=correlation_within(total),
        each_rater=mean_of(alone),
        raters_with_others=mean_of(others) if len(raters) > 1 else Figure(math.nan),
        raters_with_each_other=mean_of(pairs) if pairs else Figure(math.nan),
        by_recording={one: ccc_with_interval(units, 0).value for one, units in by_name},
    )


def _units(times: Floats, x: Floats, y: Floats, by_recording: bool) -> list[tuple[Floats, Floats]]:
    """The series of a recording as one unit, or in blocks of time."""
    if by_recording:
        return [(x, y)]
    block = (times // _BLOCK_S).astype(np.int64)
    return [(x[block == number], y[block == number]) for number in np.unique(block)]
