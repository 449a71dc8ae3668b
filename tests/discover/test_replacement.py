"""What somebody made by hand is not replaced by a request; what emow2v wrote itself is."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from emow2v.cli.demo import request
from emow2v.formats.ssi_read import read_annotation
from waiting import until

HEADER = '<annotation ssi-v="3"><info ftype="ASCII" size="2"/><meta role="" annotator="gold"/>'
SCHEME = '<scheme name="arousal" type="CONTINUOUS" sr="1" min="0" max="1"/></annotation>'


def ended(client: TestClient, job_id: str) -> int:
    def status() -> int:
        return int(client.post("/job_status", data={"jobID": job_id}).json()["status"])

    until(lambda: status() >= 2, "the job did not end")
    return status()


def make_gold(data: Path) -> tuple[Path, Path]:
    """An annotation as NOVA saves it, typed for hours."""
    header, values = data / "talk.arousal.annotation", data / "talk.arousal.annotation~"
    header.write_text(HEADER + SCHEME)
    values.write_text("0.5;1\n0.6;1\n")
    return header, values


def test_an_annotation_made_by_hand_stays_unless_the_request_says_otherwise(client: TestClient, data: Path) -> None:
    header, values = make_gold(data)
    before = header.read_bytes(), values.read_bytes()
    asked = request(data, data / "talk.wav") | {"jobID": "gold"}
    refused = client.post("/process", data=asked)
    assert refused.status_code == 400, refused.text
    said = refused.json()["error"]
    assert "talk.arousal.annotation" in said and 'options={"overwrite": true}' in said and "--overwrite" not in said
    assert (header.read_bytes(), values.read_bytes()) == before and client.get("/data").json() == {"data": []}
    for wrong in ("maybe", 2, []):
        answer = client.post("/process", data=asked | {"options": json.dumps({"overwrite": wrong})})
        assert answer.status_code == 400 and "expected true or false" in answer.json()["error"]
    for spelling in ({"options": json.dumps({"overwrite": False})}, {"optStr": "overwrite=False"}):
        assert client.post("/process", data=asked | spelling).status_code == 400
    taken = client.post("/process", data=asked | {"options": json.dumps({"overwrite": True, "batch_size": 10})})
    assert taken.status_code == 200 and ended(client, "gold") == 2
    assert len(read_annotation(header)) == 25


def test_the_same_request_again_replaces_its_own_results(client: TestClient, data: Path) -> None:
    asked = request(data, data / "talk.wav") | {"jobID": "again"}
    for _ in range(2):
        assert client.post("/process", data=asked).status_code == 200
        assert ended(client, "again") == 2
    values = data / "talk.valence.annotation~"
    values.write_text(values.read_text().replace("1.000000", "0.900000", 1) + "0.5;1\n")  # somebody corrects it
    refused = client.post("/process", data=asked)
    assert refused.status_code == 400 and "valence" in refused.json()["error"]


@pytest.mark.parametrize(
    "options", ['{"track": 0}', '{"track": "x"}', '{"channel": "each"}', '{"channel": "middle"}', '{"channel": -1}']
)
def test_no_such_track_or_channel(client: TestClient, data: Path, options: str) -> None:
    answer = client.post("/process", data=request(data, data / "talk.wav") | {"jobID": "a", "options": options})
    name = next(iter(json.loads(options)))
    assert answer.status_code == 400 and answer.json()["error"].startswith(f"{name} is ")
    field = {name: str(json.loads(options)[name])}
    answer = client.post("/v1/predictions", data={"path": "talk.wav"} | field)
    assert answer.status_code == 400 and answer.json()["error"].startswith(f"{name} is ")
