"""The jobs of a server in one SQLite file, which several processes read and write.

Each change of a job's state is one transaction that names the state before it. Of two processes that attempt the same
change only one succeeds: a job is claimed once, cancelled or published but not both, ended once.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emow2v.errors import Emow2vError, RequestError
from emow2v.server.failures import remedy
from emow2v.server.jobs import schema
from emow2v.server.jobs.connections import Database
from emow2v.server.jobs.job import Busy, Job, Kind, Status, from_row, sentence
from emow2v.server.jobs.schema import MOST_LISTED

__all__ = ["MOST_LISTED", "Busy", "Job", "Status", "Store"]

MAX_NOTICES = 100  # of a job; its log has all of them
MAX_ATTEMPTS = 3  # a job during which workers died so often is given up

_WHOLE = ", ".join(one.name for one in fields(Job))
_OVER = "status >= 2 AND (status != 4 OR worker = '')"  # and its worker has released it
_LISTED = _WHOLE.replace("form", "brief AS form")


class Store:
    """The jobs of a server; safe to use from several threads and processes.

    A file of an earlier version is converted, and a copy of the old file stays beside it.

    Args:
        path: of the database; created where no file exists

    Raises:
        Emow2vError: the file cannot be opened, or a later version wrote it

    Attributes:
        new: whether the file was created
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = Database(path)
        try:
            self._open(path)
        except BaseException:
            self._data.close()
            raise

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._data.write() as database:
                version = schema.version(database)
                self.new = not version
                if self.new:
                    schema.create(database)
            if 0 < version < schema.SCHEMA:
                schema.migrate(self._database(), path)
            if version <= schema.SCHEMA:
                self._data.rows(f"SELECT {_WHOLE} FROM jobs LIMIT 0")  # another program's file may have other tables
        except (sqlite3.Error, OSError) as error:
            raise Emow2vError(f"The jobs in {path} cannot be read ({error}); {remedy(error)}.") from None
        if version > schema.SCHEMA:
            raise Emow2vError(
                f"The jobs in {path} were written by a newer version of emow2v (format {version}, expected at most "
                f"{schema.SCHEMA}); update emow2v, or choose another --work-dir."
            )

    def close(self) -> None:
        """Close the connections of all threads; a later use opens a new one."""
        self._data.close()

    # --- for clients ---

    def submit(
        self,
        job_id: str,
        form: Mapping[str, str],
        *,
        kind: Kind = "process",
        client: str = "",
        context: str = "window",
        max_waiting: int = 0,
    ) -> Job:
        """Queue a job. The id of an ended job may be used again; the old job is removed then.

        Args:
            max_waiting: number of jobs that may wait; 0 for no limit

        Raises:
            Busy: the queue is full
            RequestError: a job with the id waits or runs
        """
        with self._data.write() as database:
            old = database.execute("SELECT number, status FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if old is not None:
                status = Status(old["status"])
                if not status.ended:
                    raise RequestError(
                        f"A job '{job_id}' is {status.name.lower()}; wait, cancel it, or use another id."
                    )
                database.execute(
                    "INSERT INTO replaced SELECT * FROM jobs WHERE number = ? AND status = 4 AND worker != ''",
                    (old["number"],),
                )
                database.execute("DELETE FROM jobs WHERE number = ?", (old["number"],))
            waiting = database.execute("SELECT count(*) FROM jobs WHERE status = 0").fetchone()[0]
            if max_waiting and waiting >= max_waiting:
                raise Busy(f"{waiting} jobs are waiting, as many as are taken; try again later.")
            made = database.execute(
                "INSERT INTO jobs (id, kind, client, brief, context, status, posted, form) VALUES (?, ?, ?, ?, ?, 0, ?, ?) "
                f"RETURNING {_WHOLE}",
                (job_id, kind, client, schema.brief(dict(form)), context, now(), json.dumps(dict(form))),
            ).fetchone()
            schema.expect_callback(database, made)
        return from_row(made)

    def get(self, job_id: str, *, brief: bool = False) -> Job | None:
        """A job; None where the id is unknown. With `brief`, its form has only the beginning of each field."""
        columns = _LISTED if brief else _WHOLE
        row = self._data.row(f"SELECT {columns} FROM jobs WHERE id = ?", (job_id,))
        return None if row is None else from_row(row)

    def all(self, *, most: int = -1, newest_first: bool = False, status: Status | None = None) -> list[Job]:
        """Jobs in the order of posting, or the newest first; their forms have only the beginning of each field."""
        order = "DESC" if newest_first else "ASC"
        where, values = ("", []) if status is None else ("WHERE status = ?", [int(status)])
        query = f"SELECT {_LISTED} FROM jobs {where} ORDER BY number {order} LIMIT ?"
        return [from_row(row) for row in self._data.rows(query, [*values, most])]

    def counts(self) -> dict[Status, int]:
        """Number of jobs in each state."""
        counts = dict.fromkeys(Status, 0)
        for row in self._data.rows("SELECT status, count(*) AS jobs FROM jobs GROUP BY status"):
            counts[Status(row["status"])] = row["jobs"]
        return counts

    def position(self, job: Job) -> int:
        """Number of waiting jobs that were posted before a job; the order of `claim` may differ."""
        row = self._data.row("SELECT count(*) FROM jobs WHERE status = 0 AND number < ?", (job.number,))
        return int(row[0]) if row else 0

    def positions(self) -> dict[int, int]:
        """The position of every waiting job, by its number."""
        query = "SELECT number, row_number() OVER (ORDER BY number) - 1 AS position FROM jobs WHERE status = 0"
        return {row["number"]: row["position"] for row in self._data.rows(query)}

    def cancel(self, job_id: str) -> bool:
        """Cancel a job: its status changes at once, and no further file appears.

        Returns:
            False where the job has ended otherwise, or its files are being published; True also where it was cancelled before
        """
        with self._data.write() as database:
            database.execute("UPDATE jobs SET was_cancelled = 1 WHERE id = ? AND status < 2", (job_id,))
            stopped = database.execute(
                "UPDATE jobs SET status = 4, ended = ? WHERE id = ? AND status < 2 AND NOT publishing RETURNING number",
                (now(), job_id),
            ).fetchone()
            if stopped is not None:
                _line(database, stopped["number"], "cancelled; nothing more is written", "INFO")
                return True
            row = database.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row is not None and row["status"] == Status.CANCELED

    # --- for workers ---

    def claim(self, worker: str) -> Job | None:
        """Assign the next waiting job to a worker; None where no job waits.

        Clients take turns: the oldest job of the client that was served longest ago is next.
        """
        with self._data.write() as database:
            row = database.execute(
                "SELECT number, client FROM jobs LEFT JOIN served USING (client) WHERE status = 0 "
                "ORDER BY coalesce(turn, 0), number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            claimed = database.execute(
                "UPDATE jobs SET status = 1, worker = ?, attempts = attempts + 1, started = ?, rows = 0, expected = NULL, notices = '[]', "
                f"publishing = 0, moves = '[]' WHERE number = ? RETURNING {_WHOLE}",
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
                _line(database, job.number, one, "WARNING")

    def log(self, job: Job, text: str, level: str = "INFO") -> None:
        with self._data.write(lasting=False) as database:
            _line(database, job.number, text, level)

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

    def end(self, job: Job, error: str = "", *, rows: int | None = None) -> bool:
        """End a job as finished, or as failed with a sentence; False where it was cancelled before.

        Args:
            rows: number of values; default: the last `progress`
        """
        status = Status.ERROR if error else Status.FINISHED
        with self._data.write() as database:
            error = sentence(error)
            ended = database.execute(
                "UPDATE jobs SET status = ?, ended = ?, error = ?, publishing = 0, moves = '[]', "
                "rows = coalesce(?, rows), expected = coalesce(?, expected) "
                "WHERE number = ? AND status = 1 AND worker = ? RETURNING number",
                (int(status), now(), error, rows, rows, job.number, job.worker),
            ).fetchone()
            if ended is not None:
                _line(database, job.number, error or "finished", "ERROR" if error else "INFO")
        return ended is not None

    def postpone(self, job: Job) -> None:
        """Return a job to the queue, because the server stops; the attempt does not count."""
        with self._data.write() as database:
            changed = database.execute(
                "UPDATE jobs SET status = 0, worker = '', attempts = attempts - 1, rows = 0, expected = NULL, started = '' "
                "WHERE number = ? AND status = 1 AND worker = ? AND NOT publishing RETURNING number",
                (job.number, job.worker),
            ).fetchone()
            if changed is not None:
                _line(database, job.number, "interrupted: the server stops; it starts again with the server", "INFO")

    # --- for the server ---

    def erase(self, job: Job, before: Callable[[Job], None] = lambda job: None) -> Job | None:
        """Remove an ended job and its log, also from the database file.

        Args:
            before: called with the job, while no other job can take its id; may raise

        Returns:
            the job; None where it runs or is gone, or where a worker has not released a job that it replaced
        """
        with self._data.write() as database:
            nobody_holds = "id NOT IN (SELECT id FROM replaced)"
            query = f"DELETE FROM jobs WHERE number = ? AND {_OVER} AND {nobody_holds} RETURNING {_WHOLE}"
            row = database.execute(query, (job.number,)).fetchone()
            if row is not None:
                before(from_row(row))
        with contextlib.suppress(sqlite3.OperationalError):  # the journal holds its pages until it is begun anew
            self._data.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        self._forget_backups()
        return None if row is None else from_row(row)

    def _forget_backups(self, older_than: datetime | None = None) -> None:
        """Remove copies from before a migration, which hold erased or old jobs."""
        for path in schema.backups(self.path):
            with contextlib.suppress(OSError):
                if older_than is None or datetime.fromtimestamp(path.stat().st_mtime, UTC) < older_than:
                    path.unlink()

    def mentions(self, text: str, but: Job | None = None) -> bool:
        """Whether the form of a job, other than `but`, holds a text, such as the name of an upload."""
        query = "SELECT 1 FROM jobs WHERE number != ? AND instr(form, ?) LIMIT 1"
        return self._data.row(query, (but.number if but else 0, text)) is not None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """No job changes during the with block, which must be short."""
        with self._data.write():
            yield

    def abandoned(self, worker: str | None = None) -> list[Job]:
        """Jobs that a dead worker left running; of all workers by default."""
        return self._of("SELECT * FROM jobs WHERE status = 1", worker)

    def unreleased(self, worker: str | None = None, *, since_s: float = 0) -> list[Job]:
        """Cancelled jobs that a worker has not released, because it has not noticed yet or has died.

        Args:
            since_s: least age of the cancellation in seconds
        """
        latest = (datetime.now(UTC) - timedelta(seconds=since_s)).isoformat(timespec="milliseconds")
        jobs = self._of("SELECT * FROM jobs WHERE status = 4 UNION ALL SELECT * FROM replaced", worker)
        return [job for job in jobs if not since_s or job.ended <= latest]

    def _of(self, jobs: str, worker: str | None) -> list[Job]:
        query = f"SELECT {_WHOLE} FROM ({jobs}) WHERE " + ("worker != ''" if worker is None else "worker = ?")
        return [from_row(row) for row in self._data.rows(query, [] if worker is None else [worker])]

    def requeue(self, job: Job, why: str) -> Status:
        """Return an interrupted job to its old place in the queue; after `MAX_ATTEMPTS` it fails."""
        again = job.attempts < MAX_ATTEMPTS
        status = Status.WAITING if again else Status.ERROR
        said = (
            f"{why}; it starts again from the beginning" if again else f"{why}, {job.attempts} times; it is given up."
        )
        with self._data.write() as database:
            changed = database.execute(
                "UPDATE jobs SET status = ?, worker = '', rows = 0, expected = NULL, publishing = 0, moves = '[]', "
                "ended = ?, error = ? WHERE number = ? AND status = 1 AND worker = ? RETURNING number",
                (int(status), "" if again else now(), "" if again else said, job.number, job.worker),
            ).fetchone()
            if changed is not None:
                _line(database, job.number, said, "WARNING" if again else "ERROR")
        return status

    def lines(self, job: Job) -> list[str]:
        """The log of a job, one line each: "2026-11-24 03:10:09 INFO finished", UTC."""
        rows = self._data.rows("SELECT * FROM lines WHERE job = ? ORDER BY rowid", (job.number,))
        return [f"{row['time'][:19].replace('T', ' ')} {row['level']} {row['text']}" for row in rows]

    def forget(self, *, most: int, days: float, before: Callable[[list[Job]], None] = lambda jobs: None) -> list[Job]:
        """Remove ended jobs beyond a number and an age; gives the removed jobs.

        Args:
            before: called with them, while no other job can take one of their ids; may raise
        """
        begin = datetime.now(UTC) - timedelta(days=days)
        oldest = begin.isoformat(timespec="milliseconds")
        with self._data.write() as database:
            dropped = database.execute(
                f"DELETE FROM jobs WHERE {_OVER} AND (ended < ? OR number NOT IN "
                f"(SELECT number FROM jobs WHERE status >= 2 ORDER BY ended DESC, number DESC LIMIT ?)) RETURNING {_WHOLE}",
                (oldest, most),
            ).fetchall()
            database.execute("DELETE FROM served WHERE client NOT IN (SELECT client FROM jobs)")
            jobs = [from_row(row) for row in dropped]
            before(jobs)
        self._forget_backups(begin)
        return jobs

    def _update_running(self, job: Job, change: str, *values: object, lasting: bool = True) -> bool:
        """Change a job that still runs on its worker; False where it does not."""
        with self._data.write(lasting=lasting) as database:
            query = f"UPDATE jobs SET {change} WHERE number = ? AND status = 1 AND worker = ?"
            return database.execute(query, (*values, job.number, job.worker)).rowcount == 1

    def _database(self) -> sqlite3.Connection:
        """This thread's connection."""
        return self._data.handle().connection


def now() -> str:
    """The present time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _line(database: sqlite3.Connection, number: int, text: str, level: str) -> None:
    database.execute(  # a job that was erased while it ran gets no further line
        "INSERT INTO lines SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM jobs WHERE number = ?)",
        (number, now(), level, sentence(text), number),
    )
