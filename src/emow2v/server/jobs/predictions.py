"""A prediction asked for over /v1: one recording in, one table out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from emow2v import cards, formats, storage
from emow2v.cards import Card
from emow2v.discover import options as opts
from emow2v.discover import probing
from emow2v.discover.places import Places
from emow2v.engines.shared_context import check_shared
from emow2v.errors import AudioError, Emow2vError, RequestError
from emow2v.formats import Writer, record
from emow2v.framing import Framing, parse_time
from emow2v.model import Context, Model, Unit
from emow2v.storage.files import Move
from emow2v.trajectory import Trajectory

FORMATS = {"json": "application/json", "csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
STEM = "result"
TIMES = {"frame_step": "40ms", "left_context": "960ms", "right_context": "0ms", "start": "0ms", "end": "0ms"}


@dataclass(frozen=True)
class Prediction:
    """Attributes:
    source: the recording
    name: of the recording, as the client knows it
    model: name of the model
    unit, framing, context: how
    format: one of `FORMATS`
    path: of the result
    heard: track and channel, where they were asked for
    """

    source: Path
    name: str
    model: str
    unit: Unit
    framing: Framing
    context: Context
    format: str
    path: Path
    heard: Mapping[str, int | str] = field(default_factory=dict)


def prediction(job_id: str, form: Mapping[str, str], places: Places, served: Card, context: str) -> Prediction:
    """Check what was asked for.

    Args:
        form: path or upload (the name of a kept one; name is the client's own), and any of model, unit, format, context, padding,
            track, channel and `TIMES`

    Raises:
        RequestError: one sentence on the first thing that is wrong
    """
    given = {name: value for name, value in form.items() if value}
    if given.get("upload"):
        if given.get("path"):
            raise RequestError("file and path name two recordings; expected one of them.")
        source = places.uploads / Path(given["upload"]).name
        if not storage.is_file(source):
            raise RequestError("The upload is gone; post it again.")
    elif given.get("path"):
        source = places.input(given["path"])
    else:
        raise RequestError("There is no recording; expected an upload as file, or a path below the data folders.")
    unit = _one_of("unit", given.get("unit", "windows"), ("windows", "files"))
    wanted = _one_of("format", given.get("format", "json"), tuple(FORMATS))
    chosen = _one_of(
        "context", given.get("context") or ("window" if unit == "files" else context), ("window", "shared")
    )
    padding = _one_of("padding", given.get("padding", "edge"), ("edge", "zeros"))
    here = {card.name: card for card in (served, *(one for one in cards.available() if one.name != served.name))}
    card = here.get(given.get("model", served.name))
    if card is None:
        raise RequestError(f"The model '{given['model'][:60]}' is not here; expected {', '.join(here)}.")
    try:
        framing = _framing(given, unit, padding)
        if chosen == "shared":
            check_shared(card, framing)
    except Emow2vError as error:
        raise RequestError(str(error)) from None
    path = places.results(job_id) / f"{STEM}.{wanted}"
    name = given.get("name") or given.get("path", "upload")
    heard = opts.hearing(given)
    return Prediction(source, name, card.name, cast(Unit, unit), framing, cast(Context, chosen), wanted, path, heard)


def probe(asked: Prediction, longest_s: float) -> None:
    """Look into the recording, so that what cannot be done is refused now.

    Raises:
        RequestError: it cannot be decoded, or has no value in it
        TooLong: by what it says of itself
    """
    try:
        probing.probe(asked.source, asked.framing, longest_s, **asked.heard)
    except (AudioError, RequestError) as error:  # where uploads lie is nobody's business
        raise type(error)(str(error).replace(str(asked.source), asked.name)) from None


def carry_out(
    asked: Prediction,
    model: Model,
    *,
    progress: Callable[[int, int | None], None],
    before_publish: Callable[[Sequence[Move]], None],
    check: Callable[[], None],
    also: Callable[[], Sequence[Writer]] = tuple,
    longest_s: float = 0,
    notice: Callable[[Sequence[str]], None] = lambda sentences: None,
    note: Callable[[Mapping[str, str | float]], None] = lambda provenance: None,
) -> int:
    """Write the table; see `discover.job.run` for the callbacks.

    Returns:
        its rows

    Raises:
        Emow2vError: what went wrong
    """
    expected: int | None = None
    rows = 0

    def done(count: int) -> None:
        nonlocal rows
        rows += count
        progress(rows, expected)

    try:
        computed = model.predict(
            asked.source,
            unit=asked.unit,
            framing=asked.framing,
            context=asked.context,
            check=check,
            longest_s=longest_s,
            **cast(dict[str, Any], asked.heard),
        )
        trajectory = Trajectory(replace(computed.info, source=asked.name), lambda: iter(computed))
        expected = 1 if asked.unit == "files" else computed.info.expected_rows
        writers = [*formats.writers([asked.format], asked.path.parent, STEM, overwrite=True), *also()]
        record(trajectory, writers, lambda block: done(len(block)), before_publish)
        note(computed.info.provenance)
        if found := computed.info.notices:
            notice([one.replace(str(asked.source), asked.name) for one in found])
    except AudioError as error:  # where uploads lie is nobody's business
        raise type(error)(str(error).replace(str(asked.source), asked.name)) from None
    return rows


def framing(form: Mapping[str, str]) -> Framing:
    """The windows of a prediction that was checked once."""
    given = {name: value for name, value in form.items() if value}
    return _framing(given, given.get("unit", "windows"), given.get("padding", "edge"))


def _framing(given: Mapping[str, str], unit: str, padding: str) -> Framing:
    times = {f"{name}_ms": parse_time(given.get(name, default), name) for name, default in TIMES.items()}
    span = {"start_ms": times.pop("start_ms") or 0, "end_ms": times.pop("end_ms") or None}
    return Framing.files(**span) if unit == "files" else Framing(**times, padding=padding, **span)  # type: ignore[arg-type]


def _one_of(name: str, value: str, expected: Sequence[str]) -> str:
    if value not in expected:
        raise RequestError(f"{name} is '{value[:60]}'; expected {' or '.join(expected)}.")
    return value
