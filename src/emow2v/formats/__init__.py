"""One file a format, its writer and its reader together; writers take a trajectory block by block."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from emow2v.errors import FormatError, PlaceTaken
from emow2v.rows import DIMENSIONS, Block, Info, Rows
from emow2v.storage import shown
from emow2v.storage.files import Move, StagedFiles, publish

__all__ = ["FORMATS", "Move", "PlaceTaken", "Writer", "check", "record", "write", "writers"]

# Endings of the files that each format writes, behind the recording's name
_ENDINGS = {
    "csv": (".csv",),
    "json": (".json",),
    "ndjson": (".ndjson",),
    "annotation": tuple(f".{name}.annotation" for name in DIMENSIONS),
    "stream": (".embeddings.stream",),
}
FORMATS = tuple(_ENDINGS)
_LONGEST_STEM = 255 - len(".dominance.annotation~")  # bytes of a name before the longest ending


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
    """One pass over the recording feeds all writers; then all files appear, or none.

    Args:
        progress: called after each block; may raise to stop, which leaves no file behind
        before_publish: called when all files are complete, before they appear, with the renames to come; may raise likewise
        overwrite: also replace files that emow2v did not write, whatever the writers were made with
        owner: name of the process, in letters and digits; unfinished files carry it (see `storage.files`)

    Raises:
        PlaceTaken: a file lies there that emow2v did not write, or that was changed since; checked before any work and
            again before the files appear
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
        for writer in reversed(writers):  # the writer that made a folder comes last
            writer.staged.discard()
        raise


def check(writers: Iterable[Writer]) -> None:
    """Refuse to replace files that emow2v did not write, or that were changed since; nothing is created.

    Only files that emow2v wrote and nobody has changed are replaced by new results (see `storage.marks`).

    Raises:
        PlaceTaken: one sentence on the first such file, with the remedy
        FormatError: a folder, a pipe or a device lies there, or no file can have the name
    """
    for writer in writers:
        writer.staged.check()


def writers(formats: Iterable[str], folder: Path, stem: str, *, overwrite: bool = False) -> list[Writer]:
    """Writers for results named after a recording.

    Args:
        formats: "csv", "json", "ndjson", "annotation" (three pairs of files, one a dimension) or "stream" (embeddings), in
            upper or lower case; a format that is named twice counts once
        folder: where the files go; created where it is missing
        stem: first part of every name; where it is too long for the endings it is cut, and eight digits keep it distinct
        overwrite: also replace files that emow2v did not write, or that were changed since

    Raises:
        FormatError: an unknown format
    """
    stem = _shortened(stem)
    names = list(dict.fromkeys(name.strip().lower() for name in formats))
    for name in names:
        if name not in _ENDINGS:
            raise FormatError(f"Format '{shown(name)}' is unknown; expected {known()}.")
    return [_writer(folder / f"{stem}{ending}", overwrite=overwrite) for name in names for ending in _ENDINGS[name]]


def _writer(path: Path, *, overwrite: bool) -> Writer:
    """The writer of one file, or of one pair of files, by the ending of its name."""
    from emow2v.formats.ssi import AnnotationWriter, StreamWriter
    from emow2v.formats.table import CSVWriter, JSONWriter, NDJSONWriter

    ending = path.suffix.lower()
    if ending == ".annotation":
        return AnnotationWriter(path, Path(path.stem).suffix[1:], overwrite=overwrite)
    classes: dict[str, Callable[..., Writer]] = {
        ".csv": CSVWriter,
        ".json": JSONWriter,
        ".ndjson": NDJSONWriter,
        ".stream": StreamWriter,
    }
    return classes[ending](path, overwrite=overwrite)


def known() -> str:
    """The names of formats, as sentences give them."""
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


def _shortened(stem: str) -> str:
    """A stem that leaves room for every ending."""
    encoded = _encoded(stem)
    if len(encoded) <= _LONGEST_STEM:
        return stem
    behind = "-" + hashlib.sha256(encoded).hexdigest()[:8]
    kept = stem
    while len(_encoded(kept)) > _LONGEST_STEM - len(behind):
        kept = kept[:-1]
    return kept + behind


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # what no file can be called is refused later, with a sentence


def write(trajectory: Rows, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a trajectory; the ending of the name chooses the format. `Trajectory.save` does the same.

    `talk.csv`, `talk.json` and `talk.ndjson` are tables, `talk.stream` holds the embeddings, `talk.annotation` becomes
    three pairs of files, `talk.arousal.annotation` and so on; a dimension in the name writes only that one.

    Args:
        overwrite: also replace files that emow2v did not write, or that were changed since

    Raises:
        PlaceTaken: a file lies there that emow2v did not write, or that was changed since
        FormatError: the ending is unknown, or the place cannot be written
    """
    path = Path(path)
    name, dimension = path.suffix.lower()[1:], Path(path.stem).suffix[1:]
    if name in _ENDINGS and (name != "annotation" or dimension in DIMENSIONS):
        found = [_writer(path, overwrite=overwrite)]  # talk.CSV stays talk.CSV
    else:
        found = writers([name], path.parent, path.stem, overwrite=overwrite)
    record(trajectory, found)
