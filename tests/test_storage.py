"""What lies at a path, whatever the operating system answers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from emow2v import storage
from emow2v.errors import PathError


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

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(PathError, match=os.strerror(number)):
        storage.is_file("share/talk.wav")
