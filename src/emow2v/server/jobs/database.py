"""The jobs' SQLite file: a connection for each thread of several processes, and all of them closed in time."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

WAIT_S = 30  # for another process that writes


class _Handle:
    """A thread's connection; closed when the thread is no more, or by whoever closes the database.

    Attributes:
        lock: held while the connection is used, which its own thread may nest
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        # closed by another thread, never used by one
        self.connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self.connection.row_factory = sqlite3.Row
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute("PRAGMA secure_delete = ON")  # who erases a voice finds no byte of it in the file
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        with self.lock:
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
        self._lock = threading.Lock()  # of the list; held for moments

    def handle(self) -> _Handle:
        """This thread's connection, opened when it is first asked for."""
        found: _Handle | None = getattr(self._local, "handle", None)
        if found is None:
            found = _Handle(self.path)
            with self._lock:
                self._handles.add(found)
            self._local.handle = found
        return found

    def close(self) -> None:
        """Close the connections of all threads; who asks again gets a new one."""
        with self._lock:
            handles = list(self._handles)
            self._handles.clear()
            self._local = threading.local()
        for one in handles:
            one.close()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """What a query finds."""
        handle = self.handle()
        with handle.lock:
            found: list[sqlite3.Row] = handle.connection.execute(query, values).fetchall()
        return found

    def row(self, query: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        """The first that a query finds."""
        found = self.rows(query, values)
        return found[0] if found else None

    @contextlib.contextmanager
    def write(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction.

        Args:
            lasting: on the disk when it is over, so that it outlasts a power cut. What is written without outlasts the death
                of any process, in order; it is on the disk with the next that lasts
        """
        handle = self.handle()
        with handle.lock:
            database = handle.connection
            database.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite has taken it back itself where the disk is full
                    database.execute("ROLLBACK")
                raise
