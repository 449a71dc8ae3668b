"""CSV, JSON and NDJSON: scores with their times, readable by anything; embeddings go into streams.

Names may hold whatever an operating system lets them hold. In JSON and NDJSON, every character that some reader takes for
the end of a line (U+0085, U+2028, U+2029), and what is no Unicode, is an escape, so that a line is a line to every reader.
In CSV such a name is quoted, as one with a comma is; only what is no Unicode is an escape there, for CSV has none.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import IO
from urllib.parse import quote

from emow2v.storage import marks
from emow2v.storage.files import StagedFiles, replace_beginning
from emow2v.trajectory import DIMENSIONS, Block, Info

COLUMNS = ("file", "start", "end", *DIMENSIONS, "confidence")
DECIMALS = 6
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_QUOTED = re.compile('[",\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]')  # the comma, the quote, and ends of lines to anybody
MISSING = "null"  # what is no finite number: JSON's own word, which pandas takes for a missing value in CSV too


def rows(block: Block) -> list[tuple[str, ...]]:
    """Rows of a block as text, fit for CSV and JSON: start, end, three scores, the lowest confidence of the three."""
    confidence = block.confidence.min(axis=1)
    return [
        (_plain(start), _plain(end), *map(_fixed, scores), _fixed(sure))
        for start, end, scores, sure in zip(block.starts, block.ends, block.scores, confidence, strict=True)
    ]


def columns(info: Info) -> tuple[str, ...]:
    """Of a table of this trajectory; the channel is the last where each has a table of its own."""
    return (*COLUMNS, "channel") if info.channel else COLUMNS


def _named(info: Info) -> dict[str, str]:
    return {"file": info.source} | ({"channel": info.channel} if info.channel else {})


def csv_head(info: Info) -> str:
    """The first line of a CSV table."""
    return ",".join(columns(info)) + "\n"


def csv_rows(info: Info, block: Block) -> str:
    """The lines of a block in a CSV table."""
    file, channel = _csv_field(info.source), f",{_csv_field(info.channel)}" if info.channel else ""
    return "".join(f"{file},{','.join(row)}{channel}\n" for row in rows(block))


def _csv_field(text: str) -> str:
    plain = text.encode(errors="backslashreplace").decode()
    return '"' + plain.replace('"', '""') + '"' if _QUOTED.search(plain) else plain


def json_text(content: object, indent: int | None = None) -> str:
    """JSON that every reader reads line by line, and that is UTF-8 whatever it holds."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _fixed(value: float) -> str:
    return f"{value:.{DECIMALS}f}" if math.isfinite(value) else MISSING


def _plain(seconds: float) -> str:
    text = f"{seconds:.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


class CSVWriter:
    """`NAME.csv` with one row a value, and beside it `NAME.csv-metadata.json` with units and provenance
    (the place and form that W3C's "Metadata Vocabulary for Tabular Data" gives such a description), and the mark of both.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._described = path.with_name(path.name + "-metadata.json")
        self.staged = StagedFiles({path: self._described, self._described: None}, overwrite=overwrite)
        self.clipped = 0
        self._info: Info | None = None
        self._file: IO[bytes] | None = None

    def open(self, info: Info) -> None:
        self._info = info
        self.staged.check()
        self._file = self.staged.open(self.path)
        self._file.write(csv_head(info).encode())
        self._metadata_file = self.staged.open(self._described)

    def add(self, block: Block) -> None:
        assert self._info is not None and self._file is not None
        self._file.write(csv_rows(self._info, block).encode())

    def close(self) -> None:
        assert self._info is not None
        content = {**self._metadata(self._info), "emow2v:mark": marks.text(self.staged.digest(self.path))}
        self._metadata_file.write((json_text(content, 2) + "\n").encode())
        marks.seal(self._metadata_file)

    def _metadata(self, info: Info) -> dict[str, object]:
        described = {
            "file": "the recording",
            "start": "seconds from the beginning of the recording",
            "end": "seconds from the beginning of the recording",
            **dict.fromkeys(DIMENSIONS, "about 0..1, as the model gives it"),
            "confidence": "0..1; 1 where the model gives none",
        }
        if info.channel:
            described["channel"] = "left or right, or its number from 1"
        return {
            "@context": "http://www.w3.org/ns/csvw",
            "url": quote(self.path.name, errors="surrogateescape"),
            "null": MISSING,
            "tableSchema": {
                "columns": [
                    {
                        "name": name,
                        "datatype": "string" if name in ("file", "channel") else "double",
                        "dc:description": text,
                    }
                    for name, text in described.items()
                ]
            },
            "emow2v:provenance": dict(info.provenance),
        }


class _OneFile:
    """A table that is one file, which holds its own mark."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self.staged = StagedFiles({path: None}, overwrite=overwrite)
        self.clipped = 0
        self._info: Info | None = None
        self._file: IO[bytes] | None = None


class JSONWriter(_OneFile):
    """`NAME.json`: one object with file, columns, rows [start, end, scores, confidence], provenance and mark."""

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


class NDJSONWriter(_OneFile):
    """`NAME.ndjson`: one JSON object a line; the first line has file, provenance and mark."""

    _head = b""

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self.path)
        self._head = self._first_line()
        self._file.write(self._head)

    def add(self, block: Block) -> None:
        assert self._file is not None
        self._file.write("".join(ndjson_row(row) + "\n" for row in rows(block)).encode())

    def close(self) -> None:
        """What became known on the way goes into the first line."""
        assert self._file is not None
        head = self._first_line()
        if head != self._head:
            replace_beginning(self._file, len(self._head), head)
        marks.seal(self._file)

    def _first_line(self) -> bytes:
        assert self._info is not None
        head: dict[str, object] = {
            "mark": marks.text(),
            **_named(self._info),
            "provenance": dict(self._info.provenance),
        }
        return (json_text(head) + "\n").encode()


def ndjson_row(row: tuple[str, ...]) -> str:
    """A row of `rows` as one JSON object."""
    return "{" + ", ".join(f'"{name}": {value}' for name, value in zip(COLUMNS[1:], row, strict=True)) + "}"


def json_head(info: Info) -> str:
    """The beginning of the JSON document, up to and with the bracket that opens the rows."""
    return json_text({**_named(info), "columns": COLUMNS[1:]})[:-1] + ', "rows": ['


def json_tail(info: Info, mark: str = "") -> str:
    """The end of the JSON document, from the bracket that closes the rows: what is known once the rows are there."""
    tail: dict[str, object] = {"provenance": dict(info.provenance)}
    return "], " + json_text(tail | ({"mark": mark} if mark else {}))[1:]
