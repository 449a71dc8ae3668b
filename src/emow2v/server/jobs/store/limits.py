"""Limits of each name: jobs that wait, sound sent on a day (UTC), and bytes kept."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emow2v.server.jobs.store.job import Busy


class OverLimit(Busy):
    """A name has reached one of its limits; queued jobs stay."""


@dataclass(frozen=True)
class Limits:
    """The limits of each name; 0 for none. Administrators, and those who have no name, have none.

    Attributes:
        waiting: number of jobs that may wait
        seconds: of sound that may be sent on a day (UTC), in jobs and live streams
        kept_bytes: of uploads and results
    """

    waiting: int = 0
    seconds: float = 0
    kept_bytes: float = 0

    def check_jobs(self, database: sqlite3.Connection, owner: str, seconds: float, day: str) -> None:
        """Refuse a job beyond a limit, inside the transaction that would queue it.

        Args:
            seconds: of its sound
            day: YYYY-MM-DD

        Raises:
            OverLimit: one sentence on the limit
        """
        waiting = database.execute("SELECT count(*) FROM jobs WHERE status = 0 AND owner = ?", (owner,)).fetchone()[0]
        if self.waiting and waiting >= self.waiting:
            raise OverLimit(
                f"{waiting} of your jobs are waiting, as many as each name may have; post it when one has begun."
            )
        self.check_sound(database, owner, seconds, day)

    def check_sound(self, database: sqlite3.Connection, owner: str, seconds: float, day: str) -> None:
        """Refuse more sound than a name has on a day; see `check_jobs`."""
        query = "SELECT coalesce(sum(seconds), 0) FROM heard WHERE owner = ? AND day = ?"
        heard = database.execute(query, (owner, day)).fetchone()[0]
        if self.seconds and heard + max(seconds, 1e-9) > self.seconds:
            raise OverLimit(
                f"You have sent {_hours(heard)} of sound today (UTC), and this is {_hours(seconds)} more; each name has "
                f"{_hours(self.seconds)} a day; send it tomorrow."
            )

    def check_kept(self, folder: Path, more: int, coming: int = 0) -> None:
        """Refuse more bytes in a person's folder.

        Args:
            more: bytes that come
            coming: those of other requests, which are not in the folder yet

        Raises:
            OverLimit: one sentence on the limit
        """
        if not self.kept_bytes:
            return
        kept = sum(sizes(folder))
        if kept + coming + more > self.kept_bytes:
            others = f"{coming / 1e6:.1f} MB are coming, " if coming else ""
            raise OverLimit(
                f"Your uploads and results have {kept / 1e6:.1f} MB, {others}and this is {more / 1e6:.1f} MB more; each name has "
                f"{self.kept_bytes / 1e6:g} MB; erase jobs."
            )


def sizes(folder: Path) -> Iterator[int]:
    """The sizes of all files in a folder and below; files that vanish meanwhile are left out.

    Entries of the system are read without paths, in a third of the time: the server looks often.
    """
    folders = [str(folder)]
    while folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat().st_size


def size_of(path: Path) -> int:
    """The size of a file; 0 where it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h"
