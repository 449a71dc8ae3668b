"""The options of predictions as fields of a form, for one recording and for many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Form

from emow2v.sources.address import MAX_LENGTH


@dataclass(frozen=True)
class Taken:
    """What a form may have.

    Attributes:
        files, fields: numbers of them
        part_bytes: size of a field that is no file
        repeated: names of fields that may come more than once
    """

    files: int
    fields: int
    part_bytes: int
    repeated: Sequence[str]


def option_fields(
    model: Annotated[str, Form(description="Name of an installed model; empty for the server's own.")] = "",
    unit: Annotated[
        Literal["windows", "files", "turns"],
        Form(description="Values over time, one for the whole recording, or one for each turn."),
    ] = "windows",
    context: Annotated[Literal["", "window", "shared"], Form(description="Empty: the server's default.")] = "",
    padding: Annotated[
        Literal["edge", "zeros"],
        Form(description="What a window has outside the recording: its first or last sample, or zeros."),
    ] = "edge",
    frame_step: Annotated[
        str, Form(description="Time from one value to the next.", examples=["40ms", "0.5s"])
    ] = "40ms",
    left_context: Annotated[str, Form(description="Sound that a value uses before its step.")] = "960ms",
    right_context: Annotated[str, Form(description="Sound that a value uses after its step.")] = "0ms",
    start: Annotated[str, Form(description="Values before this time are left out.")] = "0ms",
    end: Annotated[str, Form(description="Values after this time are left out; 0ms: none.")] = "0ms",
    track: Annotated[str, Form(description="Number of an audio track, from 1; empty: the default track.")] = "",
    channel: Annotated[str, Form(description="mix, left, right, or a number from 1.")] = "",
    speech: Annotated[
        bool, Form(description="true: the table has the probability of speech, and no scores where nobody speaks.")
    ] = False,
    embeddings: Annotated[
        bool,
        Form(
            description="true: the job keeps the embeddings, 4 KB a value, for its results as parquet, npz and stream."
        ),
    ] = False,
    pool: Annotated[
        bool, Form(description="true: the value of a turn is the mean of the values over time inside it.")
    ] = False,
    shortest_turn: Annotated[str, Form(description="Turns of the detector last at least so long.")] = "250ms",
    longest_turn: Annotated[
        str, Form(description="Longer turns of the detector are cut in a pause; 0ms: never.")
    ] = "15s",
    bridged_pause: Annotated[str, Form(description="Such pauses do not end a turn of the detector.")] = "300ms",
    callback: Annotated[
        str,
        Form(
            max_length=MAX_LENGTH,
            description="An address that gets a signed POST when the job has ended, on a host that the administrator allows.",
        ),
    ] = "",
) -> dict[str, str]:
    """The fields as the stored form of a job has them."""
    return {
        "model": model, "unit": unit, "context": context, "padding": padding,
        "frame_step": frame_step, "left_context": left_context, "right_context": right_context, "start": start, "end": end,
        "track": track, "channel": channel, "speech": "true" if speech else "", "embeddings": "true" if embeddings else "",
        "pool": "true" if pool else "", "callback": callback,
        "shortest_turn": shortest_turn, "longest_turn": longest_turn, "bridged_pause": bridged_pause,
    }  # fmt: skip


OptionFields = Annotated[dict[str, str], Depends(option_fields)]
