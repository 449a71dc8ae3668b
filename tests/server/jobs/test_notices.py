"""What was not all there, and how it was heard, stands in the job, its log, its events, and in /v1's answer."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.cli.demo import request
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from waiting import until


def finished(client: TestClient, job_id: str) -> dict:
    """The job when it has ended."""

    def job() -> dict:
        return dict(client.get(f"/v1/jobs/{job_id}").json())

    until(lambda: job()["state"] not in ("waiting", "running"))
    assert job()["state"] == "finished", job()
    return job()


def cut(path: Path) -> Path:
    """A recording whose second half is missing."""
    whole, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(path, whole[: 2 * rate], rate)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def test_a_recording_that_is_cut_off(client: TestClient, data: Path) -> None:
    file = cut(data / "cut.wav")
    posted = client.post("/v1/predictions", files={"file": ("cut.wav", file.read_bytes())}, data={"wait": "false"})
    job = finished(client, posted.json()["id"])
    assert job["notices"] and any("cut off" in one or "header states" in one for one in job["notices"])
    assert job["rows"] == job["expected_rows"] and 20 <= job["rows"] <= 26
    assert "notices" in job["provenance"] and str(data.parent) not in json.dumps(job)
    log = client.get(f"/v1/jobs/{job['id']}/log").text
    assert all(f"WARNING {one}" in log for one in job["notices"])
    events = [line[6:] for line in client.get(f"/v1/jobs/{job['id']}/events").text.splitlines() if line]
    assert json.loads(events[-1])["notices"] == job["notices"]
    listed = client.get("/v1/jobs").json()
    assert listed[0]["notices"] == job["notices"]

    assert client.post("/process", data=request(data, file) | {"jobID": "old"}).json()["success"] == "True"
    old = finished(client, "old")
    assert old["notices"] == job["notices"]
    message = client.post("/log", data={"jobID": "old"}).json()["message"]
    assert all(f"WARNING {one}" in message for one in old["notices"])


def test_a_whole_recording_has_none(client: TestClient) -> None:
    job = finished(client, client.post("/v1/predictions", data={"path": "talk.wav", "wait": "false"}).json()["id"])
    assert job["notices"] == [] and job["provenance"]["channels"] == 1


@pytest.mark.parametrize("channel", ["left", "right", "1", "2", "mix"])
def test_the_channel_that_was_asked_for(client: TestClient, data: Path, lite: Model, channel: str) -> None:
    whole, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(
        data / "two.wav", np.stack([whole[rate : 2 * rate], whole[5 * rate : 6 * rate] * 0.3], axis=1), rate
    )
    answer = client.post("/v1/predictions", data={"path": "two.wav", "channel": channel, "format": "ndjson"})
    assert answer.status_code == 200, answer.text
    got = [json.loads(line)["arousal"] for line in answer.text.splitlines() if "arousal" in line]
    chosen: str | int = int(channel) if channel.isdigit() else channel
    expected = lite.predict(data / "two.wav", channel=chosen).scores[:, 0]  # type: ignore[arg-type]
    assert np.allclose(got, expected, atol=1e-5)
    asked = request(data, data / "two.wav") | {"jobID": "d", "options": json.dumps({"channel": channel, "track": 1})}
    assert client.post("/process", data=asked).json()["success"] == "True"
    assert str(finished(client, "d")["provenance"]["channel"]) == channel


def test_a_channel_or_track_that_is_not_there_is_refused_at_once(client: TestClient, data: Path) -> None:
    for field in ({"channel": "3"}, {"channel": "right"}, {"track": "2"}):
        answer = client.post("/v1/predictions", data={"path": "talk.wav"} | field)
        assert answer.status_code == 400 and next(iter(field)) in answer.json()["error"], answer.text
        asked = request(data, data / "talk.wav") | {"jobID": "d", "options": json.dumps(field)}
        assert client.post("/process", data=asked).status_code == 400
    assert client.get("/v1/jobs").json() == []


@pytest.mark.parametrize(
    "start, end", [("600ms", "0ms"), ("0.5s", "0ms"), ("40ms", "600ms"), ("200", "400"), ("0ms", "0ms")]
)
def test_a_finished_job_reports_the_rows_that_it_delivered(client: TestClient, start: str, end: str) -> None:
    fields = {"path": "talk.wav", "start": start, "end": end, "wait": "false"}
    job = finished(client, client.post("/v1/predictions", data=fields).json()["id"])
    rows = client.get(f"/v1/jobs/{job['id']}/rows").json()
    assert job["rows"] == job["expected_rows"] == rows["total"] == len(rows["rows"]) > 0
