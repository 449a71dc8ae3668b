"""What is forgotten and what is erased: nothing of it stays, and nothing of another job goes with it."""

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from emow2v.discover.places import Places
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Job, Status, Store
from emow2v.server.options import ServerOptions
from emow2v.storage.atomic import unfinished_path
from waiting import HANG_S, until

FEW = ServerOptions(keep_jobs=0)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    data = tmp_path / "data"
    data.mkdir()
    folders = Places([data], tmp_path / "work")
    folders.uploads.mkdir(parents=True)
    return folders


@pytest.fixture
def store(places: Places) -> Store:
    return Store(places.work_dir / "jobs.sqlite")


def finished(places: Places, store: Store, name: str, text: str = "old") -> Job:
    """A job with a result."""
    store.submit(name, {"jobID": name, "data": "[]"})
    job = store.claim("w")
    assert job is not None
    folder = places.results(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result").write_text(text)
    assert store.end(job)
    return job


def results(places: Places) -> list[str]:
    return sorted(path.read_text() for path in (places.work_dir / "results").glob("*/result"))


def test_a_job_that_takes_the_id_of_a_forgotten_one_keeps_its_results(
    places: Places, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(places, store, "talk")
    remove = history.shutil.rmtree

    def meanwhile(folder: Path, **options: bool) -> None:
        finished(places, store, "talk", "new")
        remove(folder, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(history.shutil, "rmtree", meanwhile)
    history.forget(store, places, FEW)
    assert results(places) == ["new"] and store.get("talk").status is Status.FINISHED  # type: ignore[union-attr]


def test_what_cannot_be_forgotten_keeps_its_results(places: Places, store: Store) -> None:
    finished(places, store, "talk")

    class Full(Store):
        def forget(self, **options: object) -> list[Job]:  # type: ignore[override]
            super().forget(**options)  # type: ignore[arg-type]
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError):
        history.forget(Full(store.path), places, FEW)
    assert results(places) == ["old"]


def test_old_uploads_go_but_not_those_of_jobs_that_are_remembered(places: Places, store: Store) -> None:
    for name in ("waiting.wav", "gone.wav"):
        path = places.uploads / name
        path.touch()
        os.utime(path, (0, 0))  # or the clock has jumped
    store.submit("talk", {"data": json.dumps([{"uri": "waiting.wav"}])})
    history.forget(store, places, ServerOptions(keep_jobs=0, keep_days=1))
    assert [path.name for path in places.uploads.iterdir()] == ["waiting.wav"]


def test_erasing_waits_until_the_worker_has_let_go(
    places: Places, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.submit("talk", {"jobID": "talk"})
    job = store.claim("w")
    assert job is not None
    part = places.results("talk") / "part"
    part.parent.mkdir(parents=True)
    part.touch()
    monkeypatch.setattr(history, "PATIENCE_S", HANG_S)

    def notice() -> None:
        until(lambda: not store.running(job))
        part.touch()
        store.release(job)

    thread = threading.Thread(target=notice)
    thread.start()
    erased = history.erase(store, places, "talk")
    thread.join()
    assert erased is not None and erased.status is Status.CANCELED and store.get("talk") is None
    assert not part.parent.exists()

    store.submit("stuck", {"jobID": "stuck"})
    assert store.claim("w") is not None
    monkeypatch.setattr(history, "PATIENCE_S", 0.1)
    with pytest.raises(history.Busy, match="in use"):
        history.erase(store, places, "stuck")


def test_another_job_of_that_id_is_not_erased(places: Places, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(places, store, "talk")
    erase = store.erase

    def meanwhile(job: Job, *given: object) -> Job | None:
        monkeypatch.undo()
        finished(places, store, "talk", "new")
        return erase(job, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "erase", meanwhile)
    assert history.erase(store, places, "talk") is None
    assert results(places) == ["new"] and store.get("talk") is not None


def test_a_start_removes_what_a_server_that_was_killed_was_fetching(places: Places, store: Store) -> None:
    complete = places.fetched / "ab" / "talk.wav"
    complete.parent.mkdir(parents=True)
    complete.touch()
    unfinished = [unfinished_path(complete, "part"), unfinished_path(places.uploads / "talk.wav", "part")]
    for path in unfinished:
        path.touch()
    history.clear(store, places, keep_days=30)
    assert complete.exists() and not any(path.exists() for path in unfinished)
