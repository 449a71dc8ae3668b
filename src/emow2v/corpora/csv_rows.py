"""Rows of CSV files as Excel, R, pandas and audformat write them."""

from __future__ import annotations

import csv
import io
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.storage.text import WESTERN, decode, lines

logger = logging.getLogger("emow2v.tables")

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
UNKNOWN = frozenset({"", "na", "n/a", "#n/a", "nan", "nat", "<na>"})  # as R, Excel, pandas and audformat write it
_NO_NUMBER = UNKNOWN | {"none", "null", "-", "--undefined--"}  # the last one is Praat's
LONGEST_S = 1e9  # 32 years: a time of that length is a mistake

# Letters and signs that Windows-1252 has for western European languages; others speak for another encoding
_WESTERN_SIGNS = frozenset("äöüÄÖÜßéèêëÉÈÊËàâáãåÀÂÁÃÅçÇîïíìÎÏÍÌñÑôóòõÔÓÒÕúùûÚÙÛøØæÆœŒšŠžŽ“”„‘’‚–—…€°§«»·²³´¿¡ºª\xa0")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_TIMEDELTA = re.compile(
    r"(?P<sign>-?)(?:(?P<days>\d+)\s*days?,?)?\s*\+?(?:(?P<hours>\d+):(?P<minutes>[0-5]?\d):(?P<seconds>[0-5]?\d(?:[.,]\d+)?))?",
    re.IGNORECASE,
)
_UNIT = re.compile(r"([\d.,]+)\s*(ms|s)", re.IGNORECASE)


def read_rows(path: Path, needed: str, expected: str, names: Iterable[str] = ()) -> dict[int, dict[str, str]]:
    """Rows of a CSV file with the column `needed`, by the line they end on; values without the spaces around them.

    Commas, semicolons, tabs or bars separate values; the header shows which. Text is UTF-8, UTF-16 or Windows-1252.

    Args:
        expected: columns, as an error names them
        names: columns that are recognised in letters of any case, like `needed`

    Raises:
        FormatError: no such file or column, no CSV, no row, a column twice
    """
    return dict(each_row(path, needed, expected, names))


def each_row(path: Path, needed: str, expected: str, names: Iterable[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of `read_rows` one after the other, with the line they end on. The memory is that of the file's text."""
    text = _text(path)
    first = text.split("\n", 1)[0].strip()
    stated = re.fullmatch(r'"?sep=(.)"?', first, re.IGNORECASE)  # a line that Excel writes above the header
    spellings = {name.lower(): name for name in (*names, needed)}
    separator = stated[1] if stated else _separator(text, needed)
    reader = csv.reader(lines(text), delimiter=separator, strict=True)
    empty: list[int] = []  # lines of a spreadsheet's rows without a value
    there = False
    try:
        if stated:
            next(reader)
        columns = _columns(path, next(reader, []), spellings)
        if needed not in columns:
            line = f"; its first line is {storage.shown(first)}" if first else ""
            raise FormatError(f"{path} has no column {needed}; expected {expected}{line}.")
        for values in reader:
            if not values:
                continue
            if any(value.strip() for value in values[len(columns) :]):
                raise FormatError(_too_many(path, reader.line_num, separator))
            row = dict.fromkeys(columns, "") | {
                name: value.strip() for name, value in zip(columns, values, strict=False)
            }
            if any(row.values()):
                there = True
                yield reader.line_num, row
            elif not there:
                empty.append(reader.line_num)
    except csv.Error as error:
        raise FormatError(
            f"{path} is no CSV file (line {reader.line_num}: {error}); expected a header, then a line for each clip; "
            "close every quotation mark."
        ) from None
    if not there and not empty:
        raise FormatError(f"{path} names no clip; expected a line for each below its header.")
    for line_number in () if there else empty:
        yield line_number, dict.fromkeys(columns, "")


def _columns(path: Path, header: list[str], spellings: Mapping[str, str]) -> list[str]:
    """Names of columns; a name that differs from one in `spellings` by the case of its letters is spelled as there."""
    columns = [name.strip() for name in header]
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise FormatError(f"{path} has the column {twice[0]} twice; expected each once; rename one of them.")
    renamed = {}
    for number, name in enumerate(columns):
        spelling = spellings.get(name.lower())
        if spelling and spelling not in columns:
            renamed[name] = columns[number] = spelling
    if renamed:
        pairs = ", ".join(f"{name} as {spelling}" for name, spelling in renamed.items())
        logger.warning("%s: columns are recognised whatever the case of their letters: %s.", path, pairs)
    return columns


def _separator(text: str, needed: str) -> str:
    """The separator by which the header has the column `needed`, or else by which it has most columns."""

    def rank(separator: str) -> tuple[bool, int]:
        try:
            header = next(csv.reader(io.StringIO(text[: 1 << 16], newline=""), delimiter=separator), [])
        except csv.Error:
            return False, 0
        return needed.lower() in (name.strip().lower() for name in header), len(header)

    return max(SEPARATORS, key=rank)  # the first of equal ones: commas


def _too_many(path: Path, line: int, separator: str) -> str:
    name = SEPARATORS.get(separator, separator)
    sentence = f"{path}, line {line} has more values than the header has names; expected {name}"
    if separator == ",":
        return f"{sentence} between values only: quote those that have some, such as decimal commas, or use semicolons."
    return f"{sentence} between values only: quote those that have some."


def _text(path: Path) -> str:
    """The text of a file in one of the encodings that spreadsheets write."""
    try:
        if storage.is_folder(path):
            raise FormatError(f"{path} cannot be read: it is a folder; expected a CSV file.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; expected a CSV file."
        ) from None
    if content[:4] in (b"PK\3\4", b"\xd0\xcf\x11\xe0"):
        raise FormatError(f"{path} is no CSV file but a workbook; save its sheet as CSV (UTF-8).")
    if not content.strip():
        raise FormatError(f"{path} is empty; expected a header with the column file, then a line for each clip.")
    text = _decoded(path, content)
    if text is None or "\0" in text:
        raise FormatError(
            f"{path} is no CSV file in UTF-8, UTF-16 or Windows-1252; expected a header, then a line for each clip; "
            "save it as CSV in UTF-8."
        )
    return text


def _decoded(path: Path, content: bytes) -> str | None:
    try:
        text, encoding = decode(content)
    except UnicodeDecodeError:
        return None
    if encoding in WESTERN:
        if not {sign for sign in text if not sign.isascii()} <= _WESTERN_SIGNS:
            return None
        logger.warning("%s is not in UTF-8; it is read as Windows-1252.", path)
    return text


def read_lines(path: Path) -> list[str]:
    """Lines of a text file of a release, in UTF-8; other bytes become the replacement character.

    Raises:
        FormatError: the file cannot be read
    """
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read: {error.strerror or error}; check its name and permissions."
        ) from None


def known(text: str) -> str:
    """A name, or "" for the words by which tables say that a value is unknown."""
    return "" if text.lower() in UNKNOWN else text


def number(where: str, row: Mapping[str, str], column: str) -> float:
    """The number in a column, NaN where there is none; 0,5 is 0.5.

    Raises:
        FormatError: text that is no number
    """
    text = row.get(column, "").replace("\N{MINUS SIGN}", "-")
    if text.lower() in _NO_NUMBER:
        return math.nan
    if not _NUMBER.fullmatch(text):
        raise FormatError(f"{where}: {column} is '{storage.shown(text)}'; expected a number.")
    return float(text.replace(",", "."))


def seconds(where: str, row: Mapping[str, str], column: str) -> float:
    """A time in seconds, NaN where there is none: 1.5, 0 days 00:00:01.500000 (as pandas and audformat write it),
    0:00:01.5, 1500 ms; inf is infinity.

    Raises:
        FormatError: text that is no time
    """
    text = row.get(column, "").replace("\N{MINUS SIGN}", "-")
    if text.lower() in _NO_NUMBER:
        return math.nan
    delta = _TIMEDELTA.fullmatch(text)
    unit = _UNIT.fullmatch(text)
    if _NUMBER.fullmatch(text):
        value = float(text.replace(",", "."))
    elif unit and _NUMBER.fullmatch(unit[1]):
        value = float(unit[1].replace(",", ".")) / (1000 if unit[2].lower() == "ms" else 1)
    elif delta and (delta["days"] or delta["hours"]):
        # as pandas counts: -1 days +23:59:59 is a second before 0, the sign is that of the days
        days = float(delta["days"] or 0) * (-1 if delta["sign"] else 1)
        clock = float(delta["hours"] or 0) * 3600 + float(delta["minutes"] or 0) * 60
        clock += float((delta["seconds"] or "0").replace(",", "."))
        value = days * 86400 + (-clock if delta["sign"] and not delta["days"] else clock)
    else:
        raise FormatError(
            f"{where}: {column} is '{storage.shown(text)}'; expected seconds, such as 1.5, or 0 days 00:00:01.500000."
        )
    if math.isfinite(value) and abs(value) > LONGEST_S:
        raise FormatError(f"{where}: {column} is '{storage.shown(text)}'; expected seconds within the recording.")
    return value
