"""The header Idempotency-Key: a request that is sent again, because its answer was lost, finds the job of the first one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Annotated

from fastapi import Header

from emow2v.errors import FormatError
from emow2v.server.jobs.store import RequestKey

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}  # a header of answers with a job that an earlier request has posted
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PIECE_BYTES = 1 << 20

KeyHeader = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="A text that you choose, new for each job: sent again with the same request, it gives the job that it has "
        "posted, not a second one, as long as the job is kept.",
    ),
]


def request_key(
    sent: Sequence[str], route: str, fields: Mapping[str, str], files: Iterable[tuple[str, str, IO[bytes]]]
) -> RequestKey | None:
    """What tells a request and its repetition from others; None where it has no key. Blocks: it reads the files.

    Args:
        sent: values of the header
        route: that the request is for
        fields: of the request, as far as they say what the job is
        files: field, name and content of each upload, in order; read from the beginning, and left there

    Raises:
        FormatError: the key cannot be one
    """
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        raise FormatError(
            f"{HEADER} is not usable; expected it once, as 1 to 255 printable ASCII characters without blanks, such as a UUID."
        )
    contents = [[field, name, _digest(file)] for field, name, file in files]
    request = json.dumps([route, sorted(fields.items()), contents])
    return RequestKey(_hash(sent[0]), _hash(request))


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
