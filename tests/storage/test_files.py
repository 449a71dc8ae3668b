"""Files appear whole or not at all, whatever goes wrong on the way."""

import errno
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emow2v import formats
from emow2v.errors import Cancelled, FormatError
from emow2v.framing import Framing
from emow2v.storage import files
from emow2v.storage.files import StagedFiles, publish
from emow2v.trajectory import Block, Info, Trajectory

pytestmark = pytest.mark.quick

ALL = ("csv", "json", "annotation", "stream")


def block(first: int, count: int = 25) -> Block:
    times = Framing().times(first, count)
    scores = np.full((count, 3), 0.5, np.float32)
    return Block(first, *times, np.ones((count, 1024), np.float32), scores, np.ones((count, 3), np.float32))


def trajectory(blocks: int = 3) -> Trajectory:
    return Trajectory(Info("talk.wav", Framing(), {}), lambda: (block(25 * k) for k in range(blocks)))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too; None stands for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def staged(*, overwrite: bool = False, **files: Path) -> StagedFiles:
    """Files on their way, with the text that names them."""
    one = StagedFiles(overwrite=overwrite)
    for text, path in files.items():
        one.open(path).write(text.encode())
    return one


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with results from before: of everything that `ALL` writes."""
    formats.record(trajectory(1), formats.writers(ALL, tmp_path, "talk"))
    assert len(contents(tmp_path)) == 11
    return tmp_path


def test_existing_files_are_replaced(old: Path) -> None:
    before = contents(old)
    formats.record(trajectory(), formats.writers(ALL, old, "talk"))
    after = contents(old)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in after)


def test_nothing_is_seen_before_everything_is_there(tmp_path: Path) -> None:
    def look(_: object = None) -> None:
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())

    formats.record(trajectory(), formats.writers(ALL, tmp_path, "talk"), look, look)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.parametrize("error", [Cancelled("stopped"), KeyboardInterrupt(), ValueError("a bug"), GeneratorExit()])
@pytest.mark.parametrize("when", ["progress", "before_publish", "trajectory"])
def test_stopping_leaves_everything_as_it_was(old: Path, error: BaseException, when: str) -> None:
    before = contents(old)

    def stop(*_: object) -> None:
        raise error

    def broken() -> Iterator[Block]:
        yield block(0)
        raise error

    one = Trajectory(trajectory().info, broken) if when == "trajectory" else trajectory()
    hooks: dict[str, Any] = {} if when == "trajectory" else {when: stop}
    with pytest.raises(type(error)):
        formats.record(one, formats.writers(ALL, old, "talk"), **hooks)
    assert contents(old) == before


def test_a_writer_that_cannot_begin_stops_all(old: Path) -> None:
    before = contents(old)
    writers = [*formats.writers(["csv"], old, "talk"), *formats.writers(["json"], old / "talk.csv", "below a file")]
    with pytest.raises(FormatError, match="cannot be written"):
        formats.record(trajectory(), writers)
    assert contents(old) == before


def test_a_folder_in_the_place_is_found_at_once(old: Path) -> None:
    (old / "talk.json").unlink()
    (old / "talk.json").mkdir()
    before = contents(old)
    with pytest.raises(FormatError, match=r"talk\.json is a folder; expected the name of a file"):
        formats.record(trajectory(), formats.writers(ALL, old, "talk"), lambda _: pytest.fail("hours of work"))
    assert contents(old) == before


@pytest.mark.parametrize("format_name", ALL)
def test_a_folder_that_comes_into_the_place_meanwhile(old: Path, format_name: str) -> None:
    place = next(path for path in old.iterdir() if format_name in path.name and path.suffix[-1] != "~")

    def hinder(_: object) -> None:
        place.unlink()
        (place / "something").mkdir(parents=True)
        before.update(contents(old))

    before: dict[str, bytes | None] = {}
    writers = formats.writers(ALL, old, "talk")
    with pytest.raises(FormatError, match=f"{place.name} cannot be written"):
        formats.record(trajectory(), writers, before_publish=hinder)
    after = contents(old)
    assert after == {name: data for name, data in before.items() if not name.endswith(".part")}
    assert any(name.endswith(".part") for name in before)


@pytest.mark.parametrize("failing", range(11))
@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "in use"), KeyboardInterrupt()])
def test_a_failing_rename_takes_the_others_back(
    old: Path, monkeypatch: pytest.MonkeyPatch, failing: int, links: bool, error: BaseException
) -> None:
    before = contents(old)
    rename, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            calls.append(target)
            if len(calls) == failing + 1:
                raise error
        return rename(self, target)

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "replace", replace)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(FormatError if isinstance(error, OSError) else KeyboardInterrupt) as told:
        formats.record(trajectory(), formats.writers(ALL, old, "talk"))
    if isinstance(error, OSError):
        assert str(told.value).startswith(f"{calls[-1]} cannot be written (in use); close programs")
    assert contents(old) == before


@pytest.mark.parametrize("failing", range(11))
def test_a_failing_rename_leaves_no_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    rename, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing + 1:
            raise OSError(errno.EIO, "broken disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(FormatError, match="broken disk"):
        formats.record(trajectory(), formats.writers(ALL, tmp_path, "talk"))
    assert contents(tmp_path) == {}


def test_what_cannot_be_kept_is_not_replaced(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def half(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:3])
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(FormatError, match="disk full"):
        formats.record(trajectory(), formats.writers(ALL, old, "talk"))
    assert contents(old) == before


def test_a_disk_that_is_full_at_the_end(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FormatError, match=r"cannot be written \(No space left on device\); free some space"):
        formats.record(trajectory(), formats.writers(ALL, old, "talk"))
    assert contents(old) == before


@pytest.mark.parametrize("failing", range(3))
def test_a_disk_that_refuses_one_of_many_files(old: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """They go to the disk side by side; none is renamed before all are there."""
    before, lock, calls, fsync = contents(old), threading.Lock(), itertools.count(), os.fsync

    def sometimes(descriptor: int) -> None:
        with lock:
            number = next(calls)
        if number == failing:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sometimes)
    with pytest.raises(FormatError, match=r"cannot be written \(Input/output error\)"):
        formats.record(trajectory(), formats.writers(ALL, old, "talk"))
    assert contents(old) == before and next(calls) > failing


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system itself refuses to write more into any file."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sets no limit to the size of a process's files")
@pytest.mark.parametrize("format_name", ALL)
def test_a_disk_that_is_full_on_the_way(old: Path, format_name: str) -> None:
    before = contents(old)
    limit = 1000 if format_name != "stream" else 150_000
    with (
        largest_file(limit),
        pytest.raises(FormatError, match=r"cannot be written \(File too large\); free some space"),
    ):
        formats.record(trajectory(400 if format_name != "stream" else 3), formats.writers([format_name], old, "talk"))
    assert contents(old) == before


def test_names_may_be_long_and_strange(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".csv", "😀" * 60, "ä b'c\"d$e%f#g", ".hidden"):
        publish([staged(text=tmp_path / name)])
        publish([staged(overwrite=True, other=tmp_path / name)])
        assert contents(tmp_path) == {name: b"other"}
        (tmp_path / name).unlink()


def test_names_that_no_file_can_have_are_refused_at_once(tmp_path: Path) -> None:
    for name in ("x" * 300, "zero\0byte"):
        with pytest.raises(FormatError, match="cannot be written"):
            StagedFiles().open(tmp_path / name)
    assert contents(tmp_path) == {}


def test_groups_are_published_together_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, order = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        order.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    publish([staged(one=tmp_path / "b", two=tmp_path / "a"), staged(three=tmp_path / "new" / "c")])
    assert order == ["b", "a", "c"]
    assert contents(tmp_path) == {"a": b"two", "b": b"one", "new": None, "new/c": b"three"}


def test_discard_can_be_repeated(tmp_path: Path) -> None:
    one = staged(text=tmp_path / "a")
    one.discard()
    one.discard()
    publish([one])
    assert contents(tmp_path) == {}


def test_discard_after_publishing_takes_nothing_away(tmp_path: Path) -> None:
    one = staged(text=tmp_path / "a")
    publish([one])
    one.discard()
    assert contents(tmp_path) == {"a": b"text"}


def test_what_a_dead_process_leaves(tmp_path: Path) -> None:
    """Killed between two renames: the complete files go on to their places, the unfinished ones go, others' stay."""
    (tmp_path / "a.csv").write_text("old")
    staged = StagedFiles(overwrite=True, owner="dead")
    for name in ("a.csv", "b.csv"):
        staged.open(tmp_path / name).write(name.encode())
    moves: list[files.Move] = []

    def die(coming: Sequence[files.Move]) -> None:
        moves.extend(coming)
        moves[0][0].replace(moves[0][1])
        raise SystemExit

    with pytest.raises(SystemExit):
        publish([staged], die)
    assert [path for _, path in moves] == [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert all(part.name.startswith(f".{path.name}.dead") for part, path in moves)
    # publish took its parts away, as a killed process does not
    moves[1][0].write_bytes(b"b.csv")
    for name in (".c.csv.dead0123abcd.part", ".c.csv.dead0123abcd.old", ".c.csv.live0123abcd.part", ".notes.part"):
        (tmp_path / name).write_text("")
    files.finish_publishing(moves)
    assert (tmp_path / "a.csv").read_text() == "a.csv" and (tmp_path / "b.csv").read_text() == "b.csv"
    files.finish_publishing(moves)
    files.remove_unfinished_of("dead", [tmp_path, tmp_path / "none"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.csv", "b.csv", ".c.csv.live0123abcd.part", ".notes.part"}


def test_a_signal_right_after_a_file_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(files._Part):
        def __init__(self, part: Path, path: Path, *, digested: bool) -> None:
            super().__init__(part, path, digested=digested)
            self.close()
            raise KeyboardInterrupt

    monkeypatch.setattr(files, "_Part", Interrupted)
    staged = files.StagedFiles()
    with pytest.raises(KeyboardInterrupt):
        staged.open(tmp_path / "out" / "talk.csv")
    staged.discard()
    assert list(tmp_path.iterdir()) == []
