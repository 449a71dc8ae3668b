"""A corpus as a CSV file: where its clips are, who speaks, how they were rated or what class they have."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.corpora.csv_rows import known, number, read_rows, seconds
from emow2v.errors import FormatError, PathError
from emow2v.trajectory import DIMENSIONS

logger = logging.getLogger("emow2v.tables")

GROUPS = ("sex", "language", "corpus")  # columns that figures are also given by
COLUMNS = ("file", "start", "end", "speaker", *DIMENSIONS, "emotion", *GROUPS, "partition")
Scale = tuple[float, float]
_LONGEST_NAME = 255  # bytes, on every common file system


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

    @property
    def label(self) -> str:
        """What reports call it."""
        return self.name if not self.start and self.end is None else f"{self.name} from {self.start:g} s"


def read_manifest(
    path: str | Path,
    *,
    scales: Mapping[str, Scale] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    missing_files: bool = False,
) -> list[Clip]:
    """Clips of a CSV file with the column `file` and any of start, end (seconds, or as audformat writes them), speaker,
    arousal, dominance, valence, emotion, sex, language, corpus, partition. Files are named relative to it; other columns
    are left alone. Empty, NA, NaN and NaT are unknown; see `csv_rows` for separators and encodings.

    Args:
        scales: lowest and highest rating of a dimension, which become 0 and 1; without one ratings are on 0..1 already
        only: values of a column that are wanted, for instance {"corpus": ["emodb"]}
        missing_files: whether clips whose file does not exist are given too

    Raises:
        FormatError: no such file or column, files that do not exist, a number that is none, ratings outside their scale
    """
    path = Path(path)
    rows = read_rows(path, "file", "file, and speaker, arousal, dominance, valence or emotion", COLUMNS)
    for column, wanted in (only or {}).items():
        columns = next(iter(rows.values()))
        column = column.lower() if column.lower() in COLUMNS else column
        if column not in columns:
            raise FormatError(f"{path} has no column {column}; it has {', '.join(columns)}.")
        rows = {line: row for line, row in rows.items() if row[column] in wanted}
        if not rows:
            raise FormatError(
                f"{path} has no clip whose {column} is {' or '.join(wanted)}; expected a value of that column."
            )
    clips = [_clip(path, line, row, scales or {}) for line, row in rows.items()]
    clips = _with_slashes(path, clips)
    missing = list(dict.fromkeys(clip.name for clip in clips if not missing_files and _is_missing(clip.file)))
    if missing:
        files = len({clip.file for clip in clips})
        remedy = ", with / between folders" if "\\" in missing[0] else ""
        raise FormatError(
            f"{len(missing)} of {files} files of {path} do not exist, such as {storage.shown(missing[0])}; "
            f"expected names relative to the manifest's folder, or whole paths{remedy}."
        )
    return clips


def _is_missing(file: Path) -> bool:
    """Whether nothing is there; what the operating system refuses to say is told when the clip's turn comes."""
    try:
        return not storage.is_file(file)
    except PathError:
        return False


def _with_slashes(path: Path, clips: list[Clip]) -> list[Clip]:
    """Clips whose names a Windows program wrote with backslashes, as they are called here."""
    if os.sep == "\\":
        return clips
    result = []
    changed = 0
    for clip in clips:
        if "\\" in clip.name and _is_missing(clip.file):
            file = path.parent / clip.name.replace("\\", "/")
            if not _is_missing(file):
                clip = replace(clip, file=file)
                changed += 1
        result.append(clip)
    if changed:
        logger.warning("%s: backslashes in names of files are taken as /.", path)
    return result


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


def _clip(path: Path, line: int, row: Mapping[str, str], scales: Mapping[str, Scale]) -> Clip:
    where = f"{path}, line {line}"
    if not known(row["file"]):
        raise FormatError(f"{where} names no file; expected a recording in the column file.")
    file = path.parent / row["file"]
    if max((len(os.fsencode(part)) for part in file.parts), default=0) > _LONGEST_NAME:
        raise FormatError(
            f"{where}: {storage.shown(row['file'])} is too long for a file's name; expected at most {_LONGEST_NAME} bytes."
        )
    start, end = seconds(where, row, "start"), seconds(where, row, "end")
    start = 0.0 if math.isnan(start) else start
    if not 0 <= start < math.inf or end <= start:
        raise FormatError(f"{where}: start is {start:g} and end {end:g}; expected seconds, the end after the start.")
    return Clip(
        file=file,
        name=row["file"],
        start=start,
        end=end if math.isfinite(end) else None,
        speaker=known(row.get("speaker", "")),
        ratings=_ratings(where, [number(where, row, name) for name in DIMENSIONS], scales),
        emotion=known(row.get("emotion", "")),
        groups={name: known(row[name]) for name in GROUPS if known(row.get(name, ""))},
        partition=known(row.get("partition", "")),
    )


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
