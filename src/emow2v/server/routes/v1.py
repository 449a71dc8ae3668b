"""/v1: predictions, jobs and models as JSON, described by OpenAPI."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from emow2v._version import __version__
from emow2v.discover.options import offered_cards
from emow2v.errors import Emow2vError, TooLong
from emow2v.server.failures import failure, headers, invalid, sentence
from emow2v.server.jobs import history
from emow2v.server.jobs.job import Kind
from emow2v.server.jobs.prediction import FORMATS, PredictionTask
from emow2v.server.jobs.store import Busy, Job, Status, Store
from emow2v.server.jobs.task import task_of
from emow2v.server.jobs.uploads import keep
from emow2v.server.routes import views
from emow2v.server.routes.forms import prepare, refuse_unknown
from emow2v.server.state import ServerState
from emow2v.storage import one_line

logger = logging.getLogger("emow2v.server")

LOOK_S = (0.02, 0.25)  # least and greatest time between two looks at a job that a client waits for
EVENTS_S = 0.25  # between two looks at a job with a stream of events
SILENCE_S = 15  # in a stream of events, before a comment is sent
MAX_WAIT_S = 3600

State = Literal["waiting", "running", "finished", "error", "canceled"]


class _Frugal(APIRoute):
    """Accepts known fields only. Recordings go to the disk; memory holds the other fields."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = [one.alias for one in self.dependant.body_params]
        queries = [one.alias for one in self.dependant.query_params]

        async def read(request: Request) -> Response:
            asked = [name for name, _ in request.query_params.multi_items()]
            refuse_unknown(asked, queries, "query field", fields, "form field")
            if fields:
                await prepare(request, max_files=1, max_fields=50, max_part_size=1 << 16)
                form = await request.form()
                refuse_unknown([name for name, _ in form.multi_items()], fields, "field", queries, "query field")
                if isinstance(form.get("file"), str):
                    raise HTTPException(422, "file is a text; expected an upload, as curl -F file=@talk.wav sends it.")
            return await handle(request)

        return read


class Problem(BaseModel):
    """One sentence: what was expected, what came, what to do."""

    error: str


class JobModel(BaseModel):
    """A job; its name is that of the recording. Times are UTC, ISO 8601; empty before the event."""

    id: str
    name: str
    kind: Kind
    state: State
    position: int | None = None
    rows: int
    expected_rows: int | None
    posted: str
    started: str
    ended: str
    error: str
    model: str
    provenance: dict[str, str | int | float]
    notices: list[str] = []  # on what is missing or unusual in the recording


class ModelModel(BaseModel):
    name: str
    version: str
    description: str
    licence: str
    served: bool
    min_seconds: float
    max_seconds: float
    sampling_rate: int


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 401, 403, 404, 409, 413, 415, 421, 422, 429, 500, 503, 507)
}


def create_v1(state: ServerState) -> FastAPI:
    """The routes below /v1, with their description at /v1/openapi.json."""
    options, store, places = state.options, state.store, state.places
    api = FastAPI(
        title="emow2v",
        version=__version__,
        summary="Arousal, dominance and valence of speech over time.",
        openapi_url="/openapi.json",
        docs_url=None,  # these pages load scripts from the internet
        redoc_url=None,
        responses=PROBLEMS,
    )
    api.router.route_class = _Frugal
    api.add_exception_handler(StarletteHTTPException, _problem)  # also for unknown addresses and methods
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(Emow2vError, _refused)
    api.add_exception_handler(ClientDisconnect, _disconnected)
    for kind in (OSError, sqlite3.Error):
        api.add_exception_handler(kind, _failed)

    def find_job(job_id: str, *, brief: bool = False) -> Job:
        job = store.get(job_id, brief=brief)
        if job is None:
            raise HTTPException(404, f"No job '{job_id[:60]}' is known; expected the id of a posted job.")
        return job

    def to_model(job: Job, positions: Mapping[int, int] | None = None) -> JobModel:
        position = None
        if job.status is Status.WAITING:
            position = store.position(job) if positions is None else positions.get(job.number)
        return JobModel(
            id=job.id,
            name=one_line(task_of(job, places).name),
            kind=job.kind,
            state=job.status.name.lower(),  # type: ignore[arg-type]
            position=position,
            rows=job.rows,
            expected_rows=job.expected,
            posted=job.posted,
            started=job.started,
            ended=job.ended,
            error=job.error,
            model=str(job.provenance.get("model", "")),
            provenance=dict(job.provenance),
            notices=list(job.notices),
        )

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
        file: Annotated[UploadFile | None, File(description="A recording: any audio or video file.")] = None,
        path: Annotated[str, Form(description="Instead: a recording below the server's data folders.")] = "",
        model: Annotated[str, Form(description="Name of an installed model; empty for the server's own.")] = "",
        unit: Annotated[
            Literal["windows", "files"], Form(description="Values over time, or one for the whole recording.")
        ] = "windows",
        table: Annotated[Literal["json", "csv", "ndjson"], Form(alias="format")] = "json",
        context: Annotated[Literal["", "window", "shared"], Form(description="Empty: the server's default.")] = "",
        padding: Annotated[Literal["edge", "zeros"], Form()] = "edge",
        frame_step: Annotated[str, Form(examples=["40ms", "0.5s"])] = "40ms",
        left_context: Annotated[str, Form()] = "960ms",
        right_context: Annotated[str, Form()] = "0ms",
        start: Annotated[str, Form()] = "0ms",
        end: Annotated[str, Form(description="0ms: the end of the recording.")] = "0ms",
        track: Annotated[str, Form(description="Number of an audio track, from 1; empty: the default track.")] = "",
        channel: Annotated[str, Form(description="mix, left, right, or a number from 1.")] = "",
        wait: Annotated[
            bool,
            Form(description="true: answer with the table when it is computed; false: answer with the job at once."),
        ] = True,
    ) -> Response:
        """Scores of a recording."""
        form = {
            "path": path, "model": model, "unit": unit, "format": table, "context": context, "padding": padding,
            "frame_step": frame_step, "left_context": left_context, "right_context": right_context,
            "start": start, "end": end, "track": track, "channel": channel,
        }  # fmt: skip
        job_id = secrets.token_hex(12)
        client = request.client.host if request.client else ""

        def post() -> Job:
            if file is not None:
                form["name"] = file.filename or "upload"
                form["upload"] = keep(file.file, file.filename or "", places.uploads)
            try:
                PredictionTask(job_id, form, places, options.context).check(state.card, options.max_duration_s)
                return store.submit(
                    job_id,
                    form,
                    kind="prediction",
                    client=client,
                    context=options.context,
                    max_waiting=options.max_waiting,
                )
            except BaseException:
                if "upload" in form:
                    (places.uploads / form["upload"]).unlink(missing_ok=True)
                raise

        async with state.checking:
            job = await run_in_threadpool(post)
        logger.info("job %s: posted", job.id, extra={"job": job.id, "client": client})
        state.workers.wake()
        if not wait:
            return JSONResponse(to_model(job).model_dump(), 202, headers={"Location": f"jobs/{job.id}"})
        ended = await _ended(request, store, job, state.stopping)
        if ended is None:
            await run_in_threadpool(store.cancel, job.id)
            return Response(status_code=400)  # the client closed the connection; nobody reads this
        if ended.status is not Status.FINISHED:
            raise HTTPException(400, ended.error or "The job was cancelled.")
        return views.result(ended, places)

    @api.get("/jobs")
    def jobs(
        state: Annotated[State | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> list[JobModel]:
        """The newest jobs first."""
        status = Status[state.upper()] if state else None
        listed = store.all(newest_first=True, most=limit, status=status)
        positions = store.positions() if any(job.status is Status.WAITING for job in listed) else {}
        return [to_model(job, positions) for job in listed]

    @api.get("/jobs/{job_id}")
    def job(job_id: str) -> JobModel:
        return to_model(find_job(job_id, brief=True))

    @api.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> JobModel:
        """Cancel a job. A cancelled job stays cancelled; a job that has ended otherwise is a conflict."""
        before = find_job(job_id, brief=True)
        if not store.cancel(before.id):
            raise HTTPException(409, f"The job is {find_job(job_id, brief=True).status.name.lower()} already.")
        return to_model(find_job(job_id, brief=True))

    @api.delete("/jobs/{job_id}")
    def erase(job_id: str) -> JobModel:
        """Erase a job with its log, result and upload; a running job is cancelled first. Answers its last state."""
        erased = history.erase(store, places, find_job(job_id, brief=True).id)
        if erased is None:
            raise HTTPException(404, "Another client has erased the job.")
        logger.info("job %s: erased", erased.id, extra={"job": erased.id})
        return to_model(erased)

    @api.get("/jobs/{job_id}/log", response_class=PlainTextResponse)
    def log(job_id: str) -> str:
        return "\n".join(store.lines(find_job(job_id, brief=True))) + "\n"

    @api.get("/jobs/{job_id}/events", response_class=StreamingResponse)
    async def events(job_id: str) -> StreamingResponse:
        """Server-sent events: the job at each change, until it has ended."""
        await run_in_threadpool(find_job, job_id, brief=True)
        return StreamingResponse(_events(store, job_id, to_model, state.stopping), media_type="text/event-stream")

    @api.get("/models")
    def models() -> list[ModelModel]:
        """Models that a request may name."""
        return [
            ModelModel(
                name=one.name,
                version=one.version,
                description=one.description,
                licence=one.licence,
                served=one.name == state.card.name,
                min_seconds=one.min_samples / one.sampling_rate,
                max_seconds=one.max_samples / one.sampling_rate,
                sampling_rate=one.sampling_rate,
            )
            for one in offered_cards(state.card).values()
        ]

    views.add(api, state, find_job)
    described = api.openapi
    api.openapi = lambda: _with_problems(described())  # type: ignore[method-assign]
    return api


def _with_problems(description: dict[str, Any]) -> dict[str, Any]:
    """The description with two corrections: problems are JSON in every operation, and forms accept no further fields."""
    for name, described in description["components"]["schemas"].items():
        if name.startswith("Body_"):
            described["additionalProperties"] = False
    schema = {"$ref": "#/components/schemas/Problem"}
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) in PROBLEMS:
                    answer["content"] = {"application/json": {"schema": schema}}
    return description


async def _ended(request: Request, store: Store, job: Job, stopping: threading.Event) -> Job | None:
    """Wait for the end of a job; None where the client closes the connection before."""
    begun = asked = time.monotonic()
    while (moment := time.monotonic()) - begun < MAX_WAIT_S:
        now = await run_in_threadpool(store.get, job.id, brief=True)
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


async def _events(store: Store, job_id: str, to_model: Any, stopping: threading.Event) -> AsyncIterator[str]:
    last, sent_at = "", time.monotonic()
    while not stopping.is_set():
        job = await run_in_threadpool(store.get, job_id, brief=True)
        if job is None:
            return
        text = json.dumps((await run_in_threadpool(to_model, job)).model_dump())
        if text != last:
            yield f"data: {text}\n\n"
            last, sent_at = text, time.monotonic()
        elif time.monotonic() - sent_at > SILENCE_S:
            yield ":\n\n"  # a comment keeps the connection through proxies, and shows whether the client is gone
            sent_at = time.monotonic()
        if job.status.ended:
            return
        await asyncio.sleep(EVENTS_S)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": sentence(error, request.url.path)}, error.status_code, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": invalid(error.errors()[0])}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError | sqlite3.Error)
    status, said = failure(error)
    return JSONResponse({"error": said}, status, headers=headers(status))


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client closed the connection while it sent the body; nobody reads this


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Busy):
        return JSONResponse({"error": str(error)}, 429, headers=headers(429))
    return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooLong) else 400)
