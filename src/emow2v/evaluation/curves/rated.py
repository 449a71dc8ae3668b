"""People's continuous annotations of a recording: curves in the formats of SSI and NOVA, and tables with times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.corpora.csv_rows import number, read_rows, seconds
from emow2v.corpora.scales import Scale
from emow2v.errors import FormatError
from emow2v.formats.ssi_read import Annotation, read_annotation
from emow2v.storage.text import decode
from emow2v.trajectory import DIMENSIONS

Floats = npt.NDArray[np.float64]

TIMES = ("time", "start", "seconds", "timestamp", "time_s")  # columns that may hold the time of a row
VALUES = ("value", "rating", "score")  # columns of the one dimension of a table
_UNIT: Scale = (0.0, 1.0)
_LONGEST_STEP_S = 1.0  # values further apart than this, and than three usual steps, have a gap between them
_USUAL_STEPS = 3.0


@dataclass(frozen=True, eq=False)
class Curve:
    """One rater's values of one dimension over one recording.

    Attributes:
        dimension: arousal, dominance or valence
        rater: a name, or "" where none is known
        times: float64 [values], seconds, rising: the middle of the time for which a value holds
        values: float64 [values] on 0..1; NaN where the rater gave none
        source: the file, as a sentence names it
    """

    dimension: str
    rater: str
    times: Floats
    values: Floats
    source: str

    @property
    def end(self) -> float:
        """Seconds of the last value."""
        return float(self.times[-1])

    def at(self, times: Floats) -> Floats:
        """The curve at other times [n], by linear interpolation; NaN in gaps, and before and after it."""
        known = np.isfinite(self.values)
        mine, values = self.times[known], self.values[known]
        if mine.size < 2:
            return np.full(times.shape, np.nan)
        result: Floats = np.interp(times, mine, values, left=np.nan, right=np.nan)
        longest = max(_LONGEST_STEP_S, _USUAL_STEPS * float(np.median(np.diff(self.times))))
        after = np.clip(np.searchsorted(mine, times), 1, mine.size - 1)
        result[mine[after] - mine[after - 1] > longest] = np.nan
        return result


def read_curves(
    path: Path,
    *,
    dimension: str = "",
    rater: str = "",
    scales: Mapping[str, Scale] | None = None,
) -> list[Curve]:
    """The curves in a file: a continuous annotation of SSI or NOVA, or a table with a column of times.

    A table (CSV of any separator, also a time series of ELAN) has a column time, start, seconds or timestamp, and either
    columns named arousal, dominance and valence, or one column value, rating or score. Without a header, its first column
    is the time and its second the value.

    Args:
        dimension: of the values; "" where the annotation's scheme, its columns or the name of the file say so
        rater: "" for the annotator in the file, or else the name of the file
        scales: lowest and highest value by dimension, for files that do not state them; without one, values are on 0..1

    Raises:
        FormatError: the file cannot be read, has no values over time, does not say its dimension, or has values outside
            their scale
    """
    if dimension and dimension not in DIMENSIONS:
        raise FormatError(
            f"{path} is of '{storage.shown(dimension)}'; expected one of {', '.join(DIMENSIONS)} as dimension."
        )
    if path.suffix.lower() == ".annotation":
        return [_of_annotation(path, read_annotation(path), dimension, rater, scales or {})]
    return _of_table(path, dimension, rater or path.stem, scales or {})


def dimension_of(annotation: Annotation, path: Path) -> str:
    """The dimension that a scheme's name, or a part of the file's name, states; "" for none."""
    names = (annotation.name.lower(), *reversed(path.name.lower().split(".")))
    return next((one for name in names for one in DIMENSIONS if one == name), "")


def _of_annotation(
    path: Path, annotation: Annotation, dimension: str, rater: str, scales: Mapping[str, Scale]
) -> Curve:
    if annotation.scheme != "CONTINUOUS":
        raise FormatError(f"{path} is a {annotation.scheme} annotation; expected a CONTINUOUS one.")
    dimension = dimension or dimension_of(annotation, path)
    if not dimension:
        raise FormatError(
            f"{path} does not say what it rates (scheme '{annotation.name}'); expected {', '.join(DIMENSIONS)} as the "
            "scheme's name, or in a column dimension of the manifest."
        )
    low, high = annotation.minimum, annotation.maximum
    stated = low is not None and high is not None and low < high
    scale = (low, high) if stated else scales.get(dimension)
    if scale is None:
        raise FormatError(f"{path} has a scheme without its range; add --scale, such as --scale {dimension}=-1:1.")
    times = (annotation.starts + annotation.ends) / 2
    name = rater or annotation.annotator or path.stem
    return _curve(path, dimension, name, times, annotation.scores, scale)  # type: ignore[arg-type]


def _of_table(path: Path, dimension: str, rater: str, scales: Mapping[str, Scale]) -> list[Curve]:
    table = _without_header(path)
    if table is not None:
        times, columns = table[:, 0], {"": table[:, 1]}
    else:
        times, columns = _columns(path)
    curves = []
    for name, values in columns.items():
        stated = name or dimension or next((one for one in DIMENSIONS if one in path.name.lower().split(".")), "")
        if not stated:
            raise FormatError(
                f"{path} does not say what it rates; expected columns {', '.join(DIMENSIONS)}, or a column dimension in "
                "the manifest."
            )
        if not dimension or stated == dimension:
            curves.append(_curve(path, stated, rater, times, values, scales.get(stated, _UNIT)))
    if not curves:
        raise FormatError(f"{path} has no column {dimension}; it has {', '.join(columns)}.")
    return curves


def _columns(path: Path) -> tuple[Floats, dict[str, Floats]]:
    """Times and values by dimension ("" for a column that names none)."""
    first = _text(path).split("\n", 1)[0].lower()
    needed = next((name for name in TIMES if name in _words(first)), TIMES[0])
    expected = "a time in seconds (column time or start), and values (arousal, dominance, valence; or value)"
    rows = read_rows(path, needed, expected, (*TIMES, "end", *DIMENSIONS, *VALUES))
    header = next(iter(rows.values()))
    names = [name for name in DIMENSIONS if name in header]
    names = names or [name for name in VALUES if name in header][:1]
    if not names:
        raise FormatError(f"{path} has no column of values; expected {expected}; it has {', '.join(header)}.")
    where = {line: f"{path}, line {line}" for line in rows}
    times = np.array([seconds(where[line], row, needed) for line, row in rows.items()])
    if "end" in header and needed == "start":
        ends = np.array([seconds(where[line], row, "end") for line, row in rows.items()])
        times = np.where(np.isfinite(ends), (times + ends) / 2, times)
    values = {
        name if name in DIMENSIONS else "": np.array([number(where[line], row, name) for line, row in rows.items()])
        for name in names
    }
    return times, values


def _words(line: str) -> list[str]:
    for separator in ";\t|":
        line = line.replace(separator, ",")
    return [word.strip().strip('"') for word in line.split(",")]


def _text(path: Path) -> str:
    try:
        return decode(path.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({storage.reason(error)}); expected a table of values.") from None


def _without_header(path: Path) -> Floats | None:
    """Times and values [rows, 2] of a table whose first line is numbers already; None for another."""
    lines = [line.split() if "," not in line and ";" not in line else _words(line) for line in _text(path).splitlines()]
    lines = [fields for fields in lines if fields and any(fields)]
    try:
        if not lines or len(lines[0]) < 2:
            return None
        float(lines[0][0]), float(lines[0][1])
    except ValueError:
        return None
    try:
        return np.array([[float(fields[0]), float(fields[1])] for fields in lines])
    except (ValueError, IndexError):
        raise FormatError(f"{path} has lines that are no time and value; expected two numbers on each line.") from None


def _curve(path: Path, dimension: str, rater: str, times: Floats, values: Floats, scale: Scale) -> Curve:
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if times.size < 2 or not np.isfinite(times).all():
        raise FormatError(f"{path} has {times.size} rows with a time; expected two or more values over time.")
    if (np.diff(times) <= 0).any():
        at = float(times[1:][np.diff(times) <= 0][0])
        raise FormatError(f"{path} has two values at {at:g} s; expected one value at each time.")
    low, high = scale
    known = values[np.isfinite(values)]
    if not known.size:
        raise FormatError(f"{path} has no value of {dimension}; expected a number at some time.")
    if known.min() < low or known.max() > high:
        worst = float(known.min() if known.min() < low else known.max())
        raise FormatError(
            f"{path} has {dimension} {worst:g}, outside {low:g}..{high:g}; state the range of the ratings, such as "
            f"--scale {dimension}=-1:1."
        )
    scaled: Floats = (np.where(np.isfinite(values), values, math.nan) - low) / (high - low)
    return Curve(dimension, rater, times, scaled, str(path))
