"""NOVA's way through the server: https with a certificate that nobody signed, and multipart forms, as section 9 has it."""

import ast
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import soundfile

from emow2v.formats.ssi_read import read_annotation, read_stream
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.run import Server
from waiting import until

pytest.importorskip("cryptography")

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "spec" / "golden" / "http" / "16_nova_like.json"
OUTPUTS = (
    ("arousal", "annotation:continuous"),
    ("dominance", "annotation:continuous"),
    ("valence", "annotation:continuous"),
    ("embedding", "stream:SSIStream"),
)
# The fields of NOVA's /process, in its order.
FIELDS = (
    "jobID trainerFilePath dbHost dbPort dbUser dbPassword leftContext rightContext frameSize data options force sessions dataset"
).split()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / "talk.wav", signal[rate : 3 * rate], rate)
    return folder


@pytest.fixture
def nova(data: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work", tls_self_signed=True, nova_status=True)
    with (
        server.running() as url,
        httpx.Client(base_url=url, verify=False, timeout=60, trust_env=False) as client,  # NOVA checks nothing either
    ):
        assert url.startswith("https://")
        yield client


def form(client: httpx.Client, route: str, fields: dict[str, str]) -> httpx.Response:
    """A form as .NET's MultipartFormDataContent sends it."""
    parts = {name: (None, value, "text/plain; charset=utf-8") for name, value in fields.items()}
    if parts:
        return client.post(route, files=parts)  # type: ignore[arg-type]
    headers = {"Content-Type": 'multipart/form-data; boundary="empty"'}
    return client.post(route, content=b"--empty\r\n\r\n--empty--\r\n", headers=headers)


def flat(answer: httpx.Response) -> dict[str, str]:
    """NOVA reads answers into a dictionary of texts: nothing nested."""
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    parsed = answer.json()
    assert all(isinstance(value, str | int | float | bool) for value in parsed.values())
    return {name: str(value) for name, value in parsed.items()}


def followed(client: httpx.Client, job_id: str) -> tuple[int, str]:
    """/job_status and /log until the job has ended; NOVA asks every three seconds."""

    def told() -> tuple[int, str] | None:
        status = int(flat(form(client, "/job_status", {"jobID": job_id}))["status"])
        message = flat(form(client, "/log", {"jobID": job_id}))["message"]
        assert status in (0, 1, 2, 3)  # an index into four texts
        return (status, message) if status > 1 else None

    answer = until(told)
    assert answer is not None
    return answer


def listed(client: httpx.Client) -> tuple[str, dict[str, object]]:
    """The module as NOVA finds it, by its trainer's path."""
    ((path, text),) = form(client, "/cml_info", {}).json()["trainer_ok"].items()
    module = json.loads(text)
    assert module["info_trained"] and module["model_create"] and not module["model_multi_role_input"]
    assert {one["id"] for one in json.loads(module["meta_io"])} == {"audio", *(name for name, _ in OUTPUTS)}
    return path, module


def request(path: str, module: dict[str, object], data: list[dict[str, object]], job_id: str) -> dict[str, str]:
    """The fields of /process, with the module's own times as NOVA's text boxes hold them."""
    values = {
        "jobID": job_id, "trainerFilePath": path, "dbHost": "127.0.0.1", "dbPort": "27017", "dbUser": "user",
        "dbPassword": "unseen", "leftContext": str(module["meta_left_ctx"]), "rightContext": str(module["meta_right_ctx"]),
        "frameSize": str(module["meta_frame_step"]), "data": json.dumps(data), "options": '{"batch_size": 250}',
        "force": "False", "sessions": '["dummy_session"]', "dataset": "dummy_dataset",
    }  # fmt: skip
    assert list(values) == FIELDS
    return values


def test_from_the_list_of_modules_to_the_fetched_results(nova: httpx.Client, data: Path) -> None:
    path, module = listed(nova)
    uploaded = nova.post("/upload", files={"file": ("talk.wav", (data / "talk.wav").read_bytes())}).text
    source = {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": uploaded, "active": True}
    asked = [source] + [
        {"src": f"request:{kind}", "type": "output", "id": name, "data": "", "active": True} for name, kind in OUTPUTS
    ]
    assert flat(form(nova, "/process", request(path, module, asked, "12345678")))["success"] != "failed"
    status, log = followed(nova, "12345678")
    assert status == 2 and "finished" in log and "unseen" not in log
    answer = form(nova, "/fetch_result", {"jobID": "12345678", "delete_after_download": "True"})
    assert answer.headers["content-type"] == "application/x-zip-compressed"  # the one type for it that NOVA takes
    assert "filename=" in answer.headers["content-disposition"]
    members = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert len(members) == 8 and all(name.startswith("12345678/dummy_dataset/dummy_session/") for name in members)

    # the same settings give the same id; what goes wrong is said where NOVA looks
    assert flat(form(nova, "/process", request(path, module, asked, "12345678")))["success"] == "True"
    assert followed(nova, "12345678")[0] == 2
    refusal = form(nova, "/process", request(path, module, asked[:1], "12345679")).json()
    assert refusal["success"] == "failed" and "no active output" in refusal["error"]

    # cancelling, which NOVA does not look at the answer of
    (data / "long.wav").write_bytes(b"")
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "long.wav", list(signal) * 10, rate)
    form(nova, "/process", request(path, module, [source | {"uri": "long.wav"}, *asked[1:]], "87654321"))
    assert form(nova, "/cancel", {"jobID": "87654321"}).json() == {"success": "true"}
    assert followed(nova, "87654321")[0] == 3  # NOVA knows no 4
    assert form(nova, "/fetch_result", {"jobID": "87654321"}).status_code == 404


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recording of the reference lies beside the project (../shared)")
def test_the_recorded_sequence(nova: httpx.Client, data: Path) -> None:
    """Each recorded request again, with the values that the recording's own log tells; only folders and module are ours."""
    recorded = json.loads(RECORDED.read_text())
    values: dict[str, str] = {}
    for one in recorded:
        if one["request"]["path"] == "/log":
            line = json.loads(one["response"]["body"])["message"].splitlines()[0]
            values = ast.literal_eval(line.split(" INFO ", 1)[1])
    path, module = listed(nova)
    entries = json.loads(values["data"])
    for entry in entries:
        entry["uri"] = str(data / "talk.wav") if entry["type"] == "input" else str(data / Path(entry["uri"]).name)
    values |= {"trainerFilePath": path, "data": json.dumps(entries), "delete_after_download": "True"}
    for one in recorded:
        asked, route = one["request"], one["request"]["path"]
        if asked["method"] == "GET":
            assert nova.get(route).status_code == one["response"]["status"] == 200
            continue
        if route == "/process":
            assert list(asked["files"]) == FIELDS
        answer = form(nova, route, {name: values[name] for name in asked["files"]})
        if route == "/fetch_result":  # of files on the server's disk there is nothing to fetch: no 500 for that
            assert (answer.status_code, one["response"]["status"]) == (404, 500)
            continue
        told = json.loads(one["response"]["body"])
        assert told.items() <= answer.json().items() or route in ("/log", "/job_status")
        if route == "/process":
            assert followed(nova, values["jobID"])[0] == 2
        elif route == "/job_status":
            assert answer.json() == told == {"status": 2}
    for name in ("arousal", "dominance", "valence"):
        assert len(read_annotation(data / f"nova.{name}.annotation")) == 50
    assert read_stream(data / "nova.embeddings.stream").data.shape == (50, 1024)
    assert module["meta_frame_step"] == 40
