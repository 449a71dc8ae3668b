"""Scores of many recordings as a database of audformat: a header, NAME.yaml, and tables of Parquet beside it.

The form is that of audformat's documentation (audeering.github.io/audformat): index, schemes and columns. Tables are stored
as Parquet, which keeps labels such as "NA" and times of nanoseconds, and which emow2v writes without the package audformat.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emow2v.formats.parquet import EMBEDDING, ParquetFile
from emow2v.formats.table import DATATYPES
from emow2v.storage import marks

if TYPE_CHECKING:
    from emow2v.formats.run_table import Columns, Layout

ENDING = ".yaml"
TABLE = "scores"
_KINDS = {"string": "str", "integer": "int", "double": "float"}  # names of audformat
_TIMES = ("start", "end")
_RATER = "emow2v"


def table_path(path: Path, table: str = TABLE) -> Path:
    """The file of a table whose header lies at a path."""
    return path.with_name(f"{path.stem}.{table}.parquet")


class AudformatTables:
    """Rows as tables of a database: `scores`, or `scores-left` and so on where channels have rows of their own.

    Rows are told apart by file, start and end. Turns with the same times as an earlier one go to `scores-2`.

    Args:
        path: of the header, to whose folder names of recordings are relative
        open_file: opens a file for writing by its path
        filewise: whether the index has files only, and no start and end
    """

    def __init__(self, path: Path, open_file: Callable[[Path], IO[bytes]], layout: Layout, *, filewise: bool) -> None:
        self._path, self._open, self._layout, self._filewise = path, open_file, layout, filewise
        self._tables: dict[str, ParquetFile] = {}
        self._recording, self._seen = "", Counter[tuple[float, float]]()
        self._schema = self._schema_of()

    def _schema_of(self) -> Any:
        import pyarrow

        kinds = {"string": pyarrow.string(), "integer": pyarrow.int64(), "double": pyarrow.float64()}
        index = [] if self._filewise else [(name, pyarrow.duration("ns")) for name in _TIMES]
        columns = [(name, kinds[DATATYPES.get(name, "double")]) for name in self._columns]
        return pyarrow.schema([("file", pyarrow.string()), *index, *columns])

    @property
    def _columns(self) -> list[str]:
        names = [name for name in self._layout.names if name not in ("file", *_TIMES, "channel")]
        return names + self._layout.embedding_names

    def add(self, columns: Columns, embeddings: npt.NDArray[np.float32]) -> None:
        numbers = self._numbers(columns)
        for number in dict.fromkeys(numbers):
            rows = np.flatnonzero(np.array(numbers) == number)
            channel = columns["channel"][0] if "channel" in columns else ""
            name = "-".join(filter(None, (TABLE, channel, str(number) if number > 1 else "")))
            if name not in self._tables:
                file = self._open(table_path(self._path, name))
                self._tables[name] = ParquetFile(file, self._schema, marked=True)
            self._tables[name].add(self._rows(columns, embeddings, rows))

    def _numbers(self, columns: Columns) -> list[int]:
        """For each row, how many rows of its recording have had its times until then."""
        if "n" not in columns:  # values over time, or of files
            return [1] * len(columns["start"])
        found = []
        recording = f"{columns['file'][:1]}{columns.get('channel', [''])[:1]}"
        if recording != self._recording:
            self._recording = recording
            self._seen.clear()
        for key in zip(map(float, columns["start"]), map(float, columns["end"]), strict=True):
            self._seen[key] += 1
            found.append(self._seen[key])
        return found

    def _rows(self, columns: Columns, embeddings: npt.NDArray[np.float32], rows: npt.NDArray[np.intp]) -> Any:
        import pyarrow

        arrays = []
        for field in self._schema:
            values: Any
            if field.name.startswith(f"{EMBEDDING}_"):
                values = embeddings[rows, int(field.name.removeprefix(f"{EMBEDDING}_"))]
            elif pyarrow.types.is_string(field.type):
                texts = (str(columns[field.name][row]) for row in rows)
                if field.name == "file":
                    given = list(texts)
                    names = {name: self._file_name(name) for name in set(given)}
                    texts = (names[name] for name in given)
                values = [text.encode(errors="backslashreplace").decode() for text in texts]
            elif field.name in _TIMES:
                values = np.round(np.asarray(columns[field.name])[rows] * 1e9).astype("timedelta64[ns]")
            else:
                values = np.asarray(columns[field.name])[rows]
            if field.name in ("speaker", "tier", "label"):
                values = [text or None for text in values]
            arrays.append(pyarrow.array(values, field.type, from_pandas=True))  # NaN becomes null
        return pyarrow.table(arrays, schema=self._schema)

    def _file_name(self, name: str) -> str:
        """The name of a recording, relative to the folder of the header: audformat puts that folder before it."""
        try:
            return Path(os.path.relpath(name, self._path.parent)).as_posix()
        except ValueError:  # on another drive of Windows
            return Path(name).absolute().as_posix()

    def close(self) -> None:
        for table in self._tables.values():
            table.close()

    def discard(self) -> None:
        """Write nothing more; the files are going to be removed."""
        for table in self._tables.values():
            table.discard()

    def write_header(self, file: IO[bytes], provenance: Mapping[str, object]) -> None:
        """Write the header with its mark.

        Args:
            provenance: that all recordings share; it becomes `db.meta["emow2v"]`
        """
        columns = {}
        for name in self._columns:
            scheme = EMBEDDING if name in self._layout.embedding_names else name
            rated = {} if name in ("speaker", "tier", "label") else {"rater_id": _RATER}
            columns[name] = {"scheme_id": scheme, **rated}
        described = {**self._layout.descriptions, EMBEDDING: "hidden state of the network"}
        kind = "filewise" if self._filewise else "segmented"
        model = " ".join(str(provenance.get(key, "")) for key in ("model", "model_version"))
        content = {
            "name": self._path.stem,
            "source": str(provenance.get("software", "emow2v")),
            "usage": "other",
            "license": str(provenance.get("licence", "")),
            "description": f"Arousal, dominance and valence of speech, as {model} computes them",
            "raters": {_RATER: {"type": "machine", "description": model}},
            "schemes": {
                name: {"dtype": _KINDS[DATATYPES.get(name, "double")], "description": described[name]}
                for name in dict.fromkeys(one["scheme_id"] for one in columns.values())
            },
            "tables": {name: {"type": kind, "columns": columns} for name in self._tables},
            "emow2v": dict(provenance),
        }
        file.write("".join(f"{line}\n" for line in _yaml(content)).encode())
        file.write(f"# {marks.text()}\n".encode())
        marks.seal(file)


def _yaml(content: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Lines of YAML in block style; texts are quoted as in JSON, which YAML reads alike."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield f"{'  ' * depth}{name}:{'' if value else ' {}'}"
            yield from _yaml(value, depth + 1)
        else:
            text = str(value).encode(errors="backslashreplace").decode() if isinstance(value, str) else value
            yield f"{'  ' * depth}{name}: {json.dumps(text)}"
