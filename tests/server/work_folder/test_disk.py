"""The disk: what goes first, what never goes, and what is refused before it is full."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Job, Status, Store
from emow2v.server.options import ServerOptions
from emow2v.server.work_folder import disk as module
from emow2v.server.work_folder.disk import ROOM, Disk, NoRoom
from emow2v.server.work_folder.settling import COPIED, REMOVED, Settling
from laboratories import idle
from servers import app
from waiting import until

MB = 1_000_000


class Folder:
    """A work folder with jobs that have an upload and a result of a megabyte each."""

    def __init__(self, path: Path, work: Path | None = None) -> None:
        self.places = Places([path], work or path / "work")
        self.store = Store(self.places.work_dir / "jobs.sqlite")

    def submit(self, name: str, owner: str = "") -> Job:
        places = self.places.of(owner)
        places.uploads.mkdir(parents=True, exist_ok=True)
        (places.uploads / f"{name}.wav").write_bytes(bytes(MB))
        return self.store.submit(name, {"upload": f"{name}.wav", "name": name}, kind="prediction", owner=owner)

    def finished(self, name: str, owner: str = "") -> None:
        self.submit(name, owner)
        job = self.store.claim("w")
        assert job is not None and job.id == name
        results = self.places.of(owner).results(name)
        results.mkdir(parents=True)
        (results / "result.json").write_bytes(bytes(MB))
        assert self.store.end(job)

    def disk(self, megabytes: float) -> Disk:
        return Disk(self.store, self.places, ServerOptions(max_disk_gb=megabytes / 1000))

    def left(self) -> list[str]:
        """Names of the uploads and ids of the jobs."""
        uploads = [path.name for owner in self.places.owners for path in self.places.of(owner).uploads.glob("*")]
        return sorted(uploads) + sorted(job.id for job in self.store.all())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_oldest_recordings_go_first_then_the_oldest_jobs(folder: Folder) -> None:
    for name, owner in (("a", "anna"), ("b", ""), ("c", "anna")):
        folder.finished(name, owner)
    running = folder.submit("run")
    assert folder.store.claim("w") is not None
    folder.submit("wait")
    disk = folder.disk(8.35)  # 8 MB and the database are there
    disk.look()
    assert folder.left() == ["b.wav", "c.wav", "run.wav", "wait.wav", "a", "b", "c", "run", "wait"]
    assert list(folder.store.get("a", "anna").notices) == [ROOM]  # type: ignore[union-attr]
    folder.disk(5.4).look()
    assert folder.left() == ["run.wav", "wait.wav", "b", "c", "run", "wait"]
    folder.disk(0.001).look()
    assert folder.left() == ["run.wav", "wait.wav", "run", "wait"]
    assert running.status is Status.WAITING and not list(folder.places.results("b").parent.glob("*"))


def test_what_can_be_fetched_again_goes_before_all_that_people_have(folder: Folder) -> None:
    folder.finished("a")
    for number in range(6):
        path = folder.places.fetched / str(number) / "talk.wav"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(MB))
        os.utime(path, (number, number))
    folder.disk(6.4).look()  # 8 MB and the database are there
    assert folder.left() == ["a.wav", "a"] and not list(folder.store.get("a").notices)  # type: ignore[union-attr]
    assert sorted(path.parent.name for path in folder.places.fetched.glob("*/*")) == ["3", "4", "5"]
    assert sorted(path.name for path in folder.places.fetched.iterdir()) == ["3", "4", "5"]


def test_without_a_limit_nothing_goes(folder: Folder) -> None:
    folder.finished("a")
    folder.disk(0).look()
    assert folder.left() == ["a.wav", "a"]


def test_an_upload_that_no_job_names_goes_before_all_others_but_not_at_once(folder: Folder) -> None:
    folder.finished("a")
    for name in ("old.wav", "new.wav"):
        (folder.places.uploads / name).write_bytes(bytes(MB))
    os.utime(folder.places.uploads / "old.wav", (time.time() - 4000,) * 2)
    folder.disk(4.3).look()
    assert folder.left() == ["a.wav", "new.wav", "a"]


def test_a_request_makes_room_or_is_refused_with_a_sentence(folder: Folder) -> None:
    folder.submit("wait")
    disk = folder.disk(3)
    disk.admit(MB)
    with pytest.raises(NoRoom, match=r"may keep 0\.003 GB and has 0\.00 GB, and this is 0\.00 GB more; .*--max-disk"):
        disk.admit(MB)  # the first one is still coming
    assert disk.refused == 1 and folder.left() == ["wait.wav", "wait"]
    disk.arrived(MB)
    disk.look()
    disk.admit(MB)  # the first one was erased again, say


def test_nothing_is_removed_for_a_request_that_is_refused_all_the_same(folder: Folder) -> None:
    folder.finished("a")
    for name in ("run", "wait", "more"):
        folder.submit(name)
    before, disk = folder.left(), folder.disk(6)  # 5 MB and the database are there; those of a can go
    with pytest.raises(NoRoom, match="--max-disk"):
        disk.admit(4 * MB)
    assert folder.left() == before and disk.refused == 1
    disk.admit(2 * MB)
    assert folder.left() == ["more.wav", "run.wav", "wait.wav", "more", "run", "wait"]


def test_bytes_that_may_never_come_remove_nothing(folder: Folder) -> None:
    folder.finished("a")
    before, disk = folder.left(), folder.disk(3)
    disk.check(2 * MB)
    disk.check(2 * MB)
    assert folder.left() == before
    with pytest.raises(NoRoom, match="--max-disk"):
        disk.check(3 * MB)
    with pytest.raises(NoRoom, match="must free some space"):
        folder.disk(0).check(10**18)
    assert folder.left() == before


def test_the_disk_is_never_filled(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = folder.disk(0)
    disk.look()
    free = disk.usage().free
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(module, "RESERVE_BYTES", free - 5 * MB)
    disk.admit(MB)
    with pytest.raises(
        NoRoom, match=r"of which .* are kept for running jobs.*; erase jobs; the administrator must free"
    ):
        disk.admit(100 * MB)


def recorded(path: Path) -> bytes:
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (44100, 2)), 44100)
    return path.read_bytes()


def served(lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> TestClient:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("emow2v.server.app.EVERY_S", 3600)  # the test looks through it
    return TestClient(app(lite.card, [tmp_path / "data"], tmp_path / "work", lambda name: lite, **options))


def posted(client: TestClient, tmp_path: Path, **form: str) -> str:
    sound = recorded(tmp_path / "talk.wav")
    answer = client.post("/v1/predictions", data={"wait": "false", **form}, files={"file": ("talk.wav", sound)})
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "finished")
    return job


def test_recordings_that_are_not_kept_are_gone_and_that_is_said(
    lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(lite, tmp_path, monkeypatch, keep_uploads="no") as client:
        job = posted(client, tmp_path)
        state = client.app.state.server  # type: ignore[attr-defined]
        rows = client.get(f"/v1/jobs/{job}/rows").json()
        state.disk.look()
        assert not list((tmp_path / "work" / "uploads").iterdir())
        assert client.get(f"/v1/jobs/{job}").json()["notices"] == [REMOVED]
        assert client.get(f"/v1/jobs/{job}/audio").status_code == 404
        assert "gone; only its values are left" in client.get(f"/v1/jobs/{job}/waveform").json()["error"]
        assert client.get(f"/v1/jobs/{job}/rows").json() == rows
        assert client.get("/v1/disk").json()["keep_uploads"] == "no"


def test_a_copy_as_flac_is_heard_and_goes_with_its_job(
    lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(lite, tmp_path, monkeypatch, keep_uploads="flac") as client:
        job = posted(client, tmp_path, channel="right")
        state = client.app.state.server  # type: ignore[attr-defined]
        before = client.get(f"/v1/jobs/{job}/waveform?points=50").json()
        state.disk.look()
        (copy,) = (tmp_path / "work" / "uploads").iterdir()
        assert copy.name.endswith(".wav.16k.flac") and soundfile.info(copy).samplerate == 16000
        answer = client.get(f"/v1/jobs/{job}/audio")
        assert answer.content == copy.read_bytes() and answer.headers["content-type"] == "audio/flac"
        after = client.get(f"/v1/jobs/{job}/waveform?points=50").json()
        assert (after["channels"], after["channel"]) == (2, "right")
        assert after["duration"] == pytest.approx(before["duration"], abs=1e-3)
        assert client.get(f"/v1/jobs/{job}").json()["notices"] == [COPIED]
        state.disk.look()
        assert client.get(f"/v1/jobs/{job}").json()["notices"] == [COPIED] and copy.is_file()
        assert client.delete(f"/v1/jobs/{job}").status_code == 200
        assert not list((tmp_path / "work" / "uploads").iterdir())


def test_a_recording_that_another_job_waits_for_stays(folder: Folder) -> None:
    folder.finished("a")
    waiting = folder.store.submit("b", {"path": "a.wav"}, kind="prediction")
    settling = Settling(folder.store, folder.places, "no")
    settling.settle()
    assert "a.wav" in folder.left()
    assert folder.store.cancel(waiting.id)
    settling.settle()
    assert "a.wav" not in folder.left()


def test_a_full_server_refuses_recordings_and_answers_all_else(
    lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(lite, tmp_path, monkeypatch, max_disk_gb=0.000001) as client:
        sound = recorded(tmp_path / "talk.wav")
        for path in ("/v1/predictions", "/upload"):
            answer = client.post(path, files={"file": ("talk.wav", sound)})
            assert answer.status_code == 507 and "--max-disk" in answer.json()["error"], answer.text
        assert client.get("/v1/jobs").status_code == client.get("/").status_code == 200
        assert client.post("/job_status", data={"jobID": "x"}).status_code == 200
        metrics = client.get("/metrics").text
        assert "emow2v_disk_refused_total 2.0" in metrics and "emow2v_disk_limit_bytes 1000.0" in metrics
        assert 'emow2v_disk_removed_total{what="job"} 0.0' in metrics
        assert not list((tmp_path / "work").glob("uploads/*"))


def test_what_the_server_erases_itself_is_in_the_audit_log(tmp_path: Path) -> None:
    """Oldest recordings and jobs for want of room, then the rest because of their number."""
    served = idle(tmp_path, max_disk_gb=3.3e-3, keep_jobs=1)
    state = served.app.state.server
    folder = Folder(tmp_path / "data", served.work)
    for name in ("a", "b", "c"):
        folder.finished(name, "anna")
    state.disk.look()
    history.forget(state.store, state.places, state.options, state.audit_aged)
    entries = [json.loads(line) for line in (served.work / "audit.ndjson").read_text().splitlines()]
    assert all(entry["action"] == "erase" and entry["role"] == "server" and not entry["name"] for entry in entries)
    told = [(entry["why"], entry.get("what", ""), [job["id"] for job in entry["jobs"]]) for entry in entries]
    removed = [("room", "recording", ["a"]), ("room", "recording", ["b"]), ("room", "recording", ["c"])]
    assert told == [*removed, ("room", "", ["a"]), ("age", "", ["b"])]
    assert [job.id for job in served.store.all()] == ["c"]
    served.store.close()
