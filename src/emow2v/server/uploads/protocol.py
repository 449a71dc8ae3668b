"""The headers of tus 1.0.0: what requests state, what answers hold, and the ASGI layer for both."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.errors import Emow2vError

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
ALGORITHMS = ("sha1", "sha256", "md5")
BODY = "application/offset+octet-stream"
ROUTE = "/v1/uploads"
MISMATCH = 460  # the status of tus for a wrong checksum, which no list of HTTP has
_MOST = 2**63 - 1  # bytes of a file
_LONGEST_NAME = 1000  # characters
_OVERRIDE = "x-http-method-override"


class BadHeader(Emow2vError):
    """A header is missing or has no usable value.

    Attributes:
        status: of the answer
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Checksum(NamedTuple):
    """A checksum that a client states: the name of its algorithm, and the digest."""

    algorithm: str
    digest: bytes


def is_upload(path: str) -> bool:
    """Whether a path is that of resumable uploads, or of one of them."""
    return path == ROUTE or path.startswith(f"{ROUTE}/")


def check_version(headers: Headers) -> None:
    """Refuse a request of another version.

    Raises:
        BadHeader: 412
    """
    came = headers.getlist("tus-resumable")
    if came != [VERSION]:
        said = f"is '{', '.join(came)[:40]}'" if came else "is missing"
        raise BadHeader(f"The header Tus-Resumable {said}; expected {VERSION}.", 412)


def whole_number(headers: Headers, name: str) -> int:
    """The value of a header that is a number of bytes.

    Raises:
        BadHeader: 400 where it is missing or something else, 413 where no file is so large
    """
    came = headers.getlist(name)
    if len(came) != 1 or not (came[0].isascii() and came[0].isdigit()):
        said = f"is '{', '.join(came)[:40]}'" if came else "is missing"
        raise BadHeader(f"The header {name} {said}; expected a whole number of bytes.")
    if len(came[0]) > 30 or int(came[0]) > _MOST:
        raise BadHeader(f"The header {name} is {came[0][:40]}; no file has so many bytes.", 413)
    return int(came[0])


def body_length(headers: Headers) -> int | None:
    """Bytes of a body, as the request states them; None for a body in chunks.

    Raises:
        BadHeader: as `whole_number`
    """
    if "transfer-encoding" in headers:
        return None
    return whole_number(headers, "Content-Length") if "content-length" in headers else 0


def check_body_type(headers: Headers) -> None:
    """Refuse bytes of another type.

    Raises:
        BadHeader: 415
    """
    came = headers.get("content-type", "")
    if came.partition(";")[0].strip().lower() != BODY:
        raise BadHeader(f"The Content-Type is '{came[:60]}'; expected {BODY}.", 415)


def checksum(headers: Headers) -> Checksum | None:
    """The checksum of a body; None where none is stated.

    Raises:
        BadHeader: another algorithm, or no digest of one
    """
    came = headers.getlist("upload-checksum")
    if not came:
        return None
    algorithm, _, encoded = came[0].partition(" ")
    if len(came) > 1 or algorithm not in ALGORITHMS:
        expected = ", ".join(ALGORITHMS)
        raise BadHeader(
            f"The header Upload-Checksum names '{algorithm[:20]}'; expected one of {expected}, and a digest in base64."
        )
    digest = _decoded(encoded)
    if digest is None or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise BadHeader(f"The header Upload-Checksum holds no digest of {algorithm}; expected one in base64.")
    return Checksum(algorithm, digest)


def metadata(text: str) -> dict[str, bytes]:
    """The values of an Upload-Metadata header by their keys.

    Raises:
        BadHeader: it has another form
    """
    found: dict[str, bytes] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, encoded = pair.strip(" ").partition(" ")
        value = _decoded(encoded.strip(" "))
        if not re.fullmatch(r"[!-+\--~]+", key) or value is None:
            raise BadHeader(
                f"The header Upload-Metadata holds '{pair.strip()[:40]}'; expected pairs with commas between them, each a key of "
                "ASCII, a space, and a value in base64."
            )
        if key in found:
            raise BadHeader(f"The header Upload-Metadata has the key '{key[:40]}' twice; expected it once.")
        found[key] = value
    return found


def file_name(values: Mapping[str, bytes]) -> str:
    """The client's name of the file, without folders; "" where it states none.

    Raises:
        BadHeader: it is no UTF-8
    """
    for key in ("filename", "name"):
        if values.get(key):
            try:
                name = values[key].decode()
            except UnicodeDecodeError:
                raise BadHeader(
                    f"The value of {key} in Upload-Metadata is no UTF-8; expected a name in UTF-8, then base64."
                ) from None
            return re.split(r"[\\/]", name.rstrip("\\/"))[-1][:_LONGEST_NAME]
    return ""


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


class TusHeaders:
    """The ASGI layer that puts the version into every answer about uploads, refusals of other layers included, and takes the
    method of clients that can send none but POST from X-HTTP-Method-Override."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_upload(scope["path"]):
            await self._app(scope, receive, send)
            return
        other = Headers(scope=scope).get(_OVERRIDE, "").upper()
        if scope["method"] == "POST" and other in ("PATCH", "DELETE"):
            scope = {**scope, "method": other}

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(raw=message.setdefault("headers", []))
                answer["Tus-Resumable"] = VERSION
                if message["status"] == 412:
                    answer["Tus-Version"] = VERSION
            await send(message)

        await self._app(scope, receive, marked)
