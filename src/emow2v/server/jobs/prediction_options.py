"""The options of a prediction of /v1, which one recording and many have alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, cast

from emow2v.cards import Card
from emow2v.discover import options as opts
from emow2v.discover.options import TrackChoice
from emow2v.discover.places import Places
from emow2v.engines.shared_context import check_shared
from emow2v.errors import Emow2vError, FormatError, FramingError, RequestError
from emow2v.framing import Framing, Padding, parse_time
from emow2v.model import Context
from emow2v.prediction.speech import check_detection
from emow2v.server.jobs.prediction_form import DETECTION, TIMES


class PredictionOptions:
    """Options in a form of /v1. Each is read when it is first asked for.

    Args:
        job_id: of the job
        form: any of model, unit, context, padding, track, channel, speech, embeddings, pool, `TIMES` and `DETECTION`
        places: folders that requests may read and write
        default_context: how windows are computed where the request does not say

    All parts raise RequestError, or FormatError, with one sentence, where the form cannot be carried out.
    """

    notes: Sequence[str] = ()  # unknown fields are refused
    tables: Sequence[str] = ()  # formats of the stored table, the default first

    def __init__(self, job_id: str, form: Mapping[str, str], places: Places, default_context: Context = "window"):
        self.job_id = job_id
        self._form = {name: value for name, value in form.items() if value}
        self._places = places
        self._default_context = default_context

    @cached_property
    def framing(self) -> Framing:
        """The windows."""
        times = {f"{name}_ms": parse_time(self._form.get(name, default), name) for name, default in TIMES.items()}
        start, end = times.pop("start_ms") or 0, times.pop("end_ms") or None
        if self.unit == "turns" and (start or end):
            raise FormatError("Turns have times of their own; expected no start and no end with unit=turns.")
        if self.unit == "files" or (self.unit == "turns" and not self.pool):
            return Framing.files(start_ms=start, end_ms=end)
        padding = cast(Padding, self._one_of("padding", ("edge", "zeros")))
        return Framing(**times, padding=padding, align="step", start_ms=start, end_ms=end)

    @property
    def unit(self) -> Literal["windows", "files", "turns"]:
        """Values over time, one for the whole recording, or one for each turn."""
        return cast(Literal["windows", "files", "turns"], self._one_of("unit", ("windows", "files", "turns")))

    @property
    def pool(self) -> bool:
        """Whether the value of a turn is the mean of those inside it."""
        return opts.flag("pool", self._form)

    @property
    def speech(self) -> bool:
        """Whether the table has the probability of speech, and no scores where nobody speaks."""
        return opts.flag("speech", self._form)

    @property
    def embeddings(self) -> bool:
        """Whether the job keeps the embeddings of its values."""
        return opts.flag("embeddings", self._form)

    @cached_property
    def detection(self) -> dict[str, float]:
        """Options of `speech.turns.turns`."""
        return {
            f"{field}_ms": float(parse_time(self._form.get(field, default), field))
            for field, default in DETECTION.items()
        }

    @property
    def context(self) -> Context:
        """How windows are computed."""
        default = self._default_context if self.unit == "windows" or self.pool else "window"
        return cast(Context, self._one_of("context", ("window", "shared"), default))

    @property
    def track_choice(self) -> TrackChoice:
        """Track and channel of the recording, where the request chooses them."""
        return opts.track_choice(self._form)

    @property
    def first_row(self) -> int:
        """Number of the table's first row, counted from the beginning of the recording."""
        return self.framing.first_frame

    def card(self, served: Card) -> Card:
        """The card of the model to use.

        Args:
            served: the card of the server's own model
        """
        return opts.choose_card(self._form.get("model", served.name), served)

    @property
    def default_format(self) -> str:
        """The format of the stored table."""
        return self._one_of("format", self.tables)

    def _check_options(self, served: Card) -> None:
        """Refuse options that are unknown, or do not go together or with the model."""
        _ = self.unit, self.default_format, self.context, self._one_of("padding", ("edge", "zeros"))
        card = self.card(served)
        try:
            _ = self.framing
            if self.context == "shared":
                check_shared(card, self.framing)
        except FormatError:
            raise
        except Emow2vError as error:
            raise RequestError(str(error)) from None
        if self.pool and self.unit != "turns":
            raise FormatError("pool belongs to turns; expected unit=turns with it.")
        try:
            check_detection(card, **self.detection)
        except FramingError as error:
            raise FormatError(str(error)) from None

    def _one_of(self, field: str, expected: Sequence[str], default: str = "") -> str:
        value = self._form.get(field, default or expected[0])
        if value not in expected:
            raise RequestError(f"{field} is '{value[:60]}'; expected {' or '.join(expected)}.")
        return value
