"""Many recordings through the corridor: what to read, what to call the results, what went wrong."""

from __future__ import annotations

import contextlib
import csv
import glob
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from emow2v import formats
from emow2v.errors import AudioError, Emow2vError, FormatError
from emow2v.formats import Writer
from emow2v.formats.files import Staged
from emow2v.formats.table import COLUMNS, json_head, rows
from emow2v.framing import Framing
from emow2v.model import Context, Model
from emow2v.trajectory import Block, Info, Trajectory

# What is taken from a folder; a file that is named itself may be called anything.
ENDINGS = frozenset(
    ".3gp .aac .ac3 .aif .aifc .aiff .amr .ape .au .avi .caf .flac .flv .m4a .m4b .m4v .mka .mkv .mov .mp2 .mp3 .mp4 "
    ".mpeg .mpg .oga .ogg .ogv .opus .ra .rm .snd .sph .ts .vob .voc .w64 .wav .webm .wma .wmv .wv".split()
)
STDIN = "-"


@dataclass(frozen=True)
class Input:
    """A recording to read, and the folder and name of its results below the output folder."""

    path: str
    folder: Path
    stem: str


@dataclass(frozen=True)
class Outcome:
    """What became of one input: its trajectory's rows, or the sentence that says why not."""

    path: str
    rows: int = 0
    clipped: int = 0
    files: tuple[Path, ...] = ()
    error: str = ""


def expand(names: Sequence[str]) -> tuple[list[Input], list[Outcome]]:
    """Files, folders (with what lies below them), patterns and "-" as inputs; and what named nothing.

    Results of a folder's files keep their place below it; two inputs never share a result's name.
    """
    found: list[tuple[str, Path]] = []
    failed: list[Outcome] = []
    for name in names:
        matches = list(_matches(name))
        if not matches:
            kind = "no recording" if Path(name).is_dir() else "nothing"
            failed.append(
                Outcome(name, error=f"{name} matches {kind}; expected recordings such as .wav, .mp3 or .mp4.")
            )
        found += matches
    seen: dict[str, tuple[str, Path]] = {}
    for path, folder in found:
        seen.setdefault(path if path == STDIN else str(Path(path).resolve()), (path, folder))
    unique = list(seen.values())
    stems = Counter((folder, Path(path).stem.lower()) for path, folder in unique)
    inputs = []
    for path, folder in unique:
        if path == STDIN:
            inputs.append(Input(path, folder, "stdin"))
        else:  # talk.wav and talk.mp3 in one folder: talk.wav.csv and talk.mp3.csv
            shared = stems[folder, Path(path).stem.lower()] > 1
            inputs.append(Input(path, folder, Path(path).name if shared else Path(path).stem))
    return _numbered(inputs), failed


def _matches(name: str) -> Iterator[tuple[str, Path]]:
    path = Path(name)
    if name == STDIN:
        yield name, Path()
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in ENDINGS and file.is_file() and not file.name.startswith("."):
                yield str(file), file.parent.relative_to(path)
    elif not path.exists() and any(sign in name for sign in "*?["):
        for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 (pathlib refuses absolute patterns)
            if Path(match).is_file():
                yield match, Path()
    else:  # also what does not exist: the decoder says so
        yield name, Path()


def _numbered(inputs: list[Input]) -> list[Input]:
    """Equal names from different folders get a number: talk.csv, talk-2.csv."""
    taken: set[tuple[Path, str]] = set()
    result = []
    for one in inputs:
        stem, number = one.stem, 1
        while (one.folder, stem.lower()) in taken:
            number += 1
            stem = f"{one.stem}-{number}"
        taken.add((one.folder, stem.lower()))
        result.append(Input(one.path, one.folder, stem))
    return result


def predict(
    model: Model,
    inputs: Sequence[Input],
    output: Path | None,
    *,
    names: Sequence[str] = ("csv",),
    framing: Framing | None = None,
    context: Context = "window",
    batch_size: int | None = None,
    progress: Callable[[Block, Info], None] = lambda block, info: None,
) -> Iterator[Outcome]:
    """Predict every input, one after the other; one that fails does not stop the others.

    Args:
        output: folder of the results; None prints them
        names: formats, see `formats.writers`; for printing csv or json, one of them
        progress: called after each block

    Raises:
        FormatError: a format that is not known or cannot be printed
    """
    printer = None if output else _printer(names, sys.stdout)
    formats.writers(names, output or Path(), "check")  # an unknown format is found before any work
    for one in inputs:
        try:
            source = sys.stdin.buffer if one.path == STDIN else one.path
            trajectory = model.predict(source, framing=framing, context=context, batch_size=batch_size)
            writers = [printer] if output is None and printer else _writers(names, output or Path(), one)
            yield _record(one, trajectory, writers, progress)
        except Emow2vError as error:
            yield Outcome(one.path, error=str(error))


def _writers(names: Sequence[str], output: Path, one: Input) -> list[Writer]:
    return formats.writers(names, output / one.folder, one.stem)


def _record(
    one: Input, trajectory: Trajectory, writers: list[Writer], progress: Callable[[Block, Info], None]
) -> Outcome:
    count = 0

    def done(block: Block) -> None:
        nonlocal count
        count += len(block)
        progress(block, trajectory.info)

    files = tuple(path for writer in writers for path in [getattr(writer, "path", None)] if path)
    for path in files:
        if one.path != STDIN and path.exists() and path.samefile(one.path):
            raise FormatError(f"{path} is the recording itself; choose another output folder.")
    formats.record(trajectory, writers, done)
    return Outcome(one.path, count, sum(writer.clipped for writer in writers), files)


def _printer(names: Sequence[str], stream: TextIO | None) -> Writer:
    if stream is None:
        raise FormatError("Standard output is closed; expected a terminal, a file or a pipe.")
    if list(names) == ["csv"]:
        return _PrintedCSV(stream)
    if list(names) == ["json"]:
        return _PrintedJSON(stream)
    raise FormatError(f"Standard output takes csv or json, one of them; got {', '.join(names)}.")


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """A reader that has seen enough ends the program quietly; a full disk is an error like others."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FormatError(f"Standard output cannot be written ({error.strerror}); free some space.") from None


class _PrintedCSV:
    """One table for all recordings, row by row as they are computed."""

    def __init__(self, stream: TextIO) -> None:
        self.staged = Staged()
        self.clipped = 0
        self._stream = stream
        self._table = csv.writer(stream, lineterminator="\n")
        self._begun = False

    def open(self, info: Info) -> None:
        self._source = info.source

    def add(self, block: Block) -> None:
        with _printing():
            if not self._begun:
                self._table.writerow(COLUMNS)
                self._begun = True
            self._table.writerows((self._source, *row) for row in rows(block))

    def close(self) -> None:
        with _printing():
            self._stream.flush()


class _PrintedJSON:
    """One JSON document a line for each recording, once it is complete."""

    def __init__(self, stream: TextIO) -> None:
        self.staged = Staged()
        self.clipped = 0
        self._stream = stream

    def open(self, info: Info) -> None:
        self._head = json_head(info)
        self._rows: list[str] = []

    def add(self, block: Block) -> None:
        self._rows += [f"[{', '.join(row)}]" for row in rows(block)]

    def close(self) -> None:
        document = self._head + ", ".join(self._rows) + "]}"
        with _printing():
            self._stream.write(document + "\n")
            self._stream.flush()


def refuse_terminal(stream: TextIO | None) -> None:
    """A terminal as input would wait for somebody to type a recording.

    Raises:
        AudioError: standard input is a terminal, or closed
    """
    if stream is None:
        raise AudioError("Standard input is closed; expected a recording from a pipe.")
    if stream.isatty():
        raise AudioError(
            "Standard input is a terminal; expected a recording from a pipe: cat talk.wav | emow2v predict -"
        )
