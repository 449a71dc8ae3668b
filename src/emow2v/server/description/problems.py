"""The refusals of /v1 as OpenAPI describes them: by their status, with their headers and an example of the sentence."""

from __future__ import annotations

from typing import Any, NamedTuple

from emow2v.server.failures import RETRY_S
from emow2v.server.security.access import NO_HEADER


class Problem(NamedTuple):
    """A refusal.

    Attributes:
        name: of the component
        meaning: when it comes
        example: of its sentence
        headers: by name, with what they say
    """

    name: str
    meaning: str
    example: str
    headers: tuple[str, ...] = ()


HEADERS: dict[str, dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds after which the client may ask again. Without it, asking again soon does not help.",
        "schema": {"type": "integer", "minimum": 1},
        "example": RETRY_S,
    },
    "WWW-Authenticate": {
        "description": "The scheme that is expected: Bearer.",
        "schema": {"type": "string"},
        "example": "Bearer",
    },
    "ETag": {
        "description": "Names the bytes of the result.",
        "schema": {"type": "string"},
        "example": '"33a64df551425fcc55e4d42a148795d9"',
    },
    "Content-Range": {
        "description": "The size of the result.",
        "schema": {"type": "string"},
        "example": "bytes */5000",
    },
    "Location": {
        "description": "Address of the job, relative to that of the request.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "jobs/6f0c1d2e3a4b5c6d7e8f9a0b",
    },
}

PROBLEMS = {
    400: Problem(
        "BadRequest",
        "The recording or a field cannot be used.",
        "talk.wav is not a recording that can be decoded; expected an audio or video file.",
    ),
    401: Problem(
        "Unauthorized",
        "The token is missing, wrong, expired or removed. A server without tokens never answers this.",
        NO_HEADER,
        ("WWW-Authenticate",),
    ),
    403: Problem(
        "Forbidden",
        "The token opens /metrics only, or a page of another site sent the request.",
        "This token opens /metrics only; expected the token of a person.",
    ),
    404: Problem(
        "NotFound",
        "There is no such job, recording or file, or it belongs to another name.",
        "No job 'talk1' is known; expected the id of a posted job.",
    ),
    409: Problem(
        "Conflict",
        "The state of the job or upload does not allow it.",
        "The job is running; its result comes when it has finished.",
    ),
    408: Problem(
        "Silent",
        "No byte of an upload came for a minute; what had come is kept.",
        "No byte has come for 60 s; what has come is kept. Ask for the offset (HEAD), then go on.",
    ),
    410: Problem(
        "Gone",
        "The upload has expired, or its bytes were removed.",
        "The upload 'abcdefghijkl.wav' is gone: it has expired, or was erased; create a new one.",
    ),
    412: Problem(
        "PreconditionFailed",
        "The result is another one than If-Match names, or Tus-Resumable is missing or another version.",
        "The result is another one than If-Match names; get it anew.",
        ("ETag",),
    ),
    413: Problem(
        "TooLarge",
        "The request is larger, or the recording longer, than the server takes.",
        "The request is larger than the 2000 MB that are taken here; send less, or see --max-upload.",
    ),
    415: Problem(
        "WrongType",
        "The body is not a form, or not the bytes of an upload.",
        "The body is application/json; expected a form, application/x-www-form-urlencoded or multipart/form-data, "
        "as curl -d or -F send it.",
    ),
    416: Problem(
        "RangeNotSatisfiable",
        "The range lies behind the end of the result.",
        "The range lies behind the end; the result has 5000 bytes.",
        ("ETag", "Content-Range"),
    ),
    421: Problem(
        "Misdirected",
        "The server does not answer to the name in the address.",
        "This server does not answer to 'lab.example.org'. If people reach it by this name, for instance through a proxy, "
        "the administrator must start it with --allow-host lab.example.org.",
    ),
    422: Problem(
        "Invalid",
        "A field is unknown, comes twice, or has a value that it cannot have.",
        "format is 'xml'; expected json, csv, ndjson or parquet.",
    ),
    423: Problem(
        "Locked",
        "Another request sends the upload now.",
        "Another request writes this upload; ask for its offset (HEAD) in a moment, then go on.",
        ("Retry-After",),
    ),
    429: Problem(
        "TooMany",
        "Too many jobs wait, a limit of the name is reached, or too many wrong tokens came from the address.",
        "Too many wrong tokens came from your address; try again in 5 min.",
        ("Retry-After",),
    ),
    460: Problem(
        "WrongChecksum",
        "The checksum of the bytes that came is another one; nothing of the body was kept.",
        "The checksum of the bytes that came is another one; nothing of them was kept; send them again.",
    ),
    500: Problem(
        "Failed",
        "Something is wrong with the server, which its administrator must mend.",
        "The server's list of jobs cannot be used (disk I/O error); the administrator must check the disk and the work folder.",
    ),
    503: Problem(
        "Unavailable",
        "The server stops, or cannot use its files just now.",
        "The server's list of jobs cannot be used (database is locked); try again in a moment.",
        ("Retry-After",),
    ),
    507: Problem(
        "NoRoom",
        "The disk of the server is full.",
        "The server cannot keep that (No space left on device); the administrator must free some space.",
    ),
}
