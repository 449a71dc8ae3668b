"""A job of many recordings after a kill -9 of its worker or of the server: it goes on, to the last byte of an undisturbed one."""

import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.modelstore.verify import EXAMPLE
from killed_servers import Served
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")]

FILES = 26
FORMS = {
    "windows": {"frame_step": "200ms", "embeddings": "true"},
    "files": {"unit": "files", "format": "ndjson"},
    "turns": {"unit": "turns", "pool": "true", "frame_step": "200ms"},
    "parquet": {"unit": "files", "format": "parquet", "embeddings": "true"},
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    generator = np.random.default_rng(0)
    (tmp_path / "study" / "b").mkdir(parents=True)
    for number in range(FILES):
        seconds = 1 + 2 * generator.random() if number % 12 else 31  # some are computed by themselves
        path = tmp_path / "study" / ("b" if number % 3 else ".") / f"{number}.wav"
        soundfile.write(path, np.resize(np.roll(signal, -number * rate), int(seconds * rate)), rate)
    (tmp_path / "study" / "broken.wav").write_bytes(b"none")
    server = Served(tmp_path)
    server.start()
    yield server
    server.stop()


def post(served: Served, **form: str) -> str:
    answer = served.client.post("/v1/batches", data={"folder": "study"} | form)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def results(served: Served, name: str) -> dict[str, bytes]:
    """All that people get of a job: its table, each file of the zip, the failures, and what became of each recording."""
    job = served.ended(name)
    assert job["state"] == "finished" and job["files"]["done"] == FILES and job["files"]["failed"] == 1, job
    folder = served.places.results(name)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not [one for one in files if one.endswith(".part")]
    kept = {one: content for one, content in files.items() if "/.emow2v/" not in one}  # rows are kept in other blocks
    told = {
        what: served.client.get(f"/v1/jobs/{name}/{what}").content
        for what in ("files?limit=1000", "failures", "result")
    }
    return kept | told | {"rows": str(job["rows"]).encode()}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_kills_change_nothing(served: Served, form: dict[str, str]) -> None:
    if form.get("format") == "parquet":
        pytest.importorskip("pyarrow")
    expected = results(served, post(served, **form))
    chance = random.Random(0)
    name = post(served, **form)
    for kill in ("worker", "server", "worker", "worker", "server"):
        before = served.job(name)["files"]["done"]
        wanted = min(FILES - 4, before + chance.randrange(1, 6))

        def begun(wanted: int = wanted) -> bool:
            job = served.job(name)
            return bool(job["state"] not in ("waiting", "running") or job["files"]["done"] >= wanted)

        until(begun)
        if kill == "worker":
            served.kill_worker()
        else:
            served.kill_server()
            served.start()
    found = results(served, name)
    assert found.keys() == expected.keys()
    assert [one for one in found if found[one] != expected[one]] == []


def test_a_recording_that_was_done_is_not_computed_again(served: Served) -> None:
    name = post(served, unit="files")
    until(lambda: served.job(name)["files"]["done"] > 3)
    told = served.client.get(f"/v1/jobs/{name}/files?state=done&limit=1000").json()["files"]
    served.kill_server()
    folder = served.places.results(name) / "files"
    paths = [(folder / Path(one["name"]).relative_to("study")).with_suffix(".csv") for one in told]
    done = {path: path.stat().st_mtime_ns for path in paths}
    assert len(done) > 3
    served.start()
    served.ended(name)
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_erasing_a_job_that_goes_on_leaves_nothing(served: Served) -> None:
    name = post(served, frame_step="200ms")
    until(lambda: served.job(name)["files"]["done"] > 0)
    served.kill_worker()
    assert served.client.delete(f"/v1/jobs/{name}").status_code == 200
    assert not served.places.results(name).exists()
    with sqlite3.connect(served.folder / "work" / "jobs.sqlite") as database:
        assert database.execute("SELECT count(*) FROM recordings").fetchone() == (0,)
    database.close()
    shutil.rmtree(served.folder / "study")
