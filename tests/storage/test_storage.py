"""What lies at a path, whatever the operating system answers."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PureWindowsPath

import pytest

from emow2v import storage
from emow2v.errors import PathError

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("number", [0, 1, 2, 1000, 21])
def test_numbers_of_things(number: int) -> None:
    assert storage.counted(number, "value") == (f"{number} value" if number == 1 else f"{number} values")
    assert storage.counted(number, "class", "classes") == (f"{number} class" if number == 1 else f"{number} classes")


def test_free_names_differ_whatever_the_case_of_letters() -> None:
    taken: set[str] = set()
    names = [storage.take_name(stem, taken) for stem in ("talk", "TALK", "talk-2", "Straße", "STRASSE", "talk")]
    assert names == ["talk", "TALK-2", "talk-2-2", "Straße", "STRASSE-2", "talk-3"]
    assert storage.take_name("talk", taken, "{} {}") == "talk 2"


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u2028b", "a\x85b", "\udcffa", "a\u202eb"])
def test_one_line(text: str) -> None:
    shown = storage.one_line(text)
    assert shown.isprintable() and shown.startswith(("a", "\\")) and len(shown.splitlines()) == 1
    shown.encode()


def test_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a.wav")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    kinds = {name: storage.kind_of(tmp_path / name) for name in ("a.wav", "link", "dangling", "pipe", ".", "none")}
    assert kinds == {"a.wav": "file", "link": "file", "dangling": None, "pipe": "other", ".": "folder", "none": None}
    assert storage.kind_of(tmp_path / "a.wav" / "below") is None
    assert storage.is_file(tmp_path / "a.wav")
    assert storage.is_folder(tmp_path)
    assert not storage.exists(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 300 + ".wav", "255 bytes"),
        ("a.wav\n" * 1000, "separate several names by spaces"),
        ("談" * 90 + ".wav", "255 bytes"),
        ("a\0b.wav", "null byte|null character"),
    ],
)
def test_a_name_that_no_disk_takes_is_a_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(PathError, match=sentence) as caught:
        storage.kind_of(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(PathError, match="circle"):
        storage.exists(tmp_path / "a")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EHOSTDOWN])
def test_what_else_an_operating_system_answers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched, pytest.raises(PathError, match=os.strerror(number)):
        patched.setattr(Path, "stat", refuse)
        storage.is_file("share/talk.wav")


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("\n  first line \n\nlast line\n"), "first line", "last line"),
        (OSError(errno.ENOSPC, "No space left"), "[Errno 28] No space left", "[Errno 28] No space left"),
        (KeyError(), "KeyError", "KeyError"),
        (RuntimeError(" \n "), "RuntimeError", "RuntimeError"),
    ],
)
def test_one_line_of_an_error(error: Exception, first: str, last: str) -> None:
    assert storage.reason(error) == first and storage.reason(error, -1) == last


def test_a_long_error_is_cut() -> None:
    assert storage.reason(ValueError("x" * 1000)) == "x" * 150


def test_names_from_elsewhere_lead_into_no_other_folder() -> None:
    for name in ("C:x", "a\\..\\..\\x", "12:30.wav", "a?b*"):
        there = storage.name_here(name, windows=True)
        assert PureWindowsPath("results", there).parts == ("results", there) and not set(there) & set(":\\?*")
    assert storage.name_here("12:30.wav", windows=False) == "12:30.wav"
