"""Requests for a prediction: a recording and options become a form."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, TypedDict

from emow2v.client.answers import Job, State
from emow2v.client.exchange import Attachment, Request
from emow2v.errors import ClientError

Time: TypeAlias = str | float  # "40ms", "0.5s", or seconds
Source: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes]

KEY = "Idempotency-Key"  # the server makes one job of requests with the same one
POST_S = 300.0  # until the answer: the server looks into recordings one after the other
_TIMES = frozenset(
    ("frame_step", "left_context", "right_context", "start", "end", "shortest_turn", "longest_turn", "bridged_pause")
)


class Computation(TypedDict, total=False):
    """How recordings are computed; times are texts ("40ms", "0.5s") or seconds.

    Attributes:
        model: name of an installed model; the default is the server's
        unit: values over time, one for the whole recording, or one for each turn
        context, padding, frame_step, left_context, right_context: the windows
        start, end: the part of the recording to use
        track, channel: the sound to use
        speech: look for speech; rows without have no scores
        embeddings: keep and fetch the embeddings, 4 KB a value
        pool: the value of a turn is the mean of the values over time inside it
        shortest_turn, longest_turn, bridged_pause: for turns that the detector finds
        callback: address that gets a signed POST when the job has ended
    """

    model: str
    unit: Literal["windows", "files", "turns"]
    context: Literal["window", "shared"]
    padding: Literal["edge", "zeros"]
    frame_step: Time
    left_context: Time
    right_context: Time
    start: Time
    end: Time
    track: int
    channel: str | int
    speech: bool
    embeddings: bool
    pool: bool
    shortest_turn: Time
    longest_turn: Time
    bridged_pause: Time
    callback: str


class PostOptions(Computation, total=False):
    """Options of `post`, as `/v1/predictions` has them, besides those of `Computation`.

    Attributes:
        path: instead of a recording of this computer: one below the server's data folders
        url: instead: one at an address, on a host that the administrator allows
        upload: instead: the id of one that `upload` has sent
        name: of the recording, as the server shows it; the default is that of the file
        segments: a file that says who speaks when, or the two files of an annotation of NOVA
        segments_path, segments_url: instead: one of the server, or at an address
        tier: tiers or speakers whose turns are used
    """

    path: str
    url: str
    upload: str
    name: str
    segments: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    segments_path: str
    segments_url: str
    tier: str | Sequence[str]


class BatchOptions(Computation, total=False):
    """Options of a job of many recordings, as `/v1/batches` has them, besides those of `Computation`.

    Attributes:
        folder: folders below the server's data folders; "." for these themselves
        pattern: which recordings of the folders: of names (*.wav), or of paths below them (session1/**/*.wav)
        recursive: False leaves out the folders below
        path: recordings below the data folders
        format: of the table
    """

    folder: str | Sequence[str]
    pattern: str | Sequence[str]
    recursive: bool
    path: str | Sequence[str]
    format: Literal["csv", "json", "ndjson", "parquet"]


class PredictOptions(PostOptions, total=False):
    """Options of `predict`, which also waits.

    Attributes:
        on_progress: called with the job at each change
        keep: False erases the job, with recording and values, when they are here
    """

    on_progress: Callable[[Job], object] | None
    keep: bool


class FileOptions(TypedDict, total=False):
    """Which file to fetch, and how.

    Attributes:
        format: csv, csvw, json, ndjson, parquet, annotation, npz or stream; the default is that of the job's request
        session: which of the job's recordings; a prediction has one
        each: of a job of many recordings: a zip with files of each of them, in place of the table
        overwrite: replace a file
    """

    format: str
    session: int
    each: bool
    overwrite: bool


class Filters(TypedDict, total=False):
    """Which jobs to list; without any option, all of them.

    Attributes:
        state: what they do
        kind: "prediction" or "batch" for one or many recordings, or "process" for jobs of DISCOVER and NOVA
        model: name of the model that computed them
        name: a part of the recording's name, in upper or lower case
        since, until: when they were posted, both included; a text as 2026-11-25 or 2026-11-25T09:30:00Z, or a time
        owner: name of the person who posted them, for administrators
    """

    state: State
    kind: Literal["prediction", "batch", "process"]
    model: str
    name: str
    since: str | datetime
    until: str | datetime
    owner: str


def listing(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The query of a list of jobs."""
    return [
        (name, value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value))
        for name, value in filters.items()
    ]


def prediction(recording: Source | None, options: Mapping[str, Any]) -> Request:
    """The request that posts a recording.

    Raises:
        ClientError: there is not exactly one recording, or a file is not there
    """
    given = dict(options)
    name, segments = given.pop("name", ""), given.pop("segments", ())
    sources = [one for one in (recording, given.get("path"), given.get("url"), given.get("upload")) if one]
    if len(sources) != 1:
        raise ClientError(f"There are {len(sources)} recordings; expected one: a file, or path=, url= or upload=.")
    attachments = [] if recording is None else [attachment("file", recording, name)]
    several = [segments] if isinstance(segments, str | os.PathLike) else segments
    attachments += [attachment("segments", one) for one in several]
    return _post("predictions", attachments, {**given, "wait": False})


def batch(recordings: Sequence[Source], options: Mapping[str, Any]) -> Request:
    """The request that posts many recordings as one job.

    Raises:
        ClientError: a file is not there
    """
    return _post("batches", [attachment("file", one) for one in recordings], options)


def _post(path: str, attachments: Sequence[Attachment], options: Mapping[str, Any]) -> Request:
    form = [(field, text) for field, value in options.items() for text in texts(field, value)]
    headers = {KEY: uuid.uuid4().hex}
    return Request("POST", path, form=form, attachments=attachments, headers=headers, read_s=POST_S)


def attachment(field: str, source: Source, name: str = "") -> Attachment:
    """A file of a form.

    Raises:
        ClientError: it is not there
    """
    if isinstance(source, bytes):
        return Attachment(field, name or "recording", source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.is_file():
            raise ClientError(f"{path} is no file here; expected a recording, or path= for one of the server.")
        return Attachment(field, name or _shown(path.name), path)
    if isinstance(source, io.TextIOBase):
        raise ClientError("The recording is open as text; expected a file that is open in binary mode.")
    named = name or getattr(source, "name", "")
    shown = _shown(Path(named).name) if isinstance(named, str) and named else "recording"
    if not source.seekable():  # a request is perhaps sent again
        return Attachment(field, shown, source.read())
    return Attachment(field, shown, source)


def _shown(name: str) -> str:
    """A name whose characters that are none of Unicode are escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def texts(field: str, value: Any) -> list[str]:
    """A value as a form or an address has it; several for a list."""
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, list | tuple):
        return [text for one in value for text in texts(field, one)]
    if field in _TIMES and isinstance(value, int | float):
        return [f"{value!r}s"]
    return [str(value)]
