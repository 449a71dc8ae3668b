"""Folders, patterns and lists at addresses give the recordings that they would give here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from emow2v.corpora.csv_manifest import read_list
from emow2v.inputs import LeftOut
from emow2v.inputs.expand import expand
from emow2v.stores.objects import StoredObject
from object_stores import ObjectStore

NAMES = ("a.wav", "b/a.mp3", "b/c/d.flac", "b/note.txt", ".hidden/e.wav", "zz[1].wav")


@pytest.fixture
def both(store: ObjectStore, tmp_path: Path) -> tuple[str, Path]:
    """The same names in the store and here."""
    for name in NAMES:
        store.put(f"in/{name}", b"sound")
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"sound")
    store.put("in-other/x.wav", b"sound")
    return "s3://study/in", tmp_path / "in"


def test_a_folder(both: tuple[str, Path]) -> None:
    there, here = both
    for name in (there, f"{there}/"):
        left: list[LeftOut] = []
        found, failed = expand([name], left.append)
        expected, _ = expand([str(here)])
        assert not failed and [one.key for one in found] == [one.key for one in expected]
        assert [(one.folder, one.stem) for one in found] == [(one.folder, one.stem) for one in expected]
        assert [one.path for one in found] == [f"{there}/{one.key}" for one in expected]
        assert list(left[0].names) == ["b/note.txt"] and list(left[0].hidden) == [".hidden/e.wav"]


@pytest.mark.parametrize("pattern", ["*.wav", "*", "**/*.flac", "b/?.mp3", "none*"])
def test_patterns(both: tuple[str, Path], pattern: str) -> None:
    there, here = both
    found, failed = expand([f"{there}/{pattern}"])
    expected, failed_here = expand([f"{here}/{pattern}"])
    assert [one.path.removeprefix(there) for one in found] == [one.path.removeprefix(str(here)) for one in expected]
    assert len(failed) == len(failed_here) == (pattern == "none*")


def test_folders_and_patterns_in_a_zip(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in NAMES:
            archive.writestr(name, b"sound")
    rest = f"::{tmp_path / 'a.zip'}"
    found, failed = expand([f"zip://{rest}"])
    assert not failed and [one.key for one in found] == ["a.wav", "b/a.mp3", "b/c/d.flac", "zz[1].wav"]
    assert found[1].path == f"zip://b/a.mp3{rest}" and found[1].folder == Path("b")
    found, failed = expand([f"zip://b/*.mp3{rest}"])
    assert not failed and [one.path for one in found] == [f"zip://b/a.mp3{rest}"]


def test_a_list_in_a_store_names_its_neighbours(both: tuple[str, Path], store: ObjectStore) -> None:
    there, _ = both
    store.put("in/list.csv", b"file,x\na.wav,1\nb/a.mp3,2\nnone.wav,3\na.wav,4\ns3://study/in-other/x.wav,5\n")
    left: list[LeftOut] = []
    found, failed = expand([f"{there}/list.csv"], left.append, read_list)
    assert [one.path for one in found] == [f"{there}/a.wav", f"{there}/b/a.mp3", "s3://study/in-other/x.wav"]
    assert [one.key for one in found] == ["a.wav", "b/a.mp3", "s3://study/in-other/x.wav"]
    assert [one.folder for one in found] == [Path(), Path("b"), Path()]
    assert [one.path for one in failed] == [f"{there}/none.wav"] and "does not exist" in failed[0].error
    assert list(left[0].repeated) == ["a.wav"]


def test_a_list_here_may_name_addresses(both: tuple[str, Path]) -> None:
    there, here = both
    (here / "list.txt").write_text(f"{there}/a.wav\n{there}/b/a.mp3\na.wav\nmissing.wav\n")
    found, failed = expand([str(here / "list.txt")], read_list=read_list)
    assert [one.path for one in found] == [f"{there}/a.wav", f"{there}/b/a.mp3", str(here / "a.wav")]
    assert [one.folder.as_posix() for one in found] == [".", "b", "."]
    assert len({(one.folder, one.stem) for one in found}) == 3  # two have the name a
    assert "missing.wav" in failed[0].error


def test_what_a_store_refuses_is_told_for_each_name(store: ObjectStore) -> None:
    store.put("a.wav", b"sound")
    found, failed = expand(["s3://study/a.wav", "s3://nowhere/in", "s3://study/none", "s3://study/x*"])
    assert [one.path for one in found] == ["s3://study/a.wav"]
    assert ["bucket" in failed[0].error, "does not exist" in failed[1].error, "matches no" in failed[2].error] == [
        True
    ] * 3


def test_pages_of_a_web_server_are_folders() -> None:
    pytest.importorskip("aiohttp")
    from webs import give, serving

    page = b'<a href="?C=N;O=D">sort</a> <a href="a.wav">a</a> <a href="b.txt">b</a> <a href="c.mp3">c</a>'
    left_out: list[LeftOut] = []

    def reply(handler) -> None:
        give(handler, page if handler.path.endswith("/") else b"sound")

    with serving(reply) as site:
        found, failed = expand([site.url("/in/")], left_out.append)
        assert [list(one.names) for one in left_out] == [["b.txt"]]
        assert not failed and [one.path for one in found] == [site.url("/in/a.wav"), site.url("/in/c.mp3")]
        found, failed = expand([site.url("/in/*.mp3")])
        assert not failed and [one.path for one in found] == [site.url("/in/c.mp3")]


def test_what_fails_is_noted_without_what_may_be_a_secret() -> None:
    pytest.importorskip("aiohttp")
    from webs import give, serving

    with serving(lambda handler: give(handler, b"<p>nothing</p>")) as site:
        secret = site.url("/in/").replace("://", "://anna:letmein@") + "?sig=letmein"
        found, failed = expand([secret, secret.replace("in/", "in/*.wav")])
        assert not found and len(failed) == 2 and "letmein" not in repr(failed)


def test_folders_and_patterns_behind_a_cache(both: tuple[str, Path]) -> None:
    there, _ = both
    found, failed = expand([f"simplecache::{there}"])
    assert not failed and [one.path for one in found if one.stem == "d"] == [f"simplecache::{there}/b/c/d.flac"]
    assert len(found) == 4 and StoredObject(found[0].path).open().read() == b"sound"
    found, failed = expand([f"simplecache::{there}/b/*.mp3"])
    assert not failed and [one.path for one in found] == [f"simplecache::{there}/b/a.mp3"]


def test_an_object_with_the_name_of_a_pattern_is_itself(store: ObjectStore, tmp_path: Path) -> None:
    for name in ("[1].wav", "a?.wav", "ab.wav"):
        store.put(name, b"sound")
    for name in ("[1].wav", "a?.wav"):
        found, failed = expand([f"s3://study/{name}"])
        assert [one.path for one in found] == [f"s3://study/{name}"] and failed == []
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("[1].wav", b"sound")
    found, _ = expand([f"zip://[1].wav::{tmp_path}/a.zip"])
    assert [one.path for one in found] == [f"zip://[1].wav::{tmp_path}/a.zip"]


def test_an_address_that_lost_a_slash() -> None:
    _, (failed,) = expand([str(Path("s3://study/a.wav"))])
    assert failed.error.endswith("does not exist; expected an address with two slashes: s3://study/a.wav.")
