"""The SQLite file of the jobs: one connection for each thread, in several processes; all of them can be closed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

WAIT_S = 30  # for another process that writes


class _Handle:
    """A thread's connection; closed when the thread ends or the database is closed.

    Attributes:
        lock: held while the connection is used; its own thread may nest it
        is_closed: whether another thread has closed the database meanwhile
    """

    def __init__(self, path: Path) -> None:
        self.lock, self.is_closed = threading.RLock(), False
        # closed by another thread, never used by one
        self.connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self.connection.row_factory = sqlite3.Row
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute("PRAGMA secure_delete = ON")  # no byte of an erased job stays in the file
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        with self.lock:
            self.is_closed = True
            self.connection.close()

    def __del__(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()


class Database:
    """Connections to a file; safe to use from several threads.

    Args:
        path: of the file
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._handles: weakref.WeakSet[_Handle] = weakref.WeakSet()
        self._lock = threading.Lock()  # of the list; held for short times

    def handle(self) -> _Handle:
        """This thread's connection, opened at its first use."""
        handle: _Handle | None = getattr(self._local, "handle", None)
        if handle is None:
            handle = _Handle(self.path)
            with self._lock:
                self._handles.add(handle)
            self._local.handle = handle
        return handle

    @contextlib.contextmanager
    def held(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, which nobody closes during the with block."""
        while True:
            handle = self.handle()
            with handle.lock:
                if not handle.is_closed:
                    yield handle.connection
                    return

    def close(self) -> None:
        """Close the connections of all threads; a later use opens a new one."""
        with self._lock:
            handles = list(self._handles)
            self._handles.clear()
            self._local = threading.local()
        for handle in handles:
            handle.close()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self.held() as connection:
            rows: list[sqlite3.Row] = connection.execute(query, values).fetchall()
        return rows

    def row(self, query: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        """The first row of a query; None where there is none."""
        rows = self.rows(query, values)
        return rows[0] if rows else None

    @contextlib.contextmanager
    def write(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction.

        Args:
            lasting: written to the disk at the end, so that it survives a power cut. Other transactions survive the death
                of any process, in order, and reach the disk with the next lasting one
        """
        with self.held() as database:
            database.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite has rolled back itself where the disk is full
                    database.execute("ROLLBACK")
                raise
