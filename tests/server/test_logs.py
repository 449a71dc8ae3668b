"""What a server says of itself: lines for people, or one JSON object a line; never a secret, never a line of somebody else's."""

import json
import logging
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest
import soundfile
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from emow2v.cli.demo import request
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.logs import JSONFormatter, TextFormatter, masked
from emow2v.storage import one_line
from waiting import until

TOKEN = "correct-horse-battery"


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelname": "INFO", "levelno": 20, "created": 0.5})
    made.__dict__.update(extra)
    return made


def test_a_message_stays_on_its_line() -> None:
    assert one_line("a\nb\r\n\tc\x1b[31m\u2028\x85\udcff ä") == "a\\nb\\r\\n\\tc\\x1b[31m\\u2028\\x85\\udcff ä"
    forged = "talk.wav\n2026-01-01 00:00:00,000 INFO job x: finished"
    assert "\n" not in TextFormatter().format(record(forged))
    assert json.loads(JSONFormatter().format(record(forged)))["message"] == forged
    assert "\n" not in JSONFormatter().format(record(forged))


def test_secrets_in_addresses_are_masked() -> None:
    text = '"WebSocket /v1/stream?token=abc&sampling_rate=16000&dbPassword=x%20y" [accepted]'
    assert masked(text) == '"WebSocket /v1/stream?token=****&sampling_rate=16000&dbPassword=****" [accepted]'
    assert masked("a token = b") == "a token = b"


def test_an_object_says_what_it_is_about() -> None:
    told = json.loads(JSONFormatter().format(record("job a: running", job="a", client="10.0.0.1")))
    assert told == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "INFO",
        "message": "job a: running",
        "job": "a",
        "client": "10.0.0.1",
    }
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        told = json.loads(JSONFormatter().format(record("it failed", exc_info=sys.exc_info())))
    assert "ValueError: broken\nhere" in told["error"] and "Traceback" in told["error"] and "job" not in told


def test_a_server_with_its_workers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "talk.wav", signal[:rate], rate)
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--data-dir", str(data), "--log-format", "json"]
    command += ["--work-dir", str(tmp_path / "work")]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=os.environ | {"EMOW2V_TOKEN": TOKEN}
        )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        url = found[0]

        def post(route: str, body: bytes, content_type: str = "application/x-www-form-urlencoded") -> dict[str, object]:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
            try:
                with urllib.request.urlopen(urllib.request.Request(url + route, body, headers), timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return json.load(error)

        form = request(data, data / "talk.wav") | {"jobID": "talk", "dbPassword": TOKEN, "token": TOKEN}
        assert post("/process", urllib.parse.urlencode(form).encode())["success"] == "True"
        forged = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a%0Ab.wav"\r\n\r\nno sound\r\n--x--\r\n'
        )
        assert "error" in post("/v1/predictions", forged, "multipart/form-data; boundary=x")
        until(lambda: post("/job_status", b"jobID=talk")["status"] == 2)
        socket = url.replace("http", "ws") + f"/v1/stream?token={TOKEN}"
        with connect(socket, additional_headers={"Authorization": f"Bearer {TOKEN}"}, open_timeout=120) as stream:
            stream.recv()
        with pytest.raises(InvalidStatus):
            connect(socket, open_timeout=120)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    text = log.read_text()
    assert TOKEN not in text and "/v1/stream?token=****" in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(datetime.fromisoformat(line["time"]).utcoffset().total_seconds() == 0 for line in lines)
    assert all(line["level"] and line["message"] for line in lines)
    refused = [line["message"] for line in lines if line["level"] in ("WARNING", "ERROR")]
    assert len(refused) == 1 and refused[0].startswith("refused: WebSocket /v1/stream: 401"), refused
    assert not any("reject" in line["message"] or '" 401' in line["message"] for line in lines)
    about = [line for line in lines if line.get("job") == "talk"]
    told = [line["message"].removeprefix("job talk: ") for line in about]
    assert sorted(told) == ["finished", "posted", "running"], told
    assert told.index("running") < told.index("finished")  # another process posts
    assert {line["client"] for line in about} == {"127.0.0.1"}
    assert any("Application startup complete" in line["message"] for line in lines), [line["message"] for line in lines]


@pytest.mark.parametrize("turn", ["\u202a", "\u202b", "\u202d", "\u202e", "\u2066", "\u2067"])
def test_no_name_reads_as_another(turn: str) -> None:
    """Signs that turn the direction of writing are seen as what they are; Arabic and Hebrew need none of them."""
    assert one_line(f"talk{turn}evil.wav") == f"talk\\u{ord(turn):04x}evil.wav"
    for name in ("مقابلة שלום.wav", "Bildschirm 9.41\u202fAM.mov", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}.wav"):
        assert one_line(name) == name
