"""The routes of the DISCOVER protocol; what they mean is in `discover`, what becomes of it in `jobs`."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette._utils import AwaitableOrContextManager
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from emow2v.cards import Card
from emow2v.discover.job import plan
from emow2v.discover.module import cml_info
from emow2v.discover.places import Places, safe_name
from emow2v.errors import Emow2vError
from emow2v.model import Context, Model
from emow2v.server.jobs import Job, Jobs, Status
from emow2v.server.page import job_page

logger = logging.getLogger("emow2v.server")

MAX_FIELD = 16 << 20  # bytes of one form field: `data` may list many sessions, or hold a short recording


@dataclass(frozen=True)
class Settings:
    """What an administrator chooses.

    Attributes:
        model: the card of the model that is used where a request names none
        places: folders that requests may read and write
        context: how windows are computed where a request does not say
    """

    model: Card
    places: Places
    context: Context = "window"


class CompactJSON(JSONResponse):
    """JSON as the reference writes it: keys sorted, no blanks, a newline at the end."""

    def render(self, content: Any) -> bytes:
        return (json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode(
            errors="backslashreplace"
        )


def create_app(settings: Settings, load: Callable[[str], Model]) -> Starlette:
    """The application.

    Args:
        load: gives a model by its name; called in the worker's thread, when a job first needs it
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.settings = settings
        app.state.jobs = Jobs(load)
        app.state.jobs.start()
        yield
        await run_in_threadpool(app.state.jobs.stop)

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", _page),
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
        ],
        exception_handlers={HTTPException: _http_error, ClientDisconnect: _gone, Exception: _unexpected},
    )


def _form(request: Request) -> AwaitableOrContextManager[FormData]:
    """The form, urlencoded or multipart; anything else counts as empty, as it does in the reference."""
    return request.form(max_fields=1000, max_files=4, max_part_size=MAX_FIELD)


async def _fields(request: Request) -> dict[str, str]:
    async with _form(request) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _refusal(error: Exception | str, status: int = 400, success: str = "failed") -> Response:
    return CompactJSON({"success": success, "error": str(error)}, status)


async def _process(request: Request) -> Response:
    fields = await _fields(request)
    settings = _settings(request)
    try:
        planned = await run_in_threadpool(plan, fields, settings.places, settings.model, settings.context)
        job = _jobs(request).submit(planned)
    except Emow2vError as error:
        return _refusal(error)
    return CompactJSON({"success": "True", "jobID": job.plan.job_id})


async def _job(request: Request) -> tuple[str, Job | None]:
    job_id = (await _fields(request)).get("jobID", "")
    return job_id, _jobs(request).get(job_id)


async def _job_status(request: Request) -> Response:
    _, job = await _job(request)
    if job is None:  # the reference's answer, which clients expect, told apart by a field that they ignore
        return CompactJSON({"status": 0, "known": "false"})
    return CompactJSON({"status": int(job.status)} | ({"error": job.error} if job.error else {}))


async def _job_status_all(request: Request) -> Response:
    return CompactJSON([job.describe() for job in _jobs(request).all()])


async def _data(request: Request) -> Response:
    return CompactJSON({"data": [job.describe() for job in _jobs(request).all()]})


async def _log(request: Request) -> Response:
    _, job = await _job(request)
    return CompactJSON({"message": "\n".join(job.lines) if job else "No log for the given parameters found."})


async def _log_text(request: Request) -> Response:
    job_id = request.path_params["job_id"]
    job = _jobs(request).get(job_id)
    if job is None:
        return PlainTextResponse(f"Log file not found for job {job_id}", 404)
    return PlainTextResponse("\n".join(job.lines) + "\n")


async def _cancel(request: Request) -> Response:
    job_id, job = await _job(request)
    if job is None:
        return _refusal(f"No job '{job_id[:60]}' is known; expected the jobID of a posted job.", 404, "false")
    if not _jobs(request).cancel(job):
        return CompactJSON({"success": "false", "error": f"The job is {job.status.name.lower()} already."})
    return CompactJSON({"success": "true"})


async def _fetch_result(request: Request) -> Response:
    fields = await _fields(request)
    job_id = fields.get("jobID", "")
    job = _jobs(request).get(job_id)
    if job is not None and job.status is not Status.FINISHED:
        return _refusal(
            f"Job '{job_id[:60]}' is {job.status.name.lower()}; results can be fetched once it has finished.", 404
        )
    folder = _settings(request).places.results(job_id)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        return _refusal(
            f"No data for job '{job_id[:60]}' on the server; only outputs with origin request: can be fetched.", 404
        )
    delete = fields.get("delete_after_download") in ("True", "true", "1")
    if len(files) == 1:
        after = BackgroundTask(shutil.rmtree, folder, True) if delete else None
        return FileResponse(files[0], filename=files[0].name, background=after)
    archive = await run_in_threadpool(_zip, folder, files, job_id)

    def clean() -> None:
        archive.unlink(missing_ok=True)
        if delete:
            shutil.rmtree(folder, True)

    # the media type that NOVA takes for a zip; it refuses application/zip
    return FileResponse(
        archive,
        filename=f"{job_id}.zip",
        media_type="application/x-zip-compressed",
        background=BackgroundTask(clean),
    )


def _zip(folder: Path, files: list[Path], job_id: str) -> Path:
    archive = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in files:
            packed.write(path, f"{safe_name(job_id, 'job')}/{path.relative_to(folder).as_posix()}")
    return archive


async def _upload(request: Request) -> Response:
    uploads = _settings(request).places.uploads
    async with _form(request) as form:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            return _refusal("The upload has no part named file; expected multipart/form-data with one.")
        try:
            name = await run_in_threadpool(_keep, part, uploads)
        except OSError as error:
            return _refusal(
                f"The upload cannot be kept ({error.strerror}); the administrator must free some space.", 507
            )
    return HTMLResponse(name)


def _keep(part: UploadFile, uploads: Path) -> str:
    """Store an upload under a name that nobody can guess; the client's own name gives only the ending."""
    ending = re.sub(r"[^0-9A-Za-z]", "", Path(part.filename or "").suffix)[:10]
    name = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(12)) + (f".{ending}" if ending else "")
    uploads.mkdir(parents=True, exist_ok=True)
    with (uploads / name).open("xb") as file:
        shutil.copyfileobj(part.file, file)
    return name


async def _cml_info(request: Request) -> Response:
    fields = await _fields(request)
    try:
        return CompactJSON(cml_info(fields.get("input_filter"), fields.get("output_filter")))
    except Emow2vError as error:
        return _refusal(error)


async def _update_progress(request: Request) -> Response:
    """For job processes of the reference; ours report in their own way, so that it changes nothing here."""
    if "application/json" not in request.headers.get("content-type", ""):
        return CompactJSON({"success": False, "error": "Expected a JSON body."}, 415)
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not body.get("job_key") or not body.get("progress"):
        return CompactJSON({"success": False, "error": "Missing job_key or progress"}, 400)
    return CompactJSON({"success": True})


async def _page(request: Request) -> Response:
    return HTMLResponse(job_page(_jobs(request).all(), _settings(request).model.name))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return CompactJSON({"success": "failed", "error": error.detail}, error.status_code, headers=error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client hung up in the middle of its body: nobody reads this


async def _unexpected(request: Request, error: Exception) -> Response:
    return _refusal("The server met an unexpected error; its log says more.", 500)
