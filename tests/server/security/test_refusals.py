"""The log of refusals: each with its reason, none with what clients sent, and not without an end."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import JSONResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.security.refusals import MOST, Refusals, without_values
from servers import app

TOKEN, SECRET = "correct-horse", "hunter2-battery"
MINE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def client(lite: Model, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite, token=TOKEN)) as asking:
        yield asking


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("refused")]


def written(caplog: pytest.LogCaptureFixture) -> str:
    """All that the server has logged; the client of the tests logs, too."""
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("emow2v"))


def test_each_refusal_is_a_line_with_its_reason(
    client: TestClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    shutil.copyfile(EXAMPLE, tmp_path / "x.flac")
    caplog.set_level(logging.INFO)
    client.get("/v1/jobs", headers={"Authorization": f"Bearer {SECRET}"})
    client.post("/job_status", data={"jobID": "a", "token": SECRET})
    client.post("/v1/predictions", data={"batchsize": SECRET}, headers=MINE)
    client.post("/v1/predictions", data={"frame_step": SECRET, "path": "x.flac"}, headers=MINE)
    client.get(f"/v1/jobs?limit={SECRET}", headers=MINE)
    client.post("/cancel", data={"jobID": "a"}, headers=MINE | {"Origin": "https://evil.example"})
    client.post("/login", data={"token": SECRET})
    client.post("/process", data={"jobID": "a", "data": f"[{SECRET}]", "trainerFilePath": SECRET}, headers=MINE)
    told = lines(caplog)
    expected = [
        ("GET /v1/jobs: 401", "The token is missing or wrong"),
        ("POST /job_status: 401", "The token is missing or wrong"),
        ("POST /v1/predictions: 422", "unknown"),
        ("POST /v1/predictions: 4", "frame_step is '...'"),
        ("GET /v1/jobs: 422", "limit is '...'; expected a whole number"),
        ("POST /cancel: 403", "A page of another site (evil.example"),
        ("POST /login: 401", "Unauthorized"),
        ("POST /process: 400", "expected"),
    ]
    assert len(told) == len(expected)
    for line, (begin, reason) in zip(told, expected, strict=True):
        assert line.startswith(f"refused: {begin}") and reason in line, line
    said = written(caplog)
    assert SECRET not in said and TOKEN not in said
    refused = [record for record in caplog.records if record.getMessage().startswith("refused")]
    assert {record.client for record in refused} == {"testclient"}  # type: ignore[attr-defined]
    assert [record.levelname for record in refused[:3]] == ["WARNING", "WARNING", "INFO"]


def test_answers_that_are_no_refusals_are_no_lines(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert client.get("/v1/jobs", headers=MINE).status_code == 200
    assert client.get("/", headers={"Accept": "text/html"}, follow_redirects=False).status_code == 303
    assert lines(caplog) == []


def test_live_streams_are_refused_with_a_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with client.websocket_connect(f"/v1/stream?encoding={SECRET}", headers=MINE) as socket:
        assert SECRET in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
    with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/v1/stream"):
        pass
    told = lines(caplog)
    assert told[0] == "refused: live stream: encoding is '...'; expected s16le or f32le."
    assert told[1].startswith("refused: WebSocket /v1/stream: 401, The token is missing")
    assert SECRET not in written(caplog)


@pytest.mark.parametrize(
    ("sentence", "left"),
    [
        ("The form's charset is 'x'; expected utf-8.", "The form's charset is '...'; expected utf-8."),
        ("a is 'it's 'mine' here'; expected b.", "a is '...'; expected b."),
        ("'a\nb' and 'c'", "'...'"),
        ("No value; it's the server's.", "No value; it's the server's."),
    ],
)
def test_values_are_left_out(sentence: str, left: str) -> None:
    assert without_values(sentence) == left


def test_many_refusals_do_not_fill_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    refusing = TestClient(Refusals(JSONResponse({"error": "No."}, 404), lambda: now))
    for _ in range(MOST + 25):
        refusing.get("/a")
    assert len(lines(caplog)) == MOST
    now = 61.0
    refusing.get("/a")
    assert len(lines(caplog)) == MOST + 1 and "25 more refusals were not logged" in caplog.text
