"""Rows of a prediction in blocks, and facts about them that are known before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from emow2v.framing import Framing

DIMENSIONS = ("arousal", "dominance", "valence")
EMBEDDING_SIZE = 1024
SPEECH_THRESHOLD = 0.5  # of the probability of speech: from here on a row counts as speech (docs/speech.md)

Floats = npt.NDArray[np.float32]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Info:
    """Facts about a trajectory that are known before its first row.

    Attributes:
        source: the recording's path or name
        framing: the windows
        provenance: model, weights, engine, framing, licence, citation, and the track and channel that were read; plain
            strings and numbers. Facts from decoding (damage, gaps ...) are added when the pass has ended
        expected_rows: number of rows by the container's duration; None if it states none; for progress only
        channel: its name in tables if each channel of a recording has its own result; else ""
        speech: whether rows have a probability of speech
        turns: whether rows are turns
        notices: one sentence for each missing or unusual part of the recording; complete when the pass has ended
    """

    source: str
    framing: Framing
    provenance: Mapping[str, str | float]
    expected_rows: int | None = None
    channel: str = ""
    speech: bool = False
    turns: bool = False
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TurnRows:
    """Speaker, tier, label and number of values of rows that are turns.

    Attributes:
        speakers, tiers, labels: texts of each row; "" where there is none
        counts: number of values that each row's scores stand for; 0 where the turn has no scores
    """

    speakers: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    def part(self, rows: slice) -> TurnRows:
        """Those of some rows."""
        return TurnRows(self.speakers[rows], self.tiers[rows], self.labels[rows], self.counts[rows])


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a trajectory.

    Attributes:
        first: index of the first row; row i of values over time is step i of the recording
        starts, ends: float64 [rows], seconds
        embeddings: float32 [rows, 1024]
        scores: float32 [rows, 3], arousal, dominance, valence as the model gives them, about 0..1
        confidence: float32 [rows, 3], 0..1; 1 if the model gives none
        speech: float32 [rows]; the probability of speech in each row's window, or the share of a turn in which somebody
            speaks; None if it was not computed
        turns: speaker, tier and label of each row if rows are turns; else None
    """

    first: int
    starts: Seconds
    ends: Seconds
    embeddings: Floats
    scores: Floats
    confidence: Floats
    speech: Floats | None = None
    turns: TurnRows | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def silent(self) -> npt.NDArray[np.bool_]:
        """bool [rows]: rows without speech. None are, where speech was not computed, or where rows are turns."""
        if self.speech is None or self.turns is not None:
            return np.zeros(len(self), bool)
        return np.asarray(self.speech < SPEECH_THRESHOLD)

    @property
    def scores_of_speech(self) -> Floats:
        """float32 [rows, 3]: the scores, NaN in rows without speech; what tables have."""
        silent = self.silent
        return np.where(silent[:, None], np.float32(np.nan), self.scores) if silent.any() else self.scores


class MeanScores(NamedTuple):
    """Means of scores over time, about 0..1."""

    arousal: float
    dominance: float
    valence: float


class BlockIterator(Protocol):
    """An iterator over blocks; `close` ends the computation early."""

    def __iter__(self) -> Iterator[Block]: ...
    def __next__(self) -> Block: ...
    def close(self) -> None: ...


class Rows(Protocol):
    """The rows of one recording, with all that writers need; a `Trajectory` is one."""

    info: Info

    def __iter__(self) -> BlockIterator: ...
    @property
    def provenance(self) -> Mapping[str, str | float]: ...
    @property
    def starts(self) -> Seconds: ...
    @property
    def ends(self) -> Seconds: ...
    @property
    def scores(self) -> Floats: ...
    @property
    def speech(self) -> Floats | None: ...


def concatenate(blocks: list[Block]) -> Block:
    """Join consecutive blocks to one; no blocks give a block without rows."""

    def join(name: str, *shape: int) -> Any:
        parts = [getattr(block, name) for block in blocks]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), np.float32)

    return Block(
        first=blocks[0].first if blocks else 0,
        starts=join("starts"),
        ends=join("ends"),
        embeddings=join("embeddings", EMBEDDING_SIZE),
        scores=join("scores", len(DIMENSIONS)),
        confidence=join("confidence", len(DIMENSIONS)),
        speech=join("speech") if blocks and all(block.speech is not None for block in blocks) else None,
        turns=_join_turns([block.turns for block in blocks if block.turns is not None]),
    )


def _join_turns(parts: list[TurnRows]) -> TurnRows | None:
    names = [field.name for field in fields(TurnRows)]
    return (
        TurnRows(*(tuple(chain.from_iterable(getattr(part, name) for part in parts)) for name in names))
        if parts
        else None
    )
