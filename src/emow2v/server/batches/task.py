"""A job of many recordings as a task: the archive's run, with its journal in the job's folder of results."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, overload

from emow2v import formats, storage
from emow2v.archive import run as archive
from emow2v.archive.journal import OtherOptions
from emow2v.archive.resume import CorpusRun, options_of_run
from emow2v.archive.run_table import RunTable
from emow2v.archive.turns import Turns
from emow2v.cards import Card
from emow2v.discover.places import safe_name
from emow2v.discover.recordings import probe, seconds_read
from emow2v.errors import Emow2vError, FormatError, RequestError
from emow2v.formats.table_read import Table, read_kept
from emow2v.inputs import Input, Outcome
from emow2v.inputs.table import Inputs
from emow2v.model import Model
from emow2v.server.batches.choosing import Chosen, local
from emow2v.server.batches.culprit import CulpritFinder
from emow2v.server.batches.progress import BatchProgress
from emow2v.server.jobs.observer import GaveWay, JobObserver
from emow2v.server.jobs.prediction_form import FORMATS, STEM
from emow2v.server.jobs.prediction_options import PredictionOptions

TABLES = {name: FORMATS[name] for name in ("csv", "json", "ndjson", "parquet")}  # the default first
_DEADLY = (
    "{}: each time it was computed, the worker died; it is left out. Convert it, such as to .wav, and post it again."
)
ALONE_AFTER_DEATH = 200  # recordings that are computed one by one when a worker has died: more are never on their way


class BatchTask(PredictionOptions):
    """A form of /v1/batches. Each part is read when it is first asked for.

    The form has the options of a prediction, `title`, and `recordings`: JSON, a list of what `Chosen` holds. Results lie in
    the job's folder of results: the table, and in `files` a file for each recording and the run's journal.
    """

    tables = tuple(TABLES)

    @property
    def name(self) -> str:
        """What the job is about."""
        return self._form.get("title", "recordings")

    @cached_property
    def chosen(self) -> list[Chosen]:
        """The recordings."""
        return [Chosen(*values) for values in json.loads(self._form.get("recordings", "[]"))]

    @property
    def sessions(self) -> list[str]:
        """Names of the recordings."""
        return [one.name for one in self.chosen]

    @property
    def owned(self) -> set[Path]:
        """The uploads that came with the request."""
        return {self._places.upload(one.upload) for one in self.chosen if one.upload}

    def uploads(self) -> set[Path]:
        """The uploads that the request came with, or whose paths it names."""
        named = set()
        for one in self.chosen:
            with contextlib.suppress(Emow2vError, OSError):  # it is gone
                if not one.upload and self._places.is_upload(path := self._places.input(one.name)):
                    named.add(path)
        return self.owned | named

    @property
    def folder(self) -> Path:
        """Folder of the files of the recordings, and of the run's journal."""
        return self._places.results(self.job_id) / "files"

    def folders(self) -> set[Path]:
        """The folder of the table; those below have unfinished files that their journal knows."""
        return {self.folder.parent}

    def recording(self, number: int) -> Path:
        """The recording of a number."""
        one = self._one(number)
        return self._places.upload(one.upload) if one.upload else local(self._places, one.name)

    def close(self) -> None:
        """Nothing is open."""

    # --- before and during the work ---

    def check(self, served: Card, max_duration_s: float = 0) -> float:
        """Check the options; what is wrong with a recording is said when it is computed."""
        self._check_options(served)
        return 0.0

    def stated_s(self) -> float:
        """Seconds of sound, as the recordings state them; reads the beginning of each."""
        total = 0.0
        for number in range(len(self.chosen)):
            with contextlib.suppress(Emow2vError, OSError):  # said when it is computed
                total += seconds_read(probe(self.recording(number), self.framing, 0, self.track_choice), self.framing)
        return total

    def run(self, model: Model, observer: JobObserver | None = None, max_duration_s: float = 0) -> int:
        """Compute what is missing, then write the table.

        Args:
            max_duration_s: longest recording in seconds; 0 for no limit

        Returns:
            its rows

        Raises:
            GaveWay: other jobs wait; the next run goes on
            Emow2vError: no recording has a result, or nothing can be written
        """
        observer = observer or JobObserver()
        if sentences := json.loads(self._form.get("left_out", "[]")):
            observer.notice(sentences)
        inputs, refused = self._inputs()
        names = {one.path: one.key for one in inputs}
        turns = Turns(None, (), {"pool": self.pool, **self.detection}) if self.unit == "turns" else None
        with contextlib.ExitStack() as stack:
            table = stack.enter_context(self._run_table())
            run = stack.enter_context(self._corpus_run(model, turns, names))
            finder = CulpritFinder(run.journal)
            culprits = [one for one in inputs if one.key == finder.culprit(observer.attempt)]
            for one in culprits:
                run.attempt(one).failed(_DEADLY.format(storage.shown(one.key)))
            run.choose(inputs, turns, track=self.track_choice.get("track"))
            for _ in run.compare():
                observer.on_step()
            places = {one.name: place for place, one in enumerate(self.chosen)}
            progress = BatchProgress(run, observer, places, refused, len(culprits))
            self._compute(model, run, table, turns, progress, finder, max_duration_s)
            run.write_failures(
                [Outcome(self.chosen[place].name, error=said) for place, said in sorted(refused.items())]
            )
            if not progress.counts.done:
                count = storage.counted(len(self.chosen), "recording")
                raise RequestError(f"None of {count} has a result. The first sentence is: {progress.first_error}")
            report = _Report()
            with table.published(report, run):
                pass
            if table.broken:
                raise FormatError(table.broken)
            return progress.counts.rows

    def _compute(
        self,
        model: Model,
        run: CorpusRun,
        table: RunTable,
        turns: Turns | None,
        progress: BatchProgress,
        finder: CulpritFinder,
        max_duration_s: float,
    ) -> None:
        options: dict[str, Any] = {
            "names": self._names, "framing": self.framing, "context": self.context, "overwrite": True,
            "speech": self.speech and turns is None, "turns": turns, "table": table, "run": run,
            "max_duration_s": max_duration_s, "progress": progress.block, **self.track_choice,
        }  # fmt: skip
        pending: Sequence[Input] = run.pending
        if progress.observer.attempt > 1:  # a worker died: which recording was it?
            first, pending = pending[:ALONE_AFTER_DEATH], pending[ALONE_AFTER_DEATH:]
            for one in first:
                finder.begin(one)
                for outcome in archive.predict(model, [one], self.folder, **options):
                    progress.done(outcome)
                if progress.observer.gives_way():
                    raise GaveWay
        finder.clear()
        items = Interruptible(pending, progress.observer.gives_way)
        for outcome in archive.predict(model, items, self.folder, **options):
            progress.done(outcome)
        progress.report()
        if items.interrupted:
            raise GaveWay

    @property
    def _names(self) -> list[str]:
        """Formats of the file of a recording."""
        return ["csv", "npz"] if self.embeddings else ["csv"]

    @property
    def _has_rows_of_embeddings(self) -> bool:
        return self.embeddings and self.default_format == "parquet"

    def _inputs(self) -> tuple[Inputs, dict[int, str]]:
        """The recordings that are there, and by their numbers sentences on the others."""
        found, refused = Inputs(), dict[int, str]()
        names: dict[str, str] = {}
        for place, one in enumerate(self.chosen):
            try:
                path = str(self.recording(place))
                if one.upload and not storage.is_file(path):
                    raise RequestError("The upload is gone; post it again.")
            except Emow2vError as error:
                refused[place] = str(error)
                continue
            if path in names:
                refused[place] = (
                    f"{storage.shown(one.name)} is the same recording as {storage.shown(names[path])}, and done once."
                )
            else:
                names[path] = one.name
                found.append(Input(path, Path(one.folder), one.stem, one.name))
        return found, refused

    def _corpus_run(self, model: Model, turns: Turns | None, names: Mapping[str, str]) -> CorpusRun:
        """The run that goes on; it begins anew where the model, or the engine, is another by now."""
        rows = "embeddings" if self._has_rows_of_embeddings else "scores"
        options = options_of_run(
            model.provenance(self.framing, self.context), names=self._names, unit=self.unit, speech=self.speech,
            channel=self.track_choice.get("channel", "mix"), track=self.track_choice.get("track"), turns=turns, rows=rows,
        )  # fmt: skip
        options |= {"engine": model.engine.name}
        try:
            return CorpusRun(self.folder, options, names=names.__getitem__)
        except OtherOptions:
            shutil.rmtree(self.folder)
            return CorpusRun(self.folder, options, names=names.__getitem__)

    def _run_table(self, folder: Path | None = None, file_format: str = "") -> RunTable:
        """The table of all, in the job's folder of results or in another one."""
        framing = self.framing
        return RunTable(
            (folder or self.folder.parent) / f"{STEM}.{file_format or self.default_format}",
            speech=self.speech, turns=self.unit == "turns", overwrite=True,
            embeddings=self._has_rows_of_embeddings and file_format in ("", "parquet"),
            files=framing.whole and not (framing.start_ms or framing.end_ms),
        )  # fmt: skip

    # --- results ---

    def stored(self, file_format: str, number: int | None = None) -> Path | None:
        """The table of a recording, or of all, as it is stored; None where it has another format; raises FormatError where
        it is gone."""
        if number is not None:
            path = self.file(number)
            return path if file_format == "csv" and storage.is_file(path) else None
        path = self.folder.parent / f"{STEM}.{self.default_format}"
        if not storage.is_file(path):
            raise FormatError("The job's table is gone; post the recordings again.")
        return path if file_format == self.default_format else None

    def make_table(self, folder: Path, file_format: str, done: Sequence[int]) -> Path:
        """Write the table of all in another format, from the rows that were kept.

        Args:
            folder: an empty one
            done: numbers of the recordings that have results
        """
        kept = [(self.rows_file(number), self.chosen[number].name) for number in done]
        with self._run_table(folder, file_format) as table:
            table.add_kept(lambda: kept)
            table.publish()
        return table.path

    def rows_file(self, number: int) -> Path:
        """The file that keeps the rows of a recording for a table."""
        one = self._one(number)
        return self.folder / storage.RUN_FOLDER / "rows" / one.folder / f"{formats.shorten(one.stem)}.rows"

    def file(self, number: int, ending: str = "csv") -> Path:
        """The file of a recording with its results; it need not exist."""
        one = self._one(number)
        return self.folder / one.folder / f"{formats.shorten(one.stem)}.{ending}"

    def files(self, number: int) -> list[Path]:
        """The files that the values of a recording are read from, as far as they exist."""
        return [self.file(number), self.file(number, "npz")]

    def arrays(self, number: int) -> Path | None:
        """The arrays of a recording (.npz) with its embeddings; None if the job did not keep them."""
        path = self.file(number, "npz")
        return path if storage.is_file(path) else None

    def table(self, number: int) -> Table:
        """The values of a recording; raises FormatError where it has none."""
        path = self.file(number)
        if not storage.is_file(path):
            raise FormatError("The recording has no values; the list of the job's files says why.")
        return next(iter(read_kept(path, path.stat().st_mtime_ns).values()))

    def stem(self, number: int) -> str:
        """The beginning of the names of files that people save."""
        return safe_name(storage.one_line(self._one(number).stem), "result")

    def _one(self, number: int) -> Chosen:
        if not 0 <= number < len(self.chosen):
            raise RequestError(f"session is {number}; expected 0 to {len(self.chosen) - 1}.")
        return self.chosen[number]


class _Report:
    """Where the table says how it went; `RunTable.broken` says it, too."""

    table: Path | str | None = None

    def say(self, sentence: str) -> None: ...


class Interruptible(Sequence[Input]):
    """Recordings of a run that can end early: those that are on their way are still computed.

    Several iterations go over them, some ahead of others; all of them end at the same place.

    Args:
        closed: whether no further recording should begin

    Attributes:
        interrupted: whether an iteration has ended early
    """

    def __init__(self, items: Sequence[Input], closed: Callable[[], bool]) -> None:
        self._items, self._closed = items, closed
        self._given = 0
        self._lock = Lock()
        self.interrupted = False

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Input: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Input]: ...
    def __getitem__(self, place: int | slice) -> Input | Sequence[Input]:
        return self._items[place]

    def __iter__(self) -> Iterator[Input]:
        for place in range(len(self._items)):
            with self._lock:
                if place >= self._given:
                    self.interrupted = self.interrupted or self._closed()
                    if self.interrupted:
                        return
                    self._given = place + 1
            yield self._items[place]
