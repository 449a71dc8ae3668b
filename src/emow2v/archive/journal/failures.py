"""failures.csv in a folder of results: which recordings failed, and the sentence of each."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from emow2v.archive.journal import Journal
from emow2v.errors import FormatError
from emow2v.inputs import Outcome
from emow2v.inputs.table import Inputs
from emow2v.storage import shown
from emow2v.storage.atomic import atomic_file, remove_unfinished
from emow2v.stores.results import StoredResults

NAME = "failures.csv"


def write(
    path: Path, journal: Journal, inputs: Inputs, refused: Sequence[Outcome], names: Callable[[str], str]
) -> Path | None:
    """Write the list of what failed, or remove it where nothing has.

    Args:
        journal: says what failed, and which lists are its own
        inputs: all recordings of the run, with their keys
        refused: names that gave no recording
        names: returns the name of a recording in the list, from its path

    Returns:
        its path; None where nothing failed

    Raises:
        FormatError: a file of that name is there that this run did not write, or it cannot be written
    """
    rows = chain(_refused(refused), _failed(journal, inputs, names))
    first = next(rows, None)
    try:
        there = _digest(path) if path.exists() else ""
        if there and there not in journal.fact("failures").split():
            if first is None:
                return None
            raise FormatError(f"{shown(path)} is not the list of this run; move it; failures were not listed.")
        if first is None:
            path.unlink(missing_ok=True)
            return None
        remove_unfinished(path)  # of a killed run
        with atomic_file(path) as file:
            text = _Text(file)
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(("file", "error"))
            writer.writerows(chain([first], rows))
            journal.set_fact("failures", f"{there} {text.digest.hexdigest()}")
    except OSError as error:
        raise FormatError(f"{shown(path)} cannot be written ({error.strerror}); free some space.") from None
    return path


def put(path: Path, journal: Journal, stored: StoredResults) -> str | None:
    """Put the list to the address of the results, or remove it there where nothing has failed.

    Args:
        path: of the list here, which stays

    Returns:
        its address; None where nothing failed

    Raises:
        FormatError: a file of that name is there that this run did not put there
        StoreError: the store cannot be written
    """
    is_own = journal.fact("failures put") == "yes"
    if not path.exists():
        if is_own:
            stored.remove(path)
            journal.set_fact("failures put", "")
        return None
    if stored.has(path) and not is_own:
        name = shown(stored.address_of(path))
        raise FormatError(f"{name} is not the list of this run; move it; failures were not listed.")
    journal.set_fact("failures put", "yes")
    return stored.put_copy(path)


def _refused(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str]]:
    for outcome in outcomes:
        if not outcome.members:
            yield outcome.path, outcome.error
        for name in outcome.members:
            yield name, f"{shown(name)} {outcome.reason}"


def _failed(journal: Journal, inputs: Inputs, names: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Paths and sentences in the order of the inputs; of the keys that failed, only numbers are in memory."""
    hashes = {hash(key) for key in journal.failed_keys()}
    for one in inputs if hashes else ():
        entry = journal.entry(one.key) if hash(one.key) in hashes else None
        if entry is not None and entry.state == "failed":
            yield names(one.path), entry.error


class _Text:
    """Writes text into a file, and takes its SHA-256."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, text: str) -> None:
        """Write some text as UTF-8."""
        content = text.encode(errors="backslashreplace")
        self.digest.update(content)
        self._file.write(content)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
