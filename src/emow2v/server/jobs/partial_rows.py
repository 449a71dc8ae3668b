"""Rows of a job that runs, for people who watch: a plain file that grows, and is gone when the results appear.

It has the name of an unfinished file (see `formats.files`), so that it is removed wherever those are: when the job ends,
is cancelled or fails, and after a crash.
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

_COLUMNS = 6  # start, end, three scores, confidence
_ROW = _COLUMNS * 8  # bytes


class GrowingWriter:
    """Takes blocks as a writer of `formats` does, and never stops a job: where nothing can be written, nobody watches.

    Args:
        folder: of the job's results
    """

    clipped = 0

    def __init__(self, folder: Path) -> None:
        self.staged: StagedFiles = _Vanishing(folder)
        self._folder = folder
        self._file: IO[bytes] | None = None

    def open(self, info: Info) -> None:
        with contextlib.suppress(FormatError):
            self._file = self.staged.open(self._folder / "rows")

    def add(self, block: Block) -> None:
        if self._file is None:
            return
        try:
            self._file.write(as_rows(block).tobytes())
            self._file.flush()
        except (OSError, FormatError):  # a full disk
            self._file = None

    def close(self) -> None:
        self.staged.discard()


class _Vanishing(StagedFiles):
    """Takes the folder along when nothing else lies in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def discard(self) -> None:
        super().discard()
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def as_rows(block: Block) -> npt.NDArray[np.float64]:
    """float64 [rows, 6]: start, end, three scores, the lowest confidence of the three."""
    parts = [block.starts[:, None], block.ends[:, None], block.scores, block.confidence.min(axis=1)[:, None]]
    return np.hstack(parts).astype("<f8")


@dataclass(frozen=True, eq=False)
class Growing:
    """What is there so far.

    Attributes:
        run: of one recording by one worker; another where it began anew, "" where nothing grows
        rows: float64 [rows, 6], from the asked one on
    """

    run: str
    rows: npt.NDArray[np.float64]


def read(folder: Path, first: int, run: str = "") -> Growing:
    """Rows from the one numbered `first` on, of a run; from the beginning where another goes on by now."""
    for path in folder.glob(".rows.*.part"):
        now = path.name.split(".")[-2]
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(first * _ROW if now == run or not run else 0)
            data = file.read()
            return Growing(now, np.frombuffer(data[: len(data) // _ROW * _ROW], "<f8").reshape(-1, _COLUMNS))
    return Growing("", np.zeros((0, _COLUMNS)))
