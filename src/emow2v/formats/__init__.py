"""Formats of results. Each module has the writer and the reader of a format; writers write block by block."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emow2v.errors import FormatError, PlaceTaken
from emow2v.rows import DIMENSIONS, Block, Info, Rows
from emow2v.storage import shown
from emow2v.storage.files import Move, StagedFiles, publish

__all__ = [
    "FORMATS",
    "AnnotationFacts",
    "Move",
    "PlaceTaken",
    "Writer",
    "check",
    "record",
    "shortened",
    "write",
    "writers",
]

# Endings of the files that each format writes, after the recording's name
_ENDINGS = {
    "csv": (".csv",),
    "json": (".json",),
    "ndjson": (".ndjson",),
    "annotation": tuple(f".{name}.annotation" for name in DIMENSIONS),
    "stream": (".embeddings.stream",),
    "npz": (".npz",),
    "png": (".png",),
    "svg": (".svg",),
    "pdf": (".pdf",),
}
FORMATS = tuple(_ENDINGS)
REGULAR = ("annotation", "stream")  # of values at regular steps: no turns
_LONGEST_STEM = 255 - len(".dominance.annotation~")  # bytes of a name before the longest ending


@dataclass(frozen=True)
class AnnotationFacts:
    """What annotations of SSI and NOVA state besides their rows.

    Attributes:
        role: of the person, as NOVA names it
        low, high: range of a continuous scheme, onto which 0..1 is mapped

    Raises:
        FormatError: `low` is not below `high`, or one of them is too large
    """

    role: str = ""
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (-1e6 <= self.low < self.high <= 1e6 and self.high - self.low >= 1e-3):
            raise FormatError(
                f"The range of annotations is {self.low:g}:{self.high:g}; expected LOW:HIGH such as -1:1, from -1e6 to 1e6, "
                "and .001 wide at least."
            )

    @classmethod
    def parse(cls, role: str, text: str) -> AnnotationFacts:
        """Of a role, and of a range as LOW:HIGH."""
        low, _, high = text.partition(":")
        try:
            return cls(role, float(low), float(high))
        except ValueError:
            raise FormatError(f"'{shown(text)}' is no range; expected LOW:HIGH such as -1:1.") from None

    def texts(self, scores: Iterable[float]) -> list[str]:
        """Scores of 0..1 as values of the scheme, with six decimals; more where the range is small."""
        span, places = self.high - self.low, max(6, 6 - math.floor(math.log10(self.high - self.low)))
        return [f"{self.low + score * span:.{places}f}" for score in scores]


PLAIN = AnnotationFacts()


class Writer(Protocol):
    """Writes one trajectory; its files are temporary, in `staged`, until they are published.

    Attributes:
        staged: the temporary files
        clipped: number of values that were clipped because the format's scheme ends at 0 and 1
    """

    staged: StagedFiles
    clipped: int

    def open(self, info: Info) -> None: ...

    def add(self, block: Block) -> None: ...

    def close(self) -> None: ...


def record(
    trajectory: Rows,
    writers: Sequence[Writer],
    progress: Callable[[Block], None] = lambda block: None,
    before_publish: Callable[[Sequence[Move]], None] = lambda moves: None,
    *,
    overwrite: bool = False,
    owner: str = "",
) -> None:
    """Write a trajectory with all writers in one pass. Either all files are published, or none.

    Args:
        progress: called after each block; may raise to stop, and then no file is left
        before_publish: called with the renames when all files are complete, before they are published; may raise to stop
        overwrite: also replace files that emow2v did not write, even if the writers were made without overwrite
        owner: name of the process, in letters and digits; a part of the names of unfinished files (see `storage.files`)

    Raises:
        PlaceTaken: a file exists that emow2v did not write, or that was changed since; checked before any work, and
            again before the files are published
    """
    try:
        for writer in writers:
            writer.staged.overwrite |= overwrite
            writer.staged.owner = owner
        check(writers)
        for writer in writers:
            writer.open(trajectory.info)
        with contextlib.closing(iter(trajectory)) as blocks:
            for block in blocks:
                for writer in writers:
                    writer.add(block)
                progress(block)
        for writer in writers:
            writer.close()
        publish([writer.staged for writer in writers], before_publish)
    except BaseException:
        for writer in reversed(writers):  # the first writer made the folder, and removes it last
            writer.staged.discard()
        raise


def check(writers: Iterable[Writer]) -> None:
    """Refuse to replace files that emow2v did not write, or that were changed since. Nothing is created.

    New results replace only files that emow2v wrote and that are unchanged (see `storage.marks`).

    Raises:
        PlaceTaken: such a file exists; the sentence names the first one and the remedy
        FormatError: a folder, a pipe or a device has the name, or no file can have it
    """
    for writer in writers:
        writer.staged.check()


def writers(
    formats: Iterable[str],
    folder: Path,
    stem: str,
    *,
    overwrite: bool = False,
    annotation: AnnotationFacts = PLAIN,
) -> list[Writer]:
    """The writers of results that are named after a recording.

    Args:
        formats: "csv", "json", "ndjson", "annotation" (three pairs of files, one a dimension), "stream" (embeddings),
            "npz" (arrays of NumPy), or "png", "svg" and "pdf" (pictures), in upper or lower case; a format that is named twice counts once
        folder: of the files; created if it is missing
        stem: first part of every name; a stem that is too long is cut, and gets eight digits to stay distinct
        overwrite: also replace files that emow2v did not write, or that were changed since
        annotation: what annotations state

    Raises:
        FormatError: a format is unknown
    """
    stem = shorten(stem)
    names = list(dict.fromkeys(name.strip().lower() for name in formats))
    for name in names:
        if name not in _ENDINGS:
            raise FormatError(f"Format '{shown(name)}' is unknown; expected {known()}.")
    return [
        _writer(folder / f"{stem}{ending}", overwrite=overwrite, annotation=annotation)
        for name in names
        for ending in _ENDINGS[name]
    ]


def _writer(path: Path, *, overwrite: bool, annotation: AnnotationFacts = PLAIN) -> Writer:
    """The writer of one file, or of one pair of files, chosen by the ending of its name."""
    ending = path.suffix.lower()
    if ending in (
        ".annotation",
        ".stream",
    ):  # each module is loaded when it is asked for: XML takes a hundredth of a start
        from emow2v.formats.ssi import AnnotationWriter, StreamWriter

        if ending == ".annotation":
            return AnnotationWriter(path, Path(path.stem).suffix[1:], facts=annotation, overwrite=overwrite)
        return StreamWriter(path, overwrite=overwrite)
    if ending == ".npz":
        from emow2v.formats.npz import NPZWriter

        return NPZWriter(path, overwrite=overwrite)
    if ending in (".png", ".svg", ".pdf"):
        from emow2v.formats.plot import PictureWriter

        return PictureWriter(path, overwrite=overwrite)
    from emow2v.formats.table import CSVWriter, JSONWriter, NDJSONWriter

    classes: dict[str, Callable[..., Writer]] = {".csv": CSVWriter, ".json": JSONWriter, ".ndjson": NDJSONWriter}
    return classes[ending](path, overwrite=overwrite)


def known() -> str:
    """The names of all formats, for sentences."""
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


def shorten(stem: str) -> str:
    """The stem, cut if it is too long for the longest ending."""
    encoded = _encode(stem)
    if len(encoded) <= _LONGEST_STEM:
        return stem
    digits = "-" + hashlib.sha256(encoded).hexdigest()[:8]
    while len(_encode(stem)) > _LONGEST_STEM - len(digits):
        stem = stem[:-1]
    return stem + digits


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # a name that no file can have is refused later


def write(trajectory: Rows, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a trajectory in the format that the ending of the name stands for. `Trajectory.save` does the same.

    `talk.csv`, `talk.json` and `talk.ndjson` are tables. `talk.stream` has the embeddings, `talk.npz` all arrays; `talk.png`,
    `.svg` and `.pdf` are pictures. `talk.annotation` becomes
    three pairs of files, `talk.arousal.annotation` and so on; `talk.arousal.annotation` itself becomes only that pair.

    Args:
        overwrite: also replace files that emow2v did not write, or that were changed since

    Raises:
        PlaceTaken: a file exists that emow2v did not write, or that was changed since
        FormatError: the ending is unknown, or the folder cannot be written
    """
    path = Path(path)
    name, dimension = path.suffix.lower()[1:], Path(path.stem).suffix[1:]
    if name in _ENDINGS and (name != "annotation" or dimension in DIMENSIONS):
        chosen = [_writer(path, overwrite=overwrite)]  # talk.CSV stays talk.CSV
    else:
        chosen = writers([name], path.parent, path.stem, overwrite=overwrite)
    record(trajectory, chosen)
