"""Parquet tables: one file, or shards: files of one schema in a folder, which DuckDB, pandas and Spark read as one table."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emow2v.errors import Emow2vError, FormatError
from emow2v.formats.table import DATATYPES
from emow2v.storage import counted, kind_of, marks, shown
from emow2v.storage.files import Move, StagedFiles, publish

if TYPE_CHECKING:
    from emow2v.formats.run_table import Columns, Layout

EMBEDDING = "embedding"  # the column of lists
SHARD_BYTES = 256 << 20  # a shard ends with the row group that reaches it
_GROUP_BYTES = 16 << 20  # of rows in memory that make a row group
_SHARD = re.compile(r"part-\d{5,}\.parquet")
_READ_ROWS = 4096  # rows at a time when shards are joined
_MARK_KEY = "emow2v"


def schema_of(layout: Layout) -> Any:
    """The schema of a table: numbers as they are computed, embeddings as lists of one length."""
    import pyarrow

    kinds = {"string": pyarrow.string(), "integer": pyarrow.int64(), "double": pyarrow.float32()}
    fields = [
        pyarrow.field(
            name,
            pyarrow.float64() if name in ("start", "end") else kinds[DATATYPES.get(name, "double")],
            metadata={"description": layout.descriptions[name]},
        )
        for name in layout.names
    ]
    if layout.embeddings:
        number = pyarrow.float16() if layout.half else pyarrow.float32()
        fields.append(pyarrow.field(EMBEDDING, pyarrow.list_(number, layout.embeddings)))
    return pyarrow.schema(fields)


class ParquetTable:
    """Rows of columns as a table of Parquet.

    Args:
        sink: takes tables of the schema
    """

    def __init__(self, sink: ParquetFile | Shards, layout: Layout) -> None:
        self._sink, self._layout, self._schema = sink, layout, sink.schema

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None:
        import pyarrow

        arrays = []
        for field in self._schema:
            if field.name == EMBEDDING:
                flat = np.ascontiguousarray(embeddings, np.float16 if self._layout.half else np.float32).ravel()
                arrays.append(pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), self._layout.embeddings))
                continue
            values: Any = columns[field.name]
            if pyarrow.types.is_string(field.type):
                values = [value.encode(errors="backslashreplace").decode() for value in values]
            arrays.append(pyarrow.array(values, field.type, from_pandas=True))  # NaN becomes null
        self._sink.add(pyarrow.table(arrays, schema=self._schema))

    def close(self) -> None:
        self._sink.close()

    def discard(self) -> None:
        """Write nothing more; the file is going to be removed."""
        self._sink.discard()


class ParquetFile:
    """One file. Rows are kept until they make a row group, so that many short recordings share one.

    Args:
        file: open for reading and writing
        schema: of PyArrow
        marked: whether the file holds its own mark (see `storage.marks`)
    """

    def __init__(self, file: IO[bytes], schema: Any, *, marked: bool = False) -> None:
        import pyarrow
        from pyarrow import parquet

        self.schema = schema
        self._file, self._marked = file, marked
        self._writer = parquet.ParquetWriter(pyarrow.PythonFile(file, "w"), schema, compression="zstd")
        self._tables: list[Any] = []
        self._bytes = 0

    def add(self, table: Any) -> None:
        """Add rows."""
        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _GROUP_BYTES:
            self._write_group()

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._file.tell()

    def _write_group(self) -> None:
        import pyarrow

        if self._tables:
            self._writer.write_table(pyarrow.concat_tables(self._tables))
            self._tables, self._bytes = [], 0

    def discard(self) -> None:
        """Write nothing more."""
        self._writer.is_open = False  # else PyArrow completes the file when it forgets the writer

    def close(self) -> None:
        """Complete the file, which stays open."""
        self._write_group()
        if self._marked:
            self._writer.add_key_value_metadata({_MARK_KEY: marks.text()})
        self._writer.close()
        if self._marked:
            marks.seal(self._file)


class Shards:
    """Shards of one schema: part-00000.parquet and so on.

    Args:
        open_shard: opens a shard by its name
        most_bytes: a shard ends with the row group that reaches this size
    """

    def __init__(self, open_shard: Callable[[str], IO[bytes]], schema: Any, most_bytes: int = SHARD_BYTES) -> None:
        self.schema = schema
        self.names: list[str] = []
        self._open, self._most_bytes = open_shard, most_bytes
        self._shard: tuple[IO[bytes], ParquetFile] | None = None

    def add(self, table: Any) -> None:
        """Add rows."""
        if self._shard is None:
            self.names.append(f"part-{len(self.names):05}.parquet")
            file = self._open(self.names[-1])
            self._shard = file, ParquetFile(file, self.schema, marked=True)
        self._shard[1].add(table)
        if self._shard[1].size >= self._most_bytes:
            self.close()

    def discard(self) -> None:
        """Write nothing more."""
        if self._shard is not None:
            self._shard[1].discard()

    def close(self) -> None:
        """Complete the last shard, and close its file."""
        if self._shard is not None:
            file, shard = self._shard
            self._shard = None
            shard.close()
            file.flush()
            os.fsync(file.fileno())
            file.close()


def shards_in(folder: Path) -> list[Path]:
    """The shards in a folder, in order; none where there is no folder.

    Raises:
        FormatError: a file has the name, or other Parquet files lie there, which readers would take for shards
    """
    kind = kind_of(folder)
    if kind is None:
        return []
    if kind != "folder":
        raise FormatError(f"{shown(folder)} is a file; expected a folder for shards; choose another name.")
    paths = sorted(folder.glob("*.parquet"), key=lambda path: (len(path.name), path.name))
    refuse_others(folder, paths)
    return paths


def refuse_others(folder: Path | str, paths: Iterable[Path]) -> None:
    """Refuse Parquet files that are no shards, and which readers would take for some.

    Raises:
        FormatError: one of them is there
    """
    if others := [path for path in paths if not _SHARD.fullmatch(path.name)]:
        raise FormatError(
            f"{shown(folder)} holds {shown(others[0].name)}, which readers would take for a part of the table; choose an "
            "empty or a new folder."
        )


def publish_shards(
    folder: Path, staged: StagedFiles, before: Callable[[Sequence[Move]], None] = lambda moves: None
) -> None:
    """Publish staged shards, and remove the older ones whose names the new ones do not have.

    Args:
        before: as for `storage.files.publish`
    """
    older = shards_in(folder)
    new = {path for _, path in staged.moves()}
    for path in older:
        staged.check_place(path)
    publish([staged], before)
    for path in older:
        if path not in new:
            path.unlink(missing_ok=True)


def compact(folder: Path, *, most_bytes: int = SHARD_BYTES, overwrite: bool = False) -> tuple[int, int]:
    """Join the shards of a folder to fewer ones, with their rows in order. Memory: one row group.

    Nobody may read or write the table meanwhile.

    Args:
        most_bytes: as for `Shards`
        overwrite: also replace shards that emow2v did not write, or that were changed since

    Returns:
        The number of shards before and after.

    Raises:
        FormatError: there are no shards, they have different schemas, or one cannot be read or written
        PlaceTaken: a shard is not as emow2v wrote it
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise FormatError("Tables in .parquet need pyarrow; run: pip install 'emow2v[tables]'.") from None
    paths = shards_in(folder)
    if not paths:
        raise FormatError(f"{shown(folder)} holds no shards; expected part-00000.parquet and so on.")
    staged = StagedFiles(dict.fromkeys(paths), overwrite=overwrite)
    staged.check()
    shards: Shards | None = None
    try:
        schema = parquet.read_schema(paths[0]).remove_metadata()
        shards = Shards(lambda name: staged.open(folder / name), schema, most_bytes)
        for path in paths:
            with parquet.ParquetFile(path) as shard:
                if not shard.schema_arrow.equals(schema):
                    raise FormatError(
                        f"{shown(path)} has other columns than {shown(paths[0].name)}; move it to another folder."
                    )
                for batch in shard.iter_batches(_READ_ROWS):
                    shards.add(pyarrow.Table.from_batches([batch], schema))
        shards.close()
        publish_shards(folder, staged)
    except pyarrow.ArrowException as error:
        raise FormatError(f"{counted(len(paths), 'shard')} in {shown(folder)} cannot be read ({error}).") from None
    finally:
        if shards:
            shards.discard()
        staged.discard()
    return len(paths), len(shards.names)


def main() -> None:
    """`python -m emow2v.formats.parquet FOLDER`: join the small shards of a table."""
    parser = argparse.ArgumentParser(
        prog="python -m emow2v.formats.parquet", description="Join the shards of a table in a folder to fewer ones."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the shards")
    parser.add_argument("--megabytes", type=int, default=SHARD_BYTES >> 20, help="size at which a shard ends")
    given = parser.parse_args()
    try:
        before, after = compact(given.folder, most_bytes=max(1, given.megabytes) << 20)
    except Emow2vError as error:
        sys.exit(str(error))
    print(f"{counted(before, 'shard')} joined to {after}.")


if __name__ == "__main__":
    main()
