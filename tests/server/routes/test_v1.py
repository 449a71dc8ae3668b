"""The modern face: predictions, jobs, models."""

import csv
import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.cards import EMBEDDED
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from servers import app, erased
from waiting import until


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / "ein Gespräch.wav", signal[rate : 2 * rate], rate)
    return folder


@pytest.fixture
def clip(data: Path) -> bytes:
    return (data / "ein Gespräch.wav").read_bytes()


def test_an_upload_in_every_format(client: TestClient, lite: Model, clip: bytes, data: Path, tmp_path: Path) -> None:
    expected = lite.predict(data / "ein Gespräch.wav", framing=Framing(frame_step_ms=100)).scores
    for wanted, kind in (("json", "application/json"), ("csv", "text/csv"), ("ndjson", "application/x-ndjson")):
        answer = client.post(
            "/v1/predictions", files={"file": ("a b.wav", clip)}, data={"format": wanted, "frame_step": "100ms"}
        )
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind), answer.text
        if wanted == "json":
            assert answer.json()["file"] == "a b.wav"
            rows = [row[2:5] for row in answer.json()["rows"]]
        elif wanted == "csv":
            rows = [
                [float(row[name]) for name in ("arousal", "dominance", "valence")]
                for row in csv.DictReader(io.StringIO(answer.text))
            ]
        else:
            head, *lines = map(json.loads, answer.text.splitlines())
            assert head["provenance"]["model"] == "lite"
            rows = [[line[name] for name in ("arousal", "dominance", "valence")] for line in lines]
        np.testing.assert_allclose(rows, expected, atol=2e-6)
    assert {job["state"] for job in client.get("/v1/jobs").json()} == {"finished"}


def test_a_path_a_job_and_its_events(client: TestClient, lite: Model, data: Path) -> None:
    answer = client.post("/v1/predictions", data={"path": "ein Gespräch.wav", "wait": "false", "unit": "files"})
    job = answer.json()
    assert answer.status_code == 202 and job["state"] == "waiting" and answer.headers["location"] == f"jobs/{job['id']}"
    told = [json.loads(line[6:]) for line in client.get(f"/v1/jobs/{job['id']}/events").text.splitlines() if line]
    assert told[-1]["state"] == "finished" and told[-1]["rows"] == 1 and told[-1]["model"] == "lite"
    assert client.get(f"/v1/jobs/{job['id']}").json() == told[-1]
    assert client.get(f"/v1/jobs/{job['id']}/log").text.endswith("INFO finished\n")
    (row,) = client.get(f"/v1/jobs/{job['id']}/result").json()["rows"]
    np.testing.assert_allclose(row[2:5], lite.predict(data / "ein Gespräch.wav", unit="files").scores[0], atol=2e-6)
    refused = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert refused.status_code == 409 and refused.json() == {"error": "The job is finished already."}
    assert client.get("/v1/jobs", params={"state": "error"}).json() == []


def test_models(client: TestClient) -> None:
    (lite,) = [one for one in client.get("/v1/models").json() if one["name"] == "lite"]
    card = json.loads((EMBEDDED / "lite" / "card.json").read_text("utf-8"))
    assert lite["served"] and lite["sampling_rate"] == 16000 and lite["licence"]
    assert (lite["description"], lite["version"]) == (card["description"], card["version"])


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({}, 400, "There is no recording"),
        ({"path": "../secret.wav"}, 400, "outside the data folders"),
        ({"path": "none.wav"}, 400, "does not exist"),
        ({"path": "ein Gespräch.wav", "format": "xml"}, 422, "format"),
        ({"path": "ein Gespräch.wav", "model": "none"}, 400, "is not here; expected lite"),
        ({"path": "ein Gespräch.wav", "frame_step": "soon"}, 400, "frame_step is 'soon'"),
        ({"path": "ein Gespräch.wav", "left_context": "0", "frame_step": "1ms"}, 400, "too short"),
        ({"path": "ein Gespräch.wav", "start": "5s"}, 400, "start"),
    ],
)
def test_what_cannot_be_done(client: TestClient, form: dict[str, str], status: int, sentence: str) -> None:
    answer = client.post("/v1/predictions", data=form)
    assert answer.status_code == status and sentence in answer.json()["error"], answer.text


def test_what_is_no_recording(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/v1/predictions", files={"file": ("a.wav", b"no sound")})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("a.wav is not a recording that can be decoded")
    answer = client.post("/v1/predictions", files={"file": ("a.wav", b"")})
    assert answer.status_code == 400
    for path in ("/v1/jobs/never", "/v1/jobs/never/log", "/v1/jobs/never/result", "/v1/jobs/never/events"):
        assert client.get(path).status_code == 404
    assert client.delete("/v1/jobs/never").status_code == 404


def test_its_description(client: TestClient) -> None:
    described = client.get("/v1/openapi.json").json()
    of_a_job = (
        "", "/cancel", "/log", "/events", "/sessions", "/rows", "/waveform", "/audio", "/result", "/citation",
        "/turns", "/files", "/failures", "/zip",
    )  # fmt: skip
    of_all = ("/predictions", "/batches", "/jobs", "/models", "/files", "/disk", "/results", "/uploads")
    paths = {*of_all, "/uploads/{upload_id}", *(f"/jobs/{{job_id}}{one}" for one in of_a_job)}
    assert set(described["paths"]) == paths


def test_the_token_guards_it_too(lite: Model, data: Path, tmp_path: Path) -> None:
    with TestClient(app(lite.card, [data], tmp_path / "work", lambda name: lite, token="t")) as client:
        for path in ("/v1/jobs", "/v1/models", "/v1/openapi.json"):
            assert client.get(path).status_code == 401
        assert client.post("/v1/predictions", data={"path": "a", "token": "t"}).status_code == 401
        assert client.get("/v1/jobs", headers={"Authorization": "Bearer t"}).json() == []


def test_predictions_that_are_cancelled(lite: Model, data: Path, client: TestClient) -> None:
    long = np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], 16000 * 120)
    soundfile.write(data / "long.wav", long, 16000)
    job = client.post("/v1/predictions", data={"path": "long.wav", "wait": "false"}).json()
    for _ in range(2):
        assert client.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "canceled"
    assert client.get(f"/v1/jobs/{job['id']}/result").status_code == 409
    answer = client.post("/v1/predictions", data={"path": "ein Gespräch.wav", "unit": "files"})
    assert answer.status_code == 200, answer.text


def test_a_job_is_erased_in_every_state(
    lite: Model, clip: bytes, data: Path, client: TestClient, tmp_path: Path
) -> None:
    uploads, kept = tmp_path / "work" / "uploads", tmp_path / "work" / "results"
    assert client.post("/v1/predictions", files={"file": ("voice of a person.wav", clip)}).status_code == 200
    (finished,) = client.get("/v1/jobs").json()
    assert list(uploads.iterdir()) and list(kept.iterdir())
    long = np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], 16000 * 120)
    soundfile.write(data / "long.wav", long, 16000)
    running, waiting = (
        client.post("/v1/predictions", data={"path": "long.wav", "wait": "false"}).json() for _ in range(2)
    )
    until(lambda: client.get(f"/v1/jobs/{running['id']}").json()["rows"])
    for job, state in ((finished, "finished"), (waiting, "canceled"), (running, "canceled")):
        assert until(functools.partial(erased, client, job["id"])).json()["state"] == state
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 404
    assert client.get("/v1/jobs").json() == [] and not list(uploads.iterdir())
    # the worker notices at its next batch; then nothing of the jobs is left on the disk
    assert client.post("/v1/predictions", data={"path": "ein Gespräch.wav", "unit": "files"}).status_code == 200
    assert client.delete(f"/v1/jobs/{client.get('/v1/jobs').json()[0]['id']}").status_code == 200
    assert not list(kept.iterdir())
    assert b"voice of a person" not in (tmp_path / "work" / "jobs.sqlite").read_bytes()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("jobs?state=Waiting", "state is 'Waiting'; expected waiting, running, finished, error or canceled."),
        ("jobs?limit=0", "limit is '0'; expected 1 or more."),
        ("jobs?limit=99999", "limit is '99999'; expected 10000 at most."),
        ("jobs?limit=ten", "limit is 'ten'; expected a whole number."),
        ("jobs?limit=" + "9" * 5000, f"limit is '{'9' * 40}'; expected a whole number, not so large."),
    ],
)
def test_wrong_values_are_told_with_what_came(client: TestClient, query: str, sentence: str) -> None:
    answer = client.get(f"/v1/{query}")
    assert answer.status_code == 422 and answer.json()["error"] == sentence


def test_wrong_values_of_a_form(client: TestClient) -> None:
    for field, value, expected in (
        ("format", "CSV", "json, csv, ndjson or parquet"),
        ("unit", "file", "windows, files or turns"),
        ("context", "Window", "window or shared"),
        ("padding", "ones", "edge or zeros"),
        ("wait", "maybe", "true or false"),
    ):
        answer = client.post("/v1/predictions", data={"path": "talk.wav", field: value})
        assert answer.json()["error"] == f"{field} is '{value}'; expected {expected}.", answer.text
    answer = client.post("/v1/predictions", files={"path": ("a.wav", b"x")})
    assert answer.status_code == 422 and answer.json()["error"] == "path is an upload; expected a text."


@pytest.mark.parametrize("path", ["/predict", "/v1/nope", "/v1/", "/jobs", "/static/none.js"])
def test_addresses_that_there_are_not(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and f"There is no address '{path}' here; expected" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/process", "POST"),
        ("PUT", "/v1/jobs", "GET"),
        ("GET", "/v1/predictions", "POST"),
        ("PATCH", "/healthz", "GET"),
        ("PUT", "/v1/uploads", "GET, OPTIONS, POST"),
        ("PUT", "/v1/jobs/a", "DELETE, GET"),
    ],
)
def test_methods_that_an_address_does_not_take(client: TestClient, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405 and f"'{path}' takes; expected" in answer.json()["error"]
    assert allowed in answer.json()["error"].rpartition("expected")[2]


@pytest.mark.parametrize("files", [None, {"file": ("a.wav", b"1")}], ids=["urlencoded", "multipart"])
def test_a_field_that_is_too_long_is_refused_with_the_limit(
    client: TestClient, files: dict[str, tuple[str, bytes]] | None
) -> None:
    answer = client.post("/v1/predictions", data={"path": "x" * 70_000}, files=files)
    assert answer.status_code == 400
    assert "50 fields of 64 KB" in answer.json()["error"] and "recordings are sent as files" in answer.json()["error"]
