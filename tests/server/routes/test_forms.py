"""Forms as clients send them: file names in every spelling, bodies that are no form, fields that nobody knows."""

import base64
import json
import tempfile
from email.header import Header
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from emow2v.cli.demo import request
from emow2v.server.routes.forms import file_name

JAPANESE = "会議の録音 2024.wav"
ENCODED = base64.b64encode(JAPANESE.encode()).decode()


@pytest.mark.parametrize(
    "header, name",
    [
        (f"form-data; name=\"file\"; filename*=utf-8''{quote(JAPANESE)}".encode(), JAPANESE),  # urllib3 before 2
        (  # .NET
            f'form-data; name="file"; filename="=?utf-8?B?{ENCODED}?="; filename*=utf-8\'\'{quote(JAPANESE)}'.encode(),
            JAPANESE,
        ),
        (f'form-data; name=file; filename="=?utf-8?B?{ENCODED}?="'.encode(), JAPANESE),
        (b'form-data; name=file; filename="=?iso-8859-1?Q?Gespr=E4ch_1.wav?="', "Gespräch 1.wav"),
        (f'form-data; name="file"; filename="{JAPANESE}"'.encode(), JAPANESE),  # browsers, curl
        ('form-data; name="file"; filename="Gespräch.wav"'.encode("latin-1"), "Gespräch.wav"),
        (b"form-data; name=file; filename*=ISO-8859-1'de'Gespr%E4ch.wav", "Gespräch.wav"),
        (b"form-data; name=file; filename*=utf-8''Gespr%E4ch.wav", "Gespräch.wav"),  # it is not what it says
        (b"form-data; name=file; filename*=klingon''Gespr%C3%A4ch.wav", "Gespräch.wav"),
        (b"form-data; name=file; filename*=Gespr%C3%A4ch.wav", "Gespräch.wav"),
        (b"form-data; name=file; filename*=\"utf-8''Gespr%C3%A4ch.wav\"", "Gespräch.wav"),
        (b"form-data; name=file; FileName*=UTF-8'en'a%20%22b%22.wav; filename=other.wav", 'a "b".wav'),
        (b"form-data; name=file; filename*0*=utf-8''Gespr%C3; filename*1*=%A4ch; filename*2=\".wav\"", "Gespräch.wav"),
        (b"form-data; name=file; filename*=hex''%41.wav", "A.wav"),  # a codec of Python's that is no charset
        (b'form-data; name=file; filename="a %22b%22 100%.wav"', 'a "b" 100%.wav'),  # as HTML writes quotes
        (b"form-data; name=file; filename=Gespr%C3%A4ch.wav", "Gespräch.wav"),
        (b'form-data; name=file; filename="C:\\Users\\me\\talk.wav"', "talk.wav"),
        (b'form-data; name=file; filename="a\\"b;c.wav"', 'a"b;c.wav'),
        (b'form-data; name=file; filename="C:/Users/me/talk.wav"', "talk.wav"),
        (b'form-data; name=file; filename="\\\\server\\share\\talk.wav"', "talk.wav"),
        (b'form-data; name=file; filename="..\\..\\talk.wav"', "talk.wav"),
        (b"form-data; name=file; filename*=utf-8''..%2F..%2Ftalk.wav", "talk.wav"),
        (b'form-data; name=file; filename="/home/me/talk.wav"', "talk.wav"),
        (b'form-data; name=file; filename="a/b: c.wav"', "a/b: c.wav"),
        (b"form-data; name=file; filename*=utf-8''%FF%FE.wav; filename=\"talk.wav\"", "talk.wav"),
        (b"form-data; name=file; filename=\"talk.wav\"; filename*=klingon''x.wav", "talk.wav"),
        (b"form-data; name=file; filename*=utf-8''; filename=talk.wav", "talk.wav"),
        (b'form-data; name="filename*=x"', None),
        (b'form-data; name="file"; filename=""', ""),
        (b"", None),
    ],
)
def test_the_name_of_a_file(header: bytes, name: str | None) -> None:
    assert file_name(header) == name


def test_python_writes_encoded_words_that_are_read() -> None:
    long = "sehr langes Gespräch über Gefühle " * 4 + ".wav"
    words = Header(long, "utf-8", maxlinelen=1000).encode(linesep="")
    assert file_name(f'form-data; name="file"; filename="{words}"'.encode()) == long


@pytest.mark.parametrize(
    "parameters",
    [
        f"filename*=utf-8''{quote(JAPANESE)}",
        f"filename=\"=?utf-8?B?{ENCODED}?=\"; filename*=utf-8''{quote(JAPANESE)}",
        f'filename="{JAPANESE}"',
    ],
)
def test_an_upload_keeps_its_name(client: TestClient, data: Path, parameters: str) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; {parameters}\r\n\r\n'.encode()
    wait = b'\r\n--x\r\nContent-Disposition: form-data; name="wait"\r\n\r\nfalse\r\n--x--\r\n'
    body = head + (data / "talk.wav").read_bytes() + wait
    posted = client.post("/v1/predictions", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert posted.status_code == 202 and posted.json()["name"] == JAPANESE, posted.text
    whole = head + (data / "talk.wav").read_bytes() + b"\r\n--x--\r\n"
    kept = client.post("/upload", content=whole, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert kept.status_code == 200 and kept.text.endswith(".wav")


@pytest.mark.parametrize(
    "field, near",
    [
        ("frameStep", "frame_step"),
        ("frame-step", "frame_step"),
        ("leftcontext", "left_context"),
        ("fromat", "format"),
        ("chanel", "channel"),
        ("webhook", ""),
        ("", ""),
    ],
)
def test_unknown_fields_are_refused_with_the_nearest(client: TestClient, field: str, near: str) -> None:
    answer = client.post("/v1/predictions", data={"path": "talk.wav", field: "500ms"})
    said = answer.json()["error"]
    assert answer.status_code == 422 and f"'{field}' is unknown" in said and "frame_step" in said
    assert ("did you mean" in said) == bool(near) and (not near or f"did you mean {near}?" in said)
    assert client.get("/v1/jobs").json() == []


def test_fields_elsewhere_twice_or_in_addresses(client: TestClient) -> None:
    for answer, words in (
        (client.post("/v1/predictions?frame_step=500ms", data={"path": "talk.wav"}), "send it as a form field"),
        (client.get("/v1/jobs?limti=3"), "did you mean limit?"),
        (client.get("/v1/jobs?page=2"), "'page' is unknown"),
        (client.get("/v1/jobs?limit=3&limit=4"), "came 2 times"),
        (client.get("/v1/models?model=lite"), "expected none"),
        (client.post("/v1/predictions", data={"path": "talk.wav", "unit": ["windows", "files"]}), "came 2 times"),
    ):
        assert answer.status_code == 422 and words in answer.json()["error"], answer.text
    with client.websocket_connect("/v1/stream?frameStep=500ms") as socket:
        assert "did you mean frame_step?" in socket.receive_json()["error"]
    with client.websocket_connect("/v1/stream?webhook=x") as socket:
        assert "'webhook' is unknown" in socket.receive_json()["error"]
    text = client.post("/v1/predictions", data={"file": "talk.wav"})  # the @ was forgotten
    assert text.status_code == 422 and "file=@talk.wav" in text.json()["error"]
    both = client.post("/v1/predictions", data={"path": "talk.wav"}, files={"file": ("a.wav", b"x")})
    assert both.status_code == 400 and "name 2 recordings" in both.json()["error"]


def test_what_a_discover_request_may_hold_beside_what_is_known(client: TestClient, data: Path) -> None:
    asked = request(data, data / "talk.wav") | {"jobID": "a"}
    near = client.post("/process", data=asked | {"options": json.dumps({"batchsize": 10})})
    assert near.status_code == 400 and "did you mean batch_size?" in near.json()["error"]
    taken = client.post("/process", data=asked | {"frameStep": "500ms", "jobType": "x", "options": '{"lamp": 1}'})
    assert taken.json()["success"] == "True"  # as the reference does, which NOVA of any age relies on
    assert (
        "field frame_step is unknown and was ignored; the nearest known field is frame_size" in taken.json()["notice"]
    )
    assert "option lamp is unknown and was ignored" in taken.json()["notice"]


@pytest.mark.parametrize("route", ["/process", "/job_status", "/log", "/cancel", "/v1/predictions", "/cml_info"])
def test_a_body_that_is_no_form_is_told_so(client: TestClient, route: str) -> None:
    for headers, body in (
        ({"Content-Type": "application/json"}, b'{"jobID": "a", "path": "talk.wav"}'),
        ({"Content-Type": "application/json; charset=utf-8"}, b'["jobID"]'),
        ({"Content-Type": "text/plain"}, b"jobID=a"),
        ({}, b"jobID=a"),
        ({"Content-Type": "application/octet-stream"}, b"RIFF" * 100),
    ):
        answer = client.post(route, content=body, headers=headers)
        assert answer.status_code == 415 and "expected a form" in answer.json()["error"], answer.text
        assert headers.get("Content-Type", "no Content-Type").partition(";")[0] in answer.json()["error"]


def test_empty_bodies_of_any_kind_are_empty_forms(client: TestClient) -> None:
    for headers, body in (
        ({}, b""),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "text/plain"}, b""),
    ):
        assert client.post("/cml_info", content=body, headers=headers).status_code == 200
        assert client.post("/job_status", content=body, headers=headers).json() == {"known": "false", "status": 0}


@pytest.mark.parametrize("route", ["/process", "/job_status", "/cancel", "/v1/predictions", "/upload"])
@pytest.mark.parametrize(
    "body", ['{"jobID": "a", "path": "talk.wav"}', ' {"a": "b=c&d"}', '["jobID"]', '{\n"path":"x"\n}']
)
def test_json_that_calls_itself_a_form_is_told_so(client: TestClient, route: str, body: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl -d sends it
    answer = client.post(route, content=body, headers=headers)
    assert answer.status_code == 415 and "looks like JSON" in answer.json()["error"], answer.text
    assert client.post("/cml_info", content="{}", headers=headers).status_code == 200


def test_no_field_of_a_discover_request_is_dropped_without_a_word(client: TestClient, data: Path) -> None:
    asked = request(data, data / "talk.wav") | {"jobID": "a"}
    for extra, words in (
        ({"frameSize": ["40ms", "80ms"]}, "The field 'frameSize' came twice; expected it once."),
        ({"frameSize": "40ms", "frame_size": "80ms"}, "'frame_size' came twice, once as 'frameSize'"),
        ({"sessions": ['["a"]', '["b"]']}, "'sessions' came twice"),
        ({"job_id": "b"}, "'job_id' came twice, once as 'jobID'"),
        ({"optStr": "channel=left;channel=right"}, "optStr holds 'channel' twice"),
    ):
        answer = client.post("/process", data=asked | extra)
        assert answer.status_code == 400 and words in answer.json()["error"], answer.text
    for route, query in (
        ("/process", "jobID=a"),
        ("/process", "frameSize=500ms"),
        ("/job_status", "jobID=a"),
        ("/fetch_result", "delete_after_download=True"),
        ("/cml_info", "input_filter=[]"),
    ):
        answer = client.post(f"{route}?{query}", data=asked)
        assert answer.status_code == 400 and "send it as a form field" in answer.json()["error"], answer.text
    assert client.post("/job_status?_=17", data={"jobID": "a"}).json() == {"known": "false", "status": 0}
    assert client.get("/v1/jobs").json() == []


def test_broken_multipart_says_what_is_expected(client: TestClient) -> None:
    for route in ("/v1/predictions", "/process", "/upload"):
        for kind in ("multipart/form-data", "multipart/form-data; boundary="):
            answer = client.post(route, content=b"x" * 400, headers={"Content-Type": kind})
            assert answer.status_code == 400 and "expected multipart/form-data as curl -F" in answer.json()["error"]
    two = client.post("/v1/predictions", files=[("file", ("a.wav", b"x")), ("file", ("b.wav", b"x"))])
    assert two.status_code == 422 and two.json()["error"] == "The field 'file' came 2 times; expected it once."
    four = client.post("/v1/predictions", files=[("segments", (f"{name}.eaf", b"x")) for name in "abcd"])
    assert four.status_code == 400 and "with at most 3 files " in four.json()["error"]


@pytest.mark.parametrize("route", ["/v1/predictions", "/upload", "/process", "/job_status"])
def test_who_hangs_up_in_the_middle_of_a_form_is_no_failure_of_the_server(client: TestClient, route: str) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"a" * 5000
    headers = [
        (b"host", b"testserver"),
        (b"content-type", b"multipart/form-data; boundary=x"),
        (b"content-length", b"9999"),
    ]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": route, "raw_path": route.encode(),
        "root_path": "", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": ("testserver", 80),
    }  # fmt: skip
    messages = [{"type": "http.request", "body": head, "more_body": True}, {"type": "http.disconnect"}]
    answers: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    async def hang_up() -> None:
        await client.app(scope, receive, send)

    assert client.portal is not None
    client.portal.call(hang_up)  # raises what would stand in the log with a traceback
    assert answers[0]["status"] == 400
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("wrap", ["\n", "\r\n", " ", "\n\t"])
def test_base64_may_be_wrapped(client: TestClient, data: Path, wrap: str) -> None:
    sound = base64.b64encode((data / "talk.wav").read_bytes()).decode()
    lines = wrap.join(sound[begin : begin + 76] for begin in range(0, len(sound), 76)) + wrap
    entries = [
        {"src": "request:stream:audio", "type": "input", "id": "audio", "data": lines},
        {"src": "request:annotation:continuous", "type": "output", "id": "arousal"},
    ]
    form = {"jobID": "a", "trainerFilePath": "emow2v.trainer", "data": json.dumps(entries)}
    answer = client.post("/process", data=form)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("place", ["/process", "/cml_info", "/upload", "/v1/predictions"])
@pytest.mark.parametrize(
    "end", [b"", b"\r\n--x--", b"\r\n--x\r\nContent-Disposition: form-data; name=b; filename=b\r\n\r\n"]
)
def test_no_file_of_a_form_stays_open(client: TestClient, monkeypatch, place: str, end: bytes) -> None:
    files = []

    class File(tempfile.SpooledTemporaryFile):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            files.append(self)

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", File)
    body = b"--x\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\nsound" + end
    client.post(place, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert files and all(file.closed for file in files)
