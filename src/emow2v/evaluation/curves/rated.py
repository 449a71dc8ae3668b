"""People's continuous annotations of a recording: curves in the formats of SSI and NOVA, and tables with times."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.corpora.csv_rows import known, number, read_rows
from emow2v.corpora.scales import Scale
from emow2v.errors import FormatError
from emow2v.formats.ssi_read import Annotation, read_annotation
from emow2v.speech.segmentation.text import parse_time
from emow2v.storage import counted
from emow2v.storage.text import decode
from emow2v.trajectory import DIMENSIONS

Floats = npt.NDArray[np.float64]

TIMES = ("time", "start", "second", "seconds", "timestamp")  # columns that may hold the time of a row
VALUES = ("value", "rating", "score")  # columns of the one dimension of a table
_EXPECTED = "a time in seconds (column time or start; time_ms: milliseconds), and values (arousal, dominance, valence; or value)"
_MILLISECONDS = re.compile(r"[\s_(\[-]+(?:ms|msec|milliseconds)[)\]]?$")  # at the end of a column's name
_SECONDS = re.compile(r"[\s_(\[-]+(?:s|sec|seconds)[)\]]?$")
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

    A table (CSV of any separator, also a time series of ELAN) has a column time, start, seconds or timestamp (time_ms:
    milliseconds), and either columns named arousal, dominance and valence, or one column value, rating or score. Without a
    header, its first column is the time and its second the value. Times are seconds or clock times, such as 1:30.5.

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
    if path.suffix.lower() == ".annotation~":  # the values; the scheme is in the other file of the pair
        path = path.with_name(path.name[:-1])
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
    text = _text(path)
    rows = _without_header(path, text)
    times, columns = _columns(path, text) if rows is None else (rows[:, 0], {"": rows[:, 1]})
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


def _columns(path: Path, text: str) -> tuple[Floats, dict[str, Floats]]:
    """Times and values by dimension ("" for a column that names none)."""
    header = next((words for words in map(_words, text.splitlines()) if not words[0].lower().startswith("sep=")), [])
    column = _time_column(header, TIMES)
    if column and len(text.split()) == len(text.split("\n", 1)[0].split()):
        raise FormatError(f"{path} has a header and no line below it; expected {_EXPECTED}.")
    rows = read_rows(path, column or TIMES[0], _EXPECTED, (*DIMENSIONS, *VALUES))
    header = list(next(iter(rows.values())))
    names = [name for name in DIMENSIONS if name in header]
    names = names or [name for name in VALUES if name in header][:1]
    if not names:
        raise FormatError(f"{path} has no column of values; expected {_EXPECTED}; it has {', '.join(header)}.")
    where = {line: f"{path}, line {line}" for line in rows}

    times = np.array([_seconds(where[line], row, column) for line, row in rows.items()])
    ends = _time_column(header, ("end",))
    if ends and _plain(column) == "start":
        last = [_seconds(where[line], row, ends) if known(row[ends]) else math.nan for line, row in rows.items()]
        times = np.where(np.isfinite(last), (times + last) / 2, times)
    values = {
        name if name in DIMENSIONS else "": np.array([number(where[line], row, name) for line, row in rows.items()])
        for name in names
    }
    return times, values


def _seconds(where: str, row: Mapping[str, str], column: str) -> float:
    """The time in a column; milliseconds where the name of the column says so."""
    try:
        value = parse_time(row[column])
    except FormatError:
        raise FormatError(
            f"{where}: {column} is '{storage.shown(row[column])}'; expected a time on each line, such as 1.5 (seconds) or 0:01.5."
        ) from None
    return value / 1000 if _MILLISECONDS.search(column.lower()) else value


def _plain(column: str) -> str:
    """The name of a column without its unit: "time" of "Time [ms]"."""
    return _SECONDS.sub("", _MILLISECONDS.sub("", column.lower()))


def _time_column(header: Sequence[str], names: Sequence[str]) -> str:
    """The column of the first of these names, as the header spells it; "" for none."""
    return next((column for name in names for column in header if _plain(column) == name), "")


def _words(line: str, separators: str = ";\t|") -> list[str]:
    """The fields of a line; commas separate where none of the separators is in it."""
    separator = next((one for one in separators if one in line), ",")
    try:
        return [word.strip() for word in next(csv.reader([line], delimiter=separator), [])] or [""]
    except csv.Error:  # a field of more than 128 KB
        return [line]


def _text(path: Path) -> str:
    try:
        text = decode(path.read_bytes())[0]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or storage.reason(error)
        raise FormatError(f"{path} cannot be read ({reason}); expected a table of values.") from None
    if not text.strip():
        raise FormatError(f"{path} is empty; expected {_EXPECTED}.")
    return text


def _without_header(path: Path, text: str) -> Floats | None:
    """Times and values [rows, 2] of a table whose first line is numbers already; None for another."""
    lines = [line for line in text.splitlines() if line.strip(" \t,;|")]
    first = lines[0].split() if lines else []
    spaces = len(first) > 1 and not first[0].endswith((",", ";"))
    rows = [line.split() if spaces else _words(line) for line in lines]
    try:
        _row(rows[0])
    except (FormatError, IndexError):
        return None
    if len(rows[0]) > 2 and not spaces and not re.search(r"[.;\t|]", text):
        raise FormatError(
            f"{path} may have decimal commas between commas ({storage.shown(lines[0])}); expected semicolons between values, "
            "or a first line with the names of the columns."
        )
    values = []
    for line, row in zip(lines, rows, strict=True):
        try:
            values.append(_row(row))
        except (FormatError, IndexError):
            raise FormatError(
                f"{path} has a line that is no time and value ({storage.shown(line)}); expected two numbers on each line."
            ) from None
    return np.array(values, np.float64)


def _row(fields: Sequence[str]) -> tuple[float, float]:
    """Time and value of a line without a header.

    Raises:
        FormatError: no time, or text that is no number
        IndexError: one field
    """
    return parse_time(fields[0]), number("", {"value": fields[1]}, "value")


def _curve(path: Path, dimension: str, rater: str, times: Floats, values: Floats, scale: Scale) -> Curve:
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if times.size < 2:
        raise FormatError(
            f"{path} has {counted(times.size, 'row')} with a time; expected two or more values over time."
        )
    if (np.diff(times) <= 0).any():
        at = float(times[1:][np.diff(times) <= 0][0])
        raise FormatError(f"{path} has two values at {at:g} s; expected one value at each time.")
    low, high = scale
    known = values[~np.isnan(values)]
    if not known.size:
        raise FormatError(f"{path} has no value of {dimension}; expected a number at some time.")
    slack = 1e-6 * (high - low)  # a binary annotation rounds to 32 bit
    if known.min() < low - slack or known.max() > high + slack:
        worst = float(known.min() if known.min() < low else known.max())
        raise FormatError(
            f"{path} has {dimension} {worst:g}, outside {low:g}..{high:g}; state the range of the ratings, such as "
            f"--scale {dimension}=-1:1."
        )
    scaled: Floats = (values - low) / (high - low)
    return Curve(dimension, rater, times, scaled, str(path))
