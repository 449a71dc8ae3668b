"""Connections that break, servers that are killed, busy, or none of ours."""

import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import killed_servers
import webs
from emow2v.client import (
    AsyncClient,
    Client,
    ClientError,
    Job,
    NoRoom,
    NotFound,
    Refused,
    TooMany,
    Unavailable,
    Unreachable,
    WrongAnswer,
    sync,
)
from fake_answers import JOB, give, hang_up, in_turns
from waiting import until


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(sync, "time", SimpleNamespace(sleep=waited.append))
    return waited


# --- none of ours ---


def ssh(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    hang_up(handler)


HTML = b"<html><title>502 Bad Gateway</title></html>"
WRONG: list[tuple[Callable[[BaseHTTPRequestHandler], None], type[ClientError], str]] = [
    (lambda one: give(one, HTML, Content_Type="text/html"), WrongAnswer, "it is text/html, not JSON"),
    (lambda one: give(one, b"[1, 2"), WrongAnswer, "its JSON is damaged"),
    (lambda one: give(one, b"\xff\xfe"), WrongAnswer, "its JSON is damaged"),
    (lambda one: give(one, b"[" * 200_000), WrongAnswer, "its JSON is damaged"),
    (lambda one: give(one, {"hello": "world"}), WrongAnswer, "job without id, name, state"),
    (lambda one: give(one, [JOB]), WrongAnswer, "job without id, name, state"),
    (lambda one: give(one, JOB | {"state": "odd"}), WrongAnswer, "a job has no state"),
    (lambda one: give(one, JOB | {"posted": "soon"}), WrongAnswer, "a time is 'soon'"),
    (lambda one: give(one, HTML, 502, Content_Type="text/html"), Unavailable, "answers with the status 502 and text/html"),
    (lambda one: give(one, HTML, 404, Content_Type="text/html"), NotFound, "Check the address, and the proxy"),
    (lambda one: give(one, {"detail": "Not Found"}, 404), NotFound, "answers with the status 404"),
    (lambda one: give(one, b"", 307, Location="https://lab.example.org/v1/jobs/a"), WrongAnswer, "leads elsewhere .307, https://lab"),
    (ssh, Unreachable, "cannot be reached"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "kind", "sentence"), WRONG)
def test_what_is_no_server_of_emow2v(reply: webs.Reply, kind: type[ClientError], sentence: str) -> None:
    with webs.serving(reply) as site, Client(f"http://{site.host}", patience_s=0) as client:
        with pytest.raises(kind, match=sentence):
            client.job("a")
        assert len(site.asked) == 1


def test_a_next_page_at_a_damaged_address() -> None:
    reply = lambda one: give(one, [JOB], Link='<//[a?cursor=b>; rel="next"')  # noqa: E731
    with (
        webs.serving(reply) as site,
        Client(f"http://{site.host}") as client,
        pytest.raises(WrongAnswer, match="address of the next page"),
    ):
        list(client.jobs())


@pytest.mark.parametrize("name", ["//[a.wav", "a]//b.wav"])
def test_names_that_are_no_addresses(name: str) -> None:
    """Guessing a type from the name failed with Python 3.13."""
    with webs.serving(lambda one: give(one, JOB)) as site, Client(f"http://{site.host}") as client:
        assert client.post(b"sound", name=name).id == "a"


def test_tables_that_are_damaged() -> None:
    columns = ["start", "end", "arousal", "dominance", "valence", "confidence"]
    for table, sentence in (
        ({}, "it is no table"),
        ({"columns": columns, "rows": [[0, 1]]}, "more or fewer values"),
        ({"columns": columns[:3], "rows": [[0, 1, 2]]}, "column .* is missing"),
        ({"columns": columns, "rows": [[0, 1, 2, "x", 3, 4]]}, "column .* no numbers"),
    ):
        replies = in_turns(lambda one: give(one, JOB), lambda one, table=table: give(one, table))  # type: ignore[misc]
        with webs.serving(replies) as site, Client(f"http://{site.host}") as client:
            with pytest.raises(WrongAnswer, match=sentence):
                client.result("a", embeddings=False)
            assert [path for path, _ in site.asked] == ["/v1/jobs/a", "/v1/jobs/a/result?format=json&session=0"]


@pytest.mark.parametrize("address", ["", "lab.example.org", "ftp://lab.example.org", "http://", "http://a:b@c", "http://a?b", "http://a:99999", "http://[::1"])  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ClientError, match=r"expected one such as http://127\.0\.0\.1:8080"):
        Client(address)


def test_ids_lead_nowhere_else() -> None:
    with webs.serving(lambda one: give(one, JOB)) as site, Client(f"http://{site.host}/below/") as client:
        for job in ("../models", "a/b", "a?b#c", "ä:%2e"):
            client.job(job)
        paths = [path for path, _ in site.asked]
    assert paths[:3] == ["/below/v1/jobs/..%2Fmodels", "/below/v1/jobs/a%2Fb", "/below/v1/jobs/a%3Fb%23c"]


@pytest.mark.parametrize("token", ["gehäuse", "a b\n", " mine", "a\r\nX: y"])
def test_tokens_that_no_header_holds(token: str) -> None:
    with pytest.raises(ClientError, match="The token holds characters") as error:
        Client("http://127.0.0.1:1", token=token)
    assert token not in str(error.value)


# --- busy, away, killed ---


def test_a_server_that_is_not_there(pauses: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(address) as client, pytest.raises(Unreachable, match="check the address, and that the server runs"):
            client.models()
        assert sum(pauses) < 60  # it was never there, so that waiting for it is of no use


def test_what_comes_back_is_waited_for(pauses: list[float]) -> None:
    busy = [lambda one: give(one, {"error": "Wait."}, 429, Retry_After="7"), lambda one: give(one, {"error": "Wait."}, 503, Retry_After="3")]  # fmt: skip
    replies = in_turns(*busy, hang_up, lambda one: give(one, JOB))
    with webs.serving(replies) as site, Client(f"http://{site.host}") as client:
        assert client.job("a").rows == 1
    assert 7 <= pauses[0] < 9 and 3 <= pauses[1] < 4 and len(pauses) == 3 == len(site.asked) - 1


@pytest.mark.parametrize(
    ("status", "after", "kind"),
    [(429, "400", TooMany), (429, "", TooMany), (507, "", NoRoom), (503, "", Unavailable), (429, "soon", TooMany)],
)
def test_patience_ends(pauses: list[float], status: int, after: str, kind: type[Refused]) -> None:
    more = {"Retry_After": after} if after else {}
    with webs.serving(lambda one: give(one, {"error": "No more."}, status, **more)) as site:
        client = Client(f"http://{site.host}", patience_s=10)
        with client, pytest.raises(kind, match=r"^No more\.$") as refused:
            client.post(b"sound")
    assert refused.value.retry_after_s == (400 if after == "400" else None) and refused.value.status == status
    assert len(site.posted) == 1 + len(pauses) and (status == 503) == bool(pauses)


def test_a_lost_answer_makes_no_second_job(pauses: list[float]) -> None:
    """The request is the same to the last field, so that the server knows it again."""
    replies = in_turns(hang_up, lambda one: give(one, JOB, 202))
    with webs.serving(replies) as site, Client(f"http://{site.host}", token="mine") as client:
        assert client.post(b"sound", unit="files", tier=["VP", "VL"]).id == "a"
    (first, body), (second, again) = (
        ({name.lower(): text for name, text in head.items()}, body) for head, body in site.posted
    )
    assert (
        re.fullmatch("[0-9a-f]{32}", first["idempotency-key"]) and first["idempotency-key"] == second["idempotency-key"]
    )
    assert first["authorization"] == "Bearer mine"
    boundaries = [kind["content-type"].partition("boundary=")[2].encode() for kind in (first, second)]
    assert body.replace(boundaries[0], b"") == again.replace(boundaries[1], b"") and body.count(b'name="tier"') == 2


CONTENT = bytes(range(256)) * 4000


@pytest.mark.parametrize("mark", ['"1"', 'W/"1"', "", "changed"])
def test_a_download_goes_on_where_it_broke(tmp_path: Path, pauses: list[float], mark: str) -> None:
    """With a strong ETag the rest is fetched; else the whole again. Parts of two versions are never joined."""
    cut = 600_000
    state = {"tries": 0}

    def reply(handler: BaseHTTPRequestHandler) -> None:
        state["tries"] += 1
        tag = f'"{state["tries"]}"' if mark == "changed" else mark
        content = CONTENT[::-1] if mark == "changed" and state["tries"] > 1 else CONTENT
        begin = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        fits = begin and handler.headers.get("If-Range") == tag
        rest = content[int(begin[1]) :] if begin and fits else content
        handler.send_response(206 if fits else 200)
        if begin and fits:
            handler.send_header("Content-Range", f"bytes {begin[1]}-{len(content) - 1}/{len(content)}")
        if tag:
            handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(rest)))
        handler.send_header("Content-Disposition", 'attachment; filename="../../evil/CON.csv"')
        handler.end_headers()
        handler.wfile.write(rest[:cut] if state["tries"] < 2 else rest)
        handler.wfile.flush()
        if state["tries"] < 2:
            hang_up(handler)

    with webs.serving(reply) as site, Client(f"http://{site.host}") as client:
        path = client.download("a", tmp_path)
    assert path.parent == tmp_path and path.read_bytes() == (CONTENT[::-1] if mark == "changed" else CONTENT)
    assert [*tmp_path.iterdir()] == [path]
    ranges = [asked for _, asked in site.asked]
    assert len(ranges) == 2 and bool(ranges[1]) == (mark in ('"1"', "changed"))


def test_a_download_that_fails_leaves_nothing(tmp_path: Path, pauses: list[float]) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        hang_up(handler)

    with webs.serving(reply) as site:
        client = Client(f"http://{site.host}", patience_s=0)
        with client, pytest.raises(Unreachable, match="ask for the job, or try again later"):
            client.download("a", tmp_path / "a.csv")
    assert [*tmp_path.iterdir()] == []


def events(handler: BaseHTTPRequestHandler, *bodies: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for body in bodies:
        handler.wfile.write(body)
    handler.close_connection = True


def test_events_in_any_pieces_and_jobs_without_them(pauses: list[float]) -> None:
    running = JOB | {"state": "running", "name": "Gespräch"}
    stream = f": hello\r\n\r\ndata: {json.dumps(running, ensure_ascii=False)}\n\nevent: x\ndata:{json.dumps(JOB)}\n\n".encode()

    def split(handler: BaseHTTPRequestHandler) -> None:
        events(handler, *(stream[at : at + 1] for at in range(len(stream))))

    told: list[Job] = []
    with webs.serving(split) as site, Client(f"http://{site.host}") as client:
        assert client.wait("a", on_progress=told.append).state == "finished"
    assert [job.state for job in told] == ["running", "finished"] and told[0].name == "Gespräch"

    def deaf(handler: BaseHTTPRequestHandler) -> None:
        """A proxy lets no events through."""
        if handler.path.endswith("/events"):
            give(handler, HTML, 502, Content_Type="text/html")
        else:
            give(handler, running if len(site.asked) < 12 else JOB)

    with webs.serving(deaf) as site, Client(f"http://{site.host}") as client:
        assert client.wait("a").state == "finished"
    assert sum(path.endswith("/events") for path, _ in site.asked) == 3  # then it asks for the job only


@pytest.mark.slow
def test_a_job_outlives_its_server(tmp_path: Path, port: int) -> None:
    """The client posts and waits while the server is killed and started again, twice; nothing is lost or double."""
    killed_servers.talk(tmp_path, 60)
    served = killed_servers.Served(tmp_path, port)
    served.start()
    results: list[Any] = []
    told: list[Job] = []

    def work() -> None:
        with Client(f"http://127.0.0.1:{port}") as client:
            results.append(client.predict(tmp_path / "talk.wav", on_progress=told.append))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for rows in (50, 400):
            until(lambda rows=rows: any(job.rows > rows for job in told), alive=thread.is_alive)  # type: ignore[misc]
            served.kill_server()
            served.start()
        thread.join(timeout=300)
        assert results and len(results[0]) == 1500 and results[0].job.state == "finished"
        with Client(f"http://127.0.0.1:{port}") as client:
            assert [job.id for job in client.jobs()] == [results[0].job.id]
    finally:
        served.stop()


# --- certificates ---


def test_whose_certificates_count(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    tls, authority = webs.certificates(tmp_path, "127.0.0.1")
    with webs.serving(lambda one: give(one, JOB), tls) as site:
        with Client(f"https://{site.host}") as client, pytest.raises(Unreachable, match=r"verify='ca\.pem'"):
            client.job("a")
        with Client(f"https://{site.host}", verify=authority) as client:
            assert client.job("a").id == "a"
        with Client(f"https://{site.host}", verify=False) as client:
            assert client.job("a").id == "a"
    (tmp_path / "odd.pem").write_text("no certificate")
    for name in ("odd.pem", "none.pem"):
        with pytest.raises(ClientError, match="holds no certificates"):
            AsyncClient("https://127.0.0.1:1", verify=tmp_path / name)


def test_proxies_of_the_environment_get_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with webs.serving(lambda one: give(one, HTML)) as proxy, webs.serving(lambda one: give(one, JOB)) as site:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        with Client(f"http://{site.host}", token="mine") as client:
            client.job("a")
        assert proxy.asked == []
        with Client(f"http://{site.host}", token="mine", trust_env=True) as client, pytest.raises(WrongAnswer):
            client.job("a")
        assert len(proxy.asked) == 1
