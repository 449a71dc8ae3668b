"""Predictions of many recordings as files or on standard output, for `emow2v predict`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from emow2v import formats, storage
from emow2v.archive import annotation_files
from emow2v.archive.loop import Elsewhere, Predictor, each, predictions
from emow2v.audio.channels import Channel
from emow2v.audio.notices import about
from emow2v.audio.recording import Source
from emow2v.errors import AudioError, Cancelled, ClusterError, DiskFull, FormatError, StoreError
from emow2v.formats import PLAIN, AnnotationFacts, Writer
from emow2v.formats.table import csv_head, csv_rows, json_head, json_tail, rows
from emow2v.framing import Context, Framing
from emow2v.inputs import STDIN, Input, Outcome
from emow2v.rows import Block, Info
from emow2v.storage.files import StagedFiles
from emow2v.stores import is_address
from emow2v.stores.results import StoredResults, in_order, places_of
from emow2v.trajectory import Trajectory

if TYPE_CHECKING:  # loaded by runs with turns or a table only
    from emow2v.archive.resume import Attempt, CorpusRun
    from emow2v.archive.run_table import RunTable
    from emow2v.archive.turns import Turns


_FATAL = (DiskFull, StoreError, ClusterError, Cancelled)  # what ends a run with a journal, whatever its recording


def predict(
    model: Predictor | Elsewhere,
    inputs: Sequence[Input],
    output: Path | None,
    *,
    names: Sequence[str] = ("csv",),
    framing: Framing | None = None,
    context: Context = "window",
    batch_size: int | None = None,
    overwrite: bool = False,
    track: int | None = None,
    channel: Channel | Literal["each"] = "mix",
    speech: bool = False,
    turns: Turns | None = None,
    annotation: AnnotationFacts = PLAIN,
    table: RunTable | None = None,
    run: CorpusRun | None = None,
    stored: StoredResults | None = None,
    max_duration_s: float = 0,
    progress: Callable[[Block, Info], None] = lambda block, info: None,
) -> Iterator[Outcome]:
    """Predict inputs one after the other. An input that fails does not stop the others.

    Args:
        output: folder of the results; None prints them on standard output
        names: names of formats, see `formats.writers`; csv or json for standard output; none if there is only a table
        overwrite: also replace files that emow2v did not write, or that were changed since
        track, channel: as for `Model.predict`; "each" gives one result for each channel, with the channel in its name
        speech: also compute the probability of speech; rows without speech have no scores
        turns: rows are turns; they always have a share of speech
        annotation: what annotations of SSI state
        table: one table that also takes all rows; with `run`, these are kept in files until `CorpusRun.fill`
        run: notes what becomes of each input, which must be one of `CorpusRun.pending`; needs an output folder
        stored: puts the results of `output`, which is its folder, to an address
        max_duration_s: a longer recording fails, in seconds; 0 for any length
        progress: called after each block

    Yields:
        The outcome of each input.

    Raises:
        FormatError: a format is unknown, or cannot be printed
        DiskFull, StoreError: the disk is full, or the store of `stored` cannot be written; with `run` only, where everything
            that follows would fail, too
        ClusterError: no node of a cluster can work any more
        Cancelled: `progress` or the model's engine has stopped the run; with `run` only
    """
    printers = [] if output or not names else [_printer(names, sys.stdout)]
    tables = annotation_files.others(names, turns=turns is not None)
    formats.writers(tables, output or Path(), "check")  # an unknown format is found before any work
    annotation_files.check(names, turns=turns is not None)
    options: dict[str, Any] = {"framing": framing, "context": context, "batch_size": batch_size, "track": track}
    if max_duration_s:
        options["max_duration_s"] = max_duration_s
    finder = run.finder if run else turns.finder(inputs) if turns else None
    if speech and finder is None:
        options["speech"] = True

    attempts: dict[str, Attempt] = {}  # of inputs that are read
    of_turns: dict[str, dict[str, Any]] = {}  # of inputs that are read: options of their turns

    def writers(one: Input, stem: str) -> list[Writer]:
        if not output or not names:
            return printers
        folder, recording = output / one.folder, _file(one)
        written = annotation_files.writers(
            names,
            folder,
            stem,
            recording,
            of_turns.get(one.path, {}).get("segments"),
            turns=finder is not None,
            overwrite=overwrite,
            curves=of_turns.get(one.path, {}).get("curves"),
            annotation=annotation,
        )
        return [*formats.writers(tables, folder, stem, overwrite=overwrite, annotation=annotation), *written]

    def prepare(one: Input) -> dict[str, Any]:
        if finder is None:
            if channel != "each":
                chosen = writers(one, one.stem)  # refused before the recording is computed
                _refuse_originals(one, chosen, [path for path in (_file(one),) if path])
                formats.check(chosen)
                if stored is not None:
                    stored.check(places_of(chosen))
            return options
        more = finder.options(one.path)
        curves = annotation_files.curves(names, more)
        of_turns[one.path] = {"segments": more.get("segments"), "curves": curves}
        return options | more | ({"on_values": curves.add} if curves is not None else {})

    def source(one: Input) -> Source:
        if run is not None:
            attempts[one.path] = run.attempt(one)
        if one.path == STDIN:
            return sys.stdin.buffer
        return attempts[one.path].content.source if run else one.path

    turned = finder is not None
    with predictions(model, inputs, prepare, source, channel, turns=turned, rest=run is not None) as computed_of:

        def work(one: Input) -> Outcome:
            found, segmentation = computed_of(one), of_turns.get(one.path, {}).get("segments")
            attempt = attempts[one.path] if run else None
            if attempt:
                attempt.begin()
            recording = _file(one)
            originals = [path for path in (recording, segmentation and segmentation.source) if path]

            def record(trajectory: Trajectory) -> Outcome:
                stem = one.stem + _channel_ending(trajectory.info.channel)
                chosen = writers(one, stem)
                if table:
                    chosen = [*chosen, table.writer(run.rows_path(one, stem) if run else None)]
                if run and run.names:
                    trajectory = _renamed(trajectory, run.names(one.path))
                return _record(one, trajectory, chosen, originals, progress, attempt, stored)

            outcome = _with_name_notice(one, _merge([record(trajectory) for trajectory in found]))
            if attempt is None:
                return outcome
            attempt.done()
            return replace(outcome, duration_s=attempt.content.duration_s)

        for done in each(inputs, work, lambda one: one.path, fatal=_FATAL if run else ()):
            attempt = attempts.pop(done.item.path, None)
            of_turns.pop(done.item.path, None)
            error = (
                _with_name(done.error, done.item.path, run.names(done.item.path)) if run and run.names else done.error
            )
            if run is not None and error:
                (attempt or run.attempt(done.item)).failed(error)
            elif table is not None and error:
                table.failed(done.item.path, error)
            yield done.value or Outcome(done.item.path, error=error)


def _renamed(trajectory: Trajectory, name: str) -> Trajectory:
    """A trajectory whose results have another name for its recording."""
    return Trajectory(replace(trajectory.info, source=name), lambda: iter(trajectory), trajectory.close)


def _with_name(sentence: str, path: str, name: str) -> str:
    """A sentence on a recording with a name in place of its path."""
    return sentence.replace(storage.shown(path), storage.shown(name)).replace(path, name)


def _file(one: Input) -> Path | None:
    """The file of a recording; None where it comes from a pipe or lies at an address."""
    return None if one.path == STDIN or is_address(one.path) else Path(one.path)


def _with_name_notice(one: Input, outcome: Outcome) -> Outcome:
    """The outcome, with a notice where the recording's name was too long for its results, or is not UTF-8."""
    first = Path(outcome.files[0]).name if outcome.files else ""
    if not first or first.startswith(f"{one.stem}."):
        return outcome
    name = storage.shown(one.path)
    their = storage.shown(first)
    if any("\ud800" <= sign <= "\udfff" for sign in one.stem):  # bytes in another code
        notice = f"{name}: its name is not UTF-8; its results have another name: {their}"
    else:
        notice = f"{name}: its name is too long for results; they have a shorter name: {their}"
    return replace(outcome, notices=(*outcome.notices, notice))


def format_names(text: str, *, printed: bool, turns: bool = False) -> list[str]:
    """Parse the names of formats: separated by commas, in upper or lower case.

    Args:
        turns: whether rows are turns

    Raises:
        FormatError: there is no name, or a format is unknown, cannot be printed, or cannot hold turns
    """
    names = list(dict.fromkeys(name.strip().lower().removeprefix(".") for name in text.split(",") if name.strip()))
    if not names:
        raise FormatError(f"--format is empty; expected {formats.known()}.")
    known = (*formats.FORMATS, *annotation_files.FORMATS)
    for name in names:
        if name not in known:
            raise FormatError(
                f"Format '{storage.shown(name)}' is unknown; expected {', '.join(known[:-1])} or {known[-1]}."
            )
    annotation_files.check(names, turns=turns)
    if turns and "stream" in names:
        raise FormatError("The format stream has a value every step; turns have none; expected csv, json or ndjson.")
    if printed:
        _printer(names, sys.stdout)
    return names


def check_output(folder: Path) -> None:
    """Refuse an output folder that cannot be written.

    Raises:
        FormatError: the folder is a file, or must not be written
        PathError: the operating system refuses to examine the folder
    """
    place = folder
    while (kind := storage.kind_of(place)) is None and place != place.parent:
        place = place.parent
    if kind != "folder":
        raise FormatError(
            f"{storage.shown(folder)} cannot be written ({storage.shown(place)} is a file); choose another folder."
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise FormatError(f"{storage.shown(folder)} cannot be written (Permission denied); choose another folder.")


def _channel_ending(channel: str) -> str:
    """The part of a result's name after the recording's name: talk.left, talk.channel3."""
    return f".channel{channel}" if channel.isdecimal() else f".{channel}" if channel else ""


def _merge(outcomes: Sequence[Outcome]) -> Outcome:
    """Merge the outcomes of the channels of one recording."""
    first = outcomes[0]
    files = tuple(file for one in outcomes for file in one.files)
    notices = tuple(dict.fromkeys(notice for one in outcomes for notice in one.notices))
    rows, clipped = sum(one.rows for one in outcomes), sum(one.clipped for one in outcomes)
    return replace(first, rows=rows, clipped=clipped, files=files, notices=notices)


def _record(
    one: Input,
    trajectory: Trajectory,
    writers: list[Writer],
    originals: Sequence[Path],
    progress: Callable[[Block, Info], None],
    attempt: Attempt | None,
    stored: StoredResults | None,
) -> Outcome:
    """Write one trajectory with all writers."""
    count = 0

    def count_rows(block: Block) -> None:
        nonlocal count
        count += len(block)
        progress(block, trajectory.info)

    files: tuple[Path | str, ...] = tuple(
        path for writer in writers for path in [getattr(writer, "path", None)] if path
    )
    _refuse_originals(one, writers, originals)
    if stored is not None:
        stored.check(places_of(writers))
    if attempt is None:
        formats.record(trajectory, writers, count_rows)
    else:
        formats.record(trajectory, writers, count_rows, attempt.publishing, owner=attempt.owner)
    if stored is not None:
        stored.put(path for path in in_order(places_of(writers)) if storage.exists(path))
        files = tuple(stored.address_of(path) for path in files if isinstance(path, Path))
    clipped = sum(writer.clipped for writer in writers)
    return Outcome(one.path, count, clipped, files, notices=about(trajectory.info.source, trajectory.notices))


def _refuse_originals(one: Input, writers: list[Writer], originals: Sequence[Path]) -> None:
    """Refuse to replace a recording, or the file with its turns, by a result."""
    for path in (place for writer in writers for place in writer.staged.places):
        if storage.exists(path) and (same := [original for original in originals if path.samefile(original)]):
            what = "recording" if same[0] == Path(one.path) else "file with the turns"
            raise FormatError(f"{path} is the {what} itself; choose another output folder.")


def _printer(names: Sequence[str], stream: TextIO | None) -> Writer:
    """The writer to standard output."""
    if stream is None:
        raise FormatError("Standard output is closed; expected a terminal, a file or a pipe.")
    if list(names) == ["csv"]:
        return _PrintedCSV(stream)
    if list(names) == ["json"]:
        return _PrintedJSON(stream)
    raise FormatError(f"Standard output takes csv or json, one of them; got {', '.join(names)}.")


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    """Turn errors of standard output into one sentence. A closed pipe stays an error that ends the program silently."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FormatError(f"Standard output cannot be written ({error.strerror}); free some space.") from None


class _PrintedCSV:
    """Prints one CSV table for all recordings, block by block."""

    def __init__(self, stream: TextIO) -> None:
        self.staged = StagedFiles()
        self.clipped = 0
        self._stream = stream
        self._has_header = False

    def open(self, info: Info) -> None:
        self._info = info

    def add(self, block: Block) -> None:
        with _output_errors():
            if not self._has_header:
                self._stream.write(csv_head(self._info))
                self._has_header = True
            self._stream.write(csv_rows(self._info, block))

    def close(self) -> None:
        with _output_errors():
            self._stream.flush()


class _PrintedJSON:
    """Prints one JSON document on one line for each recording, when it is complete."""

    def __init__(self, stream: TextIO) -> None:
        self.staged = StagedFiles()
        self.clipped = 0
        self._stream = stream

    def open(self, info: Info) -> None:
        self._info = info
        self._rows: list[str] = []

    def add(self, block: Block) -> None:
        self._rows += [f"[{', '.join(row)}]" for row in rows(block)]

    def close(self) -> None:
        document = json_head(self._info) + ", ".join(self._rows) + json_tail(self._info)
        with _output_errors():
            self._stream.write(document + "\n")
            self._stream.flush()


def refuse_terminal(stream: TextIO | None) -> None:
    """Refuse a terminal as input, from which the program would wait for input without end.

    Raises:
        AudioError: standard input is a terminal, or closed
    """
    if stream is None:
        raise AudioError("Standard input is closed; expected a recording from a pipe.")
    if stream.isatty():
        raise AudioError(
            "Standard input is a terminal; expected a recording from a pipe: cat talk.wav | emow2v predict -"
        )
