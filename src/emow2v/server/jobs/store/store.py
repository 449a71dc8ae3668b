"""The jobs of a server in one SQLite file, which several processes read and write.

Each change of a job's state is one transaction that names the state before it. Of two processes that attempt the same
change only one succeeds: a job is claimed once, cancelled or published but not both, ended once.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emow2v.errors import Emow2vError, RequestError
from emow2v.server.failures import remedy
from emow2v.server.jobs.store import keys, schema
from emow2v.server.jobs.store.connections import Database
from emow2v.server.jobs.store.job import Busy, Job, Kind, Status, from_row
from emow2v.server.jobs.store.limits import Limits
from emow2v.server.jobs.store.listing import Filter, searchable
from emow2v.server.jobs.store.totals import Total, totals
from emow2v.server.jobs.store.work import TURN, WHOLE, Work, line, now

_OVER = "status >= 2 AND (status != 4 OR worker = '')"  # and its worker has released it
_LISTED = WHOLE.replace("form", "brief AS form")


class Store(Work):
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
        super().__init__(Database(path))
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
                self._data.rows(f"SELECT {WHOLE} FROM jobs LIMIT 0")  # another program's file may have other tables
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
        owner: str = "",
        seconds: float = 0,
        limits: Limits | None = None,
        name: str | None = None,
        key: keys.RequestKey | None = None,
        files: int = 0,
    ) -> Job:
        """Queue a job. The id of an ended job of the same owner may be used again; the old job is removed then.

        Args:
            name: of the recording, for searches
            key: of the request; the job that it has queued before is given instead of a second one
            max_waiting: number of jobs that may wait; 0 for no limit
            owner: name of the person who posts it
            seconds: of sound, as its recordings state it
            limits: of the owner; default: none
            files: number of recordings of a job that has many

        Raises:
            Busy: the queue is full, or the owner has reached a limit
            RequestError: a job with the id waits or runs
            KeyTaken: another request had the key
        """
        with self._data.write() as database:
            if key is not None and (queued := keys.find(database, owner, key)) is not None:
                return from_row(database.execute(f"SELECT {WHOLE} FROM jobs WHERE number = ?", (queued,)).fetchone())
            old = database.execute(
                "SELECT number, status FROM jobs WHERE owner = ? AND id = ?", (owner, job_id)
            ).fetchone()
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
            moment = now()
            if limits is not None:
                limits.check_jobs(database, owner, seconds, moment[:10])
            made = database.execute(
                "INSERT INTO jobs (id, owner, kind, client, brief, context, status, posted, seconds, name, files, form) "
                f"VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?) RETURNING {WHOLE}",
                (
                    job_id,
                    owner,
                    kind,
                    client,
                    schema.brief(dict(form)),
                    context,
                    moment,
                    seconds,
                    None if name is None else searchable(name),
                    json.dumps({"all": files} if files else {}),
                    json.dumps(dict(form)),
                ),
            ).fetchone()
            schema.expect_callback(database, made)
            if key is not None:
                keys.add(database, owner, key, made["number"])
        return from_row(made)

    def get(self, job_id: str, owner: str = "", *, brief: bool = False) -> Job | None:
        """A job; None where the owner has none of that id. With `brief`, its form has only the beginning of each field.

        Routes ask `people.own.OwnJobs` instead, which knows whose request it answers.
        """
        columns = _LISTED if brief else WHOLE
        row = self._data.row(f"SELECT {columns} FROM jobs WHERE owner = ? AND id = ?", (owner, job_id))
        return None if row is None else from_row(row)

    def whole(self, job: Job) -> Job:
        """A job of many recordings with its whole form, which names them; another job as it is."""
        return (self.get(job.id, job.owner) or job) if job.kind == "batch" else job

    def owners(self, job_id: str) -> list[str]:
        """The owners who have a job of that id."""
        return [
            row["owner"] for row in self._data.rows("SELECT owner FROM jobs WHERE id = ? ORDER BY owner", (job_id,))
        ]

    def posted_with(self, key: keys.RequestKey, owner: str = "") -> Job | None:
        """The job that a request with a key has queued; None where the owner has none.

        Raises:
            KeyTaken: another request had the key
        """
        with self._data.held() as connection:
            number = keys.find(connection, owner, key)
        row = None if number is None else self._data.row(f"SELECT {WHOLE} FROM jobs WHERE number = ?", (number,))
        return None if row is None else from_row(row)

    def all(
        self,
        *,
        most: int = -1,
        newest_first: bool = False,
        status: Status | None = None,
        owner: str | None = None,
    ) -> list[Job]:
        """Jobs in the order of posting, or the newest first; their forms have only the beginning of each field.

        Args:
            most: number of jobs; -1 for all
            owner: whose they are; None for those of all
        """
        return self.listed(Filter(owner=owner, status=status), most=most, newest_first=newest_first)

    def listed(self, which: Filter, *, most: int = -1, newest_first: bool = True) -> list[Job]:
        """The jobs that meet conditions, as `all` gives them."""
        order = "DESC" if newest_first else "ASC"
        where, values = which.where
        query = f"SELECT {_LISTED} FROM jobs {where} ORDER BY number {order} LIMIT ?"
        return [from_row(row) for row in self._data.rows(query, [*values, most])]

    def secret(self, name: str) -> bytes:
        """Random bytes that the server keeps, such as the key of cursors."""
        row = self._data.row("SELECT value FROM secrets WHERE name = ?", (name,))
        assert row is not None
        return bytes(row["value"])

    def add_names(self, name_of: Callable[[Job], str]) -> None:
        """Name the jobs that have no name yet: those of an earlier version.

        Args:
            name_of: the name of a job's recording
        """
        for row in self._data.rows(f"SELECT {_LISTED} FROM jobs WHERE name IS NULL"):
            job = from_row(row)
            with self._data.write(lasting=False) as database:
                values = (searchable(name_of(job)), job.number)
                database.execute("UPDATE jobs SET name = ? WHERE number = ?", values)

    def counts(self) -> dict[Status, int]:
        """Number of jobs in each state."""
        counts = dict.fromkeys(Status, 0)
        for row in self._data.rows("SELECT status, count(*) AS jobs FROM jobs GROUP BY status"):
            counts[Status(row["status"])] = row["jobs"]
        return counts

    def oldest_waiting(self) -> str:
        """When the job was posted that waits for the longest time; "" where none waits."""
        row = self._data.row("SELECT min(posted) FROM jobs WHERE status = 0")
        return str(row[0]) if row and row[0] else ""

    def totals(self) -> list[Total]:
        """Jobs that have ended since the store was made, by model, also those that were erased."""
        return totals(self._data.rows("SELECT * FROM totals"))

    def position(self, job: Job) -> int:
        """Number of waiting jobs that were posted before a job; the order of `claim` may differ."""
        row = self._data.row("SELECT count(*) FROM jobs WHERE status = 0 AND number < ?", (job.number,))
        return int(row[0]) if row else 0

    def positions(self, first: int = 0, last: int = sys.maxsize) -> dict[int, int]:
        """The position of every waiting job from a number to another, by its number."""
        query = (
            "SELECT number, (SELECT count(*) FROM jobs WHERE status = 0 AND number < ?) + row_number() OVER (ORDER BY number) "
            "- 1 AS position FROM jobs WHERE status = 0 AND number BETWEEN ? AND ?"
        )
        return {row["number"]: row["position"] for row in self._data.rows(query, (first, first, last))}

    def cancel(self, job_id: str, owner: str = "") -> bool:
        """Cancel a job: its status changes at once, and no further file appears.

        Returns:
            False where the job has ended otherwise, or its files are being published; True also where it was cancelled before
        """
        with self._data.write() as database:
            named = (owner, job_id)
            database.execute("UPDATE jobs SET was_cancelled = 1 WHERE owner = ? AND id = ? AND status < 2", named)
            stopped = database.execute(
                "UPDATE jobs SET status = 4, ended = ? WHERE owner = ? AND id = ? AND status < 2 AND NOT publishing "
                "RETURNING number",
                (now(), *named),
            ).fetchone()
            if stopped is not None:
                line(database, stopped["number"], "cancelled; nothing more is written", "INFO")
                return True
            row = database.execute("SELECT status FROM jobs WHERE owner = ? AND id = ?", named).fetchone()
        return row is not None and row["status"] == Status.CANCELED

    def add_sound(self, owner: str, seconds: float, limits: Limits) -> None:
        """Count sound of a live stream, as that of jobs.

        Raises:
            OverLimit: the owner may send no more today; it is counted all the same
        """
        day = now()[:10]
        with self._data.write(lasting=False) as database:
            database.execute(
                "INSERT INTO heard VALUES (?, ?, ?) ON CONFLICT (owner, day) DO UPDATE SET seconds = seconds + excluded.seconds",
                (owner, day, seconds),
            )
        limits.check_sound(self._database(), owner, 0, day)

    # --- for the server ---

    def erase(self, job: Job, before: Callable[[Job], None] = lambda job: None) -> Job | None:
        """Remove an ended job and its log, also from the database file.

        Args:
            before: called with the job, while no other job can take its id; may raise

        Returns:
            the job; None where it runs or is gone, or where a worker has not released a job that it replaced
        """
        with self._data.write() as database:
            nobody_holds = "(owner, id) NOT IN (SELECT owner, id FROM replaced)"
            query = f"DELETE FROM jobs WHERE number = ? AND {_OVER} AND {nobody_holds} RETURNING {WHOLE}"
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

    def mentions(self, text: str, owner: str = "", but: Job | None = None, *, going_on: bool = False) -> bool:
        """Whether the form of a job of an owner, other than `but`, holds a text, such as the name of an upload.

        Args:
            going_on: look at jobs that wait or run, only
        """
        states = "status < 2 AND" if going_on else ""
        query = f"SELECT 1 FROM jobs WHERE {states} owner = ? AND number != ? AND instr(form, ?) LIMIT 1"
        return self._data.row(query, (owner, but.number if but else 0, text)) is not None

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
        query = f"SELECT {WHOLE} FROM ({jobs}) WHERE " + ("worker != ''" if worker is None else "worker = ?")
        return [from_row(row) for row in self._data.rows(query, [] if worker is None else [worker])]

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
                f"(SELECT number FROM jobs WHERE status >= 2 ORDER BY ended DESC, number DESC LIMIT ?)) RETURNING {WHOLE}",
                (oldest, most),
            ).fetchall()
            database.execute(f"DELETE FROM served WHERE client NOT IN (SELECT {TURN} FROM jobs)")
            jobs = [from_row(row) for row in dropped]
            before(jobs)
        self._forget_backups(begin)
        return jobs

    def _database(self) -> sqlite3.Connection:
        """This thread's connection."""
        return self._data.handle().connection
