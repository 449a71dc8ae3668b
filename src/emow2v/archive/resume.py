"""A run over many recordings that continues where an earlier one ended: what is to be done, and what became of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from emow2v import formats, storage
from emow2v.archive.content import Content, Sizes, is_same, own_key, shown_as, size_and_time
from emow2v.archive.journal import Entry, Journal, Options, State, failures
from emow2v.archive.run_table import RunTable
from emow2v.archive.turns import Finder, Turns
from emow2v.errors import FormatError, PathError
from emow2v.inputs import Input, Outcome
from emow2v.inputs.table import Chosen, Inputs
from emow2v.inputs.texts import repeated
from emow2v.storage import exists
from emow2v.storage.files import Move, finish_publishing, remove_unfinished_of
from emow2v.stores import is_address
from emow2v.stores.results import StoredResults

if TYPE_CHECKING:
    from emow2v.progress import CorpusProgress

_WORDS = {  # facts of a provenance that decide on the numbers, and what refusals call them
    "model": "model",
    "weights_sha256": "weights",
    "precision": "precision",
    "frame_step_ms": "step in ms",
    "left_context_ms": "left context in ms",
    "right_context_ms": "right context in ms",
    "padding": "padding",
    "align": "align",
    "start_ms": "start in ms",
    "end_ms": "end in ms",
    "context": "context",
}


def options_of_run(
    provenance: Mapping[str, str | float],
    *,
    names: Sequence[str],
    unit: str,
    speech: bool,
    channel: object,
    track: int | None,
    turns: Turns | None = None,
    rows: str = "",
) -> dict[str, str]:
    """The options that all results of one run share, by the words of refusals.

    Args:
        provenance: from `Model.provenance`
        names: of formats
        rows: what is kept of each recording for a table of all: "" for nothing, "scores" or "embeddings"
    """
    options = {word: str(provenance[name]) for name, word in _WORDS.items() if name in provenance}
    options["weights"] = options.get("weights", "")[:12]
    options |= {"unit": unit, "speech": "yes" if speech else "", "channel": str(channel), "track": str(track or "")}
    if turns is not None:
        options["turns"] = "from files" if turns.segments else "of the detector"
        options["tiers"] = ", ".join(turns.tiers)
        options |= {f"turns' {name}": str(value) for name, value in turns.options.items()}
    return options | {"formats": ", ".join(sorted(names)), "rows for a table": rows}


class CorpusRun:
    """A run with a journal in its folder of results. It holds the folder until it is closed.

    Args:
        output: folder of the results
        options: see `options_of_run`
        retry_failed: try recordings again that failed in an earlier run
        check_content: compare the sound of each recording that was done, also where its file has its size and time
        stored: puts results to an address; what a run that was stopped had completed is put there first
        names: returns the name of a recording in results, tables and sentences, from its path; None for the path itself

    Attributes:
        names: as it is given
        journal: of the run; another part of the program may add to it
        inputs: all recordings, with the folders and names of their results, and with their keys in the journal
        finder: of their turns; None where rows are no turns
        unsure: number of recordings that were done, of which `compare` must say whether their sound is the same
        done_before, failed_before: number of recordings of which an earlier run has results, or a sentence

    Raises:
        FormatError, DiskFull: as for `Journal`
        StoreError, PlaceTaken: the store cannot be written, or what was completed for it would replace something of others
    """

    def __init__(
        self, output: Path, options: Options, *, retry_failed: bool = False, check_content: bool = False,
        stored: StoredResults | None = None, names: Callable[[str], str] | None = None,
    ) -> None:  # fmt: skip
        self.output, self._stored, self.names, self._shown = output, stored, names, names or shown_as
        self.journal = Journal(output, options)
        if stored is not None:
            try:
                stored.finish(kept=(failures.NAME,))
            except BaseException:
                self.journal.close()
                raise
        self._retry_failed, self._check_content = retry_failed, check_content
        self._track: int | None = None
        self.inputs = Inputs()
        self.finder: Finder | None = None
        self.done_before = self.failed_before = 0
        self._new = self.journal.is_empty
        self._waiting = bytearray()  # 1 for each recording to be done
        self._unsure = array("I")  # places of recordings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.journal.close()

    # --- what is to be done ---

    def choose(self, inputs: Sequence[Input], turns: Turns | None = None, *, track: int | None = None) -> None:
        """Find out what is to be done: recordings that are missing, that changed, or that were in flight.

        Args:
            turns: of the recordings, if rows are turns
            track: that is read, as for `Model.predict`

        Raises:
            FormatError: the files of turns do not fit the recordings
            DiskFull: the journal cannot be written
        """
        self._track = track
        self.finder = turns.finder(inputs) if turns else None
        given = inputs if isinstance(inputs, Inputs) else Inputs(inputs)
        again = repeated(map(_key, given), lambda place: _key(given[place]))
        later = {
            place for places in again.values() for place in places[1:]
        }  # two folders may have recordings of one name
        self._waiting = bytearray(len(given))
        changed: Inputs | None = None
        with self.journal.together():
            for place, one in enumerate(given):
                named, entry = self._named(one, own_key(one.path) if place in later else _key(one))
                if changed is None and named != one:
                    changed = Inputs(given[before] for before in range(place))
                if changed is not None:
                    changed.append(named)
                state = self._state(named, entry) if entry else "waiting"
                if state == "waiting":
                    self._waiting[place] = 1
                elif state == "unsure":
                    self._unsure.append(place)
                elif state == "done":
                    self.done_before += 1
                else:
                    self.failed_before += 1
        self.inputs = given if changed is None else changed

    @property
    def unsure(self) -> int:
        return len(self._unsure)

    def compare(self) -> Iterator[None]:
        """Compare the sound of recordings with what was read of them; where it is another, the recording is done again.

        Yields:
            None, after each of those that are unsure
        """
        for place in self._unsure:
            one = self.inputs[place]
            entry = self.journal.entry(one.key)
            assert entry is not None
            size, modified_ns = size_and_time(one.path)
            if is_same(one.path, self._track, entry.content):
                self.journal.seen(one.key, size, modified_ns)
                self.done_before += 1
            else:
                self.journal.wait(one.key)
                self._waiting[place] = 1
            yield

    @property
    def pending(self) -> Chosen:
        """The recordings to be done, in order."""
        return self.inputs.chosen(array("I", (place for place, waits in enumerate(self._waiting) if waits)))

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each recording to be done, by its path."""
        return Sizes(self.pending)

    def _named(self, one: Input, key: str) -> tuple[Input, Entry | None]:
        """An input with its key and the name that its results have, or get: one that no other recording's results have; and
        what the journal knew of it.
        """
        if one.key != key:
            one = replace(one, key=key)
        entry = None if self._new else self.journal.entry(key)
        if entry is not None:
            same = entry.folder == one.folder.as_posix() and entry.stem == one.stem
            return (one if same else replace(one, folder=Path(entry.folder), stem=entry.stem)), entry
        folder = one.folder.as_posix()
        stem = storage.free_name(one.stem, lambda stem: self.journal.is_taken(folder, stem))
        self.journal.add(Entry(key, folder, stem))
        return (one if stem == one.stem else replace(one, stem=stem)), None

    def _state(self, one: Input, entry: Entry) -> State | str:
        size, modified_ns = size_and_time(one.path)
        same_file = (size, modified_ns) == (entry.size, entry.modified_ns)
        if entry.state == "failed" and same_file and not self._retry_failed:
            return "failed"
        if entry.state == "done" and self._stamp(one) == entry.turns and self._has_outputs(entry):
            unknown = is_address(one.path) and not modified_ns  # its store says nothing by which a change would show
            return "done" if same_file and not unknown and not self._check_content else "unsure"
        if entry.state != "waiting":
            self.journal.wait(entry.key)
        return "waiting"

    def _has_outputs(self, entry: Entry) -> bool:
        try:
            return bool(entry.outputs) and all(self._is_there(self.output / name) for name in entry.outputs)
        except PathError:  # writing meets it again
            return False

    def _is_there(self, path: Path) -> bool:
        return exists(path) if self._stored is None or self.journal.folder in path.parents else self._stored.has(path)

    def _stamp(self, one: Input) -> str:
        """Size and time of the file with the turns of a recording."""
        try:
            path = self.finder.file(one.path) if self.finder else None
        except FormatError:  # the computation meets it again
            return ""
        return "" if path is None else "{} {}".format(*size_and_time(str(path)))

    # --- what becomes of it ---

    def attempt(self, one: Input) -> Attempt:
        """The work on a recording, before it is opened; any thread may call this."""
        return Attempt(self.journal, one.key, one.path, self._stamp(one))

    def rows_path(self, one: Input, stem: str) -> Path:
        """The file that keeps the rows of a result for the table of all."""
        return self.journal.folder / "rows" / one.folder / f"{formats.shorten(stem)}.rows"

    # --- at the end ---

    def begin_table(self, path: Path) -> str:
        """A table will be written; what a killed run left of its own is finished or removed.

        Returns:
            part of the names of its unfinished files
        """
        owner = f"{self.journal.id}table"
        left = json.loads(self.journal.fact("unfinished table") or "{}")
        if left:
            with contextlib.suppress(FormatError):  # what came to its place meanwhile is checked before it is replaced
                finish_publishing([(Path(part), Path(place)) for part, place in left["moves"]])
            remove_unfinished_of(owner, [Path(left["folder"])])
        self._set_table(path.parent, [])
        return owner

    def table_publishing(self, moves: Sequence[Move]) -> None:
        """The complete files of the table are going to be renamed; for `before` of `publish`."""
        self._set_table(moves[0][1].parent, moves)

    def _set_table(self, folder: Path, moves: Sequence[Move]) -> None:
        names = [[str(part.absolute()), str(path.absolute())] for part, path in moves]
        self.journal.set_fact("unfinished table", json.dumps({"folder": str(folder.absolute()), "moves": names}))

    def fill(self, table: RunTable) -> bool:
        """Add the rows of all recordings that are done to a table, in the order of the inputs; whether it must be written.

        A table of the same recordings that lies there already stays.

        Raises:
            FormatError: the table has no room for them, or rows cannot be read
        """
        if self.journal.fact("table") == self._state_of_all(table) and table.is_there:
            return False
        for one, entry in self.entries() if next(self.journal.failed_keys(), None) else ():
            if entry.state == "failed":
                table.failed(self._shown(one.path), entry.error)
        table.add_kept(self._kept)
        return True

    def _kept(self) -> Iterator[tuple[Path, str]]:
        """The files that keep rows, each with the path of its recording."""
        for one, entry in self.entries():
            if entry.state == "done":
                yield from (
                    (self.output / name, self._shown(one.path)) for name in entry.outputs if name.endswith(".rows")
                )

    def filled(self, table: RunTable) -> None:
        """The table has its name."""
        self.journal.set_fact("table", self._state_of_all(table))

    def _state_of_all(self, table: RunTable) -> str:
        form = f"{' in 16 bit' if table.half else ''}{f' relative to {table.relative.by}' if table.relative else ''}"
        digest = hashlib.sha256(f"{table.path.absolute()}{form}\n".encode(errors="backslashreplace"))
        for one, entry in self.entries():
            facts = f"{one.path}\n{entry.state}\n{entry.attempt}\n{entry.error}\n"
            digest.update(facts.encode(errors="backslashreplace"))
        return digest.hexdigest()

    def entries(self) -> Iterator[tuple[Input, Entry]]:
        """All recordings in order, each with what the journal knows of it."""
        for one in self.inputs:
            entry = self.journal.entry(one.key)
            assert entry is not None
            yield one, entry

    @contextlib.contextmanager
    def failures_listed(self, refused: Sequence[Outcome], progress: CorpusProgress) -> Iterator[None]:
        """Write failures.csv at the end of the block, however it ends; `progress` gets its path, or a sentence.

        Args:
            refused: names that gave no recording
        """
        try:
            yield
        except BaseException:
            with contextlib.suppress(FormatError):  # the disk may be full
                progress.failures = self.write_failures(refused)
            raise
        try:
            progress.failures = self.write_failures(refused)
        except FormatError as error:
            progress.say(str(error))

    def write_failures(self, refused: Sequence[Outcome] = ()) -> Path | str | None:
        """Write failures.csv, or remove it where nothing has failed; see `failures.write` and `failures.put`."""
        path = self.output / failures.NAME
        written = failures.write(path, self.journal, self.inputs, refused, self._shown)
        return written if self._stored is None else failures.put(path, self.journal, self._stored)


class Attempt:
    """The work on one recording. Only the thread that opened the journal may call its methods.

    Args:
        key, path: of the recording
        turns: size and time of the file with its turns

    Attributes:
        content: what is read of it; `content.source` is to be predicted instead of the path
        owner: part of the names of its unfinished files
    """

    def __init__(self, journal: Journal, key: str, path: str, turns: str) -> None:
        self.content, self.owner = Content(path), journal.owner()
        self._journal, self._key, self._began = journal, key, time.monotonic()
        self._file = (*size_and_time(path), turns)  # before it is read: a change meanwhile shows later
        self._outputs: list[Path] = []

    def begin(self) -> None:
        """Its results will be written."""
        self._journal.begin(self._key, *self._file)

    def failed(self, error: str) -> None:
        """The work has failed, with a sentence; it is tried again when the file has changed, or when that is asked for."""
        self._journal.begin(self._key, *self._file)
        self._journal.failed(self._key, error)

    def publishing(self, moves: Sequence[Move]) -> None:
        """Some results are complete, and are going to be renamed; for `before_publish` of `formats.record`."""
        self._outputs += [path for _, path in moves]
        self._journal.publish(self._key, moves)

    def done(self) -> None:
        """All results have their names."""
        self._journal.done(
            self._key, self._outputs, content=self.content.text(), duration_s=self.content.duration_s,
            seconds=time.monotonic() - self._began,
        )  # fmt: skip


def _key(one: Input) -> str:
    return one.key or shown_as(one.path)
