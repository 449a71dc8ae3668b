"""Locks: one process and one thread at a time, whatever ends the one that holds them."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emow2v.errors import FormatError, ModelError
from emow2v.storage import locks

HOLDER = """
import sys, time
from pathlib import Path
from emow2v.storage import locks
lock = locks.acquire(Path(sys.argv[1]), "x is being written")
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_a_lock_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "model.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ModelError, match=r"^Model x is being installed by another process; wait for it\.$"):
            locks.acquire(path, "Model x is being installed", error=ModelError)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    locks.acquire(path, "Model x is being installed").release()
    assert list(tmp_path.iterdir()) == []


def test_two_threads_of_a_process_do_not_share_a_lock(tmp_path: Path) -> None:
    path, refusals = tmp_path / "lock", []

    def other() -> None:
        try:
            locks.acquire(path, "best is being written", "choose another folder").release()
        except FormatError as error:
            refusals.append(str(error))

    for release in (False, True):
        lock = locks.acquire(path, "mine")
        if release:
            lock.release()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        lock.release()
        lock.release()  # again: nothing happens
    assert refusals == ["best is being written by another process; wait for it, or choose another folder."]


def test_a_lock_ends_with_its_block_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locks.acquire(tmp_path / "lock", "mine"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_the_callers_to_explain(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        locks.acquire(tmp_path / "file" / "lock", "mine")


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of filelock raise an error there, newer ones warn and take a file for the lock."""
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locks.acquire(tmp_path / "lock", "mine"):
        pass
    assert list(tmp_path.iterdir()) == []
