"""What stores refuse is one sentence each, without anything that may be a secret."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emow2v.audio import recording as audio
from emow2v.errors import AudioError
from emow2v.stores import connection, is_address
from object_stores import ObjectStore
from webs import give, move, serving

SECRET = "a-secret-of-tests"


def refusal(address: str) -> str:
    with pytest.raises(AudioError) as raised:
        audio.read(address)
    return str(raised.value)


def test_neither_the_library_nor_the_command_line_imports_fsspec_at_its_start() -> None:
    code = (
        "import sys, emow2v, emow2v.cli.main, emow2v.cli.predict, emow2v.inputs.expand, emow2v.audio.recording; "
        "print(sorted({'fsspec', 's3fs', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_bucket_and_a_missing_object_are_told_apart(store: ObjectStore) -> None:
    assert refusal("s3://nowhere/a.wav") == (
        "s3://nowhere/a.wav does not exist: its bucket does not exist; check the address."
    )
    assert "nothing of that name is there" in refusal("s3://study/a.wav")
    assert "nothing of that name is there" in refusal("s3://study/no bucket/a.wav")
    assert "is a folder" in _with(store, "a/b.wav", lambda: refusal("s3://study/a"))


def _with(store: ObjectStore, key: str, call):
    store.put(key, b"x")
    return call()


@pytest.mark.parametrize(("status", "words"), [(401, "refuses access"), (403, "refuses access"), (404, "does not exist"),
                                              (410, "does not exist"), (400, "status 400")])  # fmt: skip
def test_refusals_of_a_web_server_hide_what_is_signed(status: int, words: str) -> None:
    pytest.importorskip("aiohttp")

    def refuse(handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(refuse) as site:
        sentence = refusal(site.url(f"/talk.wav?X-Signature={SECRET}"))
    assert words in sentence and f"{site.host}/talk.wav" in sentence and SECRET not in sentence


def test_a_server_that_is_not_there_and_an_unknown_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(connection.again, "__defaults__", ((),))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://someone:{SECRET}@127.0.0.1:{bound.getsockname()[1]}/talk.wav"
        assert "cannot be reached" in refusal(address)
        assert SECRET not in refusal(address)
    assert "scheme that fsspec does not know" in refusal("nothing://a/b.wav")


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(connection.again, "__defaults__", ((),))
    monkeypatch.setattr(connection, "_SILENCE_S", 0.3)
    ended = threading.Event()
    try:
        with serving(lambda handler: ended.wait(60)) as site:
            sentence = refusal(site.url())
            ended.set()
    finally:
        ended.set()
    assert f"{site.host}/talk.wav cannot be reached" in sentence and "try again" in sentence


def test_a_server_that_is_busy_is_asked_again() -> None:
    pytest.importorskip("aiohttp")
    answers = []

    def busy_once(handler) -> None:
        answers.append(handler.path)
        if len(answers) == 1:
            handler.send_error(503)
        else:
            give(handler, Path(audio.__file__).read_bytes())

    with serving(busy_once) as site:
        assert connection.fresh_facts(site.url()).size == Path(audio.__file__).stat().st_size


def test_facts_change_with_the_object_and_only_then(store: ObjectStore) -> None:
    store.put("a.wav", b"one")
    first = connection.fresh_facts("s3://study/a.wav")
    assert first == connection.fresh_facts("s3://study/a.wav") and first.size == 3
    store.put("a.wav", b"two")
    assert connection.fresh_facts("s3://study/a.wav").stamp != first.stamp
    store.put("a.wav", b"one")
    assert connection.fresh_facts("s3://study/a.wav") == first


def test_drives_of_windows_are_no_schemes() -> None:
    for name in ("C://data/talk.wav", "c://talk.wav", "talk.wav", "a/b://c"):
        assert not is_address(name)
    for name in ("s3://b/x", "zip://x::s3://b/a.zip", "simplecache::s3://b/x", "HTTPS://host/"):
        assert is_address(name)


@pytest.mark.parametrize(
    "address", ["s3://study/a::b.wav", "http://[::1]:8000/a.wav", "zip://a.wav::http://[::1]:8000/a.zip"]
)
def test_names_and_hosts_with_the_sign_that_joins_addresses(address: str) -> None:
    pytest.importorskip("fsspec")
    assert "holds ::, which joins addresses; expected a name and a host without it" in refusal(address)


def test_a_path_that_was_made_of_an_address() -> None:
    with pytest.raises(AudioError, match=r"does not exist; expected an address as a text: s3://study/a\.wav"):
        audio.read(Path("s3://study/a.wav"))


def test_an_archive_must_be_named() -> None:
    pytest.importorskip("fsspec")
    assert "names no archive; expected it behind ::, as in zip://talk.wav::talks.zip" in refusal("zip://a.wav")


def test_a_broken_archive_is_called_so(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "a.zip").write_bytes(b"no zip")
    assert "(File is not a zip file); check the archive." in refusal(f"zip://a.wav::{tmp_path}/a.zip")


def test_a_server_that_redirects_to_itself() -> None:
    pytest.importorskip("aiohttp")
    with serving(lambda handler: move(handler, handler.path)) as site:
        assert "its server redirects again and again; check the address." in refusal(site.url())


def test_a_connection_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(connection.again, "__defaults__", ((),))

    def cut(handler) -> None:
        handler.close_connection = True
        give(handler, b"sound", ranges=False, **{"Content-Length": "500"})

    with serving(cut) as site:
        assert "its server cut the connection; try again later." in refusal(site.url())
