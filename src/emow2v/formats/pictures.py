"""Pages of curves: values of one or several recordings over time, with turns, confidence and the arousal-valence plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.formats.plot import COLOURS
from emow2v.rows import DIMENSIONS, TurnRows
from emow2v.storage import one_line

# Dashes of the curves, which differ also where a page is printed without colours
_LINES = dict(zip(DIMENSIONS, ("-", (0, (5, 1)), (0, (1.5, 0.8))), strict=True))
# Of Okabe and Ito (2008), which colour-blind readers tell apart; none is a colour of a curve
SPEAKERS = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#999999")
_MOST_POINTS = 2000  # of a curve: a page has no room for more, and files of millions open slowly
_STRETCHES = 400  # of a longer curve: with more its line fills the page
_LETTERS = 92  # that have room above the curves
_LONGEST_NAME = 24  # of a speaker
_WIDTH, _PLANE, _CURVES, _SURE, _EDGE = 9.0, 3.1, 2.9, 0.7, 0.7  # inches

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Curves:
    """Values of one recording, for a picture.

    Attributes:
        name: above the curves
        starts, ends: [rows], seconds
        scores: [rows, 3]; NaN for no value
        confidence: [rows], or [rows, 3]; None where the model gives none
        speakers: of each row where rows are turns; else empty
        covers: which sound a value describes, in words
    """

    name: str
    starts: Floats
    ends: Floats
    scores: Floats
    confidence: Floats | None = None
    speakers: Sequence[str] = ()
    covers: str = ""


def speakers_of(turns: TurnRows | None) -> list[str]:
    """The speaker of each row, or the tier where none is named; empty where rows are no turns."""
    return [one or tier for one, tier in zip(turns.speakers, turns.tiers, strict=True)] if turns else []


def page(recordings: Sequence[Curves], make: Any, *, plane: bool) -> Any:
    """A matplotlib figure with a row for each recording.

    Args:
        make: makes a figure of a width and a height in inches
        plane: whether each row also has the plane of arousal and valence
    """
    sure = [one.confidence is not None and bool((one.confidence != 1).any()) for one in recordings]
    heights = [height for known in sure for height in ((_CURVES, _SURE) if known else (_CURVES,))]
    figure = make(_WIDTH + (_PLANE if plane else 0), sum(heights) + _EDGE)
    columns = 2 if plane else 1
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights, width_ratios=(_WIDTH, _PLANE)[:columns])
    place = 0
    speakers = list(dict.fromkeys(name for one in recordings for name in one.speakers))
    colours = {name: SPEAKERS[number % len(SPEAKERS)] for number, name in enumerate(speakers)}
    for one, known in zip(recordings, sure, strict=True):
        axes = figure.add_subplot(grid[place, 0])
        _draw_curves(axes, one, colours, legend=not place)
        if known:
            below = figure.add_subplot(grid[place + 1, 0], sharex=axes)
            _draw_confidence(below, one)
            axes.tick_params(labelbottom=False)
        last = below if known else axes
        if plane:
            _draw_plane(figure.add_subplot(grid[place : place + 1 + known, 1]), one, colours)
        place += 1 + known
    note = f"; a value describes {recordings[-1].covers}" if recordings[-1].covers else ""
    last.set_xlabel(f"time (s){note}")
    return figure


def _draw_curves(axes: Any, one: Curves, colours: dict[str, str], *, legend: bool) -> None:
    if one.speakers:
        _shade_speakers(axes, one, colours)
        for column, name in enumerate(DIMENSIONS):
            style = {"color": COLOURS[name], "linestyle": _LINES[name], "linewidth": 2.2}
            axes.hlines(one.scores[:, column], one.starts, one.ends, label=name, **style)
    else:
        times = (one.starts + one.ends) / 2
        for column, name in enumerate(DIMENSIONS):
            style = {"color": COLOURS[name], "linestyle": _LINES[name], "linewidth": 1.4}
            _draw_line(axes, times, one.scores[:, column], label=name, **style)
    known = one.scores[np.isfinite(one.scores)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    axes.set(ylabel="score", ylim=(min(0.0, low), max(1.0, high)), xlim=_span(one))
    axes.grid(alpha=0.25)
    title = one.name if len(one.name) <= _LETTERS else f"{one.name[: _LETTERS - 3]}..."
    rows = _draw_legend(axes, len(title)) if legend or one.speakers else 0
    axes.set_title(_plain(title), loc="left", pad=6 + 17 * rows)


def _draw_legend(axes: Any, title: int) -> int:
    """A legend above the curves, which it would hide: beside a title of that length, or in rows below it; their number."""
    letters = [len(name) + 7 for name in axes.get_legend_handles_labels()[1]]
    beside = sum(letters) + title <= _LETTERS
    columns = len(letters) if beside else min(len(letters), _LETTERS // max(letters))
    place = {"loc": "lower right", "bbox_to_anchor": (1, 0.99), "borderaxespad": 0.3}
    axes.legend(**place, ncols=columns, frameon=False, handlelength=2.8, columnspacing=1.2)
    return 0 if beside else -(-len(letters) // columns)


def _draw_line(axes: Any, times: Floats, values: Floats, **style: Any) -> None:
    """A curve; of a long one the means of stretches, and a band from the lowest to the highest value of each."""
    if len(values) > _MOST_POINTS:
        times, values, low, high = stretches(times, values)
        axes.fill_between(times, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axes.plot(times, values, **style)


def _span(one: Curves) -> tuple[float, float]:
    """From the first row to the last one, also where they have no scores."""
    return (float(one.starts.min()), float(one.ends.max())) if len(one.starts) else (0.0, 1.0)


def _shade_speakers(axes: Any, one: Curves, colours: dict[str, str]) -> None:
    turns: dict[str, list[tuple[float, float]]] = {}
    for start, end, speaker in zip(one.starts.tolist(), one.ends.tolist(), one.speakers, strict=True):
        turns.setdefault(speaker, []).append((start, end - start))
    for speaker, spans in turns.items():
        style = {
            "color": colours[speaker],
            "alpha": 0.3,
            "linewidth": 0,
            "label": _plain(speaker[:_LONGEST_NAME]) if speaker else None,
        }
        axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), **style)


def _plain(text: str) -> str:
    """A text as matplotlib draws it: on one line, without mathematics, with escapes for what is none of Unicode."""
    line = one_line(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return line.replace("$", "\\$")


def _draw_confidence(axes: Any, one: Curves) -> None:
    assert one.confidence is not None
    confidence = one.confidence if one.confidence.ndim == 1 else one.confidence.min(axis=1)
    confidence = np.where(np.isfinite(one.scores).all(axis=1), confidence, np.nan)
    if one.speakers:
        axes.hlines(confidence, one.starts, one.ends, color="0.3", linewidth=2)
    else:
        _draw_line(axes, (one.starts + one.ends) / 2, confidence, color="0.3", linewidth=1)
    axes.set(ylim=(0, 1), yticks=(0, 1), xlim=_span(one))
    axes.set_ylabel("confidence", fontsize="small")
    axes.grid(alpha=0.25)


def _draw_plane(axes: Any, one: Curves, colours: dict[str, str]) -> None:
    """Valence to the right, arousal upwards (Russell 1980): a point for each value, a cross at the mean."""
    known = np.isfinite(one.scores).all(axis=1)
    arousal, valence = one.scores[known, 0], one.scores[known, 2]
    step = max(1, -(-len(arousal) // _MOST_POINTS))
    shown = [one.speakers[k] for k in np.flatnonzero(known)[::step]] if one.speakers else []
    points = [colours[name] for name in shown] if shown else "0.35"
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.axvline(0.5, color="0.7", linewidth=0.8)
    style = {"s": 24, "edgecolors": "0.3", "linewidths": 0.5} if shown else {"s": 5, "alpha": 0.6, "linewidths": 0}
    axes.scatter(valence[::step], arousal[::step], c=points, **style)
    if len(arousal):
        axes.plot(valence.mean(), arousal.mean(), "+", color="black", markersize=12, markeredgewidth=1.6)
    axes.set(xlabel="valence", ylabel="arousal", xlim=(0, 1), ylim=(0, 1), aspect="equal")


def stretches(times: Floats, values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """A long curve in some hundred stretches of time: the middle of each, and mean, lowest and highest value [stretches].

    A stretch that has mostly no values has NaN, so that gaps stay.
    """
    size = -(-len(values) // _STRETCHES)
    firsts = np.arange(0, len(values), size)
    known = np.isfinite(values)
    count = np.add.reduceat(known.astype(np.int64), firsts)
    gap = count * 2 < np.diff(np.append(firsts, len(values)))
    low = np.minimum.reduceat(np.where(known, values, np.inf), firsts)
    high = np.maximum.reduceat(np.where(known, values, -np.inf), firsts)
    mean = np.add.reduceat(np.where(known, values, 0).astype(np.float64), firsts) / np.maximum(count, 1)
    middles = times[np.minimum(firsts + size // 2, len(values) - 1)]
    return middles, np.where(gap, np.nan, mean), np.where(gap, np.nan, low), np.where(gap, np.nan, high)
