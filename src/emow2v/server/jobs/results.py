"""What a job has to show: its recordings, and its values as a table, whether a prediction or a DISCOVER request wrote them."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emow2v import cards, citation, formats, storage
from emow2v.cards import Card
from emow2v.discover import job as discover
from emow2v.discover import options as opts
from emow2v.discover.names import snake_case
from emow2v.discover.places import Places, safe_name
from emow2v.errors import Emow2vError, FormatError, ModelError, RequestError
from emow2v.formats import record
from emow2v.formats.ssi_read import read_annotation
from emow2v.formats.table_read import Table, read_table
from emow2v.framing import Framing
from emow2v.server.jobs import predictions
from emow2v.server.jobs.store import Job
from emow2v.server.logs import one_line
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory

# What a table can be turned into; several files of one kind come as a zip.
EXPORTS = predictions.FORMATS | {"annotation": "application/zip"}
# Those that come as several files: CSV on the Web is a table with a description beside it, where the provenance stands.
ZIPPED = {"annotation": "annotation.zip", "csvw": "csv.zip"}
_PIECE = 4096  # rows


def name(job: Job) -> str:
    """What people call it: the recording of a prediction, the jobID of a DISCOVER request."""
    if job.kind != "prediction":
        return job.id
    return job.form.get("name") or job.form.get("path") or "upload"


def sessions(job: Job) -> list[str]:
    """Names of its recordings.

    Raises:
        RequestError: the stored request cannot be read
    """
    return [name(job)] if job.kind == "prediction" else discover.sessions(job.form)


def _session(job: Job, number: int) -> str:
    names = sessions(job)
    if number >= len(names):
        raise RequestError(f"session is {number}; expected 0 to {len(names) - 1}.")
    return names[number]


def recording(job: Job, number: int, places: Places) -> Path | bytes:
    """The recording of a session; nothing but what the job itself was allowed to read.

    Raises:
        RequestError: no such session, or the recording is gone
    """
    session = _session(job, number)
    if job.kind != "prediction":
        found = discover.recording(job.form, session, places)
    elif job.form.get("upload"):
        found = places.uploads / Path(job.form["upload"]).name
    else:
        found = places.input(job.form.get("path", ""))
    if isinstance(found, Path) and not storage.is_file(found):
        raise RequestError("The recording is gone; only its values are left.")
    return found


def heard(job: Job) -> dict[str, int | str]:
    """Track and channel of its recordings, where they were asked for.

    Raises:
        RequestError: the stored request cannot be read
    """
    if job.kind == "prediction":
        return opts.hearing(job.form)
    return opts.heard(opts.options({snake_case(name): value for name, value in job.form.items()}))


def uploads(job: Job, places: Places) -> set[Path]:
    """Files that were sent to the server for it."""
    if job.kind == "prediction" and job.form.get("upload"):
        return {places.uploads / Path(job.form["upload"]).name}
    found: set[Path] = set()
    try:
        count = len(sessions(job))
    except Emow2vError:
        return found
    for number in range(count):
        try:
            source = recording(job, number, places)
        except (Emow2vError, OSError):
            continue
        if isinstance(source, Path) and source.resolve().parent == places.uploads.resolve():
            found.add(source)
    return found


def stored(job: Job, places: Places) -> Path:
    """The table of a prediction that has finished."""
    return places.results(job.id) / f"{predictions.STEM}.{job.form.get('format', 'json')}"


def table(job: Job, number: int, places: Places) -> Table:
    """The values of a session that has finished.

    Raises:
        RequestError: no such session, or it wrote no values
        FormatError: what it wrote is gone, or something else lies there by now
    """
    session = _session(job, number)
    if job.kind == "prediction":
        if not storage.is_file(stored(job, places)):
            raise FormatError("The job's table is gone; post the recording again.")
        return next(iter(read_table(stored(job, places)).values()))
    curves = {
        output.port: read_annotation(output.path)
        for output in discover.outputs(job.form, session, places)
        if output.port in DIMENSIONS
    }
    if not curves:
        raise RequestError("The job wrote no annotations; expected arousal, dominance or valence among its outputs.")
    longest = max(curves.values(), key=len)
    rows = len(longest)
    scores, confidence = np.full((rows, len(DIMENSIONS)), np.nan), np.ones((rows, len(DIMENSIONS)))
    for port, curve in curves.items():
        if curve.scheme != "CONTINUOUS":
            raise FormatError(f"The annotation of {port} is {curve.scheme} by now; expected CONTINUOUS; run it again.")
        column = DIMENSIONS.index(port)
        scores[: len(curve), column] = curve.scores
        confidence[: len(curve), column] = curve.confidence
    return Table(longest.starts, longest.ends, scores, confidence.min(axis=1))


def export(job: Job, number: int, places: Places, wanted: str, folder: Path) -> Path:
    """Write a session's values in another format, as the command line writes them.

    Args:
        wanted: one of `EXPORTS` or `ZIPPED`
        folder: to write into, empty

    Returns:
        the file; a zip where the format has several

    Raises:
        Emow2vError: see `table`
    """
    values = table(job, number, places)
    cut = predictions.framing(job.form) if job.kind == "prediction" else _framing(job)
    first = cut.first_frame if job.kind == "prediction" else 0  # annotations hold rows before the start, too
    info = Info(name(job) if job.kind == "prediction" else _session(job, number), cut, job.provenance)
    record(
        Trajectory(info, lambda: _blocks(values, first)),
        formats.writers(["csv" if wanted == "csvw" else wanted], folder, stem(job, number)),
    )
    if wanted not in ZIPPED:
        return next(folder.glob(f"*.{wanted}"))
    return zipped(folder)


def stem(job: Job, number: int) -> str:
    """First part of the names of files that people save."""
    known = one_line(Path(_session(job, number)).stem)
    return safe_name(f"{job.id} {known}" if job.kind != "prediction" else known, "result")


def zipped(folder: Path) -> Path:
    """The files of a folder as a zip in it."""
    archive = folder / "annotations.zip"
    paths = sorted(folder.iterdir())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in paths:
            packed.write(path, path.name)
    return archive


def references(job: Job, served: Card) -> str:
    """BibTeX of what a finished job was computed with.

    Args:
        served: the card of the server's own model
    """
    model = str(job.provenance["model"])
    card: Card | None = served
    if model != served.name:
        try:
            card = cards.find(model)
        except ModelError:  # removed since
            card = None
    return citation.references(job.provenance, card)


def remove(job: Job, places: Places) -> None:
    """The results that wait to be fetched."""
    shutil.rmtree(places.results(job.id), ignore_errors=True)


def _framing(job: Job) -> Framing:
    return opts.framing({snake_case(key): value for key, value in job.form.items()})


def _blocks(values: Table, first: int) -> Iterator[Block]:
    for begin in range(0, len(values.starts), _PIECE):
        part = slice(begin, begin + _PIECE)
        yield Block(
            first=first + begin,
            starts=values.starts[part],
            ends=values.ends[part],
            embeddings=np.zeros((len(values.starts[part]), 0), np.float32),
            scores=values.scores[part].astype(np.float32),  # six decimals survive it
            confidence=np.repeat(values.confidence[part, None], len(DIMENSIONS), axis=1).astype(np.float32),
        )
