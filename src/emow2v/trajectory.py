"""What a prediction is: times, scores, embeddings and where they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emow2v.framing import Framing

if TYPE_CHECKING:
    import pandas as pd

DIMENSIONS = ("arousal", "dominance", "valence")
EMBEDDING_SIZE = 1024

Floats = npt.NDArray[np.float32]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Info:
    """What is known of a trajectory before its first row.

    Attributes:
        source: the recording's path or name
        framing: how it was cut
        provenance: model, weights, engine, framing, licence, citation, and of the recording the track and channel that were
            heard; plain strings and numbers. What the pass comes upon (damage, gaps ...) stands in it once it has ended
        expected_rows: rows to come as far as the container tells, None where it does not; for progress only
        channel: named in tables, where each channel of a recording has a result of its own
        notices: a plain sentence for all that was not there or not usual in the recording; complete once the pass has ended
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
        first: index of the first row; row i of a regular trajectory stands for step i of the recording
        starts, ends: float64 [rows], seconds
        embeddings: float32 [rows, 1024]
        scores: float32 [rows, 3], arousal, dominance, valence as the model gives them, about 0..1
        confidence: float32 [rows, 3], 0..1; 1 where the model gives none
    """

    first: int
    starts: Seconds
    ends: Seconds
    embeddings: Floats
    scores: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.starts)


class Trajectory:
    """Scores and embeddings of one recording over time, computed when they are asked for.

    Iterating gives blocks while they are computed, in memory that does not grow with the recording; every
    new iteration computes anew. `scores`, `embeddings`, `starts`, `ends`, `confidence` and `to_frame` compute
    once and keep the rows.
    """

    def __init__(self, info: Info, blocks: Callable[[], Iterator[Block]]) -> None:
        self.info = info
        self._blocks = blocks
        self._kept: Block | None = None

    def __iter__(self) -> Iterator[Block]:
        if self._kept is not None:
            return iter([self._kept])
        return self._blocks()

    def __repr__(self) -> str:
        rows = f"{len(self._kept)} rows" if self._kept is not None else "not computed yet"
        return f"<Trajectory of {self.info.source}: {rows}>"

    def __len__(self) -> int:
        return len(self._all())

    @property
    def provenance(self) -> Mapping[str, str | float]:
        return self.info.provenance

    @property
    def notices(self) -> list[str]:
        """What was not all there, or how it was heard, a plain sentence each; complete once the pass has ended."""
        return self.info.notices

    @property
    def starts(self) -> Seconds:
        """Seconds [rows] at which each value's step begins."""
        return self._all().starts

    @property
    def ends(self) -> Seconds:
        """Seconds [rows] at which each value's step ends."""
        return self._all().ends

    @property
    def scores(self) -> Floats:
        """float32 [rows, 3]: arousal, dominance, valence."""
        return self._all().scores

    @property
    def embeddings(self) -> Floats:
        """float32 [rows, 1024]."""
        return self._all().embeddings

    @property
    def confidence(self) -> Floats:
        """float32 [rows, 3]."""
        return self._all().confidence

    def to_frame(self, *, embeddings: bool = False) -> pd.DataFrame:
        """A table indexed (file, start, end), as audformat and audinterface have it.

        Columns arousal, dominance, valence and confidence (of the three the lowest), or with
        `embeddings=True` the 1024 features. `attrs` holds the provenance.
        """
        import pandas as pd

        rows = self._all()
        index = pd.MultiIndex.from_arrays(
            [
                [self.info.source] * len(rows),
                pd.to_timedelta(rows.starts, unit="s"),
                pd.to_timedelta(rows.ends, unit="s"),
            ],
            names=["file", "start", "end"],
        )
        if embeddings:
            frame = pd.DataFrame(rows.embeddings, index=index)
        else:
            frame = pd.DataFrame(rows.scores, index=index, columns=list(DIMENSIONS))
            frame["confidence"] = rows.confidence.min(axis=1)
        frame.attrs.update(self.info.provenance)
        return frame

    def _all(self) -> Block:
        if self._kept is None:
            blocks = list(self._blocks())
            self._kept = concatenate(blocks)
        return self._kept


def concatenate(blocks: list[Block]) -> Block:
    """Consecutive blocks as one."""

    def joined(name: str, *shape: int) -> Any:
        parts = [getattr(block, name) for block in blocks]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), np.float32)

    return Block(
        first=blocks[0].first if blocks else 0,
        starts=joined("starts"),
        ends=joined("ends"),
        embeddings=joined("embeddings", EMBEDDING_SIZE),
        scores=joined("scores", len(DIMENSIONS)),
        confidence=joined("confidence", len(DIMENSIONS)),
    )
