"""A prediction of /v1 as a task: one recording in, one table out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from emow2v import formats, storage
from emow2v.cards import Card
from emow2v.discover.observer import Observer, record_observed
from emow2v.discover.options import TrackChoice
from emow2v.discover.places import Places, safe_name
from emow2v.discover.recordings import Recordings, probe, seconds_read
from emow2v.discover.turn_inputs import check_size, check_turns, turn_file
from emow2v.discover.turn_list import TurnListWriter, path_of
from emow2v.errors import AudioError, Emow2vError, FormatError, RequestError
from emow2v.formats.run_table import check as check_table
from emow2v.formats.table_read import Table, read_kept
from emow2v.model import Context, Model
from emow2v.prediction.speech import speech_frame_ms
from emow2v.server.jobs.prediction_form import FORMATS, RECORDINGS, STEM
from emow2v.server.jobs.prediction_options import PredictionOptions
from emow2v.sources.address import hide_secrets
from emow2v.sources.remote import Remote
from emow2v.speech.segmentation import read_segments
from emow2v.speech.segments import Segmentation, fit_to_recording
from emow2v.trajectory import Trajectory


class PredictionTask(PredictionOptions):
    """A form of /v1/predictions. Each part is read when it is first asked for.

    Args:
        job_id: of the job
        form: `path`, `url`, or `upload` (the name of a stored upload) with `name` (the client's own name for it), and any of
            model, unit, format, context, padding, track, channel, speech, embeddings, pool, `TIMES` and `DETECTION`; for turns of a file
            `segments_path`, or `segments` (a stored upload) with `segments_name`, and tier, a JSON list
        places: folders that requests may read and write
        default_context: how windows are computed where the request does not say

    All parts raise RequestError, with one sentence, where the form cannot be carried out, and FormatError where turns cannot.
    """

    tables = tuple(FORMATS)

    def __init__(self, job_id: str, form: Mapping[str, str], places: Places, default_context: Context = "window"):
        super().__init__(job_id, form, places, default_context)
        self._recordings = Recordings(places)

    # --- the parts of the request ---

    @property
    def name(self) -> str:
        """The recording, as the client calls it."""
        url = hide_secrets(self._form.get("url", "")).partition("?")[0]
        return self._form.get("name") or self._form.get("path") or url or "upload"

    @cached_property
    def segmentation(self) -> Segmentation | None:
        """The turns of the file that came with the request; None without one."""
        path, name = self._segments
        if path is None:
            return None
        return read_segments(path, json.loads(self._form.get("tier", "[]")), recording=Path(self.name), name=name)

    def original_turns(self) -> tuple[Segmentation | None, Path | None]:
        """An .eaf that came with the request, as `segmentation` with its place on the disk; nothing else can be added to."""
        found, (path, _) = self.segmentation, self._segments
        if found is None or found.format != "ELAN":
            return None, None
        return replace(found, source=path), path

    @property
    def sessions(self) -> list[str]:
        """The one recording."""
        return [self.name]

    @property
    def upload(self) -> Path | None:
        """The recording that came with the request; None for a path."""
        return self._stored("upload")

    @property
    def owned(self) -> set[Path]:
        """The uploads that came with the request and belong to this job alone."""
        found = {path for field in ("upload", "segments") if (path := self._stored(field))}
        return found | {path.with_name(path.name[:-1]) for path in found if path.name.endswith("~")}

    def uploads(self) -> set[Path]:
        """The uploads that the request came with, or whose paths it names."""
        named = set()
        for field in ("path", "segments_path"):
            with contextlib.suppress(Emow2vError, OSError):  # it is gone
                if self._places.is_upload(path := self._places.input(self._form.get(field, ""))):
                    named.add(path)
        return self.owned | named

    def folders(self) -> set[Path]:
        """The folder of the table."""
        return {self._path.parent}

    def recording(self, number: int) -> Path | Remote:
        """The recording; the job has one."""
        self._check_number(number)
        if self._form.get("url"):
            return self._recordings.remote(self._form["url"])
        return self.upload or self._places.input(self._form.get("path", ""))

    def close(self) -> None:
        """Remove what was fetched from an address."""
        self._recordings.close()

    # --- before, during and after the work ---

    def check(self, served: Card, max_duration_s: float = 0) -> float:
        """Check everything, the recording too; see `Task.check`."""
        recording = self._checked_recording()
        self._check_options(served)
        if self.default_format == "parquet":
            check_table(self._path.with_suffix(".parquet"))
        self._check_turns()
        channels, stated = ([] if self.segmentation is None else [*self.segmentation.channels.values()]), 0.0
        try:
            for choice in (self.track_choice, *(self.track_choice | TrackChoice(channel=one) for one in channels)):
                stated = probe(recording, self.framing, max_duration_s, choice)
        except (AudioError, RequestError) as error:
            raise self._without_path(error, recording) from None
        if self.segmentation is not None:
            check_turns(self.segmentation)
            fit_to_recording(self.segmentation, stated or None, storage.one_line(Path(self.name).name))
        return seconds_read(stated, self.framing)

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
        self._recordings.watch(observer.on_step)
        turns = self._turn_list_writer(model)
        try:
            computed = self._trajectory(model, recording, observer, max_duration_s, turns)
            trajectory = Trajectory(replace(computed.info, source=self.name), lambda: iter(computed))
            kept = [self._path.suffix[1:], *(["npz"] if self.embeddings else [])]
            writers = formats.writers(kept, self._path.parent, STEM, overwrite=True)
            writers += [turns] if turns else []
            rows = record_observed(trajectory, writers, observer, 1 if self.unit == "files" else None)
        except (AudioError, FormatError) as error:
            raise self._without_path(error, recording) from None
        observer.on_provenance(computed.info.provenance)
        if notices := [*computed.info.notices, *(turns.notices if turns else ())]:
            observer.notice([notice.replace(str(recording), self.name) for notice in notices])
        return rows

    def stored(self, file_format: str, number: int | None = None) -> Path | None:
        """The table of a finished job as it is stored; None where it has another format.

        Raises:
            FormatError: the table is gone
        """
        path = self._stored_table()
        return path if path.suffix == f".{file_format}" else None

    def files(self, number: int) -> list[Path]:
        """The files of a finished job that its values are read from."""
        self._check_number(number)
        return [self._path, self._path.with_suffix(".npz")]

    def arrays(self, number: int) -> Path | None:
        """The arrays of a finished job (.npz) with its embeddings; None if it did not keep them."""
        self._check_number(number)
        path = self._path.with_suffix(".npz")
        return path if storage.is_file(path) else None

    def table(self, number: int) -> Table:
        """The values of a finished job.

        Raises:
            RequestError: there is no such recording
            FormatError: the table is gone
        """
        self._check_number(number)
        path = self._stored_table()
        return next(iter(read_kept(path, path.stat().st_mtime_ns).values()))

    def stem(self, number: int) -> str:
        """The beginning of the names of files that people save."""
        self._check_number(number)
        return safe_name(storage.one_line(Path(self.name).stem), "result")

    # --- parts of parts ---

    def _trajectory(
        self,
        model: Model,
        recording: Path | Remote,
        observer: Observer,
        max_duration_s: float,
        turns: TurnListWriter | None,
    ) -> Trajectory:
        options: dict[str, Any] = {
            "context": self.context, "check": observer.on_step, "max_duration_s": max_duration_s, **self.track_choice,
        }  # fmt: skip
        if self.unit == "turns":
            framing = self.framing if self.pool else None
            options |= {"segments": self.segmentation, "pool": self.pool, "framing": framing, **self.detection}
            return model.predict_turns(recording, **options)
        on_speech = turns.add_speech if turns else None
        options |= {"unit": self.unit, "framing": self.framing, "speech": self.speech, "on_speech": on_speech}
        return model.predict(recording, **options)

    def _turn_list_writer(self, model: Model) -> TurnListWriter | None:
        """Keeps the turns beside values over time, where turns are known or speech is looked for."""
        if self.unit != "windows" or self.framing.whole or (self.segmentation is None and not self.speech):
            return None
        return TurnListWriter(
            path_of(self._path.parent, 0), self.segmentation, self.detection, speech_frame_ms(model.card)
        )

    def _check_turns(self) -> None:
        """Refuse fields on turns that do not go together, and a file with turns that cannot be read."""
        if self._form.get("tier") and not self._has_segments:
            raise FormatError("tier names tiers of a file; expected segments with it.")
        if self.unit != "turns" and self.framing.whole and self._has_segments:
            raise FormatError(
                "One value for the whole recording has no turns; expected unit=turns or windows with segments."
            )
        if self.unit == "windows" and self.segmentation is not None and self.segmentation.channels:
            name, channel = next(iter(self.segmentation.channels.items()))
            raise FormatError(
                f"The tier {storage.shown(name)} is tied to the channel {channel}, but values over time are those of one channel; "
                f"expected unit=turns, or channel={channel} without the tie."
            )

    @property
    def _has_segments(self) -> bool:
        return bool(self._form.get("segments") or self._form.get("segments_path"))

    @property
    def _segments(self) -> tuple[Path | None, str]:
        """The file with turns, and what the client calls it."""
        stored, path = self._stored("segments"), self._form.get("segments_path", "")
        if stored and path:
            raise FormatError("segments and segments_path name two files with turns; expected one of them.")
        if path:
            return turn_file(self._places, path), path
        if stored and not storage.is_file(stored):
            raise FormatError("The uploaded file with turns is gone; post it again.")
        name = self._form.get("segments_name", "segments")
        if stored:
            check_size([stored], name)
        return stored, name

    def _stored(self, field: str) -> Path | None:
        """An upload that came with the request."""
        name = self._form.get(field)
        return self._places.upload(name) if name else None

    @property
    def _path(self) -> Path:
        ending = "json" if self.default_format == "parquet" else self.default_format
        return self._places.results(self.job_id) / f"{STEM}.{ending}"

    def _stored_table(self) -> Path:
        if not storage.is_file(self._path):
            raise FormatError("The job's table is gone; post the recording again.")
        return self._path

    def _checked_recording(self) -> Path | Remote:
        fields = [name for name, field in RECORDINGS.items() if self._form.get(field)]
        if len(fields) > 1:
            raise RequestError(f"{' and '.join(fields)} name {len(fields)} recordings; expected one of them.")
        if not fields:
            raise RequestError("There is no recording; expected a file, a path below the data folders, or a url.")
        if self.upload and not storage.is_file(self.upload):
            raise RequestError("The upload is gone; post it again.")
        return self.recording(0)

    def _without_path(self, error: Emow2vError, recording: Path | Remote) -> Emow2vError:
        """The error with the client's own name for the recording: the places of uploads are not shown."""
        return type(error)(str(error).replace(str(recording), self.name))

    def _check_number(self, number: int) -> None:
        if number:
            raise RequestError(f"session is {number}; expected 0 to 0.")
