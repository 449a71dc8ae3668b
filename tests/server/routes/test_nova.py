import base64
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v import cards
from emow2v.cli.demo import request
from emow2v.errors import ModelError
from emow2v.formats.ssi_read import read_annotation, read_stream
from emow2v.model import Model, load
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import Block
from emow2v.server.run import Server
from emow2v.trajectory import Trajectory
from servers import app
from waiting import until

TRAINER = r"modules\emow2v\emow2v.trainer"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "example.flac").write_bytes(EXAMPLE.read_bytes())
    return folder


def wait(client: TestClient, job_id: str) -> int:
    def ended() -> int:
        status = int(client.post("/job_status", data={"jobID": job_id}).json()["status"])
        return status if status > 1 else 0

    return until(ended, "the job did not end")


def descriptors(folder: Path, **changes: object) -> list[dict[str, object]]:
    return json.loads(request(folder, folder / "example.flac")["data"])


def form(folder: Path, **changes: str) -> dict[str, str]:
    return request(folder, folder / "example.flac") | {"jobID": "job 1"} | changes


def short(folder: Path, seconds: float = 1.0, name: str = "short.wav") -> Path:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / name, signal[rate : rate + int(seconds * rate)], rate)
    return folder / name


def short_form(folder: Path, **changes: str) -> dict[str, str]:
    return request(folder, short(folder)) | {"jobID": "job 1"} | changes


@pytest.mark.quick
def test_the_published_request_as_published(client: TestClient, lite: Model, data: Path) -> None:
    answer = client.post("/process", data=form(data))
    assert answer.status_code == 200
    assert answer.text == '{"jobID":"job 1","success":"True"}\n'
    assert wait(client, "job 1") == 2
    trajectory = lite.predict(data / "example.flac")
    for column, name in enumerate(("arousal", "dominance", "valence")):
        annotation = read_annotation(data / f"example.{name}.annotation")
        assert annotation.sampling_rate == 25 and len(annotation) == 321
        np.testing.assert_allclose(annotation.values, trajectory.scores[:, column].clip(0, 1), atol=1e-5)
        # about 0 before somebody speaks
        assert ((annotation.confidence >= 0) & (annotation.confidence < 1)).all() and annotation.confidence.max() > 0.4
    stream = read_stream(data / "example.embeddings.stream")
    assert stream.data.shape == (321, 1024)
    np.testing.assert_allclose(stream.data, trajectory.embeddings, atol=1e-4)
    assert sorted(path.name for path in data.iterdir() if path.name.startswith(".")) == []


def test_the_reference_reads_the_four_results(client: TestClient, data: Path) -> None:
    handler = pytest.importorskip("discover_utils.data.handler.file_handler")
    client.post("/process", data=short_form(data))
    assert wait(client, "job 1") == 2
    reader = handler.FileHandler()
    for name in ("arousal", "dominance", "valence"):
        annotation = reader.load(data / f"short.{name}.annotation")
        assert annotation.data.shape == (25,) and annotation.annotation_scheme.sample_rate == 25
        assert ((annotation.data["conf"] > 0) & (annotation.data["conf"] < 1)).all()
    stream = reader.load(data / "short.embeddings.stream")
    assert stream.data.shape == (25, 1024) and stream.meta_data.sample_rate == 25


@pytest.mark.parametrize("batch_size", ["1", "7", "250"])
def test_the_batch_size_of_a_request_does_not_show(
    client: TestClient, lite: Model, data: Path, batch_size: str
) -> None:
    client.post("/process", data=short_form(data, options=json.dumps({"batch_size": batch_size})))
    assert wait(client, "job 1") == 2
    scores = lite.predict(data / "short.wav").scores
    for column, name in enumerate(("arousal", "dominance", "valence")):
        values = read_annotation(data / f"short.{name}.annotation").values
        np.testing.assert_allclose(values, scores[:, column].clip(0, 1), atol=1e-5)


def test_the_form_as_nova_sends_it(client: TestClient, data: Path) -> None:
    fields = short_form(data, leftContext="960", rightContext="0", frameSize="40", options='{"batch_size": 250}')
    fields |= {"force": "False", "sessions": '["dummy_session"]', "dataset": "d", "dbPassword": "s3cret", "dbHost": "h"}
    multipart = {name: (None, value) for name, value in fields.items()}
    assert client.post("/process", files=multipart).json()["success"] == "True"
    assert wait(client, "job 1") == 2
    log = client.post("/log", data={"jobID": "job 1"}).json()["message"]
    assert "s3cret" not in log and "****" in log and "finished" in log
    assert "s3cret" not in client.get("/job_status_all").text


def test_both_names_of_the_stream_and_one_output_alone(client: TestClient, data: Path) -> None:
    short(data)
    for number, name in enumerate(("embedding", "embeddings")):
        entries = [one for one in descriptors(data) if one["id"] in ("audio", "embedding")]
        entries[0]["uri"] = str(data / "short.wav")
        entries[1] |= {"id": name, "uri": f"new/folder {number}/é.stream"}
        assert client.post("/process", data=form(data, jobID=name, data=json.dumps(entries))).status_code == 200
        assert wait(client, name) == 2
        assert read_stream(data / f"new/folder {number}/é.stream").data.shape == (25, 1024)
    assert not list(data.glob("*.annotation"))


def test_roles_annotators_and_schemes_are_kept_and_provenance_is_written(client: TestClient, data: Path) -> None:
    entries = descriptors(data)
    entries[1] |= {"role": "Therapeut <1>", "annotator": "", "scheme": "erregung"}
    client.post("/process", data=form(data, data=json.dumps(entries), frameSize="1s", leftContext="0"))
    assert wait(client, "job 1") == 2
    annotation = read_annotation(data / "example.arousal.annotation")
    assert (annotation.role, annotation.name) == ("Therapeut <1>", "erregung")
    assert "lite" in annotation.annotator and "CC-BY-NC-SA-4.0" in annotation.description


def test_rows_before_start_have_confidence_zero(client: TestClient, data: Path) -> None:
    client.post("/process", data=short_form(data, start="400ms", end="800ms"))
    assert wait(client, "job 1") == 2
    annotation = read_annotation(data / "short.arousal.annotation")
    assert len(annotation) == 20
    assert (annotation.values[:10] == 0).all() and (annotation.confidence[:10] == 0).all()
    assert (annotation.confidence[10:] > 0).all() and (annotation.values[10:] != 0).any()


def test_one_value_for_the_whole_file(client: TestClient, data: Path) -> None:
    client.post("/process", data=short_form(data, frameSize="0"))
    assert wait(client, "job 1") == 2
    annotation = read_annotation(data / "short.arousal.annotation")
    assert len(annotation) == 1 and annotation.sampling_rate == pytest.approx(1.0)


def test_shared_context_when_the_request_or_the_server_says_so(windows: Model, data: Path, tmp_path: Path) -> None:
    expected = {one: windows.predict(short(data), context=one).scores for one in ("window", "shared")}
    assert np.abs(expected["window"] - expected["shared"]).max() > 0.01
    cases = [
        ("window", '{"context": "shared"}', "shared"),
        ("shared", "", "shared"),
        ("shared", '{"context": "window"}', "window"),
    ]
    for served, options, context in cases:
        one = app(windows.card, [data], tmp_path / served, lambda name: windows, context=served)
        with TestClient(one) as client:
            client.post("/process", data=short_form(data, options=options))
            assert wait(client, "job 1") == 2
            annotation = read_annotation(data / "short.valence.annotation")
            np.testing.assert_allclose(annotation.values, expected[context][:, 2].clip(0, 1), atol=1e-5)
            assert ("shared context" in annotation.description) == (context == "shared")
            # of one value over everything nothing could be shared: the server's own wish gives way
            if not options:
                client.post("/process", data=short_form(data, frameSize="0"))
                assert wait(client, "job 1") == 2


def test_several_sessions(client: TestClient, data: Path) -> None:
    for name in ("s1", "s2"):
        (data / "corpus" / name).mkdir(parents=True)
        short(data / "corpus" / name, name="audio.wav")
    entries = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri_template": "{dataset}/{session}/audio.wav"},
        {"src": "file:annotation:continuous", "type": "output", "id": "arousal", "uri_template": "{dataset}/{session}/a.annotation"},
    ]  # fmt: skip
    fields = {"jobID": "many", "trainerFilePath": TRAINER, "dataset": "corpus", "sessions": '["s1", "s2"]'}
    client.post("/process", data=fields | {"data": json.dumps(entries)})
    assert wait(client, "many") == 2
    assert all(len(read_annotation(data / "corpus" / name / "a.annotation")) == 25 for name in ("s1", "s2"))
    entries[1] |= {"uri_template": None, "uri": "a.annotation"}
    refused = client.post("/process", data=fields | {"jobID": "clash", "data": json.dumps(entries)})
    assert refused.status_code == 400 and "Two outputs go to" in refused.json()["error"]


def test_upload_and_fetch(client: TestClient, data: Path, tmp_path: Path) -> None:
    name = client.post("/upload", files={"file": ("Gespräch 1.WAV", short(data).read_bytes())}).text
    assert name.endswith(".WAV") and "/" not in name
    entries = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": name},
        {"src": "request:annotation:continuous", "type": "output", "id": "arousal", "data": ""},
        {"src": "request:stream:ssistream", "type": "output", "id": "embedding", "name": "../../evil"},
    ]
    client.post("/process", data={"jobID": "fetch", "trainerFilePath": "emow2v.trainer", "data": json.dumps(entries)})
    assert wait(client, "fetch") == 2
    answer = client.post("/fetch_result", data={"jobID": "fetch", "delete_after_download": "True"})
    assert answer.headers["content-type"] == "application/x-zip-compressed"
    assert 'filename="fetch.zip"' in answer.headers["content-disposition"]
    members = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert len(members) == 4 and all(member.startswith("fetch/dummy_dataset/dummy_session/") for member in members)
    assert not any(".." in member for member in members)
    assert client.post("/fetch_result", data={"jobID": "fetch"}).status_code == 404
    assert not list((tmp_path / "work" / "results").glob("**/*.zip"))


def test_audio_inside_the_request(client: TestClient, data: Path) -> None:
    payload = base64.b64encode(short(data).read_bytes()).decode()
    entries = [
        {"src": "request:stream:audio", "type": "input", "id": "audio", "data": payload},
        {"src": "file:annotation:continuous", "type": "output", "id": "valence", "uri": "v.annotation"},
    ]
    client.post("/process", data={"jobID": "inline", "trainerFilePath": TRAINER, "data": json.dumps(entries)})
    assert wait(client, "inline") == 2
    assert len(read_annotation(data / "v.annotation")) == 25


def changed(number: int, **changes: object):
    def change(folder: Path) -> dict[str, str]:
        entries = descriptors(folder)
        entries[number] |= changes
        return {"data": json.dumps(entries)}

    return change


REFUSALS = {
    "no jobID": (lambda folder: {"jobID": ""}, "jobID is missing"),
    "unsafe jobID": (lambda folder: {"jobID": "../../x"}, "jobID '../../x' is not usable"),
    "no trainer": (lambda folder: {"trainerFilePath": ""}, "trainerFilePath is missing"),
    "other trainer": (lambda folder: {"trainerFilePath": r"..\evil\evil.trainer"}, "is unknown; expected modules/emow2v"),
    "no data": (lambda folder: {"data": ""}, "data is missing"),
    "data not JSON": (lambda folder: {"data": "[{"}, "not JSON"),
    "data not a list": (lambda folder: {"data": "{}"}, "not a JSON list"),
    "no input": (lambda folder: {"data": "[]"}, "names 0 inputs"),
    "no output": (lambda folder: {"data": json.dumps(descriptors(folder)[:1])}, "no active output"),
    "unknown output": (changed(1, id="joy"), "output id 'joy' is unknown; expected arousal"),
    "wrong type": (changed(1, src="file:stream:ssistream"), "expected annotation:Continuous"),
    "wrong ending": (changed(1, uri="a.txt"), "does not end in .annotation"),
    "missing input": (changed(0, uri="none.wav"), "does not exist"),
    "input elsewhere": (changed(0, uri="/etc/passwd"), "outside the data folders"),
    "output elsewhere": (changed(1, uri="/etc/x.annotation"), "outside the data folders"),
    "output climbing": (changed(1, uri="../x.annotation"), "outside the data folders"),
    "text as wav": (changed(0, uri="text.wav"), "not a recording that can be decoded"),
    "empty file": (changed(0, uri="empty.wav"), "is empty"),
    "folder as input": (changed(0, uri="."), "is a folder"),
    "shorter than a frame": (changed(0, uri="tiny.wav"), "too short: it lasts 30 ms"),
    "folder cannot be made": (changed(1, uri="text.wav/x/a.annotation"), "cannot be made"),
    "output is a folder": (changed(1, uri="folder.annotation"), "is a folder"),
    "same place twice": (changed(1, uri="example.valence.annotation"), "Two outputs go to"),
    "frameSize": (lambda folder: {"frameSize": "abc"}, "frame_size is 'abc'"),
    "window too long for sense": (lambda folder: {"frameSize": "1" * 40}, "less than a year"),
    "options": (lambda folder: {"options": "[]"}, "not a JSON object"),
    "batch_size": (lambda folder: {"options": '{"batch_size": 0}'}, "whole number above zero"),
    "context": (lambda folder: {"options": '{"context": "none"}'}, "context is 'none'; expected window or shared"),
    "shared context of one value": (
        lambda folder: {"options": '{"context": "shared"}', "frameSize": "0"}, "shares no context"
    ),
    "shared context of long windows": (
        lambda folder: {"options": '{"context": "shared"}', "frameSize": "8s"}, "are too long to share their context"
    ),
    "optStr": (lambda folder: {"optStr": "{batch_size:STRING:250}"}, "optStr holds"),
    "other model": (lambda folder: {"options": '{"model": "msp-dim"}'}, "The model 'msp-dim' is not here; expected lite"),
    "model as list": (lambda folder: {"options": '{"model": ["lite"]}'}, "is not here; expected lite"),
    "model as no": (lambda folder: {"options": '{"model": false}'}, "The model 'False' is not here"),
    "sessions": (lambda folder: {"sessions": "s1"}, "not a JSON list of names"),
    "database": (changed(0, src="db:stream:audio", name="audio", role="anna"), "dbHost is missing"),
    "database, no role": (changed(0, src="db:stream:audio", name="audio"), "The input 'audio' has no role"),
    "database, no annotator": (changed(1, src="db:annotation", scheme="a", role="b"), "has no annotator"),
    "database, text": (changed(1, src="db:text"), "expected db:stream or db:annotation"),
    "address": (changed(0, src="url:stream:audio", uri="http://localhost/x.wav"), "this server allows no host"),
    "lone surrogate": (changed(0, uri="\ud800.wav"), "half a character"),
    "name too long": (changed(0, uri="x" * 300 + ".wav"), "is too long"),
    "path too deep": (changed(1, uri="a/" * 2000 + "x.annotation"), "is too long"),
    "option file": (changed(0, uri="@/etc/passwd"), "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_requests_are_refused_at_once_in_one_sentence(client: TestClient, data: Path, name: str) -> None:
    (data / "text.wav").write_text("this is no sound")
    (data / "empty.wav").touch()
    (data / "folder.annotation").mkdir()
    soundfile.write(data / "tiny.wav", np.zeros(480), 16000)
    change, sentence = REFUSALS[name]
    before = sorted(data.rglob("*"))
    answer = client.post("/process", data=form(data) | change(data))
    assert answer.status_code == 400
    body = answer.json()
    assert body.keys() == {"success", "error"} and body["success"] == "failed"
    assert sentence in body["error"] and "\n" not in body["error"]
    assert sorted(data.rglob("*")) == before
    assert client.get("/job_status_all").json() == []


def test_bodies_of_the_reference(client: TestClient) -> None:
    assert client.post("/job_status", data={"jobID": "never"}).json() == {"status": 0, "known": "false"}
    assert client.post("/log", data={"jobID": "never"}).text == '{"message":"No log for the given parameters found."}\n'
    answer = client.get("/log/never")
    assert (answer.status_code, answer.text) == (404, "Log file not found for job never")
    assert client.get("/job_status_all").text == "[]\n"
    assert client.get("/data").text == '{"data":[]}\n'
    assert client.post("/api/update_progress", json={"job_key": "x", "progress": "1/1"}).text == '{"success":true}\n'
    assert client.post("/api/update_progress", json={}).status_code == 400
    assert client.post("/api/update_progress", data={"job_key": "x"}).status_code == 415


def test_errors_are_json_with_a_4xx(client: TestClient) -> None:
    for answer, status in [
        (client.post("/cancel", data={"jobID": "never"}), 404),
        (client.post("/cancel"), 404),
        (client.post("/fetch_result", data={"jobID": "../../etc"}), 404),
        (client.post("/upload"), 400),
        (client.post("/cml_info", data={"input_filter": "[stream:video]"}), 400),
        (client.post("/process", json={"jobID": "x"}), 415),
        (client.post("/api/update_progress", content="[" * 100000, headers={"content-type": "application/json"}), 400),
        (client.get("/process"), 405),
        (client.get("/predict"), 404),
    ]:
        assert answer.status_code == status
        assert answer.json()["error"]


def test_cml_info(client: TestClient) -> None:
    assert "modules/emow2v/emow2v.trainer" in client.post("/cml_info").json()["trainer_ok"]


class Gate:
    """Lets the first block of every prediction wait until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        predict = Model.predict

        def gated(model: Model, *arguments: Any, **options: Any) -> Trajectory:
            trajectory = predict(model, *arguments, **options)
            blocks = trajectory._blocks

            def wait() -> Iterator[Block]:
                for block in blocks():
                    self.reached.set()
                    assert self.open.wait(60)
                    yield block

            trajectory._blocks = wait
            return trajectory

        # the worker makes models of its own, whose engines keep what they compute
        monkeypatch.setattr(Model, "predict", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


@pytest.fixture
def slow(gate: Gate, lite: Model, data: Path, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app(lite.card, [data], tmp_path / "work", lambda name: lite)) as client:
        yield client
        gate.open.set()


def test_cancel_in_every_state(slow: TestClient, gate: Gate, data: Path) -> None:
    fields = short_form(data)
    slow.post("/process", data=fields | {"jobID": "running"})
    slow.post("/process", data=fields | {"jobID": "queued"} | {"data": form(data)["data"]})
    assert gate.reached.wait(60)
    for job_id in ("queued", "running", "running"):
        assert slow.post("/cancel", data={"jobID": job_id}).text == '{"success":"true"}\n'
        assert slow.post("/job_status", data={"jobID": job_id}).json()["status"] == 4
    gate.open.set()
    after = {"jobID": "after", "data": json.dumps(descriptors(data)[:2]), "frameSize": "1s"}
    slow.post("/process", data=fields | after)
    assert wait(slow, "after") == 2  # the worker went on
    assert [slow.post("/job_status", data={"jobID": job}).json()["status"] for job in ("running", "queued")] == [4, 4]
    assert not list(data.glob("short.*annotation*")) and not list(data.glob("*.stream*"))
    assert not [path for path in data.iterdir() if path.name.startswith(".")]
    assert slow.post("/cancel", data={"jobID": "after"}).json()["success"] == "false"
    assert slow.post("/job_status", data={"jobID": "after"}).json()["status"] == 2


def test_an_id_is_refused_while_its_job_runs_and_free_afterwards(slow: TestClient, gate: Gate, data: Path) -> None:
    fields = short_form(data)
    slow.post("/process", data=fields)
    assert gate.reached.wait(60)
    answer = slow.post("/process", data=fields)
    assert answer.status_code == 400 and "A job 'job 1' is running" in answer.json()["error"]
    assert slow.post("/fetch_result", data={"jobID": "job 1"}).status_code == 404
    gate.open.set()
    assert wait(slow, "job 1") == 2
    assert slow.post("/process", data=fields).status_code == 200
    assert wait(slow, "job 1") == 2
    assert len(slow.get("/data").json()["data"]) == 1


def test_job_objects(client: TestClient, data: Path) -> None:
    client.post("/process", data=short_form(data))
    assert wait(client, "job 1") == 2
    (job,) = client.get("/job_status_all").json()
    assert (job["job_key"], job["status"], job["module_name"], job["was_canceled"]) == (
        "job 1",
        "FINISHED",
        "emow2v",
        False,
    )
    assert job["progress"] == "25/25" and job["start_time"].endswith("Z") and job["end_time"].endswith("Z")
    assert client.get("/log/job 1").text.endswith("finished\n")


def test_a_job_that_fails_says_why_and_leaves_old_results(client: TestClient, data: Path, monkeypatch) -> None:
    client.post("/process", data=short_form(data))
    assert wait(client, "job 1") == 2
    before = {path: path.read_bytes() for path in data.glob("short.*")}

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("emow2v.engines.openvino.OpenVINOEngine.run_parallel", broken)
    monkeypatch.setattr("emow2v.engines.openvino.OpenVINOEngine.run", broken)
    monkeypatch.setattr("emow2v.engines.openvino.NamedGraph.__call__", broken)
    client.post("/process", data=short_form(data))
    assert wait(client, "job 1") == 3
    assert "out of luck" in client.post("/log", data={"jobID": "job 1"}).json()["message"]
    assert {path: path.read_bytes() for path in data.glob("short.*")} == before
    assert not [path for path in data.iterdir() if path.name.startswith(".")]


def test_a_long_computation_stops_when_it_is_cancelled(client: TestClient, data: Path) -> None:
    """Windows of ten minutes over a clip would take hours; cancelling must not wait for them."""
    client.post("/process", data=form(data, jobID="endless", leftContext="600s"))
    until(lambda: client.post("/job_status", data={"jobID": "endless"}).json()["status"] == 1)
    assert client.post("/cancel", data={"jobID": "endless"}).json() == {"success": "true"}
    assert client.post("/process", data=short_form(data, frameSize="1s", leftContext="0")).status_code == 200
    assert wait(client, "job 1") == 2
    assert not list(data.glob("example.*annotation*"))


def test_a_precision_without_its_package_is_told_at_the_start() -> None:
    with pytest.raises(ModelError, match="no int8 package of lite here"):
        Server(port=0, precision="int8")


def test_an_engine_that_cannot_run_the_model_is_told_at_the_start(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(cards.find("lite").folder, tmp_path / "graphs")
    content = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**content, "network": {}}))  # a package of graphs alone
    with pytest.raises(ModelError, match="holds no weights for PyTorch"):
        Server(port=0, model=str(folder), engine="torch")
    with pytest.raises(ModelError, match="emow2v export"):
        Server(port=0, model=str(checkpoint), engine="openvino")


def test_a_model_served_from_a_folder_shares_context(package: Path, data: Path, tmp_path: Path) -> None:
    """Its card's name need not be one that is found by name."""
    card = cards.find(package)
    with TestClient(app(card, [data], tmp_path / "work", lambda name: load(package), context="shared")) as client:
        client.post("/process", data=short_form(data))
        assert wait(client, "job 1") == 2
