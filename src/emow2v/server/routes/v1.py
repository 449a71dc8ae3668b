"""/v1: predictions, jobs and models as JSON, described by OpenAPI."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from emow2v._version import __version__
from emow2v.discover.database import passwords
from emow2v.discover.options import offered_cards
from emow2v.errors import Emow2vError, FormatError, TooLong
from emow2v.server.batches import routes as batches
from emow2v.server.description.document import complete
from emow2v.server.failures import failure, headers, invalid, sentence
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Busy, Job, KeyTaken, OverLimit, Status
from emow2v.server.jobs.task import task_of
from emow2v.server.live.route import Live
from emow2v.server.people.own import NotYours, OwnJobs
from emow2v.server.people.person import present_call
from emow2v.server.resources import job_list
from emow2v.server.routes import data_files, predictions, turns, views
from emow2v.server.routes.answers import JobModel, of_counts
from emow2v.server.routes.forms import prepare, refuse_unknown
from emow2v.server.state import ServerState
from emow2v.server.uploads import routes as uploads
from emow2v.server.work_folder import route as work_folder
from emow2v.storage import one_line

logger = logging.getLogger("emow2v.server")

EVENTS_S = 0.25  # between two looks at a job with a stream of events
SILENCE_S = 15  # in a stream of events, before a comment is sent


class _Frugal(APIRoute):
    """Accepts known fields only. Recordings go to the disk; memory holds the other fields."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = [*_fields(self.dependant)]
        queries = [one.alias for one in self.dependant.query_params]
        taken = batches.TAKEN if self.path == batches.PATH else predictions.TAKEN

        async def read(request: Request) -> Response:
            asked = [name for name, _ in request.query_params.multi_items()]
            refuse_unknown(asked, queries, "query field", fields, "form field")
            if fields:
                limits = {"max_files": taken.files, "max_fields": taken.fields, "max_part_size": taken.part_bytes}
                await prepare(request, **limits)
                try:
                    _check_fields((await request.form()).multi_items(), fields, queries, taken.repeated)
                except StarletteHTTPException:
                    await request.close()  # uploads
                    raise
            return await handle(request)

        return read


def _fields(dependant: Dependant) -> Iterator[str]:
    """The fields of a form, those that routes share among them."""
    yield from (one.alias for one in dependant.body_params)
    for one in dependant.dependencies:
        yield from _fields(one)


def _check_fields(
    sent: Sequence[tuple[str, object]], fields: Sequence[str], queries: Sequence[str], repeated: Sequence[str]
) -> None:
    """Refuse fields that are unknown, come twice, or hold a text where an upload is expected."""
    once = [name for name, _ in sent if name not in repeated]
    refuse_unknown([*once, *{name for name, _ in sent} - {*once}], fields, "field", queries, "query field")
    for name, example in (("file", "talk.wav"), ("segments", "talk.eaf")):
        if any(field == name and isinstance(value, str) for field, value in sent):
            raise HTTPException(422, f"{name} is a text; expected an upload, as curl -F {name}=@{example} sends it.")


class ModelModel(BaseModel):
    name: str
    version: str
    description: str
    licence: str
    served: bool
    in_memory: int
    memory_mb: float | None
    min_seconds: float
    max_seconds: float
    sampling_rate: int


def create_v1(state: ServerState, live: Live) -> FastAPI:
    """The routes below /v1, with their description at /v1/openapi.json."""
    store, places, own = state.store, state.places, state.jobs
    api = FastAPI(
        title="emow2v",
        version=__version__,
        summary="Arousal, dominance and valence of speech over time.",
        openapi_url="/openapi.json",
        docs_url=None,  # FastAPI's pages load scripts from the internet; /v1/docs is our own
        redoc_url=None,
    )
    api.router.route_class = _Frugal
    api.add_exception_handler(StarletteHTTPException, _problem)  # also for unknown addresses and methods
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(Emow2vError, _refused)
    api.add_exception_handler(ClientDisconnect, _disconnected)
    for kind in (OSError, sqlite3.Error):
        api.add_exception_handler(kind, _failed)

    def find_job(job_id: str, *, brief: bool = False) -> Job:
        job = own.get(job_id, brief=brief)
        if job is None:
            raise HTTPException(404, f"No job '{job_id[:60]}' is known; expected the id of a posted job.")
        return job

    def to_model(job: Job, positions: Mapping[int, int] | None = None) -> JobModel:
        position = None
        if job.status is Status.WAITING:
            position = store.position(job) if positions is None else positions.get(job.number)
        return JobModel(
            id=own.shown_id(job),
            owner=job.owner,
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
            files=of_counts(job.files),
        )

    @api.get("/jobs/{job_id}")
    def job(job_id: str) -> JobModel:
        return to_model(find_job(job_id, brief=True))

    @api.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> JobModel:
        """Cancel a job. A cancelled job stays cancelled; a job that has ended otherwise is a conflict."""
        before = find_job(job_id, brief=True)
        if not store.cancel(before.id, before.owner):
            raise HTTPException(409, f"The job is {find_job(job_id, brief=True).status.name.lower()} already.")
        passwords.forget(places.passwords, before.form)
        return to_model(find_job(job_id, brief=True))

    @api.delete("/jobs/{job_id}")
    def erase(job_id: str) -> JobModel:
        """Erase a job with its log, result and upload; a running job is cancelled first. Answers its last state."""
        found = find_job(job_id, brief=True)
        removed = history.Removed()
        erased = history.erase(store, places, found.id, found.owner, removed)
        if erased is None:
            raise HTTPException(404, "Another client has erased the job.")
        present_call().facts.update(files=removed.files, bytes=removed.size, shared=removed.shared)
        logger.info("job %s: erased", erased.id, extra={"job": erased.id})
        return to_model(erased)

    @api.get("/jobs/{job_id}/log", response_class=PlainTextResponse)
    def log(job_id: str) -> str:
        return "\n".join(store.lines(find_job(job_id, brief=True))) + "\n"

    @api.get("/jobs/{job_id}/events", response_class=StreamingResponse)
    async def events(job_id: str) -> StreamingResponse:
        """Server-sent events: the job at each change, until it has ended."""
        found = await run_in_threadpool(find_job, job_id, brief=True)
        unbuffered = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}  # by nginx; by any cache
        content = _events(own, found, to_model, state.stopping)
        return StreamingResponse(content, media_type="text/event-stream", headers=unbuffered)

    @api.get("/models")
    def models() -> list[ModelModel]:
        """Models that a request may name; `in_memory` is the number of processes (workers, and that of live streams) that
        hold one, and `memory_mb` the most that it takes in one of them."""
        held = [live.models.sizes, *state.workers.models]
        return [
            ModelModel(
                name=one.name,
                version=one.version,
                description=one.description,
                licence=one.licence,
                served=one.name == state.card.name,
                in_memory=sum(one.name in sizes for sizes in held),
                memory_mb=max((round(sizes[one.name] / 1e6, 1) for sizes in held if one.name in sizes), default=None),
                min_seconds=one.min_samples / one.sampling_rate,
                max_seconds=one.max_samples / one.sampling_rate,
                sampling_rate=one.sampling_rate,
            )
            for one in offered_cards(state.card).values()
        ]

    job_list.add(api, state, to_model)
    predictions.add(api, state, to_model)
    batches.add(api, state, to_model, find_job)
    data_files.add(api, state)
    work_folder.add(api, state)
    uploads.add(api, state)
    views.add(api, state, find_job)
    turns.add(api, state, find_job)
    described = api.openapi
    made: dict[bool, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        required = state.gate.required
        if required not in made:
            made[required] = complete(described(), is_token_required=required)
        return made[required]

    api.openapi = openapi  # type: ignore[method-assign]
    return api


async def _events(own: OwnJobs, found: Job, to_model: Any, stopping: threading.Event) -> AsyncIterator[str]:
    last, sent_at = "", time.monotonic()
    while not stopping.is_set():
        job = await run_in_threadpool(own.now, found)
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
    if error.status_code == 405:  # the framework names the methods of one route only
        error.headers = {**(error.headers or {}), "Allow": ", ".join(_methods(request))}
    return JSONResponse(
        {"error": one_line(sentence(error, request.url.path))}, error.status_code, headers=error.headers
    )


def _methods(request: Request) -> list[str]:
    """The methods of all routes that have the address of a request."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": one_line(invalid(error.errors()[0]))}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError | sqlite3.Error)
    status, said = failure(error)
    return JSONResponse({"error": said}, status, headers=headers(status))


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client closed the connection while it sent the body; nobody reads this


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Busy):
        soon = not isinstance(error, OverLimit)
        return JSONResponse({"error": str(error)}, 429, headers=headers(429) if soon else None)
    kinds = {TooLong: 413, FormatError: 422, KeyTaken: 422, NotYours: 403}
    status = next((status for kind, status in kinds.items() if isinstance(error, kind)), 400)
    return JSONResponse({"error": one_line(str(error))}, status)
