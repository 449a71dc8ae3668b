"""Which recordings of the data folders clients may see, and choose."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from emow2v.model import Model
from emow2v.server.options import ServerOptions
from emow2v.server.routes import data_files
from object_stores import ObjectStore
from servers import app
from waiting import until

NOTHING = {"listed": False, "folder": "", "folders": [], "files": [], "more": False}


@pytest.fixture
def listing(lite: Model, data: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A server whose administrator named its data folder; a second of speech lies in it."""
    served = app(lite.card, [data], tmp_path / "work", lambda name: lite, data_dirs=[data])
    with TestClient(served, raise_server_exceptions=False) as one:
        yield one


def test_recordings_turns_and_folders_are_listed(listing: TestClient, data: Path) -> None:
    (data / "study 1").mkdir()
    for name in ("Talk.eaf", "notes.docx", "talk.csv", "a.MP3", ".hidden.wav"):
        (data / name).write_bytes(b"1234")
    answer = listing.get("/v1/files")
    told = answer.json()
    assert answer.headers["cache-control"] == "no-store" and told["folders"] == ["study 1"] and not told["more"]
    assert [(one["path"], one["turns"]) for one in told["files"]] == [
        ("a.MP3", False),
        ("Talk.eaf", True),
        ("talk.wav", False),
    ]
    assert [one["size"] for one in told["files"]] == [4, 4, (data / "talk.wav").stat().st_size]
    (data / "study 1" / "ä.wav").touch()
    told = listing.get("/v1/files", params={"folder": "/study 1/"}).json()
    assert told["folder"] == "study 1" and [one["path"] for one in told["files"]] == ["study 1/ä.wav"]


def test_a_listed_path_can_be_computed(listing: TestClient, data: Path) -> None:
    (path,) = [one["path"] for one in listing.get("/v1/files").json()["files"]]
    job = listing.post("/v1/predictions", data={"path": path, "wait": "false"}).json()["id"]
    until(lambda: listing.get(f"/v1/jobs/{job}").json()["state"] == "finished")


@pytest.mark.parametrize("folder", ["..", "%2e%2e", "s1/../..", "/etc", "C:\\", "..\\..", "talk.wav", "never", "\0"])
def test_no_other_folder_is_listed(listing: TestClient, data: Path, folder: str) -> None:
    (data.parent / "secret.wav").touch()
    answer = listing.get("/v1/files", params={"folder": folder})
    assert answer.status_code in (400, 404) and re.search("folder|path", answer.json()["error"])
    assert "secret" not in answer.text


def test_nothing_is_listed_unless_the_administrator_named_a_folder(client: TestClient) -> None:
    assert client.get("/v1/files").json() == client.get("/v1/files", params={"folder": ".."}).json() == NOTHING
    assert not ServerOptions().lists_data and ServerOptions(data_dirs=(Path(),)).lists_data


def test_strangers_see_nothing(lite: Model, data: Path, tmp_path: Path) -> None:
    served = app(lite.card, [data], tmp_path / "work", lambda name: lite, data_dirs=[data], token="secret word")
    with TestClient(served) as one:
        assert one.get("/v1/files").status_code == 401
        assert one.get("/v1/files", headers={"Authorization": "Bearer secret word"}).json()["listed"]
        elsewhere = {"Authorization": "Bearer secret word", "Origin": "https://example.org"}
        assert "access-control-allow-origin" not in one.get("/v1/files", headers=elsewhere).headers


def test_a_folder_with_very_many_entries_says_so(
    listing: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "MOST", 3)
    for number in range(5):
        (data / f"{number}.wav").touch()
    told = listing.get("/v1/files").json()
    assert [one["name"] for one in told["files"]] == ["0.wav", "1.wav", "2.wav"] and told["more"]
    for number in (2, 3, 4):
        (data / f"{number}.wav").unlink()
    told = listing.get("/v1/files").json()
    assert len(told["files"]) == 3 and not told["more"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_left_out(listing: TestClient, data: Path) -> None:
    (data / os.fsdecode(b"\xff.wav")).touch()
    assert [one["name"] for one in listing.get("/v1/files").json()["files"]] == ["talk.wav"]


def test_a_data_folder_at_an_address_is_listed_and_computed(
    store: ObjectStore, lite: Model, data: Path, tmp_path: Path
) -> None:
    store.put("in/b/there.wav", (data / "talk.wav").read_bytes())
    store.put("in/notes.docx", b"1234")
    served = app(lite.card, [data], tmp_path / "work", lambda name: lite, data_dirs=[data, "s3://study/in"])
    with TestClient(served, raise_server_exceptions=False) as one:
        told = one.get("/v1/files").json()
        assert told["folders"] == ["b"] and [file["path"] for file in told["files"]] == ["talk.wav"]
        told = one.get("/v1/files", params={"folder": "b"}).json()
        assert [(file["path"], file["size"]) for file in told["files"]] == [
            ("b/there.wav", (data / "talk.wav").stat().st_size)
        ]
        values = [
            one.post("/v1/predictions", data={"path": path, "unit": "files", "format": "json"}).json()["rows"]
            for path in ("talk.wav", "b/there.wav")
        ]
        assert values[0] == values[1]


def test_data_folders_are_told_from_addresses() -> None:
    options = ServerOptions(data_dirs=("here", "s3://study/in", Path("there")))
    assert options.data_folders == [Path("here"), Path("there")] and options.data_stores == ("s3://study/in",)
