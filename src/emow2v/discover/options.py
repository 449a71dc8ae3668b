"""The options and window times of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TypedDict

from emow2v import cards
from emow2v.audio.channels import Channel, parse_channel
from emow2v.cards import Card
from emow2v.discover import json_text, module
from emow2v.discover.module import default_times
from emow2v.discover.names import nearest, unknown
from emow2v.errors import AudioError, FramingError, RequestError
from emow2v.framing import Framing, parse_time
from emow2v.model import Context

Value = str | int | float | bool | None

MAX_BATCH_SIZE = 1024  # windows; larger batches need memory and are not faster

OPTIONS = tuple(sorted(option.name for option in module.OPTIONS if option.server))

# Fields of a request that have a meaning here; others are named in the job's log and ignored.
_MEANT = "job_id trainer_file_path data dataset sessions frame_size stride left_context right_context start end options opt_str "
_MEANT += "db_host db_port db_user db_password"
WITHOUT_USE = frozenset(
    # NOVA sends these for other modules; they have no use here
    "force add_rest_class fill_missing_data anno_min_gap anno_min_dur video_backend "
    # the administrator chooses folders, never a request
    "shared_dir data_dir cml_dir cache_dir tmp_dir log_dir".split()
)
FIELDS = WITHOUT_USE | frozenset(_MEANT.split())


def framing(form: Mapping[str, str]) -> Framing:
    """The windows of a request; times that are missing come from the trainer.

    Args:
        form: by snake_case names

    Raises:
        RequestError: a time that cannot be read, or impossible windows
    """
    try:
        times: dict[str, Fraction | None] = {
            name: parse_time(text, name)
            for name in ("frame_size", "stride", "left_context", "right_context", "start", "end")
            if (text := form.get(name, "").strip())
        }
        values = default_times() | times
        size, stride = values["frame_size"], values.get("stride", values["frame_size"])
        start, end = values.get("start") or 0, values.get("end") or None
        if size == 0:
            return Framing.files(start_ms=start, end_ms=end)
        if stride == 0:
            raise FramingError("stride is 0; expected more, or frameSize 0 for one value over the whole recording.")
        return Framing(
            frame_step_ms=stride or 0,
            frame_size_ms=size,
            left_context_ms=values["left_context"] or 0,
            right_context_ms=values["right_context"] or 0,
            start_ms=start,
            end_ms=end,
        )
    except FramingError as error:
        raise RequestError(str(error)) from None


def options(form: Mapping[str, str]) -> dict[str, Value]:
    """Module options of a request: the JSON object `options`, else the older `optStr` (k=v;k=v).

    Raises:
        RequestError: neither of the two forms
    """
    text = form.get("options", "").strip()
    if text:
        try:
            parsed = json_text.parse(text)
        except json_text.NotJSON:
            raise RequestError('options is not JSON; expected an object such as {"batch_size": 250}.') from None
        if not isinstance(parsed, dict):
            raise RequestError('options is not a JSON object; expected for instance {"batch_size": 250}.')
        # no option is a list or an object; as a text it is refused by its reader, with its name
        return {
            str(key): json.dumps(value) if isinstance(value, dict | list) else value for key, value in parsed.items()
        }
    result: dict[str, Value] = {}
    for item in filter(None, (part.strip() for part in form.get("opt_str", "").split(";"))):
        name, equals, value = item.partition("=")
        if not equals or "=" in value or not name.strip():
            raise RequestError(f"optStr holds '{item[:60]}'; expected name=value;name=value.")
        if name.strip() in result:
            raise RequestError(f"optStr holds '{name.strip()[:60]}' twice; expected it once.")
        result[name.strip()] = _value(value.strip())
    return result


def unknown_options(values: Mapping[str, Value]) -> set[str]:
    """Options that are unknown here; they are ignored, as the reference server does.

    Raises:
        RequestError: a misspelled option; ignoring it could give other numbers than the client wanted
    """
    names = set(values) - set(OPTIONS)
    for name in sorted(names):
        if nearest(name, OPTIONS):
            raise RequestError(f"{unknown('option', name, OPTIONS)}.")
    return names


def ignored(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    """A sentence for each unknown name, with the nearest known one."""
    every = sorted(known)
    near = {name: nearest(name, every) for name in sorted(names)}
    return [
        f"{what} {name} is unknown and was ignored" + (f"; the nearest known {what} is {one}" if one else "")
        for name, one in near.items()
    ]


class TrackChoice(TypedDict, total=False):
    """The choice of what is heard, as `Model.predict` takes it: the number of a track, and a channel."""

    track: int
    channel: Channel


def track_choice(values: Mapping[str, Value]) -> TrackChoice:
    """The options track and channel, where they are set.

    Raises:
        RequestError: a text that is no number of a track, or no channel
    """
    chosen = TrackChoice()
    texts = {name: "" if values.get(name) is None else str(values[name]).strip() for name in ("track", "channel")}
    if track := texts["track"]:
        if not re.fullmatch("0*[1-9][0-9]{0,3}", track, re.ASCII):
            raise RequestError(f"track is '{track[:40]}'; expected the number of a track of sound, from 1.")
        chosen["track"] = int(track)
    if channel := texts["channel"].lower():
        try:
            parsed = parse_channel(channel)
        except AudioError:
            raise RequestError(f"channel is '{channel[:40]}'; expected mix, left, right or a number from 1.") from None
        if parsed == "each":
            raise RequestError("channel is 'each'; expected one of them: post the recording once for each channel.")
        chosen["channel"] = parsed
    return chosen


def offered_cards(served: Card) -> dict[str, Card]:
    """The cards of all models that a request may name, by name: the server's own first, then the installed ones."""
    return {card.name: card for card in (served, *(card for card in cards.available() if card.name != served.name))}


def choose_card(name: str, served: Card) -> Card:
    """The card of the model that a request names; paths are the administrator's choice.

    Args:
        name: of the model
        served: the card of the server's own model

    Raises:
        RequestError: no such model is installed
    """
    if name == served.name:
        return served
    offered = offered_cards(served)
    if name not in offered:
        raise RequestError(f"The model '{name[:60]}' is not here; expected {', '.join(offered)}.")
    return offered[name]


def flag(name: str, values: Mapping[str, Value]) -> bool:
    """An option that is true or false.

    Raises:
        RequestError: something else
    """
    value = values.get(name)
    text = str(value).strip().lower()
    if value is None or text in ("", "false", "0", "no"):
        return False
    if text in ("true", "1", "yes"):
        return True
    raise RequestError(f"{name} is '{text[:40]}'; expected true or false.")


def _value(text: str) -> Value:
    constants: dict[str, Value] = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def context(values: Mapping[str, Value], default: Context) -> Context:
    """The option context: window or shared.

    Raises:
        RequestError: another word
    """
    value = values.get("context")
    if value is None or value == "":
        return default
    text = str(value).strip().lower()
    if text not in ("window", "shared"):
        raise RequestError(f"context is '{text[:40]}'; expected window or shared.")
    return "shared" if text == "shared" else "window"


def batch_size(values: Mapping[str, Value], default: int) -> int:
    """The option batch_size: a number or its digits, at most `MAX_BATCH_SIZE`.

    Raises:
        RequestError: not a whole number above zero
    """
    value = values.get("batch_size")
    if value is None or value == "":
        return default
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"0*[1-9][0-9]{0,9}", text, re.ASCII):
        raise RequestError(f"batch_size is '{text[:40]}'; expected a whole number above zero.")
    return min(int(text), MAX_BATCH_SIZE)
