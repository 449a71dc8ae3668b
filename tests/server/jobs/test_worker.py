"""Which worker takes a job."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from emow2v.cards import find
from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.server.jobs import worker as workers
from emow2v.server.jobs.store import Store
from emow2v.server.jobs.worker import Worker
from servers import Loaded


def test_a_worker_without_the_model_of_the_next_job_lets_others_be_first(
    lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(workers, "time", SimpleNamespace(sleep=waited.append))
    places = Places([tmp_path], tmp_path / "work")
    path = tmp_path / "work" / "jobs.sqlite"
    lite_frames = find("lite-frames")
    with contextlib.closing(Store(path)) as store:
        for number, expected in ((1, 0), (2, 1)):
            config = Loaded(lite.card, places, lambda name: lite, 0, workers=number)
            cold, warm = Worker("cold", path, config), Worker("warm", path, config)
            cold._step_aside()  # no job waits
            store.submit("a", {"path": "talk.wav", "model": lite_frames.name}, kind="prediction")
            store.submit("b", {"path": "talk.wav"}, kind="prediction")
            with warm.models.using(lite_frames.name):
                warm._step_aside()
                assert not waited
                cold._step_aside()
                assert len(waited) == expected
            assert [store.claim("cold").id for _ in range(2)] == ["a", "b"]  # type: ignore[union-attr]
            for job in store.all():
                store.end(job)
            for one in (cold, warm):
                one._store.close()
