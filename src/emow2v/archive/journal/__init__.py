"""The journal of a run over many recordings: one SQLite file in the folder of results, written by one process at a time.

A row for each recording says what was read, and what became of it. Its state is "done" only after its results have
their names. What a killed process had in flight is tidied up when the journal is opened, and waits again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from emow2v.errors import DiskFull, Emow2vError, FormatError
from emow2v.storage import RUN_FOLDER, locks, reason, shown
from emow2v.storage.files import Move, finish_publishing, remove_unfinished_of

State = Literal["waiting", "in flight", "done", "failed"]
Options = Mapping[str, str]

_VERSION = 1  # of the tables below
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE recordings (
    key TEXT PRIMARY KEY, folder TEXT NOT NULL, stem TEXT NOT NULL, place TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
    size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, turns TEXT NOT NULL, content TEXT NOT NULL,
    error TEXT NOT NULL, duration_s REAL NOT NULL, seconds REAL NOT NULL, outputs TEXT NOT NULL, moves TEXT NOT NULL,
    attempt INTEGER NOT NULL
) WITHOUT ROWID;
"""


class OtherOptions(FormatError):
    """The results of a run have other options."""


@dataclass(frozen=True)
class Entry:
    """What the journal knows of a recording.

    Attributes:
        key: path relative to the input, or name in a list
        folder, stem: of its results, below the folder of results
        size, modified_ns: of the file, when it was read
        turns: size and time of the file with its turns; "" where there is none
        content: of the sound that was read, see `Content`; JSON
        error: one sentence, if it failed
        duration_s: of the sound that was read
        seconds: that it took
        outputs: paths of its results, relative to the folder of results
        attempt: number of the run that worked on it last; 0 for none
    """

    key: str
    folder: str
    stem: str
    state: State = "waiting"
    size: int = 0
    modified_ns: int = 0
    turns: str = ""
    content: str = "[]"
    error: str = ""
    duration_s: float = 0.0
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()
    attempt: int = 0


_COLUMNS = [field.name for field in fields(Entry)]


class Journal:
    """The journal in a folder of results, which it keeps locked until it is closed.

    Args:
        output: folder of the results; created if it is missing
        options: of the run, by the words that a refusal has for them
        wait_s: seconds to wait for another program that has the file open

    Attributes:
        folder: of the journal
        attempt: number of this run, from 1
        id: of the journal, which no other one has

    Raises:
        FormatError: another process writes there, or the journal cannot be read or written
        OtherOptions: the folder holds a run with other options
        DiskFull: the disk is full
    """

    def __init__(self, output: Path, options: Options, *, wait_s: float = 5) -> None:
        self.output, self.folder = output, output / RUN_FOLDER
        self._path = self.folder / "journal.sqlite"
        with contextlib.ExitStack() as undo:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = locks.acquire(self.folder / "lock", f"{shown(output)} is being written", "choose another folder")
                undo.callback(lock.release)
            except OSError as error:
                raise FormatError(
                    f"{shown(output)} cannot be written ({error.strerror}); choose another folder."
                ) from None
            with self._sentences():
                self._database = sqlite3.connect(self._path, timeout=wait_s, isolation_level=None)
                undo.callback(self._database.close)
                self._open(options)
            self._close = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal, so that another process may write; it may be closed more than once."""
        self._close.close()

    def _open(self, options: Options) -> None:
        database = self._database
        database.text_factory = os.fsdecode  # names of files need not be Unicode
        # One process writes, so that the write-ahead log needs no memory shared between processes: folders on a network have none
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a power cut costs the last rows: their recordings are done again
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise FormatError(
                f"{shown(self.output)} holds a run of a newer version of emow2v; update emow2v, or choose another folder."
            )
        with self._write():
            if not version:
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_VERSION}")
                self._set("options", json.dumps(dict(options)))
                self._set("id", os.urandom(4).hex())
            self.id = self.fact("id")
            self._refuse_other(options)
            self.attempt = int(self.fact("attempt") or 0) + 1
            self._set("attempt", str(self.attempt))
        self._tidy()

    def _refuse_other(self, options: Options) -> None:
        there: dict[str, str] = json.loads(self.fact("options"))
        names = [name for name in {**there, **options} if there.get(name) != options.get(name)]
        if names and not self._rows("WHERE state = 'done' LIMIT 1"):  # no result has the other options
            self._set("options", json.dumps(dict(options)))
            self._database.execute("UPDATE recordings SET state = 'waiting', error = '' WHERE state = 'failed'")
        elif names:
            differences = ", and ".join(
                f"{name}: {there.get(name) or 'none'} there, {options.get(name) or 'none'} now" for name in names
            )
            raise OtherOptions(
                f"{shown(self.output)} holds a run with other options ({differences}); choose another folder, or remove "
                f"{shown(self.folder)} to begin anew."
            )

    def _tidy(self) -> None:
        """Finish the renames that a killed process had begun, remove its unfinished files, and let its recordings wait."""
        left = self._rows("WHERE state = 'in flight'")
        moves = dict(self._database.execute("SELECT key, moves FROM recordings WHERE state = 'in flight'").fetchall())
        for entry in left:
            error = ""
            try:
                finish_publishing(
                    [(self.output / part, self.output / path) for part, path in json.loads(moves[entry.key])]
                )
            except Emow2vError as failure:
                error = str(failure)
            folders = [self.output / entry.folder, self.folder / "rows" / entry.folder]
            remove_unfinished_of(self.owner(entry.attempt), [folder for folder in folders if folder.is_dir()])
            self._update(entry.key, state="failed" if error else "waiting", error=error, moves="[]")

    def owner(self, attempt: int = 0) -> str:
        """Part of the names of the unfinished files of a run; of this one without a number. Any thread may call this."""
        return f"{self.id}run{attempt or self.attempt}"

    # --- what is known ---

    def fact(self, name: str) -> str:
        """A fact about the run; "" where there is none."""
        with self._sentences():
            row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def entry(self, key: str) -> Entry | None:
        """A recording; None where the key is unknown."""
        found = self._rows(f"WHERE key = {_TEXT}", (_bytes(key),))
        return found[0] if found else None

    @property
    def is_empty(self) -> bool:
        """Whether no recording is known."""
        return not self._rows("LIMIT 1")

    def failed_keys(self) -> Iterator[str]:
        """The keys of the recordings that failed."""
        with self._sentences():
            for (key,) in self._database.execute("SELECT key FROM recordings WHERE state = 'failed'"):
                yield key

    def is_taken(self, folder: str, stem: str) -> bool:
        """Whether results in a folder have a name already, in letters of any case."""
        with self._sentences():
            query = f"SELECT 1 FROM recordings WHERE place = {_TEXT}"
            return self._database.execute(query, (_place(folder, stem),)).fetchone() is not None

    def _rows(self, where: str, values: Sequence[object] = ()) -> list[Entry]:
        with self._sentences():
            rows = self._database.execute(f"SELECT {', '.join(_COLUMNS)} FROM recordings {where}", values).fetchall()
        entries = (dict(zip(_COLUMNS, row, strict=True)) for row in rows)
        return [Entry(**entry | {"outputs": tuple(json.loads(entry["outputs"]))}) for entry in entries]

    # --- what happens ---

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Many changes as one: all of them are written, or none."""
        with self._sentences(), self._write():
            yield

    def set_fact(self, name: str, value: str) -> None:
        """Remember a fact about the run."""
        with self._sentences():
            self._set(name, value)

    def add(self, entry: Entry) -> None:
        """Add a recording, or replace what is known of it; its results have a place of their own (see `is_taken`)."""
        values: dict[str, Any] = {name: getattr(entry, name) for name in _COLUMNS}
        values |= {"place": _place(entry.folder, entry.stem), "outputs": json.dumps(entry.outputs), "moves": "[]"}
        marks = ", ".join(_TEXT if isinstance(value, str | bytes) else "?" for value in values.values())
        with self._sentences():
            self._database.execute(
                f"INSERT OR REPLACE INTO recordings ({', '.join(values)}) VALUES ({marks})",
                [_bytes(value) if isinstance(value, str) else value for value in values.values()],
            )

    def begin(self, key: str, size: int, modified_ns: int, turns: str) -> None:
        """The work on a recording begins."""
        self._update(key, state="in flight", size=size, modified_ns=modified_ns, turns=turns, attempt=self.attempt)

    def publish(self, key: str, moves: Sequence[Move]) -> None:
        """The complete results of a recording are going to be renamed."""
        names = [[self._relative(part), self._relative(path)] for part, path in moves]
        self._update(key, moves=json.dumps(names))

    def done(self, key: str, outputs: Sequence[Path], *, content: str, duration_s: float, seconds: float) -> None:
        """All results of a recording have their names."""
        names = json.dumps([self._relative(path) for path in outputs])
        facts = {"content": content, "duration_s": duration_s, "seconds": seconds, "outputs": names}
        self._update(key, state="done", error="", moves="[]", **facts)

    def failed(self, key: str, error: str) -> None:
        """A recording has failed, with a sentence."""
        self._update(key, state="failed", error=error, outputs="[]", moves="[]")

    def wait(self, key: str) -> None:
        """A recording is to be done again."""
        self._update(key, state="waiting", error="")

    def seen(self, key: str, size: int, modified_ns: int) -> None:
        """The file of a recording has another size or time, and the same sound."""
        self._update(key, size=size, modified_ns=modified_ns)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()

    def _update(self, key: str, **values: Any) -> None:
        changes = ", ".join(f"{name} = {_TEXT if isinstance(value, str) else '?'}" for name, value in values.items())
        bound = [_bytes(value) if isinstance(value, str) else value for value in values.values()]
        with self._sentences():
            self._database.execute(f"UPDATE recordings SET {changes} WHERE key = {_TEXT}", [*bound, _bytes(key)])

    def _set(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @contextlib.contextmanager
    def _write(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite has rolled back itself where the disk is full
                self._database.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn errors of SQLite into one sentence each."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its details
            name, why = shown(self._path), reason(error)
            damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            if not damaged and not isinstance(error, sqlite3.OperationalError):
                raise  # a mistake of ours
            if code == sqlite3.SQLITE_FULL:
                raise DiskFull(
                    f"{name} cannot be written ({why}); free some space, and run the command again."
                ) from None
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise FormatError(f"{name} is open in another program ({why}); close that program.") from None
            if damaged or code == sqlite3.SQLITE_ERROR:  # other tables than ours
                raise FormatError(
                    f"{name} is damaged, or no journal ({why}); remove {shown(self.folder)} to begin anew."
                ) from None
            raise FormatError(
                f"{name} cannot be written ({why}); expected a folder whose file system has locks; choose another one, "
                "on a local disk."
            ) from None


_TEXT = "CAST(? AS TEXT)"  # of bytes: names of files that are not Unicode stay as they are


def _bytes(text: str) -> bytes:
    return os.fsencode(text)


def _place(folder: str, stem: str) -> bytes:
    return _bytes(f"{folder}/{stem}".lower())
