"""Results of many recordings as files, or printed: the work of `emow2v predict`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TextIO

from emow2v import formats, storage
from emow2v.archive.loop import Predictor, each, trajectories
from emow2v.audio.channels import Channel
from emow2v.audio.inputs import STDIN, Input, Outcome
from emow2v.audio.notices import about
from emow2v.errors import AudioError, FormatError
from emow2v.formats import Writer
from emow2v.formats.table import csv_head, csv_rows, json_head, json_tail, rows
from emow2v.framing import Context, Framing
from emow2v.rows import Block, Info
from emow2v.storage.files import StagedFiles
from emow2v.trajectory import Trajectory


def predict(
    model: Predictor,
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
    progress: Callable[[Block, Info], None] = lambda block, info: None,
) -> Iterator[Outcome]:
    """Predict every input, one after the other; one that fails does not stop the others.

    Args:
        output: folder of the results; None prints them
        names: formats, see `formats.writers`; for printing csv or json, one of them
        overwrite: also replace files that emow2v did not write, or that were changed since
        track, channel: as `Model.predict` takes them; "each" gives a result for each channel, the channel in its name
        progress: called after each block

    Raises:
        FormatError: an unknown format, or one that cannot be printed
    """
    printer = None if output else _printer(names, sys.stdout)
    formats.writers(names, output or Path(), "check")  # an unknown format is found before any work
    options = {"framing": framing, "context": context, "batch_size": batch_size, "track": track}

    def work(one: Input) -> Outcome:
        source = sys.stdin.buffer if one.path == STDIN else one.path
        found = trajectories(model, source, channel, options)
        if printer:
            return _of_channels([_record(one, trajectory, [printer], progress) for trajectory in found])
        return _write(one, found, names, output or Path(), overwrite, progress)

    for done in each(inputs, work, lambda one: one.path):
        yield done.value or Outcome(done.item.path, error=done.error)


def _write(
    one: Input,
    found: Sequence[Trajectory],
    names: Sequence[str],
    output: Path,
    overwrite: bool,
    progress: Callable[[Block, Info], None],
) -> Outcome:
    """Write the trajectories of one recording to files named after it."""
    stems = [one.stem + _channel_ending(trajectory.info.channel) for trajectory in found]
    outcome = _of_channels(
        [
            _record(one, trajectory, formats.writers(names, output / one.folder, stem, overwrite=overwrite), progress)
            for trajectory, stem in zip(found, stems, strict=True)
        ]
    )
    if outcome.files[0].name.startswith(f"{one.stem}."):
        return outcome
    name = storage.shown(one.path)
    notice = f"{name}: its name is too long for results; it was cut: {outcome.files[0].name}"
    return replace(outcome, notices=(*outcome.notices, notice))


def format_names(text: str, *, printed: bool) -> list[str]:
    """Formats as the command line takes them: names with commas, in letters of any case.

    Raises:
        FormatError: none, one that is not known, or one that cannot be printed
    """
    names = list(dict.fromkeys(name.strip().lower().removeprefix(".") for name in text.split(",") if name.strip()))
    if not names:
        raise FormatError(f"--format is empty; expected {formats.known()}.")
    formats.writers(names, Path(), "check")
    if printed:
        _printer(names, sys.stdout)
    return names


def check_output(folder: Path) -> None:
    """Refuse a folder of results that cannot be written, before any work.

    Raises:
        FormatError: it is a file, or may not be written
        PathError: the operating system does not say what it is
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
    """The part of a result's name that follows the recording's: talk.left, talk.channel3."""
    return f".channel{channel}" if channel.isdecimal() else f".{channel}" if channel else ""


def _of_channels(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcomes of one recording's channels as one."""
    first = outcomes[0]
    files = tuple(file for one in outcomes for file in one.files)
    notices = tuple(dict.fromkeys(notice for one in outcomes for notice in one.notices))
    rows, clipped = sum(one.rows for one in outcomes), sum(one.clipped for one in outcomes)
    return replace(first, rows=rows, clipped=clipped, files=files, notices=notices)


def _record(
    one: Input, trajectory: Trajectory, writers: list[Writer], progress: Callable[[Block, Info], None]
) -> Outcome:
    count = 0

    def done(block: Block) -> None:
        nonlocal count
        count += len(block)
        progress(block, trajectory.info)

    files = tuple(path for writer in writers for path in [getattr(writer, "path", None)] if path)
    for path in (place for writer in writers for place in writer.staged.places):
        if one.path != STDIN and storage.exists(path) and path.samefile(one.path):
            raise FormatError(f"{path} is the recording itself; choose another output folder.")
    formats.record(trajectory, writers, done)
    clipped = sum(writer.clipped for writer in writers)
    return Outcome(one.path, count, clipped, files, notices=about(one.path, trajectory.notices))


def _printer(names: Sequence[str], stream: TextIO | None) -> Writer:
    if stream is None:
        raise FormatError("Standard output is closed; expected a terminal, a file or a pipe.")
    if list(names) == ["csv"]:
        return _PrintedCSV(stream)
    if list(names) == ["json"]:
        return _PrintedJSON(stream)
    raise FormatError(f"Standard output takes csv or json, one of them; got {', '.join(names)}.")


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    """Turn errors of standard output into one sentence, but for the end of a pipe, which ends the program quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FormatError(f"Standard output cannot be written ({error.strerror}); free some space.") from None


class _PrintedCSV:
    """One table for all recordings, row by row as they are computed."""

    def __init__(self, stream: TextIO) -> None:
        self.staged = StagedFiles()
        self.clipped = 0
        self._stream = stream
        self._begun = False

    def open(self, info: Info) -> None:
        self._info = info

    def add(self, block: Block) -> None:
        with _output_errors():
            if not self._begun:
                self._stream.write(csv_head(self._info))
                self._begun = True
            self._stream.write(csv_rows(self._info, block))

    def close(self) -> None:
        with _output_errors():
            self._stream.flush()


class _PrintedJSON:
    """One JSON document a line for each recording, once it is complete."""

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
    """Refuse a terminal as input: the program would wait for somebody to type a recording.

    Raises:
        AudioError: standard input is a terminal, or closed
    """
    if stream is None:
        raise AudioError("Standard input is closed; expected a recording from a pipe.")
    if stream.isatty():
        raise AudioError(
            "Standard input is a terminal; expected a recording from a pipe: cat talk.wav | emow2v predict -"
        )
