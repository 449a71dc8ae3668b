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

# Of Okabe and Ito (2008), which colour-blind readers tell apart; none is a colour of a curve
SPEAKERS = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#999999")
_MOST_POINTS = 2000  # of a curve: a page has no room for more, and files of millions open slowly
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
        named = set()
        for start, end, speaker in zip(one.starts, one.ends, one.speakers, strict=True):
            label = None if speaker in named or not speaker else _plain(speaker)
            named.add(speaker)
            axes.axvspan(start, end, color=colours[speaker], alpha=0.3, linewidth=0, label=label)
        for column, name in enumerate(DIMENSIONS):
            axes.hlines(one.scores[:, column], one.starts, one.ends, color=COLOURS[name], linewidth=2.2, label=name)
    else:
        times = (one.starts + one.ends) / 2
        for column, name in enumerate(DIMENSIONS):
            axes.plot(*thinned(times, one.scores[:, column]), label=name, color=COLOURS[name], linewidth=1.6)
    known = one.scores[np.isfinite(one.scores)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    axes.set(ylabel="score", ylim=(min(0.0, low), max(1.0, high)), title=_plain(one.name))
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    if legend or one.speakers:
        axes.legend(loc="upper right", ncols=min(6, 3 + len(colours)), frameon=False)


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
        axes.plot(*thinned((one.starts + one.ends) / 2, confidence), color="0.3", linewidth=1)
    axes.set(ylabel="confidence", ylim=(0, 1), yticks=(0, 1))
    axes.margins(x=0)
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
    axes.scatter(valence[::step], arousal[::step], s=22 if shown else 5, c=points, alpha=0.6, linewidths=0)
    if len(arousal):
        axes.plot(valence.mean(), arousal.mean(), "+", color="black", markersize=12, markeredgewidth=1.6)
    axes.set(xlabel="valence", ylabel="arousal", xlim=(0, 1), ylim=(0, 1), aspect="equal")


def thinned(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """A curve [rows] with so few points that it looks the same on a page: smallest and largest value of each stretch.

    A stretch with a gap keeps one NaN, so that the gap stays.
    """
    count = len(values)
    size = -(-count // (_MOST_POINTS // 2))
    if size <= 2:
        return times, values
    firsts = np.arange(0, count, size)
    low = np.minimum.reduceat(np.where(np.isnan(values), np.inf, values), firsts)
    high = np.maximum.reduceat(np.where(np.isnan(values), -np.inf, values), firsts)
    gap = np.add.reduceat(np.isnan(values).astype(np.int64), firsts) * 2 > size  # mostly without a value
    pairs = np.where((gap | ~np.isfinite(low))[:, None], np.nan, np.stack([low, high], axis=1))
    middles = times[np.minimum(firsts + size // 2, count - 1)]
    result: tuple[Floats, Floats] = (np.repeat(middles, 2), pairs.ravel())
    return result
