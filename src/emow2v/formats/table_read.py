"""Readers of the tables that `table` writes: the rows of each recording, and their provenance."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.formats.table import COLUMNS, MISSING, TURN_COLUMNS
from emow2v.rows import TurnRows
from emow2v.storage import marks
from emow2v.storage.text import json_integer

_NUMBERS = COLUMNS[1:]
_OF_TURNS = (*TURN_COLUMNS, "n")
_TYPES = {float, int, type(None)}  # of numbers in JSON
_LARGEST = 1e9  # of seconds and of scores; sums and squares of larger numbers overflow


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one recording.

    Attributes:
        starts, ends: float64 [rows], seconds
        scores: float64 [rows, 3], arousal, dominance, valence; NaN if the file has null
        confidence: float64 [rows]
        speech: float64 [rows], the probability of speech, or the share of the turn in which somebody speaks; None if the table
            has no such column
        turns: speaker, tier, label and number of values of each row if rows are turns; else None
    """

    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    speech: npt.NDArray[np.float64] | None = None
    turns: TurnRows | None = None


# Values of rows, by the names of columns; an array where it is known that all are numbers
Columns = Mapping[str, Sequence[Any] | npt.NDArray[np.float64]]


class _NotATable(Exception):
    """The content is not that of a table of emow2v."""


def read_table(path: str | Path) -> dict[str, Table]:
    """Read a CSV, JSON (also one document a line) or NDJSON table.

    Returns:
        The rows of each recording, by its name in the table.

    Raises:
        FormatError: the file cannot be read, is incomplete, or is not a table of scores: a time is missing or not finite, an
            end lies before its start, or a number is too large
    """
    path = Path(path)
    _refuse_folder(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:  # keeps line ends in names
            text = file.read()
        recordings: dict[str, list[Columns]] = {}
        for name, columns in _READERS.get(path.suffix.lower(), _csv)(text):
            recordings.setdefault(name, []).append(columns)
        tables = {name: _table(parts) for name, parts in recordings.items()}
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}); check its name and permissions.") from None
    except (_NotATable, json.JSONDecodeError, UnicodeDecodeError, RecursionError, csv.Error) as error:
        marks.refuse_newer(path)
        if path.suffix.lower() not in (".csv", *_READERS):
            raise FormatError(
                f"{path} is no table of scores; expected .csv, .json or .ndjson that emow2v wrote."
            ) from None
        reason = " ".join(str(error).split())[:100]
        raise FormatError(f"{path} is no table of scores ({reason}); expected a table that emow2v wrote.") from None
    if not tables:
        raise FormatError(f"{path} holds no rows; expected a table that emow2v wrote.")
    return tables


@lru_cache(maxsize=1)
def read_kept(path: Path, changed: int) -> dict[str, Table]:
    """`read_table`, which keeps the last table in memory: a page asks for the rows and the turns of the same one.

    Args:
        changed: when the file was changed
    """
    return read_table(path)


def read_provenance(path: str | Path) -> dict[str, str | float]:
    """Read the provenance of a table: model, engine, framing and the other facts of `Model.provenance`.

    Args:
        path: a JSON or NDJSON table, or a CSV table with its `-metadata.json` in the same folder

    Raises:
        FormatError: the file cannot be read or has no provenance, or the CSV table has no `-metadata.json`
    """
    path = Path(path)
    _refuse_folder(path)
    kind = path.suffix.lower()
    source = path if kind in _READERS else path.with_name(path.name + "-metadata.json")
    try:
        text = source.read_text(encoding="utf-8")
        document, _ = json.JSONDecoder(parse_int=json_integer).raw_decode(
            text.split("\n", 1)[0] if kind == ".ndjson" else text.lstrip()
        )
    except OSError as error:
        raise FormatError(
            f"{source} cannot be read ({error.strerror}); it holds the provenance of {path.name}; keep both together."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        marks.refuse_newer(path)
        raise FormatError(f"{source} is no result ({error}); expected a result that emow2v wrote.") from None
    facts = document.get("provenance", document.get("emow2v:provenance")) if isinstance(document, dict) else None
    if not isinstance(facts, dict) or "model" not in facts:
        marks.refuse_newer(path)
        raise FormatError(f"{source} holds no provenance; expected a result that emow2v wrote.")
    return facts


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise FormatError(f"{path} is a folder; name the tables in it.")


def _csv(text: str) -> Iterator[tuple[str, Columns]]:
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if not set(COLUMNS) <= set(lines.fieldnames or ()):
        raise _NotATable(f"its columns are {', '.join((lines.fieldnames or ())[:10]) or 'none'}")
    recordings: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if None in line.values() or None in line:
            raise _NotATable("a row has more or fewer columns")
        recordings.setdefault(line["file"], []).append(line)
    for name, rows in recordings.items():
        yield name, _columns(rows)


def _columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns that all rows have."""
    return {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)}


def _json(text: str) -> Iterator[tuple[str, Columns]]:
    decoder, position = json.JSONDecoder(parse_int=json_integer), 0
    while position < len(text.rstrip()):
        document, position = decoder.raw_decode(text, position)
        name = _name(document)
        columns = document.get("columns")
        names = [str(column) for column in columns] if isinstance(columns, list) else []
        if not set(_NUMBERS) <= set(names):
            raise _NotATable("its columns are different")
        if not isinstance(document.get("rows"), list):
            raise _NotATable("it has no rows")
        rows = document["rows"]
        if not ({*map(type, rows)} <= {list} and {*map(len, rows)} <= {len(names)}):
            raise _NotATable("a row has more or fewer values")
        if rows:
            yield name, _columns_of_lists(names, rows)
        while position < len(text) and text[position].isspace():
            position += 1


def _columns_of_lists(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Columns:
    """The columns of rows. Those with nothing but numbers are converted at once: hours have a million of them."""
    if {*map(type, chain.from_iterable(rows))} <= _TYPES:
        with contextlib.suppress(OverflowError):  # an integer that is too large is named later
            return dict(zip(names, np.array(rows, np.float64).T.copy(), strict=True))  # None becomes NaN
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _ndjson(text: str) -> Iterator[tuple[str, Columns]]:
    head, *lines = text.split("\n")
    name = _name(json.loads(head, parse_int=json_integer))
    rows = []
    for line in filter(str.strip, lines):
        row = json.loads(line, parse_int=json_integer)
        if not isinstance(row, dict) or not set(_NUMBERS) <= row.keys():
            raise _NotATable("a line has not all values of a row")
        rows.append(row)
    if rows:
        yield name, _columns(rows)


_READERS: dict[str, Callable[[str], Iterator[tuple[str, Columns]]]] = {".json": _json, ".ndjson": _ndjson}


def _number(value: Any) -> float:
    if value is None or value == MISSING:
        return math.nan
    try:
        if isinstance(value, str | int | float):
            return float(value)
    except (ValueError, OverflowError):  # a word, or an integer that is too large for a float
        pass
    raise _NotATable(f"a value is {str(value)[:40]!r}")


def _numbers(values: Sequence[Any] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The numbers of a column; those of JSON are converted all at once."""
    if isinstance(values, np.ndarray):
        return values
    if {*map(type, values)} <= _TYPES:
        with contextlib.suppress(OverflowError):  # an integer that is too large is named below
            return np.array(values, np.float64)  # None becomes NaN
    return np.array([_number(value) for value in values], np.float64)


def _check_times(columns: Columns, starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64]) -> None:
    for name, times in (("start", starts), ("end", ends)):
        if (wrong := np.flatnonzero(~(np.abs(times) <= _LARGEST))).size:
            shown = "missing" if math.isnan(times[wrong[0]]) else repr(str(columns[name][wrong[0]])[:40])
            raise _NotATable(f"a time is {shown}")
    if (wrong := np.flatnonzero(ends < starts)).size:
        raise _NotATable(f"a row ends at {ends[wrong[0]]:g} s, before it starts at {starts[wrong[0]]:g} s")


def _check_values(columns: Columns, name: str, values: npt.NDArray[np.float64]) -> None:
    """Refuse values that are neither missing nor of a sensible size."""
    if (wrong := np.flatnonzero(np.abs(values) > _LARGEST)).size:
        raise _NotATable(f"a value of {name} is {str(columns[name][wrong[0]])[:40]!r}")


def _count(value: Any) -> int:
    number = _number(value)
    if not (number.is_integer() and abs(number) <= _LARGEST):
        raise _NotATable(f"a number of values is {str(value)[:40]!r}")
    return int(number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _NotATable(f"a name is {str(value)[:40]!r}")
    return value


def _name(head: Any) -> str:
    if not isinstance(head, dict) or "file" not in head:
        raise _NotATable("the name of the recording is missing")
    return str(head["file"])


def _table(parts: Sequence[Columns]) -> Table:
    columns = parts[0]
    if len(parts) > 1:
        common = {name for name in parts[0] if all(name in part for part in parts)}
        columns = {name: [value for part in parts for value in part[name]] for name in common}
    values = np.column_stack([_numbers(columns[name]) for name in _NUMBERS])
    _check_times(columns, values[:, 0], values[:, 1])
    for column, name in enumerate(_NUMBERS[2:], 2):
        _check_values(columns, name, values[:, column])
    speech, turns = None, None
    if "speech" in columns:
        speech = _numbers(columns["speech"])
        _check_values(columns, "speech", speech)
    if columns.keys() >= set(_OF_TURNS):
        speakers, tiers, labels = (tuple(map(_text, columns[name])) for name in TURN_COLUMNS)
        turns = TurnRows(speakers, tiers, labels, tuple(map(_count, columns["n"])))
    return Table(values[:, 0], values[:, 1], values[:, 2:5], values[:, 5], speech, turns)
