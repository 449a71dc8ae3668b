"""What a client asks for in the address of its stream."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import QueryParams

from emow2v.audio.microphone import ENCODINGS
from emow2v.cards import Card
from emow2v.discover.names import unknown
from emow2v.discover.options import choose_card
from emow2v.errors import RequestError
from emow2v.framing import SAMPLING_RATE, Framing, parse_time
from emow2v.server.live.steps import StreamOptions
from emow2v.stream import SAMPLING_RATES

PARAMETERS = (
    "model", "sampling_rate", "encoding", "frame_step", "left_context", "right_context", "padding", "together", "embeddings",
)  # fmt: skip
LONGEST_S = 10  # of a window: each stream keeps so much sound, or frames of it
MOST_DIGITS = 100  # of a number; Python reads no more than some thousand of them


@dataclass(frozen=True)
class StreamRequest:
    """A stream that is asked for.

    Attributes:
        model: name of the model
        framing: the windows
        options: what else the client asks for
    """

    model: str
    framing: Framing
    options: StreamOptions


def parse(query: QueryParams, served: Card) -> StreamRequest:
    """The request in a connection's address.

    Args:
        served: the card of the server's own model

    Raises:
        RequestError, FramingError: one sentence on the first error
    """
    for name, _ in query.multi_items():
        if name not in PARAMETERS:
            raise RequestError(f"{unknown('parameter', name, PARAMETERS)}.")
        if len(query.getlist(name)) > 1:
            raise RequestError(f"The parameter '{name}' came {len(query.getlist(name))} times; expected it once.")
    encoding = query.get("encoding", "s16le")
    if encoding not in ENCODINGS:
        raise RequestError(f"encoding is '{encoding[:20]}'; expected {' or '.join(ENCODINGS)}.")
    rate = query.get("sampling_rate", str(SAMPLING_RATE))
    if not rate.isdecimal() or len(rate) > MOST_DIGITS or int(rate) not in SAMPLING_RATES:
        lowest, highest = SAMPLING_RATES[0], SAMPLING_RATES[-1]
        raise RequestError(f"sampling_rate is '{rate[:20]}'; expected {lowest} to {highest} Hz.")
    padding = query.get("padding", "edge")
    if padding not in ("edge", "zeros"):
        raise RequestError(f"padding is '{padding[:20]}'; expected edge or zeros.")
    framing = Framing(
        frame_step_ms=parse_time(query.get("frame_step", "40ms"), "frame_step"),
        left_context_ms=parse_time(query.get("left_context", "960ms"), "left_context"),
        right_context_ms=parse_time(query.get("right_context", "0ms"), "right_context"),
        padding=padding,  # type: ignore[arg-type]
    )
    if framing.whole:
        raise RequestError("A live stream has no end to give one value for; expected a frame_step.")
    options = StreamOptions(int(rate), encoding, _flag(query, "together"), _flag(query, "embeddings"))
    card = choose_card(query.get("model", served.name), served)
    longest = min(LONGEST_S, card.max_samples / card.sampling_rate)
    if framing.window_ms > longest * 1000:
        raise RequestError(
            f"A window of {float(framing.window_ms):g} ms is too long; live it is {longest:g} s at most."
        )
    return StreamRequest(card.name, framing, options)


def _flag(query: QueryParams, name: str) -> bool:
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise RequestError(f"{name} is '{text[:20]}'; expected true or false.")
    return text == "true"
