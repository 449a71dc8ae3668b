"""What /v1 shows of a job: values, sound, tables to save."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v import citation
from emow2v.cli.demo import request
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.routes import views
from waiting import until


def ended(client: TestClient, job: str) -> str:
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] not in ("waiting", "running"))
    return f"/v1/jobs/{job}"


def posted(client: TestClient, clip: bytes, name: str = "talk.wav", **form: str) -> str:
    fields = {"wait": "false", "frame_step": "100ms", **form}
    return ended(client, client.post("/v1/predictions", files={"file": (name, clip)}, data=fields).json()["id"])


def test_rows_are_the_models(client: TestClient, lite: Model, data: Path) -> None:
    job = posted(client, (data / "talk.wav").read_bytes())
    answer = client.get(f"{job}/rows")
    told = answer.json()
    assert (told["first"], told["total"], told["complete"], told["run"]) == (0, 10, True, "")
    assert told["columns"] == ["start", "end", "arousal", "dominance", "valence", "confidence"]
    rows = np.array(told["rows"])
    expected = lite.predict(data / "talk.wav", framing=Framing(frame_step_ms=100))
    np.testing.assert_allclose(rows[:, 2:5], expected.scores, atol=2e-6)
    np.testing.assert_allclose(rows[:, :2], np.column_stack([expected.starts, expected.ends]))
    assert answer.headers["cache-control"] == "no-store"
    part = client.get(f"{job}/rows", params={"first": 7}).json()
    assert part["first"] == 7 and part["rows"] == told["rows"][7:]
    assert client.get(f"{job}/rows", params={"first": 10}).json()["rows"] == []
    assert client.get(f"{job}/rows", params={"session": 1}).status_code == 404
    assert client.get(f"{job}/sessions").json() == ["talk.wav"]


def test_values_that_are_none_are_null() -> None:
    rows = np.array([[0, 0.04, 0.1, 0.2, 0.3, 1], [0.04, 0.08, np.nan, 0.2, np.inf, 1]])
    told = json.loads(views._rows("r", rows, 0, 2, complete=False).body)
    assert told["rows"] == [[0, 0.04, 0.1, 0.2, 0.3, 1], [0.04, 0.08, None, 0.2, None, 1]]


def test_rows_grow(client: TestClient) -> None:
    long = io.BytesIO()
    soundfile.write(long, np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], 16000 * 600), 16000, format="FLAC")
    form = {"wait": "false", "frame_step": "40ms"}
    job = client.post("/v1/predictions", files={"file": ("long.flac", long.getvalue())}, data=form).json()["id"]
    now = until(lambda: (told := client.get(f"/v1/jobs/{job}/rows").json())["rows"] and told)
    later = client.get(f"/v1/jobs/{job}/rows", params={"first": len(now["rows"]), "run": now["run"]}).json()
    assert later["first"] == len(now["rows"]) and later["run"] == now["run"] and not later["complete"]
    other = client.get(f"/v1/jobs/{job}/rows", params={"first": 5, "run": "another"}).json()
    assert other["first"] == 0 and other["rows"][: len(now["rows"])] == now["rows"]
    assert client.get(f"/v1/jobs/{job}/result").status_code == 409
    client.post(f"/v1/jobs/{job}/cancel")


def test_the_sound_is_seen_and_heard(client: TestClient, data: Path) -> None:
    clip = (data / "talk.wav").read_bytes()
    job = posted(client, clip)
    signal, _ = soundfile.read(data / "talk.wav")
    answer = client.get(f"{job}/waveform", params={"points": 100})
    seen = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert seen["duration"] == 1 and 50 <= len(seen["lowest"]) <= 100
    assert min(seen["lowest"]) == pytest.approx(signal.min(), abs=1e-4)
    assert max(seen["highest"]) == pytest.approx(signal.max(), abs=1e-4)
    heard = client.get(f"{job}/audio")
    assert heard.content == clip and heard.headers["content-type"] == "audio/wav"
    assert heard.headers["cache-control"] == "no-store" and heard.headers["x-content-type-options"] == "nosniff"
    part = client.get(f"{job}/audio", headers={"Range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == clip[4:8]
    assert client.get(f"{job}/audio", headers={"Range": "bytes=99999999-"}).status_code == 416
    assert client.get(f"{job}/waveform", params={"points": 1}).status_code == 422


@pytest.mark.parametrize("channel", ["left", "right", "1", "2", "mix"])
def test_the_waveform_is_of_the_channel_that_the_model_heard(client: TestClient, data: Path, channel: str) -> None:
    """Of predictions and of DISCOVER's requests."""
    signal, rate = soundfile.read(data / "talk.wav", dtype="float32")
    both = np.stack([signal, signal[::-1] * 0.3], axis=1)
    soundfile.write(data / "two.wav", both, rate, subtype="FLOAT")
    expected = both.mean(axis=1) if channel == "mix" else both[:, int(channel in ("right", "2"))]
    form = {"path": "two.wav", "channel": channel, "unit": "files", "wait": "false"}
    job = ended(client, client.post("/v1/predictions", data=form).json()["id"])
    asked = request(data, data / "two.wav") | {"jobID": "old", "options": json.dumps({"channel": channel})}
    assert client.post("/process", data=asked).json()["success"] == "True"
    for one in (job, ended(client, "old")):
        seen = client.get(f"{one}/waveform", params={"points": 100}).json()
        assert max(seen["highest"]) == pytest.approx(expected.max(), abs=1e-3)
        assert min(seen["lowest"]) == pytest.approx(expected.min(), abs=1e-3)


def test_an_upload_never_counts_as_a_page(client: TestClient, data: Path) -> None:
    job = posted(client, (data / "talk.wav").read_bytes(), name="talk.html")
    heard = client.get(f"{job}/audio")
    assert heard.status_code == 200 and heard.headers["content-type"] == "application/octet-stream"


def test_a_recording_that_is_gone(client: TestClient, data: Path) -> None:
    form = {"path": "talk.wav", "wait": "false", "unit": "files"}
    job = ended(client, client.post("/v1/predictions", data=form).json()["id"])
    (data / "talk.wav").write_bytes(b"no sound any more")
    answer = client.get(f"{job}/waveform")
    assert answer.status_code == 404 and str(data) not in answer.json()["error"]
    (data / "talk.wav").unlink()
    for rest in ("waveform", "audio"):
        answer = client.get(f"{job}/{rest}")
        assert answer.status_code == 404 and answer.json()["error"].endswith(".")
    assert len(client.get(f"{job}/rows").json()["rows"]) == 1  # the values are left


def test_results_in_other_formats_leave_nothing_behind(client: TestClient, data: Path, tmp_path: Path) -> None:
    job = posted(client, (data / "talk.wav").read_bytes(), name="ein Gespräch.wav", format="csv")
    before = sorted((tmp_path / "work" / "results").rglob("*"))
    rows = client.get(f"{job}/rows").json()["rows"]
    table = client.get(f"{job}/result")
    assert (
        table.text.startswith("file,start,end,") and "ein%20Gespr%C3%A4ch.csv" in table.headers["content-disposition"]
    )
    made = client.get(f"{job}/result", params={"format": "json"}).json()
    np.testing.assert_allclose(made["rows"], rows, atol=1e-6)
    assert made["provenance"]["model"] == "lite"
    with zipfile.ZipFile(io.BytesIO(client.get(f"{job}/result", params={"format": "annotation"}).content)) as packed:
        assert len(packed.namelist()) == 6
    assert client.get(f"{job}/result", params={"format": "xml"}).status_code == 422
    assert sorted((tmp_path / "work" / "results").rglob("*")) == before


def test_a_request_of_novas_with_several_sessions(client: TestClient, data: Path) -> None:
    for name in ("s1", "s2"):
        (data / name).mkdir()
        signal, rate = soundfile.read(data / "talk.wav")
        soundfile.write(data / name / "a.wav", signal if name == "s1" else signal[: rate // 2], rate)
    entries = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri_template": "{session}/a.wav"},
        {"src": "file:annotation:continuous", "type": "output", "id": "valence", "uri_template": "{session}/v.annotation"},
    ]  # fmt: skip
    form = {"jobID": "two", "sessions": '["s1", "s2"]', "data": json.dumps(entries)}
    client.post("/process", data=request(data, data / "talk.wav") | form)
    job = ended(client, "two")
    assert client.get(f"{job}/sessions").json() == ["s1", "s2"]
    first, second = (client.get(f"{job}/rows", params={"session": number}).json() for number in (0, 1))
    assert len(first["rows"]) == 25 and len(second["rows"]) == 12
    for row in first["rows"]:  # only valence was asked for
        assert row[2] is None and row[3] is None and row[4] is not None
    assert client.get(f"{job}/waveform", params={"session": 1}).json()["duration"] == 0.5
    saved = client.get(f"{job}/result", params={"session": 1, "format": "csv"})
    assert "two%20s2.csv" in saved.headers["content-disposition"]
    assert len(saved.text.splitlines()) == 13


def test_a_finished_job_says_how_to_cite_it(client: TestClient, data: Path, lite: Model) -> None:
    """A prediction and a DISCOVER request, with the words and references of the command line."""
    job = posted(client, (data / "talk.wav").read_bytes(), channel="left")
    facts = client.get(job).json()["provenance"]
    answer = client.get(f"{job}/citation")
    assert answer.json() == {"methods": citation.methods(facts), "bibtex": citation.references(facts, lite.card)}
    assert "every 100 ms" in answer.json()["methods"] and "@" in answer.json()["bibtex"]
    client.post("/process", data=request(data, data / "talk.wav") | {"jobID": "old"})
    assert "every 40 ms" in client.get(f"{ended(client, 'old')}/citation").json()["methods"]


def test_a_job_that_made_no_values_cannot_be_cited(client: TestClient, data: Path) -> None:
    long = io.BytesIO()
    soundfile.write(long, np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], 16000 * 600), 16000, format="FLAC")
    files = {"file": ("long.flac", long.getvalue())}
    job = client.post("/v1/predictions", files=files, data={"wait": "false"}).json()["id"]
    client.post(f"/v1/jobs/{job}/cancel")
    answer = client.get(f"/v1/jobs/{job}/citation")
    assert answer.status_code == 409 and "canceled" in answer.json()["error"]
    assert client.get("/v1/jobs/none/citation").status_code == 404


def test_several_results_come_in_one_zip(client: TestClient, data: Path) -> None:
    clip = (data / "talk.wav").read_bytes()
    first, second = posted(client, clip), posted(client, clip, "Talk.flac", frame_step="200ms")
    ids = ",".join(job.rpartition("/")[2] for job in (first, second))
    answer = client.get("/v1/results", params={"jobs": f" {ids.replace(',', ' , ')} "})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store" and "results.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        tables = ["talk.csv", "Talk 2.csv"]  # some systems do not tell talk and Talk apart
        assert sorted(archive.namelist()) == sorted([*tables, *(f"{name}-metadata.json" for name in tables)])
        for job, name in ((first, "talk.csv"), (second, "Talk 2.csv")):
            assert archive.read(name) == client.get(f"{job}/result", params={"format": "csv"}).content
        assert json.loads(archive.read("Talk 2.csv-metadata.json"))["emow2v:provenance"]["frame_step_ms"] == 200
    with zipfile.ZipFile(
        io.BytesIO(client.get("/v1/results", params={"jobs": ids, "format": "json"}).content)
    ) as archive:
        assert sorted(archive.namelist()) == ["Talk 2.json", "talk.json"]


def test_results_that_cannot_come_together_are_a_sentence(client: TestClient, data: Path) -> None:
    clip = (data / "talk.wav").read_bytes()
    turns = posted(client, clip, unit="turns").rpartition("/")[2]
    for jobs, status, said in (
        ("", 422, "jobs has 0 ids; expected 1 to 200, with commas between them."),
        (",".join(map(str, range(201))), 422, "jobs has 201 ids; expected 1 to 200"),
        (f"{turns},never", 404, "No job 'never' is known"),
    ):
        answer = client.get("/v1/results", params={"jobs": jobs})
        assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    answer = client.get("/v1/results", params={"jobs": turns, "format": "annotation"})
    assert answer.status_code == 404 and answer.json()["error"].startswith(
        "talk.wav: The format annotation has a value"
    )
    assert list((data.parent / "work" / "results").glob("*.*")) == []  # nothing is left of it


@pytest.mark.parametrize("form", [{"speech": "true"}, {"start": "0.5s"}, {"unit": "files"}])
def test_embeddings_that_were_kept_are_the_models(
    client: TestClient, lite: Model, data: Path, form: dict[str, str]
) -> None:
    clip = (data / "talk.wav").read_bytes()
    job = posted(client, clip, embeddings="true", **form)
    assert client.get(f"{job}/rows").json()["embeddings"] is True
    answer = client.get(f"{job}/result", params={"format": "npz"})
    assert (
        'filename="talk.npz"' in answer.headers["content-disposition"] and answer.headers["cache-control"] == "no-store"
    )
    kept = np.load(io.BytesIO(answer.content), allow_pickle=False)
    framing = Framing.files() if "unit" in form else Framing(frame_step_ms=100, start_ms=500 if "start" in form else 0)
    expected = lite.predict(data / "talk.wav", framing=framing)
    np.testing.assert_allclose(kept["embeddings"], expected.embeddings, atol=1e-5)
    np.testing.assert_allclose(kept["starts"], expected.starts)
    answer = client.get(f"{job}/result", params={"format": "stream"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["talk.embeddings.stream", "talk.embeddings.stream~"]
        stream = np.frombuffer(archive.read("talk.embeddings.stream~"), "<f4").reshape(-1, 1024)
    skipped = 5 if "start" in form else 0  # row k of a stream stays at time k / sr
    np.testing.assert_array_equal(stream[skipped:], kept["embeddings"])
    assert not stream[:skipped].any()


def test_embeddings_that_were_not_kept_are_a_sentence(client: TestClient, data: Path) -> None:
    job = posted(client, (data / "talk.wav").read_bytes())
    assert client.get(f"{job}/rows").json()["embeddings"] is False
    for name in ("npz", "stream"):
        answer = client.get(f"{job}/result", params={"format": name})
        said = "The job kept no embeddings; expected one that was posted with embeddings=true."
        assert (answer.status_code, answer.json()["error"]) == (404, said)


def test_embeddings_of_turns_are_arrays_but_no_stream(client: TestClient, data: Path) -> None:
    job = posted(client, (data / "talk.wav").read_bytes(), unit="turns", embeddings="true")
    arrays = np.load(io.BytesIO(client.get(f"{job}/result", params={"format": "npz"}).content))
    assert arrays["embeddings"].shape == (client.get(f"{job}/rows").json()["total"], 1024)
    answer = client.get(f"{job}/result", params={"format": "stream"})
    assert answer.status_code == 404 and "turns have none" in answer.json()["error"]


def test_each_side_of_a_stereo_recording_is_seen(client: TestClient, data: Path) -> None:
    signal, rate = soundfile.read(data / "talk.wav", dtype="float32")
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([signal, -0.25 * signal], axis=1), rate, format="WAV", subtype="FLOAT")
    job = posted(client, stereo.getvalue())
    mixed, left, right = (
        client.get(f"{job}/waveform", params={"channel": channel}).json() for channel in ("", "left", "right")
    )
    assert [one["channels"] for one in (mixed, left, right)] == [2, 2, 2]
    assert [one["channel"] for one in (mixed, left, right)] == ["mix", "left", "right"]
    assert max(left["highest"]) == pytest.approx(signal.max(), abs=1e-4)
    assert min(right["lowest"]) == pytest.approx(-0.25 * signal.max(), abs=1e-4)
    assert max(mixed["highest"]) == pytest.approx(0.375 * signal.max(), abs=1e-4)
    job = posted(client, stereo.getvalue(), channel="right")
    assert client.get(f"{job}/waveform").json()["channel"] == "right"
    mono = posted(client, (data / "talk.wav").read_bytes())
    assert client.get(f"{mono}/waveform").json()["channels"] == 1
    answer = client.get(f"{mono}/waveform", params={"channel": "right"})
    assert answer.status_code == 404 and "has 1 channel" in answer.json()["error"]
