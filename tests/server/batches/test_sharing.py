"""A long job and the others: it gives way between recordings, it goes on with the same result, and one recording stops nobody."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.prediction import ahead, trajectories
from emow2v.server.batches import progress
from emow2v.server.batches.culprit import MAX_DEATHS
from emow2v.server.batches.task import BatchTask, Interruptible
from emow2v.server.jobs import observer
from emow2v.server.jobs.observer import GaveWay, JobObserver, StoreObserver
from emow2v.server.jobs.store import work
from emow2v.server.jobs.store.recordings import Counts, Recorded
from laboratories import idle
from servers import app
from waiting import HANG_S, until

FILES = 24


@pytest.fixture
def study(data: Path) -> Path:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    (data / "study").mkdir()
    for number in range(FILES):
        soundfile.write(data / "study" / f"{number:02}.wav", np.roll(signal, number * rate)[: 2 * rate], rate)
    return data / "study"


@pytest.fixture
def server(lite: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(observer, "SLICE_S", 0)
    monkeypatch.setattr(observer, "SLICE_SHARE", 0)
    monkeypatch.setattr(ahead, "MOST_RECORDINGS", 1)
    with TestClient(app(lite.card, [data], tmp_path / "work", lambda name: lite, data_dirs=[data])) as one:
        yield one


def test_a_job_of_many_lets_others_go_first(server: TestClient, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(job: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = server.get(f"/v1/jobs/{job['id']}").json()
        return found

    form = {"folder": "study", "frame_step": "500ms"}
    alone = server.post("/v1/batches", data=form).json()
    until(lambda: look(alone)["state"] == "finished")

    monkeypatch.setattr(observer, "REPORT_S", 0)
    monkeypatch.setattr(progress, "EVERY_S", 0)
    monkeypatch.setattr(work, "GIVES_WAY_S", 0)
    others: list[dict[str, Any]] = []
    posted, held, record = [threading.Event(), threading.Event()], [], StoreObserver.on_recordings

    def hold(self: StoreObserver, recordings: Sequence[Recorded], counts: Counts) -> None:
        """Each time that the job is taken up, it goes on when another job was posted."""
        record(self, recordings, counts)
        if counts.done > counts.before and counts.before not in held and len(held) < len(posted):
            held.append(counts.before)
            assert posted[len(held) - 1].wait(HANG_S)

    monkeypatch.setattr(StoreObserver, "on_recordings", hold)
    many = server.post("/v1/batches", data=form).json()
    for number, gate in enumerate(posted):
        until(lambda number=number: len(held) > number)  # type: ignore[misc]
        other = server.post("/v1/predictions", data={"path": "talk.wav", "unit": "files", "wait": "false"}).json()
        now = look(many)
        assert now["state"] == "running" and 0 < now["files"]["done"] < FILES and now["started"]
        gate.set()
        until(lambda other=other: look(other)["state"] == "finished")  # type: ignore[misc]
        others.append(other)
    until(lambda: look(many)["state"] == "finished")
    assert all(look(one)["ended"] < look(many)["ended"] for one in others)
    log = server.get(f"/v1/jobs/{many['id']}/log").text
    assert "WARNING" not in log and log.count("model lite") >= 3  # once for each time it was taken up
    results = [server.get(f"/v1/jobs/{job['id']}/result").content for job in (alone, many)]
    assert results[0] == results[1] and results[0].count(b"\n") == FILES * 4 + 1


def test_iterations_that_are_ahead_of_each_other_end_together() -> None:
    for end in range(6):
        asked = iter(range(10))
        items = Interruptible([f"{number}" for number in range(5)], lambda asked=asked, end=end: next(asked) >= end)  # type: ignore[arg-type, misc]
        ahead_of, behind = iter(items), iter(items)
        first = [next(ahead_of, None) for _ in range(3)]
        second = [*behind]
        assert [one for one in first if one is not None] + [*ahead_of] == second
        assert len(second) == min(end, 5) and items.interrupted == (end < 5)


class Died(BaseException):
    """A worker, in a test that has none."""


class Watched(JobObserver):
    def __init__(self, attempt: int, known: dict[int, Recorded]) -> None:
        self.attempt, self.known, self.counts = attempt, known, Counts()

    def recordings(self) -> list[Recorded]:
        return [*self.known.values()]

    def on_recordings(self, recordings: Any, counts: Counts) -> None:
        self.known |= {one.place: one for one in recordings}
        self.counts = counts


def test_a_recording_that_workers_die_of_is_left_out(
    lite: Model, data: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = {"07.wav", "08.wav"}

    class Opener(trajectories.Opener):
        def __init__(self, source: Any, *arguments: Any, **options: Any) -> None:
            if Path(source).name in deadly:
                raise Died
            super().__init__(source, *arguments, **options)

    monkeypatch.setattr(ahead, "Opener", Opener)
    monkeypatch.setattr(trajectories, "Opener", Opener)
    chosen = [[f"study/{number:02}.wav", "", f"{number:02}", ""] for number in range(FILES)]
    form = {"recordings": json.dumps(chosen), "unit": "files"}
    known: dict[int, Recorded] = {}
    attempt, deaths, before = 1, 0, 0
    while True:  # as the store counts attempts
        watched = Watched(attempt, known)
        try:
            rows = BatchTask("job", form, Places([data], tmp_path / "work")).run(lite, watched)
            break
        except Died:
            deaths += 1
            got_further = watched.counts.done + watched.counts.failed > watched.counts.before
            attempt = 2 if got_further else attempt + 1
            before = watched.counts.done
    assert rows == FILES - 2 and before < FILES and deaths <= 2 * (MAX_DEATHS + 1)
    assert {place for place, one in known.items() if one.state == "failed"} == {7, 8}
    assert "the worker died" in known[7].error and "study/07.wav" in known[7].error


def test_sound_is_counted_and_limited(lite: Model, tmp_path: Path) -> None:
    laboratory = idle(tmp_path, max_hours_each=10 / 3600, max_waiting_each=2)
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    for number in range(3):
        soundfile.write(laboratory.data / f"{number}.wav", signal[: 3 * rate], rate)
    anna = laboratory.client("anna")
    assert anna.post("/v1/batches", data={"folder": ".", "end": "2s"}).status_code == 202  # 6 s
    refused = anna.post("/v1/batches", data={"folder": "."})
    assert refused.status_code == 429 and "sound today" in refused.json()["error"]
    assert anna.post("/v1/batches", data={"path": "0.wav"}).status_code == 202
    refused = anna.post("/v1/batches", data={"path": "0.wav", "end": "1s"})
    assert refused.status_code == 429 and "waiting" in refused.json()["error"]
    assert laboratory.client("boss").post("/v1/batches", data={"folder": "."}).status_code == 202


def test_others_see_nothing_of_it(lite: Model, tmp_path: Path) -> None:
    laboratory = idle(tmp_path)
    soundfile.write(laboratory.data / "talk.wav", np.zeros(16000), 16000)
    job = laboratory.client("anna").post("/v1/batches", data={"folder": "."}).json()
    bob = laboratory.client("bob")
    for what in ("", "/files", "/failures", "/zip", "/result", "/sessions", "/events"):
        assert bob.get(f"/v1/jobs/{job['id']}{what}").status_code == 404
    assert bob.get(f"/jobs/{job['id']}").status_code == 404
    lines = (laboratory.work / "audit.ndjson").read_text().splitlines()
    assert sum('"post"' in line for line in lines) == 1 and not any("talk" in line for line in lines)


def test_giving_way_is_no_error() -> None:
    assert not issubclass(GaveWay, Exception)  # which no handler of errors may catch
