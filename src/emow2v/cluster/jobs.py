"""What goes to the nodes of a cluster and comes back: recordings or pieces of them, and their rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emow2v.framing import Framing
from emow2v.rows import Block, Info, concatenate

PIECE_S = 300  # of sound: the least that a piece of a long recording has
MOST_PIECES = 8  # each reads the recording from its beginning, so that its numbers are those of one pass


@dataclass(frozen=True)
class Settings:
    """What all recordings of a run share.

    Attributes:
        channel: as for `Model.predict`, or "each"
        turns: rows are turns
        embeddings: whether the rows that come back have embeddings
        folder: of the command, to which names of recordings are relative
    """

    channel: Any
    turns: bool
    embeddings: bool
    folder: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class Task:
    """A recording, or a piece of one.

    Attributes:
        path: as it was named
        options: of `Model.predict` or `Model.predict_turns`, without the channel
        values: whether the values over time are wanted of which turns have the mean
        divisible: whether a long recording may come back undone, to be done in pieces
    """

    path: str
    options: Mapping[str, Any]
    values: bool = False
    divisible: bool = False


@dataclass(frozen=True)
class Found:
    """All rows of one trajectory, and the values over time of which turns have the mean."""

    info: Info
    rows: Block
    values: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes:
        found: a trajectory, or one for each channel
        error: one sentence; "" if there is none
        content: see `archive.content.Content.text`
        duration_s: of the sound that was read
        long: rows of a recording that is to be done in pieces; 0 for others
        missing: whether the node sees no such file
    """

    found: tuple[Found, ...] = ()
    error: str = ""
    content: str = "[]"
    duration_s: float = 0.0
    long: int = 0
    missing: bool = False


def is_divisible(options: Mapping[str, Any], settings: Settings, *, one_pass: bool) -> bool:
    """Whether pieces of a recording can have the rows that one pass over it has: windows that are computed one by one."""
    framing = _framing(options)
    return not (
        framing.whole
        or framing.start_ms
        or framing.end_ms
        or settings.turns
        or settings.channel == "each"
        or options.get("speech")
        or options.get("context", "window") != "window"
        or one_pass
    )


def is_long(rows: int, options: Mapping[str, Any]) -> bool:
    """Whether a recording with so many rows is done in pieces."""
    return rows * float(_framing(options).step_ms) >= 2 * PIECE_S * 1000


def pieces(task: Task, rows: int) -> list[Task]:
    """The pieces of a long recording, in order; the last one goes to its end."""
    framing = _framing(task.options)
    count = min(MOST_PIECES, int(rows * float(framing.step_ms) / 1000 / PIECE_S))
    edges = [round(number * rows / count) for number in range(count)]
    ends: list[int | None] = [*edges[1:], None]
    return [
        replace(
            task,
            options={
                **task.options,
                "framing": replace(
                    framing,
                    start_ms=begin * framing.step_ms,
                    end_ms=None if end is None else end * framing.step_ms,
                ),
            },
            divisible=False,
        )
        for begin, end in zip(edges, ends, strict=True)
    ]


def join(parts: list[Answer], options: Mapping[str, Any]) -> Answer:
    """The answer of a recording from those of its pieces. The last one has read all of it, and knows all facts."""
    last = parts[-1]
    info = last.found[0].info
    facts = {name: value for name, value in info.provenance.items() if name not in ("start_ms", "end_ms")}
    rows = concatenate([part.found[0].rows for part in parts])
    info = replace(info, framing=_framing(options), provenance=facts, expected_rows=len(rows))
    return replace(last, found=(Found(info, rows),))


def _framing(options: Mapping[str, Any]) -> Framing:
    framing: Framing | None = options.get("framing")
    if framing is not None:
        return framing
    return Framing.files() if options.get("unit") == "files" else Framing()
