"""What the operating system or the database refuses, as a status and a sentence with the right remedy."""

import errno
import logging
import os
import sqlite3
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from emow2v.server import failures
from emow2v.server.jobs.store import Store
from emow2v.server.routes import predictions as module


def locked() -> sqlite3.Error:
    """As SQLite itself raises it."""
    first, second = sqlite3.connect("file:x?mode=memory&cache=shared", uri=True), None
    try:
        first.execute("CREATE TABLE a (b)")
        first.execute("BEGIN EXCLUSIVE")
        second = sqlite3.connect("file:x?mode=memory&cache=shared", uri=True, timeout=0)
        with pytest.raises(sqlite3.Error) as raised:
            second.execute("SELECT * FROM a").fetchall()
        return raised.value
    finally:
        first.close()
        if second:
            second.close()


def full(tmp_path: Path) -> sqlite3.Error:
    database = sqlite3.connect(tmp_path / "small", isolation_level=None)
    try:
        database.execute("CREATE TABLE a (b)")
        database.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.Error) as raised:
            database.execute("INSERT INTO a VALUES (zeroblob(1000000))")
        return raised.value
    finally:
        database.close()


@pytest.mark.parametrize(
    "number, status, remedy",
    [
        (errno.ENOSPC, 507, "free some space"),
        (errno.EDQUOT, 507, "free some space"),
        (errno.EMFILE, 503, "limit of open files"),
        (errno.ENFILE, 503, "limit of open files"),
        (errno.EACCES, 500, "right to use its folders"),
        (errno.EROFS, 500, "right to use its folders"),
        (errno.EIO, 500, "check the disk"),
        (errno.ENAMETOOLONG, 400, "shorter name"),
        (errno.EXDEV, 500, "log says more"),
    ],
)
def test_what_the_operating_system_refuses(number: int, status: int, remedy: str) -> None:
    answered, sentence = failures.failure(OSError(number, os.strerror(number)))
    assert (answered, remedy in sentence) == (status, True) and os.strerror(number) in sentence
    assert ("free some space" in sentence) == (status == 507)


def test_what_the_database_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for error, status, remedy in (
        (full(tmp_path), 507, "free some space"),
        (locked(), 503, "try again in a moment"),
        (sqlite3.OperationalError("database is locked"), 503, "try again in a moment"),
        (sqlite3.OperationalError("attempt to write a readonly database"), 500, "right to use its folders"),
        (sqlite3.DatabaseError("database disk image is malformed"), 500, "check the disk"),
    ):
        answered, sentence = failures.failure(error)
        assert (answered, remedy in sentence) == (status, True), sentence
        assert ("free some space" in sentence) == (status == 507)
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert failures.failure(sqlite3.ProgrammingError("Incorrect number of bindings"))[0] == 500
    assert caplog.records[0].exc_info  # our own mistake: with its traceback


def test_both_faces_answer_alike(client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emow2v.cli.demo import request

    store: Store = client.app.state.server.store  # type: ignore[attr-defined]
    said: list[Exception] = [
        OSError(errno.EMFILE, "Too many open files"),
        sqlite3.OperationalError("database is locked"),
    ]

    for error in said:

        def fail(*given: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(store, "submit", fail)
        old = client.post("/process", data=request(data, data / "talk.wav") | {"jobID": "a"})
        new = client.post("/v1/predictions", data={"path": "talk.wav"})
        assert old.status_code == new.status_code == 503 and old.headers["Retry-After"] == new.headers["Retry-After"]
        assert old.json()["error"] == new.json()["error"] and "free some space" not in old.text

    def too_many(*given: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module, "keep", too_many)
    answer = client.post("/v1/predictions", files={"file": ("a.wav", b"x")})
    assert answer.status_code == 503 and "open files" in answer.json()["error"]
