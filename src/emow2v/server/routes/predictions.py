"""The route of /v1 for a prediction: a form in, a table or a job out."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import IO, Annotated, Literal

from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from emow2v.discover.places import Places
from emow2v.discover.turn_inputs import MAX_BYTES
from emow2v.errors import FormatError, RequestError
from emow2v.server.batches.form import OptionFields, Taken
from emow2v.server.callbacks.delivery import check_callback
from emow2v.server.failures import headers
from emow2v.server.jobs.prediction import PredictionTask
from emow2v.server.jobs.prediction_form import FORMATS
from emow2v.server.jobs.store import Job, RequestKey, Status
from emow2v.server.jobs.uploads import keep, keep_segments
from emow2v.server.people.own import OwnJobs
from emow2v.server.resources.request_keys import HEADER, REPLAYED, KeyHeader, request_key
from emow2v.server.routes import views
from emow2v.server.routes.answers import JobModel
from emow2v.server.state import ServerState
from emow2v.server.uploads.routes import refusing
from emow2v.sources.address import MAX_LENGTH
from emow2v.sources.turns import TurnFiles

logger = logging.getLogger("emow2v.server")

LOOK_S = (0.02, 0.25)  # least and greatest time between two looks at a job that a client waits for
MAX_WAIT_S = 3600
# A form has at most a recording, and an annotation of NOVA in its two files; these fields may come more than once
TAKEN = Taken(files=3, fields=50, part_bytes=1 << 16, repeated=("segments", "tier"))


def add(api: FastAPI, state: ServerState, to_model: Callable[[Job], JobModel]) -> None:
    """Add the route.

    Args:
        to_model: describes a job
    """
    options, store, own = state.options, state.store, state.jobs

    @api.post(
        "/predictions",
        responses={
            200: {"content": {kind.partition(";")[0]: {} for kind in FORMATS.values()}, "description": "The table."},
            202: {"model": JobModel, "description": "Accepted; ask for the job, then for its result."},
        },
        response_class=Response,
    )
    async def predict(
        request: Request,
        options_of: OptionFields,
        file: Annotated[UploadFile | None, File(description="A recording: any audio or video file.")] = None,
        upload: Annotated[
            str,
            Form(max_length=100, description="Instead: the id of a resumable upload (/v1/uploads) that is finished."),
        ] = "",
        path: Annotated[str, Form(description="Instead: a recording below the server's data folders.")] = "",
        url: Annotated[
            str,
            Form(
                max_length=MAX_LENGTH,
                description="Instead: a recording at an address of http or https, on a host that the administrator allows.",
            ),
        ] = "",
        table: Annotated[
            Literal["json", "csv", "ndjson", "parquet"], Form(alias="format", description="Format of the answer.")
        ] = "json",
        segments: Annotated[
            list[UploadFile] | None,
            File(
                description="Who speaks when: a file of ELAN, Praat, whisper or others; both files of an annotation of NOVA."
            ),
        ] = None,
        segments_path: Annotated[str, Form(description="Instead: such a file below the server's data folders.")] = "",
        segments_url: Annotated[
            str,
            Form(
                max_length=MAX_LENGTH,
                description="Instead: such a file at an address, on a host that the administrator allows.",
            ),
        ] = "",
        tier: Annotated[
            list[str] | None,
            Form(description="Tier or speaker whose turns are taken; VP=right takes its sound from the right channel."),
        ] = None,
        wait: Annotated[
            bool,
            Form(description="true: answer with the table when it is computed; false: answer with the job at once."),
        ] = True,
        idempotency_key: KeyHeader = None,
    ) -> Response:
        """Scores of a recording."""
        form = options_of | {
            "path": path, "url": url, "format": table, "segments_path": segments_path,
            "tier": json.dumps([one for one in tier or [] if one]) if any(tier or []) else "",
        }  # fmt: skip
        callback = form["callback"]
        with_turns = [
            one for one in segments or [] if one.filename or one.size
        ]  # pages also send a field without a file
        if any((one.size or 0) > MAX_BYTES for one in with_turns):
            raise HTTPException(
                413, f"segments has more than {MAX_BYTES >> 20} MiB; expected turns; leave tiers of words out."
            )
        job_id = secrets.token_hex(12)
        client = request.client.host if request.client else ""
        sent_keys = request.headers.getlist(HEADER)
        fields = form | {"segments_url": segments_url, "upload": upload}
        uploads = [("file", file)] if file is not None else []
        uploads += [("segments", one) for one in with_turns]

        def post() -> Job:
            contents = [(field, one.filename or "", one.file) for field, one in uploads]
            key = request_key(sent_keys, "/v1/predictions", fields, contents)
            if key is not None and (posted := own.posted_with(key)) is not None:
                return posted
            if callback:
                check_callback(callback, options)
            if not upload:
                return submit(key)
            if file is not None:
                raise RequestError("file and upload name 2 recordings; expected one of them.")
            with refusing(), state.resumable.used(own.places, upload) as taken:
                form["name"], form["upload"] = taken.name or taken.id, taken.id
                return submit(key)

        def submit(key: RequestKey | None) -> Job:
            places = own.places
            sizes = sum(one.size or 0 for _, one in uploads)
            own.check_room(sizes)
            files: dict[str, IO[bytes]] = {one.filename or "segments": one.file for one in with_turns}
            sent = len(with_turns)
            if segments_url:
                fetched = _fetched(segments_url, bool(files or segments_path), places)
                files, sent = {**fetched}, len(fetched)
                sizes += sum(one.getbuffer().nbytes for one in fetched.values())
            try:
                with own.room(sizes):
                    if file is not None:
                        form["name"] = file.filename or "upload"
                        form["upload"] = keep(file.file, file.filename or "", places.uploads)
                    if files:
                        form["segments"], form["segments_name"] = keep_segments(files, sent, places.uploads)
                with contextlib.closing(PredictionTask(job_id, form, places, options.context)) as task:
                    seconds = task.check(state.card, options.max_duration_s)
                job = own.submit(job_id, form, "prediction", seconds, key)
            except BaseException:
                remove_uploads(places)
                raise
            if job.id != job_id:  # the same request has come twice at once
                remove_uploads(places)
            return job

        def remove_uploads(places: Places) -> None:
            """Remove what came with this request; a resumable upload stays."""
            for stored in PredictionTask(job_id, form, places).owned - {places.upload(upload)}:
                stored.unlink(missing_ok=True)

        async with state.checking:
            job = await run_in_threadpool(post)
        replayed = REPLAYED if job.id != job_id else {}
        logger.info(
            "job %s: %s", job.id, "asked for again" if replayed else "posted", extra={"job": job.id, "client": client}
        )
        state.workers.wake()
        if not wait:
            described = await run_in_threadpool(to_model, job)
            return JSONResponse(described.model_dump(), 202, headers={"Location": f"jobs/{job.id}", **replayed})
        ended = await _ended(request, own, job, state.stopping)
        if ended is None:
            if not sent_keys:  # else the client asks for it again
                await run_in_threadpool(store.cancel, job.id, job.owner)
            return Response(status_code=400)  # the client closed the connection; nobody reads this
        if ended.status is not Status.FINISHED:
            raise HTTPException(400, ended.error or "The job was cancelled.")
        if replayed:
            await run_in_threadpool(state.audit_read, ended)
        answer = await run_in_threadpool(views.result, ended, state)
        answer.headers.update({"Content-Location": f"jobs/{job.id}/result", **replayed})
        return answer


def _fetched(url: str, has_others: bool, places: Places) -> dict[str, io.BytesIO]:
    """The files with turns at an address, as if they were sent."""
    if has_others:
        raise FormatError("segments_url and another field name two files with turns; expected one of them.")
    files = TurnFiles(places.web, places.work_dir, MAX_BYTES).read(url)
    return {name: io.BytesIO(content) for name, content in files.items()}


async def _ended(request: Request, own: OwnJobs, job: Job, stopping: threading.Event) -> Job | None:
    """Wait for the end of a job; None where the client closes the connection before."""
    begun = asked = time.monotonic()
    while (moment := time.monotonic()) - begun < MAX_WAIT_S:
        now = await run_in_threadpool(own.now, job)
        if now is None or now.number != job.number:
            raise HTTPException(409, "The job was replaced by another.")
        if now.status.ended:
            return now
        if moment - asked > 0.5:
            if await request.is_disconnected():
                return None
            asked = moment
        if stopping.is_set():
            said = f"The server stops; the job goes on with its next start. Ask for the job {job.id} then."
            raise HTTPException(503, said, headers=headers(503))
        await asyncio.sleep(min(LOOK_S[1], max(LOOK_S[0], (moment - begun) / 20)))
    raise HTTPException(409, f"The job goes on after {MAX_WAIT_S} s; post it with wait=false and ask for it later.")
