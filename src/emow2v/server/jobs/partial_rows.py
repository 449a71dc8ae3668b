"""The rows of a running job, for people who watch: a file that grows and is removed when the results appear.

The file has the name of an unfinished one (see `storage.files`), and is removed with those: when the job ends, is
cancelled or fails, and after a crash.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.storage.files import StagedFiles
from emow2v.trajectory import Block, Info

_COLUMNS = 7  # start, end, three scores, confidence, speech, which is infinite where nobody looks for it
_ROW = _COLUMNS * 8  # bytes


class PartialRowsWriter:
    """A writer as in `formats` that never stops a job: where the file cannot be written, nobody can watch.

    Args:
        folder: of the job's results
    """

    clipped = 0

    def __init__(self, folder: Path) -> None:
        self.sound_s = 0.0  # the end of the last row
        self.staged: StagedFiles = _WithFolder(folder)
        self._folder = folder
        self._file: IO[bytes] | None = None

    def open(self, info: Info) -> None:
        with contextlib.suppress(FormatError):
            self._file = self.staged.open(self._folder / "rows")

    def add(self, block: Block) -> None:
        self.sound_s = max(self.sound_s, float(block.ends[-1])) if len(block) else self.sound_s
        if self._file is None:
            return
        try:
            rows, values = np.full((len(block), _COLUMNS), np.inf, "<f8"), as_rows(block)
            rows[:, : values.shape[1]] = values
            self._file.write(rows.tobytes())
            self._file.flush()
        except (OSError, FormatError):  # a full disk
            self._file = None

    def close(self) -> None:
        self.staged.discard()


class _WithFolder(StagedFiles):
    """Removes the folder, too, when it is empty."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def discard(self) -> None:
        super().discard()
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def as_rows(block: Block) -> npt.NDArray[np.float64]:
    """float64 [rows, 6 or 7]: start, end, three scores as tables have them, the lowest confidence of the three; speech, where
    it was computed."""
    parts = [block.starts, block.ends, *block.scores_of_speech.T, block.confidence.min(axis=1)]
    return np.column_stack(parts if block.speech is None else [*parts, block.speech]).astype("<f8")


@dataclass(frozen=True, eq=False)
class PartialRows:
    """The rows so far.

    Attributes:
        run: identifies one pass over one recording; "" where the job has no rows yet
        rows: float64 [rows, 6 or 7], from the requested row on; with a column of speech where the job looks for it
    """

    run: str
    rows: npt.NDArray[np.float64]


def read(folder: Path, first: int, run: str = "") -> PartialRows:
    """Rows from number `first` on; from the beginning where another run than `run` goes on by now."""
    for path in folder.glob(".rows.*.part"):
        now = path.name.split(".")[-2]
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(first * _ROW if now == run or not run else 0)
            data = file.read()
            rows = np.frombuffer(data[: len(data) // _ROW * _ROW], "<f8").reshape(-1, _COLUMNS)
            return PartialRows(now, rows[:, :-1] if np.isinf(rows[:, -1]).all() else rows)
    return PartialRows("", np.zeros((0, _COLUMNS - 1)))
