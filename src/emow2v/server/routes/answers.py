"""What /v1 answers: a job, or the sentence of an error."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from emow2v.server.jobs.store.job import Kind

State = Literal["waiting", "running", "finished", "error", "canceled"]


class Problem(BaseModel):
    """One sentence: what was expected, what came, what to do."""

    error: str


class JobModel(BaseModel):
    """A job; its name is that of the recording. Times are UTC, ISO 8601; empty before the event.

    `owner` is the name of the person who posted it; empty for the single token, or none. Administrators see the ids of others'
    jobs with the owner before them, as anna:talk1.
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
    notices: list[str] = []  # on what is missing or unusual in the recording
