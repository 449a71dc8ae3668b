"""Folders of processes that were killed go with the next one; those of processes that run stay."""

import tempfile
from pathlib import Path

import pytest

from emow2v.cluster.temporary import temporary_folder


def test_only_folders_that_nobody_holds_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "x-killed" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with temporary_folder("x-") as one:
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "other", one])
        with temporary_folder("x-") as other:
            assert one.is_dir() and other.is_dir() and one != other
        assert not other.exists() and one.is_dir()
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]
