"""Where a request may read and write, whatever the client's separators and whatever the operating system says."""

import errno
import os
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from emow2v.cli.demo import request
from emow2v.discover.places import Places
from emow2v.errors import Emow2vError, PathError, RequestError

posix = pytest.mark.skipif(sys.platform == "win32", reason="where a backslash is a sign like others")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    data = tmp_path / "data"
    (data / "s1" / "audio").mkdir(parents=True)
    for name in ("s1/talk.wav", "s1/audio/a b.wav", "top.wav"):
        (data / name).touch()
    (tmp_path / "secret.wav").touch()
    return Places([data], tmp_path / "work")


@posix
@pytest.mark.parametrize(
    "uri, name",
    [
        ("s1\\talk.wav", "s1/talk.wav"),
        ("s1\\audio\\a b.wav", "s1/audio/a b.wav"),
        ("s1/audio\\a b.wav", "s1/audio/a b.wav"),
        (".\\s1\\talk.wav", "s1/talk.wav"),
        ("s1\\\\talk.wav", "s1/talk.wav"),
        ("s1\\..\\top.wav", "top.wav"),
    ],
)
def test_paths_of_windows_clients(places: Places, uri: str, name: str) -> None:
    data = places.data_dirs[0].resolve()
    assert places.input(uri) == data / name
    made = uri.replace(".wav", ".arousal.annotation")
    assert places.output(made, ".annotation") == data / name.replace(".wav", ".arousal.annotation")


@posix
@pytest.mark.parametrize(
    "uri", ["..\\secret.wav", "s1\\..\\..\\secret.wav", "..\\..\\etc\\passwd", "s1/..\\../secret.wav", "\\etc\\passwd"]
)
def test_no_separator_leads_out(places: Places, uri: str) -> None:
    with pytest.raises(RequestError, match=r"outside the data folders|does not exist"):
        places.input(uri)
    with pytest.raises(RequestError, match="outside the data folders"):
        places.output(uri.replace(".wav", "") + ".annotation", ".annotation")


def test_a_folder_is_no_input(places: Places) -> None:
    with pytest.raises(RequestError, match=r"^s1/audio is a folder; expected a file with turns\.$"):
        places.input("s1/audio", "a file with turns")
    (places.uploads / "s1" / "talk.wav").mkdir(parents=True)  # a file elsewhere has priority
    assert places.input("s1/talk.wav") == places.data_dirs[0].resolve() / "s1" / "talk.wav"


@posix
def test_a_name_that_really_holds_a_backslash(places: Places) -> None:
    odd = places.data_dirs[0] / "odd\\name.wav"
    odd.touch()
    assert places.input("odd\\name.wav") == odd.resolve()


@posix
@pytest.mark.parametrize("uri", ["C:\\data\\talk.wav", "c:/data/talk.wav", "\\\\server\\share\\talk.wav"])
def test_whole_paths_of_another_machine(places: Places, uri: str) -> None:
    with pytest.raises(RequestError, match="of a Windows machine; expected a path below the server's own data folders"):
        places.input(uri)


@pytest.mark.parametrize("letter", ["x", "あ", "é", "😀", "ж"])
def test_names_as_long_as_a_disk_takes_and_longer(places: Places, letter: str) -> None:
    fits = letter * ((255 - 4) // len(letter.encode())) + ".wav"
    (places.data_dirs[0] / fits).touch()
    assert places.input(fits).name == fits
    with pytest.raises(RequestError, match="too long"):
        places.input(letter * 300 + ".wav")
    with pytest.raises(RequestError, match="too long"):
        places.output(letter * 300 + ".annotation", ".annotation")
    with pytest.raises(RequestError, match="too long"):
        places.input((letter + "/") * 600 + "a.wav")


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.EACCES, "ask for permission to its folder"),
        (errno.ESTALE, "its disk is connected"),
        (errno.EHOSTDOWN, "its disk is connected"),
        (errno.EIO, "its disk is connected"),
        (errno.ETIMEDOUT, "its disk is connected"),
    ],
)
def test_what_the_operating_system_refuses_to_say(
    client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    (data / "closed").mkdir()
    stat = Path.stat

    def refused(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if "closed" in path.parts:
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(PathError, match=words):
        Places([data], data.parent / "work").input("closed/talk.wav")
    for answer in (
        client.post("/v1/predictions", data={"path": "closed/talk.wav"}),
        client.post("/process", data=request(data, data / "closed" / "talk.wav") | {"jobID": "a"}),
    ):
        assert answer.status_code == 400 and words in answer.json()["error"], answer.text


def test_odd_texts(places: Places) -> None:
    for uri in ("", " ", "a\0b", "\ud800.wav", "a\udfff/b.wav"):
        with pytest.raises(Emow2vError):
            places.input(uri)
        with pytest.raises(Emow2vError):
            places.output(uri, ".annotation")


def test_entries_of_data_folders(tmp_path: Path) -> None:
    for name in (
        "one/s1/talk.wav",
        "one/s1/.hidden.wav",
        "one/.git/x.wav",
        "two/s1/talk.wav",
        "two/s1/more.wav",
        "two/top.wav",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    places = Places([tmp_path / "one", tmp_path / "two"], tmp_path / "one" / "work")
    places.uploads.mkdir(parents=True)
    assert sorted(places.entries("")) == ["s1", "top.wav"]  # neither what is hidden nor the work folder
    assert sorted(places.entries("s1")) == ["more.wav", "talk.wav"]
    for name, path in places.entries("s1").items():
        assert path.samefile(places.input(f"s1/{name}"))  # what a prediction would read


@pytest.mark.parametrize(
    "folder",
    [
        "..",
        "s1/../..",
        "/etc",
        "/",
        "s1/talk.wav",
        "never",
        "~",
        "a\0b",
        "\ud800",
        "work",
        "x" * 300,
        ".git",
        "s1/.notes",
    ],
)
def test_no_folder_but_those_of_the_data(places: Places, folder: str) -> None:
    for name in (".git", "s1/.notes"):  # hidden folders are there
        (places.data_dirs[0] / name).mkdir(parents=True)
    with pytest.raises(RequestError):
        Places(places.data_dirs, places.data_dirs[0] / "work").entries(folder)


@posix
def test_links_are_entries_where_they_lead_to_data(places: Places, tmp_path: Path) -> None:
    data = places.data_dirs[0]
    (data / "out.wav").symlink_to(tmp_path / "secret.wav")
    (data / "away").symlink_to(tmp_path)
    (data / "loop").symlink_to(data / "loop")
    (data / "gone.wav").symlink_to(data / "none.wav")
    (data / "inside.wav").symlink_to(data / "s1" / "talk.wav")
    assert sorted(places.entries("")) == ["inside.wav", "s1", "top.wav"]
    with pytest.raises(RequestError):
        places.entries("away")
