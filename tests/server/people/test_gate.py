"""Who comes in: named tokens, the single one, wrong ones, and what the audit log says of them."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from emow2v.errors import Emow2vError
from emow2v.server.people.attempts import MOST_WRONG
from emow2v.server.people.tokens import Tokens
from emow2v.server.run import Server
from emow2v.server.security.access import check_exposure
from laboratories import SINGLE, Laboratory, idle, short, to_fetch
from waiting import until


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Laboratory]:
    made = idle(tmp_path)
    yield made
    made.store.close()


def audit(served: Laboratory) -> list[dict[str, Any]]:
    path = served.work / "audit.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_every_token_opens_and_no_other(served: Laboratory) -> None:
    for name in ("anna", "bob", "boss", SINGLE):
        assert served.client(name).get("/v1/jobs").status_code == 200
    for wrong in ("", "x", "anna", served.tokens["anna"][:-1], "emow2v_"):
        client = served.client("")
        answer = client.get("/v1/jobs", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401 and "missing or wrong" in answer.json()["error"]
        assert client.post("/job_status", data={"jobID": "a", "token": wrong}).status_code == 401
    anna = served.tokens["anna"]
    assert served.client("").post("/job_status", data={"jobID": "a", "token": anna}).status_code == 200
    assert served.client("").get(f"/v1/jobs?token={anna}").status_code == 401


def test_the_cookie_of_the_log_in_is_whose_token_it_is(served: Laboratory) -> None:
    short(served.data)
    for name in ("anna", "bob"):
        client = served.client("")
        answer = client.post("/login", data={"token": served.tokens[name]})
        assert answer.status_code == 303 and "httponly" in answer.headers["set-cookie"].lower()
        assert client.post("/process", data=to_fetch(served.data, jobID=f"of-{name}")).status_code == 200
        assert [job["id"] for job in client.get("/v1/jobs").json()] == [f"of-{name}"]
    answer = served.client("").post("/login", data={"token": served.tokens["prometheus"]})
    assert answer.status_code == 403 and "/metrics only" in answer.text and "set-cookie" not in answer.headers
    assert served.client("").post("/login", data={"token": "wrong"}).status_code == 401
    stale = TestClient(served.app, cookies={"emow2v-token": "wrong"}, follow_redirects=False)
    answer = stale.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 303 and answer.headers["location"] == "login?next=/"
    assert stale.get("/login").status_code == 200  # which opens with any cookie
    assert stale.get("/v1/jobs", headers={"Authorization": f"Bearer {served.tokens['bob']}"}).status_code == 200


def test_the_pages_say_whose_they_are_and_log_out(served: Laboratory) -> None:
    client = served.client("")
    client.post("/login", data={"token": served.tokens["anna"]})
    for path in ("/", "/live", "/together"):
        page = client.get(path).text
        assert '<span class="muted">anna</span>' in page and 'action="logout"' in page
    assert 'action="../logout"' in client.get("/jobs/none").text
    assert '<span class="muted">administrator</span>' in served.client(SINGLE).get("/").text
    assert client.get("/logout").status_code == 405  # no picture of another page logs anybody out
    assert client.post("/logout", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/v1/jobs").status_code == 200
    answer = client.post("/logout")
    assert answer.status_code == 303 and answer.headers["location"] == "login"
    assert client.get("/v1/jobs").status_code == 401
    assert served.client("").post("/logout").status_code == 303


def test_tokens_come_and_go_while_the_server_runs(served: Laboratory) -> None:
    tokens = Tokens(served.work)
    carla = {"Authorization": f"Bearer {tokens.add('carla')}"}
    client = served.client("")
    assert client.get("/v1/jobs", headers=carla).status_code == 200
    tokens.remove("carla")
    answer = client.get("/v1/jobs", headers=carla)
    assert answer.status_code == 401 and "The token of carla is removed; the administrator" in answer.json()["error"]
    assert answer.headers["www-authenticate"] == "Bearer"
    for name in ("anna", "bob", "boss", "prometheus"):
        tokens.remove(name)
    assert client.get("/v1/jobs").status_code == 401  # nobody has a token any more: nobody is let in
    assert served.client(SINGLE).get("/v1/jobs").status_code == 200


def test_the_first_name_closes_an_open_server(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    opened = idle(tmp_path, token="", named=False)
    client = TestClient(opened.app)
    assert client.get("/v1/jobs").status_code == 200
    assert audit(opened) == []
    token = Tokens(opened.work).add("anna")
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).json() == []
    opened.store.close()


def test_a_list_that_cannot_be_read_lets_no_name_in(served: Laboratory) -> None:
    (served.work / "tokens.json").write_text("{")
    answer = served.client("anna").get("/v1/jobs")
    assert answer.status_code == 503 and "The list of tokens cannot be read" in answer.json()["error"]
    assert answer.headers["Retry-After"] == "60"
    assert served.client("").get("/v1/jobs").status_code == 401
    assert served.client("").post("/login", data={"token": "x"}).status_code == 503
    assert served.client(SINGLE).get("/v1/jobs").status_code == 200
    with pytest.raises(Emow2vError, match="is damaged"):
        Server(port=0, data_dirs=[served.data], work_dir=served.work)


def test_a_list_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    """Its remedy, and a disk that is not mounted any more, must not make everybody an administrator."""
    (tmp_path / "data").mkdir()
    closed = idle(tmp_path, token="")
    with contextlib.closing(closed.store):
        assert closed.client("anna").get("/v1/jobs").status_code == 200
        (closed.work / "tokens.json").unlink()
        for name in ("", "anna", "boss"):
            assert closed.client(name).get("/v1/jobs").status_code == 401, name
        token = Tokens(closed.work).add("carla")
        headers = {"Authorization": f"Bearer {token}"}
        assert TestClient(closed.app).get("/v1/jobs", headers=headers).status_code == 200


def test_names_protect_a_public_address(tmp_path: Path) -> None:
    with pytest.raises(Emow2vError, match="emow2v tokens add"):
        Server(host="0.0.0.0", port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work")
    check_exposure("0.0.0.0", "", insecure=False, named=True)


def test_whoever_guesses_has_to_wait_and_colleagues_go_on(served: Laboratory) -> None:
    anna = served.client("anna")
    assert anna.get("/v1/jobs").status_code == 200
    stranger = served.client("")  # from the same address

    def guess(token: str) -> Any:
        return stranger.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})

    assert [guess(f"guess {number}").status_code for number in range(MOST_WRONG)] == MOST_WRONG * [401]
    answer = guess("one more")
    assert answer.status_code == 429 and "Too many wrong tokens came from your address" in answer.json()["error"]
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert guess(served.tokens["bob"]).status_code == 429  # who guesses right learns nothing
    assert stranger.post("/login", data={"token": "x"}).status_code == 429
    assert stranger.post("/job_status", data={"jobID": "a", "token": "x"}).status_code == 429
    assert anna.get("/v1/jobs").status_code == 200
    assert served.client("").get("/healthz").status_code == 200
    refused = [entry for entry in audit(served) if entry["action"] == "refuse"]
    assert [entry["why"] for entry in refused] == MOST_WRONG * ["wrong"] + ["too many wrong tokens"]


def test_new_tokens_for_a_whole_laboratory_open_while_browsers_send_the_old_ones(served: Laboratory) -> None:
    tokens = Tokens(served.work)
    names = [f"name{number}" for number in range(MOST_WRONG + 2)]
    old = [tokens.add(name) for name in names]
    new = [tokens.add(name, again=True) for name in names]

    def asked(token: str) -> int:  # all from one address
        return served.client("").get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code

    for _ in range(2):
        assert [asked(token) for token in old] == [401] * len(old)
    assert [asked(token) for token in new] == [200] * len(new)
    refused = [(entry["name"], entry["why"]) for entry in audit(served) if entry["action"] == "refuse"]
    assert refused == [(name, "removed") for name in names]


def test_a_live_stream_needs_a_token_of_a_person(served: Laboratory) -> None:
    for name, status in (("", 401), ("prometheus", 403)):
        with pytest.raises(WebSocketDenialResponse) as refused, served.client(name).websocket_connect("/v1/stream"):
            pass
        assert refused.value.status_code == status
    with (
        pytest.raises(AssertionError, match="no stream here"),
        served.client("anna").websocket_connect("/v1/stream") as one,
    ):
        one.receive_text()
    assert [(entry["name"], entry["action"]) for entry in audit(served)] == [("anna", "stream")]


def test_the_audit_log_says_who_did_what(served: Laboratory) -> None:
    short(served.data)
    anna, boss = served.client("anna"), served.client("boss")
    upload = anna.post("/upload", files={"file": ("secret name.wav", short(served.data).read_bytes())}).text
    form = {"path": upload, "wait": "false"}
    job_id = anna.post("/v1/predictions", data=form).json()["id"]
    assert anna.post("/process", data=to_fetch(served.data, jobID="talk")).status_code == 200
    for _ in range(3):  # as pages ask
        for path in ("/v1/jobs", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/rows", f"/jobs/{job_id}", "/job_status_all"):
            assert anna.get(path).status_code == 200
    assert boss.get(f"/v1/jobs/anna:{job_id}/log").status_code == 200
    assert served.client("bob").get(f"/v1/jobs/{job_id}/log").status_code == 404  # refused, so nothing was read
    assert anna.post("/cancel", data={"jobID": "talk"}).status_code == 200
    assert boss.delete(f"/v1/jobs/{job_id}").status_code == 200
    said = [
        (
            entry["name"],
            entry["action"],
            entry.get("what", ""),
            [f"{job['owner']}:{job['id']}" for job in entry.get("jobs", [])],
        )
        for entry in audit(served)
    ]
    hers = [f"anna:{job_id}"]
    assert said == [
        ("anna", "upload", "", []),
        ("anna", "post", "", hers),
        ("anna", "post", "", ["anna:talk"]),
        ("anna", "read", "rows", hers),
        ("boss", "read", "log", hers),
        ("anna", "cancel", "", ["anna:talk"]),
        ("boss", "erase", "", hers),
    ]
    text = (served.work / "audit.ndjson").read_text()
    assert "secret name" not in text and upload not in text and "short" not in text
    assert all(token not in text for token in served.tokens.values() if token != SINGLE)


def test_a_posted_job_is_in_the_audit_log_before_it_ends(served: Laboratory) -> None:
    """Whoever waits for a table gets it, or an error, when the job has ended; the server may be killed before."""
    short(served.data)
    anna = served.client("anna")
    answered = threading.Thread(target=lambda: anna.post("/v1/predictions", data={"path": "short.wav"}))
    answered.start()
    until(lambda: len(served.store.all()) == 1)
    job = served.store.all()[0]
    until(lambda: len(audit(served)) == 1)
    assert not served.store.all()[0].status.ended
    claimed = served.store.claim("w")
    assert claimed is not None and served.store.end(claimed, "It failed.")  # which is answered with 400
    answered.join()
    said = [(entry["action"], entry["jobs"]) for entry in audit(served)]
    assert said == [("post", [{"owner": "anna", "id": job.id}])]


def test_what_was_not_cancelled_is_not_in_the_audit_log(served: Laboratory) -> None:
    served.store.submit("b", {}, owner="anna")
    claimed = served.store.claim("w")
    assert claimed is not None and served.store.end(claimed)
    assert served.client("anna").post("/cancel", data={"jobID": "b"}).json()["success"] == "false"
    assert audit(served) == []


def test_without_any_token_there_is_no_audit_log(tmp_path: Path) -> None:
    opened = idle(tmp_path, token="", named=False)
    short(opened.data)
    with contextlib.closing(opened.store):
        assert TestClient(opened.app).post("/process", data=to_fetch(opened.data, jobID="a")).status_code == 200
        assert not (opened.work / "audit.ndjson").exists() and not (opened.work / "people").exists()
