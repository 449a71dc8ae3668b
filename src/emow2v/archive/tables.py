"""Tables of many recordings or segments, with the names and the index of audinterface and audformat."""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from emow2v import storage
from emow2v.archive.loop import Predictor, each, predictions
from emow2v.errors import AudioError, FramingError
from emow2v.formats.frame import frame_of_many
from emow2v.framing import Framing
from emow2v.rows import Block, Info, concatenate
from emow2v.stores import is_address, join, public

Name = str | os.PathLike[str]
Paths = Name | Sequence[Name]
Time = float | datetime.timedelta | np.timedelta64 | None
Times = Time | Sequence[Time]

_LEVELS = ["file", "start", "end"]


@dataclass(frozen=True)
class Segment:
    """A recording, or a part of one.

    Attributes:
        file: name in the table
        path: path of the recording
        start, end: of the part; None for start and end of the recording
    """

    file: str
    path: str
    start: pd.Timedelta | None
    end: pd.Timedelta | None

    @property
    def times(self) -> dict[str, float | None]:
        """Start and end in seconds; None for the end of the recording."""
        return {
            "start": 0.0 if self.start is None else self.start.total_seconds(),
            "end": None if self.end is None else self.end.total_seconds(),
        }


@dataclass(frozen=True)
class Request:
    """The options of a table; see `Model.predict_files`.

    Attributes:
        options: options of `Model.predict`, with a framing
    """

    options: Mapping[str, Any]
    embeddings: bool = False
    errors: Literal["raise", "skip"] = "raise"
    progress: bool = False
    on_progress: Callable[[int, int | None], None] | None = None

    @property
    def framing(self) -> Framing:
        framing: Framing = self.options["framing"]
        return framing


@dataclass(frozen=True)
class _Part:
    """Rows of one segment, or of one channel of it."""

    info: Info
    rows: Block
    segment: Segment


def segments_of_files(files: Paths, starts: Times, ends: Times, root: Name | None) -> list[Segment]:
    """Segments of files with starts and ends; see `Model.predict_files`.

    Raises:
        AudioError: a file is not a path
        FramingError: a value is not a time, or there are not as many times as files
    """
    names = [files] if isinstance(files, str | os.PathLike) else list(files)
    for number, name in enumerate(names):
        if not isinstance(name, str | os.PathLike):
            raise AudioError(
                f"files[{number}] is a {type(name).__name__}; expected a path; predict_batch takes arrays."
            )
    times: dict[str, Any] = {"starts": starts, "ends": ends}
    counts = {len(value) for value in times.values() if _is_sequence(value)}
    if len(names) == 1 and len(counts) == 1:
        names *= counts.pop()
    columns = [_times(name, value, len(names)) for name, value in times.items()]
    return [
        Segment(public(os.fspath(name)), _path(root, name), start, end)
        for name, start, end in zip(names, *columns, strict=True)
    ]


def _path(root: Name | None, name: Name) -> str:
    text = os.fspath(name)
    if is_address(text):
        return text
    return join(os.fspath(root), text) if root and is_address(os.fspath(root)) else str(Path(root or "", name))


def columns_of_index(index: pd.Index) -> tuple[list[str], Any, Any]:
    """Files, starts and ends of an index of audformat. Starts and ends of a filewise index are None.

    Raises:
        FramingError: the index has other levels
    """
    if not isinstance(index, pd.Index):
        raise FramingError(f"The index is a {type(index).__name__}; expected a pandas.Index; a table has it as .index.")
    names = list(index.names)
    if names == _LEVELS:
        return [list(index.get_level_values(name)) for name in _LEVELS]  # type: ignore[return-value]
    if names == _LEVELS[:1]:
        return list(index), None, None
    raise FramingError(f"The index has the levels {names}; expected ['file'], or ['file', 'start', 'end'].")


def check_preserved(unit: str = "windows", channel: object = "mix") -> None:
    """Refuse to preserve an index if each entry becomes several rows.

    Raises:
        FramingError: a segment has more than one row
    """
    if unit != "files" or channel == "each":
        raise FramingError('preserve_index needs one row for each segment; expected unit="files" and one channel.')


def preserve(table: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """The table with the original index, without the segments that were skipped."""
    skipped = [error["row"] for error in table.attrs["errors"]]
    return table.set_axis(index.delete(skipped), axis=0)


def predict(model: Predictor, segments: Sequence[Segment], request: Request) -> pd.DataFrame:
    """Predict many segments as one table; see `Model.predict_files`.

    Raises:
        Emow2vError: the first segment that fails, if errors are raised
    """
    if request.errors not in ("raise", "skip"):
        raise FramingError(f"errors is '{request.errors}'; expected raise or skip.")
    framing = request.framing
    if (framing.start_ms or framing.end_ms) and any(one.start is not None or one.end is not None for one in segments):
        raise FramingError("Both the framing and the segments have a start or an end; expected one of them.")
    parts: list[_Part] = []
    errors: list[dict[str, Any]] = []
    notices: list[dict[str, Any]] = []

    channel = request.options["channel"]
    shared = {name: value for name, value in request.options.items() if name != "channel"}

    def prepare(segment: Segment) -> dict[str, Any]:
        return {**shared, "framing": _framing(framing, segment)}

    with (
        predictions(model, segments, prepare, lambda one: one.path, channel) as computed_of,
        _bar(len(segments)) if request.progress else contextlib.nullcontext(lambda: None) as advance,
    ):

        def work(segment: Segment) -> list[_Part]:
            return [_part(segment, one, embeddings=request.embeddings) for one in computed_of(segment)]

        results = each(segments, work, lambda one: one.path, stop_at_errors=request.errors == "raise")
        for row, (segment, computed, error) in enumerate(results):
            about = {"row": row, "file": segment.file, **segment.times}
            if computed is None:
                errors.append(about | {"error": error})
            else:
                parts += computed
                sentences = dict.fromkeys(notice for part in computed for notice in part.info.notices)
                notices += [about | {"notice": sentence} for sentence in sentences]
            advance()
            if request.on_progress:
                request.on_progress(row + 1, len(segments))
    table = _table(parts, request)
    table.attrs.update(_shared([part.info.provenance for part in parts]), errors=errors, notices=notices)
    if errors:
        count = f"{len(errors)} of {storage.counted(len(segments), 'recording')}"
        first = f"the first: {errors[0]['error']}"
        warnings.warn(f'{count} failed and were left out; attrs["errors"] lists them; {first}', stacklevel=3)
    return table


def _part(segment: Segment, trajectory: Any, *, embeddings: bool) -> _Part:
    """All rows of a trajectory. Embeddings are kept only if they are requested, to save memory."""
    with trajectory:
        blocks = [
            block if embeddings else replace(block, embeddings=block.embeddings[:, :0].copy()) for block in trajectory
        ]
    return _Part(replace(trajectory.info, source=segment.file), concatenate(blocks), segment)


def _table(parts: Sequence[_Part], request: Request) -> pd.DataFrame:
    table = frame_of_many([(part.info, part.rows) for part in parts], embeddings=request.embeddings)
    if request.framing.whole and parts:  # the exact times of the segments
        files, starts, ends = ([key[level] for key in table.index] for level in range(3))
        starts = [part.segment.start or pd.Timedelta(0) for part in parts]
        ends = [part.segment.end or end for part, end in zip(parts, ends, strict=True)]
        times = [pd.to_timedelta(edges).as_unit("ns") for edges in (starts, ends)]
        table.index = pd.MultiIndex.from_arrays([pd.Index(files, dtype="str"), *times], names=_LEVELS)
    return table


def _framing(framing: Framing, segment: Segment) -> Framing:
    """The framing of a segment. Its windows are those of the recording whose step lies in the segment."""
    if segment.start is None and segment.end is None:
        return framing
    start, end = (None if time is None else _milliseconds(time) for time in (segment.start, segment.end))
    try:
        return replace(framing, start_ms=start or 0, end_ms=end)
    except FramingError as error:
        raise FramingError(f"{storage.shown(segment.file)}: {error}") from None


def _milliseconds(time: pd.Timedelta) -> Fraction:
    return Fraction(time.as_unit("ns").value, 10**6)


def _is_sequence(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def _times(name: str, values: Any, count: int) -> list[pd.Timedelta | None]:
    """One time for each of `count` files; None for start or end of the recording."""
    if not _is_sequence(values):
        return [_time(name, values)] * count
    if len(values) != count:
        files = storage.counted(count, "file")
        raise FramingError(
            f"{name} has {storage.counted(len(values), 'value')} for {files}; expected one for all, or one for each."
        )
    return [_time(name, value) for value in values]


def _time(name: str, value: Any) -> pd.Timedelta | None:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float | np.number) and not isinstance(value, bool | np.timedelta64):
        time = pd.Timedelta(float(value), unit="s") if math.isfinite(value) else None
    elif isinstance(value, datetime.timedelta | np.timedelta64):
        time = pd.Timedelta(value)
        if pd.isna(time):
            return None
    else:
        time = None
    if time is None or time < pd.Timedelta(0):
        raise FramingError(f"{name} has {value!r}; expected seconds from 0 on as a number, or a timedelta.")
    return time


def _shared(facts: Sequence[Mapping[str, str | float]]) -> dict[str, str | float]:
    """The facts of the provenance that all recordings share, without notices, which have their own list."""
    first = facts[0] if facts else {}
    return {
        name: value
        for name, value in first.items()
        if name != "notices" and all(one.get(name) == value for one in facts)
    }


@contextlib.contextmanager
def _bar(count: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console

    from emow2v.progress import Count

    with Count("predicting", count, Console(stderr=True)) as bar:
        yield bar.advance
