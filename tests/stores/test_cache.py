"""Data folders at addresses: what a request may read there, and nothing else; objects are fetched once."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emow2v.discover.places import Places
from emow2v.errors import RequestError
from emow2v.stores import cache, connection
from emow2v.stores.cache import StoredFolders
from object_stores import ObjectStore
from webs import serving


@pytest.fixture
def places(store: ObjectStore, tmp_path: Path) -> Places:
    for name in ("in/talk.wav", "in/b/talk.wav", "in/b/both.wav", "in/.hidden/x.wav", "secret.wav"):
        store.put(name, name.encode())
    (tmp_path / "data" / "b").mkdir(parents=True)
    (tmp_path / "data" / "b" / "both.wav").write_bytes(b"here")
    return Places([tmp_path / "data"], tmp_path / "work", stores=["s3://study/in"])


def test_inputs_are_found_here_and_then_there(places: Places, store: ObjectStore) -> None:
    assert places.input("b/both.wav").read_bytes() == b"here"
    found = places.input("b/talk.wav")
    assert found.read_bytes() == b"in/b/talk.wav" and found.name == "talk.wav"
    assert found.is_relative_to(places.work_dir / "fetched")
    assert places.input("b\\talk.wav") == found
    modified = found.stat().st_ino
    assert places.input("b/talk.wav").stat().st_ino == modified  # fetched once
    store.put("in/b/talk.wav", b"new")
    assert places.input("b/talk.wav").read_bytes() == b"new"


@pytest.mark.parametrize(
    "uri",
    ["../secret.wav", "b/../../secret.wav", "/secret.wav", "s3://study/secret.wav", ".hidden/x.wav", "b//talk.wav", "",
     "zip://x::talk.wav", "b", "none.wav", "./talk.wav", "*.wav"],
)  # fmt: skip
def test_nothing_else_is_read(places: Places, uri: str) -> None:
    with pytest.raises(RequestError):
        places.input(uri)
    assert not (places.work_dir / "fetched").exists()


def test_folders_list_both(places: Places) -> None:
    assert places.stored_entries("") == {"talk.wav": ("file", 11), "b": ("folder", 0)}
    assert places.stored_entries("b") == {"talk.wav": ("file", 13), "both.wav": ("file", 13)}
    assert list(places.entries("b")) == ["both.wav"] and places.stored_entries("none") == {}
    with pytest.raises(RequestError, match="does not exist"):
        places.entries("none")
    with pytest.raises(RequestError, match="hidden"):
        places.entries(".hidden")


def test_names_on_a_web_server_are_names_and_lead_nowhere_else(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "site" / "in").mkdir(parents=True)
    for name in ("in/100% one.wav", "in/two.wav", "secret.wav"):
        (tmp_path / "site" / name).write_bytes(name.encode())
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            places = Places([], tmp_path / "work", stores=[f"http://127.0.0.1:{server.server_port}/in"])
            assert set(places.stored_entries("")) == {"100% one.wav", "two.wav"}
            found = places.input("100% one.wav")
            assert (found.name, found.read_bytes()) == ("100% one.wav", b"in/100% one.wav")
            for uri in ("%2e%2e/secret.wav", "x/%2E./%2e%2e/secret.wav", "..%2fsecret.wav", "two.wav?x", "two.wav#x"):
                with pytest.raises(RequestError, match="does not exist"):
                    places.input(uri)
        finally:
            server.shutdown()


def test_outputs_are_written_here_only(places: Places, tmp_path: Path) -> None:
    assert places.output("b/x.csv", ".csv") == (tmp_path / "data" / "b" / "x.csv").resolve()
    with pytest.raises(RequestError, match="which are only read"):
        Places([], tmp_path / "work", stores=["s3://study/in"]).output("x.csv", ".csv")


def test_a_store_that_refuses_is_a_sentence(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        Places([], tmp_path / "work", stores=["s3://nowhere/in"]).input("talk.wav")


def test_a_web_server_that_fails_is_no_missing_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(connection.again, "__defaults__", ((),))
    for status, words in ((500, "its server answers with status 500"), (404, "does not exist; expected a recording")):
        with serving(lambda handler, status=status: handler.send_error(status)) as site:
            folders = Places([], tmp_path / "work", stores=[site.url("/in")])
            with pytest.raises(RequestError, match=words):
                folders.input("talk.wav")


def test_what_was_not_asked_for_longest_makes_room(
    places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = StoredFolders(["s3://study/in"], tmp_path / "fetched")
    first = folders.find("talk.wav")
    monkeypatch.setattr(cache, "KEPT_BYTES", 20)
    second = folders.find("b/talk.wav")
    assert first and second and not first.exists() and second.exists()
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == [second.parent.name]
