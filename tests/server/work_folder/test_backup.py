"""Backups of a work folder: whole, of one moment, also of a server that runs; a damaged one changes nothing."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from emow2v.discover.places import Places
from emow2v.errors import Emow2vError
from emow2v.server.jobs import history
from emow2v.server.jobs.store import Status, Store
from emow2v.server.work_folder import backup as backups
from emow2v.server.work_folder.backup import MANIFEST, back_up
from emow2v.server.work_folder.restore import check_whole, restore
from emow2v.storage import locks
from waiting import HANG_S, until


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a finished job, one that runs and one that waits, and all that does not belong to a backup."""
    folder = tmp_path / "work"
    places = Places([tmp_path], folder)
    places.uploads.mkdir(parents=True)
    store = Store(folder / "jobs.sqlite")
    for name in ("done", "running", "waiting"):
        (places.uploads / f"{name}.wav").write_bytes(name.encode() * 1000)
        store.submit(name, {"upload": f"{name}.wav"}, kind="prediction")
        if name != "waiting":
            job = store.claim("w")
            assert job is not None and job.id == name
        if name == "done":
            places.results(name).mkdir(parents=True)
            (places.results(name) / "result.json").write_text("{}")
            (places.results(name) / ".turns-0.json").write_text("[]")
            assert job is not None and store.end(job)
    store.close()
    (folder / "tokens.json").write_text("{}")
    for left_out in (
        "server.lock",
        "computed/2",
        "fetched/ab/talk.wav",
        "passwords/ab",
        "uploads/.x.wav.part",
        "results/ab.12.zip",
        "jobs.sqlite.schema-3.bak",
    ):
        (folder / left_out).parent.mkdir(parents=True, exist_ok=True)
        (folder / left_out).touch()
    (places.results("done").with_name("ab.1234")).mkdir()
    (places.results("done").with_name("ab.1234") / "result.csv").touch()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a folder; of a database its rows."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".sqlite":
            with closing(sqlite3.connect(path)) as database:
                found[name] = "\n".join(database.iterdump()).encode()
        elif path.is_file() and not name.endswith(("-wal", "-shm")):
            found[name] = path.read_bytes()
    return found


def test_a_restored_folder_is_the_one_that_was_backed_up(work: Path, tmp_path: Path) -> None:
    before = contents(work)
    summary = back_up(work, tmp_path / "backup.zip")
    assert (summary.jobs, contents(work)) == (3, before)
    restored = tmp_path / "other" / "work"
    assert restore(tmp_path / "backup.zip", restored) == summary
    kept = {"jobs.sqlite", "tokens.json", "uploads/done.wav", "uploads/running.wav", "uploads/waiting.wav"}
    found = contents(restored)
    assert {name for name in found if not name.startswith("results/")} == kept
    assert sorted(Path(name).name for name in found.keys() - kept) == [".turns-0.json", "result.json"]
    assert found == {name: content for name, content in before.items() if name in found}
    store = Store(restored / "jobs.sqlite")
    assert [job.status for job in store.all()] == [Status.FINISHED, Status.RUNNING, Status.WAITING]
    store.close()
    if sys.platform != "win32":
        assert ((tmp_path / "backup.zip").stat().st_mode & 0o777, restored.stat().st_mode & 0o777) == (0o600, 0o700)


def test_other_programs_read_the_archive_and_its_hashes(work: Path, tmp_path: Path) -> None:
    back_up(work, tmp_path / "backup.zip")
    with zipfile.ZipFile(tmp_path / "backup.zip") as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read(MANIFEST))
        for name, facts in manifest["files"].items():
            data = archive.read(f"work/{name}")
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (facts["sha256"], facts["size"])
        assert len(archive.namelist()) == len(manifest["files"]) + 1


def test_a_backup_is_of_one_moment_while_jobs_end_and_are_erased(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "WAIT_S", HANG_S)  # others write nearly all the time
    places, stop, number = Places([tmp_path], work), threading.Event(), 0

    def serve() -> None:
        nonlocal number
        store = Store(work / "jobs.sqlite")
        while not stop.is_set():
            number += 1
            name = f"job{number}"
            (places.uploads / f"{name}.wav").write_bytes(name.encode())
            store.submit(name, {"upload": f"{name}.wav"}, kind="prediction")
            while (job := store.claim("w")) is not None:
                places.results(job.id).mkdir(parents=True, exist_ok=True)
                (places.results(job.id) / "result.json").write_text(job.id)
                store.end(job)
            if number % 2:
                history.erase(store, places, name)
        store.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for turn in range(5):
            before = number
            until(lambda: number > before + 1, "no job ended between two backups", alive=thread.is_alive)  # noqa: B023
            back_up(work, tmp_path / f"{turn}.zip")
    finally:
        stop.set()
        thread.join()
    for turn in range(5):
        folder = tmp_path / f"restored{turn}"
        restore(tmp_path / f"{turn}.zip", folder)
        there, store = Places([tmp_path], folder), Store(folder / "jobs.sqlite")
        for job in store.all():
            assert (there.uploads / job.form["upload"]).is_file(), job
            if job.status is Status.FINISHED:
                assert (there.results(job.id) / "result.json").is_file(), job
        store.close()


def test_a_folder_that_is_used_or_not_empty_is_refused(work: Path, tmp_path: Path) -> None:
    back_up(work, tmp_path / "backup.zip")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(
        Emow2vError, match=r"holds 1 file or folder, such as mine\.txt; expected an empty one; .*--overwrite"
    ):
        restore(tmp_path / "backup.zip", other)
    with (
        locks.acquire(other / "server.lock", "A server", error=Emow2vError),
        pytest.raises(Emow2vError, match="is being used by another process; wait for it, or stop the server first"),
    ):
        restore(tmp_path / "backup.zip", other, overwrite=True)
    assert (other / "mine.txt").read_text() == "mine"
    restore(tmp_path / "backup.zip", other, overwrite=True)
    assert not (other / "mine.txt").exists() and (other / "jobs.sqlite").is_file()
    assert not list(other.glob(".*"))


def test_a_damaged_backup_changes_nothing(work: Path, tmp_path: Path) -> None:
    archive = tmp_path / "backup.zip"
    back_up(work, archive)
    whole, before = archive.read_bytes(), contents(work)
    place = whole.index(b"waiting" * 20)
    for damaged in (
        whole[: len(whole) // 2],
        whole[:place] + b"WAITING" + whole[place + 7 :],
        b"",
        b"PK\5\6" + bytes(18),
    ):
        archive.write_bytes(damaged)
        with pytest.raises(Emow2vError, match=r"backup\.zip is (damaged|no backup)"):
            restore(archive, work, overwrite=True)
        assert contents(work) == {name: data for name, data in before.items() if name != "server.lock"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("../outside", "damaged"), ("/outside", "damaged"), ("a/../../outside", "damaged"), ("C:\\outside", "damaged"),
     ("server.lock", "damaged")],
)  # fmt: skip
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str, said: str) -> None:
    facts = {"format": 1, "schema": 1, "jobs": 0, "made": "", "software": "x"}
    one = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("work/jobs.sqlite", "x")
        archive.writestr(f"work/{name}", "x")
        archive.writestr(MANIFEST, json.dumps({**facts, "files": {"jobs.sqlite": one, name: one}}))
    with pytest.raises(Emow2vError, match=said):
        restore(tmp_path / "bad.zip", tmp_path / "deep" / "work")
    assert not list(tmp_path.rglob("outside*"))


def test_a_backup_of_a_newer_version_is_refused_with_what_to_do(work: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(work / "jobs.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    back_up(work, tmp_path / "backup.zip")
    with pytest.raises(Emow2vError, match=r"was written by a newer version \(emow2v .*\); update emow2v"):
        restore(tmp_path / "backup.zip", tmp_path / "other")


def test_places_that_hold_no_jobs_or_something_else_are_refused(work: Path, tmp_path: Path) -> None:
    with pytest.raises(Emow2vError, match=r"has no jobs\.sqlite; expected the work folder"):
        back_up(tmp_path, tmp_path / "x.zip")
    with pytest.raises(Emow2vError, match="lies in the work folder"):
        back_up(work, work / "x.zip")
    with pytest.raises(Emow2vError, match=r"There is no folder .*none; expected one for the backup\."):
        back_up(work, tmp_path / "none" / "x.zip")
    assert not list(work.glob(".*"))
    (tmp_path / "x.zip").write_text("mine")
    with pytest.raises(Emow2vError, match="is there already"):
        back_up(work, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_text() == "mine"
    back_up(work, tmp_path / "x.zip", overwrite=True)
    assert zipfile.is_zipfile(tmp_path / "x.zip") and not list(work.glob(".*"))
    with pytest.raises(Emow2vError, match="There is no file"):
        restore(tmp_path / "none.zip", tmp_path / "other")


KILLED = """
import os, pathlib, sys
from emow2v.server.work_folder.restore import restore
rename, left = pathlib.Path.rename, int(sys.argv[3])
def counted(path, target):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return rename(path, target)
pathlib.Path.rename = counted
restore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), overwrite=sys.argv[4:] == ["--overwrite"])
"""


@pytest.mark.parametrize("moves", [0, 2, 4, 6, 8, 20])
def test_a_restore_that_was_killed_is_noticed_and_repeated(work: Path, tmp_path: Path, moves: int) -> None:
    archive, other = tmp_path / "backup.zip", tmp_path / "other"
    back_up(work, archive)
    shutil.copytree(work, other)
    (other / "uploads" / "older.wav").write_text("older")
    (other / "server.lock").unlink()
    command = [sys.executable, "-c", KILLED, str(archive), str(other), str(moves), "--overwrite"]
    code = subprocess.run(command, env={**os.environ}).returncode
    assert code == (0 if moves == 20 else 9)
    if any(other.glob(".replaced-*")):
        with pytest.raises(Emow2vError, match="was interrupted; run emow2v restore again"):
            check_whole(other)
    else:
        check_whole(other)
    restore(archive, other, overwrite=True)
    check_whole(other)
    assert not list(other.glob(".*")) and not (other / "uploads" / "older.wav").exists()
    assert contents(other).keys() == {name.removeprefix("work/") for name in zipfile.ZipFile(archive).namelist()} - {
        MANIFEST
    }


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_restore_into_an_empty_folder_that_was_killed_is_repeated_by_the_same_command(
    work: Path, tmp_path: Path, moves: int
) -> None:
    archive, other = tmp_path / "backup.zip", tmp_path / "other"
    back_up(work, archive)
    command = [sys.executable, "-c", KILLED, str(archive), str(other), str(moves)]
    assert subprocess.run(command, env={**os.environ}).returncode == 9
    restore(archive, other)
    check_whole(other)
    assert not list(other.glob(".*")) and (other / "jobs.sqlite").is_file()


def test_a_killed_restore_that_is_undone_leaves_nothing_of_the_backup(work: Path, tmp_path: Path) -> None:
    archive, other = tmp_path / "backup.zip", tmp_path / "other"
    back_up(work, archive)
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    command = [sys.executable, "-c", KILLED, str(archive), str(other), "3", "--overwrite"]  # two files have come
    assert subprocess.run(command, env={**os.environ}).returncode == 9
    assert not (other / "mine.txt").exists() and (other / "jobs.sqlite").exists()
    archive.write_bytes(b"damaged meanwhile")
    with pytest.raises(Emow2vError, match="damaged"):
        restore(archive, other, overwrite=True)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


def test_a_backup_in_the_folder_that_it_would_replace_is_refused(work: Path, tmp_path: Path) -> None:
    back_up(work, tmp_path / "backup.zip")
    inside = (tmp_path / "backup.zip").rename(work / "backup.zip")
    with pytest.raises(Emow2vError, match="lies in the work folder; move it to a place outside it"):
        restore(inside, work, overwrite=True)
    assert zipfile.is_zipfile(inside) and (work / "jobs.sqlite").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_restored_files_are_for_one_account_only(work: Path, tmp_path: Path) -> None:
    back_up(work, tmp_path / "backup.zip")
    other = tmp_path / "other"
    other.mkdir(mode=0o755)  # as an administrator may have made it
    restore(tmp_path / "backup.zip", other)
    files = [path for path in other.rglob("*") if path.is_file()]
    assert len(files) > 5 and not any(path.stat().st_mode & 0o077 for path in files)


def test_files_are_copied_where_there_are_no_links(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(backups.os, "link", refuse)
    back_up(work, tmp_path / "backup.zip")
    restore(tmp_path / "backup.zip", tmp_path / "other")
    assert (tmp_path / "other" / "uploads" / "done.wav").read_bytes() == b"done" * 1000
