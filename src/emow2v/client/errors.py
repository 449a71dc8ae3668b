"""What can go wrong between a program and a server; each error is a `ClientError` and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emow2v.errors import ClientError

if TYPE_CHECKING:
    from emow2v.client.answers import Job


class Unreachable(ClientError):
    """No server answers at the address, or the connection was lost too often."""


class WrongAnswer(ClientError):
    """What answers is no server of emow2v, or its answer is damaged."""


class TimedOut(ClientError):
    """A job has not ended within the time that was given for it; it goes on."""


class JobFailed(ClientError):
    """A job ended without a result.

    Attributes:
        job: its last state
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job.error or f"The job {job.id} was cancelled.")
        self.job = job


class Refused(ClientError):
    """The server refuses a request; the text is the server's own sentence.

    Attributes:
        status: the HTTP status
        retry_after_s: seconds after which the server takes the request; None where it does not say
    """

    def __init__(self, sentence: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.retry_after_s = status, retry_after_s


class Unauthorized(Refused):
    """The token is missing, wrong, expired, or not made for this (401, 403)."""


class NotFound(Refused):
    """There is no such job, recording or file, or it belongs to another name (404)."""


class Conflict(Refused):
    """The state of the job does not allow it (409)."""


class Invalid(Refused):
    """The recording, a field or its value cannot be used (400, 413, 415, 422)."""


class TooMany(Refused):
    """Too many jobs wait, or a limit of the name is reached (429)."""


class NoRoom(Refused):
    """The disk of the server is full (507)."""


class Unavailable(Refused):
    """The server, or the proxy before it, cannot answer now (500, 502, 503, 504)."""


_KINDS: dict[int, type[Refused]] = {
    400: Invalid, 401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Conflict, 413: Invalid, 415: Invalid,
    422: Invalid, 429: TooMany, 507: NoRoom,
}  # fmt: skip


def refusal(sentence: str, status: int, retry_after_s: float | None) -> Refused:
    """The error of a status."""
    kind = _KINDS.get(status, Unavailable if status >= 500 else Refused)
    return kind(sentence, status, retry_after_s)
