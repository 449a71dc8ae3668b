"""One file appears whole or not at all, whoever else writes it."""

import errno
import os
import stat
from pathlib import Path

import pytest

from emow2v.storage.atomic import atomic_file, remove_unfinished, unfinished_path

pytestmark = pytest.mark.quick


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with atomic_file(path) as file:
        file.write(b"first")
    for error in (OSError(errno.ENOSPC, "full"), ValueError("a mistake"), KeyboardInterrupt()):
        with pytest.raises(type(error)), atomic_file(path) as file:
            file.write(b"half of the sec")
            raise error
    assert path.read_bytes() == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["card.json"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Under one fixed hidden name the second would write into the first one's file."""
    path = tmp_path / "card.json"
    with atomic_file(path) as first:
        first.write(b"a" * 10)
        with atomic_file(path) as second:
            second.write(b"b" * 100)
        assert path.read_bytes() == b"b" * 100
    assert path.read_bytes() == b"a" * 10
    assert [one.name for one in tmp_path.iterdir()] == ["card.json"]


def test_what_killed_writers_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    old, young, other = (tmp_path / name for name in (".state.pt.0.part", ".state.pt.1.part", ".states.pt.2.part"))
    for part in (old, young, other):
        part.write_bytes(b"half")
        os.utime(part, (0, 0))
    os.utime(young)
    with atomic_file(path) as file:
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, young, other])
    remove_unfinished(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


@pytest.mark.parametrize("name", ["談" * 80 + ".json", "x" * 250])
def test_a_file_whose_own_name_just_fits(tmp_path: Path, name: str) -> None:
    with atomic_file(tmp_path / name) as file:
        file.write(b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no permissions for others")
@pytest.mark.parametrize(("mode", "expected"), [(0o666, 0o640), (0o600, 0o600)])
def test_permissions_of_a_new_file(tmp_path: Path, mode: int, expected: int) -> None:
    """Also while it is written: a private key is never readable for others."""
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "key.pem", mode=mode) as file:
            (part,) = tmp_path.iterdir()
            assert stat.S_IMODE(part.stat().st_mode) == expected
            file.write(b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == expected


def test_unfinished_files_name_their_owner(tmp_path: Path) -> None:
    first, second = (unfinished_path(tmp_path / "talk.csv", "part", "beef") for _ in range(2))
    assert first != second and first.name.startswith(".talk.csv.beef") and first.suffix == ".part"
