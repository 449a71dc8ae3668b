"""Jobs: the posted form, the progress and the outcome."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from emow2v.errors import Emow2vError
from emow2v.model import Context
from emow2v.server.jobs.store.recordings import Counts
from emow2v.storage import one_line

Kind = Literal["process", "prediction", "batch"]


class Busy(Emow2vError):
    """The server has no room for the request now; a later one may succeed."""


class Status(IntEnum):
    """The state of a job, with DISCOVER's numbers."""

    WAITING = 0
    RUNNING = 1
    FINISHED = 2
    ERROR = 3
    CANCELED = 4

    @property
    def ended(self) -> bool:
        return self >= Status.FINISHED


@dataclass(frozen=True)
class Job:
    """A job in its present state.

    Attributes:
        number: never used again, while an id may be
        kind: "process" for a DISCOVER request, "prediction" for one of /v1, "batch" for many recordings of /v1
        client: address that posted it, for a fair order
        form: the fields of the request, secrets masked
        context: how windows are computed where the form does not say
        rows, expected: values computed in the present session, and its total where that is known
        posted, started, ended: UTC, ISO 8601 to the millisecond; "" before the event
        provenance: of the results
        notices: sentences on what is missing or unusual in the recording
        owner: name of the person who posted it; "" for the single token, or none. Two owners may have jobs of one id
        files: how far a job of many recordings is; None for others
    """

    number: int
    id: str
    kind: Kind
    client: str
    form: Mapping[str, str]
    context: Context
    status: Status
    publishing: bool
    moves: Sequence[tuple[str, str]]
    worker: str
    attempts: int
    rows: int
    expected: int | None
    posted: str
    started: str
    ended: str
    error: str
    was_cancelled: bool
    provenance: Mapping[str, str | float]
    notices: Sequence[str] = ()
    owner: str = ""
    files: Counts | None = None

    @property
    def progress(self) -> str:
        """As "120/250"; "120" where the total is unknown, "-" before the first value."""
        if not self.rows:
            return "-"
        return f"{self.rows}/{max(self.rows, self.expected)}" if self.expected else str(self.rows)


def sentence(text: str) -> str:
    """A text from any library as one line of a job's log, error or notices; line ends become blanks."""
    return one_line(text.translate(dict.fromkeys(map(ord, "\t\r\n"), " ")))


def from_row(row: sqlite3.Row) -> Job:
    """A job from a row of the store's table."""
    values = dict(row)
    for name in ("form", "moves", "provenance", "notices", "files"):
        values[name] = json.loads(values[name])
    values["moves"] = [(part, path) for part, path in values["moves"]]
    values["files"] = Counts(**values["files"]) if values["files"] else None
    for name in ("publishing", "was_cancelled"):
        values[name] = bool(values[name])
    return Job(**{**values, "status": Status(values["status"])})
