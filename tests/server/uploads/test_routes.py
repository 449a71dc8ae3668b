"""The statuses of tus, whose an upload is, what limits it, and what becomes of it."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import asgi
from emow2v.discover.places import Places
from emow2v.server.jobs import history
from emow2v.server.jobs.store import OverLimit
from emow2v.server.options import ServerOptions
from emow2v.server.work_folder.backup import back_up
from emow2v.server.work_folder.disk import Disk
from emow2v.server.work_folder.restore import restore
from laboratories import SINGLE, Laboratory, idle, short, to_fetch

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {"Content-Type": "application/offset+octet-stream"}
MB = 1_000_000


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Laboratory]:
    made = idle(tmp_path)
    yield made
    made.store.close()


def named(name: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


def create(client: TestClient, length: int, **more: str) -> str:
    answer = client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(length)} | more)
    assert answer.status_code == 201, answer.text
    return f"/v1/{answer.headers['location']}"


def send(client: TestClient, path: str, offset: int, content: bytes, **more: str) -> httpx.Response:
    return client.patch(path, content=content, headers=TUS | BODY | {"Upload-Offset": str(offset)} | more)


def finished(client: TestClient, content: bytes, name: str = "talk.wav") -> str:
    path = create(client, len(content), **named(name))
    assert send(client, path, 0, content).status_code == 204
    return path.rpartition("/")[2]


def head(client: TestClient, path: str) -> httpx.Response:
    return client.head(path, headers=TUS)


def test_what_the_server_offers(served: Laboratory) -> None:
    answer = served.client("anna").options("/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0" and answer.headers["tus-max-size"] == str(2000 * MB)
    extensions = {"creation", "creation-with-upload", "termination", "expiration", "checksum"}
    assert set(answer.headers["tus-extension"].split(",")) == extensions
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PATCH", {"Tus-Resumable": ""}, 412),
        ("PATCH", {"Tus-Resumable": "0.2.2"}, 412),
        ("HEAD", {"Tus-Resumable": "0.2.2"}, 412),
        ("DELETE", {"Tus-Resumable": "2.0.0"}, 412),
        ("PATCH", {"Content-Type": "application/octet-stream"}, 415),
        ("PATCH", {"Content-Type": ""}, 415),
        ("PATCH", {"Upload-Offset": "4"}, 409),
        ("PATCH", {"Upload-Offset": "99"}, 409),
        ("PATCH", {"Upload-Offset": "-1"}, 400),
        ("PATCH", {"Upload-Offset": ""}, 400),
        ("PATCH", {"Upload-Offset": "٣"}, 400),
        ("PATCH", {"Upload-Checksum": "crc32 AAAA"}, 400),
        ("PATCH", {"Upload-Checksum": "sha1 AAAA"}, 400),
        ("PATCH", {"Upload-Checksum": "sha1 " + base64.b64encode(bytes(20)).decode()}, 460),
        ("PATCH", {}, 204),
    ],
)
def test_each_status_of_the_protocol(served: Laboratory, method: str, headers: dict[str, str], status: int) -> None:
    anna = served.client("anna")
    path = create(anna, 10)
    assert send(anna, path, 0, b"123").status_code == 204
    chosen = {key: value.encode() for key, value in (TUS | BODY | {"Upload-Offset": "3"} | headers).items() if value}
    answer = anna.request(method, path, headers=chosen, content=b"45" if method == "PATCH" else None)
    assert answer.status_code == status, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert ("tus-version" in answer.headers) == (status == 412)
    if status >= 400 and method != "HEAD":
        assert answer.json()["error"].endswith(".")
    assert head(anna, path).headers["upload-offset"] == ("5" if status == 204 else "3")


def test_more_bytes_than_the_upload_has_left_are_refused(served: Laboratory) -> None:
    anna = served.client("anna")
    path = create(anna, 4)
    assert send(anna, path, 0, b"12345").status_code == 413
    assert send(anna, path, 0, b"1234").status_code == 204
    assert send(anna, path, 4, b"").status_code == 204  # asked again, because the answer was lost
    assert send(anna, path, 4, b"5").status_code == 413
    assert send(anna, path, 0, b"1234").status_code == 409


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Length": "1.5"}, 400),
        ({"Upload-Length": str(2000 * MB + 1)}, 413),
        ({"Upload-Length": "9" * 40}, 413),
        ({"Upload-Length": "1", "Upload-Metadata": "filename"}, 201),  # an empty value
        ({"Upload-Length": "1", "Upload-Metadata": ""}, 201),
        ({"Upload-Length": "1", "Upload-Metadata": "filename ???"}, 400),
        ({"Upload-Length": "1", "Upload-Metadata": "filename /w=="}, 400),
        ({"Upload-Length": "1", "Upload-Metadata": "a YQ==,a YQ=="}, 400),
        ({"Upload-Length": "1", "Upload-Metadata": "a YQ==,,b YQ=="}, 400),
        ({"Upload-Length": "1", "Upload-Metadata": "a YQ==, b YQ==,c"}, 201),
        ({"Upload-Length": "1", "Tus-Resumable": "1.0.1"}, 412),
    ],
)
def test_what_can_be_created(served: Laboratory, headers: dict[str, str], status: int) -> None:
    answer = served.client("anna").post("/v1/uploads", headers=TUS | headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example(name="Gespräch 😀.wav")
@example(name="..\\..\\talk.wav")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_file_may_have_any_name(served: Laboratory, name: str) -> None:
    anna = served.client("anna")
    for one in anna.get("/v1/uploads").json():  # of a name that failed
        anna.delete(f"/v1/uploads/{one['id']}", headers=TUS)
    path = create(anna, 3, **named(name))
    assert head(anna, path).headers["upload-metadata"].strip() == named(name)["Upload-Metadata"].strip()
    (listed,) = anna.get("/v1/uploads").json()
    assert (listed["state"], listed["offset"], listed["length"]) == ("unfinished", 0, 3)
    if name.isprintable():
        assert listed["name"] == name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    assert anna.delete(path, headers=TUS).status_code == 204
    assert anna.get("/v1/uploads").json() == [] and head(anna, path).status_code == 404


def test_an_upload_may_bring_its_first_bytes(served: Laboratory) -> None:
    anna = served.client("anna")
    headers = TUS | BODY | {"Upload-Length": "5"}
    answer = anna.post("/v1/uploads/", headers=headers, content=b"123")
    assert answer.status_code == 201 and answer.headers["upload-offset"] == "3" and "upload-expires" in answer.headers
    path = str(answer.request.url.join(answer.headers["location"]))
    assert send(anna, path, 3, b"45").headers["upload-offset"] == "5"
    digest = base64.b64encode(hashlib.sha1(b"other").digest()).decode()
    answer = anna.post("/v1/uploads", headers=headers | {"Upload-Checksum": f"sha1 {digest}"}, content=b"123")
    assert answer.status_code == 460 and len(anna.get("/v1/uploads").json()) == 1  # nobody knows the address of another
    answer = anna.post("/v1/uploads", headers=headers | {"Content-Type": "text/plain"}, content=b"123")
    assert answer.status_code == 415


def test_the_method_may_be_in_a_header(served: Laboratory) -> None:
    anna = served.client("anna")
    path = create(anna, 3)
    headers = TUS | BODY | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert anna.post(path, headers=headers, content=b"123").headers["upload-offset"] == "3"
    other_site = {"Sec-Fetch-Site": "cross-site", "X-HTTP-Method-Override": "DELETE"}
    assert anna.post(path, headers=TUS | other_site).status_code == 403
    assert anna.post(path, headers=TUS | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert anna.post(path, headers=TUS | {"X-HTTP-Method-Override": "GET"}).status_code == 405


def test_an_upload_belongs_to_a_name(served: Laboratory) -> None:
    anna, bob = served.client("anna"), served.client("bob")
    path = create(anna, 5, **named("talk.wav"))
    assert send(anna, path, 0, b"123").status_code == 204
    whole = finished(anna, b"12345")
    before = served.snapshot()
    for other in (bob, served.client("boss"), served.client(SINGLE)):
        for one in (path, f"/v1/uploads/{whole}", "/v1/uploads/abcdefghijkl.wav"):
            assert head(other, one).status_code == 404
            assert send(other, one, 3, b"45").status_code == 404
            assert other.delete(one, headers=TUS).status_code == 404
            refused = other.post("/v1/predictions", data={"upload": one.rpartition("/")[2], "wait": "false"})
            assert refused.status_code == 404 and "no upload" in refused.json()["error"]
        assert other.get("/v1/uploads").json() == []
    assert served.client("").get("/v1/uploads").status_code == 401
    assert served.snapshot() == before
    assert {one["state"] for one in anna.get("/v1/uploads").json()} == {"unfinished", "finished"}


def test_a_finished_upload_is_the_recording_of_jobs(served: Laboratory) -> None:
    anna = served.client("anna")
    sound = short(served.data).read_bytes()
    path = create(anna, len(sound), **named("Gespräch.wav"))
    upload_id = path.rpartition("/")[2]
    assert send(anna, path, 0, sound[:100]).status_code == 204
    form = {"upload": upload_id, "wait": "false"}
    early = anna.post("/v1/predictions", data=form)
    assert early.status_code == 409 and f"100 of {len(sound)} bytes" in early.json()["error"]
    assert send(anna, path, 100, sound[100:]).status_code == 204
    place = served.work / "people" / "anna" / "uploads" / upload_id
    number = place.stat().st_ino
    for more, words in (({"path": "short.wav"}, "2 recordings"), ({"frame_step": "soon"}, "frame_step")):
        refused = anna.post("/v1/predictions", data=form | more)
        assert refused.status_code == 400 and words in refused.json()["error"]
        assert place.exists()  # a wrong field loses no recording
    refused = anna.post("/v1/predictions", data=form, files={"file": ("a.wav", sound)})
    assert refused.status_code == 400 and "file and upload" in refused.json()["error"]
    jobs = [anna.post("/v1/predictions", data=form).json() for _ in range(2)]  # twice: each job has it
    assert [job["name"] for job in jobs] == ["Gespräch.wav"] * 2
    assert place.stat().st_ino == number and place.read_bytes() == sound  # the same file, no copy
    assert anna.get("/v1/uploads").json() == []  # it is that of jobs now
    assert head(anna, path).headers["upload-offset"] == str(len(sound))
    assert anna.delete(path, headers=TUS).status_code == 409
    for number, job in enumerate(jobs):
        assert place.exists()
        erased = anna.delete(f"/v1/jobs/{job['id']}")
        assert erased.status_code == 200, (number, erased.text)
    assert not place.exists() and not list((served.work / "people" / "anna" / "incoming").iterdir())
    assert head(anna, path).status_code == 404
    assert anna.post("/v1/predictions", data=form).status_code == 404


def test_a_finished_upload_is_an_input_of_discover(served: Laboratory) -> None:
    anna = served.client("anna")
    upload_id = finished(anna, short(served.data).read_bytes())
    posted = anna.post("/process", data=to_fetch(served.data, upload_id, jobID="a"))
    assert posted.status_code == 200, posted.text
    assert anna.delete(f"/v1/uploads/{upload_id}", headers=TUS).status_code == 409
    assert anna.delete("/v1/jobs/a").status_code == 200
    assert head(anna, f"/v1/uploads/{upload_id}").status_code == 404


def test_jobs_that_are_forgotten_leave_the_upload_to_others(served: Laboratory) -> None:
    anna = served.client("anna")
    upload_id = finished(anna, short(served.data).read_bytes())
    for _ in range(2):
        assert anna.post("/v1/predictions", data={"upload": upload_id, "wait": "false"}).status_code == 202
    job = served.store.claim("w")
    assert job is not None and served.store.end(job)
    places = Places([served.data], served.work)
    place = served.work / "people" / "anna" / "uploads" / upload_id
    history.forget(served.store, places, ServerOptions(keep_jobs=0))
    assert len(served.store.all()) == 1 and place.exists()
    job = served.store.claim("w")
    assert job is not None and served.store.end(job)
    history.forget(served.store, places, ServerOptions(keep_jobs=0))
    assert not list(place.parent.iterdir()) and not list((place.parents[1] / "incoming").iterdir())


def test_an_unfinished_upload_expires(served: Laboratory) -> None:
    anna = served.client("anna")
    paths = [create(anna, 5, **named("talk.wav")) for _ in range(3)]
    for path in paths:
        assert send(anna, path, 0, b"123").status_code == 204
    expires = head(anna, paths[0]).headers["upload-expires"]
    assert time.time() < time.mktime(time.strptime(expires, "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
    incoming = served.work / "people" / "anna" / "incoming"
    old = time.time() - 86400 - 60
    for path in paths[:2]:
        os.utime(incoming / path.rpartition("/")[2], (old, old))
    assert head(anna, paths[0]).status_code == 410
    assert send(anna, paths[0], 3, b"45").status_code == 410
    assert anna.post("/v1/predictions", data={"upload": paths[0].rpartition("/")[2]}).status_code == 410
    places = Places([served.data], served.work)
    orphan = incoming / "abcdefghijkl.wav"  # of a server that was killed before it could write the details
    orphan.write_bytes(b"1")
    os.utime(orphan, (old, old))
    served.app.state.server.resumable.sweep(places)
    assert sorted(one.name for one in incoming.iterdir()) == sorted(
        [paths[2].rpartition("/")[2], paths[2].rpartition("/")[2] + ".json"]
    )
    assert head(anna, paths[0]).status_code == 404
    assert head(anna, paths[2]).status_code == 200


def test_a_finished_upload_that_nobody_uses_goes_as_others(served: Laboratory) -> None:
    anna = served.client("anna")
    upload_id = finished(anna, b"12345")
    place = served.work / "people" / "anna" / "uploads" / upload_id
    old = time.time() - 31 * 86400
    os.utime(place, (old, old))
    places = Places([served.data], served.work)
    history.forget(served.store, places, ServerOptions())
    assert not place.exists() and head(anna, f"/v1/uploads/{upload_id}").status_code == 410
    served.app.state.server.resumable.sweep(places)
    assert not list((place.parents[1] / "incoming").iterdir())


def test_limits_of_a_name(tmp_path: Path) -> None:
    served = idle(tmp_path, max_kept_each_mb=1.0)
    anna = served.client("anna")
    path = create(anna, 600_000)
    assert send(anna, path, 0, bytes(500_000)).status_code == 204
    refused = anna.post("/v1/uploads", headers=TUS | {"Upload-Length": "600000"})
    assert refused.status_code == 429 and "each name has 1 MB" in refused.json()["error"]
    other = create(anna, 450_000)
    assert send(anna, other, 0, bytes(450_000)).status_code == 204
    assert send(anna, path, 500_000, bytes(100_000)).status_code == 429  # nothing is reserved by what was declared
    assert head(anna, path).headers["upload-offset"] == "500000"
    assert anna.delete(other, headers=TUS).status_code == 204
    assert send(anna, path, 500_000, bytes(100_000)).status_code == 204
    served.store.close()


def test_bytes_that_have_come_are_not_counted_twice(tmp_path: Path) -> None:
    served = idle(tmp_path, max_kept_each_mb=1.0)
    anna, own = served.client("anna"), served.app.state.server.jobs
    path = create(anna, 700_000)

    def parts() -> Iterator[bytes]:
        yield bytes(600_000)
        own.check_room(200_000)  # as another request of the name at this time
        with pytest.raises(OverLimit, match=r"have 0\.6 MB, 0\.1 MB are coming, and this is 0\.3 MB more"):
            own.check_room(350_000)
        yield bytes(100_000)

    headers = TUS | BODY | {"Upload-Offset": "0", "Content-Length": "700000"}
    headers |= {"Authorization": anna.headers["authorization"]}
    assert asgi.ask(served.app, "PATCH", path, headers, parts()).status == 204
    assert send(anna, create(anna, 200_000), 0, bytes(200_000)).status_code == 204
    served.store.close()


def test_nothing_stays_of_an_upload_whose_first_bytes_have_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = idle(tmp_path, max_kept_each_mb=0.1)
    anna, own = served.client("anna"), served.app.state.server.jobs
    monkeypatch.setattr(type(own), "check_room", lambda own, more: None)  # the room was taken behind this check
    refused = anna.post("/v1/uploads", content=bytes(200_000), headers=TUS | BODY | {"Upload-Length": "200000"})
    assert refused.status_code == 429
    assert anna.get("/v1/uploads").json() == []
    served.store.close()


def test_room_on_the_disk(tmp_path: Path) -> None:
    served = idle(tmp_path, max_disk_gb=0.003)
    anna = served.client("anna")
    refused = anna.post("/v1/uploads", headers=TUS | {"Upload-Length": str(4 * MB)})
    assert refused.status_code == 507 and "--max-disk" in refused.json()["error"]
    paths = [create(anna, 2 * MB) for _ in range(2)]
    assert send(anna, paths[0], 0, bytes(2 * MB)).status_code == 204
    assert send(anna, paths[1], 0, bytes(2 * MB)).status_code == 507
    assert head(anna, paths[1]).headers["upload-offset"] == "0"
    disk: Disk = served.app.state.server.disk
    disk.look()
    assert disk.usage().uploads >= 2 * MB
    assert anna.delete(paths[0], headers=TUS).status_code == 204
    disk.look()
    assert send(anna, paths[1], 0, bytes(2 * MB)).status_code == 204
    kept = served.client("boss").get("/metrics").text
    assert 'emow2v_kept_bytes{kind="uploads"} 2.0' in kept and 'route="/v1/uploads/..."' in kept
    served.store.close()


def test_an_upload_that_is_only_declared_removes_nothing_of_others(tmp_path: Path) -> None:
    served = idle(tmp_path, max_disk_gb=0.003)
    bob, anna = served.client("bob"), served.client("anna")
    place = served.work / "people" / "bob" / "uploads" / finished(bob, bytes(2 * MB))
    os.utime(place, (time.time() - 7200,) * 2)  # nobody needs it for long, so that it may go
    paths = [create(anna, 2 * MB) for _ in range(3)]
    assert place.exists()
    assert send(anna, paths[0], 0, bytes(2 * MB)).status_code == 204
    assert not place.exists()
    served.store.close()


def test_too_many_unfinished_uploads(served: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emow2v.server.uploads.files.MOST_UNFINISHED", 2)
    anna = served.client("anna")
    paths = [create(anna, 1) for _ in range(2)]
    refused = anna.post("/v1/uploads", headers=TUS | {"Upload-Length": "1"})
    assert refused.status_code == 429 and "unfinished" in refused.json()["error"]
    assert send(anna, paths[0], 0, b"1").status_code == 204
    create(anna, 1)


def test_a_larger_body_than_other_routes_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emow2v.server.security.access.MAX_FORM", 1000)
    served = idle(tmp_path, max_upload_mb=0.01)
    anna = served.client("anna")
    path = create(anna, 10_000)
    assert send(anna, path, 0, bytes(9000)).status_code == 204
    assert anna.post("/v1/uploads", headers=TUS | {"Upload-Length": "10001"}).status_code == 413
    served.store.close()


def test_the_audit_log_has_them(served: Laboratory) -> None:
    anna = served.client("anna")
    path = create(anna, 5, **named("Mrs Miller.wav"))
    assert send(anna, path, 0, b"123").status_code == 204
    assert anna.get("/v1/uploads").status_code == 200
    assert anna.delete(path, headers=TUS).status_code == 204
    text = (served.work / "audit.ndjson").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    assert [(one["name"], one["action"], one.get("what", ""), one["bytes"]) for one in entries] == [
        ("anna", "upload", "", 5),
        ("anna", "erase", "upload", entries[1]["bytes"]),
    ]
    assert entries[1]["files"] == 2 and "Miller" not in text


def test_a_backup_has_them(served: Laboratory, tmp_path: Path) -> None:
    anna = served.client("anna")
    path = create(anna, 5, **named("talk.wav"))
    assert send(anna, path, 0, b"123").status_code == 204
    back_up(served.work, tmp_path / "backup.zip")
    assert anna.delete(path, headers=TUS).status_code == 204
    served.store.close()
    restore(tmp_path / "backup.zip", served.work, overwrite=True)
    again = idle(tmp_path, named=False)
    again.tokens |= served.tokens
    anna = again.client("anna")
    assert head(anna, path).headers["upload-offset"] == "3"
    assert send(anna, path, 3, b"45").status_code == 204
    again.store.close()


@pytest.mark.parametrize("verb", ["PATCH", "DELETE"])
def test_another_request_that_ends_an_upload_first_is_a_conflict(
    served: Laboratory, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A second request finishes or removes the upload after the first has found it, and before the first may write."""
    anna = served.client("anna")
    path = create(anna, 5)
    disk: Disk = served.app.state.server.disk
    admit, statuses = disk.admit, []

    def admit_late(size: int) -> None:
        monkeypatch.undo()
        second = send(anna, path, 0, b"first") if verb == "PATCH" else anna.delete(path, headers=TUS)
        statuses.append(second.status_code)
        admit(size)

    monkeypatch.setattr(disk, "admit", admit_late)
    answer = send(anna, path, 0, b"other")
    assert statuses == [204]
    assert answer.status_code == 409 and "ask for its offset (HEAD)" in answer.json()["error"]
    left = {file.name for file in served.work.rglob("*") if file.name.startswith(path.rpartition("/")[2])}
    if verb == "PATCH":
        assert head(anna, path).headers["upload-offset"] == "5"
    else:
        assert not left and head(anna, path).status_code == 404


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(
            st.sampled_from(["", "0", "1", "3", "-1", "1e3", "9" * 25, "9" * 5000, "1.0.0", "sha1 ", "a YQ==", "\xff", "²"]),
            st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=20),
        )
        for name in ("Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Checksum", "Content-Type",
                     "X-HTTP-Method-Override", "Upload-Defer-Length", "Upload-Concat", "Transfer-Encoding", "Expect")
    },
)  # fmt: skip


@given(
    method=st.sampled_from(["POST", "PATCH", "HEAD", "DELETE", "OPTIONS", "GET", "PUT"]),
    where=st.sampled_from(["", "/", "/{known}", "/{known}/", "/abcdefghijkl", "/%00", "/\xff", "/{known}.json", "/{known}.verified"]),
    good=st.lists(st.sampled_from(["tus", "body", "offset", "length"]), unique=True),
    odd=HEADERS,
    content=st.binary(max_size=20),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@pytest.mark.slow
def test_no_header_is_an_error_of_the_server(
    served: Laboratory, method: str, where: str, good: list[str], odd: dict[str, str], content: bytes
) -> None:
    anna = served.client("anna")
    known = create(anna, 10).rpartition("/")[2]
    chosen = {"tus": TUS, "body": BODY, "offset": {"Upload-Offset": "0"}, "length": {"Upload-Length": "10"}}
    headers = {key: value for name in good for key, value in chosen[name].items()} | odd
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = anna.request(method, f"/v1/uploads{where.replace('{known}', known)}", headers=raw, content=content)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    assert answer.headers["tus-resumable"] == "1.0.0"
    if answer.status_code >= 400 and method != "HEAD" and answer.content:
        assert answer.json()["error"].count("\n") == 0
    for one in anna.get("/v1/uploads").json():
        anna.delete(f"/v1/uploads/{one['id']}", headers=TUS)
