"""Recordings at addresses: `url:` of DISCOVER and `url` of /v1, on servers whose administrator allows a host."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

import webs
from emow2v.cli.demo import request
from emow2v.errors import Emow2vError
from emow2v.formats.ssi_read import read_annotation
from emow2v.model import Model
from emow2v.server.options import ServerOptions
from emow2v.server.run import Server
from emow2v.sources.remote import Remote
from servers import app
from waiting import until

Made = Callable[..., TestClient]


@pytest.fixture
def made(lite: Model, data: Path, tmp_path: Path) -> Iterator[Made]:
    """Makes clients of servers that allow hosts."""
    with ExitStack() as stack:

        def make(*hosts: str, **options: object) -> TestClient:
            allowed = {"allow_sources": hosts, "allow_networks": webs.LOOPBACK, **options}
            served = app(lite.card, [data], tmp_path / "work", lambda name: lite, **allowed)
            return stack.enter_context(TestClient(served, raise_server_exceptions=False))

        yield make


@pytest.fixture(params=[True, False], ids=["ranges", "whole"])
def site(request: pytest.FixtureRequest, data: Path) -> Iterator[webs.Site]:
    """A server with the recording, which gives ranges or not."""
    content = (data / "talk.wav").read_bytes()
    with webs.serving(lambda handler: webs.give(handler, content, ranges=request.param)) as site:
        yield site


def form(data: Path, uri: str, **changes: str) -> dict[str, str]:
    """A request of DISCOVER for the recording at an address."""
    posted = request(data, data / "talk.wav") | {"jobID": "far"} | changes
    entries = json.loads(posted["data"])
    entries[0] |= {"src": "url:stream:audio", "uri": uri}
    return posted | {"data": json.dumps(entries)}


def ended(client: TestClient, job_id: str = "far") -> int:
    def status() -> int:
        return int(client.post("/job_status", data={"jobID": job_id}).json()["status"])

    until(lambda: status() > 1)
    return status()


def test_a_request_with_an_address_writes_what_one_with_a_file_writes(made: Made, site: webs.Site, data: Path) -> None:
    client = made(site.host)
    posted = client.post("/process", data=form(data, site.url("/talk.wav?signature=s3cret")))
    assert posted.status_code == 200 and posted.json()["success"] == "True"
    assert ended(client) == 2
    entries = json.loads(form(data, "")["data"])
    places = [Path(entry["uri"]) for entry in entries if "annotation" in entry["src"]]
    assert len(places) == 3
    far = [read_annotation(place).values.tolist() for place in places]
    assert client.post("/process", data=request(data, data / "talk.wav") | {"jobID": "near"}).status_code == 200
    assert ended(client, "near") == 2
    assert far == [read_annotation(place).values.tolist() for place in places]
    # the query may hold a secret
    for shown in (client.post("/log", data={"jobID": "far"}), client.get("/job_status_all"), client.get("/v1/jobs")):
        assert "far" in shown.text or "talk.wav" in shown.text
        assert "s3cret" not in shown.text
    assert f"{site.host}/talk.wav?..." in client.post("/log", data={"jobID": "far"}).text


def test_a_prediction_of_an_address(made: Made, site: webs.Site, data: Path, lite: Model) -> None:
    client = made(site.host)
    answer = client.post("/v1/predictions", data={"url": site.url("/a%20talk.wav?signature=s3cret")})
    assert answer.status_code == 200, answer.text
    scores = [row[2:5] for row in answer.json()["rows"]]
    np.testing.assert_allclose(scores, lite.predict(data / "talk.wav").scores, atol=2e-6)
    assert answer.json()["file"] == site.url("/a%20talk.wav") and "s3cret" not in answer.text
    (job,) = client.get("/v1/jobs").json()
    assert job["name"] == site.url("/a%20talk.wav") and "s3cret" not in json.dumps(job)
    assert "s3cret" not in client.get(f"/v1/jobs/{job['id']}/log").text
    exported = client.get(f"/v1/jobs/{job['id']}/result", params={"format": "csv"})
    assert 'filename="a%20talk.csv"' in exported.headers["content-disposition"] or "a_20talk" in str(exported.headers)
    for view in ("audio", "waveform"):  # the recording is not kept
        gone = client.get(f"/v1/jobs/{job['id']}/{view}")
        assert gone.status_code == 404 and "was fetched from an address and not kept" in gone.json()["error"]
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 200


def test_turns_are_found_in_two_passes_over_one_download(made: Made, site: webs.Site, data: Path, lite: Model) -> None:
    client = made(site.host)
    answer = client.post("/v1/predictions", data={"url": site.url(), "unit": "turns"})
    assert answer.status_code == 200, answer.text
    expected = lite.predict_turns(data / "talk.wav").scores
    table = answer.json()
    place = table["columns"].index("arousal")
    np.testing.assert_allclose([row[place : place + 3] for row in table["rows"]], expected, atol=2e-6)
    assert len(site.asked) <= 3  # at the post, and for the job


def test_each_session_has_an_address_of_its_own(made: Made, data: Path) -> None:
    content = (data / "talk.wav").read_bytes()
    entries = json.loads(form(data, "")["data"])
    with webs.serving(lambda handler: webs.give(handler, content)) as site:
        entries[0] |= {"uri": "", "uri_template": site.url("/{dataset}/{session}.wav")}
        for entry in entries[1:]:
            entry |= {"uri": "", "uri_template": f"{{session}}.{entry['uri'].partition('.')[2]}"}
        sent = form(data, "") | {"data": json.dumps(entries), "sessions": '["one & only", "two"]', "dataset": "lab"}
        client = made(site.host)
        assert client.post("/process", data=sent).status_code == 200
        assert ended(client) == 2
        assert {path for path, _ in site.asked} == {"/lab/one%20%26%20only.wav", "/lab/two.wav"}


def test_a_recording_is_removed_when_its_session_is_done(
    made: Made, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def watched(method: str) -> Callable[[Remote], object]:
        real = getattr(Remote, method)

        def call(remote: Remote) -> object:
            seen.append((method, remote.name.rpartition("/")[2]))
            return real(remote)

        return call

    for method in ("open", "close"):
        monkeypatch.setattr(Remote, method, watched(method))
    content = (data / "talk.wav").read_bytes()
    entries = json.loads(form(data, "")["data"])
    with webs.serving(lambda handler: webs.give(handler, content)) as site:
        entries[0] |= {"uri": "", "uri_template": site.url("/{session}.wav")}
        for entry in entries[1:]:
            entry |= {"uri": "", "uri_template": f"{{session}}.{entry['uri'].partition('.')[2]}"}
        client = made(site.host)
        sent = form(data, "") | {"data": json.dumps(entries), "sessions": '["one", "two"]'}
        assert client.post("/process", data=sent).status_code == 200
        assert ended(client) == 2
    computed = len(seen) - 1 - seen[::-1].index(("open", "one.wav"))
    assert seen[computed + 1 : computed + 3] == [("close", "one.wav"), ("open", "two.wav")]


REFUSED = [
    ("http://example.org/a.wav", "is not allowed here"),
    ("ftp://example.org/a.wav", "is not one of http or https"),
    ("/etc/passwd", "is not one of http or https"),
    ("http://me:word1@{host}/a.wav", "user name or a password"),
    ("http://2130706433:{port}/a.wav", "unusual form"),
    ("http://0.0.0.0:{port}/a.wav", "is not allowed here"),
    ("http://[::ffff:127.0.0.1]:{port}/a.wav", "is not allowed here"),
    ("http://{host}/" + "a" * 999, "too long|at most 1000 characters"),
]


@pytest.mark.parametrize(("url", "said"), REFUSED)
def test_addresses_are_refused_at_once_with_one_sentence(made: Made, data: Path, url: str, said: str) -> None:
    with webs.serving(lambda handler: webs.give(handler, b"")) as site:
        client = made(site.host)
        uri = url.format(host=site.host, port=site.port)
        for answer in (
            client.post("/process", data=form(data, uri)),
            client.post("/v1/predictions", data={"url": uri}),
        ):
            assert 400 <= answer.status_code < 500
            assert answer.json()["error"].endswith(".") and "word1" not in answer.text
            assert re.search(said, answer.json()["error"]), answer.text
        assert not site.asked


def test_by_default_every_address_is_refused(client: TestClient, data: Path) -> None:
    with webs.serving(lambda handler: webs.give(handler, b"")) as site:
        for answer in (
            client.post("/process", data=form(data, site.url())),
            client.post("/v1/predictions", data={"url": site.url()}),
        ):
            assert answer.status_code == 400 and "this server allows no host" in answer.json()["error"]
        assert not site.asked


def test_a_host_that_is_allowed_but_not_public(made: Made, data: Path) -> None:
    with webs.serving(lambda handler: webs.give(handler, b"")) as site:
        client = made(site.host, f"localhost:{site.port}", allow_networks=())
        for host in ("127.0.0.1", "localhost"):
            answer = client.post("/v1/predictions", data={"url": f"http://{host}:{site.port}/talk.wav"})
            assert answer.status_code == 400
            assert "which is not public" in answer.json()["error"]
        assert not site.asked


def test_what_lies_at_an_address_is_checked_when_it_is_posted(made: Made, data: Path) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/text.wav":
            webs.give(handler, b"no sound at all" * 100)
        elif handler.path == "/moved.wav":
            webs.move(handler, "http://169.254.169.254/latest/meta-data/")
        elif handler.path == "/large.wav":
            webs.give(handler, bytes(2_000_000), ranges=False)
        else:
            webs.give(handler, b"gone", Content_Encoding="gzip")

    with webs.serving(reply) as site:
        client = made(site.host, max_upload_mb=1)
        for path, said in {
            "/text.wav": "is not a recording", "/moved.wav": "169.254.169.254", "/large.wav": "more than 1 MB",
            "/zip.wav": "comes compressed",
        }.items():  # fmt: skip
            for answer in (
                client.post("/process", data=form(data, site.url(path))),
                client.post("/v1/predictions", data={"url": site.url(path)}),
            ):
                assert answer.status_code == 400 and said in answer.json()["error"], answer.text
        assert client.get("/v1/jobs").json() == []


def test_what_is_no_recording_and_comes_whole_ends_the_job_with_a_sentence(made: Made, data: Path) -> None:
    with webs.serving(lambda handler: webs.give(handler, b"no sound" * 100, ranges=False)) as site:
        client = made(site.host)
        answer = client.post("/v1/predictions", data={"url": site.url()})
        assert answer.status_code == 400 and site.url() in answer.json()["error"]
        assert client.post("/process", data=form(data, site.url())).status_code == 200
        assert ended(client) == 3


def test_results_are_not_sent_to_addresses_and_two_recordings_are_refused(made: Made, data: Path) -> None:
    client = made("example.org")
    sent = form(data, "http://example.org/a.wav")
    entries = json.loads(sent["data"])
    entries[1] |= {"src": "url:annotation:continuous", "uri": "http://example.org/b"}
    answer = client.post("/process", data=sent | {"data": json.dumps(entries)})
    assert answer.status_code == 400 and "results are not sent to addresses" in answer.json()["error"]
    answer = client.post("/process", data=form(data, ""))
    assert answer.status_code == 400 and "expected an address" in answer.json()["error"]
    answer = client.post("/v1/predictions", data={"url": "http://example.org/a.wav", "path": "talk.wav"})
    assert answer.status_code == 400 and "path and url name 2 recordings" in answer.json()["error"]


HEADER = '<annotation ssi-v="3"><info ftype="ASCII" size="1"/><meta/><scheme name="" type="FREE"/></annotation>'


@pytest.fixture
def far_turns() -> Iterator[webs.Site]:
    """A server with an annotation of NOVA for each session, and a file of subtitles."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        if ".annotation" in handler.path:
            webs.give(handler, b"0.1;0.8;so;1.0\n" if "~" in handler.path else HEADER.encode())
        elif "talk.vtt" in handler.path:
            webs.give(handler, b"WEBVTT\n\n00:00.100 --> 00:00.800\n<v Anna>so\n")
        else:
            handler.send_error(404)

    with webs.serving(reply) as site:
        yield site


def test_turns_at_addresses(made: Made, data: Path, far_turns: webs.Site) -> None:
    sent = form(data, "")
    entries = json.loads(sent["data"])
    entries[0] |= {"src": "file:stream:audio", "uri": "talk.wav"}
    for entry in entries[1:]:
        entry |= {"uri": "", "uri_template": f"{{session}}.{entry['uri'].partition('.')[2]}"}
    turns = {"src": "url:annotation:Free", "type": "input", "id": "turns", "role": "Anna", "scheme": "who"}
    other = {**turns, "id": "pose", "uri": far_turns.url("/none.eaf?key=s3cret")}
    turns["uri_template"] = far_turns.url("/{session}.annotation?key=s3cret")
    client = made(far_turns.host)
    sent |= {"data": json.dumps([*entries, turns, other]), "sessions": '["one & two", "three"]'}
    assert client.post("/process", data=sent).status_code == 200
    assert ended(client) == 2
    (tier,) = client.get("/v1/jobs/far/turns").json()["tiers"]
    found = [(turn["start"], turn["end"], turn["label"]) for turn in tier["turns"]]
    assert (tier["name"], tier["speaker"], found) == ("who", "Anna", [(0.1, 0.8, "so")])
    log = client.post("/log", data={"jobID": "far"}).json()["message"]
    assert log.count("The input 'pose' was ignored: ") == 2 and "/none.eaf is not there (status 404)" in log
    assert "s3cret" not in log and "/one%20%26%20two.annotation~?key=s3cret" in {path for path, _ in far_turns.asked}
    sent["data"] = json.dumps([*entries, {**other, "id": "turns"}])
    answer = client.post("/process", data=sent)
    assert answer.status_code == 400 and "expected a file with turns" in answer.json()["error"]
    assert "s3cret" not in answer.text


def test_turns_at_an_address_are_those_that_are_sent(made: Made, data: Path, far_turns: webs.Site) -> None:
    client, posted = made(far_turns.host), {"path": "talk.wav", "unit": "turns"}
    sent = {"segments": ("talk.vtt", "WEBVTT\n\n00:00.100 --> 00:00.800\n<v Anna>so\n")}
    near = client.post("/v1/predictions", data=posted, files=sent).json()
    posted["segments_url"] = far_turns.url("/talk.vtt?key=s3cret")
    answer = client.post("/v1/predictions", data=posted)
    assert answer.status_code == 200, answer.text
    far = answer.json()
    assert far["rows"] == near["rows"] and far["provenance"] == near["provenance"]
    job, *_ = client.get("/v1/jobs").json()
    assert far_turns.asked.pop()[0] == "/talk.vtt?key=s3cret"
    assert client.get(f"/v1/jobs/{job['id']}/turns?format=vtt").status_code == 200
    assert far_turns.asked == [] and "s3cret" not in json.dumps(job) + answer.text  # kept with the job, as an upload
    posted["segments_url"] = far_turns.url("/b.annotation")
    assert client.post("/v1/predictions", data=posted).json()["rows"][0][2:5] == ["", "", "so"]
    for more, files in (({"segments_path": "b.vtt"}, None), ({}, sent)):
        answer = client.post("/v1/predictions", data=posted | more, files=files)
        assert answer.status_code == 422 and "name two files with turns" in answer.json()["error"]
    answer = client.post("/v1/predictions", data=posted | {"segments_url": "http://10.0.0.1/a.vtt"})
    assert answer.status_code == 400 and "is not allowed here" in answer.json()["error"]


def test_a_wrong_setting_is_refused_at_the_start(tmp_path: Path) -> None:
    for options in ({"allow_sources": ("http://example.org/",)}, {"allow_networks": ("10.1.2.3/16",)}):
        with pytest.raises(Emow2vError, match="--allow-"):
            Server(ServerOptions(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", **options))  # type: ignore[arg-type]
    with pytest.raises(Emow2vError, match="--allow-network has no effect without --allow-source or --allow-callback"):
        Server(ServerOptions(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", allow_networks=webs.LOOPBACK))


@pytest.mark.slow
def test_a_server_with_its_worker_processes(data: Path, site: webs.Site, tmp_path: Path) -> None:
    options = ServerOptions(
        port=0, data_dirs=[data], work_dir=tmp_path / "work", allow_sources=(site.host,), allow_networks=webs.LOOPBACK
    )
    with Server(options).running() as url:
        answer = httpx.post(f"{url}/v1/predictions", data={"url": site.url()}, timeout=120)
        assert answer.status_code == 200 and answer.json()["rows"]
