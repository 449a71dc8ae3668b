"""A prediction of /v1 as a task: one recording in, one table out."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast

from emow2v import formats, storage
from emow2v.cards import Card
from emow2v.discover import options as opts
from emow2v.discover.observer import Observer, record_observed
from emow2v.discover.options import TrackChoice
from emow2v.discover.places import Places, safe_name
from emow2v.discover.probing import probe
from emow2v.engines.shared_context import check_shared
from emow2v.errors import AudioError, Emow2vError, FormatError, RequestError
from emow2v.formats.table_read import Table, read_table
from emow2v.framing import Framing, Padding, parse_time
from emow2v.model import Context, Model, Unit
from emow2v.trajectory import Trajectory

FORMATS = {"json": "application/json", "csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
STEM = "result"
TIMES = {"frame_step": "40ms", "left_context": "960ms", "right_context": "0ms", "start": "0ms", "end": "0ms"}


class PredictionTask:
    """A form of /v1/predictions. Each part is read when it is first asked for.

    Args:
        job_id: of the job
        form: `path`, or `upload` (the name of a stored upload) with `name` (the client's own name for it), and any of
            model, unit, format, context, padding, track, channel and `TIMES`
        places: folders that requests may read and write
        default_context: how windows are computed where the request does not say

    All parts raise RequestError, with one sentence, where the form cannot be carried out.
    """

    notes: Sequence[str] = ()  # unknown fields are refused

    def __init__(self, job_id: str, form: Mapping[str, str], places: Places, default_context: Context = "window"):
        self.job_id = job_id
        self._form = {name: value for name, value in form.items() if value}
        self._places = places
        self._default_context = default_context

    # --- the parts of the request ---

    @property
    def name(self) -> str:
        """The recording, as the client calls it."""
        return self._form.get("name") or self._form.get("path") or "upload"

    @cached_property
    def framing(self) -> Framing:
        """The windows."""
        times = {f"{name}_ms": parse_time(self._form.get(name, default), name) for name, default in TIMES.items()}
        start, end = times.pop("start_ms") or 0, times.pop("end_ms") or None
        if self.unit == "files":
            return Framing.files(start_ms=start, end_ms=end)
        padding = cast(Padding, self._one_of("padding", ("edge", "zeros")))
        return Framing(**times, padding=padding, align="step", start_ms=start, end_ms=end)

    @property
    def unit(self) -> Unit:
        """Values over time, or one for the whole recording."""
        return cast(Unit, self._one_of("unit", ("windows", "files")))

    @property
    def context(self) -> Context:
        """How windows are computed."""
        default = "window" if self.unit == "files" else self._default_context
        return cast(Context, self._one_of("context", ("window", "shared"), default))

    @property
    def default_format(self) -> str:
        """The format of the stored table, one of `FORMATS`."""
        return self._one_of("format", tuple(FORMATS))

    @property
    def track_choice(self) -> TrackChoice:
        """Track and channel of the recording, where the request chooses them."""
        return opts.track_choice(self._form)

    @property
    def sessions(self) -> list[str]:
        """The one recording."""
        return [self.name]

    @property
    def first_row(self) -> int:
        """Number of the table's first row, counted from the beginning of the recording."""
        return self.framing.first_frame

    @property
    def upload(self) -> Path | None:
        """The upload that came with the request and belongs to this job alone; None for a path."""
        name = self._form.get("upload")
        return self._places.uploads / Path(name).name if name else None

    def uploads(self) -> set[Path]:
        """The upload that the request came with, or whose path it names."""
        if self.upload:
            return {self.upload}
        with contextlib.suppress(Emow2vError, OSError):  # it is gone
            if self._places.is_upload(path := self._places.input(self._form.get("path", ""))):
                return {path}
        return set()

    def folders(self) -> set[Path]:
        """The folder of the table."""
        return {self._path.parent}

    def recording(self, number: int) -> Path | bytes:
        """The recording; the job has one."""
        self._check_number(number)
        return self.upload or self._places.input(self._form.get("path", ""))

    def card(self, served: Card) -> Card:
        """The card of the model to use.

        Args:
            served: the card of the server's own model
        """
        return opts.choose_card(self._form.get("model", served.name), served)

    # --- before, during and after the work ---

    def check(self, served: Card, max_duration_s: float = 0) -> None:
        """Check everything, the recording too; see `Task.check`."""
        recording = self._checked_recording()
        _ = self.unit, self.default_format, self.context, self._one_of("padding", ("edge", "zeros"))
        card = self.card(served)
        try:
            _ = self.framing
            if self.context == "shared":
                check_shared(card, self.framing)
        except Emow2vError as error:
            raise RequestError(str(error)) from None
        track_choice = self.track_choice
        try:
            probe(recording, self.framing, max_duration_s, track_choice)
        except (AudioError, RequestError) as error:
            raise self._without_path(error, recording) from None

    def run(self, model: Model, observer: Observer | None = None, max_duration_s: float = 0) -> int:
        """Write the table.

        Args:
            max_duration_s: longest recording in seconds; 0 for no limit

        Returns:
            its rows

        Raises:
            Emow2vError: one sentence on the error
        """
        observer = observer or Observer()
        recording = self._checked_recording()
        try:
            computed = model.predict(
                recording,
                unit=self.unit,
                framing=self.framing,
                context=self.context,
                check=observer.on_step,
                longest_s=max_duration_s,
                **self.track_choice,
            )
            trajectory = Trajectory(replace(computed.info, source=self.name), lambda: iter(computed))
            writers = formats.writers([self.default_format], self._path.parent, STEM, overwrite=True)
            rows = record_observed(trajectory, writers, observer, 1 if self.unit == "files" else None)
        except AudioError as error:
            raise self._without_path(error, recording) from None
        observer.on_provenance(computed.info.provenance)
        if notices := computed.info.notices:
            observer.notice([notice.replace(str(recording), self.name) for notice in notices])
        return rows

    def stored(self, file_format: str) -> Path | None:
        """The table of a finished job as it is stored; None where it has another format.

        Raises:
            FormatError: the table is gone
        """
        path = self._stored_table()
        return path if file_format == self.default_format else None

    def table(self, number: int) -> Table:
        """The values of a finished job.

        Raises:
            RequestError: there is no such recording
            FormatError: the table is gone
        """
        self._check_number(number)
        return next(iter(read_table(self._stored_table()).values()))

    def stem(self, number: int) -> str:
        """The beginning of the names of files that people save."""
        self._check_number(number)
        return safe_name(storage.one_line(Path(self.name).stem), "result")

    # --- parts of parts ---

    @property
    def _path(self) -> Path:
        return self._places.results(self.job_id) / f"{STEM}.{self.default_format}"

    def _stored_table(self) -> Path:
        if not storage.is_file(self._path):
            raise FormatError("The job's table is gone; post the recording again.")
        return self._path

    def _checked_recording(self) -> Path:
        if self.upload and self._form.get("path"):
            raise RequestError("file and path name two recordings; expected one of them.")
        if self.upload:
            if not storage.is_file(self.upload):
                raise RequestError("The upload is gone; post it again.")
            return self.upload
        if not self._form.get("path"):
            raise RequestError("There is no recording; expected an upload as file, or a path below the data folders.")
        return self._places.input(self._form["path"])

    def _without_path(self, error: Emow2vError, recording: Path) -> Emow2vError:
        """The error with the client's own name for the recording: the places of uploads are not shown."""
        return type(error)(str(error).replace(str(recording), self.name))

    def _one_of(self, field: str, expected: Sequence[str], default: str = "") -> str:
        value = self._form.get(field, default or expected[0])
        if value not in expected:
            raise RequestError(f"{field} is '{value[:60]}'; expected {' or '.join(expected)}.")
        return value

    def _check_number(self, number: int) -> None:
        if number:
            raise RequestError(f"session is {number}; expected 0 to 0.")
