"""The report of scores beside people's curves: JSON, Markdown, a table of all values, and a picture."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from emow2v.evaluation.curves.follow import CurveEvaluation, DimensionFigures, Followed
from emow2v.evaluation.intervals import Figure
from emow2v.evaluation.report import interval, png, whole_figure, write_files
from emow2v.formats.markdown import table
from emow2v.formats.plot import COLOURS
from emow2v.trajectory import DIMENSIONS

FILES = ("curves.json", "curves.md", "curves.csv", "curves.png")
_DRAWN = 6  # recordings in the picture, the first ones
_STYLES = ("--", ":", "-.", (0, (1, 3)), (0, (8, 2, 1, 2)), (0, (12, 3)))  # of raters, as matplotlib names them


def write(
    evaluation: CurveEvaluation, folder: Path, *, about: Mapping[str, str] | None = None, overwrite: bool = False
) -> list[Path]:
    """curves.json, curves.md, curves.csv (a row for each score, with each rater's value) and curves.png, together or not at all.

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies there
        FormatError: a place that cannot be written
    """
    contents: dict[str, str | bytes] = {
        "curves.json": json.dumps({**(about or {}), **figures(evaluation)}, indent=2, ensure_ascii=False) + "\n",
        "curves.md": markdown(evaluation, about or {}),
        "curves.csv": values_table(evaluation.recordings),
        "curves.png": picture(evaluation),
    }
    return write_files(contents, folder, overwrite=overwrite)


def figures(evaluation: CurveEvaluation) -> dict[str, object]:
    """An evaluation for JSON."""
    return {
        **evaluation.about,
        "truth": "curves",
        "recordings": len(evaluation.recordings),
        "intervals_over": evaluation.unit,
        "dimensions": {name: _plain(one) for name, one in evaluation.dimensions.items()},
        "skipped": dict(evaluation.skipped),
        "notices": {one.name: list(one.notices) for one in evaluation.recordings if one.notices}
        | ({"": list(evaluation.notices)} if evaluation.notices else {}),
    }


def _plain(one: DimensionFigures) -> dict[str, object]:
    def number(value: float) -> float | None:
        return round(value, 4) if math.isfinite(value) else None

    return {
        "lag_s": one.lag,
        "lag_searched": one.lag_searched,
        "values": one.values,
        "raters": list(one.raters),
        "ccc": one.ccc.to_json(),
        "ccc_without_lag": one.ccc_without_lag.to_json(),
        "correlation_within_recordings": number(one.correlation_within),
        "ccc_with_each_rater": one.each_rater.to_json(),
        "ccc_of_raters_with_the_others": one.raters_with_others.to_json(),
        "ccc_of_raters_with_each_other": one.raters_with_each_other.to_json(),
        "ccc_by_recording": {name: number(value) for name, value in one.by_recording.items()},
    }


def rows(evaluation: CurveEvaluation) -> list[list[str]]:
    """A row of text for each dimension, under `HEAD`."""
    return [
        [
            name,
            f"{one.lag:.1f} s" + (" (searched)" if one.lag_searched else ""),
            interval(one.ccc),
            interval(one.ccc_without_lag),
            interval(Figure(one.correlation_within)),
            interval(one.each_rater),
            interval(one.raters_with_others),
            str(len(one.raters)),
        ]
        for name, one in evaluation.dimensions.items()
    ]


HEAD = ("", "lag", "CCC", "without lag", "correlation within", "with a rater", "rater with the others", "raters")


def markdown(evaluation: CurveEvaluation, about: Mapping[str, str]) -> str:
    """The report for readers."""
    model = f"{evaluation.about['model']} {evaluation.about['version']}".strip()
    lines = [f"# {model}: scores beside people's curves", ""]
    lines += [f"{name.capitalize()}: `{value}`  " for name, value in about.items()]
    lines += [
        f"{len(evaluation.recordings)} recordings. A score describes {float(str(evaluation.about['window_ms'])):g} ms, one every",
        f"{float(str(evaluation.about['step_ms'])):g} ms; a curve is read at the middle of that window, plus the lag of the raters.",
        f"Intervals are 95 %, bootstrapped over {evaluation.unit}.",
        "",
        *table(HEAD, rows(evaluation)),
        "",
        "**CCC** is that of the scores with the mean of the raters, over all recordings. A lag that was searched is the one of",
        "the highest correlation within recordings, so that the figure is a little too good; it stands beside the one without",
        "a lag. **Correlation within** is Pearson's, each recording less its own mean: whether the curve moves as people's do.",
        "**With a rater** is the mean CCC of the scores with each rater alone; **rater with the others** that of each rater with",
        "the mean of the others. Scores whose CCC reaches it agree with people as well as one of these raters does.",
        "",
    ]
    if any(len(one.by_recording) > 1 for one in evaluation.dimensions.values()):
        names = [one.name for one in evaluation.recordings]
        cells = [
            [name, *(interval(Figure(one.by_recording.get(name, math.nan))) for one in evaluation.dimensions.values())]
            for name in names
        ]
        lines += ["CCC by recording:", "", *table(("", *evaluation.dimensions), cells), ""]
    sentences = [f"The picture has the first {_DRAWN} recordings."] if len(evaluation.recordings) > _DRAWN else []
    sentences += [
        *evaluation.notices,
        *(f"{one.name}: {line}" for one in evaluation.recordings for line in one.notices),
    ]
    sentences += [f"{name} could not be scored: {sentence}" for name, sentence in evaluation.skipped.items()]
    lines += [f"* {sentence}" for sentence in sentences]
    lines += ["", "![curves](curves.png)", ""]
    return "\n".join(lines)


def values_table(recordings: Iterable[Followed]) -> str:
    """CSV with a row for each score: file, time, the scores, and each rater's value at the same time plus the lag."""
    recordings = list(recordings)
    columns = list(
        dict.fromkeys(
            (dimension, rater)
            for one in recordings
            for dimension in DIMENSIONS
            for rater in sorted(one.ratings.get(dimension, {}))
        )
    )
    columns.sort(key=lambda column: DIMENSIONS.index(column[0]))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "time", *DIMENSIONS, *(f"{dimension} {rater}" for dimension, rater in columns)])
    for one in recordings:
        curves = [one.ratings.get(dimension, {}).get(rater) for dimension, rater in columns]
        for k, time in enumerate(one.times):
            rated = ["" if curve is None or math.isnan(curve[k]) else f"{curve[k]:.4f}" for curve in curves]
            writer.writerow([one.name, f"{time:.3f}", *(f"{score:.6f}" for score in one.scores[k]), *rated])
    return file.getvalue()


def picture(evaluation: CurveEvaluation) -> bytes:
    """Scores and raters' curves over time, a row for each recording and a column for each dimension; PNG."""
    shown, names = evaluation.recordings[:_DRAWN], list(evaluation.dimensions)
    figure = whole_figure(4.4 * len(names) + 1, 2.3 * len(shown) + 0.6)
    panels = np.atleast_2d(figure.subplots(len(shown), len(names), sharey=True, squeeze=False))
    for one, line in zip(shown, panels, strict=True):
        for name, axes in zip(names, line, strict=True):
            ratings = one.ratings.get(name, {})
            for number, (rater, values) in enumerate(sorted(ratings.items())):
                style = _STYLES[number % len(_STYLES)]
                axes.plot(one.times, values, linestyle=style, label=f"rater {rater}", color="0.45", linewidth=0.8)
            if len(ratings) > 1:
                mean = np.mean(list(ratings.values()), axis=0)
                axes.plot(one.times, mean, label="mean of the raters", color="0", linewidth=1.2)
            axes.plot(
                one.times, one.scores[:, DIMENSIONS.index(name)], label="score", color=COLOURS[name], linewidth=1.4
            )
            axes.set(ylim=(0, 1), title=f"{name}, {one.name}")
            axes.set_ylabel("score" if name == names[0] else "")
            axes.grid(alpha=0.25)
            axes.margins(x=0)
    for axes in panels[-1]:
        axes.set_xlabel("time (s), raters less their lag")
    handles = {
        f"score of {name}" if label == "score" else label: handle
        for line in panels
        for name, axes in zip(names, line, strict=True)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2 * len(names), frameon=False)
    return png(figure)
