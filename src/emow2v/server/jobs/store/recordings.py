"""What became of each recording of a job that has many: a view for people, which follows the journal of the job's run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

RecordingState = Literal["waiting", "done", "failed"]

RECORDINGS = """
CREATE TABLE IF NOT EXISTS recordings (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    state TEXT NOT NULL,
    rows INTEGER NOT NULL,
    seconds REAL NOT NULL,
    error TEXT NOT NULL,
    notices TEXT NOT NULL,
    PRIMARY KEY (job, place)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Recorded:
    """A recording of a job.

    Attributes:
        place: its number in the job, from 0
        rows: number of its values
        seconds: of its sound
        error: one sentence, if it failed
        notices: sentences on what is missing or unusual in it
    """

    place: int
    state: RecordingState = "waiting"
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    notices: Sequence[str] = ()


@dataclass(frozen=True)
class Counts:
    """How far a job of many recordings is.

    Attributes:
        all, done, failed: numbers of recordings
        before: number of those that were done or had failed when the present attempt began
        rows: number of values of those that are done
        sound_s: seconds of their sound
        left_s: seconds that the others will take at this speed; None where that is unknown
    """

    all: int = 0
    done: int = 0
    failed: int = 0
    before: int = 0
    rows: int = 0
    sound_s: float = 0.0
    left_s: float | None = None


_NAMES = [field.name for field in fields(Recorded)]


def replace_recordings(database: sqlite3.Connection, job: int, recordings: Iterable[Recorded]) -> None:
    """Write the states of recordings, inside a transaction."""
    marks = ", ".join("?" * (len(_NAMES) + 1))
    database.executemany(
        f"INSERT OR REPLACE INTO recordings (job, {', '.join(_NAMES)}) VALUES ({marks})",
        ((job, *(asdict(one) | {"notices": json.dumps(one.notices)}).values()) for one in recordings),
    )


def from_rows(rows: Iterable[sqlite3.Row]) -> list[Recorded]:
    """Recordings from rows of the table."""
    return [Recorded(**{name: row[name] for name in _NAMES} | {"notices": json.loads(row["notices"])}) for row in rows]
