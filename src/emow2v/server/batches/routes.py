"""The routes of /v1 for jobs of many recordings: one form in; states of the files, failures, and a zip out."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from emow2v import storage
from emow2v.discover.places import Places
from emow2v.errors import FormatError, RequestError
from emow2v.server.batches import choosing, downloads
from emow2v.server.batches.form import OptionFields, Taken
from emow2v.server.batches.task import BatchTask
from emow2v.server.callbacks.delivery import check_callback
from emow2v.server.jobs.store import Job
from emow2v.server.jobs.store.keys import RequestKey
from emow2v.server.jobs.store.recordings import Recorded, RecordingState
from emow2v.server.jobs.task import task_of
from emow2v.server.jobs.uploads import keep
from emow2v.server.resources.request_keys import HEADER, REPLAYED, KeyHeader, request_key
from emow2v.server.routes import views
from emow2v.server.routes.answers import JobModel
from emow2v.server.state import ServerState
from emow2v.server.uploads.files import Upload
from emow2v.server.uploads.routes import refusing

logger = logging.getLogger("emow2v.server")

PATH = "/batches"
MOST_UPLOADS = 200  # of one request: each is an open file until all have come
TAKEN = Taken(
    files=MOST_UPLOADS,
    fields=choosing.MOST + 100,
    part_bytes=1 << 12,
    repeated=("file", "path", "folder", "pattern", "upload"),
)


class JobFileModel(BaseModel):
    """A recording of a job: its number is the `session` of /result, /rows and /audio."""

    number: int
    name: str
    state: RecordingState
    rows: int
    seconds: float
    error: str
    notices: list[str]


class JobFilesModel(BaseModel):
    """Recordings of a job from the number `first` on, of `total` in the chosen state."""

    first: int
    total: int
    files: list[JobFileModel]


def add(api: FastAPI, state: ServerState, to_model: Callable[[Job], JobModel], find_job: Callable[..., Job]) -> None:
    """Add the routes.

    Args:
        to_model: describes a job
        find_job: gives a job by its id, or answers 404
    """
    options, store, own, places = state.options, state.store, state.jobs, state.places

    @api.post(
        PATH,
        status_code=202,
        response_class=JSONResponse,
        responses={202: {"model": JobModel, "description": "Accepted; ask for the job, then for its result."}},
    )
    async def batch(
        request: Request,
        options_of: OptionFields,
        folder: Annotated[
            list[str] | None,
            Form(
                description="Folder below the server's data folders, with those below it; . for the data folders themselves."
            ),
        ] = None,
        pattern: Annotated[
            list[str] | None,
            Form(
                description="Which recordings of the folder: of names (*.wav), or of paths below it (session1/**/*.wav)."
            ),
        ] = None,
        recursive: Annotated[bool, Form(description="false: not the folders below.")] = True,
        path: Annotated[list[str] | None, Form(description="A recording below the data folders.")] = None,
        file: Annotated[list[UploadFile] | None, File(description="A recording: any audio or video file.")] = None,
        upload: Annotated[
            list[str] | None, Form(description="The id of a resumable upload (/v1/uploads) that is finished.")
        ] = None,
        table: Annotated[
            Literal["csv", "json", "ndjson", "parquet"], Form(alias="format", description="Format of the table.")
        ] = "csv",
        idempotency_key: KeyHeader = None,
    ) -> Response:
        """One job for many recordings: of folders, of a list of paths, or of uploads; any of these may be repeated.

        Its result is one table. A recording that fails does not stop the others.
        """
        job_id = secrets.token_hex(12)
        client = request.client.host if request.client else ""
        uploads = [one for one in file or [] if one.filename or one.size]
        sent_keys = request.headers.getlist(HEADER)
        asked = {"folder": folder or [], "pattern": pattern or [], "path": path or [], "recursive": recursive}
        asked |= {"upload": upload} if upload else {}
        fields = options_of | {"format": table, "recordings": json.dumps(asked)}

        def post() -> Job:
            contents = [("file", one.filename or "", one.file) for one in uploads]
            key = request_key(sent_keys, "/v1/batches", fields, contents)
            if key is not None and (posted := own.posted_with(key)) is not None:
                return posted
            if options_of["callback"]:
                check_callback(options_of["callback"], options)
            with refusing(), contextlib.ExitStack() as held:
                taken = [
                    held.enter_context(state.resumable.used(own.places, one)) for one in dict.fromkeys(upload or [])
                ]
                return submit(key, taken)

        def submit(key: RequestKey | None, sent_before: Sequence[Upload]) -> Job:
            here, form = own.places, options_of | {"format": table}
            if folder and not options.lists_data:
                raise RequestError(
                    "The folders of the server are not listed, because it was started without --data-dir; name paths."
                )
            names, below = _named(here, folder or [], pattern or [], path or [], recursive, form)
            if (number := len(names) + len(uploads) + len(sent_before)) > choosing.MOST:
                raise choosing.too_many(f"The request has {number} recordings")
            if not number:
                raise RequestError(
                    "There is no recording; expected a folder, paths below the data folders, files or uploads."
                )
            stored: dict[str, str] = {}
            try:
                with own.room(sum(one.size or 0 for one in uploads)):
                    taken = {name.casefold() for name in names}
                    for one in uploads:
                        stored[_own_name(one.filename or "upload", taken)] = keep(
                            one.file, one.filename or "", here.uploads
                        )
                    before = {_own_name(one.name or one.id, taken): one.id for one in sent_before}
                every = [*names, *stored, *before]
                chosen = choosing.with_results(here, every, below, stored | before)
                form["recordings"] = json.dumps([[one.name, one.folder, one.stem, one.upload] for one in chosen])
                form["title"] = _title(folder or [], every)
                task = BatchTask(job_id, form, here, options.context)
                task.check(state.card)
                seconds = task.stated_s() if own.counts_sound else 0.0
                job = own.submit(job_id, form, "batch", seconds, key, len(chosen))
            except BaseException:
                remove_uploads(here, stored)
                raise
            if job.id != job_id:  # the same request has come twice at once
                remove_uploads(here, stored)
            return job

        def remove_uploads(here: Places, stored: dict[str, str]) -> None:
            for name in stored.values():
                here.upload(name).unlink(missing_ok=True)

        async with state.checking:
            job = await run_in_threadpool(post)
        replayed = REPLAYED if job.id != job_id else {}
        said = "asked for again" if replayed else "posted"
        logger.info("job %s: %s", job.id, said, extra={"job": job.id, "client": client})
        state.workers.wake()
        model = await run_in_threadpool(to_model, job)
        return JSONResponse(model.model_dump(), 202, headers={"Location": f"jobs/{job.id}", **replayed})

    def find_batch(job_id: str) -> tuple[Job, BatchTask]:
        job = find_job(job_id)
        task = task_of(job, places)
        if not isinstance(task, BatchTask):
            raise HTTPException(404, "The job has one recording; expected a job of many, as /v1/batches posts it.")
        return job, task

    @api.get("/jobs/{job_id}/files")
    def files(
        job_id: str,
        answer: Response,
        first: Annotated[int, Query(ge=0, le=10_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        state: Annotated[RecordingState | Literal[""], Query(description="Empty: those of every state.")] = "",
    ) -> JobFilesModel:
        """The recordings of a job of many, and what has become of each."""
        answer.headers.update(views.PRIVATE)
        job, task = find_batch(job_id)
        known = {one.place: one for one in store.recordings(job)}
        every = ((place, known.get(place, Recorded(place))) for place in range(len(task.chosen)))
        found = [one for _, one in every if not state or one.state == state]
        shown = [
            JobFileModel(
                number=one.place, name=storage.one_line(task.chosen[one.place].name), state=one.state, rows=one.rows,
                seconds=round(one.seconds, 3), error=one.error, notices=list(one.notices),
            )
            for one in found[first : first + limit]
        ]  # fmt: skip
        return JobFilesModel(first=first, total=len(found), files=shown)

    @api.get(
        "/jobs/{job_id}/failures",
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}, "description": "The table: file and error."}},
    )
    def failures(job_id: str) -> Response:
        """Which recordings of a job of many have failed, with a sentence each, as CSV."""
        job, task = find_batch(job_id)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("file", "error"))
        writer.writerows(
            (task.chosen[one.place].name, one.error) for one in store.recordings(job) if one.state == "failed"
        )
        head = views.PRIVATE | {"Content-Disposition": 'attachment; filename="failures.csv"'}
        return Response(
            text.getvalue().encode(errors="backslashreplace"), media_type="text/csv; charset=utf-8", headers=head
        )

    @api.get(
        "/jobs/{job_id}/zip",
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}, "description": "A file, or more, for each recording."}},
    )
    def zipped(
        job_id: str,
        file_format: Annotated[
            Literal["csvw", "json", "ndjson", "annotation", "npz", "stream"], Query(alias="format")
        ] = "csvw",
    ) -> Response:
        """The results of each recording of a finished job, in the folders of the recordings, and the list of failures."""
        job, task = find_batch(job_id)
        views.check_finished(job)
        done = [one.place for one in store.recordings(job) if one.state == "done"]
        return views.sent_once(
            task.folder.parent,
            lambda folder: downloads.zip_of(task, job.provenance, done, file_format, folder),
            media_type="application/zip",
            filename="results.zip",
        )


def _named(
    places: Places, folders: list[str], patterns: list[str], paths: list[str], recursive: bool, form: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The recordings of folders and paths, each once, and the folders of those that come from one; notices go into the form."""
    if patterns and not folders:
        raise FormatError("pattern chooses recordings of a folder; expected a folder with it.")
    if len(patterns) > choosing.MOST_PATTERNS:
        raise FormatError(f"The form has {len(patterns)} patterns; expected at most {choosing.MOST_PATTERNS}.")
    below: dict[str, str] = {}
    sentences = []
    for folder in folders:
        top = "" if folder in (".", "./") else folder.replace("\\", "/").strip("/")
        found, left_out = choosing.in_folder(places, top, patterns, recursive=recursive)
        below |= {name: top for name in found if name not in below}
        sentences += [left_out] if left_out else []
    form["left_out"] = json.dumps(sentences) if sentences else ""
    listed = choosing.of_paths(places, paths)
    return list(dict.fromkeys([*below, *listed])), below


def _own_name(name: str, taken: set[str]) -> str:
    """The client's name of an upload, with a number where another one of the job has it."""
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (name, "")
    free = storage.free_name(stem, lambda stem: f"{stem}{ending}".casefold() in taken)
    taken.add(f"{free}{ending}".casefold())
    return f"{free}{ending}"


def _title(folders: list[str], names: list[str]) -> str:
    """What people see as the name of the job."""
    count = storage.counted(len(names), "recording")
    if len(folders) == 1:
        top = folders[0].replace("\\", "/").strip("./")
        return f"{top + '/' if top else 'data folder'}: {count}"
    return names[0] if len(names) == 1 else f"{storage.shown(names[0])} and {len(names) - 1} more"
