"""Writers of CSV, JSON and NDJSON tables of scores with their times; `table_read` reads them. Embeddings are written as SSI
streams.

Names of files may contain all characters that an operating system allows. JSON and NDJSON escape characters that some
readers take for the end of a line (U+0085, U+2028, U+2029), and bytes that are not Unicode. CSV has no escapes: a name
with such characters, or with a comma, is quoted, and only bytes that are not Unicode are written as \\x... there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles, replace_beginning

COLUMNS = ("file", "start", "end", *DIMENSIONS, "confidence")
TURN_COLUMNS = ("speaker", "tier", "label")
LIVE_COLUMNS = (*COLUMNS[1:], "speech")
DECIMALS = 6
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_QUOTED = re.compile('[",\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]')  # comma, quote, and all ends of lines
MISSING = "null"  # for numbers that are not finite; pandas reads it as a missing value, also in CSV


def rows(block: Block, text: Callable[[str], str] | None = None, *, every_score: bool = False) -> list[tuple[str, ...]]:
    """Rows of a block as text for CSV and JSON, in the order of `value_columns`.

    Args:
        text: writes speakers, tiers and labels; None for JSON's way
        every_score: also scores of rows without speech, as live values have them
    """
    write = text or json_text
    values = block.scores if every_score else block.scores_of_speech
    confidence = block.confidence.min(axis=1)
    found: list[tuple[str, ...]] = [
        (seconds_text(start), seconds_text(end), *map(score_text, scores), score_text(lowest))
        for start, end, scores, lowest in zip(block.starts, block.ends, values, confidence, strict=True)
    ]
    if block.turns is not None:
        texts = zip(block.turns.speakers, block.turns.tiers, block.turns.labels, strict=True)
        found = [
            (*row[:2], *map(write, words), *row[2:], str(count))
            for row, words, count in zip(found, texts, block.turns.counts, strict=True)
        ]
    if block.speech is not None:
        found = [(*row, score_text(share)) for row, share in zip(found, block.speech, strict=True)]
    return found


def value_columns(info: Info) -> tuple[str, ...]:
    """The columns that differ from row to row."""
    found: tuple[str, ...] = COLUMNS[1:]
    if info.turns:
        found = (*found[:2], *TURN_COLUMNS, *found[2:], "n")
    return (*found, "speech") if info.speech else found


def columns(info: Info) -> tuple[str, ...]:
    """Names of the columns of a table; the last is channel if each channel has its own table."""
    return ("file", *value_columns(info), *(["channel"] if info.channel else []))


def _name_fields(info: Info) -> dict[str, str]:
    return {"file": info.source} | ({"channel": info.channel} if info.channel else {})


def csv_head(info: Info) -> str:
    """The first line of a CSV table."""
    return ",".join(columns(info)) + "\n"


def csv_rows(info: Info, block: Block) -> str:
    """The lines of a block in a CSV table."""
    file, channel = csv_field(info.source), f",{csv_field(info.channel)}" if info.channel else ""
    return "".join(f"{file},{','.join(row)}{channel}\n" for row in rows(block, csv_field))


def csv_field(text: str, separator: str = ",") -> str:
    """A text in a CSV table, in quotes where it needs them."""
    whole = text.encode(errors="backslashreplace").decode()
    return '"' + whole.replace('"', '""') + '"' if _QUOTED.search(whole) or separator in whole else whole


def json_text(content: object, indent: int | None = None) -> str:
    """Valid UTF-8 with JSON, whose lines are lines to every reader."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def write_description(file: IO[bytes], content: Mapping[str, object], lists: Mapping[str, Iterable[object]]) -> None:
    """Write a JSON object, indented by two spaces, with a line at its end.

    Args:
        content: its values; those of `lists` stand where this has their names
        lists: entries that are written one after the other
    """
    for number, (name, value) in enumerate(content.items()):
        file.write(f"{',' if number else '{'}\n  {json_text(name)}: ".encode())
        if name not in lists:
            file.write(json_text(value, 2).replace("\n", "\n  ").encode())
            continue
        begin = "["
        for entry in lists[name]:
            file.write(f"{begin}\n{json_text(entry, 2)}".replace("\n", "\n    ").encode())
            begin = ","
        file.write(b"[]" if begin == "[" else b"\n  ]")
    file.write(b"\n}\n")


def score_text(value: float) -> str:
    """A number with six decimals; null if it is not finite."""
    return f"{value:.{DECIMALS}f}" if math.isfinite(value) else MISSING


def seconds_text(seconds: float) -> str:
    """A time with six decimals at most."""
    text = f"{seconds:.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


DATATYPES = {**dict.fromkeys(("file", *TURN_COLUMNS, "channel"), "string"), "n": "integer"}
_DESCRIPTIONS = {
    "file": "the recording",
    "start": "seconds from the beginning of the recording",
    "end": "seconds from the beginning of the recording",
    "speaker": "who speaks, by the segmentation",
    "tier": "the tier of the segmentation",
    "label": "what the segmentation says of the turn",
    **dict.fromkeys(DIMENSIONS, "about 0..1, as the model gives it"),
    "confidence": "0..1; 1 where the model gives none",
    "n": "number of values that the scores stand for",
    "speech": "probability of speech in the value's window; without speech there are no scores",
    "channel": "left or right, or its number from 1",
}
_SHARE = "share of the turn in which somebody speaks"


def described(info: Info) -> dict[str, str]:
    """The columns of a table of this trajectory, and what they hold: of scores also which sound they describe."""
    texts = _DESCRIPTIONS | ({"speech": _SHARE} if info.turns else {})
    if covers := info.provenance.get("covers"):
        texts |= dict.fromkeys(DIMENSIONS, f"{texts[DIMENSIONS[0]]}, for {covers}")
    return {name: texts[name] for name in columns(info)}


class CSVWriter:
    """Writes `NAME.csv` with one row for each value, and `NAME.csv-metadata.json` in the same folder.

    The second file has units, provenance and the mark of both files. Its name and form are those of W3C's "Metadata
    Vocabulary for Tabular Data".
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._metadata_path = path.with_name(path.name + "-metadata.json")
        self.staged = StagedFiles({path: self._metadata_path, self._metadata_path: None}, overwrite=overwrite)
        self.clipped = 0
        self._info: Info | None = None
        self._file: IO[bytes] | None = None

    def open(self, info: Info) -> None:
        self._info = info
        self.staged.check()
        self._file = self.staged.open(self.path)
        self._file.write(csv_head(info).encode())
        self._metadata_file = self.staged.open(self._metadata_path)

    def add(self, block: Block) -> None:
        assert self._info is not None and self._file is not None
        self._file.write(csv_rows(self._info, block).encode())

    def close(self) -> None:
        assert self._info is not None
        content = {**self._metadata(self._info), "emow2v:mark": marks.text(self.staged.digest(self.path))}
        self._metadata_file.write((json_text(content, 2) + "\n").encode())
        marks.seal(self._metadata_file)

    def _metadata(self, info: Info) -> dict[str, object]:
        return {
            "@context": "http://www.w3.org/ns/csvw",
            "url": quote(self.path.name, errors="surrogateescape"),
            "null": MISSING,
            "tableSchema": {
                "columns": [
                    {"name": name, "datatype": DATATYPES.get(name, "double"), "dc:description": text}
                    for name, text in described(info).items()
                ]
            },
            "emow2v:provenance": dict(info.provenance),
        }


class _SingleFileWriter:
    """The common part of writers of one file, which contains its own mark."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self.staged = StagedFiles({path: None}, overwrite=overwrite)
        self.clipped = 0
        self._info: Info | None = None
        self._file: IO[bytes] | None = None


class JSONWriter(_SingleFileWriter):
    """Writes `NAME.json`: one object with file, columns, rows [start, end, scores, confidence], provenance and mark."""

    _separator = b"\n"

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self.path)
        self._file.write(json_head(info).encode())

    def add(self, block: Block) -> None:
        assert self._file is not None
        for row in rows(block):
            self._file.write(self._separator + f"  [{', '.join(row)}]".encode())
            self._separator = b",\n"

    def close(self) -> None:
        assert self._info is not None and self._file is not None
        self._file.write(b"\n" + json_tail(self._info, marks.text()).encode() + b"\n")
        marks.seal(self._file)


class NDJSONWriter(_SingleFileWriter):
    """Writes `NAME.ndjson`: one JSON object a line; the first line has file, provenance and mark."""

    _head = b""

    def open(self, info: Info) -> None:
        self._info, self._columns = info, value_columns(info)
        self._file = self.staged.open(self.path)
        self._head = self._first_line()
        self._file.write(self._head)

    def add(self, block: Block) -> None:
        assert self._file is not None
        self._file.write("".join(ndjson_row(row, self._columns) + "\n" for row in rows(block)).encode())

    def close(self) -> None:
        """Write the first line again if decoding added facts."""
        assert self._file is not None
        head = self._first_line()
        if head != self._head:
            replace_beginning(self._file, len(self._head), head)
        marks.seal(self._file)

    def _first_line(self) -> bytes:
        assert self._info is not None
        head: dict[str, object] = {
            "mark": marks.text(),
            **_name_fields(self._info),
            "provenance": dict(self._info.provenance),
        }
        return (json_text(head) + "\n").encode()


def ndjson_row(row: tuple[str, ...], names: Sequence[str] = COLUMNS[1:]) -> str:
    """A row of `rows` as one JSON object."""
    return "{" + ", ".join(f'"{name}": {value}' for name, value in zip(names, row, strict=True)) + "}"


def json_head(info: Info) -> str:
    """The beginning of the JSON document, up to the bracket that opens the rows."""
    return json_text({**_name_fields(info), "columns": value_columns(info)})[:-1] + ', "rows": ['


def json_tail(info: Info, mark: str = "") -> str:
    """The end of the JSON document, from the bracket that closes the rows on: provenance and mark."""
    tail: dict[str, object] = {"provenance": dict(info.provenance)}
    return "], " + json_text(tail | ({"mark": mark} if mark else {}))[1:]
