"""Results of finished jobs: the recording, the values in any format, files to download, and how to cite them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emow2v import cards, citation, formats, storage
from emow2v._version import __version__
from emow2v.cards import Card
from emow2v.errors import Emow2vError, ModelError, RequestError
from emow2v.formats import record
from emow2v.formats.npz import embeddings_in
from emow2v.formats.run_table import ParquetWriter
from emow2v.formats.table_read import Table
from emow2v.server.batches.task import BatchTask
from emow2v.server.jobs.prediction_form import FORMATS
from emow2v.server.jobs.task import Task
from emow2v.sources.remote import Remote
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory

# Formats of a table and their media types. Several files of one format come as a zip.
EXPORTS = FORMATS | {"annotation": "application/zip"}
# Formats of several files, and the ending of the zip. "csvw" is CSV on the Web: a table, and a description with the provenance.
ZIPPED = {"annotation": "annotation.zip", "csvw": "csv.zip", "stream": "embeddings.zip"}
WITH_EMBEDDINGS = ("npz", "stream")  # of jobs that kept them
_ROWS = 4096  # of a block
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # that a zip can state

Date = tuple[int, int, int, int, int, int]


def recording(task: Task, number: int) -> Path | bytes:
    """The recording of a session, which the job itself was allowed to read.

    Raises:
        RequestError: there is no such session, or the recording is gone
    """
    source = task.recording(number)
    if isinstance(source, Remote):
        raise RequestError("The recording was fetched from an address and not kept; only its values are here.")
    if isinstance(source, Path) and not storage.is_file(source):
        raise RequestError("The recording is gone; only its values are left.")
    return source


def export(task: Task, provenance: Mapping[str, str | float], number: int, file_format: str, folder: Path) -> Path:
    """Write a session's values in a format, as the command line writes them.

    Args:
        provenance: of the job
        number: of the session
        file_format: one of `EXPORTS` or `ZIPPED`
        folder: an empty folder to write into

    Returns:
        the file; a zip where the format has several files

    Raises:
        Emow2vError: there is no such session, or its values are gone
    """
    files = files_of(task, provenance, number, file_format, folder, task.stem(number))
    if file_format not in ZIPPED:
        return files[0]
    date = computed(task, number)
    return zip_files(folder / "annotations.zip", {path.name: path for path in files}, dates=dict.fromkeys(files, date))


def export_all(jobs: Sequence[tuple[Task, Mapping[str, str | float]]], file_format: str, folder: Path) -> Path:
    """Write the values of several jobs in a format, a file or more for each of their sessions, into one zip.

    Args:
        jobs: tasks with the provenance of their jobs; where names of recordings are the same, files get numbers
        file_format, folder: as for `export`

    Returns:
        the zip

    Raises:
        Emow2vError: the values of a job are gone, or the format has none of their kind; the sentence names the recording
    """
    files: dict[str, Path] = {}
    dates: dict[Path, Date] = {}
    stems: set[str] = set()
    for task, provenance in jobs:
        for number, name in enumerate(task.sessions):
            if isinstance(task, BatchTask) and not storage.is_file(task.file(number)):
                continue  # it has failed
            place = folder / str(len(stems))
            place.mkdir()
            stem = storage.take_name(task.stem(number), stems, "{} {}")
            try:
                written = files_of(task, provenance, number, file_format, place, stem)
            except Emow2vError as error:
                raise type(error)(f"{storage.shown(name)}: {error}") from None
            files |= {path.name: path for path in written}
            dates |= dict.fromkeys(written, computed(task, number))
    return zip_files(folder / "results.zip", files, dates=dates)


def identity(task: Task, number: int) -> list[object]:
    """What changes with each change of a session's values: the files that they are read from."""
    found: list[object] = []
    for path in task.files(number):
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            found.append((path.name, state.st_ino, state.st_size, state.st_mtime_ns))
    return found


def made_by() -> list[str]:
    """The programs that make files of values: another version may write other bytes for the same values."""
    packages = [f"{name} {version(name)}" for name in ("numpy", "pyarrow") if find_spec(name)]
    return [__version__, sys.version, zlib.ZLIB_RUNTIME_VERSION, *packages]


def computed(task: Task, number: int) -> Date:
    """When the values of a session were computed, UTC: files in a zip have that date, so that a zip has the same bytes again."""
    return date_of(task.files(number))


def date_of(files: Sequence[Path]) -> Date:
    """When the last of some files was changed, UTC."""
    times = [path.stat().st_mtime for path in files if path.is_file()]
    moment = time.gmtime(max(times, default=0))
    return max(moment[:6], _FIRST_DATE)


def files_of(
    task: Task, provenance: Mapping[str, str | float], number: int, file_format: str, folder: Path, stem: str
) -> list[Path]:
    """Write the files of `export` into an empty folder.

    Args:
        stem: the beginning of their names
    """
    values, arrays = task.table(number), None
    if file_format in WITH_EMBEDDINGS:
        arrays = task.arrays(number)
        if arrays is None:
            raise RequestError("The job kept no embeddings; expected one that was posted with embeddings=true.")
        if file_format == "npz":
            return [arrays]
    speech, turns = values.speech is not None, values.turns is not None
    if turns and file_format in formats.REGULAR:
        raise RequestError(
            f"The format {file_format} has a value every step; turns have none; expected csv, csvw, json or ndjson."
        )
    info = Info(task.sessions[number], task.framing, dict(provenance), speech=speech, turns=turns)
    if file_format == "parquet":
        arrays = task.arrays(number)
        path = folder / f"{formats.shorten(stem)}.parquet"
        writers: list[formats.Writer] = [ParquetWriter(path, embeddings=arrays is not None)]
    else:
        writers = formats.writers(["csv" if file_format == "csvw" else file_format], folder, stem)
    record(Trajectory(info, lambda: _blocks(values, task.first_row, arrays)), writers)
    written = sorted(folder.iterdir())
    several = file_format in ZIPPED
    return [path for path in written if several or path.suffix == f".{file_format}"]


def zip_files(archive: Path, files: Mapping[str, Path], *, dates: Mapping[Path, Date] | None = None) -> Path:
    """Write a zip.

    Args:
        archive: its path
        files: by their names inside the zip
        dates: of each file, whose content is compressed then; default: those that the files have, without compression

    Raises:
        OSError: a file is gone, or the zip cannot be written; nothing is left of it then
    """
    try:
        with zipfile.ZipFile(archive, "w") as packed:
            for name, path in files.items():
                if dates is None:
                    packed.write(path, name)
                else:
                    _add_dated(packed, name, path, dates[path])
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    return archive


def _add_dated(packed: zipfile.ZipFile, name: str, path: Path, date: Date) -> None:
    entry = zipfile.ZipInfo(name, date)
    entry.compress_type, entry.external_attr, entry.file_size = zipfile.ZIP_DEFLATED, 0o600 << 16, path.stat().st_size
    with path.open("rb") as source, packed.open(entry, "w") as member:
        shutil.copyfileobj(source, member, 1 << 20)


def temporary(folder: Path, ending: str = "") -> Path:
    """A path beside a job's folder of results for files that are sent once; the next start of the server removes it."""
    return folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{ending}")


def references(provenance: Mapping[str, str | float], served: Card) -> str:
    """BibTeX of what a finished job was computed with.

    Args:
        served: the card of the server's own model
    """
    model = str(provenance["model"])
    card: Card | None = served
    if model != served.name:
        try:
            card = cards.find(model)
        except ModelError:  # removed since
            card = None
    return citation.references(provenance, card)


def _blocks(values: Table, first: int, arrays: Path | None = None) -> Iterator[Block]:
    """Blocks of a table, with the embeddings of a file of arrays if there is one."""
    kept = None if arrays is None else embeddings_in(arrays, _ROWS)
    for begin in range(0, len(values.starts), _ROWS):
        part = slice(begin, begin + _ROWS)
        yield Block(
            first=first + begin,
            starts=values.starts[part],
            ends=values.ends[part],
            embeddings=np.zeros((len(values.starts[part]), 0), np.float32) if kept is None else next(kept),
            scores=values.scores[part].astype(np.float32),  # six decimals survive it
            confidence=np.repeat(values.confidence[part, None], len(DIMENSIONS), axis=1).astype(np.float32),
            speech=None if values.speech is None else values.speech[part].astype(np.float32),
            turns=None if values.turns is None else values.turns.part(part),
        )
