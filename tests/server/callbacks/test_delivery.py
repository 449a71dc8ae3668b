"""Callbacks: signed, tried again across restarts, to allowed hosts only; the example of the repository believes them."""

import json
import runpy
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import webs
from emow2v.discover.places import Places
from emow2v.errors import Emow2vError
from emow2v.model import Model
from emow2v.server.callbacks import delivery
from emow2v.server.jobs.store import Store
from emow2v.server.options import ServerOptions
from emow2v.server.run import Server
from servers import app
from waiting import until

SECRET = "0123456789abcdef0123456789abcdef"
EXAMPLE = Path(__file__).parents[3] / "examples" / "verify_callback.py"

Made = Callable[..., TestClient]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"2026a {SECRET}\n")
    return path


@pytest.fixture
def made(lite: Model, data: Path, keys: Path, tmp_path: Path) -> Iterator[Made]:
    """Makes clients of servers on the same work folder, which make callbacks to hosts."""
    with ExitStack() as stack:

        def make(*hosts: str, **options: object) -> TestClient:
            chosen = {
                "allow_callbacks": hosts, "allow_networks": webs.LOOPBACK, "callback_keys": keys, "allow_sources": hosts, **options
            }  # fmt: skip
            served = app(lite.card, [data], tmp_path / "work", lambda name: lite, **chosen)
            return stack.enter_context(TestClient(served, raise_server_exceptions=False))

        yield make


def make_due(work_dir: Path) -> None:
    """Let the pause before the next try be over."""
    with closing(sqlite3.connect(work_dir / "jobs.sqlite", timeout=60)) as database, database:
        database.execute("UPDATE callbacks SET due = 0")


def answering(*statuses: int) -> webs.Reply:
    """Answers with one status after the other; the last one stays."""
    left = list(statuses)

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(left.pop(0) if len(left) > 1 else left[0])
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return reply


def post(client: TestClient, callback: str, **form: str) -> str:
    answer = client.post("/v1/predictions", data={"path": "talk.wav", "wait": "false", "callback": callback} | form)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def log(client: TestClient, job_id: str) -> str:
    return client.get(f"/v1/jobs/{job_id}/log").text


def is_genuine(headers: object, body: bytes, secrets: dict[str, str], now: float) -> bool:
    """The judgement of the example."""
    named = dict(headers)  # type: ignore[call-overload]
    judge = runpy.run_path(str(EXAMPLE))["is_genuine"]
    return bool(judge(secrets, named["Emow2v-Timestamp"], named["Emow2v-Signature"], body, now))


def test_a_callback_says_that_a_job_has_ended_and_nothing_of_the_recording(made: Made) -> None:
    with webs.serving(answering(204)) as site:
        client = made(site.host)
        job_id = post(client, site.url("/hook?token=s3cret"))
        until(lambda: "the callback arrived" in log(client, job_id))
        ((headers, body),) = site.posted
        assert site.asked == [] and headers["Content-Type"] == "application/json"
        said = json.loads(body)
        job = client.get(f"/v1/jobs/{job_id}").json()
        assert said == {
            "id": job_id, "state": "finished", "rows": job["rows"], "posted": job["posted"], "ended": job["ended"]
        }  # fmt: skip
        assert b"talk" not in body
        for shown in (log(client, job_id), json.dumps(job), client.get("/job_status_all").text):
            assert "s3cret" not in shown
        now = time.time()
        assert is_genuine(headers, body, {"2026a": SECRET}, now)
        assert not is_genuine(headers, body + b" ", {"2026a": SECRET}, now)
        assert not is_genuine(headers, body, {"2026a": SECRET[::-1]}, now)
        assert not is_genuine(headers, body, {"2026b": SECRET}, now)
        assert not is_genuine(headers, body, {"2026a": SECRET}, now + 3600)  # it is sent again


def test_failed_and_cancelled_jobs_are_told_with_names_only_where_the_administrator_wants(made: Made) -> None:
    with (
        webs.serving(answering(200)) as site,
        webs.serving(lambda handler: webs.give(handler, b"no sound", ranges=False)) as source,
    ):
        client = made(site.host, callback_names=True, allow_sources=(source.host,))
        job_id = post(client, site.url(), path="", url=source.url("/private.wav?sig=s3cret"))
        until(lambda: "the callback arrived" in log(client, job_id))
        said = json.loads(site.posted[0][1])
        assert (said["id"], said["state"]) == (job_id, "error")
        assert said["name"] == source.url("/private.wav") and "is not a recording" in said["error"]
        assert b"s3cret" not in site.posted[0][1]


def test_a_callback_is_tried_again_until_it_arrives(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSES_S", (0.01,) * 5)
    monkeypatch.setattr(delivery, "EVERY_S", 0.02)
    with webs.serving(answering(500, 302, 404, 200)) as site:
        client = made(site.host)
        job_id = post(client, site.url())
        until(lambda: "the callback arrived" in log(client, job_id))
        assert len(site.posted) == 4 and site.asked == []  # redirects are not followed
        assert len({body for _, body in site.posted}) == 1
        assert "tried again in 0.01 s" in log(client, job_id) and "status 302" in log(client, job_id)


@pytest.mark.parametrize(("status", "tries"), [(410, "1 try"), (500, "3 tries")])
def test_a_receiver_that_is_gone_or_stays_away_is_given_up(
    made: Made, monkeypatch: pytest.MonkeyPatch, status: int, tries: str
) -> None:
    monkeypatch.setattr(delivery, "PAUSES_S", (0.01,) * 2)
    monkeypatch.setattr(delivery, "EVERY_S", 0.02)
    with webs.serving(answering(status)) as site:
        client = made(site.host)
        job_id = post(client, site.url())
        until(lambda: "is given up" in log(client, job_id))
        assert f"is given up after {tries}: " in log(client, job_id)
        assert len(site.posted) == int(tries[0])


def test_a_callback_survives_a_restart(
    lite: Model, data: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PAUSES_S", (3600.0,))

    def served(host: str) -> TestClient:
        options = {"allow_callbacks": (host,), "allow_networks": webs.LOOPBACK, "callback_keys": keys}
        return TestClient(app(lite.card, [data], tmp_path / "work", lambda name: lite, **options))

    with webs.serving(answering(503, 200)) as site:
        with served(site.host) as client:
            job_id = post(client, site.url())
            until(lambda: "is tried again" in log(client, job_id))
            keys.write_text(f"2026b {SECRET[::-1]}\n2026a {SECRET}\n")  # a new key joins the old one
        before = len(site.posted)
        make_due(tmp_path / "work")
        with served(site.host) as client:
            until(lambda: "the callback arrived" in log(client, job_id))
        assert before == 1 and len(site.posted) == 2
        for secrets in ({"2026a": SECRET}, {"2026b": SECRET[::-1]}):
            assert is_genuine(*site.posted[-1], secrets, time.time())


def test_a_callback_whose_result_cannot_be_stored_is_not_sent_again_at_once(
    data: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would otherwise send a callback every second."""

    def fail(*arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with webs.serving(answering(200)) as site, closing(Store(tmp_path / "jobs.sqlite")) as store:
        options = ServerOptions(allow_callbacks=(site.host,), allow_networks=webs.LOOPBACK, callback_keys=keys)
        store.submit("a", {"path": "talk.wav", "callback": site.url()}, kind="prediction")
        store.cancel("a")
        now = [1000.0]
        with closing(delivery.Callbacks(store, Places([data], tmp_path), options, lambda: now[0])) as callbacks:
            with monkeypatch.context() as patch, pytest.raises(sqlite3.OperationalError):
                patch.setattr(callbacks, "_note", fail)
                callbacks.send_due(threading.Event())
            assert callbacks.send_due(threading.Event()) == 0 and len(site.posted) == 1
            now[0] += delivery.PAUSES_S[0]
            assert callbacks.send_due(threading.Event()) == 1 and len(site.posted) == 2
            now[0] += 1e6
            assert callbacks.send_due(threading.Event()) == 0 and len(site.posted) == 2


def test_an_erased_job_makes_no_callback(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSES_S", (3600.0, 3600.0))
    monkeypatch.setattr(delivery, "EVERY_S", 0.05)
    with webs.serving(answering(500)) as site:
        client = made(site.host)
        first = post(client, site.url("/erased"))
        until(lambda: "is tried again" in log(client, first))
        assert client.delete(f"/v1/jobs/{first}").status_code == 200
        make_due(tmp_path / "work")
        monkeypatch.setattr(delivery, "PAUSES_S", (0.3, 0.3))
        second = post(client, site.url("/other"))
        until(lambda: "is given up" in log(client, second))
    assert len(site.posted) == 1 + 3


def test_no_key_can_be_read(made: Made, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSES_S", (0.1,) * 5000)
    monkeypatch.setattr(delivery, "EVERY_S", 0.02)
    with webs.serving(answering(200)) as site:
        client = made(site.host)
        content = keys.read_text()
        keys.unlink()
        job_id = post(client, site.url())
        until(lambda: "cannot be read" in log(client, job_id))
        keys.write_text(content)
        until(lambda: "the callback arrived" in log(client, job_id))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/hook", "administrator names with --allow-callback"),
        ("http://me:hunter2@{host}/", "user name or a password"),
        ("http://169.254.169.254/", "is not allowed here"),
        ("http://2130706433:{port}/", "unusual form"),
        ("file:///etc/passwd", "is not one of http or https"),
        ("http://localhost:{port}/", "which is not public"),
    ],
)
def test_callbacks_have_the_checks_of_addresses(made: Made, url: str, said: str) -> None:
    with webs.serving(answering(200)) as site:
        client = made(site.host, f"localhost:{site.port}", allow_networks=() if "localhost" in url else webs.LOOPBACK)
        sent = {"path": "talk.wav", "callback": url.format(host=site.host, port=site.port)}
        answer = client.post("/v1/predictions", data=sent)
        assert answer.status_code == 400 and said in answer.json()["error"], answer.text
        assert answer.json()["error"].startswith("callback: ") and "hunter2" not in answer.text
        assert client.get("/v1/jobs").json() == [] and site.posted == []


def test_a_name_that_changes_its_answer_is_checked_again_at_each_try(
    lite: Model, data: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check at the post sees a public address; the callback itself must not go to another one."""
    with webs.serving(answering(200)) as site:
        options = ServerOptions(allow_callbacks=(f"localhost:{site.port}",), callback_keys=keys)
        store = Store(tmp_path / "jobs.sqlite")
        form = {"path": "talk.wav", "callback": f"http://localhost:{site.port}/"}
        store.submit("a", form, kind="prediction")
        store.cancel("a")
        callbacks = delivery.Callbacks(store, Places([data], tmp_path), options)
        assert callbacks.send_due(threading.Event()) == 0
        job = store.get("a")
        assert job is not None and "which is not public" in store.lines(job)[-1]
        assert site.posted == []
        callbacks.close()
        store.close()


def test_a_server_without_keys_makes_none(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/v1/predictions", data={"path": "talk.wav", "callback": "https://example.org/"})
    assert answer.status_code == 400 and "has no keys to sign with" in answer.json()["error"]
    for options in ({"allow_callbacks": ("example.org",)}, {"callback_keys": tmp_path / "nothing"}):
        with pytest.raises(Emow2vError, match=r"--callback-keys|cannot be read"):
            Server(ServerOptions(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", **options))  # type: ignore[arg-type]


def test_options_without_effect_are_refused_at_the_start(keys: Path, tmp_path: Path) -> None:
    for options, flag in (({"callback_names": True}, "--callback-names"), ({"callback_keys": keys}, "--callback-keys")):
        with pytest.raises(Emow2vError, match=f"{flag} has no effect without --allow-callback; expected both"):
            Server(ServerOptions(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", **options))  # type: ignore[arg-type]


def test_the_example_receives_callbacks(made: Made, keys: Path) -> None:
    command = [sys.executable, str(EXAMPLE), str(keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout and receiver.stderr
        try:
            address = receiver.stderr.readline().split()[-1]
            client = made(address.removeprefix("http://").rstrip("/"))
            job_id = post(client, address)
            assert json.loads(receiver.stdout.readline())["id"] == job_id
            until(lambda: "the callback arrived" in log(client, job_id))
        finally:
            receiver.terminate()
