"""A job as it stands in the store: what was asked, how far it is, what came of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from emow2v.errors import Emow2vError
from emow2v.model import Context

Kind = Literal["process", "prediction"]


class Busy(Emow2vError):
    """More is asked than is taken; later there will be room."""


class Status(IntEnum):
    """DISCOVER's numbers."""

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
    """A job as it stands.

    Attributes:
        number: unique for ever, where an id may be used again
        kind: "process" for a DISCOVER request, "prediction" for one of /v1
        client: who posted it, for a fair order
        form: the fields of the request, secrets masked
        context: how windows are computed where the form does not say
        rows, expected: values done in the present session, and all of it where that is known
        posted, started, ended: UTC, ISO 8601 to the millisecond; "" for not yet
        provenance: of the results
        notices: sentences on what is missing or unusual in the recording
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

    @property
    def progress(self) -> str:
        """ "120/250", "120" where the end is not known, "-" before the first value."""
        if not self.rows:
            return "-"
        return f"{self.rows}/{max(self.rows, self.expected)}" if self.expected else str(self.rows)


def from_row(row: sqlite3.Row) -> Job:
    """A row of the store's table."""
    values = dict(row)
    for name in ("form", "moves", "provenance", "notices"):
        values[name] = json.loads(values[name])
    values["moves"] = [(part, path) for part, path in values["moves"]]
    for name in ("publishing", "was_cancelled"):
        values[name] = bool(values[name])
    return Job(**{**values, "status": Status(values["status"])})
