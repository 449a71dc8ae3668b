"""The journal keeps what became of each recording, belongs to one process and one run, and says what is wrong with it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from emow2v.archive.journal import Entry, Journal
from emow2v.errors import DiskFull, FormatError

OPTIONS = {"model": "lite", "precision": "fp32"}


def entry(key: str, **facts: object) -> Entry:
    return Entry(key, "a", Path(key).stem, **facts)  # type: ignore[arg-type]


def test_what_became_of_a_recording_is_there_after_reopening(tmp_path: Path) -> None:
    with Journal(tmp_path, OPTIONS) as journal:
        for key in ("done.wav", "failed.wav", "waiting.wav"):
            journal.add(entry(key))
        journal.begin("done.wav", 12, 34, "5 6")
        journal.done("done.wav", [tmp_path / "a" / "done.csv"], content="[]", duration_s=1.5, seconds=0.25)
        journal.failed("failed.wav", "It is no recording.")
    with Journal(tmp_path, OPTIONS) as journal:
        done, failed, waiting = (journal.entry(key) for key in ("done.wav", "failed.wav", "waiting.wav"))
        assert done == entry(
            "done.wav", state="done", size=12, modified_ns=34, turns="5 6", outputs=("a/done.csv",), duration_s=1.5,
            seconds=0.25, attempt=1,
        )  # fmt: skip
        assert failed is not None and (failed.state, failed.error) == ("failed", "It is no recording.")
        assert waiting is not None and waiting.state == "waiting" and journal.entry("other.wav") is None
        assert journal.is_taken("a", "DONE") and not journal.is_taken("b", "done") and journal.attempt == 2


def test_other_programs_read_it(tmp_path: Path) -> None:
    with Journal(tmp_path, OPTIONS) as journal:
        journal.add(entry("Gespräch.wav"))
        journal.failed("Gespräch.wav", "It is no recording.")
    database = sqlite3.connect(tmp_path / ".emow2v" / "journal.sqlite")
    assert database.execute("SELECT key, state, error FROM recordings").fetchall() == [
        ("Gespräch.wav", "failed", "It is no recording.")
    ]
    database.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["\udce4.wav", "談話.wav", "a'b\"c.wav", "a\nb.wav", "x\\udce4.wav", "=1+1.wav"])
def test_any_name_is_a_key(tmp_path: Path, name: str) -> None:
    with Journal(tmp_path, OPTIONS) as journal:
        journal.add(Entry(name, name, name))
        journal.begin(name, 1, 2, "")
        journal.done(name, [tmp_path / name], content="[]", duration_s=0, seconds=0)
    with Journal(tmp_path, OPTIONS) as journal:
        found = journal.entry(name)
        assert found is not None and (found.key, found.folder, found.stem, found.outputs) == (name, name, name, (name,))


def test_what_a_killed_process_had_in_flight_waits_and_is_tidied_up(tmp_path: Path) -> None:
    """In a process that ends as by SIGKILL: two results are complete, one of them has its name."""
    code = """
import os, sys
from pathlib import Path
from emow2v.archive.journal import Entry, Journal
out = Path(sys.argv[1])
journal = Journal(out, {"model": "lite", "precision": "fp32"})
journal.add(Entry("talk.wav", "a", "talk"))
journal.begin("talk.wav", 1, 2, "")
(out / "a").mkdir()
owner = journal.owner()
moves = []
for name in ("talk.csv", "talk.csv-metadata.json"):
    part = out / "a" / f".{name}.{owner}01234567.part"
    part.write_text(name)
    moves.append((part, out / "a" / name))
(out / "a" / f".talk.csv.{owner}01234567.old").write_text("old")
(out / "a" / f".other.csv.{owner}89abcdef.part").write_text("half")
journal.publish("talk.wav", moves)
moves[0][0].replace(moves[0][1])
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    with Journal(tmp_path, OPTIONS) as journal:
        found = journal.entry("talk.wav")
        assert found is not None and found.state == "waiting"
    assert {path.name: path.read_text() for path in (tmp_path / "a").iterdir()} == {
        name: name for name in ("talk.csv", "talk.csv-metadata.json")
    }


def test_it_needs_no_memory_shared_between_processes(tmp_path: Path) -> None:
    """SQLite's write-ahead log without its index in shared memory, which folders on a network do not have."""
    with Journal(tmp_path, OPTIONS) as journal:
        journal.add(entry("talk.wav"))
        names = {path.name for path in journal.folder.iterdir()}
    assert names == {"journal.sqlite", "journal.sqlite-wal", "lock"}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Journal(out, OPTIONS), pytest.raises(FormatError) as refused:
        Journal(out, OPTIONS)
    assert str(refused.value) == f"{out} is being written by another process; wait for it, or choose another folder."
    Journal(out, OPTIONS).close()


def test_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    with Journal(tmp_path, OPTIONS) as journal:
        journal.add(entry("talk.wav"))
        journal.done("talk.wav", [], content="[]", duration_s=0, seconds=0)
    with pytest.raises(FormatError) as refused:
        Journal(tmp_path, {"model": "lite", "precision": "bf16", "speech": "yes"})
    assert str(refused.value) == (
        f"{tmp_path} holds a run with other options (precision: fp32 there, bf16 now, and speech: none there, yes now); "
        f"choose another folder, or remove {tmp_path / '.emow2v'} to begin anew."
    )
    with Journal(tmp_path, OPTIONS) as journal:
        assert journal.entry("talk.wav") is not None


def test_a_run_without_results_takes_other_options(tmp_path: Path) -> None:
    with Journal(tmp_path, OPTIONS) as journal:
        journal.add(entry("talk.wav"))
        journal.failed("talk.wav", "The windows are too short.")
    with Journal(tmp_path, {"model": "other"}) as journal:
        found = journal.entry("talk.wav")
        assert found is not None and (found.state, found.error) == ("waiting", "")
    with Journal(tmp_path, {"model": "other"}):
        pass


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(range(256)) * 20])
def test_a_damaged_journal_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".emow2v").mkdir()
    (tmp_path / ".emow2v" / "journal.sqlite").write_bytes(content)
    with pytest.raises(FormatError, match=r"is damaged, or no journal \(.*\); remove .*\.emow2v to begin anew\.$"):
        Journal(tmp_path, OPTIONS)
    assert (tmp_path / ".emow2v" / "journal.sqlite").read_bytes() == content


def test_a_journal_of_a_newer_version_is_one_sentence(tmp_path: Path) -> None:
    Journal(tmp_path, OPTIONS).close()
    database = sqlite3.connect(tmp_path / ".emow2v" / "journal.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(FormatError, match="holds a run of a newer version of emow2v; update emow2v"):
        Journal(tmp_path, OPTIONS)


def test_a_journal_that_another_program_holds_is_one_sentence(tmp_path: Path) -> None:
    Journal(tmp_path, OPTIONS).close()
    database = sqlite3.connect(tmp_path / ".emow2v" / "journal.sqlite", timeout=0)
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(FormatError, match=r"is open in another program .* close that program"):
        Journal(tmp_path, OPTIONS, wait_s=0.1)
    database.close()


def test_a_full_disk_leaves_the_journal_whole(tmp_path: Path) -> None:
    """SQLite's own limit of pages stands for the end of a disk."""
    with Journal(tmp_path, OPTIONS) as journal:
        journal.add(entry("first.wav"))
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {pages}")
        with (
            pytest.raises(DiskFull, match=r"cannot be written \(database or disk is full\); free some space"),
            journal.together(),
        ):
            for number in range(10_000):
                journal.add(entry(f"{number}.wav"))
        assert journal.entry("0.wav") is None  # all of them, or none
    with Journal(tmp_path, OPTIONS) as journal:
        assert journal.entry("first.wav") is not None
        journal.add(entry("second.wav"))
        assert journal._database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match=r"cannot be written .* choose another folder"):
        Journal(tmp_path / "file", OPTIONS)
