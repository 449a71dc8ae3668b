"""Trajectories as NumPy's .npz: scores, times and embeddings as arrays that `numpy.load` reads without pickle."""

from __future__ import annotations

import json
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.rows import DIMENSIONS, EMBEDDING_SIZE, Block, Info
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles

_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the same rows give the same bytes
_PIECE_BYTES = 1 << 20


class NPZWriter:
    """Writes `NAME.npz`, in memory that does not grow with the embeddings.

    Arrays: starts, ends (float64 [rows], seconds), scores and confidence (float32 [rows, 3]), embeddings (float32
    [rows, 1024]), names ([3], of the columns of scores), and where they exist speech (float32 [rows]), speakers, tiers,
    labels (texts) and counts of turns; provenance is a text in JSON. Scores are NaN in rows without speech, as in tables.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path, self.clipped = path, 0
        self.staged = StagedFiles({path: None}, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self.path)
        self._embeddings: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close, or at the writer's end
        weakref.finalize(self, self._embeddings.close)
        self._blocks: list[Block] = []
        self._width = EMBEDDING_SIZE

    def add(self, block: Block) -> None:
        try:
            self._embeddings.write(np.ascontiguousarray(block.embeddings, "<f4").tobytes())
        except OSError as error:
            place = tempfile.gettempdir()
            raise FormatError(f"{place} cannot hold the embeddings ({error.strerror}); free some space.") from None
        self._width = block.embeddings.shape[1]
        parts = (block.embeddings[:, :0].copy(), block.scores_of_speech, block.confidence, block.speech, block.turns)
        self._blocks.append(Block(block.first, block.starts, block.ends, *parts))

    def close(self) -> None:
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED) as archive, self._embeddings as embeddings:
            for name, array in self._arrays().items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _NO_DATE), "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            rows = sum(map(len, self._blocks))
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._width)}
            embeddings.seek(0)
            with archive.open(zipfile.ZipInfo("embeddings.npy", _NO_DATE), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_2_0(member, header)
                while piece := embeddings.read(_PIECE_BYTES):
                    member.write(piece)
            archive.comment = marks.text().encode()
        marks.seal(self._file)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        def join(name: str, kind: str, *shape: int) -> npt.NDArray[Any]:
            parts = [getattr(block, name) for block in self._blocks]
            return np.concatenate(parts).astype(kind) if parts else np.zeros((0, *shape), kind)

        arrays = {
            "names": np.array(DIMENSIONS),
            "starts": join("starts", "<f8"),
            "ends": join("ends", "<f8"),
            "scores": join("scores", "<f4", len(DIMENSIONS)),
            "confidence": join("confidence", "<f4", len(DIMENSIONS)),
        }
        if self._blocks and all(block.speech is not None for block in self._blocks):
            arrays["speech"] = join("speech", "<f4")
        turns = [block.turns for block in self._blocks if block.turns is not None]
        for name in ("speakers", "tiers", "labels", "counts") if turns else ():
            values = [value for one in turns for value in getattr(one, name)]
            arrays[name] = (
                np.array(values, np.int64) if name == "counts" else np.array([*map(_unicode, values)], np.str_)
            )
        provenance = {"file": self._info.source, **self._info.provenance}
        arrays["provenance"] = np.array(json.dumps(provenance))
        return arrays


def embeddings_in(path: Path, rows: int) -> Iterator[npt.NDArray[np.float32]]:
    """The embeddings of a file that `NPZWriter` wrote, so many rows at a time: float32 [rows, 1024], the last ones fewer.

    Raises:
        FormatError: the file is gone, or is none of these
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("embeddings.npy") as member:
            np.lib.format.read_magic(member)
            (count, width), _, kind = np.lib.format.read_array_header_2_0(member)
            for begin in range(0, count, rows):
                part = min(rows, count - begin)
                yield np.frombuffer(member.read(part * width * kind.itemsize), kind).reshape(part, width)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        raise FormatError("The job's embeddings are gone; post the recording again.") from None


def _unicode(text: str) -> str:
    """A text whose characters that are none of Unicode are escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
