"""One file a format: writers that take a trajectory block by block, readers where the format is ours to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from emow2v.errors import FormatError
from emow2v.formats.files import Move, Staged, publish
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory


class Writer(Protocol):
    """Takes one trajectory; its files lie in `staged` until they are published.

    Attributes:
        staged: the files on their way
        clipped: values brought into 0..1 because the format's scheme says so
    """

    staged: Staged
    clipped: int

    def open(self, info: Info) -> None: ...

    def add(self, block: Block) -> None: ...

    def close(self) -> None: ...


def record(
    trajectory: Trajectory,
    writers: Sequence[Writer],
    progress: Callable[[Block], None] = lambda block: None,
    before_publish: Callable[[Sequence[Move]], None] = lambda moves: None,
) -> None:
    """One pass over the recording feeds all writers; then all files appear, or none.

    Args:
        progress: called after each block; may raise to stop, which leaves no file behind
        before_publish: called when all files are complete, before they appear, with what will be renamed; may raise likewise
    """
    try:
        for writer in writers:
            writer.open(trajectory.info)
        for block in trajectory:
            for writer in writers:
                writer.add(block)
            progress(block)
        for writer in writers:
            writer.close()
        publish([writer.staged for writer in writers], before_publish)
    except BaseException:
        for writer in writers:
            writer.staged.discard()
        raise


def writers(formats: Iterable[str], folder: Path, stem: str) -> list[Writer]:
    """Writers for results named after a recording.

    Args:
        formats: "csv", "json", "ndjson", "annotation" (three pairs of files, one a dimension) or "stream" (embeddings)
        folder: where they go; made where it is missing
        stem: first part of every name

    Raises:
        FormatError: a format that is not known
    """
    from emow2v.formats.ssi import AnnotationWriter, StreamWriter
    from emow2v.formats.table import CSVWriter, JSONWriter, NDJSONWriter

    result: list[Writer] = []
    for name in formats:
        if name == "csv":
            result.append(CSVWriter(folder / f"{stem}.csv"))
        elif name == "json":
            result.append(JSONWriter(folder / f"{stem}.json"))
        elif name == "ndjson":
            result.append(NDJSONWriter(folder / f"{stem}.ndjson"))
        elif name == "annotation":
            result += [AnnotationWriter(folder / f"{stem}.{one}.annotation", one) for one in DIMENSIONS]
        elif name == "stream":
            result.append(StreamWriter(folder / f"{stem}.embeddings.stream"))
        else:
            raise FormatError(f"Format '{name}' is unknown; expected csv, json, ndjson, annotation or stream.")
    return result


def write(trajectory: Trajectory, path: str | Path) -> None:
    """Write a trajectory; the name's ending says how.

    `talk.csv` and `talk.json` are tables, `talk.stream` holds the embeddings, `talk.annotation` becomes
    three pairs of files, `talk.arousal.annotation` and so on; with a dimension in its name just that one.

    Raises:
        FormatError: an ending that is not known, or a place that cannot be written
    """
    from emow2v.formats.ssi import AnnotationWriter, StreamWriter
    from emow2v.formats.table import CSVWriter, JSONWriter, NDJSONWriter

    path = Path(path)
    ending = path.suffix.lower()
    dimension = Path(path.stem).suffix[1:]
    if ending == ".annotation" and dimension in DIMENSIONS:
        record(trajectory, [AnnotationWriter(path, dimension)])
    elif ending == ".stream":
        record(trajectory, [StreamWriter(path)])
    elif ending in (".csv", ".json", ".ndjson"):  # talk.CSV stays talk.CSV
        tables: dict[str, Callable[[Path], Writer]] = {".csv": CSVWriter, ".json": JSONWriter, ".ndjson": NDJSONWriter}
        record(trajectory, [tables[ending](path)])
    else:
        record(trajectory, writers([ending[1:]], path.parent, path.stem))
