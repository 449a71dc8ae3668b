"""A corpus as a CSV file: where its clips are, who speaks, how they were rated or what class they have."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

GROUPS = ("sex", "language", "corpus")  # columns that figures are also given by
Scale = tuple[float, float]


@dataclass(frozen=True)
class Clip:
    """A stretch of a recording and what people said of it.

    Attributes:
        file: where the recording is
        name: as the manifest writes it
        start, end: seconds; end is None for the recording's own
        speaker: "" where nobody wrote it down; such clips count as speakers of their own
        ratings: arousal, dominance, valence on 0..1, NaN where there is none
        emotion: class, "" where there is none
        groups: of sex, language and corpus, what is known
        partition: as the manifest names it, "" where it does not
    """

    file: Path
    name: str
    start: float = 0.0
    end: float | None = None
    speaker: str = ""
    ratings: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    emotion: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    partition: str = ""


def read_manifest(
    path: str | Path,
    *,
    scales: Mapping[str, Scale] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    missing_files: bool = False,
) -> list[Clip]:
    """Clips of a CSV file with the column `file` and any of start, end (seconds), speaker, arousal, dominance,
    valence, emotion, sex, language, corpus, partition. Files are named relative to it; other columns are left alone.

    Args:
        scales: lowest and highest rating of a dimension, which become 0 and 1; without one ratings are on 0..1 already
        only: values of a column that are wanted, for instance {"corpus": ["emodb"]}
        missing_files: whether clips whose file does not exist are given too

    Raises:
        FormatError: no such file or column, files that do not exist, a number that is none, ratings outside their scale
    """
    path = Path(path)
    rows = read_rows(path, "file", "file, and speaker, arousal, dominance, valence or emotion")
    for column, wanted in (only or {}).items():
        columns = next(iter(rows.values()))
        if column not in columns:
            raise FormatError(f"{path} has no column {column}; it has {', '.join(columns)}.")
        rows = {line: row for line, row in rows.items() if row[column] in wanted}
        if not rows:
            raise FormatError(f"{path} has no clip whose {column} is {' or '.join(wanted)}.")
    clips = [_clip(path, line, row, scales or {}) for line, row in rows.items()]
    missing = list(dict.fromkeys(clip.name for clip in clips if not missing_files and not clip.file.is_file()))
    if missing:
        files = len({clip.file for clip in clips})
        raise FormatError(
            f"{len(missing)} of {files} files of {path} do not exist, such as {missing[0]}; "
            "expected names relative to the manifest's folder, or whole paths."
        )
    return clips


def parse_scale(text: str) -> dict[str, Scale]:
    """ "1:7" for all dimensions, "arousal=1:5" for one.

    Raises:
        FormatError: another form
    """
    name, _, span = text.rpartition("=")
    low, _, high = span.partition(":")
    try:
        scale = float(low), float(high)
    except ValueError:
        scale = (math.nan, math.nan)
    if not scale[0] < scale[1] or name not in ("", *DIMENSIONS):
        raise FormatError(f"'{text}' is no scale; expected LOW:HIGH such as 1:7, or arousal=1:7.")
    return dict.fromkeys((name,) if name else DIMENSIONS, scale)


def read_rows(path: Path, needed: str, expected: str) -> dict[int, dict[str, str]]:
    """Rows of a CSV file with the column `needed`, by the line they end on; values without the spaces around them.

    Args:
        expected: columns, as an error names them

    Raises:
        FormatError: no such file or column, no CSV, no row
    """
    rows = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            columns = reader.fieldnames or []
            for row in reader:
                if "" in row and "" not in columns:
                    raise FormatError(f"{path}, line {reader.line_num} has more values than the header has names.")
                rows[reader.line_num] = {name: value.strip() for name, value in row.items()}
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (csv.Error, UnicodeDecodeError):
        raise FormatError(f"{path} is no CSV file; expected a header, then a line for each clip, in UTF-8.") from None
    if needed not in columns:
        raise FormatError(f"{path} has no column {needed}; expected {expected}.")
    if not rows:
        raise FormatError(f"{path} names no clip; expected a line for each below its header.")
    return rows


def _clip(path: Path, line: int, row: Mapping[str, str], scales: Mapping[str, Scale]) -> Clip:
    where = f"{path}, line {line}"
    if not row["file"]:
        raise FormatError(f"{where} names no file.")

    start, end = number(where, row, "start"), number(where, row, "end")
    start = 0.0 if math.isnan(start) else start
    if start < 0 or end <= start:
        raise FormatError(f"{where}: start is {start:g} and end {end:g}; expected seconds, the end after the start.")
    return Clip(
        file=path.parent / row["file"],
        name=row["file"],
        start=start,
        end=None if math.isnan(end) else end,
        speaker=row.get("speaker", ""),
        ratings=_ratings(where, [number(where, row, name) for name in DIMENSIONS], scales),
        emotion=row.get("emotion", ""),
        groups={name: row[name] for name in GROUPS if row.get(name)},
        partition=row.get("partition", ""),
    )


def number(where: str, row: Mapping[str, str], column: str) -> float:
    """The value of a column, NaN where there is none.

    Raises:
        FormatError: it is no number
    """
    text = row.get(column, "")
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise FormatError(f"{where}: {column} is '{text}'; expected a number.") from None


def _ratings(where: str, values: Sequence[float], scales: Mapping[str, Scale]) -> tuple[float, float, float]:
    scaled = []
    for name, value in zip(DIMENSIONS, values, strict=True):
        low, high = scales.get(name, (0.0, 1.0))
        if not math.isnan(value) and not low <= value <= high:
            raise FormatError(
                f"{where}: {name} is {value:g}, outside {low:g}..{high:g}; give the scale of the ratings: --scale 1:7, or "
                "corpus_options={scale: '1:7'} in a training."
            )
        scaled.append((value - low) / (high - low))
    arousal, dominance, valence = scaled
    return arousal, dominance, valence


def speakers(clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """A number for each clip's speaker, [clips]."""
    names = [clip.speaker or f"\0{number}" for number, clip in enumerate(clips)]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], np.int64)
