"""Routes of /v1 for the results of a job: values, sound, tables to save, and how to cite them."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from emow2v import citation, storage
from emow2v.discover.options import TrackChoice
from emow2v.discover.turn_list import path_of
from emow2v.errors import AudioError, Emow2vError
from emow2v.formats.table import COLUMNS
from emow2v.server.jobs import partial_rows, results
from emow2v.server.jobs.store import Job, Status
from emow2v.server.jobs.task import Task, task_of
from emow2v.server.resources.conditions import tag_of
from emow2v.server.resources.file_answer import FileAnswer, answer_with, answers_with, disposition
from emow2v.server.routes.waveform import waveform
from emow2v.server.state import ServerState

T = TypeVar("T")
Format = Literal["", "json", "csv", "csvw", "ndjson", "parquet", "annotation", "npz", "stream"]
Session = Annotated[int, Query(ge=0, le=10_000, description="Which of the job's recordings; a prediction has one.")]

MAX_JOBS = 200  # of one zip
MAX_ROWS = 1_000_000  # of one answer
DECODED_AT_ONCE = 2  # recordings for waveforms; further requests wait
# Media types for browsers. All other uploads are sent as bytes, so that none is shown as a page.
MEDIA = {
    ".aac": "audio/aac", ".flac": "audio/flac", ".m4a": "audio/mp4", ".mka": "audio/x-matroska", ".mkv": "video/x-matroska",
    ".mov": "video/quicktime", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".oga": "audio/ogg", ".ogg": "audio/ogg",
    ".opus": "audio/ogg", ".wav": "audio/wav", ".weba": "audio/webm", ".webm": "video/webm",
}  # fmt: skip
BYTES = "application/octet-stream"
PRIVATE = {"Cache-Control": "no-store"}  # an erased voice must not stay in a browser


class RowsModel(BaseModel):
    """Values from the row with the number `first` on; of a running job, those computed so far.

    `run` changes when the job starts again or goes on to its next recording; earlier rows are then void. The last column is
    speech, where the job looks for it; scores are null in rows without. `turns` says whether /turns lists the recording's turns,
    `embeddings` whether the job kept its embeddings.
    """

    run: str
    first: int
    total: int
    complete: bool
    turns: bool = False
    embeddings: bool = False
    columns: list[str]
    rows: list[list[float | None]]


class WaveformModel(BaseModel):
    """The lowest and highest sample of every `step` seconds, -1..1.

    `channels` is the number of channels of the track, `channel` the one that is shown: mix, left, right or a number.
    """

    duration: float
    channels: int
    channel: str
    step: float
    lowest: list[float]
    highest: list[float]


class CitationModel(BaseModel):
    """How to name the values in a paper: a paragraph for the methods section, and the references in BibTeX."""

    methods: str
    bibtex: str


def add(api: FastAPI, state: ServerState, find_job: Callable[..., Job]) -> None:
    """Add the routes.

    Args:
        find_job: gives a job by its id, or answers 404; with brief=True its form is shortened
    """
    places = state.places
    decoding = asyncio.Semaphore(DECODED_AT_ONCE)

    @api.get("/jobs/{job_id}/sessions")
    def sessions(job_id: str) -> list[str]:
        """Names of the job's recordings."""
        return task_of(find_job(job_id), places).sessions

    def results_folder(job: Job) -> Path:
        return places.of(job.owner).results(job.id)

    @api.get("/jobs/{job_id}/rows", response_model=RowsModel)
    def rows(
        job_id: str,
        first: Annotated[int, Query(ge=0, le=2**40)] = 0,
        run: Annotated[str, Query(max_length=100, description="As an earlier answer had it; empty for any.")] = "",
        session: Session = 0,
    ) -> Response:
        """The values so far; all of them when the job has finished."""
        job = find_job(job_id)
        if job.status is Status.FINISHED or job.kind == "batch":  # each of its recordings by itself
            task = task_of(job, places)
            values = or_404(lambda: task.table(session))
            columns = [values.starts, values.ends, values.scores, values.confidence]
            every = np.column_stack(columns if values.speech is None else [*columns, values.speech])
            turns = values.turns is not None or path_of(results_folder(job), session).is_file()
            has = {"turns": turns, "embeddings": task.arrays(session) is not None}
            return _rows("", every[first : first + MAX_ROWS], first, len(every), complete=True, has=has)
        now = partial_rows.read(results_folder(job), first, run)
        begin = first if now.run == run or not run else 0
        return _rows(now.run, now.rows[:MAX_ROWS], begin, begin + len(now.rows), complete=False)

    @api.get("/jobs/{job_id}/waveform")
    async def peaks(
        answer: Response,
        job_id: str,
        points: Annotated[int, Query(ge=2, le=100_000)] = 2000,
        session: Session = 0,
        channel: Annotated[Literal["", "left", "right"], Query(description="Empty: the one that was used.")] = "",
    ) -> WaveformModel:
        """The waveform of the track that was used, in at most `points` points and at least half as many."""
        task = task_of(await run_in_threadpool(find_job, job_id), places)
        source = await run_in_threadpool(or_404, lambda: results.recording(task, session))
        choice = or_404(lambda: task.track_choice)
        if channel:
            choice = choice | TrackChoice(channel=channel)
        async with decoding:
            try:
                sound = io.BytesIO(source) if isinstance(source, bytes) else source
                seen = await run_in_threadpool(partial(waveform, sound, points, **choice))
            except AudioError as error:  # the places of uploads are not shown
                raise HTTPException(
                    404, str(error).replace(str(source), storage.shown(task.sessions[session]))
                ) from None
        answer.headers.update(PRIVATE)
        return WaveformModel(
            duration=seen.duration,
            channels=seen.channels,
            channel=str(choice.get("channel", "mix")),
            step=seen.step,
            lowest=[round(float(value), 4) for value in seen.lowest],
            highest=[round(float(value), 4) for value in seen.highest],
        )

    @api.get(
        "/jobs/{job_id}/audio",
        response_class=Response,
        responses=answers_with(sorted({*MEDIA.values(), BYTES}), "The recording as it was sent."),
    )
    def audio(request: Request, job_id: str, session: Session = 0) -> Response:
        """The job's recording, to listen to."""
        task = task_of(find_job(job_id), places)
        source = or_404(lambda: results.recording(task, session))
        if isinstance(source, bytes):  # the request contained it
            return Response(source, media_type=BYTES, headers=PRIVATE)
        kind = MEDIA.get(source.suffix.lower(), BYTES)
        return answer_with(
            request,
            lambda: tag_of(_facts_of_file(source)),
            lambda: open_file(source),
            media_type=kind,
            headers=PRIVATE,
        )

    described: dict[str, Any] = {
        "response_class": Response,
        "responses": answers_with(
            [*results.EXPORTS.values(), BYTES], "The table; annotations, streams and CSV with provenance as a zip."
        ),
    }

    @api.head("/jobs/{job_id}/result", **described)
    @api.get("/jobs/{job_id}/result", **described)
    def result_of(
        request: Request,
        job_id: str,
        table: Annotated[
            Format, Query(alias="format", description="Empty: the format that the job was posted with.")
        ] = "",
        session: Annotated[
            int | None,
            Query(ge=0, le=10_000, description="Which of the job's recordings; empty: the first, or the table of all."),
        ] = None,
    ) -> Response:
        """The values of a finished job, in any format; of a job of many recordings the table of all, or those of one.

        A download that was cut off can go on (`Range`, `If-Range`).
        """
        job = find_job(job_id)
        if job.kind == "batch" and session is None:
            from emow2v.server.batches import downloads  # whose module needs this one

            return downloads.table_of_all(job, state, table, request)
        return result(job, state, table, session or 0, request)

    zipped: dict[str, Any] = {
        "response_class": Response,
        "responses": answers_with(["application/zip"], "A zip with the tables."),
    }

    @api.head("/results", **zipped)
    @api.get("/results", **zipped)
    def results_of(
        request: Request,
        jobs: Annotated[str, Query(max_length=20_000, description="Ids of finished jobs, with commas between them.")],
        table: Annotated[
            Literal["csv", "csvw", "json", "ndjson", "parquet", "annotation"], Query(alias="format")
        ] = "csvw",
    ) -> Response:
        """The values of several finished jobs in one zip. A download that was cut off can go on (`Range`, `If-Range`)."""
        ids = [one for one in dict.fromkeys(one.strip() for one in jobs.split(",")) if one]
        if not 0 < len(ids) <= MAX_JOBS:
            raise HTTPException(422, f"jobs has {len(ids)} ids; expected 1 to {MAX_JOBS}, with commas between them.")
        found = [find_job(one) for one in ids]
        for job in found:
            check_finished(job)
        chosen = [(task_of(job, places), job.provenance) for job in found]
        parts = [
            (job, task, number)
            for job, (task, _) in zip(found, chosen, strict=True)
            for number in range(len(task.sessions))
        ]
        return made_answer(
            request,
            lambda: tag_of([table, *(_facts(state, *part) for part in parts), results.made_by()]),
            results_folder(found[0]),
            lambda folder: results.export_all(chosen, table, folder),
            media_type="application/zip",
            filename="results.zip",
        )

    @api.get("/jobs/{job_id}/citation")
    def cite(job_id: str) -> CitationModel:
        """A methods paragraph and BibTeX for a job that has finished, from its provenance."""
        job = find_job(job_id, brief=True)
        check_finished(job)
        return CitationModel(
            methods=citation.methods(job.provenance), bibtex=results.references(job.provenance, state.card)
        )


def result(
    job: Job, state: ServerState, file_format: str = "", session: int = 0, request: Request | None = None
) -> Response:
    """The answer with a session's table: the stored file, or one made in another format.

    Args:
        request: whose conditions and ranges count; None for a POST
    """
    if job.kind != "batch":  # of which each recording has its own state
        check_finished(job)
    task = task_of(job, state.places)
    file_format = file_format or ("csv" if job.kind == "batch" else task.default_format)
    stem = or_404(lambda: task.stem(session))
    stored = or_404(lambda: task.arrays(session) if file_format == "npz" else task.stored(file_format, session))
    if stored is not None:
        return answer_with(
            request,
            lambda: tag_of([file_format, _facts(state, job, task, session)]),
            lambda: open_file(stored),
            media_type=results.EXPORTS.get(file_format, BYTES),
            headers=PRIVATE | disposition(f"{stem}.{file_format}"),
        )
    return made_answer(
        request,
        lambda: tag_of([file_format, _facts(state, job, task, session), results.made_by()]),
        state.places.of(job.owner).results(job.id),
        lambda folder: results.export(task, job.provenance, session, file_format, folder),
        media_type=results.EXPORTS.get(file_format, "application/zip"),
        filename=f"{stem}.{results.ZIPPED.get(file_format, file_format)}",
    )


def _facts(state: ServerState, job: Job, task: Task, session: int) -> list[object]:
    """What tells a session's values from all others; 404 or 409 where they are those of the job no more."""
    now = state.jobs.now(job)
    if now is None:
        raise HTTPException(404, f"The job {job.id} was erased.")
    if now.number != job.number:
        raise HTTPException(409, f"The job {job.id} was replaced by another.")
    return [job.owner, job.number, job.posted, session, *or_404(lambda: results.identity(task, session))]


def _facts_of_file(path: Path) -> list[object]:
    """What tells a file's content from another one at its place; 404 where it is gone."""
    seen = or_404(path.stat)
    return [path.name, seen.st_ino, seen.st_size, seen.st_mtime_ns]


def open_file(path: Path) -> IO[bytes]:
    """A file of a job; 404 where it is gone."""
    return or_404(lambda: path.open("rb"))


def made_answer(
    request: Request | None,
    tag_now: Callable[[], str],
    beside: Path,
    make: Callable[[Path], Path],
    *,
    media_type: str,
    filename: str,
) -> Response:
    """The answer with a file that is made for it; see `answer_with` and `made_once`."""
    folders: list[Path] = []

    def open_made() -> IO[bytes]:
        folder, made = made_once(beside, make)
        folders.append(folder)
        return open_file(made)

    def remove() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    headers = PRIVATE | disposition(filename)
    return answer_with(request, tag_now, open_made, media_type=media_type, headers=headers, sent=remove)


def made_once(beside: Path, make: Callable[[Path], Path]) -> tuple[Path, Path]:
    """A new folder, and a file that is made in it; 404 with the sentence of an error.

    Args:
        beside: a job's folder of results
        make: writes into an empty folder, and returns the file
    """
    folder = results.temporary(beside)
    folder.mkdir(parents=True)
    try:
        return folder, or_404(lambda: make(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sent_once(beside: Path, make: Callable[[Path], Path], *, media_type: str, filename: str) -> Response:
    """The answer with a file that is made for it, and removed when it was sent; 404 with the sentence of an error.

    Args:
        beside: a job's folder of results
        make: writes into an empty folder, and returns the file
    """
    folder, made = made_once(beside, make)
    return FileAnswer(
        open_file(made),
        media_type=media_type,
        headers=PRIVATE | disposition(filename),
        sent=partial(shutil.rmtree, folder, ignore_errors=True),
    )


def check_finished(job: Job) -> None:
    """Answer 409 where a job has not finished."""
    if job.status is not Status.FINISHED:
        raise HTTPException(409, f"The job is {job.status.name.lower()}; its result comes when it has finished.")


def or_404(function: Callable[[], T]) -> T:
    """The result of a function; 404 with the sentence of its error, or where a file of the job is gone."""
    try:
        return function()
    except FileNotFoundError:  # the job was erased after it was found
        raise HTTPException(
            404, "The job's files are gone: it was erased meanwhile, or they were removed; post the recording again."
        ) from None
    except Emow2vError as error:
        raise HTTPException(404, str(error)) from None


def _rows(
    run: str,
    rows: np.ndarray[Any, np.dtype[np.float64]],
    first: int,
    total: int,
    *,
    complete: bool,
    has: Mapping[str, bool] | None = None,
) -> Response:
    """JSON without a model, which would check the 90,000 rows of an hour one by one; the json of Python takes five times as long."""
    columns = (*COLUMNS[1:], "speech")[: rows.shape[1]]
    head = {"run": run, "first": first, "total": total, "complete": complete, "columns": columns}
    head |= {"turns": False, "embeddings": False, **(has or {})}
    content = to_json({**head, "rows": rows.round(6).tolist()}, inf_nan_mode="null")
    return Response(content, headers=PRIVATE, media_type="application/json")
