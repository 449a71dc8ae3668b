"""Totals of jobs: each counts once, whatever happens to it, and nothing of it is kept but its model."""

from pathlib import Path

import pytest

from emow2v.server.jobs.store import Status, Store
from emow2v.server.jobs.store.totals import BOUNDS


def ended(
    store: Store, job_id: str, *, model: str = "lite", error: str = "", took_s: float = 0, sound_s: float = 0
) -> None:
    """A job that took so long."""
    store.submit(job_id, {})
    job = store.claim("w")
    assert job is not None
    if model:
        store.set_provenance(job, {"model": model})
    with store.locked():
        sql = "UPDATE jobs SET started = strftime('%Y-%m-%dT%H:%M:%f+00:00', started, ?) WHERE number = ?"
        store._database().execute(sql, (f"-{took_s} seconds", job.number))
    assert store.end(job, error, seconds=sound_s)


def test_jobs_are_counted_by_model_and_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite")
    for number, took_s in enumerate((0, 3, 3, 100_000)):
        ended(store, f"{number}", took_s=took_s, sound_s=10)
    ended(store, "other", model="lite-frames", took_s=8, sound_s=1.5)
    ended(store, "failed", error="It cannot be read.", took_s=1, sound_s=7)
    ended(store, "early", model="", error="No such model.")
    found = {(one.model, one.status): one for one in store.totals()}
    assert {key: one.jobs for key, one in found.items()} == {
        ("lite", Status.FINISHED): 4,
        ("lite", Status.ERROR): 1,
        ("lite-frames", Status.FINISHED): 1,
        ("", Status.ERROR): 1,
    }
    lite = found["lite", Status.FINISHED]
    assert lite.sound_s == 40 and lite.taken_s == pytest.approx(100_006, abs=2)
    within = dict(zip(BOUNDS, lite.within, strict=True))
    assert (within[5.0], within[10.0], within[36000.0]) == (3, 3, 3) and within[2.0] == 1
    assert found["lite-frames", Status.FINISHED].sound_s == 1.5


def test_a_job_counts_once_and_stays_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite")
    store.submit("a", {})
    job = store.claim("w")
    assert job is not None
    store.requeue(job, "The worker died")
    assert store.totals() == []
    job = store.claim("w")
    assert job is not None and store.end(job)
    assert not store.end(job)
    store.submit("cancelled", {})
    running = store.claim("w")
    assert running is not None and store.cancel("cancelled")
    store.release(running)
    assert [one.jobs for one in store.totals()] == [1]
    store.forget(most=0, days=30)
    assert store.all() == [] and [one.jobs for one in store.totals()] == [1]
    store.close()
    again = Store(tmp_path / "jobs.sqlite")
    assert [one.jobs for one in again.totals()] == [1]
    again.close()
