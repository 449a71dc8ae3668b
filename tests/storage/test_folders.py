"""Folders that appear whole: a rename that fails, a process that is killed, two writers, rights; nothing is ever lost."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emow2v.errors import Emow2vError, FormatError
from emow2v.storage import folders
from emow2v.storage.folders import atomic_folder

NAMES = ("best", "msp-dim", "Studie [2024]", "ふるい " * 20, "a.b.c")  # each is a folder that somebody has


def fill(folder: Path, text: str) -> None:
    with atomic_folder(folder, replace=True) as fresh:
        (fresh / "deep").mkdir()
        (fresh / "deep" / "model.bin").write_text(text)


def content(folder: Path) -> str:
    return (folder / "deep" / "model.bin").read_text()


def fail_at(monkeypatch: pytest.MonkeyPatch, numbers: set[int]) -> list[Path]:
    """Path.replace as it is while something has the folder open; gives the calls."""
    calls: list[Path] = []
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) in numbers:
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    return calls


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("numbers", [{1}, {2}])
def test_a_rename_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch, name: str, numbers: set[int]) -> None:
    fill(tmp_path / name, "old")
    with monkeypatch.context() as patch:
        calls = fail_at(patch, numbers)
        with pytest.raises(FormatError, match=r"cannot be written \(Permission denied\)"):
            fill(tmp_path / name, "new")
        assert len(calls) == max(numbers)
    assert content(tmp_path / name) == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing else is left
    fill(tmp_path / name, "new")
    assert content(tmp_path / name) == "new" and len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_put_back_either_is_named_and_put_back_later(tmp_path: Path, monkeypatch) -> None:
    fill(tmp_path / "best", "old")
    with monkeypatch.context() as patch:
        fail_at(patch, {2})
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        with pytest.raises(FormatError, match=r"neither be replaced nor put back .* it is in (.*\.old);"):
            fill(tmp_path / "best", "new")
    assert folders.restore(tmp_path / "best") and content(tmp_path / "best") == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from emow2v.storage.folders import atomic_folder
number, calls, replace = int(sys.argv[2]), [], Path.replace
def killing(self, target):
    calls.append(self)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = killing
with atomic_folder(Path(sys.argv[1]), replace=True) as fresh:
    (fresh / "deep").mkdir()
    (fresh / "deep" / "model.bin").write_text("new")
"""


def kill_at(folder: Path, number: int) -> None:
    """A writer that is killed before its rename of that number."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(number)], check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("name", NAMES)
def test_a_writer_killed_between_its_renames_loses_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    fill(folder, "old")
    kill_at(folder, 2)
    assert not folder.exists()  # the very moment
    assert folders.restore(folder) and content(folder) == "old"
    kill_at(folder, 2)
    fill(folder, "newer")  # the next writer, without asking
    assert content(folder) == "newer"
    kill_at(folder, 2)
    with pytest.raises(FormatError, match="there already and not empty"), atomic_folder(folder):
        pass  # it counts as there for who must not replace it
    assert content(folder) == "newer"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [name]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_what_a_killed_writer_left_unfinished_is_removed_by_the_next(tmp_path: Path) -> None:
    fill(tmp_path / "a", "old")
    kill_at(tmp_path / "a", 1)
    assert content(tmp_path / "a") == "old" and len([path for path in tmp_path.iterdir() if path.is_dir()]) > 1
    fill(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_old_folder_of_version_0_1_0_is_put_back(tmp_path: Path) -> None:
    fill(tmp_path / "best", "old")
    (tmp_path / ".best.old.k3_9xyz0").mkdir()
    (tmp_path / "best").rename(tmp_path / ".best.old.k3_9xyz0" / "best")
    folders.restore_all(tmp_path)
    assert content(tmp_path / "best") == "old"


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    """Neighbours whose names begin alike, and hidden folders of the user."""
    for name in (".best.settings", ".best.old", ".best.0123456z.new", ".best.b.01234567.new", ".bes.01234567.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept.txt").write_text("mine")
    fill(tmp_path / "best", "old")
    fill(tmp_path / "best", "new")
    folders.remove(tmp_path / "best")
    assert len(list(tmp_path.glob(".*/kept.txt"))) == 5 and len(list(tmp_path.iterdir())) == 5


def test_two_writers_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    errors: list[str] = []

    def other() -> None:
        try:
            fill(tmp_path / "best", "other")
        except FormatError as error:
            errors.append(str(error))

    with atomic_folder(tmp_path / "best") as fresh:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        (fresh / "deep").mkdir()
        (fresh / "deep" / "model.bin").write_text("mine")
    assert errors and "is being written by another process" in errors[0]
    assert content(tmp_path / "best") == "mine"


def test_an_error_or_a_signal_while_it_is_filled_leaves_nothing(tmp_path: Path) -> None:
    for kind in (ValueError, KeyboardInterrupt, Emow2vError):
        with pytest.raises(kind), atomic_folder(tmp_path / "best") as fresh:
            (fresh / "half").write_text("")
            raise kind
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="masks are POSIX's")
def test_the_mask_of_the_process_is_never_touched(tmp_path: Path, monkeypatch) -> None:
    """os.umask(0), even for a moment, opens the files that other threads make just then."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the mask was changed"))
        fill(tmp_path / "best", "new")
        assert stat.S_IMODE((tmp_path / "best").stat().st_mode) == 0o750
    finally:
        monkeypatch.undo()
        os.umask(before)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "file/below", "é" * 200])
def test_a_name_that_no_folder_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Emow2vError) as raised, atomic_folder(tmp_path / name, replace=True):
        pass
    assert str(raised.value).count(".") and len(str(raised.value)) < 400
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["x" * 250, "é" * 124])
def test_a_long_name_that_a_folder_can_have(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, "old")
    fill(tmp_path / name, "new")
    assert content(tmp_path / name) == "new" and len(list(tmp_path.iterdir())) == 1


def test_a_link_to_a_folder_makes_way_and_its_folder_stays(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "theirs")
    (tmp_path / "best").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    fill(tmp_path / "best", "new")
    assert not (tmp_path / "best").is_symlink() and content(tmp_path / "best") == "new"
    assert content(tmp_path / "elsewhere") == "theirs"
