"""The tables of the job store, and the migration of those of an earlier version."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sqlite3
from pathlib import Path

from emow2v.server.jobs.store.recordings import RECORDINGS
from emow2v.server.jobs.store.totals import TOTALS

logger = logging.getLogger("emow2v.server")

SCHEMA = 7  # 0.1.0 wrote 3
MOST_LISTED = 1000  # characters of a field in lists and repeated queries, because a field may hold a recording

MODEL = "json_extract(provenance, '$.model')"
JOBS = """
CREATE TABLE {name} (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- also the order in which they were posted
    id TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',  -- name of the person who posted it; '' for the single token, or none
    kind TEXT NOT NULL,
    client TEXT NOT NULL,
    brief TEXT NOT NULL,  -- the form with the beginning of each field
    context TEXT NOT NULL,
    status INTEGER NOT NULL,
    publishing INTEGER NOT NULL DEFAULT 0,  -- its files are being renamed to their places: too late to cancel
    moves TEXT NOT NULL DEFAULT '[]',  -- JSON, files that are complete: from where, to where
    worker TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    rows INTEGER NOT NULL DEFAULT 0,
    expected INTEGER,
    posted TEXT NOT NULL,
    started TEXT NOT NULL DEFAULT '',
    ended TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    was_cancelled INTEGER NOT NULL DEFAULT 0,
    provenance TEXT NOT NULL DEFAULT '{{}}',
    notices TEXT NOT NULL DEFAULT '[]',  -- JSON, sentences on what is missing or unusual in the recording
    files TEXT NOT NULL DEFAULT '{{}}',  -- JSON, of a job of many recordings: how many are done, have failed, are there
    behind INTEGER NOT NULL DEFAULT 0,  -- it gave way to all jobs with lower numbers
    seconds REAL NOT NULL DEFAULT 0,  -- of sound: as the recordings state it, or as much as was heard, where that is more
    name TEXT,  -- as `listing.searchable` gives it; NULL until the server has named the job
    form TEXT NOT NULL,  -- JSON, secrets masked; last, since it may hold a recording, which other columns need not read past
    UNIQUE (owner, id)
)
"""
OTHERS = """
CREATE INDEX jobs_by_status ON jobs (status, number);
CREATE TABLE lines (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    time TEXT NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX lines_by_job ON lines (job);
CREATE TABLE served (client TEXT PRIMARY KEY, turn INTEGER NOT NULL)
"""
# Callbacks that are still to be sent when their jobs have ended; times are seconds since 1970.
CALLBACKS = """
CREATE TABLE IF NOT EXISTS callbacks (
    job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0
)
"""
# Seconds of sound that a name has posted on a day (UTC), also in jobs that were erased since. Triggers count, so that no
# change of a job can omit it. A job that was cancelled before it ran does not count.
HEARD = (
    "CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, number)",
    """
CREATE TABLE IF NOT EXISTS heard (
    owner TEXT NOT NULL, day TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (owner, day)
)
""",
    """
CREATE TRIGGER heard_posted AFTER INSERT ON jobs WHEN NEW.owner != '' BEGIN
    INSERT INTO heard VALUES (NEW.owner, substr(NEW.posted, 1, 10), NEW.seconds)
    ON CONFLICT (owner, day) DO UPDATE SET seconds = seconds + excluded.seconds;
END
""",
    """
CREATE TRIGGER heard_more AFTER UPDATE OF seconds ON jobs WHEN NEW.owner != '' BEGIN
    UPDATE heard SET seconds = seconds + NEW.seconds - OLD.seconds
    WHERE owner = NEW.owner AND day = substr(NEW.posted, 1, 10);
END
""",
    """
CREATE TRIGGER heard_cancelled AFTER UPDATE OF status ON jobs
WHEN NEW.owner != '' AND NEW.status = 4 AND OLD.status = 0 AND OLD.attempts = 0 AND OLD.behind = 0 BEGIN
    UPDATE heard SET seconds = max(0, seconds - OLD.seconds)
    WHERE owner = NEW.owner AND day = substr(NEW.posted, 1, 10);
END
""",
)
# Keys of requests, so that a request that is sent again finds its job; hashes, since a key may be the name of a recording.
# Lists of jobs by model, and what the server keeps secret: the key of cursors.
KEYS = (
    """
CREATE TABLE IF NOT EXISTS keys (
    owner TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE, PRIMARY KEY (owner, key)
)
""",
    "CREATE INDEX IF NOT EXISTS keys_by_job ON keys (job)",
    f"CREATE INDEX IF NOT EXISTS jobs_by_model ON jobs ({MODEL}, number)",
    "CREATE INDEX IF NOT EXISTS jobs_by_owner_and_status ON jobs (owner, status, number)",
    "CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
)
# Cancelled jobs whose id another job has taken, until their worker releases them.
REPLACED = "CREATE TABLE replaced AS SELECT * FROM jobs WHERE 0"
_LATER = {
    "notices": "'[]'",
    "owner": "''",
    "seconds": "0",
    "name": "NULL",
    "files": "'{}'",
    "behind": "0",
}  # columns that earlier versions had not, and their values


def create(database: sqlite3.Connection) -> None:
    """The tables of a new store, inside a transaction."""
    database.execute(JOBS.format(name="jobs"))
    for statement in OTHERS.split(";\n"):
        database.execute(statement)
    database.execute(REPLACED)
    _add_tables(database)


def _add_tables(database: sqlite3.Connection) -> None:
    """The tables that later versions added, and what acts on the table of jobs."""
    for statement in (CALLBACKS, RECORDINGS, *HEARD, *TOTALS, *KEYS):
        database.execute(statement)
    database.execute("INSERT OR IGNORE INTO secrets VALUES ('cursors', ?)", (secrets.token_bytes(32),))
    database.execute(f"PRAGMA user_version = {SCHEMA}")


def version(database: sqlite3.Connection) -> int:
    """The schema version of a store; 0 for an empty file."""
    number: int = database.execute("PRAGMA user_version").fetchone()[0]
    return number


def backups(path: Path) -> list[Path]:
    """The copies that migrations of a store have left beside it."""
    return sorted(path.parent.glob(f"{path.name}.schema-*.bak"))


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring a store of an earlier version to this one's tables, in one transaction; a copy as it was stays beside it.

    The copy holds every job, so it is removed when a job is erased, and with the old jobs.

    Raises:
        sqlite3.Error, OSError: the migration failed; the store is unchanged
    """
    old = version(database)
    backup = path.with_name(f"{path.name}.schema-{old}.bak")
    backup.unlink(missing_ok=True)
    copy_database(database, backup)
    backup.chmod(path.stat().st_mode & 0o777)
    database.execute("PRAGMA foreign_keys = OFF")  # the lines of a job outlive its table for a moment
    try:
        database.execute("BEGIN IMMEDIATE")
        try:
            if version(database) == old:  # no other process was faster
                _rebuild(database)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
    finally:
        database.execute("PRAGMA foreign_keys = ON")
    logger.warning(
        "the job store %s was converted from format %d to %d; a copy of the old store is %s",
        path,
        old,
        SCHEMA,
        backup.name,
    )


def copy_database(database: sqlite3.Connection, copy: Path) -> None:
    """Copy a database into a new file, by SQLite's backup: complete, with the content of its journal, also while it is used.

    Raises:
        sqlite3.Error, OSError: nothing is left of the copy
    """
    try:
        with contextlib.closing(sqlite3.connect(copy)) as other:
            database.backup(other)
            other.execute("PRAGMA journal_mode = DELETE")  # one file
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _rebuild(database: sqlite3.Connection) -> None:
    """A new table of jobs with the rows of the old one: a column cannot be put before the last."""
    last = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
    columns = [row[1] for row in database.execute("PRAGMA table_info(jobs)")]
    database.execute(JOBS.format(name="renewed"))
    if "brief" in columns:
        names = ", ".join(columns)
        database.execute(f"INSERT INTO renewed ({names}) SELECT {names} FROM jobs")
    else:  # schema 1
        marks = ", ".join("?" * (len(columns) + 1))
        for row in database.execute("SELECT * FROM jobs").fetchall():
            values = (*row, brief(json.loads(row[columns.index("form")])))
            database.execute(f"INSERT INTO renewed ({', '.join(columns)}, brief) VALUES ({marks})", values)
    database.execute("DROP TABLE jobs")
    database.execute("ALTER TABLE renewed RENAME TO jobs")
    if last is not None:  # numbers are never used again, also those of removed jobs
        database.execute("DELETE FROM sqlite_sequence WHERE name IN ('jobs', 'renewed')")
        database.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", (last[0],))
    database.execute("CREATE INDEX jobs_by_status ON jobs (status, number)")
    held = database.execute("SELECT name FROM sqlite_master WHERE name = 'replaced'").fetchone()
    if held is not None:
        old = [row[1] for row in database.execute("PRAGMA table_info(replaced)")]
        database.execute("ALTER TABLE replaced RENAME TO replaced_before")
        database.execute(REPLACED)
        missing = {name: value for name, value in _LATER.items() if name not in old}
        chosen = ", ".join([*old, *missing.values()])
        database.execute(f"INSERT INTO replaced ({', '.join([*old, *missing])}) SELECT {chosen} FROM replaced_before")
        database.execute("DROP TABLE replaced_before")
    else:
        database.execute(REPLACED)
    _add_tables(database)


def expect_callback(database: sqlite3.Connection, job: sqlite3.Row) -> None:
    """Keep that a callback is to be sent for a new job, if it is one of /v1 whose form names one."""
    if job["kind"] in ("prediction", "batch") and json.loads(job["form"]).get("callback"):
        database.execute("INSERT INTO callbacks (job) VALUES (?)", (job["number"],))


def brief(form: dict[str, str]) -> str:
    """A form with the beginning of each field, as JSON."""
    return json.dumps({name[:MOST_LISTED]: value[:MOST_LISTED] for name, value in form.items()})
