"""Reader of the tables that `table` writes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.formats.table import COLUMNS, MISSING


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one recording.

    Attributes:
        starts, ends: float64 [rows], seconds
        scores: float64 [rows, 3], arousal, dominance, valence; NaN where the file says null
        confidence: float64 [rows]
    """

    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]


class _Unfit(Exception):
    """What a table of ours does not hold."""


def read_table(path: str | Path) -> dict[str, Table]:
    """The recordings of a CSV, JSON (also one document a line) or NDJSON table, by the names they had.

    Raises:
        FormatError: another file, or one that is cut off
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends in names stay what they are
            text = file.read()
        recordings: dict[str, list[list[float]]] = {}
        for name, row in _READERS.get(path.suffix.lower(), _csv)(text):
            recordings.setdefault(name, []).append(row)
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}); check its name and permissions.") from None
    except (_Unfit, json.JSONDecodeError, UnicodeDecodeError, RecursionError, csv.Error) as error:
        reason = " ".join(str(error).split())[:100]
        raise FormatError(f"{path} is no table of scores ({reason}); expected one that emow2v wrote.") from None
    if not recordings:
        raise FormatError(f"{path} holds no rows; expected a table that emow2v wrote.")
    return {name: _table(rows) for name, rows in recordings.items()}


def read_provenance(path: str | Path) -> dict[str, str | float]:
    """How the values of a table came to be: model, engine, framing and the rest of `Model.provenance`.

    Args:
        path: a JSON or NDJSON table, or a CSV table with its `-metadata.json` beside it

    Raises:
        FormatError: another file, or a CSV table without the file that describes it
    """
    path = Path(path)
    kind = path.suffix.lower()
    source = path if kind in _READERS else path.with_name(path.name + "-metadata.json")
    try:
        text = source.read_text(encoding="utf-8")
        document, _ = json.JSONDecoder().raw_decode(text.split("\n", 1)[0] if kind == ".ndjson" else text.lstrip())
    except OSError as error:
        raise FormatError(
            f"{source} cannot be read ({error.strerror}); it holds the provenance of {path.name}; keep both together."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{source} is no result ({error}); expected one that emow2v wrote.") from None
    facts = document.get("provenance", document.get("emow2v:provenance")) if isinstance(document, dict) else None
    if not isinstance(facts, dict) or "model" not in facts:
        raise FormatError(f"{source} holds no provenance; expected a result that emow2v wrote.")
    return facts


def _csv(text: str) -> Iterator[tuple[str, list[float]]]:
    lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if not set(COLUMNS) <= set(lines.fieldnames or ()):
        raise _Unfit(f"its columns are {', '.join((lines.fieldnames or ())[:10]) or 'none'}")
    for line in lines:
        if None in line.values() or None in line:
            raise _Unfit("a row has more or fewer columns")
        yield line["file"], [_number(line[name]) for name in COLUMNS[1:]]


def _json(text: str) -> Iterator[tuple[str, list[float]]]:
    decoder, position = json.JSONDecoder(), 0
    while position < len(text.rstrip()):
        document, position = decoder.raw_decode(text, position)
        name = _name(document)
        if document.get("columns") != list(COLUMNS[1:]):
            raise _Unfit("its columns are others")
        if not isinstance(document.get("rows"), list):
            raise _Unfit("it has no rows")
        for row in document["rows"]:
            if not isinstance(row, list) or len(row) != len(COLUMNS) - 1:
                raise _Unfit("a row of another length")
            yield name, [_number(value) for value in row]
        while position < len(text) and text[position].isspace():
            position += 1


def _ndjson(text: str) -> Iterator[tuple[str, list[float]]]:
    head, *lines = text.split("\n")
    name = _name(json.loads(head))
    for line in filter(str.strip, lines):
        row = json.loads(line)
        if not isinstance(row, dict) or not set(COLUMNS[1:]) <= row.keys():
            raise _Unfit("a line without a row's values")
        yield name, [_number(row[column]) for column in COLUMNS[1:]]


_READERS: dict[str, Callable[[str], Iterator[tuple[str, list[float]]]]] = {".json": _json, ".ndjson": _ndjson}


def _number(value: Any) -> float:
    if value is None or value == MISSING:
        return math.nan
    try:
        if isinstance(value, str | int | float):
            return float(value)
    except (ValueError, OverflowError):  # a word, or a whole number beyond all floats
        pass
    raise _Unfit(f"a value is {str(value)[:40]!r}")


def _name(head: Any) -> str:
    if not isinstance(head, dict) or "file" not in head:
        raise _Unfit("it does not say of which file")
    return str(head["file"])


def _table(rows: list[list[float]]) -> Table:
    values = np.array(rows, np.float64)
    return Table(values[:, 0], values[:, 1], values[:, 2:5], values[:, 5])
