"""Requests that state more than the disk has room for: whose files they may remove, and how long they hold room."""

import contextlib
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from emow2v.discover.places import Places
from emow2v.server.jobs.store import Store
from emow2v.server.options import ServerOptions
from emow2v.server.work_folder.admission import RoomCheck
from emow2v.server.work_folder.disk import Disk, NoRoom
from laboratories import Laboratory, idle

MB = 1_000_000
BODY = {"file": ("a.wav", b"x")}


def finished(served: Laboratory, name: str) -> None:
    """A job of anna with an upload of a megabyte."""
    uploads = served.work / "people" / "anna" / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    (uploads / f"{name}.wav").write_bytes(bytes(MB))
    served.store.submit(name, {"upload": f"{name}.wav"}, kind="prediction", owner="anna")
    job = served.store.claim("w")
    assert job is not None and served.store.end(job)


@pytest.fixture
def served(tmp_path: Path) -> Laboratory:
    made = idle(tmp_path, max_disk_gb=3 * MB / 1e9)
    for name in ("a", "b"):
        finished(made, name)
    return made


def test_a_stranger_removes_nothing(served: Laboratory) -> None:
    before = served.snapshot()
    for path in ("/upload", "/process"):
        answer = served.client("").post(path, files=BODY, headers={"content-length": str(2 * MB)})
        assert answer.status_code == 401, answer.text
    assert served.snapshot() == before
    form = BODY | {"token": (None, served.tokens["bob"])}  # as NOVA sends it
    assert served.client("").post("/upload", files=form).status_code == 200
    served.store.close()


def test_a_person_makes_room_but_not_for_more_than_there_can_be(served: Laboratory) -> None:
    before = served.snapshot()
    anna = served.client("anna")
    answer = anna.post("/upload", files=BODY, headers={"content-length": str(9 * MB)})
    assert answer.status_code == 507 and "--max-disk" in answer.json()["error"]
    assert served.snapshot() == before
    assert anna.post("/upload", files=BODY, headers={"content-length": str(MB)}).status_code == 200
    assert not (served.work / "people" / "anna" / "uploads" / "a.wav").exists()
    served.store.close()


def test_room_is_held_until_the_body_has_come(tmp_path: Path) -> None:
    store, places = Store(tmp_path / "jobs.sqlite"), Places([tmp_path], tmp_path / "work")
    places.work_dir.mkdir()
    disk = Disk(store, places, ServerOptions(max_disk_gb=MB / 1e9))

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(NoRoom):
            disk.admit(MB - 100)
        await Request(scope, receive).body()
        disk.look()  # what has come would be counted in the folder by now
        disk.admit(MB - 100)
        await Response("done")(scope, receive, send)

    def refuse(status: int, sentence: str) -> ASGIApp:
        return Response(sentence, status)

    with contextlib.closing(store):
        client = TestClient(RoomCheck(waiting, disk, refuse))
        assert client.post("/upload", content=bytes(MB // 2)).text == "done"
