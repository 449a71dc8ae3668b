"""Readers of turns in tables: CSV of spreadsheets, audformat, Praat's and ELAN's exports and whisper; Parquet of audformat."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from emow2v.errors import FormatError
from emow2v.speech.segmentation.text import parse_time, quoted
from emow2v.speech.segments import Segment
from emow2v.storage import counted
from emow2v.trajectory import DIMENSIONS

_SEPARATORS = ",;\t|"
_NAMES = {  # of columns, the first that a file has counts
    "start": ("start", "begin", "onset", "from", "tmin", "xmin", "start time", "begin time", "starttime", "offset"),
    "end": ("end", "stop", "offset", "to", "tmax", "xmax", "end time", "stop time", "endtime"),
    "duration": ("duration", "dur", "length"),
    "file": ("file", "filename", "file name", "recording", "audio", "wav", "path"),
    "speaker": ("speaker", "speaker id", "participant", "who", "role"),
    "tier": ("tier", "tier name"),
    "label": ("label", "text", "annotation", "transcript", "transcription", "utterance", "sentence", "word", "value"),
}
_MILLISECONDS = re.compile(r"[\s_(\[-]+(?:ms|msec|millis|milliseconds)[)\]]?$")
_SECONDS = re.compile(r"(?:[\s_(\[-]+(?:s|sec|secs|seconds)|\s*-\s*(?:ss\.msec|hh:mm:ss\.ms))[)\]]?$")
_NO_VALUE = frozenset({"", "inf", "na", "n/a", "nan", "nat", "<na>", "none", "null"})
_EXPECTED = "expected a header with start and end, then a line for each turn"
_MOST_ROWS = 10_000_000  # a day of speech with a time for each word has a fiftieth of it
Row = tuple[str, Segment]  # name of a recording, "" where there is no such column


def read_csv(text: str) -> tuple[list[Row], list[str]]:
    """The turns of a table, each with the name of its recording, and notices.

    Separators are commas, semicolons, tabs or bars, whichever gives a header with a start. Times are seconds, clock times or
    pandas' timedeltas; milliseconds where the column's name ends with ms. A turn without an end lasts until the recording's.

    Raises:
        FormatError: no such header, a row that does not fit it, or a table of values that emow2v wrote
    """
    declaration = re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE)  # Excel's own way to say it
    text = text[declaration.end() :] if declaration else text
    separator = declaration[1] if declaration else max(_SEPARATORS, key=lambda one: _worth(text, one))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header, *lines = [[str(reader.line_num), *values] for values in reader if any(map(str.strip, values))] or [[""]]
    except csv.Error as error:
        raise FormatError(f"line {reader.line_num} cannot be read ({error}); {_EXPECTED}; correct it") from None
    header = header[1:]
    columns = _check_header(header, separator)
    for number, *values in lines:
        if any(value.strip() for value in values[len(header) :]) or len(values) <= columns["start"]:
            raise FormatError(
                f"line {number} has {counted(len(values), 'value')}, the header {len(header)}; expected as many; quote values "
                "with separators in them; the file may be cut off"
            )
    scale = dict.fromkeys(columns, 1.0) | {
        column: 1e-3 for column, place in columns.items() if _MILLISECONDS.search(_key(header[place]))
    }
    notices = []
    times = [value.strip() for _, *values in lines for value in values[:2]]
    if separator == "\t" and header == ["start", "end", "text"] and times and all(map(str.isdecimal, times)):
        scale |= {"start": 1e-3, "end": 1e-3}
        notices.append("its times are whole numbers and are read as milliseconds, as whisper writes them")
    rows = [_row(number, values, columns, scale) for number, *values in lines]
    return rows, notices


def read_parquet(content: bytes) -> tuple[list[Row], list[str]]:
    """The turns of a Parquet table, as audformat and pandas write it, each with the name of its recording, and notices.

    Raises:
        FormatError: pyarrow is not installed, the file is damaged, or its columns are not those that `read_csv` expects
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise FormatError("it is a Parquet table; pyarrow is required; run: pip install 'emow2v[tables]'") from None
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        header = list(file.schema_arrow.names)
        columns = _check_header(header, ", ")
        if file.metadata.num_rows > _MOST_ROWS:
            raise FormatError(f"it has {file.metadata.num_rows:,} rows; expected at most {_MOST_ROWS:,}; divide it")
        table = file.read(columns=[header[place] for place in columns.values()])
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise FormatError(f"it is no whole Parquet table ({reason}); {_EXPECTED}; save it again") from None
    values = {column: _texts(table.column(header[place])) for column, place in columns.items()}
    scale = dict.fromkeys(columns, 1.0) | {
        column: 1e-3 for column, place in columns.items() if _MILLISECONDS.search(_key(header[place]))
    }
    places = {column: number for number, column in enumerate(values)}
    rows = [_row(str(number), row, places, scale) for number, row in enumerate(zip(*values.values(), strict=True), 1)]
    return rows, []


def _texts(column: Any) -> list[str]:
    """The values of a column of Arrow as a CSV would have them; "" where there is none."""
    from pyarrow import int64, types

    if types.is_duration(column.type):
        parts = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
        return ["" if value is None else f"{value / parts:.9f}" for value in column.cast(int64()).to_pylist()]
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _check_header(header: Sequence[str], separator: str) -> dict[str, int]:
    """The places of the columns that mean something.

    Raises:
        FormatError: no start or no end, or a table of values that emow2v wrote
    """
    columns = _columns(header)
    if "start" not in columns or not {"end", "duration"} & columns.keys():
        raise FormatError(f"its first line is {quoted(separator.join(header))}; {_EXPECTED}; name the columns so")
    if {*DIMENSIONS, "confidence"} <= {name.strip().lower() for name in header}:
        raise FormatError("it is a table of values that emow2v wrote; expected turns; name the file that has them")
    return columns


def open_ends_notices(segments: Sequence[Segment]) -> list[str]:
    """A notice where turns of a recording have no end."""
    open_ends = sum(segment.end == math.inf for segment in segments)
    verb = "has no end and lasts" if open_ends == 1 else "have no end and last"
    return [f"{counted(open_ends, 'turn')} {verb} until the end of the recording"] if open_ends else []


def _worth(text: str, separator: str) -> tuple[bool, int]:
    """Rank of a separator for the header: whether there is a start, and the number of columns."""
    head = csv.reader(io.StringIO(text[: 1 << 16], newline=""), delimiter=separator)
    try:
        header = next((values for values in head if any(map(str.strip, values))), [])
    except csv.Error:
        return False, 0
    return "start" in _columns(header), len(header)


def _key(name: str) -> str:
    """The name of a column, by which names are compared."""
    return name.strip().lower()[:100]


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Places of the columns that mean something."""
    plain = [_SECONDS.sub("", _MILLISECONDS.sub("", _key(name))) for name in header]
    plain = [" ".join(re.sub(r"[_.-]", " ", name).split()) for name in plain]
    places = {
        column: next(plain.index(name) for name in names if name in plain)
        for column, names in _NAMES.items()
        if any(name in plain for name in names)
    }
    if "offset" in plain and plain.index("offset") in (places.get("start"), places.get("end")):
        # with an onset it is the end, with a duration the start
        if places.get("start") == plain.index("offset") and "duration" not in places:
            del places["start"]
        if (
            places.get("end") == plain.index("offset")
            and "duration" in places
            and places.get("start") == plain.index("offset")
        ):
            del places["end"]
    return places


def _row(number: str, values: Sequence[str], columns: Mapping[str, int], scale: Mapping[str, float]) -> Row:
    def value(column: str) -> str:
        place = columns.get(column, len(values))
        return values[place].strip() if place < len(values) else ""

    def time(column: str) -> float:
        if value(column).lower() in _NO_VALUE:
            return math.inf
        return parse_time(value(column)) * scale[column]

    try:
        start = time("start")
        end = time("end") if "end" in columns else start + time("duration")
    except FormatError as error:
        raise FormatError(f"line {number}: {error}") from None
    if start == math.inf:
        raise FormatError(f"line {number} has no start; {_EXPECTED}; add it or remove the line")
    names = {
        column: "" if value(column).lower() in _NO_VALUE else value(column) for column in ("file", "speaker", "tier")
    }
    return names["file"], Segment(start, end, names["speaker"], names["tier"], value("label"))
