"""Totals of the jobs that have ended, by model: numbers, durations, seconds of sound. They hold nothing else of a job.

A trigger counts, so that no change of a job can omit it; the totals stay when jobs are erased, and across restarts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from emow2v.server.jobs.store.job import Status

BOUNDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 36000.0)  # seconds that jobs take, at most
_OVER = 1e9  # in place of a bound, of jobs that take longer than all
_TAKEN = "(julianday(NEW.ended) - julianday(NEW.started)) * 86400"
_BOUND = " ".join(f"WHEN {_TAKEN} <= {bound} THEN {bound}" for bound in BOUNDS)
TOTALS = (
    """
CREATE TABLE IF NOT EXISTS totals (
    model TEXT NOT NULL, status INTEGER NOT NULL, bound REAL NOT NULL,
    jobs INTEGER NOT NULL, taken REAL NOT NULL, sound REAL NOT NULL, PRIMARY KEY (model, status, bound)
)
""",
    f"""
CREATE TRIGGER IF NOT EXISTS totals_ended AFTER UPDATE OF status ON jobs
WHEN OLD.status = {Status.RUNNING:d} AND NEW.status IN ({Status.FINISHED:d}, {Status.ERROR:d}) AND NEW.started != '' BEGIN
    INSERT INTO totals VALUES (coalesce(json_extract(NEW.provenance, '$.model'), ''), NEW.status,
        CASE {_BOUND} ELSE {_OVER} END, 1, {_TAKEN}, NEW.seconds)
    ON CONFLICT (model, status, bound) DO UPDATE
    SET jobs = jobs + 1, taken = taken + excluded.taken, sound = sound + excluded.sound;
END
""",
)


@dataclass(frozen=True)
class Total:
    """Jobs of one model that have ended in one way.

    Attributes:
        model: its name; "" where a job ended before its model was loaded
        status: how they ended
        within: number of jobs that took at most so many seconds, for each of `BOUNDS`
        jobs: number of all
        taken_s: seconds that they took together
        sound_s: seconds of their sound, as recordings state it or as much as was heard
    """

    model: str
    status: Status
    within: tuple[int, ...]
    jobs: int
    taken_s: float
    sound_s: float


def totals(rows: Iterable[sqlite3.Row]) -> list[Total]:
    """Totals from the rows of the table."""
    grouped: dict[tuple[str, int], list[sqlite3.Row]] = {}
    for row in rows:
        grouped.setdefault((row["model"], row["status"]), []).append(row)
    return [
        Total(
            model,
            Status(status),
            tuple(sum(row["jobs"] for row in found if row["bound"] <= bound) for bound in BOUNDS),
            sum(row["jobs"] for row in found),
            sum(row["taken"] for row in found),
            sum(row["sound"] for row in found),
        )
        for (model, status), found in sorted(grouped.items())
    ]
