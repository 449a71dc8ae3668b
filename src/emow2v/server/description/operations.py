"""The operations of /v1: how each is named and grouped, and which refusals it can answer with.

A new route has one row here. What an answer holds where all is well stands at the route itself. `tests/server/description`
fails where a route has no row, or a row no route, and where an answer has a status that is not described.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of each operation: a token is missing, wrong or not a person's; another name; an unknown field of the query; too many wrong
# tokens; the server's files or its list of jobs cannot be used.
EVERYWHERE = (401, 403, 421, 422, 429, 500, 503)
_BODY = (400, 413, 415)  # of a request with a body
_DISK = (507,)  # of a request that writes
_RESULT = (404, 409, 412, 416, *_DISK)  # of a result, with conditions and ranges
_PIECE = (408, 409, 410, 412, 423, 460)  # of a request with bytes of an upload

TAGS = {
    "predictions": "Send a recording, or name one that the server can reach.",
    "uploads": "Send a large recording in parts, and continue where a connection was cut (tus 1.0.0).",
    "jobs": "What becomes of a recording that was sent: list, follow, cancel and erase.",
    "results": "The values of a finished job, in many formats, with its sound and its provenance.",
    "server": "Models, data folders and the disk of this server.",
}


@dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes:
        id: its name in programs; it never changes, since clients are generated from it
        tag: one of `TAGS`
        summary: three or four words
        problems: statuses of refusals, besides those of `EVERYWHERE`
    """

    id: str
    tag: str
    summary: str
    problems: tuple[int, ...] = ()


OPERATIONS = {
    "POST /predictions": Operation("predict", "predictions", "Compute a recording", (*_BODY, 404, 409, 410, *_DISK)),
    "OPTIONS /uploads": Operation("get_upload_options", "uploads", "Get what is offered for uploads"),
    "GET /uploads": Operation("list_uploads", "uploads", "List unfinished and unused uploads"),
    "POST /uploads": Operation("create_upload", "uploads", "Create an upload", (*_BODY, *_PIECE, *_DISK)),
    "HEAD /uploads/{upload_id}": Operation(
        "get_offset", "uploads", "Get how much has come", (400, 404, 410, 412, *_DISK)
    ),
    "PATCH /uploads/{upload_id}": Operation(
        "send_bytes", "uploads", "Send more of an upload", (*_BODY, 404, *_PIECE, *_DISK)
    ),
    "DELETE /uploads/{upload_id}": Operation(
        "remove_upload", "uploads", "Remove an upload", (404, 409, 410, 412, *_DISK)
    ),
    "POST /batches": Operation(
        "post_batch", "predictions", "Compute many recordings as one job", (*_BODY, 404, 409, *_DISK)
    ),
    "GET /jobs": Operation("list_jobs", "jobs", "List jobs"),
    "GET /jobs/{job_id}": Operation("get_job", "jobs", "Get a job", (404,)),
    "DELETE /jobs/{job_id}": Operation("erase_job", "jobs", "Erase a job", (404, *_DISK)),
    "POST /jobs/{job_id}/cancel": Operation("cancel_job", "jobs", "Cancel a job", (404, 409, *_DISK)),
    "GET /jobs/{job_id}/events": Operation("watch_job", "jobs", "Follow a job", (404,)),
    "GET /jobs/{job_id}/log": Operation("get_log", "jobs", "Get the log of a job", (404,)),
    "GET /jobs/{job_id}/sessions": Operation("get_sessions", "results", "List the recordings of a job", (404,)),
    "GET /jobs/{job_id}/rows": Operation("get_rows", "results", "Get values, also while they are computed", (404,)),
    "GET /jobs/{job_id}/result": Operation("get_result", "results", "Get the result of a job", _RESULT),
    "HEAD /jobs/{job_id}/result": Operation("head_result", "results", "Get the headers of a result", _RESULT),
    "GET /results": Operation("get_results", "results", "Get several results in a zip", _RESULT),
    "HEAD /results": Operation("head_results", "results", "Get the headers of such a zip", _RESULT),
    "GET /jobs/{job_id}/turns": Operation("get_turns", "results", "Get turns with their values", (404, 409, *_DISK)),
    "GET /jobs/{job_id}/citation": Operation("get_citation", "results", "Get how to cite a result", (404, 409)),
    "GET /jobs/{job_id}/audio": Operation("get_audio", "results", "Get the recording of a job", (404,)),
    "GET /jobs/{job_id}/waveform": Operation("get_waveform", "results", "Get the waveform of a recording", (404,)),
    "GET /jobs/{job_id}/files": Operation("list_job_files", "jobs", "List the recordings of a job of many", (404,)),
    "GET /jobs/{job_id}/failures": Operation("get_failures", "results", "Get the failures of a job of many", (404,)),
    "GET /jobs/{job_id}/zip": Operation("get_zip", "results", "Get a file for each recording", (404, 409, *_DISK)),
    "GET /models": Operation("list_models", "server", "List models"),
    "GET /files": Operation("list_files", "server", "List the recordings of a data folder", (404,)),
    "GET /disk": Operation("get_disk", "server", "Get how full the disk is"),
}
