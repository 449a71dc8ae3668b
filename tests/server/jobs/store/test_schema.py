"""Stores that earlier versions wrote are brought to this one's tables, with a copy as they were."""

import contextlib
import errno
import json
import sqlite3
from pathlib import Path

import pytest

from emow2v.discover.places import Places
from emow2v.errors import Emow2vError
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Status, Store, schema

# As earlier versions had them, word for word (comments left out).
FIRST = """number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, client TEXT NOT NULL,
form TEXT NOT NULL, context TEXT NOT NULL, status INTEGER NOT NULL, publishing INTEGER NOT NULL DEFAULT 0,
moves TEXT NOT NULL DEFAULT '[]', worker TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
rows INTEGER NOT NULL DEFAULT 0, expected INTEGER, posted TEXT NOT NULL, started TEXT NOT NULL DEFAULT '',
ended TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', was_cancelled INTEGER NOT NULL DEFAULT 0,
provenance TEXT NOT NULL DEFAULT '{}'"""
SECOND = FIRST.replace("form TEXT NOT NULL", "brief TEXT NOT NULL") + ", form TEXT NOT NULL"
REST = """CREATE INDEX jobs_by_status ON jobs (status, number);
CREATE TABLE lines (job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE, time TEXT NOT NULL,
level TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX lines_by_job ON lines (job);
CREATE TABLE served (client TEXT PRIMARY KEY, turn INTEGER NOT NULL);"""
FORM = {"jobID": "a", "data": "ä" * 5000}


def old_store(path: Path, version: int) -> None:
    """Three jobs (finished with a line, waiting, erased), and from 3 on one that another's id has replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"CREATE TABLE jobs ({FIRST if version == 1 else SECOND})")
        database.executescript(REST)
        if version >= 3:
            database.execute("CREATE TABLE replaced AS SELECT * FROM jobs WHERE 0")
        columns = "id, kind, client, context, status, rows, expected, posted, form" + (", brief" if version > 1 else "")
        marks = ", ".join("?" * len(columns.split(",")))
        for name, status in (("a", 2), ("b", 0), ("c", 2)):
            values = [
                name,
                "process",
                "me",
                "window",
                status,
                25,
                25,
                "2026-01-01T00:00:00.000+00:00",
                json.dumps(FORM),
            ]
            if version > 1:
                values.append(json.dumps({"jobID": "a", "data": "ä" * 1000}))
            database.execute(f"INSERT INTO jobs ({columns}) VALUES ({marks})", values)
        database.execute("INSERT INTO lines VALUES (1, '2026-01-01T00:00:00.000', 'INFO', 'finished')")
        database.execute("INSERT INTO served VALUES ('me', 7)")
        if version >= 3:
            database.execute("INSERT INTO replaced SELECT * FROM jobs WHERE id = 'c'")
            database.execute("UPDATE replaced SET status = 4, worker = 'w9'")
        database.execute("DELETE FROM jobs WHERE id = 'c'")
        database.execute(f"PRAGMA user_version = {version}")


def columns(path: Path, table: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_store_of_an_earlier_version_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "jobs.sqlite"
    old_store(path, version)
    store = Store(path)
    assert not store.new and [job.id for job in store.all()] == ["a", "b"]
    done = store.get("a")
    assert done is not None and done.status is Status.FINISHED and done.rows == 25 and done.form == FORM
    assert list(done.notices) == [] and store.lines(done) == ["2026-01-01 00:00:00 INFO finished"]
    brief = store.get("a", brief=True)
    assert brief is not None and len(brief.form["data"]) == 1000
    assert [job.worker for job in store.unreleased()] == (["w9"] if version == 3 else [])
    waiting = store.claim("w")
    assert waiting is not None and waiting.id == "b" and store.end(waiting)
    assert store.submit("d", {}).number == 4  # a number is given once, also that of a job that is gone
    assert columns(path, "jobs") == columns(path, "replaced") and columns(path, "jobs")[-1] == "form"
    (backup,) = schema.backups(path)
    with contextlib.closing(sqlite3.connect(backup)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
        assert database.execute("SELECT count(*) FROM jobs").fetchone() == (2,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    store.close()
    Store(path).close()  # once is enough
    assert schema.backups(path) == [backup]
    store.erase(done)  # whoever erases a voice finds it in no copy
    assert schema.backups(path) == [] and store.lines(done) == []
    store.close()


def test_a_store_of_format_4_gets_a_table_for_callbacks(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with contextlib.closing(Store(path)) as store:
        store.submit("a", {"path": "talk.wav"}, kind="prediction")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE callbacks")
        database.execute("PRAGMA user_version = 4")
    with contextlib.closing(Store(path)) as store:
        store.submit("b", {"path": "talk.wav", "callback": "https://example.org/"}, kind="prediction")
        store.submit("c", {"callback": "https://example.org/"}, kind="process")  # an unknown field of DISCOVER
        assert [job.id for job in store.all()] == ["a", "b", "c"]
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT id FROM callbacks JOIN jobs ON number = job").fetchall() == [("b",)]


def test_a_store_that_cannot_be_brought_on_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.sqlite"
    old_store(path, 3)

    def full(database: sqlite3.Connection) -> None:
        database.execute("CREATE TABLE half (a)")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(schema, "_rebuild", full)
    with pytest.raises(Emow2vError, match="disk is full"):
        Store(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (3,)
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchone() is None
    monkeypatch.undo()
    store = Store(path)
    assert len(store.all()) == 2
    store.close()


def test_a_store_that_was_moved_away_takes_no_results_with_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    places = Places([data], tmp_path / "work")
    kept = places.results("talk")
    kept.mkdir(parents=True)
    (kept / "x.stream").write_text("result")
    sending = kept.with_name(f"{kept.name}.0123abcd")
    sending.mkdir()
    store = Store(tmp_path / "work" / "jobs.sqlite")
    assert store.new
    for _ in range(2):  # also at the next start
        history.clear(store, places, keep_days=30)
        assert (kept / "x.stream").read_text() == "result" and not sending.exists()
    store.close()


def test_what_passes_is_no_reason_to_move_the_jobs_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.sqlite"
    Store(path).close()
    monkeypatch.setattr("emow2v.server.jobs.store.connections.WAIT_S", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Emow2vError, match=r"locked\); another program holds the file: let it end") as raised:
            Store(path)
        assert "move" not in str(raised.value)
    finally:
        other.close()
    for number, remedy in ((errno.ENOSPC, "free some space"), (errno.EACCES, "give this account the right")):

        def refused(*_: object, number: int = number, **__: object) -> None:
            raise OSError(number, "refused")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", refused)
            with pytest.raises(Emow2vError, match=remedy):
                Store(path)
    Store(path).close()


@pytest.mark.parametrize("version", [-5, 1, 3, schema.SCHEMA])
@pytest.mark.parametrize("table", ["jobs (x)", "other (x)"])
def test_a_file_of_another_program_is_no_store(tmp_path: Path, version: int, table: str) -> None:
    path = tmp_path / "jobs.sqlite"
    other = sqlite3.connect(path)
    other.execute(f"CREATE TABLE {table}")
    other.execute(f"PRAGMA user_version = {version}")
    other.commit()
    other.close()
    with pytest.raises(Emow2vError, match=r"cannot be read .*; move the file away"):
        Store(path)
    assert path.exists()
