"""The list of jobs: pages that hold while jobs come and go, filters, and whose jobs they show."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from emow2v.server.jobs import history
from emow2v.server.jobs.store import Store
from laboratories import SINGLE, Laboratory, idle


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    made = idle(tmp_path)
    yield made
    made.store.close()


def post(store: Store, job_id: str, owner: str = "anna", name: str = "talk.wav", **form: str) -> None:
    store.submit(job_id, {"path": name, **form}, kind="prediction", owner=owner, name=name)


def finish(store: Store, model: str = "lite") -> str:
    job = store.claim("a worker")
    assert job is not None
    store.set_provenance(job, {"model": model})
    store.end(job)
    return job.id


def ids(client: TestClient, **query: str) -> list[str]:
    answer = client.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()]


def pages(client: TestClient, first: str) -> Iterator[list[str]]:
    """Follow the links as any client does (httpx parses the header, RFC 8288), from an address on."""
    answer = client.get(first)
    while True:
        assert answer.status_code == 200, answer.text
        yield [job["id"] for job in answer.json()]
        if "next" not in answer.links:
            return
        answer = client.get(answer.url.join(answer.links["next"]["url"]))


def test_pages_by_their_links(laboratory: Laboratory) -> None:
    for number in range(7):
        post(laboratory.store, str(number))
        post(laboratory.store, str(number), owner="bob")
    client = laboratory.client("anna")
    assert list(pages(client, "/v1/jobs?limit=3")) == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert list(pages(client, "/v1/jobs?limit=7")) == [["6", "5", "4", "3", "2", "1", "0"]]  # no empty page follows
    assert "link" not in client.get("/v1/jobs").headers
    whole = [one for page in pages(laboratory.client("boss"), "/v1/jobs?limit=4&state=waiting") for one in page]
    assert whole == [f"{name}:{number}" for number in range(6, -1, -1) for name in ("bob", "anna")]


actions = st.lists(st.one_of(st.just("post"), st.integers(0, 30)), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 12), st.integers(1, 5), st.lists(actions, max_size=8))
def test_pages_hold_while_jobs_are_posted_and_erased(
    laboratory: Laboratory, count: int, limit: int, between: list[list[object]]
) -> None:
    store, client = laboratory.store, laboratory.client("anna")
    for old in store.all():
        store.cancel(old.id, old.owner)
        store.erase(old)
    for number in range(count):
        post(store, f"{number:03}")
    stays, seen, steps = {job.id for job in store.all()}, [], iter(between)
    for page in pages(client, f"/v1/jobs?limit={limit}"):
        seen += page
        for action in next(steps, []):
            jobs = store.all()
            if action == "post":
                post(store, f"new {len(store.all())} {len(seen)} {store.all()[-1].number if jobs else 0}")
            elif jobs:
                gone = jobs[int(str(action)) % len(jobs)]
                store.cancel(gone.id, gone.owner)
                assert store.erase(gone) is not None
                stays.discard(gone.id)
    assert len(seen) == len({*seen}), "a job came twice"
    assert stays <= {*seen}, "a job that was there all the time was left out"
    assert seen == sorted(seen, reverse=True) and all(not one.startswith("new") for one in seen)


def test_filters(laboratory: Laboratory) -> None:
    store, anna = laboratory.store, laboratory.client("anna")
    post(store, "a", name="Gespräch 1.wav")
    post(store, "b", name="STRASSE.wav")
    store.submit("c", {"jobID": "c"}, owner="anna", name="c")
    assert [finish(store), finish(store, "msp-dim")] == ["a", "b"]
    assert ids(anna, state="finished") == ["b", "a"] and ids(anna, state="waiting") == ["c"]
    assert ids(anna, kind="process") == ["c"] and ids(anna, kind="prediction") == ["b", "a"]
    assert ids(anna, model="lite") == ["a"] and ids(anna, model="none") == []
    assert ids(anna, name="gespräch") == ["a"] and ids(anna, name="GESPRA\u0308CH") == ["a"]  # composed or not
    assert ids(anna, name="straße") == ["b"] and ids(anna, name="%") == [] and ids(anna, name=".wav") == ["b", "a"]
    assert ids(anna, state="finished", kind="prediction", model="msp-dim", name="s") == ["b"]
    for query, sentence in ({"state": "gone"}, "state"), ({"kind": "any"}, "kind"), ({"limit": "0"}, "limit"):
        refused = anna.get("/v1/jobs", params=query)
        assert refused.status_code == 422 and sentence in refused.json()["error"]


def test_times_of_posting(laboratory: Laboratory) -> None:
    store, anna = laboratory.store, laboratory.client("anna")
    times = {"a": "2026-11-24T23:59:59.999", "b": "2026-11-25T00:00:00.000", "c": "2026-11-25T23:59:59.999"}
    times["d"] = "2026-11-26T00:00:00.000"
    for name, moment in times.items():
        post(store, name)
        with store._data.write() as database:
            database.execute("UPDATE jobs SET posted = ? WHERE id = ?", (f"{moment}+00:00", name))
    assert ids(anna, since="2026-11-25") == ["d", "c", "b"] and ids(anna, until="2026-11-25") == ["c", "b", "a"]
    assert ids(anna, since="2026-11-25", until="2026-11-25") == ["c", "b"]  # that day
    assert ids(anna, until="2026-11-25T00:00:00Z") == ["b", "a"] and ids(anna, since="2026-11-26T00:00") == ["d"]
    assert ids(anna, since="2026-11-25T02:00:00+02:00") == ["d", "c", "b"]  # httpx escapes the plus sign
    unescaped = anna.get("/v1/jobs?since=2026-11-26T02:00:00+02:00")
    assert [job["id"] for job in unescaped.json()] == ["d"]
    for text in (
        "soon",
        "2026-13-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-10:00",
        "12:00",
        "2026-11-25 x",
    ):
        refused = anna.get("/v1/jobs", params={"since": text})
        assert refused.status_code == 422 and "expected a date or a time" in refused.json()["error"], text


def test_owners_are_for_administrators(laboratory: Laboratory) -> None:
    for owner in ("anna", "bob", ""):
        post(laboratory.store, f"{owner or 'none'}s", owner=owner)
    boss, anna, single = (laboratory.client(name) for name in ("boss", "anna", SINGLE))
    assert ids(boss, owner="anna") == ["anna:annas"] and ids(boss, owner="") == [":nones"]
    assert ids(boss, owner="nobody") == [] and ids(single, owner="bob") == ["bob:bobs"]
    assert ids(anna, owner="anna") == ["annas"] == ids(anna)
    answers = {anna.get("/v1/jobs", params={"owner": other}).text for other in ("bob", "nobody", "")}
    assert len(answers) == 1 and "administrator" in answers.pop()  # nothing says who exists
    assert anna.get("/v1/jobs", params={"owner": "bob"}).status_code == 403


def test_a_cursor_belongs_to_its_list_and_its_reader(laboratory: Laboratory) -> None:
    for number in range(3):
        post(laboratory.store, str(number))
        post(laboratory.store, str(number), owner="bob")
    anna = laboratory.client("anna")
    link = anna.get("/v1/jobs?limit=1&state=waiting").links["next"]["url"]
    cursor = link.partition("cursor=")[2]
    assert ids(anna, cursor=cursor, state="waiting") == ["1", "0"]  # a page may have another size
    others = [
        (anna, {}),
        (anna, {"state": "waiting", "kind": "process"}),
        (laboratory.client("bob"), {"state": "waiting"}),
    ]
    for client, query in [*others, (laboratory.client("boss"), {"state": "waiting"}), (anna, {"cursor": "5"})]:
        refused = client.get("/v1/jobs", params={"cursor": cursor, **query})
        assert refused.status_code == 422 and "none of this list" in refused.json()["error"]


def test_cursors_hold_across_a_restart(laboratory: Laboratory) -> None:
    for number in range(3):
        post(laboratory.store, str(number))
    link = laboratory.client("anna").get("/v1/jobs?limit=1").links["next"]["url"]
    laboratory.store.close()
    again = idle(laboratory.work.parent)
    again.tokens |= laboratory.tokens
    assert [job["id"] for job in again.client("anna").get(f"/v1/{link}").json()] == ["1"]
    again.store.close()


def test_the_position_of_each_waiting_job(laboratory: Laboratory) -> None:
    for number in range(9):
        post(laboratory.store, str(number), owner=("anna", "bob")[number % 2])
    laboratory.store.claim("a worker")
    listed = laboratory.client("bob").get("/v1/jobs?limit=2").json()
    assert [(job["id"], job["position"]) for job in listed] == [("7", 6), ("5", 4)]


def test_jobs_of_an_earlier_version_are_found_by_name(laboratory: Laboratory) -> None:
    post(laboratory.store, "a", name="Interview.wav")
    laboratory.store.submit("b", {"jobID": "b"}, owner="anna")
    path = laboratory.store.path
    laboratory.store.close()
    with sqlite3.connect(path) as database:  # a store of format 6
        for statement in (
            "DROP INDEX jobs_by_model",
            "DROP TABLE keys",
            "DROP TABLE secrets",
            "PRAGMA user_version = 6",
        ):
            database.execute(statement)
        database.execute("ALTER TABLE jobs DROP COLUMN name")
        database.execute("ALTER TABLE replaced DROP COLUMN name")
    database.close()
    again = idle(laboratory.work.parent)
    again.tokens |= laboratory.tokens
    state = again.app.state.server
    history.clear(state.store, state.places, 30)  # as each start does
    assert ids(again.client("anna"), name="interview") == ["a"] and ids(again.client("anna"), name="b") == ["b"]
    assert json.loads(again.client("anna").get("/v1/jobs?limit=1").text)[0]["id"] == "b"
    again.store.close()
