"""What was erased is gone from every file of the work folder; the audit log proves it, without content."""

import json
from pathlib import Path

import numpy as np
import soundfile
from starlette.testclient import TestClient

from emow2v.model import Model
from laboratories import SINGLE, tokens_of
from servers import app
from waiting import until

RATE = 16000
SECRET = "Mrs Miller on her mother"
WORDS = "never said to anybody"


def test_nothing_of_an_erased_job_is_left_but_its_entry_in_the_audit_log(lite: Model, tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    tokens = tokens_of(work)
    values = (np.random.default_rng(0).normal(0, 0.1, 2 * RATE) * 32767).astype("<i2")
    soundfile.write(tmp_path / f"{SECRET}.wav", values, RATE)
    (tmp_path / "turns.srt").write_text(f"1\n00:00:00,200 --> 00:00:01,900\n{WORDS}\n")
    traces = [SECRET.encode(), WORDS.encode(), values[RATE : RATE + 200].tobytes()]
    with TestClient(app(lite.card, [data], work, lambda name: lite, token=SINGLE)) as client:
        client.headers["Authorization"] = f"Bearer {tokens['anna']}"
        files = [
            ("file", (f"{SECRET}.wav", (tmp_path / f"{SECRET}.wav").read_bytes())),
            ("segments", ("turns.srt", (tmp_path / "turns.srt").read_bytes())),
        ]
        form = {"unit": "turns", "wait": "false", "embeddings": "true"}
        job = client.post("/v1/predictions", data=form, files=files).json()["id"]
        until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "finished")
        until(lambda: not [*(work / "computed").glob("*")])  # they go just after the job's end
        scores = client.get(f"/v1/jobs/{job}/result?format=npz").content
        traces += [str(value)[:8].encode() for value in client.get(f"/v1/jobs/{job}/rows").json()["rows"][0][2:5]]
        own = work / "people" / "anna"
        sizes = [path.stat().st_size for path in own.rglob("*") if path.is_file()]
        before = _all(work)
        assert all(trace in before for trace in traces) and len(scores) in sizes
        assert client.delete(f"/v1/jobs/{job}").status_code == 200
        for _ in range(2):  # and after the server has ended
            after = _all(work)
            assert [trace for trace in traces if trace in after] == []
            assert not [path for path in own.rglob("*") if path.is_file()]
            client.get("/v1/jobs")
    entries = [json.loads(line) for line in (work / "audit.ndjson").read_text().splitlines()]
    (erased,) = [one for one in entries if one["action"] == "erase"]
    assert (erased["name"], erased["jobs"]) == ("anna", [{"owner": "anna", "id": job}])
    assert (erased["files"], erased["bytes"], erased["shared"]) == (len(sizes), sum(sizes), 0)
    assert _all(work).count(job.encode()) == (work / "audit.ndjson").read_bytes().count(job.encode())


def test_nothing_of_an_erased_job_of_many_files_is_left(lite: Model, tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    (data / SECRET).mkdir(parents=True)
    values = (np.random.default_rng(0).normal(0, 0.1, RATE) * 32767).astype("<i2")
    soundfile.write(data / SECRET / "a.wav", values, RATE)
    (data / SECRET / f"{WORDS}.wav").write_bytes(b"no sound")
    traces = [SECRET.encode(), WORDS.encode(), values[:200].tobytes()]
    with TestClient(app(lite.card, [data], work, lambda name: lite, data_dirs=[data])) as client:
        upload = [("file", ("b.wav", (data / SECRET / "a.wav").read_bytes()))]
        job = client.post("/v1/batches", data={"folder": SECRET, "embeddings": "true"}, files=upload).json()["id"]
        until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "finished")
        until(lambda: not [*(work / "computed").glob("*")])  # they go just after the job's end
        traces += [
            str(value)[:8].encode() for value in client.get(f"/v1/jobs/{job}/rows?session=2").json()["rows"][0][2:5]
        ]
        before = _all(work)
        assert all(trace in before for trace in traces)
        assert client.delete(f"/v1/jobs/{job}").status_code == 200
        for _ in range(2):  # and after the server has ended
            after = _all(work)
            assert [trace for trace in traces if trace in after] == []
            client.get("/v1/jobs")
    assert not any((work / "results").iterdir()) and not any((work / "uploads").iterdir())


def _all(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "server.lock")
