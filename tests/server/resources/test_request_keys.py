"""Requests that are sent again with their key: one job, whatever happens between them."""

import http.client
import io
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from emow2v.errors import FormatError
from emow2v.model import Model
from emow2v.server.jobs.prediction import PredictionTask
from emow2v.server.jobs.store import Store
from emow2v.server.resources.request_keys import request_key
from killed_servers import Served, talk
from laboratories import Laboratory, idle, short
from waiting import until

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    made = idle(tmp_path)
    short(made.data, "talk.wav")
    short(made.data, "other.wav", 2)
    yield made
    made.store.close()


def send(client: TestClient, key: dict[str, str] = KEY, sound: bytes = b"", **form: str) -> httpx.Response:
    files = {"file": ("talk.wav", sound)} if sound else None
    data = {"wait": "false", **form} if sound else {"path": "talk.wav", "wait": "false", **form}
    return client.post("/v1/predictions", headers=key, data=data, files=files)


def test_a_request_that_is_sent_again_gives_its_job(laboratory: Laboratory) -> None:
    anna, sound = laboratory.client("anna"), (laboratory.data / "talk.wav").read_bytes()
    first = send(anna, sound=sound)
    assert first.status_code == 202 and "idempotent-replayed" not in first.headers
    again = send(anna, sound=sound)
    assert again.status_code == 202 and again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true" and again.headers["location"] == first.headers["location"]
    assert len(laboratory.store.all()) == 1
    assert len(list((laboratory.work / "people" / "anna" / "uploads").iterdir())) == 1
    assert send(anna, {"Idempotency-Key": "another"}, sound=sound).json()["id"] != first.json()["id"]
    assert send(anna, {}, sound=sound).json()["id"] != send(anna, {}, sound=sound).json()["id"]
    posts = [json.loads(line) for line in (laboratory.work / "audit.ndjson").read_text().splitlines()]
    assert [one["action"] for one in posts] == ["post"] * 4  # what was sent again has posted nothing


def test_another_request_with_the_key_is_refused(laboratory: Laboratory) -> None:
    anna, sound = laboratory.client("anna"), (laboratory.data / "talk.wav").read_bytes()
    first = send(anna, sound=sound)
    changed = bytearray(sound)
    changed[-1] ^= 1
    others = [
        send(anna, sound=bytes(changed)),
        send(anna, sound=sound, format="csv"),
        send(anna),
        anna.post("/v1/predictions", headers=KEY, data={"wait": "false"}, files={"file": ("b.wav", sound)}),
    ]
    for other in others:
        assert other.status_code == 422 and "came with another request" in other.json()["error"]
    assert [job.id for job in laboratory.store.all()] == [first.json()["id"]]
    assert len(list((laboratory.work / "people" / "anna" / "uploads").iterdir())) == 1


def test_a_key_belongs_to_a_name_and_goes_with_its_job(laboratory: Laboratory) -> None:
    anna, bob = laboratory.client("anna"), laboratory.client("bob")
    first = send(anna).json()["id"]
    assert send(bob, format="csv").status_code == 202  # bob's key
    assert KEY["Idempotency-Key"].encode() not in laboratory.store.path.read_bytes()
    assert anna.delete(f"/v1/jobs/{first}").status_code == 200
    second = send(anna, format="ndjson")
    assert second.status_code == 202 and second.json()["id"] != first
    rows = laboratory.store._data.rows("SELECT owner FROM keys ORDER BY owner")
    assert [row["owner"] for row in rows] == ["anna", "bob"]


def test_a_request_that_was_refused_has_no_key(laboratory: Laboratory) -> None:
    anna = laboratory.client("anna")
    assert send(anna, path="none.wav").status_code == 400
    assert send(anna).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
def test_keys_that_cannot_be_one(laboratory: Laboratory, key: str) -> None:
    refused = send(laboratory.client("anna"), {"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert refused.status_code == 422 and "1 to 255 printable" in refused.json()["error"]
    assert laboratory.store.all() == []


def test_a_key_that_comes_twice(laboratory: Laboratory) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    refused = laboratory.client("anna").post("/v1/predictions", headers=headers, data={"path": "talk.wav"})
    assert refused.status_code == 422 and laboratory.store.all() == []


def test_a_request_that_comes_at_once_gives_one_job(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are checked before the first is queued: what decides is the transaction."""
    sound, check = (laboratory.data / "talk.wav").read_bytes(), PredictionTask.check
    together = threading.Barrier(4)

    def checked(task: PredictionTask, *args: object) -> float:
        together.wait(300)
        return check(task, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PredictionTask, "check", checked)
    with laboratory.client("anna") as anna, ThreadPoolExecutor(4) as pool:  # one loop for all of them
        laboratory_answers = [one.result() for one in [pool.submit(send, anna, sound=sound) for _ in range(4)]]
    assert {one.status_code for one in laboratory_answers} == {202}
    assert len({one.json()["id"] for one in laboratory_answers}) == 1
    assert sum("idempotent-replayed" in one.headers for one in laboratory_answers) == 3
    assert len(Store(laboratory.store.path).all()) == 1
    assert len(list((laboratory.work / "people" / "anna" / "uploads").iterdir())) == 1


def test_a_client_that_waits_again_gets_the_result(client: TestClient, lite: Model) -> None:
    first = send(client, wait="true", format="csv", unit="files")
    again = send(client, wait="true", format="csv", unit="files")
    assert first.status_code == again.status_code == 200 and first.content == again.content and first.content
    later = send(client, wait="false", format="csv", unit="files")  # waiting is no part of what the job is
    assert later.status_code == 202 and later.json()["state"] == "finished"
    assert len(client.get("/v1/jobs").json()) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_job_of_a_client_that_went_away_goes_on_where_it_has_a_key(tmp_path: Path) -> None:
    talk(tmp_path, 60)
    served = Served(tmp_path)
    served.start()
    try:
        form = {"frame_step": "40ms"}
        for key, state in ((KEY, "finished"), ({}, "canceled")):
            known = [job["id"] for job in served.client.get("/v1/jobs").json()]
            files = {"file": ("talk.wav", (tmp_path / "talk.wav").read_bytes())}
            request = served.client.build_request("POST", "/v1/predictions", headers=key, data=form, files=files)
            waiting = http.client.HTTPConnection(request.url.host, request.url.port or 80)
            waiting.request("POST", request.url.path, request.read(), dict(request.headers))
            until(lambda known=known: len(served.client.get("/v1/jobs").json()) > len(known))  # type: ignore[misc]
            waiting.close()
            (name,) = (job["id"] for job in served.client.get("/v1/jobs").json() if job["id"] not in known)
            assert served.ended(name)["state"] == state
    finally:
        served.stop()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_kill_between_the_requests_makes_no_second_job(tmp_path: Path) -> None:
    talk(tmp_path, 15)
    served = Served(tmp_path)
    served.start()
    try:
        content = (tmp_path / "talk.wav").read_bytes()

        def post(wait: str) -> httpx.Response:
            files = {"file": ("talk.wav", io.BytesIO(content))}
            return served.client.post("/v1/predictions", headers=KEY, data={"wait": wait}, files=files)

        name = post("false").json()["id"]
        until(lambda: served.job(name)["rows"] > 0)
        served.kill_server()
        served.start()
        answer = post("true")
        assert answer.status_code == 200 and answer.headers["idempotent-replayed"] == "true"
        jobs = served.client.get("/v1/jobs").json()
        assert [(job["id"], job["state"]) for job in jobs] == [(name, "finished")]
        assert answer.json() == served.client.get(f"/v1/jobs/{name}/result").json()
    finally:
        served.stop()


def test_the_hash_tells_fields_and_files_apart() -> None:
    def hashed(fields: dict[str, str], *files: tuple[str, str, bytes]) -> str:
        opened = [(field, name, io.BytesIO(content)) for field, name, content in files]
        key = request_key(["k"], "route", fields, opened)
        assert key is not None and all(file.tell() == 0 for _, _, file in opened)
        return key.request

    cases = [
        hashed({}), hashed({"a": "b"}), hashed({"a": "", "b": ""}), hashed({}, ("f", "n", b"ab"), ("f", "n", b"c")),
        hashed({}, ("f", "n", b"a"), ("f", "n", b"bc")), hashed({}, ("g", "n", b"ab"), ("f", "n", b"c")),
        hashed({}, ("f", "m", b"ab"), ("f", "n", b"c")), hashed({}, ("f", "n", b"c"), ("f", "n", b"ab")),
    ]  # fmt: skip
    assert len({*cases}) == len(cases)
    assert hashed({"a": "1", "b": "2"}) == hashed({"b": "2", "a": "1"})
    assert request_key([], "route", {}, []) is None
    with pytest.raises(FormatError):
        request_key(["a", "a"], "route", {}, [])
