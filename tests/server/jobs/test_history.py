"""What is forgotten and what is erased: nothing of it stays, and nothing of another job goes with it."""

import json
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from emow2v.cards import find
from emow2v.discover.places import Places
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Job, Status, Store
from emow2v.server.options import Settings
from waiting import until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    places = Places([data], tmp_path / "work")
    places.uploads.mkdir(parents=True)
    return Settings(find("lite"), places, most_kept=0)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.places.work_dir / "jobs.sqlite")


def finished(settings: Settings, store: Store, name: str, text: str = "old") -> Job:
    """A job with a result."""
    store.submit(name, {"jobID": name, "data": "[]"})
    job = store.claim("w")
    assert job is not None
    folder = settings.places.results(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result").write_text(text)
    assert store.end(job)
    return job


def results(settings: Settings) -> list[str]:
    return sorted(path.read_text() for path in (settings.places.work_dir / "results").glob("*/result"))


def test_a_job_that_takes_the_id_of_a_forgotten_one_keeps_its_results(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(settings, store, "talk")
    remove = history.shutil.rmtree

    def meanwhile(folder: Path, **options: bool) -> None:
        finished(settings, store, "talk", "new")
        remove(folder, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(history.shutil, "rmtree", meanwhile)
    history.forget(settings, store)
    assert results(settings) == ["new"] and store.get("talk").status is Status.FINISHED  # type: ignore[union-attr]


def test_what_cannot_be_forgotten_keeps_its_results(settings: Settings, store: Store) -> None:
    finished(settings, store, "talk")

    class Full(Store):
        def forget(self, **options: object) -> list[Job]:  # type: ignore[override]
            super().forget(**options)  # type: ignore[arg-type]
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError):
        history.forget(settings, Full(store._path))
    assert results(settings) == ["old"]


def test_old_uploads_go_but_not_those_of_jobs_that_are_remembered(settings: Settings, store: Store) -> None:
    for name in ("waiting.wav", "gone.wav"):
        path = settings.places.uploads / name
        path.touch()
        os.utime(path, (0, 0))  # or the clock has jumped
    store.submit("talk", {"data": json.dumps([{"uri": "waiting.wav"}])})
    history.forget(replace(settings, days_kept=1), store)
    assert [path.name for path in settings.places.uploads.iterdir()] == ["waiting.wav"]


def test_erasing_waits_until_the_worker_has_let_go(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.submit("talk", {"jobID": "talk"})
    job = store.claim("w")
    assert job is not None
    part = settings.places.results("talk") / "part"
    part.parent.mkdir(parents=True)
    part.touch()

    def notice() -> None:
        until(lambda: not store.running(job))
        part.touch()
        store.let_go(job)
        store.close()

    thread = threading.Thread(target=notice)
    thread.start()
    erased = history.erase(settings, store, "talk")
    thread.join()
    assert erased is not None and erased.status is Status.CANCELED and store.get("talk") is None
    assert not part.parent.exists()

    store.submit("stuck", {"jobID": "stuck"})
    assert store.claim("w") is not None
    monkeypatch.setattr(history, "PATIENCE_S", 0.1)
    with pytest.raises(history.Busy, match="in use"):
        history.erase(settings, store, "stuck")


def test_another_job_of_that_id_is_not_erased(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(settings, store, "talk")
    erase = store.erase

    def meanwhile(job: Job, *given: object) -> Job | None:
        monkeypatch.undo()
        finished(settings, store, "talk", "new")
        return erase(job, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "erase", meanwhile)
    assert history.erase(settings, store, "talk") is None
    assert results(settings) == ["new"] and store.get("talk") is not None
