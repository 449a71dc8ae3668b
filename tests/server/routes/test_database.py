"""Requests with `db:` inputs and outputs, over the wire; the reference's own handlers judge what lies in the database."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

import nova_databases
from emow2v.cards import Card
from emow2v.discover.places import Places
from emow2v.discover.task import DiscoverTask
from emow2v.errors import RequestError
from emow2v.model import Model
from emow2v.nova.connection import Databases
from emow2v.trajectory import DIMENSIONS
from mongo_wire import MongoWire, mongo_wire
from nova_databases import form
from servers import app
from waiting import until

Made = Callable[..., TestClient]
PASSWORD = "s3cret-of-the-database"


@pytest.fixture
def made(lite: Model, data: Path, tmp_path: Path) -> Iterator[Made]:
    """Makes clients of servers that allow databases."""
    with ExitStack() as stack:

        def make(port: int, **options: object) -> TestClient:
            allowed = {"allow_databases": (f"127.0.0.1:{port}",), "database_no_tls": True, **options}
            served = app(lite.card, [data], tmp_path / "work", lambda name: lite, **allowed)
            return stack.enter_context(TestClient(served, raise_server_exceptions=False))

        yield make


@pytest.fixture
def study(data: Path, tmp_path: Path) -> str:
    """A dataset whose sessions have a recording of anna; gives its name."""
    return nova_databases.recordings(data, tmp_path.name.replace("-", "_")[-40:])


@pytest.fixture
def wire(study: str) -> Iterator[MongoWire]:
    with mongo_wire() as server:
        with pymongo.MongoClient("127.0.0.1", server.port, directConnection=True) as client:
            nova_databases.dataset(client[study])
        server.commands.clear()
        yield server


@pytest.fixture(params=["briskdb", "wire"])
def port(request: pytest.FixtureRequest, study: str, tmp_path: Path) -> Iterator[int]:
    if request.param == "wire":
        yield request.getfixturevalue("wire").port
        return
    with nova_databases.briskdb(tmp_path / "briskdb") as port:
        with pymongo.MongoClient("127.0.0.1", port, directConnection=True, retryWrites=False) as client:
            nova_databases.dataset(client[study])
        yield port


def ended(client: TestClient) -> int:
    def status() -> int:
        return int(client.post("/job_status", data={"jobID": "nova"}).json()["status"])

    until(lambda: status() > 1)
    return status()


def run(client: TestClient, posted: dict[str, str]) -> str:
    """Post a request and wait for its end; gives its error."""
    answer = client.post("/process", data=posted)
    assert answer.status_code == 200, answer.text
    ended(client)
    return str(client.post("/job_status", data={"jobID": "nova"}).json().get("error", ""))


def handler(kind: str, port: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """A handler of the reference, connected."""
    made = getattr(pytest.importorskip("discover_utils.data.handler.nova_db_handler"), kind)(**options)
    monkeypatch.setenv("DISCOVER_USE_TLS", "false")
    made.connect("127.0.0.1", port)
    return made


def test_the_reference_loads_what_a_request_of_nova_writes(
    made: Made, port: int, study: str, data: Path, lite: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(made(port), form(port, study, ["first", "second"], embedding=True)) == ""
    expected = lite.predict(data / "talk.wav")
    annotations = handler("AnnotationHandler", port, monkeypatch)
    streams = handler("StreamHandler", port, monkeypatch, data_dir=str(data))
    for session in ("first", "second"):
        for column, name in enumerate(DIMENSIONS):
            loaded = annotations.load(study, name, session, "emow2v", "anna")
            np.testing.assert_allclose(loaded.data["score"], np.clip(expected.scores[:, column], 0, 1), atol=2e-6)
            assert not loaded.meta_data.is_locked and loaded.annotation_scheme.sample_rate == 25
        stream = streams.load(study, session, "anna", "emow2v")
        np.testing.assert_allclose(stream.data, expected.embeddings, atol=1e-4)
        assert stream.meta_data.db_sample_rate == 25
    for one in (annotations, streams):
        one.client.close()


def test_an_annotation_is_replaced_only_on_request_and_a_locked_one_never(made: Made, port: int, study: str) -> None:
    client, overwrite = made(port), json.dumps({"overwrite": True})
    posted = form(port, study, ["first"])
    assert run(client, posted) == ""
    again = client.post("/process", data=posted)
    assert again.status_code == 400
    assert again.json()["error"] == (
        "The annotation arousal of anna in the session first by emow2v is there already; choose another annotator, or "
        'replace it with options={"overwrite": true}.'
    )
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True, retryWrites=False) as database:
        old = {one["data_id"] for one in database[study].Annotations.find({})}
        database[study].AnnotationData.update_one({"_id": min(old)}, {"$set": {"labels": []}})  # somebody's work
        assert run(client, {**posted, "options": overwrite}) == ""
        assert (
            len(list(database[study].AnnotationData.find({}))) == len(list(database[study].Annotations.find({}))) == 3
        )
        assert all(one["labels"] for one in database[study].AnnotationData.find({}))
        database[study].Annotations.update_one({}, {"$set": {"isLocked": True}})
    locked = client.post("/process", data={**posted, "options": overwrite})
    assert locked.status_code == 400 and "is locked; unlock it in NOVA" in locked.json()["error"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dbHost": "10.0.0.1"}, "The database at 10.0.0.1:{port} is not allowed here"),
        ({"dbHost": "a b"}, "dbHost is a b; expected a host"),
        ({"dbPort": "99999"}, "expected one number up to 65535"),
        ({"dbPort": "x"}, "expected one number"),
        ({"dbHost": "127.0.0.1:1"}, "The port of the database is {port} and 1; expected one number"),
        ({"dbHost": "mongodb://u:p@127.0.0.1"}, "expected a host"),
        ({"dbPassword": "x"}, "dbPassword is set without dbUser"),
        ({"dataset": "admin"}, "dataset is admin; expected the name of a dataset"),
        ({"dataset": "a/../b"}, "expected the name of a dataset"),
        ({"dataset": "other"}, "The dataset other has no session first"),
        ({"sessions": '["third"]'}, "has no session third; check its spelling"),
        ({"sessions": '["first", "first"]'}, "sessions lists first twice"),
        ({"role": "nobody"}, "does not exist; expected a recording"),
        ({"role": "../../anna"}, "cannot be part of a path"),
        ({"name": "video"}, "has no stream video"),
        ({"scheme": "joy"}, "has no scheme joy; check its spelling, or make it in NOVA first"),
        ({"scheme": "activity"}, "The scheme activity is DISCRETE; expected a CONTINUOUS one"),
        ({"annotator": "nobody"}, "has no annotator nobody"),
        ({"annotator": "\ud800"}, "has a name with a control character"),
        ({"dbUser": "a", "dbPassword": "\0"}, "dbPassword holds a character"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused_in_one_sentence(
    made: Made, wire: MongoWire, study: str, change: dict[str, str], sentence: str
) -> None:
    posted = form(wire.port, study, ["first"])
    key = next(iter(change))
    if key in posted:
        posted |= change
    else:
        entries = json.loads(posted["data"])
        next(one for one in entries if key in one).update(change)
        posted["data"] = json.dumps(entries)
    answer = made(wire.port).post("/process", data=posted)
    assert answer.status_code == 400
    assert sentence.format(port=wire.port) in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert not any(name in wire.commands for name in ("insert", "update", "delete"))


def test_a_recording_that_is_too_long_for_a_document_is_refused_before_any_work(
    made: Made, wire: MongoWire, study: str
) -> None:
    for scheme in wire.collection(study, "Schemes")[:3]:
        scheme["sr"] = 500_000.0  # of a recording of a second
    answer = made(wire.port).post("/process", data=form(wire.port, study, ["first"]))
    assert answer.status_code == 400
    assert "would have 500000 values" in answer.json()["error"] and "a part of the recording" in answer.json()["error"]
    assert set(wire.commands) == {"find"}


def test_no_database_is_allowed_by_default(made: Made, wire: MongoWire, study: str) -> None:
    answer = made(wire.port, allow_databases=()).post("/process", data=form(wire.port, study, ["first"]))
    assert answer.status_code == 400 and "is not allowed here" in answer.json()["error"]
    assert wire.commands == []


def test_a_user_s_password_is_used_and_then_forgotten(
    made: Made, wire: MongoWire, study: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wire.users = {"nova": PASSWORD}
    client = made(wire.port)
    for user, password in (("nova", "wrong"), ("other", PASSWORD), ("", "")):
        posted = form(wire.port, study, ["first"], dbUser=user, dbPassword=password)
        answer = client.post("/process", data=posted)
        assert answer.status_code == 400 and PASSWORD not in answer.text
        expected = f"refuses the user {user}; check dbUser and dbPassword" if user else "requests without a user"
        assert expected in answer.json()["error"]
    assert run(client, form(wire.port, study, ["first"], dbUser="nova", dbPassword=PASSWORD)) == ""
    assert len(wire.collection(study, "Annotations")) == 3
    until(lambda: not list((tmp_path / "work" / "passwords").iterdir()))  # its worker's last act
    shown = [client.get(path).text for path in ("/job_status_all", "/data", "/log/nova", "/v1/jobs")]
    files = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    assert PASSWORD not in "".join(shown) + caplog.text and PASSWORD.encode() not in stored
    assert [path.name for path in files if path.parent.name == "passwords"] == []


def test_a_cancelled_job_s_password_is_forgotten(made: Made, wire: MongoWire, study: str, tmp_path: Path) -> None:
    wire.users = {"nova": PASSWORD}
    client, began, go = made(wire.port), threading.Event(), threading.Event()

    def hold(name: str, command: dict[str, Any]) -> str:
        if name == "insert":
            began.set()
            go.wait(60)
        return ""

    wire.fate = hold
    posted = form(wire.port, study, ["first"], dbUser="nova", dbPassword=PASSWORD)
    assert client.post("/process", data=posted).status_code == 200
    assert began.wait(60)
    assert client.post("/process", data=posted | {"jobID": "waits"}).status_code == 200
    kept = tmp_path / "work" / "passwords"
    assert len(list(kept.iterdir())) == 2
    for job in ("waits", "nova"):
        assert client.post("/cancel", data={"jobID": job}).json() == {"success": "true"}
    go.set()
    assert list(kept.iterdir()) == []
    until(lambda: not wire.collection(study, "AnnotationData"))  # the labels that were on their way
    assert wire.collection(study, "Annotations") == []


def test_the_administrator_s_user_counts_where_a_request_has_none(made: Made, wire: MongoWire, study: str) -> None:
    wire.users = {"server": PASSWORD}
    client = made(wire.port, database_user="server", database_password=PASSWORD)
    assert run(client, form(wire.port, study, ["first"])) == ""
    assert len(wire.collection(study, "Annotations")) == 3


def test_a_session_that_fails_does_not_keep_the_others_from_their_results(
    made: Made, wire: MongoWire, study: str
) -> None:
    lost = iter(range(3))  # every attempt to store the first labels
    wire.fate = lambda name, command: "cut" if name == "insert" and next(lost, None) is not None else ""
    error = run(made(wire.port), form(wire.port, study, ["second", "first"]))
    assert error.startswith("1 of 2 sessions failed; the first is session second: NOVA's database at 127.0.0.1:")
    sessions = {one["_id"]: one["name"] for one in wire.collection(study, "Sessions")}
    assert [sessions[one["session_id"]] for one in wire.collection(study, "Annotations")] == ["first"] * 3
    assert len(wire.collection(study, "AnnotationData")) == 3


def test_an_annotation_that_people_make_while_the_job_runs_is_left(made: Made, wire: MongoWire, study: str) -> None:
    ids = {name: wire.collection(study, name)[-1]["_id"] for name in ("Sessions", "Annotators")}
    theirs = {"_id": 1, "session_id": ids["Sessions"], "annotator_id": ids["Annotators"], "data_id": 2}
    theirs |= {
        "role_id": wire.collection(study, "Roles")[0]["_id"],
        "scheme_id": wire.collection(study, "Schemes")[1]["_id"],
    }

    def meanwhile(name: str, command: dict[str, Any]) -> str:
        if name == "insert" and theirs not in wire.collection(study, "Annotations"):
            wire.collection(study, "Annotations").append(theirs)
            wire.collection(study, "AnnotationData").append({"_id": 2, "labels": []})
        return ""

    wire.fate = meanwhile
    error = run(made(wire.port), form(wire.port, study, ["first", "second"]))
    assert "1 of 2 sessions failed; the first is session second: The annotation dominance of anna" in error
    assert "is there already" in error and theirs in wire.collection(study, "Annotations")
    assert len(wire.collection(study, "Annotations")) == len(wire.collection(study, "AnnotationData")) == 4


def test_a_job_that_starts_again_finds_what_it_wrote_and_not_what_people_changed(
    made: Made, wire: MongoWire, study: str, data: Path, tmp_path: Path, lite: Model
) -> None:
    posted = form(wire.port, study, ["first"])
    assert run(made(wire.port), posted) == ""
    places = Places([data], tmp_path / "work", databases=Databases((f"127.0.0.1:{wire.port}",), tls=False))

    def check(card: Card) -> None:
        task = DiscoverTask("nova", posted, places, stored=True)
        try:
            task.check(card)
        finally:
            task.close()

    check(lite.card)
    wire.collection(study, "AnnotationData")[1]["labels"][0]["score"] = 0.125
    with pytest.raises(RequestError, match="is there already"):
        check(lite.card)


def test_turns_come_from_discrete_and_free_annotations(
    made: Made, wire: MongoWire, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations = handler("AnnotationHandler", wire.port, monkeypatch)
    saved = annotations.load(study, "transcript", "first", "emow2v", "anna", header_only=True)
    saved.data = np.array([(100, 600, "hello", 1.0), (700, 950, "so", 1.0)], saved.annotation_scheme.label_dtype)
    annotations.save(saved, study, "first", "emow2v", "anna", "transcript")
    annotations.client.close()
    posted = form(wire.port, study, ["first"])
    turns = {
        "src": "db:annotation:Free",
        "type": "input",
        "id": "turns",
        "scheme": "transcript",
        "annotator": "emow2v",
        "role": "anna",
    }
    client = made(wire.port)
    assert run(client, {**posted, "data": json.dumps([*json.loads(posted["data"]), turns])}) == ""
    listed = client.get("/v1/jobs/nova/turns").json()
    assert (listed["source"], listed["name"]) == ("file", "anna.transcript.emow2v")
    (tier,) = listed["tiers"]
    assert (tier["name"], tier["speaker"], [turn["label"] for turn in tier["turns"]]) == (
        "transcript",
        "anna",
        ["hello", "so"],
    )


def test_values_in_the_database_are_on_the_job_s_page_and_in_no_fetched_file(
    made: Made, wire: MongoWire, study: str, data: Path, lite: Model
) -> None:
    client = made(wire.port)
    assert run(client, form(wire.port, study, ["first", "second"])) == ""
    for session in (0, 1):
        table = client.get("/v1/jobs/nova/result", params={"session": session, "format": "json"}).json()
        place = table["columns"].index("arousal")
        scores = [row[place : place + 3] for row in table["rows"]]
        np.testing.assert_allclose(scores, lite.predict(data / "talk.wav").scores, atol=2e-6)
    assert client.post("/fetch_result", data={"jobID": "nova"}).status_code == 404


def test_turns_for_other_modules_are_left_out_without_waiting_for_each_session(
    made: Made, wire: MongoWire, study: str, data: Path
) -> None:
    wire.fate = lambda name, command: "cut"
    turns = {
        "src": "db:annotation:Free",
        "type": "input",
        "id": "words",
        "scheme": "transcript",
        "annotator": "a",
        "role": "anna",
    }
    posted = form(wire.port, study, ["first", "second"])
    entries = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "talk.wav"},
        {"src": "file:annotation", "type": "output", "id": "arousal", "uri_template": "{session}.annotation"},
        turns,
    ]
    client = made(wire.port)
    assert run(client, {**posted, "data": json.dumps(entries)}) == ""
    log = client.post("/log", data={"jobID": "nova"}).json()["message"]
    assert log.count("The input 'words' was ignored: NOVA's database at") == 2
    # each try is repeated once by the driver: one at the post, one for the job
    assert wire.commands == ["find"] * 4
