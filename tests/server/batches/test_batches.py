"""One job of /v1 for many recordings: chosen, computed and told as the command line does it with the same folder."""

import base64
import csv
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from commands import predictor
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.batches import choosing
from emow2v.server.jobs import history
from laboratories import idle
from servers import app
from waiting import HANG_S, until

RATE = 16000


def speech(path: Path, begin: float, seconds: float) -> Path:
    """Some of the example."""
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.roll(signal, -round(begin * RATE))[: round(seconds * RATE)], RATE)
    return path


@pytest.fixture
def study(data: Path) -> Path:
    """A folder with recordings in it and below it: two of one name, one that is none, and what belongs to nobody."""
    folder = data / "study 1"
    for number, name in enumerate(("b.wav", "a/ä.wav", "a/talk.wav", "a/talk.flac", "c/deep/z.wav")):
        speech(folder / name, number, 1 + number / 4)
    (folder / "a" / "broken.wav").write_bytes(b"no sound" * 100)
    (folder / "notes.txt").write_text("nothing")
    speech(folder / ".hidden" / "secret.wav", 0, 1)
    speech(folder / ".secret.wav", 0, 1)
    return folder


@pytest.fixture
def server(lite: Model, data: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A server whose administrator named its data folder."""
    served = app(lite.card, [data], tmp_path / "work", lambda name: lite, data_dirs=[data])
    with TestClient(served, raise_server_exceptions=False) as one:
        yield one


def posted(server: TestClient, code: int = 202, files: Any = None, **form: Any) -> dict[str, Any]:
    answer = server.post("/v1/batches", data=form, files=files)
    assert answer.status_code == code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ended(server: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        now: dict[str, Any] = server.get(f"/v1/jobs/{job['id']}").json()
        return now if now["state"] not in ("waiting", "running") else {}

    return until(look)


def files_of(server: TestClient, job: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = server.get(f"/v1/jobs/{job['id']}/files", params={"limit": 1000} | query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["files"]
    return found


def zip_of(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ({"unit": "files"}, ["--unit", "files"]),
        ({"speech": "true", "frame_step": "100ms"}, ["--speech", "--frame-step", "100ms"]),
        ({"unit": "turns"}, ["--unit", "turns"]),
        ({"unit": "turns", "pool": "true", "format": "ndjson"}, ["--unit", "turns", "--pool"]),
        ({"channel": "left", "start": "500ms", "end": "900ms", "format": "json"}, ["--channel", "left", "--start", "500ms", "--end", "900ms"]),
        ({"unit": "files", "embeddings": "true", "format": "parquet"}, ["--unit", "files", "--embeddings"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_folder_gives_what_the_command_line_gives(
    server: TestClient, study: Path, lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    form: dict[str, str], options: list[str],
) -> None:  # fmt: skip
    if form.get("format") == "parquet":
        pytest.importorskip("pyarrow")
    job = ended(server, posted(server, folder="study 1", **form))
    assert job["state"] == "finished" and job["kind"] == "batch" and job["name"] == "study 1/: 6 recordings", job
    assert job["files"] | {"seconds": 0} == {"all": 6, "done": 5, "failed": 1, "seconds": 0, "seconds_left": 0}
    ending = form.get("format", "csv")
    monkeypatch.chdir(study.parent)
    formats = ["--format", "csv,npz" if "embeddings" in form else "csv"]
    table = tmp_path / f"all.{ending}"
    predict = predictor(monkeypatch, lite)
    predict("study 1", *options, *formats, "--table", str(table), "-o", str(tmp_path / "out"), code=1)
    answer = server.get(f"/v1/jobs/{job['id']}/result")
    assert answer.status_code == 200 and answer.content == table.read_bytes(), answer.text
    assert answer.headers["content-disposition"].endswith(f'"results.{ending}"')
    files = zip_of(server.get(f"/v1/jobs/{job['id']}/zip"))
    theirs = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    expected = {
        name: content
        for name, content in theirs.items()
        if not name.startswith(".emow2v") and not name.endswith(".npz")
    }
    assert files.keys() == expected.keys() and "c/deep/z.csv" in files and "a/talk.flac.csv" in files
    values = {name: content for name, content in files.items() if not name.endswith(".json")}
    assert values == {name: expected[name] for name in values}
    assert server.get(f"/v1/jobs/{job['id']}/failures").content == expected["failures.csv"]
    assert job["rows"] == sum(one["rows"] for one in files_of(server, job))


def test_each_recording_can_be_looked_at_by_itself(server: TestClient, study: Path) -> None:
    job = ended(server, posted(server, folder="study 1", speech="true", embeddings="true"))
    every = files_of(server, job)
    names = ["a/broken.wav", "a/talk.flac", "a/talk.wav", "a/ä.wav", "b.wav", "c/deep/z.wav"]
    assert [one["name"] for one in every] == [f"study 1/{name}" for name in names]
    assert [one["number"] for one in every] == [*range(6)]
    assert [one["state"] for one in every] == ["failed", *["done"] * 5]
    broken = every[0]
    assert "study 1/a/broken.wav" in broken["error"] and str(study) not in broken["error"]
    assert files_of(server, job, state="failed") == [broken] and files_of(server, job, state="waiting") == []
    assert files_of(server, job, first=2, limit=2) == every[2:4]
    place = f"/v1/jobs/{job['id']}"
    assert server.get(f"{place}/sessions").json() == [one["name"] for one in every]
    for one in every[1:]:
        rows = server.get(f"{place}/rows", params={"session": one["number"]}).json()
        assert rows["complete"] and rows["total"] == one["rows"] and rows["embeddings"]
        table = server.get(f"{place}/result", params={"session": one["number"]})
        (first, *_) = csv.DictReader(io.StringIO(table.text))
        assert first["file"] == one["name"] and f"{rows['rows'][0][5]:.6f}" == first["confidence"]
        sound, rate = soundfile.read(
            io.BytesIO(server.get(f"{place}/audio", params={"session": one["number"]}).content)
        )
        assert len(sound) / rate == pytest.approx(one["seconds"])
        document = server.get(f"{place}/result", params={"session": one["number"], "format": "json"}).json()
        assert len(document["rows"]) == one["rows"]
    for what in ("rows", "result"):
        refused = server.get(f"{place}/{what}", params={"session": 0})
        assert refused.status_code == 404 and "no values" in refused.json()["error"]
    assert server.get(f"{place}/rows", params={"session": 6}).status_code == 404
    arrays = zip_of(server.get(f"{place}/zip", params={"format": "npz"}))
    with np.load(io.BytesIO(arrays["b.npz"])) as loaded:
        assert loaded["embeddings"].shape == (every[4]["rows"], 1024)
    annotations = zip_of(server.get(f"{place}/zip", params={"format": "annotation"}))
    assert "a/talk.wav.valence.annotation" in annotations and "failures.csv" in annotations


def test_the_table_in_other_formats(server: TestClient, study: Path) -> None:
    job = ended(server, posted(server, folder="study 1", unit="files"))
    place = f"/v1/jobs/{job['id']}/result"
    rows = [*csv.DictReader(io.StringIO(server.get(place).text))]
    lines = [json.loads(line) for line in server.get(place, params={"format": "ndjson"}).text.splitlines()]
    document = server.get(place, params={"format": "json"}).json()
    assert [dict(zip(document["columns"], row, strict=True)) for row in document["rows"]] == lines
    assert [{name: value if name == "file" else float(value) for name, value in row.items()} for row in rows] == lines
    refused = server.get(place, params={"format": "stream"})
    assert refused.status_code == 422 and "parquet" in refused.json()["error"]
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.read_parquet(io.BytesIO(server.get(place, params={"format": "parquet"}).content))
    np.testing.assert_allclose(table["valence"], [line["valence"] for line in lines], atol=1e-6)


def test_patterns_choose(server: TestClient, study: Path) -> None:
    def chosen(**form: Any) -> list[str]:
        names = server.get(f"/v1/jobs/{posted(server, folder='study 1', **form)['id']}/sessions").json()
        return [name.removeprefix("study 1/") for name in names]

    assert chosen(recursive="false") == ["b.wav"]
    assert chosen(pattern="*.flac") == ["a/talk.flac"]
    assert chosen(pattern=["*.FLAC", "c/**"]) == ["a/talk.flac", "c/deep/z.wav"]
    assert chosen(pattern="*/t*.wav") == ["a/talk.wav"]
    assert chosen(pattern="**/deep/?.wav") == ["c/deep/z.wav"]
    refused = posted(server, 400, folder="study 1", pattern="*.mp3")["error"]
    assert "study 1" in refused and "no recordings that match" in refused
    for pattern in ("", "/", "../*.wav", "/etc/*"):
        assert "pattern" in posted(server, 422, folder="study 1", pattern=pattern)["error"]
    assert "folder" in posted(server, 422, path="talk.wav", pattern="*.wav")["error"]


@pytest.mark.parametrize("unit", ["windows", "turns"])
def test_options_of_the_detector_are_refused_in_the_words_of_v1(server: TestClient, study: Path, unit: str) -> None:
    refused = posted(server, 422, folder="study 1", unit=unit, longest_turn="300ms")["error"]
    assert refused.startswith("The longest turn is 300 ms; expected 0 (turns of any length), or at least 564 ms")


def test_paths_and_the_data_folder_itself(server: TestClient, study: Path) -> None:
    paths = ["study 1/b.wav", "study 1/c/deep/z.wav", "never.wav", "../secret.wav", "study 1/b.wav", "study 1"]
    job = ended(server, posted(server, path=paths, unit="files"))
    assert job["state"] == "finished" and job["name"] == "study 1/b.wav and 4 more"
    every = files_of(server, job)
    assert [one["name"] for one in every] == [*paths[:4], "study 1"]
    assert [one["state"] for one in every] == ["done", "done", "failed", "failed", "failed"]
    assert "does not exist" in every[2]["error"] and "outside" in every[3]["error"] and "folder" in every[4]["error"]
    assert {"study 1/b.csv", "study 1/c/deep/z.csv"} < zip_of(server.get(f"/v1/jobs/{job['id']}/zip")).keys()
    assert "does not exist" in posted(server, 400, path=["never.wav", "nor.wav"])["error"]
    assert "no recording" in posted(server, 400)["error"]
    job = posted(server, folder=".")
    assert job["name"] == "data folder: 7 recordings" and job["files"]["all"] == 7
    both = posted(server, folder=["study 1/a", "study 1/c"], path=["talk.wav", "study 1/a/talk.wav"])
    assert both["files"]["all"] == 6


def test_uploads(server: TestClient, study: Path, tmp_path: Path) -> None:
    sound = (study / "b.wav").read_bytes()
    sent = [("talk.wav", sound), ("../../talk.wav", sound), ("TALK.wav", b"none")]
    job = ended(server, posted(server, files=[("file", one) for one in sent], unit="files", path="talk.wav"))
    every = files_of(server, job)
    assert [one["name"] for one in every] == ["talk.wav", "talk-2.wav", "talk-3.wav", "TALK-4.wav"]
    assert [one["state"] for one in every] == ["done", "done", "done", "failed"]
    assert "TALK-4.wav" in every[3]["error"] and "uploads" not in every[3]["error"]
    seen = server.get(f"/v1/jobs/{job['id']}/waveform", params={"session": 3})
    assert seen.status_code == 404 and seen.json()["error"].startswith("TALK-4.wav ")
    rows = [*csv.DictReader(io.StringIO(server.get(f"/v1/jobs/{job['id']}/result").text))]
    assert [row["file"] for row in rows] == ["talk.wav", "talk-2.wav", "talk-3.wav"] and rows[1]["end"] == rows[2][
        "end"
    ]
    uploads = tmp_path / "work" / "uploads"
    assert len([*uploads.iterdir()]) == 3
    assert server.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert not any(uploads.iterdir()) and not any((tmp_path / "work" / "results").iterdir())
    posted(server, 400, files=[("file", ("talk.wav", sound))], frame_step="never")
    assert not any(uploads.iterdir())
    many = [("file", (f"{number}.wav", b"1")) for number in range(201)]
    assert "200 files" in posted(server, 400, files=many)["error"]


def test_resumable_uploads(server: TestClient, study: Path, tmp_path: Path) -> None:
    """Finished ones are recordings of a job; a request that is refused removes none of them."""
    sound = (study / "b.wav").read_bytes()

    def sent(content: bytes, length: int) -> str:
        name = base64.b64encode("Gespräch.wav".encode()).decode()
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(length), "Upload-Metadata": f"filename {name}"}
        headers["Content-Type"] = "application/offset+octet-stream"
        answer = server.post("/v1/uploads", content=content, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"].rpartition("/")[2]

    first, second, unfinished = sent(sound, len(sound)), sent(sound, len(sound)), sent(sound[:99], len(sound))
    said = posted(server, 409, upload=[first, unfinished])["error"]
    assert said.startswith(f"The upload has 99 of {len(sound)} bytes; send the rest")
    posted(server, 404, upload=[first, "0" * 32])
    posted(server, 400, upload=[first], frame_step="never")
    job = ended(server, posted(server, upload=[first, second, first], path="study 1/b.wav", unit="files"))
    every = files_of(server, job)
    assert [one["name"] for one in every] == ["study 1/b.wav", "Gespräch.wav", "Gespräch-2.wav"]
    assert [one["state"] for one in every] == ["done"] * 3
    other = ended(server, posted(server, upload=[first], unit="files"))
    assert server.delete(f"/v1/jobs/{job['id']}").status_code == 200  # the other job keeps what it uses
    assert [path.name for path in (tmp_path / "work" / "uploads").glob(f"*{first}*")]
    assert not [path.name for path in (tmp_path / "work" / "uploads").glob(f"*{second}*")]
    assert server.get(f"/v1/jobs/{other['id']}/audio?session=0").content == sound


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_and_hidden_entries_are_left_out(server: TestClient, study: Path, data: Path, tmp_path: Path) -> None:
    speech(tmp_path / "elsewhere" / "secret.wav", 0, 1)
    (study / "out.wav").symlink_to(tmp_path / "elsewhere" / "secret.wav")
    (study / "outside").symlink_to(tmp_path / "elsewhere")
    (study / "0 alias.wav").symlink_to(study / "b.wav")
    (study / "inside").symlink_to(study / "a")
    (study / "loop").symlink_to(study)
    (study / "other.wav").symlink_to(data / "talk.wav")
    os.mkfifo(study / "pipe.wav")
    job = ended(server, posted(server, folder="study 1", unit="files", recursive="false"))
    assert [one["name"] for one in files_of(server, job)] == ["study 1/b.wav", "study 1/other.wav"]
    (notice,) = job["notices"]
    assert "2 linked folders (inside, loop)" in notice and "notes.txt" in notice and "secret" not in notice
    assert posted(server, folder=".")["files"]["all"] == 7  # the other name of talk.wav is left out
    for folder in ("..", "study 1/outside", "study 1/.hidden", "/etc", "never", "talk.wav", "\0"):
        assert "secret" not in posted(server, 400, folder=folder)["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_recording_that_became_a_link_to_elsewhere_is_not_read(
    lite: Model, study: Path, data: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    laboratory = idle(tmp_path, token="", named=False)  # whose jobs wait
    job = posted(laboratory.client(""), folder="study 1", recursive="false", pattern=["b.wav"])
    speech(tmp_path / "elsewhere.wav", 0, 1)
    (study / "b.wav").unlink()
    (study / "b.wav").symlink_to(tmp_path / "elsewhere.wav")
    with TestClient(app(lite.card, [data], work, lambda name: lite, data_dirs=[data])) as running:
        job = ended(running, job)
        assert job["state"] == "error" and "None of 1 recording has a result" in job["error"]
        (file,) = files_of(running, job)
        assert file["state"] == "failed" and "elsewhere" not in file["error"]
        assert running.get(f"/v1/jobs/{job['id']}/result").status_code == 409


def test_folders_are_not_listed_unless_the_administrator_named_one(client: TestClient) -> None:
    assert "--data-dir" in posted(client, 400, folder=".")["error"]
    assert posted(client, path="talk.wav")["files"]["all"] == 1


def test_the_number_of_recordings_has_a_limit(server: TestClient, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MOST", 4)
    for form in ({"folder": "study 1"}, {"path": [f"{number}.wav" for number in range(5)]}):
        assert "one job takes 4" in posted(server, 422, **form)["error"]
    assert "one job takes 4" in posted(server, 422, folder="study 1/a", path="talk.wav")["error"]


def test_what_a_job_of_one_recording_has_not(server: TestClient) -> None:
    job = server.post("/v1/predictions", data={"path": "talk.wav", "wait": "false"}).json()
    assert job["files"] is None
    for what in ("files", "failures", "zip"):
        assert server.get(f"/v1/jobs/{job['id']}/{what}").status_code == 404


def test_longer_recordings_than_allowed_fail_alone(lite: Model, study: Path, data: Path, tmp_path: Path) -> None:
    served = app(lite.card, [data], tmp_path / "work", lambda name: lite, data_dirs=[data], max_duration_h=1.3 / 3600)
    for unit in ("files", "turns"):
        with TestClient(served) as one:
            job = ended(one, posted(one, folder="study 1", unit=unit))
            states = {file["name"]: file for file in files_of(one, job)}
            assert job["files"]["done"] == 2 and states["study 1/b.wav"]["state"] == "done"
            assert "allowed" in states["study 1/c/deep/z.wav"]["error"]


def test_a_request_that_is_sent_again_has_one_job(server: TestClient, study: Path, tmp_path: Path) -> None:
    def post(**form: Any) -> httpx.Response:
        files = [("file", ("talk.wav", (study / "b.wav").read_bytes()))]
        return server.post("/v1/batches", data=form, files=files, headers={"Idempotency-Key": "one"})

    first, second = post(folder="study 1"), post(folder="study 1")
    assert first.json()["id"] == second.json()["id"] and "idempotent-replayed" in second.headers
    assert len([*(tmp_path / "work" / "uploads").iterdir()]) == 1
    assert post(folder="study 1/a").status_code == 422


@pytest.mark.parametrize("wait_for", [lambda job: job["state"] == "running", lambda job: job["files"]["done"] > 0])
def test_a_job_can_be_cancelled(
    server: TestClient, data: Path, wait_for: Callable[[dict[str, Any]], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PATIENCE_S", HANG_S)  # a batch of windows takes seconds on a busy machine
    for number in range(20):
        speech(data / "long" / f"{number}.wav", number, 8)
    job = posted(server, folder="long", frame_step="20ms", left_context="2s")
    until(lambda: wait_for(server.get(f"/v1/jobs/{job['id']}").json()))
    assert server.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    job = ended(server, job)
    assert job["state"] == "canceled" and server.get(f"/v1/jobs/{job['id']}/result").status_code == 409
    assert server.delete(f"/v1/jobs/{job['id']}").status_code == 200
