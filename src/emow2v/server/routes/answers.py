"""What /v1 answers: a job, or the sentence of an error."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from emow2v.server.jobs.store.job import Kind
from emow2v.server.jobs.store.recordings import Counts

State = Literal["waiting", "running", "finished", "error", "canceled"]


class Problem(BaseModel):
    """One sentence: what was expected, what came, what to do."""

    error: str


class CountsModel(BaseModel):
    """Recordings of a job that has many: how many there are, are done, and have failed; and seconds left, where known."""

    all: int
    done: int
    failed: int
    seconds: float
    seconds_left: float | None


def of_counts(counts: Counts | None) -> CountsModel | None:
    """How far a job of many recordings is, for clients."""
    if counts is None:
        return None
    left = None if counts.left_s is None else round(counts.left_s, 1)
    return CountsModel(
        all=counts.all, done=counts.done, failed=counts.failed, seconds=round(counts.sound_s, 3), seconds_left=left
    )


class JobModel(BaseModel):
    """A job; its name is that of the recording. Times are UTC, ISO 8601; empty before the event.

    `owner` is the name of the person who posted it; empty for the single token, or none. Administrators see the ids of others'
    jobs with the owner before them, as anna:talk1. `files` belongs to jobs of many recordings; their `rows` are those of the
    recordings that are done.
    """

    id: str
    name: str
    kind: Kind
    state: State
    position: int | None = None
    rows: int
    expected_rows: int | None
    posted: str
    started: str
    ended: str
    error: str
    model: str
    provenance: dict[str, str | int | float]
    owner: str = ""
    files: CountsModel | None = None
    notices: list[str] = []  # on what is missing or unusual in the recording
