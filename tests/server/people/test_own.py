"""What belongs to a name is unknown to every other name, on every route of the application."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import Response
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.server.jobs import history
from emow2v.server.jobs.store import OverLimit, Store
from emow2v.server.options import ServerOptions
from emow2v.server.people.own import OwnJobs
from emow2v.server.people.person import Call, Person, begin_call, end_call
from laboratories import SINGLE, Laboratory, idle, short, to_fetch, tokens_of
from servers import app
from waiting import until

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
UNKNOWN = "nobody-has-it"

# Addresses without an id in them, and where else an id may be: a new route has to be added here, or the test fails.
ELSEWHERE: dict[str, str] = {
    "/job_status": "form", "/log": "form", "/cancel": "form", "/fetch_result": "form", "/process": "form",
    "/cml_info": "form", "/upload": "form", "/login": "form", "/logout": "form", "/api/update_progress": "json",
    "/v1/results": "jobs", "/together": "jobs", "/v1/jobs": "list", "/job_status_all": "list", "/data": "list",
    "/v1/predictions": "file", "/v1/batches": "file", "/v1/files": "", "/v1/models": "", "/v1/disk": "",
    "/v1/uploads": "list", "/v1/uploads/": "list", "/v1/openapi.json": "", "/v1/docs": "", "/": "", "/live": "",
    "/metrics": "", "/healthz": "", "/readyz": "", "/static/plotly.min.js": "", "/static": "", "/v1/stream": "",
}  # fmt: skip


def finish(client: TestClient, job_id: str) -> None:
    until(lambda: client.get(f"/v1/jobs/{job_id}").json()["state"] == "finished")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laboratory, dict[str, str]]]:
    """Anna has finished jobs of both kinds, a waiting and a running one, and uploads; gives their ids and names."""
    import emow2v

    lite = emow2v.load("lite")
    folder = tmp_path_factory.mktemp("laboratory")
    data, work = folder / "data", folder / "work"
    data.mkdir()
    short(data)
    tokens = tokens_of(work)
    ids: dict[str, str] = {}
    served = app(lite.card, [data], work, lambda name: lite, token=SINGLE)
    with TestClient(served) as client:
        for name in ("anna", "bob"):
            client.headers["Authorization"] = f"Bearer {tokens[name]}"
            sound = short(folder, seconds=2 if name == "anna" else 1).read_bytes()
            upload = client.post("/upload", files={"file": ("own.wav", sound)}).text
            answer = client.post("/process", data=to_fetch(data, upload, jobID="talk9"))
            assert answer.status_code == 200, answer.text
            finish(client, "talk9")
            if name == "anna":
                turns = ("turns.srt", b"1\n00:00:00,200 --> 00:00:00,900\nGood morning.\n")
                form = {"speech": "true", "embeddings": "true", "wait": "false"}
                files = {"file": ("own.wav", sound), "segments": turns}
                ids["prediction"] = client.post("/v1/predictions", files=files, data=form).json()["id"]
                finish(client, ids["prediction"])
                many = [("file", ("own.wav", sound)), ("file", ("other.wav", sound))]
                ids["batch"] = client.post("/v1/batches", files=many, data={"embeddings": "true"}).json()["id"]
                finish(client, ids["batch"])
                ids |= {"upload": upload}
    made = idle(folder)
    made.tokens |= tokens
    for job_id in ("runs", "waits"):
        made.store.submit(job_id, {"path": "short.wav"}, kind="prediction", owner="anna")
    claimed = made.store.claim("a worker")
    assert claimed is not None and claimed.id == "runs"
    ids |= {"finished": "only-annas", "running": "runs", "waiting": "waits", "same": "talk9"}
    made.store.submit("only-annas", {}, owner="anna")
    yield made, ids
    made.store.close()


def routes(of: Starlette | FastAPI | Mount, before: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Every address of an application with its methods."""
    for one in of.routes or ():
        if isinstance(one, Route):
            yield before + one.path, frozenset(one.methods or METHODS)
        elif isinstance(one, WebSocketRoute):
            yield before + one.path, frozenset()
        else:
            assert isinstance(one, Mount), one
            if isinstance(one.app, StaticFiles):
                yield before + one.path, frozenset()
            else:
                yield from routes(one, before + one.path)


def plain(answer: Response, job_id: str) -> tuple[int, str, str]:
    """An answer without the id that was asked for."""
    kind = answer.headers.get("content-type", "")
    return answer.status_code, kind, answer.text.replace(job_id, "ID")


def asked(client: TestClient, method: str, path: str, where: str, job_id: str) -> Response:
    """Ask an address for a job."""
    if "{" in path:
        address = re.sub(r"\{(job_id|job_id:path|upload_id)\}", job_id, path)
        return client.request(method, address, headers={"Tus-Resumable": "1.0.0"})  # which uploads require
    if where == "form":
        form = {"jobID": job_id, "delete_after_download": "True"}
        return client.request(method, path, data=form if method not in ("GET", "HEAD", "OPTIONS") else None)
    if where == "json":
        return client.request(method, path, json={"job_key": job_id, "progress": "1"})
    return client.request(method, path, params={"jobs": f"{job_id},{job_id}"} if where == "jobs" else None)


def test_every_route_is_known_to_this_test(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    served, _ = laboratory
    paths = {path for path, _ in routes(served.app)}
    assert {path for path in paths if "{" not in path} == set(ELSEWHERE)
    with_id = {path for path in paths if "{" in path}
    assert len(with_id) > 10 and all(
        path.count("{") == 1 and ("{job_id" in path or "{upload_id" in path) for path in with_id
    )


def test_what_is_annas_is_unknown_to_bob(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    """Every id, every route, every method: bob is told what he is told of an id that nobody has, and nothing changes."""
    served, ids = laboratory
    bob = served.client("bob")
    before = served.snapshot()
    seen = 0
    hers = (ids["prediction"], ids["finished"], ids["running"], ids["waiting"])
    for job_id, unknown in (
        *((one, UNKNOWN) for one in hers),
        ("anna:talk9", f"carla:{UNKNOWN}"),
        (":talk9", f":{UNKNOWN}"),
    ):
        for path, methods in routes(served.app):
            where = ELSEWHERE.get(path, "")
            if "{" not in path and where not in ("form", "json", "jobs"):
                continue
            for method in METHODS:
                answer = asked(bob, method, path, where, job_id)
                nobody = asked(bob, method, path, where, unknown)
                assert plain(answer, job_id) == plain(nobody, unknown), (method, path, job_id)
                if "{" in path and method in methods - {"OPTIONS"}:  # it tells nothing of what is there
                    assert answer.status_code == 404, (method, path, job_id)
                    seen += 1
    assert seen > 80
    assert bob.post("/cancel", data={"jobID": ids["waiting"]}).status_code == 404
    assert bob.post("/fetch_result", data={"jobID": ids["prediction"]}).status_code == 404
    assert bob.get("/v1/results", params={"jobs": ids["prediction"]}).status_code == 404
    assert bob.post("/job_status", data={"jobID": ids["waiting"]}).json() == {"known": "false", "status": 0}
    assert served.snapshot() == before


def test_the_same_requests_by_anna_find_her_jobs(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    """A check that cannot fail is none."""
    served, ids = laboratory
    anna = served.client("anna")
    for path, methods in routes(served.app):
        if "{job_id" in path and "GET" in methods and "events" not in path:
            kind = "batch" if path.endswith(("/files", "/failures", "/zip")) else "prediction"
            assert asked(anna, "GET", path, "", ids[kind]).status_code == 200, path
    assert anna.post("/job_status", data={"jobID": ids["waiting"]}).json() == {"status": 0}
    assert anna.get("/v1/results", params={"jobs": ids["prediction"]}).status_code == 200


def test_nobody_without_a_token_is_told_anything(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    served, ids = laboratory
    nobody, prometheus = served.client(""), served.client("prometheus")
    before = served.snapshot()
    opened = {"/healthz", "/readyz", "/login", "/logout", "/static"}
    for path, _ in routes(served.app):
        if path in opened or path == "/v1/stream":
            continue
        for method in METHODS:
            where = ELSEWHERE.get(path, "")
            assert asked(nobody, method, path, where, ids["prediction"]).status_code in (401, 405), (method, path)
            expected = (200, 405) if path == "/metrics" else (403, 405)
            assert asked(prometheus, method, path, where, ids["prediction"]).status_code in expected, (method, path)
    assert served.client("bob").get("/metrics").status_code == 403
    assert served.client("boss").get("/metrics").status_code == 200
    assert served.snapshot() == before


def test_lists_have_the_callers_jobs_only(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    served, ids = laboratory
    hers = {"talk9", ids["prediction"], ids["batch"], "runs", "waits", "only-annas"}
    for name, expected in (
        ("anna", hers),
        ("bob", {"talk9"}),
        ("boss", {f"anna:{one}" for one in hers} | {"bob:talk9"}),
        (SINGLE, {f"anna:{one}" for one in hers} | {"bob:talk9"}),
    ):
        client = served.client(name)
        jobs = client.get("/v1/jobs").json()
        assert {job["id"] for job in jobs} == expected
        assert {job["owner"] for job in jobs} == ({"anna", "bob"} if name in ("boss", SINGLE) else {name})
        for listed in (client.get("/job_status_all").json(), client.get("/data").json()["data"]):
            assert {job["job_key"] for job in listed} == expected, name
        if name == "bob":
            assert "anna" not in client.get("/job_status_all").text and ids["upload"] not in client.get("/data").text
        for job in jobs:  # every id that is listed can be asked for
            assert client.get(f"/v1/jobs/{job['id']}").json() == job
            assert client.get(f"/log/{job['id']}").status_code == 200


def test_two_names_have_jobs_and_results_of_one_id(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    served, _ = laboratory
    fetched = {}
    for name in ("anna", "bob"):
        client = served.client(name)
        answer = client.post("/fetch_result", data={"jobID": "talk9"})
        assert answer.status_code == 200
        fetched[name] = answer.content
        rows = client.get("/v1/jobs/talk9/rows").json()
        assert rows["total"] == (50 if name == "anna" else 25)
    assert fetched["anna"] != fetched["bob"]
    boss = served.client("boss")
    assert boss.get("/v1/jobs/anna:talk9/rows").json()["total"] == 50
    assert boss.post("/fetch_result", data={"jobID": "bob:talk9"}).status_code == 200
    assert boss.get("/v1/jobs/talk9").status_code == 404  # whose?
    assert boss.get("/v1/jobs/waits").json()["id"] == "anna:waits"  # there is only one


def test_an_upload_of_another_name_does_not_exist(laboratory: tuple[Laboratory, dict[str, str]]) -> None:
    served, ids = laboratory
    bob, anna, before = served.client("bob"), served.client("anna"), served.snapshot()
    absolute = str(served.work / "people" / "anna" / "uploads" / ids["upload"])
    stolen = (ids["upload"], absolute, f"../../anna/uploads/{ids['upload']}", f"people/anna/uploads/{ids['upload']}")
    for name in stolen:
        unknown = name.replace(ids["upload"], "nobodyhasone.wav")
        for field in ("path", "segments_path"):
            form = {"path": "short.wav", "unit": "turns", "wait": "false"}
            answer = bob.post("/v1/predictions", data=form | {field: name})
            nobody = bob.post("/v1/predictions", data=form | {field: unknown})
            assert answer.status_code == 400 and plain(answer, name) == plain(nobody, unknown), name
        answer, nobody = (bob.post("/v1/batches", data={"path": one}) for one in (name, unknown))
        assert answer.status_code == 400 and plain(answer, name) == plain(nobody, unknown), name
        for make in (
            lambda one: to_fetch(served.data, one, jobID="b"),
            lambda one: (
                to_fetch(served.data, jobID="b") | {"data": to_fetch(served.data)["data"].replace("short.wav", one)}
            ),
        ):
            answer, nobody = bob.post("/process", data=make(name)), bob.post("/process", data=make(unknown))
            assert answer.status_code == 400 and plain(answer, name) == plain(nobody, unknown), name
    assert served.snapshot() == before
    form = to_fetch(served.data, ids["upload"], jobID="again")
    assert anna.post("/process", data=form).status_code == 200  # whose it is
    assert anna.post("/cancel", data={"jobID": "again"}).json() == {"success": "true"}
    assert anna.delete("/v1/jobs/again").status_code == 200


def test_posting_an_id_of_another_name_replaces_nothing(tmp_path: Path) -> None:
    served = idle(tmp_path)
    short(served.data)
    anna, bob = served.client("anna"), served.client("bob")
    for client in (anna, bob):
        assert client.post("/process", data=to_fetch(served.data, jobID="a")).json() == {
            "success": "True",
            "jobID": "a",
        }
        again = client.post("/process", data=to_fetch(served.data, jobID="a"))
        assert again.status_code == 400 and "A job 'a' is waiting" in again.json()["error"]  # their own
    assert bob.post("/cancel", data={"jobID": "a"}).json() == {"success": "true"}
    assert anna.post("/job_status", data={"jobID": "a"}).json() == {"status": 0}
    assert bob.delete("/v1/jobs/a").json()["owner"] == "bob"
    assert [job.owner for job in served.store.all()] == ["anna"]
    single = served.client(SINGLE)
    assert single.post("/process", data=to_fetch(served.data, jobID="a")).status_code == 200
    assert [job["id"] for job in single.get("/v1/jobs").json()] == ["a", "anna:a"]
    assert [job["id"] for job in served.client("boss").get("/v1/jobs").json()] == [":a", "anna:a"]
    assert served.client("boss").get("/v1/jobs/:a").json()["owner"] == ""
    assert [job["id"] for job in anna.get("/v1/jobs").json()] == ["a"]
    assert single.post("/v1/jobs/anna:a/cancel").json()["state"] == "canceled"
    assert single.delete("/v1/jobs/anna:a").status_code == 200
    assert [job.owner for job in served.store.all()] == [""]
    served.store.close()


def test_jobs_of_a_store_without_names_belong_to_the_single_token_and_administrators(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with contextlib.closing(Store(tmp_path / "work" / "jobs.sqlite")) as store:
        store.submit("old", {})
    served = idle(tmp_path)
    assert [job["id"] for job in served.client(SINGLE).get("/v1/jobs").json()] == ["old"]
    assert [job["id"] for job in served.client("boss").get("/v1/jobs").json()] == [":old"]
    assert served.client("anna").get("/v1/jobs").json() == []
    assert served.client("anna").get("/v1/jobs/old").status_code == 404
    served.store.close()


def test_limits_of_each_name(tmp_path: Path) -> None:
    served = idle(tmp_path, max_waiting_each=2, max_hours_each=5 / 3600)
    short(served.data, seconds=2)
    anna, bob, boss = (served.client(name) for name in ("anna", "bob", "boss"))

    def post(client: TestClient, job_id: str) -> Response:
        return client.post("/process", data=to_fetch(served.data, jobID=job_id))

    assert [post(anna, job_id).status_code for job_id in "ab"] == [200, 200]
    full = post(anna, "c")
    assert full.status_code == 429 and "2 of your jobs are waiting" in full.json()["error"]
    full = anna.post("/v1/predictions", data={"path": "short.wav", "wait": "false"})
    assert full.status_code == 429 and "2 of your jobs are waiting" in full.json()["error"]
    assert [job["id"] for job in anna.get("/v1/jobs").json()] == ["b", "a"]  # queued jobs stay
    assert post(bob, "a").status_code == 200 and [post(boss, one).status_code for one in "abc"] == [200, 200, 200]
    for _ in range(2):  # what has run counts, also when it was erased
        claimed = served.store.claim("w")
        assert claimed is not None
        served.store.end(claimed)
    assert anna.delete("/v1/jobs/a").status_code == 200
    over = post(anna, "c")
    assert (
        over.status_code == 429
        and "You have sent 0.00111 h of sound today (UTC), and this is 0.000556 h more" in over.json()["error"]
    )
    assert "retry-after" not in over.headers
    assert anna.post("/v1/jobs/b/cancel").status_code == 200  # what did not run does not count
    assert post(anna, "c").status_code == 200
    assert served.client(SINGLE).post("/process", data=to_fetch(served.data, jobID="z")).status_code == 200
    served.store.close()


def test_sound_that_was_longer_than_stated_counts(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path / "jobs.sqlite")) as store:
        store.submit("a", {}, owner="anna", seconds=1)
        store.submit("b", {}, owner="bob")
        for seconds in (10, 7):
            claimed = store.claim("w")
            assert claimed is not None
            store.end(claimed, seconds=seconds)
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as database:
        assert database.execute("SELECT owner, seconds FROM heard ORDER BY owner").fetchall() == [
            ("anna", 10),
            ("bob", 7),
        ]


def test_live_sound_counts_and_ends_with_the_limit(lite: Model, tmp_path: Path) -> None:
    served = idle(tmp_path, model=lite, max_hours_each=15 / 3600)
    sound = bytes(2 * 16000)  # a second

    def sent(name: str, seconds: int) -> str:
        """The last message of a stream."""
        with served.client(name).websocket_connect("/v1/stream?frame_step=1s") as socket:
            said = socket.receive_text()
            with contextlib.suppress(WebSocketDisconnect):
                for _ in range(seconds):
                    socket.send_bytes(sound)
                socket.send_text("end")
                while True:
                    said = socket.receive_text()
        return said

    assert json.loads(sent("anna", 9))["done"]
    assert "of sound today (UTC), and this is 0 h more" in json.loads(sent("anna", 60))["error"]
    with served.client("anna").websocket_connect("/v1/stream") as socket:
        assert "each name has 0.00417 h a day; send it tomorrow" in json.loads(socket.receive_text())["error"]
    short(served.data)
    assert served.client("anna").post("/process", data=to_fetch(served.data, jobID="a")).status_code == 429
    assert json.loads(sent("bob", 12))["done"] and json.loads(sent("boss", 20))["done"]
    served.store.close()


def test_live_sound_that_cannot_be_counted_ends_its_stream_with_a_sentence(
    lite: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = idle(tmp_path, model=lite, max_hours_each=1)
    with contextlib.closing(sqlite3.connect(served.store.path)) as database:
        database.execute("DROP TABLE heard")
    with contextlib.closing(served.store), served.client("anna").websocket_connect("/v1/stream") as socket:
        assert "The server's list of jobs cannot be used" in json.loads(socket.receive_text())["error"]
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_text()
    assert ended.value.code == 1013 and "Exception in ASGI" not in caplog.text


def test_what_is_forgotten_of_a_name_is_gone_from_its_folder(tmp_path: Path) -> None:
    places = Places([tmp_path], tmp_path / "work")
    with contextlib.closing(Store(tmp_path / "work" / "jobs.sqlite")) as store:
        for owner in ("", "anna", "bob"):
            own = places.of(owner)
            for folder in (own.uploads, own.results("a")):
                folder.mkdir(parents=True)
            (own.uploads / "x.wav").write_text(owner)
            (own.results("a") / "result").write_text(owner)
            store.submit("a", {"upload": "x.wav"}, kind="prediction", owner=owner)
            claimed = store.claim("w")
            assert claimed is not None and store.end(claimed)
        history.clear(store, places, keep_days=0)  # all of them are known
        assert history.erase(store, places, "a", "bob") is not None
        left = {
            owner: sorted(
                one.read_text()
                for one in places.of(owner).own_dir.rglob("*")
                if one.is_file() and one.suffix in ("", ".wav")
            )
            for owner in ("anna", "bob")
        }
        assert left == {"anna": ["anna", "anna"], "bob": []}
        assert (places.uploads / "x.wav").exists() and (places.results("a") / "result").exists()
        history.forget(store, places, ServerOptions(keep_jobs=0))
        assert not any(one.is_file() for one in (tmp_path / "work" / "people").rglob("*"))
        assert not (places.uploads / "x.wav").exists() and not places.results("a").exists()


def test_bytes_of_each_name(tmp_path: Path) -> None:
    served = idle(tmp_path, max_kept_each_mb=0.1)
    sound = short(served.data).read_bytes()  # 32 kB
    anna, bob = served.client("anna"), served.client("bob")
    answers = [anna.post("/upload", files={"file": ("a.wav", sound)}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "each name has 0.1 MB; erase jobs" in answers[-1].json()["error"]
    answer = anna.post("/v1/predictions", files={"file": ("a.wav", sound)}, data={"wait": "false"})
    assert answer.status_code == 429
    assert len(list((served.work / "people" / "anna" / "uploads").iterdir())) == 3
    assert bob.post("/upload", files={"file": ("a.wav", sound)}).status_code == 200
    assert all(served.client("boss").post("/upload", files={"file": ("a.wav", sound)}).text for _ in range(5))
    served.store.close()


def test_uploads_at_the_same_time_share_the_room_of_a_name(tmp_path: Path) -> None:
    served = idle(tmp_path, max_kept_each_mb=0.1)
    own: OwnJobs = served.app.state.server.jobs
    call = Call(Person("anna"))
    begun = begin_call(call)
    with contextlib.closing(served.store):
        with own.room(60_000):  # one is being stored
            own.check_room(40_000)
            with pytest.raises(OverLimit, match=r"0\.1 MB are coming, and this is 0\.1 MB more; each name"):
                own.check_room(60_000)
            call.person = Person("bob")
            own.check_room(60_000)
            call.person = Person("anna")
        own.check_room(60_000)  # it came to nothing
    end_call(begun)


def test_people_take_turns_wherever_they_are(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path / "jobs.sqlite")) as store:
        for job_id, owner, client in (
            ("a1", "anna", "proxy"), ("a2", "anna", "elsewhere"), ("b1", "bob", "proxy"), ("n1", "", "proxy"), ("n2", "", "proxy"),
        ):  # fmt: skip
            store.submit(job_id, {}, owner=owner, client=client)
        order = []
        while (job := store.claim("w")) is not None:
            order.append(job.id)
    assert order == ["a1", "b1", "n1", "a2", "n2"]
