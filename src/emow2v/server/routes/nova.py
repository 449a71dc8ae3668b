"""The routes of the DISCOVER protocol, as NOVA calls them; `emow2v.discover` reads the requests, workers carry them out."""

from __future__ import annotations

import contextlib
import json
import logging
import mimetypes
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from emow2v.discover import json_text
from emow2v.discover.database import passwords
from emow2v.discover.module import MODULE, cml_info
from emow2v.discover.names import snake_case
from emow2v.discover.options import FIELDS, WITHOUT_USE
from emow2v.discover.places import safe_name
from emow2v.discover.task import DiscoverTask
from emow2v.errors import Emow2vError, TooLong
from emow2v.server.failures import headers
from emow2v.server.jobs import results
from emow2v.server.jobs.store import Busy, Job, OverLimit, Status, Store
from emow2v.server.jobs.uploads import keep
from emow2v.server.people.gate import Refused
from emow2v.server.people.own import OwnJobs
from emow2v.server.people.person import present_call
from emow2v.server.resources.file_answer import FileAnswer, disposition
from emow2v.server.routes.forms import read_form, refuse_twice
from emow2v.server.security.access import FIELD, NO_TOKEN, check_role
from emow2v.server.state import ServerState
from emow2v.sources.address import hide_secrets

logger = logging.getLogger("emow2v.server")

MAX_SHOWN = 500  # characters of a field in a job's details, which may hold a recording
MAX_FIELD = 16 << 20  # bytes of one form field: `data` may list many sessions, or hold a short recording
# fields of requests other than /process
_OTHERS = frozenset(["delete_after_download", "input_filter", "output_filter"])


class CompactJSON(JSONResponse):
    """JSON as the reference server writes it: keys sorted, no blanks, a newline at the end."""

    def render(self, content: Any) -> bytes:
        return (json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode(
            errors="backslashreplace"
        )


async def _fields(request: Request) -> dict[str, str]:
    for name in request.query_params:
        if snake_case(name) in FIELDS | _OTHERS:
            raise HTTPException(400, f"The query field '{name[:60]}' is not taken here; send it as a form field.")
    async with read_form(request, max_files=4, max_fields=1000, max_part_size=MAX_FIELD) as form:
        refuse_twice(name for name, _ in form.multi_items() if snake_case(name) not in WITHOUT_USE)
        return _authorised(request, {name: value for name, value in form.items() if isinstance(value, str)})


def _authorised(request: Request, fields: dict[str, str]) -> dict[str, str]:
    """The fields without the token, which they may hold instead of a header.

    Raises:
        HTTPException: the token is missing or wrong
    """
    candidate, call = fields.pop(FIELD, ""), present_call()
    if call.person is None:
        try:
            call.person = state_of(request).gate.person(candidate, call.client)
            if call.person is None:
                raise HTTPException(401, NO_TOKEN)
            check_role(call.person, request.url.path)
        except Refused as error:
            raise HTTPException(error.status, str(error), error.headers) from None
    return fields


def state_of(request: Request) -> ServerState:
    """The state of the server that answers."""
    state: ServerState = request.app.state.server
    return state


def store_of(request: Request) -> Store:
    """The store of its jobs."""
    return state_of(request).store


def jobs_of(request: Request) -> OwnJobs:
    """The jobs that the caller may see."""
    return state_of(request).jobs


def refusal(
    error: Exception | str, status: int = 400, success: str = "failed", headers: Mapping[str, str] | None = None
) -> Response:
    return CompactJSON({"success": success, "error": str(error)}, status, headers)


async def _process(request: Request) -> Response:
    fields = await _fields(request)
    state = state_of(request)
    options, store, own = state.options, state.store, state.jobs
    client = request.client.host if request.client else ""

    def post() -> tuple[Job, Sequence[str]]:
        own.check_room()
        task = DiscoverTask(fields.get("jobID", ""), fields, own.places, options.context)
        with contextlib.closing(task):
            seconds = task.check(state.card, options.max_duration_s)
        form = task.stored_form()
        try:
            job = own.submit(task.job_id, form, "process", seconds)
        except BaseException:
            passwords.forget(state.places.passwords, form)
            raise
        store.log(job, repr(_shortened(job.form)))
        return job, task.notes

    try:
        async with state.checking:
            job, notes = await run_in_threadpool(post)
    except OverLimit as error:
        return refusal(error, 429)
    except Busy as error:
        return refusal(error, 429, headers=headers(429))
    except TooLong as error:
        return refusal(error, 413)
    except Emow2vError as error:
        return refusal(error)
    logger.info("job %s: posted", job.id, extra={"job": job.id, "client": client})
    state.workers.wake()
    return CompactJSON({"success": "True", "jobID": job.id} | ({"notice": "; ".join(notes)} if notes else {}))


def _shortened(form: Mapping[str, str]) -> dict[str, str]:
    shown = {name: hide_secrets(value) for name, value in form.items()}
    return {name: value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..." for name, value in shown.items()}


def describe(job: Job, job_id: str) -> dict[str, str | bool]:
    """The job object of /job_status_all.

    Args:
        job_id: by which the caller asks for the job
    """
    return {
        "details": repr(_shortened(job.form)),
        "end_time": _stamp(job.ended),
        "error": job.error,
        "interactive_url": "",
        "job_key": job_id,
        "job_type": "du-process",
        "log_path": f"/log/{job_id}",
        "module_name": MODULE.name,
        "progress": job.progress,
        "start_time": _stamp(job.started),
        "status": job.status.name,
        "was_canceled": job.was_cancelled,
    }


def _stamp(time: str) -> str:
    return f"{time[:19]}Z" if time else ""


async def _job(request: Request) -> tuple[str, Job | None]:
    job_id = (await _fields(request)).get("jobID", "")
    return job_id, await run_in_threadpool(jobs_of(request).get, job_id, brief=True)


async def _job_status(request: Request) -> Response:
    _, job = await _job(request)
    if job is None:  # the reference server's answer, which clients expect, with a field that they ignore
        return CompactJSON({"status": 0, "known": "false"})
    status = int(job.status)
    if job.status is Status.CANCELED and state_of(request).options.nova_status:
        status = int(Status.ERROR)
    return CompactJSON({"status": status} | ({"error": job.error} if job.error else {}))


async def _job_status_all(request: Request) -> Response:
    return CompactJSON(await _described(request))


async def _data(request: Request) -> Response:
    return CompactJSON({"data": await _described(request)})


async def _described(request: Request) -> list[dict[str, str | bool]]:
    own = jobs_of(request)
    return [describe(job, own.shown_id(job)) for job in await run_in_threadpool(own.all)]


async def _log(request: Request) -> Response:
    _, job = await _job(request)
    if job is None:
        return CompactJSON({"message": "No log for the given parameters found."})
    return CompactJSON({"message": "\n".join(await run_in_threadpool(store_of(request).lines, job))})


async def _log_text(request: Request) -> Response:
    job_id = request.path_params["job_id"]
    job = await run_in_threadpool(jobs_of(request).get, job_id, brief=True)
    if job is None:
        return PlainTextResponse(f"Log file not found for job {job_id}", 404)
    return PlainTextResponse("\n".join(await run_in_threadpool(store_of(request).lines, job)) + "\n")


async def _cancel(request: Request) -> Response:
    job_id, job = await _job(request)
    if job is None:
        return refusal(f"No job '{job_id[:60]}' is known; expected the jobID of a posted job.", 404, "false")
    if not await run_in_threadpool(store_of(request).cancel, job.id, job.owner):
        now = await run_in_threadpool(jobs_of(request).now, job) or job
        said = "publishing its results" if now.publishing else now.status.name.lower()
        present_call().jobs.clear()  # nothing was done, so that the audit log has nothing to say
        return CompactJSON({"success": "false", "error": f"The job is {said} already."})
    await run_in_threadpool(passwords.forget, state_of(request).places.passwords, job.form)
    return CompactJSON({"success": "true"})


async def _fetch_result(request: Request) -> Response:
    fields = await _fields(request)
    job_id = fields.get("jobID", "")
    own = jobs_of(request)
    job = await run_in_threadpool(own.get, job_id, brief=True)
    if job is not None and job.status is not Status.FINISHED:
        return refusal(
            f"Job '{job_id[:60]}' is {job.status.name.lower()}; results can be fetched once it has finished.", 404
        )
    places = own.places
    if job is not None:
        job_id, places = job.id, places.of(job.owner)
    folder = places.results(job_id)
    delete = fields.get("delete_after_download") in ("True", "true", "1")

    def fetched() -> None:
        if not delete:
            return
        with store_of(request).locked():
            now = store_of(request).get(job_id, places.owner, brief=True)
            if (job and job.number) == (now and now.number):  # not the results of a newer job with the id
                shutil.rmtree(folder, ignore_errors=True)

    try:
        answer = await run_in_threadpool(_download, folder, safe_name(job_id, "job"), f"{job_id}.zip", fetched)
    except FileNotFoundError:  # another client has fetched it, and it was deleted
        answer = None
    return answer or refusal(
        f"No data for job '{job_id[:60]}' on the server; only outputs with origin request: can be fetched.", 404
    )


def _download(folder: Path, prefix: str, name: str, fetched: Callable[[], None]) -> FileAnswer | None:
    """The answer with a job's results: the file, or a zip of several; None where there are none.

    Args:
        prefix: of the names inside the zip
        name: of the zip
        fetched: called when the whole answer was sent

    Raises:
        FileNotFoundError: the results are removed meanwhile
    """
    files = _complete(folder)
    if not files:
        return None
    if len(files) == 1:
        kind = mimetypes.guess_type(files[0].name)[0] or "text/plain"
        return FileAnswer(files[0].open("rb"), media_type=kind, headers=disposition(files[0].name), fetched=fetched)
    archive = results.temporary(folder, ".zip")
    results.zip_files(archive, {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in files})
    # the media type that NOVA takes for a zip; it refuses application/zip
    kind = "application/x-zip-compressed"
    remove = partial(archive.unlink, missing_ok=True)
    return FileAnswer(archive.open("rb"), media_type=kind, headers=disposition(name), sent=remove, fetched=fetched)


def _complete(folder: Path) -> list[Path]:
    """The files that a client may fetch."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


async def _upload(request: Request) -> Response:
    own = jobs_of(request)
    async with read_form(request, max_files=4, max_fields=20, max_part_size=1 << 16) as form:
        _authorised(request, {name: value for name, value in form.items() if isinstance(value, str)})
        part = form.get("file")
        if not isinstance(part, UploadFile):
            return refusal("The upload has no part named file; expected multipart/form-data with one.")
        upload = part

        def stored() -> str:
            with own.room(upload.size or 0):
                return keep(upload.file, upload.filename or "", own.places.uploads)

        try:
            name = await run_in_threadpool(stored)
        except OverLimit as error:
            return refusal(error, 429)
    return HTMLResponse(name)


async def _cml_info(request: Request) -> Response:
    fields = await _fields(request)
    try:
        return CompactJSON(cml_info(fields.get("input_filter"), fields.get("output_filter")))
    except Emow2vError as error:
        return refusal(error)


async def _update_progress(request: Request) -> Response:
    """For job processes of the reference server; here it changes nothing, because workers report in another way."""
    if "application/json" not in request.headers.get("content-type", ""):
        return CompactJSON({"success": False, "error": "Expected a JSON body."}, 415)
    try:
        body = json_text.parse(await request.body())
    except json_text.NotJSON:
        body = None
    if not isinstance(body, dict) or not body.get("job_key") or not body.get("progress"):
        return CompactJSON({"success": False, "error": "Missing job_key or progress"}, 400)
    return CompactJSON({"success": True})


ROUTES = (
    Route("/process", _process, methods=["POST"]),
    Route("/job_status", _job_status, methods=["POST"]),
    Route("/job_status_all", _job_status_all),
    Route("/data", _data),
    Route("/log", _log, methods=["POST"]),
    Route("/log/{job_id:path}", _log_text),
    Route("/cancel", _cancel, methods=["POST"]),
    Route("/fetch_result", _fetch_result, methods=["POST"]),
    Route("/upload", _upload, methods=["POST"]),
    Route("/cml_info", _cml_info, methods=["POST"]),
    Route("/api/update_progress", _update_progress, methods=["POST"]),
)
# Routes whose form may hold the token; each looks for it there.
FORMS = frozenset(one.path for one in ROUTES if "POST" in (one.methods or ())) - {"/api/update_progress"}
