"""The routes of /v1/uploads: tus 1.0.0, and a list of the caller's uploads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Literal, NoReturn

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from emow2v.errors import Emow2vError
from emow2v.server.failures import headers as retry
from emow2v.server.people.person import present_call
from emow2v.server.state import ServerState
from emow2v.server.uploads import protocol
from emow2v.server.uploads.files import GoneUpload, UnknownUpload, Upload, UploadConflict
from emow2v.server.uploads.protocol import BadHeader
from emow2v.server.uploads.receiving import Interrupted, OtherOffset, Receiver, TooMany, WrongChecksum
from emow2v.server.uploads.writers import RETRY_S, Written
from emow2v.server.work_folder.disk import NoRoom
from emow2v.storage import one_line

MOST_LISTED = 1000
PRIVATE = {"Cache-Control": "no-store"}


class UploadModel(BaseModel):
    """A resumable upload; times are UTC, ISO 8601.

    `expires` is empty for a finished upload. `metadata` has the values of Upload-Metadata as texts; `receiving` says whether a
    request sends it now.
    """

    id: str
    name: str
    state: Literal["unfinished", "finished"]
    offset: int
    length: int
    created: str
    expires: str
    receiving: bool
    metadata: dict[str, str]


def _header(name: str, schema: dict[str, Any], said: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "schema": schema, "description": said}


_NUMBER = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_VERSION = _header("Tus-Resumable", {"type": "string", "enum": [protocol.VERSION]}, "Version.", required=True)
_CHECKSUM = _header(
    "Upload-Checksum", _TEXT, f"{' or '.join(protocol.ALGORITHMS)}, a space, the digest of the body in base64."
)
_METADATA = _header("Upload-Metadata", _TEXT, "Pairs of a key and a value in base64, such as filename dGFsay53YXY=.")
_BYTES = {"content": {protocol.BODY: {"schema": {"type": "string", "format": "binary"}}}}


def _described(names: str) -> dict[str, Any]:
    return {name: {"schema": _TEXT if "-E" in name or name[0] == "L" else _NUMBER} for name in names.split()}


def add(api: FastAPI, state: ServerState) -> None:
    """Add the routes."""
    options, own, files, writers = state.options, state.jobs, state.resumable, state.writers
    tus = [Depends(_check_version)]

    async def found(upload_id: str) -> Upload:
        with refusing():
            return await run_in_threadpool(files.find, own.places, upload_id)

    @contextlib.asynccontextmanager
    async def room(size: int) -> AsyncIterator[Callable[[int], None]]:
        """Hold room for a body on the disk and among what the caller may keep; gives what is called as bytes arrive."""
        left = size

        def arrived(more: int) -> None:
            nonlocal left
            left -= more
            state.disk.arrived(more)
            stored(more)

        with contextlib.ExitStack() as held, refusing():
            stored = await run_in_threadpool(held.enter_context, own.room(size))
            close = held.pop_all().close
        try:
            with refusing():
                await run_in_threadpool(state.disk.admit, size)
            try:
                yield arrived
            finally:
                state.disk.arrived(left)
        finally:
            await run_in_threadpool(close)

    async def receive(request: Request, upload: Upload, begin: int) -> Upload:
        """Take the body of a request, behind what has come."""
        rest, places = upload.length - begin, own.places
        with refusing():
            stated = protocol.body_length(request.headers)
            checksum = protocol.checksum(request.headers)
        if stated is not None and stated > rest:
            raise HTTPException(
                413, f"The body has {stated} bytes, but the upload has {max(0, rest)} left of {upload.length}."
            )
        with refusing():
            async with (
                room(rest if stated is None else stated) as arrived,
                writers.writing(places.owner, upload.id) as writer,
            ):
                receiver = Receiver(places, upload.id, writer, state.stopping, arrived)
                offset = await receiver.receive(request.receive, begin, upload.length, checksum)
                if offset == upload.length:
                    await run_in_threadpool(files.finish, places, upload.id)
            return await run_in_threadpool(files.find, places, upload.id)

    @api.options("/uploads", status_code=204, responses={204: {"headers": _described("Tus-Max-Size")}})
    @api.options("/uploads/{upload_id}", status_code=204, include_in_schema=False)
    def offered() -> Response:
        """What the server offers of tus."""
        told = {
            "Tus-Version": protocol.VERSION,
            "Tus-Extension": protocol.EXTENSIONS,
            "Tus-Checksum-Algorithm": ",".join(protocol.ALGORITHMS),
        }
        if options.max_body:
            told["Tus-Max-Size"] = str(options.max_body)
        return Response(status_code=204, headers=told)

    @api.get("/uploads")
    def uploads(answer: Response) -> list[UploadModel]:
        """The caller's uploads that no job has taken, the newest first."""
        answer.headers.update(PRIVATE)
        places = own.places
        listed = files.all(places)[:MOST_LISTED]
        return [_model(one, writers.has(places.owner, one.id)) for one in listed]

    @api.post(
        "/uploads",
        status_code=201,
        response_class=Response,
        dependencies=tus,
        responses={
            201: {"headers": _described("Location Upload-Offset Upload-Expires")},
        },
        openapi_extra={
            "parameters": [
                _VERSION,
                _header("Upload-Length", _NUMBER, "Bytes of the whole file.", required=True),
                _METADATA,
                _CHECKSUM,
            ],
            "requestBody": {"required": False, "description": "The first bytes.", **_BYTES},
        },
    )
    @api.post("/uploads/", include_in_schema=False, dependencies=tus)
    async def create(request: Request) -> Response:
        """Create an upload; its address is the answer's Location. It may bring its first bytes."""
        headers = request.headers
        with refusing():
            has_body = protocol.body_length(headers) != 0
            if has_body:
                protocol.check_body_type(headers)
            length = protocol.whole_number(headers, "Upload-Length")
        if options.max_body and length > options.max_body:
            raise HTTPException(
                413,
                f"The upload has {length / 1e6:.1f} MB; expected at most {options.max_body / 1e6:g} MB, or see --max-upload.",
            )
        metadata = ",".join(headers.getlist("upload-metadata"))

        def make() -> Upload:
            own.check_room(length)
            state.disk.check(length)  # room for all of it, which nothing reserves
            return files.create(own.places, length, metadata)

        with refusing():
            upload = await run_in_threadpool(make)
        present_call().facts.update(bytes=length)
        if has_body:
            try:
                upload = await receive(request, upload, 0)
            except (HTTPException, ClientDisconnect, OSError, Emow2vError):
                await run_in_threadpool(files.remove, own.places, upload.id)  # the client has no address to go on with
                raise
        place = upload.id if request.url.path.endswith("/") else f"uploads/{upload.id}"
        return Response(status_code=201, headers={"Location": place, **_state(upload)})

    @api.head(
        "/uploads/{upload_id}",
        response_class=Response,
        dependencies=tus,
        responses={200: {"headers": _described("Upload-Offset Upload-Length Upload-Expires")}},
        openapi_extra={"parameters": [_VERSION]},
    )
    async def ask(upload_id: str) -> Response:
        """How much of an upload has come."""
        upload = await found(upload_id)
        more = {"Upload-Metadata": upload.metadata} if upload.metadata else {}
        return Response(headers={**PRIVATE, "Upload-Length": str(upload.length), **_state(upload), **more})

    @api.patch(
        "/uploads/{upload_id}",
        status_code=204,
        response_class=Response,
        dependencies=tus,
        responses={204: {"headers": _described("Upload-Offset Upload-Expires")}},
        openapi_extra={
            "parameters": [
                _VERSION,
                _header("Upload-Offset", _NUMBER, "Bytes that have come.", required=True),
                _CHECKSUM,
            ],
            "requestBody": {"required": True, **_BYTES},
        },
    )
    async def go_on(upload_id: str, request: Request) -> Response:
        """Send more of an upload. What has come when the connection is cut stays."""
        upload = await found(upload_id)
        with refusing():
            protocol.check_body_type(request.headers)
            begin = protocol.whole_number(request.headers, "Upload-Offset")
        if begin > upload.length or (upload.is_finished and begin != upload.length):
            raise _other_offset(upload, begin)
        if upload.is_finished:
            if protocol.body_length(request.headers) != 0:
                raise HTTPException(413, f"The upload has all of its {upload.length} bytes; expected no more.")
        else:
            upload = await receive(request, upload, begin)
        return Response(status_code=204, headers=_state(upload))

    @api.delete(
        "/uploads/{upload_id}",
        status_code=204,
        response_class=Response,
        dependencies=tus,
        openapi_extra={"parameters": [_VERSION]},
    )
    async def remove(upload_id: str) -> Response:
        """Remove an upload; a request that sends it is ended. One that a job uses is a conflict."""
        await found(upload_id)
        places = own.places
        with refusing():
            async with writers.writing(places.owner, upload_id, at_once=True):
                sizes = await run_in_threadpool(files.remove, places, upload_id)
        present_call().facts.update(files=len(sizes), bytes=sum(sizes))
        return Response(status_code=204)


def _check_version(request: Request) -> None:
    with refusing():
        protocol.check_version(request.headers)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Answer errors of uploads with the statuses of tus."""
    try:
        yield
    except (BadHeader, Interrupted) as error:
        _refuse(error, error.status)
    except GoneUpload as error:
        _refuse(error, 410)
    except UnknownUpload as error:
        _refuse(error, 404)
    except (OtherOffset, UploadConflict) as error:
        _refuse(error, 409)
    except TooMany as error:
        _refuse(error, 413)
    except Written as error:
        raise HTTPException(423, str(error), headers={"Retry-After": str(RETRY_S)}) from None
    except WrongChecksum as error:
        _refuse(error, protocol.MISMATCH)
    except NoRoom as error:
        _refuse(error, 507)


def _refuse(error: Emow2vError, status: int) -> NoReturn:
    raise HTTPException(status, one_line(str(error)), headers=retry(status)) from None


def _other_offset(upload: Upload, begin: int) -> HTTPException:
    return HTTPException(
        409, f"The upload has {upload.offset} bytes, and Upload-Offset is {begin}; ask for the offset (HEAD)."
    )


def _state(upload: Upload) -> dict[str, str]:
    told = {"Upload-Offset": str(upload.offset)}
    if upload.expires is not None:
        told["Upload-Expires"] = formatdate(upload.expires, usegmt=True)
    return told


def _model(upload: Upload, receiving: bool) -> UploadModel:
    expires = "" if upload.expires is None else _iso(upload.expires)
    values = protocol.metadata(upload.metadata)
    return UploadModel(
        id=upload.id,
        name=one_line(upload.name),
        state="finished" if upload.is_finished else "unfinished",
        offset=upload.offset,
        length=upload.length,
        created=upload.created,
        expires=expires,
        receiving=receiving,
        metadata={key: one_line(value.decode(errors="replace")) for key, value in values.items()},
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
