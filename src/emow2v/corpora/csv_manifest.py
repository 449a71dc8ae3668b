"""A corpus as a CSV file: a line for each clip, with its recording, its speaker, and its ratings or its class."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from emow2v import storage
from emow2v.corpora.clip import Clip, Ratings, is_missing
from emow2v.corpora.csv_rows import each_row, known, number, read_rows, seconds
from emow2v.corpora.partitions import partition_of
from emow2v.corpora.scales import Scale, Scales, parse_scales
from emow2v.errors import FormatError
from emow2v.inputs.texts import Texts, repeated
from emow2v.storage.text import decode, lines
from emow2v.trajectory import DIMENSIONS

logger = logging.getLogger("emow2v.tables")

GROUPS = ("sex", "language", "corpus")  # columns whose values also have figures of their own
COLUMNS = ("file", "start", "end", "speaker", *DIMENSIONS, "emotion", "intensity", *GROUPS, "partition")
_HEAD = 4096  # bytes in which a recording, but no text, has a zero
_NO_TEXT = {*range(1, 32)} - {*b"\t\n\v\f\r\x1a"}  # bytes that recordings have near their begin, and texts have not
_LONGEST_NAME = 255  # bytes, on every common file system


def read_manifest(
    path: str | Path,
    *,
    scales: Mapping[str, Scale] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    required: Sequence[str] = (),
    missing_files: bool = False,
    raters: Mapping[str, Sequence[str]] | None = None,
) -> list[Clip]:
    """The clips of a CSV file: a column file, and any of start and end (seconds, or as audformat writes them), speaker,
    arousal, dominance, valence, emotion, intensity, sex, language, corpus, partition. Names of files are relative to the
    CSV file; other columns are ignored. Columns such as arousal_1 and arousal_2 hold the ratings of several raters. Empty, NA, NaN and NaT are unknown; see `csv_rows` for separators and encodings.

    Args:
        scales: lowest and highest rating of a dimension, which become 0 and 1; without one, ratings are on 0..1
        only: the values of a column that are taken, for instance {"corpus": ["emodb"]}
        required: columns that must be there, beside file
        missing_files: whether clips are taken whose file does not exist
        raters: columns that hold the ratings of one rater each, by dimension, for instance {"arousal": ["A1", "A2"]}; the
            columns of different dimensions belong together in their order

    Raises:
        FormatError: no such file or column, files that do not exist, text where a number is expected, ratings outside
            their scale
    """
    path = Path(path)
    expected = (
        ", ".join(("file", *required)) if required else "file, and speaker, arousal, dominance, valence or emotion"
    )
    rows = read_rows(path, "file", expected, COLUMNS)
    columns = next(iter(rows.values()))
    for column in required:
        if column not in columns:
            raise FormatError(f"{path} has no column '{column}'; expected {expected}.")
    for column, values in (only or {}).items():
        column = column.lower() if column.lower() in COLUMNS else column
        if column not in columns:
            raise FormatError(f"{path} has no column {column}; it has {', '.join(columns)}.")
        rows = {line: row for line, row in rows.items() if row[column] in values}
        if not rows:
            raise FormatError(
                f"{path} has no clip whose {column} is {' or '.join(values)}; expected a value of that column."
            )
    of_raters = rater_columns(path, columns, raters or {})
    clips = [_clip(path, line, row, scales or {}, of_raters) for line, row in rows.items()]
    clips = _with_slashes(path, clips)
    missing = list(dict.fromkeys(clip.name for clip in clips if not missing_files and is_missing(clip.file)))
    if missing:
        files = len({clip.file for clip in clips})
        remedy = ", with / between folders" if "\\" in missing[0] else ""
        raise FormatError(
            f"{len(missing)} of {files} files of {path} do not exist, such as {storage.shown(missing[0])}; "
            f"expected names relative to the manifest's folder, or whole paths{remedy}."
        )
    return clips


def read_csv(path: Path, *, scale: Scales = "0:1") -> list[Clip]:
    """The clips of a CSV file for a training: files may be missing (see `checks`), partitions are those of `partitions`.

    Args:
        scale: "1:7", or by dimension ["arousal=1:5", "valence=-3:3"] or {"arousal": "1:5"}

    Raises:
        FormatError: see `read_manifest`; a name in the column partition that is not one of a partition
    """
    clips = read_manifest(path, scales=parse_scales(scale), missing_files=True)
    return [replace(clip, partition=partition_of(f"{path}, {clip.name}", clip.partition)) for clip in clips]


def read_list(path: str | Path) -> Sequence[str] | None:
    """The names in a file that lists recordings, in order: a line for each in .txt, the column file of a .csv, .tsv or .parquet,
    as manifests and audformat tables have it. None where the file has another ending, or is a recording.

    Segments of a recording (a column start) name it once. A row without a name gives "".

    Raises:
        FormatError: the file cannot be read, names no recording, or has no column file
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".txt", ".csv", ".tsv", ".parquet"):
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(0)
            content = file.read() if ending == ".txt" else b""
    except OSError as error:
        raise storage.unreadable(path, error) from None
    if ending == ".parquet":
        return _names_in_parquet(path) if head.startswith(b"PAR1") else None
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        has_lines = head.strip(b"\0") and (b"\n" in head or b"\0\0" not in head)
        if has_lines and not _NO_TEXT & set(head):
            raise _nul_error(path)
        return None
    if ending == ".txt":
        text = decode(content)[0]
        del content
        if "\0" in text:
            raise _nul_error(path)
        pieces = (line.splitlines() for line in lines(text))  # some signs end a line, too
        names = Texts(name for piece in pieces for line in piece if (name := line.strip()))
        if not names:
            raise FormatError(f"{storage.shown(path)} names no recording; expected the name of one on each line.")
        return names
    names = Texts()
    row: dict[str, str] = {}
    for _, row in each_row(path, "file", "a column file, with a recording in each row", ("start",)):
        names.append(known(row["file"]))
    return _names_in_table(path, names, segments="start" in row)


def _nul_error(path: Path) -> FormatError:
    return FormatError(
        f"{storage.shown(path)} is no list: it holds a NUL character; expected a text; save it as UTF-8, with the name of a "
        "recording on each line."
    )


def _names_in_table(path: Path, names: Texts, *, segments: bool) -> Texts:
    """The names; where rows are segments, each once, and those of rows without a name at the end."""
    if not any(names):
        raise FormatError(f"{storage.shown(path)} names no recording; expected one in each row.")
    if not segments:
        return names
    later = {place for places in repeated(names, names.__getitem__).values() for place in places[1:]}
    nameless = sum(not name for name in names)
    return Texts(chain((name for place, name in enumerate(names) if name and place not in later), [""] * nameless))


def _names_in_parquet(path: Path) -> Texts:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise FormatError(f"{storage.shown(path)} needs pyarrow; run: pip install 'emow2v[tables]'.") from None
    try:
        columns = parquet.read_schema(path).names
        if "file" not in columns:
            raise FormatError(f"{storage.shown(path)} has no column file; it has {', '.join(columns)}.")
        names = Texts()
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["file"]):
                for name in batch.column(0).to_pylist():
                    names.append(str(name or ""))
    except (ArrowException, OSError) as error:
        raise FormatError(
            f"{storage.shown(path)} is no whole Parquet table ({storage.reason(error)}); save it again."
        ) from None
    return _names_in_table(path, names, segments="start" in columns)


def _with_slashes(path: Path, clips: list[Clip]) -> list[Clip]:
    """Clips with / between folders, where a Windows program wrote backslashes."""
    if os.sep == "\\":
        return clips
    result = []
    changed = 0
    for clip in clips:
        if "\\" in clip.name and is_missing(clip.file):
            file = path.parent / clip.name.replace("\\", "/")
            if not is_missing(file):
                clip = replace(clip, file=file)
                changed += 1
        result.append(clip)
    if changed:
        logger.warning("%s: backslashes in names of files are taken as /.", path)
    return result


def rater_columns(path: Path, columns: Iterable[str], stated: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """By rater, the column of each dimension: those that are stated, or else DIMENSION_NUMBER, of two raters or more.

    Raises:
        FormatError: a dimension that is none, a column that is missing, another number of columns for each dimension
    """
    columns = list(columns)
    for dimension, names in stated.items():
        missing = [name for name in names if name not in columns]
        if dimension not in DIMENSIONS or missing or not names:
            what = f"column {missing[0]}" if missing else f"dimension '{storage.shown(dimension)}'"
            raise FormatError(
                f"{path} has no {what}; expected {', '.join(DIMENSIONS)} with columns among {', '.join(columns)}."
            )
    if stated:
        if len({len(names) for names in stated.values()}) > 1:
            raise FormatError(
                f"{path}: dimensions have different numbers of raters' columns; expected one column a rater for each."
            )
        found: dict[str, dict[str, str]] = {}
        first = next(iter(stated.values()))
        for dimension, names in stated.items():
            for rater, name in zip(first, names, strict=True):
                found.setdefault(rater, {})[dimension] = name
        return found
    found = {}
    for name in columns:
        dimension, _, rater = name.partition("_")
        if dimension.lower() in DIMENSIONS and rater.isdecimal():  # arousal_std is none
            found.setdefault(rater, {})[dimension.lower()] = name
    return found if len(found) > 1 else {}


def _clip(
    path: Path,
    line: int,
    row: Mapping[str, str],
    scales: Mapping[str, Scale],
    of_raters: Mapping[str, Mapping[str, str]],
) -> Clip:
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
    mean = _ratings(where, [number(where, row, name) for name in DIMENSIONS], scales)
    by_rater = {
        rater: _ratings(
            where, [number(where, row, mine[name]) if name in mine else math.nan for name in DIMENSIONS], scales
        )
        for rater, mine in of_raters.items()
    }
    if by_rater:
        columns = zip(*by_rater.values(), strict=True)
        means = [_mean_of(values) if math.isnan(one) else one for one, values in zip(mean, columns, strict=True)]
        mean = (means[0], means[1], means[2])
    return Clip(
        file=file,
        name=row["file"],
        start=start,
        end=end if math.isfinite(end) else None,
        speaker=known(row.get("speaker", "")),
        ratings=mean,
        by_rater=by_rater,
        emotion=known(row.get("emotion", "")),
        intensity=known(row.get("intensity", "")),
        groups={name: known(row[name]) for name in GROUPS if known(row.get(name, ""))},
        partition=known(row.get("partition", "")),
    )


def _mean_of(values: Iterable[float]) -> float:
    given = [value for value in values if not math.isnan(value)]
    return sum(given) / len(given) if given else math.nan


def _ratings(where: str, values: Sequence[float], scales: Mapping[str, Scale]) -> Ratings:
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
