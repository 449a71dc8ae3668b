"""One table for many recordings (extra `tables`, but for CSV and JSON): Parquet, Excel, SPSS, audformat; each takes rows in parts."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.formats import audformat_tables
from emow2v.formats.parquet import EMBEDDING, ParquetFile, ParquetTable, Shards, schema_of
from emow2v.formats.table import DATATYPES, MISSING, columns, csv_field, described, json_text, score_text, seconds_text
from emow2v.rows import DIMENSIONS, EMBEDDING_SIZE, Block, Info
from emow2v.storage import shown
from emow2v.storage.files import StagedFiles

ENDINGS = (".csv", ".json", ".ndjson", ".parquet", ".xlsx", ".sav", audformat_tables.ENDING)
_PACKAGES = {
    ".parquet": ("pyarrow", "pyarrow"),
    ".xlsx": ("xlsxwriter", "XlsxWriter"),
    ".sav": ("pyreadstat", "pyreadstat"),
    audformat_tables.ENDING: ("pyarrow", "pyarrow"),
}
_LONGEST_TEXT = {".xlsx": 32_767, ".sav": 32_767}  # characters of a cell; bytes of a string
PROVENANCE = "emow2v:provenance"  # the key of the provenance in a table of Parquet of one recording
_MOST_ROWS = 1_048_576  # of a sheet, its header among them
Columns = Mapping[str, Sequence[str] | npt.NDArray[Any]]


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    Attributes:
        names: in order
        descriptions: of each, for formats that hold some: fields of Parquet, notes of Excel, labels of SPSS
        embeddings: size of the embedding of a row; 0 without embeddings
        decimal: "." or ","; a CSV with a comma has semicolons between values, and begins with a mark for Excel
        half: whether embeddings have 16 bit, which only Parquet can hold
    """

    names: tuple[str, ...]
    descriptions: Mapping[str, str]
    embeddings: int = 0
    decimal: str = "."
    half: bool = False

    @property
    def embedding_names(self) -> list[str]:
        return [f"{EMBEDDING}_{number}" for number in range(self.embeddings)]


def columns_of(info: Info, block: Block) -> dict[str, Any]:
    """The rows of a block in columns, by their names."""
    columns: dict[str, Any] = {"file": [info.source] * len(block), "start": block.starts, "end": block.ends}
    columns |= {name: block.scores[:, place] for place, name in enumerate(DIMENSIONS)}
    columns |= {"confidence": block.confidence[:, 0], "channel": [info.channel] * len(block)}
    if block.speech is not None:
        columns["speech"] = block.speech
    if block.turns is not None:
        turns = block.turns
        columns |= {"speaker": turns.speakers, "tier": turns.tiers, "label": turns.labels, "n": turns.counts}
    return columns


class TableFile(Protocol):
    """Takes rows in parts; the file is complete when it is closed."""

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None: ...
    def close(self) -> None: ...


def check(
    path: Path, *, decimal: str = ".", embeddings: bool = False, half: bool = False, sharded: bool = False
) -> None:
    """Refuse a table that cannot be written, before any work.

    Args:
        half: whether embeddings have 16 bit
        sharded: whether the path is a folder for shards of Parquet

    Raises:
        FormatError: an unknown ending, a package that is missing, a decimal comma or embeddings where none can be
    """
    ending = ".parquet" if sharded else path.suffix.lower()
    if ending not in ENDINGS:
        raise FormatError(f"A table cannot end in '{shown(path.suffix)}'; expected {', '.join(ENDINGS)}.")
    if decimal not in (".", ","):
        raise FormatError(f"The decimal sign is '{shown(decimal)}'; expected a point or a comma.")
    if decimal == "," and ending != ".csv":
        raise FormatError(f"Only .csv tables have a decimal sign; {ending} holds numbers; leave --decimal out.")
    if embeddings and ending == ".sav":
        raise FormatError(
            "A .sav table of 1024 embeddings is too wide to be of use in SPSS; expected .parquet or .csv."
        )
    if half and not (embeddings and ending == ".parquet"):
        raise FormatError(
            "Embeddings of 16 bit belong to .parquet tables; expected --embeddings and --table ALL.parquet."
        )
    module, package = _PACKAGES.get(ending, ("csv", ""))
    try:
        import_module(module)
    except ImportError:
        raise FormatError(f"Tables in {ending} need {package}; run: pip install 'emow2v[tables]'.") from None


def check_rows(path: Path, rows: int) -> None:
    """Refuse more rows than a table can have.

    Raises:
        FormatError: a workbook
    """
    if path.suffix.lower() == ".xlsx" and rows >= _MOST_ROWS:
        raise FormatError(f"A sheet of Excel has {_MOST_ROWS:,} rows; expected fewer values; choose .parquet or .csv.")


def table_file(ending: str, file: IO[bytes], layout: Layout) -> TableFile:
    """Open a table in an open file."""
    if ending.lower() == ".parquet":
        return ParquetTable(ParquetFile(file, schema_of(layout)), layout)
    kinds: dict[str, type[_CSV | _NDJSON | _Excel | _SPSS]] = {
        ".csv": _CSV, ".ndjson": _NDJSON, ".json": _JSON, ".xlsx": _Excel, ".sav": _SPSS,
    }  # fmt: skip
    return kinds[ending.lower()](file, layout)


def table_of_shards(open_shard: Callable[[str], IO[bytes]], layout: Layout) -> TableFile:
    """Open a table of shards of Parquet; `open_shard` opens one by its name."""
    return ParquetTable(Shards(open_shard, schema_of(layout)), layout)


class ParquetWriter:
    """Writes the rows of one recording as a table of Parquet, with the columns and types of tables of many.

    The file holds its own mark, and the provenance as JSON under the key `PROVENANCE`.

    Args:
        embeddings: whether rows have their embeddings, in a column of lists of one length
    """

    def __init__(self, path: Path, *, embeddings: bool = False, overwrite: bool = False) -> None:
        check(path)
        self.path, self.clipped, self._embeddings = path, 0, embeddings
        self.staged = StagedFiles({path: None}, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._info = info
        self._layout = Layout(columns(info), described(info), EMBEDDING_SIZE if self._embeddings else 0)
        facts = json.dumps({"file": info.source, **info.provenance})
        schema = schema_of(self._layout).with_metadata({PROVENANCE: facts})
        self._table = ParquetTable(ParquetFile(self.staged.open(self.path), schema, marked=True), self._layout)
        weakref.finalize(self, self._table.discard)  # else PyArrow completes a file that was given up

    def add(self, block: Block) -> None:
        values = columns_of(self._info, block) | {"confidence": block.confidence.min(axis=1)}
        values |= {name: block.scores_of_speech[:, place] for place, name in enumerate(DIMENSIONS)}
        self._table.add({name: values[name] for name in self._layout.names}, block.embeddings)

    def close(self) -> None:
        self._table.close()


class _CSV:
    """Row by row."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._comma = layout.decimal == ","
        head = self._separator.join([*layout.names, *layout.embedding_names]) + "\n"
        file.write((("\ufeff" if self._comma else "") + head).encode())

    @property
    def _separator(self) -> str:
        return ";" if self._comma else ","

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None:
        texts = [self._texts(name, columns[name]) for name in self._layout.names]
        lines = list(zip(*texts, strict=True))
        if self._layout.embeddings:
            lines = [(*line, *map(self._number, row)) for line, row in zip(lines, embeddings, strict=True)]
        self._file.write("".join(self._separator.join(line) + "\n" for line in lines).encode())

    def _texts(self, name: str, values: Any) -> list[str]:
        kind = DATATYPES.get(name, "double")
        if kind == "string":
            return [csv_field(value, self._separator) for value in values]
        if kind == "integer":
            return [str(int(value)) for value in values]
        write = seconds_text if name in ("start", "end") else score_text
        return [self._decimal(write(float(value))) for value in values]

    def _number(self, value: float) -> str:
        return self._decimal(f"{value:.6g}" if math.isfinite(value) else MISSING)

    def _decimal(self, text: str) -> str:
        if not self._comma:
            return text
        return "" if text == MISSING else text.replace(".", ",")  # Excel has no word for a missing number

    def close(self) -> None:
        self._file.flush()


class _NDJSON:
    """One JSON object a line, for each row."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self._file, self._layout = file, layout

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None:
        texts = [self._texts(name, columns[name]) for name in self._layout.names]
        names = [json_text(name) for name in self._names]
        for place, row in enumerate(zip(*texts, strict=True)):
            values = (*row, self._array(embeddings[place])) if self._layout.embeddings else row
            self._write(names, values)

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self._layout.names, EMBEDDING) if self._layout.embeddings else self._layout.names

    def _write(self, names: Sequence[str], values: Sequence[str]) -> None:
        fields = (f"{name}: {value}" for name, value in zip(names, values, strict=True))
        self._file.write(f"{{{', '.join(fields)}}}\n".encode())

    def _texts(self, name: str, values: Any) -> list[str]:
        kind = DATATYPES.get(name, "double")
        if kind == "string":
            return [json_text(value) for value in values]
        if kind == "integer":
            return [str(int(value)) for value in values]
        return [(seconds_text if name in ("start", "end") else score_text)(float(value)) for value in values]

    def _array(self, values: npt.NDArray[np.float32]) -> str:
        return f"[{', '.join(f'{value:.6g}' if math.isfinite(value) else MISSING for value in values.tolist())}]"

    def close(self) -> None:
        self._file.flush()


class _JSON(_NDJSON):
    """One document: the names of the columns, and a list for each row."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        super().__init__(file, layout)
        file.write(f'{{"columns": {json_text(list(self._names))}, "rows": ['.encode())
        self._separator = "\n"

    def _write(self, names: Sequence[str], values: Sequence[str]) -> None:
        self._file.write(f"{self._separator}[{', '.join(values)}]".encode())
        self._separator = ",\n"

    def close(self) -> None:
        self._file.write(b"\n]}\n")
        super().close()


class _Excel:
    """Row by row, in memory that does not grow."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        import xlsxwriter

        self._file, self._layout = file, layout
        self._made = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the table); a zip goes back in its file
        options = {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self._book = xlsxwriter.Workbook(self._made, options)
        self._sheet = self._book.add_worksheet("emow2v")
        self._sheet.freeze_panes(1, 0)
        for column, name in enumerate([*layout.names, *layout.embedding_names]):
            self._sheet.write_string(0, column, name)
            if name in layout.descriptions:
                self._sheet.write_comment(0, column, layout.descriptions[name], {"author": "emow2v", "x_scale": 2})
        self._row = 1

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None:
        for place in range(len(columns["file"])):
            for column, name in enumerate(self._layout.names):
                value = columns[name][place]
                if DATATYPES.get(name) == "string":
                    if text := _unicode(str(value))[: _LONGEST_TEXT[".xlsx"]]:
                        self._sheet.write_string(self._row, column, text)
                else:
                    self._number(column, float(value), 6)
            for column, value in enumerate(embeddings[place], len(self._layout.names)):
                self._number(column, float(value), 8)
            self._row += 1

    def _number(self, column: int, value: float, decimals: int) -> None:
        if math.isfinite(value):
            self._sheet.write_number(self._row, column, round(value, decimals))

    def close(self) -> None:
        self._book.close()
        self._made.seek(0)
        shutil.copyfileobj(self._made, self._file)
        self._made.close()


class _SPSS:
    """All rows at once: the width of texts stands before them."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._parts: list[Columns] = []

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None:
        self._parts.append(columns)

    def close(self) -> None:
        import pandas as pd
        import pyreadstat

        table = {name: self._values(name) for name in self._layout.names}
        labels: list[str | None] = [self._layout.descriptions[name] for name in self._layout.names]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "table.sav"
            pyreadstat.write_sav(pd.DataFrame(table), str(place), column_labels=labels, compress=True)
            with place.open("rb") as made:
                shutil.copyfileobj(made, self._file)

    def _values(self, name: str) -> Any:
        if DATATYPES.get(name) == "string":
            longest = _LONGEST_TEXT[".sav"]
            texts = [_unicode(str(value)) for part in self._parts for value in part[name]]
            return [text.encode()[:longest].decode(errors="ignore") for text in texts]
        return np.concatenate([np.zeros(0), *(np.asarray(part[name], np.float64) for part in self._parts)])


def _unicode(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
