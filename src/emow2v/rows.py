"""Rows of a prediction in blocks, and facts about them that are known before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from emow2v.framing import Framing

DIMENSIONS = ("arousal", "dominance", "valence")
EMBEDDING_SIZE = 1024

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
        notices: one sentence for each missing or unusual part of the recording; complete when the pass has ended
    """

    source: str
    framing: Framing
    provenance: Mapping[str, str | float]
    expected_rows: int | None = None
    channel: str = ""
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a trajectory.

    Attributes:
        first: index of the first row; row i of values over time is step i of the recording
        starts, ends: float64 [rows], seconds
        embeddings: float32 [rows, 1024]
        scores: float32 [rows, 3], arousal, dominance, valence as the model gives them, about 0..1
        confidence: float32 [rows, 3], 0..1; 1 if the model gives none
    """

    first: int
    starts: Seconds
    ends: Seconds
    embeddings: Floats
    scores: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.starts)


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
    )
