"""The flow of a resumable upload (tus 1.0.0): a recording goes to the server in parts, and goes on where a connection broke."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import IO

from emow2v.client.exchange import (
    Answer,
    Attachment,
    Call,
    Flow,
    Lost,
    Patience,
    Pause,
    Request,
    Send,
    Server,
    ask,
    refusal_of,
    wrong,
)
from emow2v.errors import ClientError

LARGE = 64 << 20  # bytes of a recording from which on it is sent in parts by itself
PART = 8 << 20
_TUS = {"Tus-Resumable": "1.0.0"}
_ASK_AGAIN = (408, 409, 423)  # a request ended early, is at another place, or another one is still sending


def size_of(recording: Attachment) -> int:
    """Bytes of a recording.

    Raises:
        ClientError: it cannot be read
    """
    source = recording.source
    if isinstance(source, bytes):
        return len(source)
    try:
        return source.stat().st_size if isinstance(source, Path) else source.seek(0, 2)
    except OSError as error:
        raise ClientError(f"{recording.name} cannot be read ({error.strerror}).") from None


def upload_in_parts(server: Server, recording: Attachment) -> Flow[str]:
    """Send a recording in parts.

    Returns:
        its id, which a request names as `upload`

    Raises:
        NotFound: the server takes no such uploads
        ClientError: another refusal, or it cannot be reached for too long
    """
    source = recording.source
    size: int = yield Call(partial(size_of, recording))
    name = base64.b64encode(recording.name.encode()).decode()
    about = {**_TUS, "Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
    made = yield from ask(server, Request("POST", "uploads", headers=about))
    upload_id = made.headers.get("location", "").rpartition("/")[2]
    if not upload_id:
        raise wrong(server, "an upload has no address")
    offset, patience = 0, Patience(server)
    while offset < size:
        piece: bytes = yield Call(partial(_part, source, offset))
        headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        request = Request("PATCH", f"uploads/{upload_id}", headers=headers, content=piece)
        try:
            answer: Answer = yield Send(request)
        except Lost as error:
            yield Pause(patience.after_loss(request, error))
        else:
            if answer.status == 204:
                offset = _offset(server, answer)
                patience.reset()
                continue
            refused = refusal_of(server, answer)
            is_passing = answer.status in _ASK_AGAIN
            yield Pause(
                patience.after_loss(request, Lost(str(refused)))
                if is_passing
                else patience.after_refusal(request, refused)
            )
        answer = yield from ask(server, Request("HEAD", f"uploads/{upload_id}", headers=_TUS))
        if (reached := _offset(server, answer)) > offset:
            patience.reset()
        offset = reached
    return upload_id


def _offset(server: Server, answer: Answer) -> int:
    text = answer.headers.get("upload-offset", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise wrong(server, "it does not say how much of an upload has come")
    return int(text)


def _part(source: Path | bytes | IO[bytes], offset: int) -> bytes:
    """The next bytes of a recording."""
    if isinstance(source, bytes):
        return source[offset : offset + PART]
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                file.seek(offset)
                part = file.read(PART)
        else:
            source.seek(offset)
            part = source.read(PART)
    except OSError as error:
        raise ClientError(f"The recording cannot be read ({error.strerror}).") from None
    if not part:
        raise ClientError("The recording has become shorter while it was sent; send it again.")
    return part
