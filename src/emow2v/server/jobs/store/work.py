"""What workers do with the jobs of a store: claim, report, publish, end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emow2v.server.jobs.store.connections import Database
from emow2v.server.jobs.store.job import Job, Status, from_row, sentence
from emow2v.server.jobs.store.recordings import Counts, Recorded, from_rows, replace_recordings

MAX_NOTICES = 100  # of a job; its log has all of them
MAX_ATTEMPTS = 3  # a job during which workers died so often is given up
# A recording that workers die of is left out after `MAX_ATTEMPTS` of its own; the job goes on with the others
MOST_OF_BATCH = 2 * MAX_ATTEMPTS
_ROWS = "rows = CASE kind WHEN 'batch' THEN rows ELSE 0 END"  # of many recordings, those that are done stay done
GIVES_WAY_S = 0.2  # so long a job must have waited before another one gives way: a free worker may take it
# Whose turn it is: people's, and addresses' where nobody has a name
TURN = "CASE owner WHEN '' THEN jobs.client ELSE 'name ' || owner END"
WHOLE = ", ".join(one.name for one in fields(Job))
_WHOLE_OF_JOBS = ", ".join(f"jobs.{one.name}" for one in fields(Job))
_NEXT = f"FROM jobs LEFT JOIN served ON served.client = {TURN} WHERE status = 0 ORDER BY coalesce(turn, 0), max(number, behind), number LIMIT 1"


class Work:
    """The jobs of a store as workers see them.

    Args:
        data: the store's file
    """

    def __init__(self, data: Database) -> None:
        self._data = data

    def next_waiting(self) -> Job | None:
        """The job that `claim` would assign; None where no job waits."""
        row = self._data.row(f"SELECT {_WHOLE_OF_JOBS} {_NEXT}", ())
        return None if row is None else from_row(row)

    def claim(self, worker: str) -> Job | None:
        """Assign the next waiting job to a worker; None where no job waits.

        People take turns, and clients without a name: the oldest job of the one that was served longest ago is next.
        """
        with self._data.write() as database:
            row = database.execute(f"SELECT number, {TURN} AS client {_NEXT}").fetchone()
            if row is None:
                return None
            claimed = database.execute(
                "UPDATE jobs SET status = 1, worker = ?, attempts = attempts + 1, "
                "started = CASE behind WHEN 0 THEN ? ELSE started END, "
                f"{_ROWS}, expected = NULL, notices = '[]', publishing = 0, moves = '[]' WHERE number = ? RETURNING {WHOLE}",
                (worker, now(), row["number"]),
            ).fetchone()
            database.execute(
                "INSERT INTO served SELECT ?, coalesce(max(turn), 0) + 1 FROM served WHERE true "
                "ON CONFLICT (client) DO UPDATE SET turn = excluded.turn",
                (row["client"],),
            )
        return from_row(claimed)

    def release(self, job: Job) -> None:
        """Say that the worker has removed everything of a cancelled job."""
        with self._data.write(lasting=False) as database:
            database.execute("UPDATE jobs SET worker = '' WHERE number = ? AND status = 4", (job.number,))
            database.execute("DELETE FROM replaced WHERE number = ?", (job.number,))

    def running(self, job: Job) -> bool:
        """Whether a claimed job is still to be run: neither cancelled nor assigned to another worker."""
        row = self._data.row("SELECT status, worker FROM jobs WHERE number = ?", (job.number,))
        return row is not None and row["status"] == Status.RUNNING and row["worker"] == job.worker

    def progress(self, job: Job, rows: int, expected: int | None) -> None:
        self._update_running(job, "rows = ?, expected = ?", rows, expected, lasting=False)

    def set_provenance(self, job: Job, provenance: Mapping[str, str | float]) -> None:
        """Store the provenance of the results."""
        self._update_running(job, "provenance = ?", json.dumps(dict(provenance)), lasting=False)

    def add_notices(self, job: Job, sentences: Sequence[str]) -> None:
        """Add notices to a job and to its log."""
        with self._data.write(lasting=False) as database:
            row = database.execute("SELECT notices FROM jobs WHERE number = ?", (job.number,)).fetchone()
            if row is None:
                return
            plain = dict.fromkeys([*json.loads(row["notices"]), *map(sentence, sentences)])
            database.execute(
                "UPDATE jobs SET notices = ? WHERE number = ?", (json.dumps([*plain][:MAX_NOTICES]), job.number)
            )
            for one in sentences:
                line(database, job.number, one, "WARNING")

    def log(self, job: Job, text: str, level: str = "INFO") -> None:
        with self._data.write(lasting=False) as database:
            line(database, job.number, text, level)

    def begin_publishing(self, job: Job, moves: Sequence[tuple[Path, Path]]) -> bool:
        """Mark a job as publishing its files, so that it cannot be cancelled; False where it was cancelled before.

        Args:
            moves: complete files under their temporary names, and their places; if the worker dies, the server completes
                the renaming
        """
        written = json.dumps([[str(part), str(path)] for part, path in moves])
        return self._update_running(job, "publishing = 1, moves = ?", written)

    def end_publishing(self, job: Job) -> None:
        """Mark the files as published; the job can be cancelled again until those of the next session are complete."""
        self._update_running(job, "publishing = 0, moves = '[]'", lasting=False)

    def end(self, job: Job, error: str = "", *, rows: int | None = None, seconds: float = 0) -> bool:
        """End a job as finished, or as failed with a sentence; False where it was cancelled before.

        Args:
            rows: number of values; default: the last `progress`
            seconds: of sound that was heard, which count where the recordings stated less
        """
        status = Status.ERROR if error else Status.FINISHED
        with self._data.write() as database:
            error = sentence(error)
            ended = database.execute(
                "UPDATE jobs SET status = ?, ended = ?, error = ?, publishing = 0, moves = '[]', "
                "rows = coalesce(?, rows), expected = coalesce(?, expected), seconds = max(seconds, ?) "
                "WHERE number = ? AND status = 1 AND worker = ? RETURNING number",
                (int(status), now(), error, rows, rows, seconds, job.number, job.worker),
            ).fetchone()
            if ended is not None:
                line(database, job.number, error or "finished", "ERROR" if error else "INFO")
        return ended is not None

    def postpone(self, job: Job) -> None:
        """Return a job to the queue, because the server stops; the attempt does not count."""
        with self._data.write() as database:
            changed = database.execute(
                f"UPDATE jobs SET status = 0, worker = '', attempts = attempts - 1, {_ROWS}, expected = NULL, "
                "started = CASE behind WHEN 0 THEN '' ELSE started END "
                "WHERE number = ? AND status = 1 AND worker = ? AND NOT publishing RETURNING number",
                (job.number, job.worker),
            ).fetchone()
            if changed is not None:
                line(database, job.number, "interrupted: the server stops; it goes on with the next start", "INFO")

    def others_wait(self, job: Job) -> bool:
        """Whether a job of many recordings should give way: somebody else's job waits, or one with a single recording."""
        latest = (datetime.now(UTC) - timedelta(seconds=GIVES_WAY_S)).isoformat(timespec="milliseconds")
        own = f"(SELECT {TURN} FROM jobs WHERE number = ?)"
        row = self._data.row(
            f"SELECT 1 FROM jobs WHERE status = 0 AND posted <= ? AND (kind != 'batch' OR {TURN} != {own}) LIMIT 1",
            (latest, job.number),
        )
        return row is not None

    def give_way(self, job: Job) -> None:
        """Return a job to the queue, behind all that wait now; the attempt does not count."""
        with self._data.write() as database:
            database.execute(
                "UPDATE jobs SET status = 0, worker = '', attempts = 0, behind = (SELECT max(number) + 1 FROM jobs) "
                "WHERE number = ? AND status = 1 AND worker = ?",
                (job.number, job.worker),
            )

    def record(self, job: Job, recordings: Sequence[Recorded], counts: Counts) -> None:
        """Write what became of recordings of a job that runs, and how far the job is."""
        with self._data.write(lasting=False) as database:
            changed = database.execute(
                "UPDATE jobs SET files = ?, rows = ? WHERE number = ? AND status = 1 AND worker = ?",
                (json.dumps(asdict(counts)), counts.rows, job.number, job.worker),
            ).rowcount
            if changed:
                replace_recordings(database, job.number, recordings)

    def recordings(self, job: Job) -> list[Recorded]:
        """What became of the recordings of a job, those that wait left out."""
        return from_rows(self._data.rows("SELECT * FROM recordings WHERE job = ? ORDER BY place", (job.number,)))

    def requeue(self, job: Job, why: str, *, got_further: bool = False) -> Status:
        """Return an interrupted job to its old place in the queue; after `MAX_ATTEMPTS` it fails.

        Args:
            got_further: than the attempts before, which do not count then
        """
        again = got_further or job.attempts < (MOST_OF_BATCH if job.kind == "batch" else MAX_ATTEMPTS)
        status = Status.WAITING if again else Status.ERROR
        said = f"{why}; it goes on where its values ended" if again else f"{why}, {job.attempts} times; it is given up."
        attempts = 1 if got_further else job.attempts
        with self._data.write() as database:
            changed = database.execute(
                f"UPDATE jobs SET status = ?, worker = '', {_ROWS}, expected = NULL, publishing = 0, moves = '[]', "
                "ended = ?, error = ?, attempts = ? WHERE number = ? AND status = 1 AND worker = ? RETURNING number",
                (int(status), "" if again else now(), "" if again else said, attempts, job.number, job.worker),
            ).fetchone()
            if changed is not None:
                line(database, job.number, said, "WARNING" if again else "ERROR")
        return status

    def _update_running(self, job: Job, change: str, *values: object, lasting: bool = True) -> bool:
        """Change a job that still runs on its worker; False where it does not."""
        with self._data.write(lasting=lasting) as database:
            query = f"UPDATE jobs SET {change} WHERE number = ? AND status = 1 AND worker = ?"
            return database.execute(query, (*values, job.number, job.worker)).rowcount == 1


def now() -> str:
    """The present time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def line(database: sqlite3.Connection, number: int, text: str, level: str) -> None:
    database.execute(  # a job that was erased while it ran gets no further line
        "INSERT INTO lines SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM jobs WHERE number = ?)",
        (number, now(), level, sentence(text), number),
    )
