"""One file a format: writers that take a trajectory block by block, readers where the format is ours to read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from emow2v.errors import FormatError, PlaceTaken
from emow2v.storage import shown
from emow2v.storage.files import Move, StagedFiles, publish
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory

__all__ = ["FORMATS", "Move", "PlaceTaken", "Writer", "check", "record", "write", "writers"]

FORMATS = ("csv", "json", "ndjson", "annotation", "stream")
_LONGEST_STEM = 255 - len(".dominance.annotation~")  # bytes of a name before the longest ending


class Writer(Protocol):
    """Takes one trajectory; its files lie in `staged` until they are published.

    Attributes:
        staged: the files on their way
        clipped: values brought into 0..1 because the format's scheme says so
    """

    staged: StagedFiles
    clipped: int

    def open(self, info: Info) -> None: ...

    def add(self, block: Block) -> None: ...

    def close(self) -> None: ...


def record(
    trajectory: Trajectory,
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
        before_publish: called when all files are complete, before they appear, with what will be renamed; may raise likewise
        overwrite: replace also what emow2v did not write, whatever the writers were made for
        owner: name of the process, in letters and digits; unfinished files carry it (see `storage.files`)

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies in a place; found before any work,
            and looked for again before the files appear
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
        for writer in reversed(writers):  # who made a folder comes last
            writer.staged.discard()
        raise


def check(writers: Iterable[Writer]) -> None:
    """Refuse to replace what emow2v did not write, or what was changed since; nothing is made or opened for writing.

    Only what emow2v wrote itself and nobody has changed since makes way for new results (see `formats.marks`).

    Raises:
        PlaceTaken: one sentence on the first such place, with what to do
        FormatError: a folder, a pipe or a device lies there, or no file can have the name
    """
    for writer in writers:
        writer.staged.check()


def writers(formats: Iterable[str], folder: Path, stem: str, *, overwrite: bool = False) -> list[Writer]:
    """Writers for results named after a recording.

    Args:
        formats: "csv", "json", "ndjson", "annotation" (three pairs of files, one a dimension) or "stream" (embeddings), in
            upper or lower case; one that comes twice counts once
        folder: where they go; made where it is missing
        stem: first part of every name; where it is too long for the endings it is cut, and eight digits tell it from others
        overwrite: also what emow2v did not write makes way

    Raises:
        FormatError: a format that is not known
    """
    from emow2v.formats.ssi import AnnotationWriter, StreamWriter
    from emow2v.formats.table import CSVWriter, JSONWriter, NDJSONWriter

    stem = _shortened(stem)
    result: list[Writer] = []
    for name in dict.fromkeys(one.strip().lower() for one in formats):
        if name == "csv":
            result.append(CSVWriter(folder / f"{stem}.csv", overwrite=overwrite))
        elif name == "json":
            result.append(JSONWriter(folder / f"{stem}.json", overwrite=overwrite))
        elif name == "ndjson":
            result.append(NDJSONWriter(folder / f"{stem}.ndjson", overwrite=overwrite))
        elif name == "annotation":
            result += [
                AnnotationWriter(folder / f"{stem}.{one}.annotation", one, overwrite=overwrite) for one in DIMENSIONS
            ]
        elif name == "stream":
            result.append(StreamWriter(folder / f"{stem}.embeddings.stream", overwrite=overwrite))
        else:
            raise FormatError(f"Format '{shown(name)}' is unknown; expected {known()}.")
    return result


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


def write(trajectory: Trajectory, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a trajectory; the name's ending says how.

    `talk.csv` and `talk.json` are tables, `talk.stream` holds the embeddings, `talk.annotation` becomes
    three pairs of files, `talk.arousal.annotation` and so on; with a dimension in its name just that one.

    Args:
        overwrite: also what emow2v did not write makes way

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies there
        FormatError: an ending that is not known, or a place that cannot be written
    """
    from emow2v.formats.ssi import AnnotationWriter, StreamWriter
    from emow2v.formats.table import CSVWriter, JSONWriter, NDJSONWriter

    path = Path(path)
    ending = path.suffix.lower()
    dimension = Path(path.stem).suffix[1:]
    if ending == ".annotation" and dimension in DIMENSIONS:
        record(trajectory, [AnnotationWriter(path, dimension, overwrite=overwrite)])
    elif ending == ".stream":
        record(trajectory, [StreamWriter(path, overwrite=overwrite)])
    elif ending == ".csv":  # talk.CSV stays talk.CSV
        record(trajectory, [CSVWriter(path, overwrite=overwrite)])
    elif ending == ".json":
        record(trajectory, [JSONWriter(path, overwrite=overwrite)])
    elif ending == ".ndjson":
        record(trajectory, [NDJSONWriter(path, overwrite=overwrite)])
    else:
        record(trajectory, writers([ending[1:]], path.parent, path.stem, overwrite=overwrite))
