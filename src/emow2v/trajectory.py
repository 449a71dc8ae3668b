"""What a prediction is: times, scores, embeddings and where they came from."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from emow2v.errors import Closed
from emow2v.framing import Framing
from emow2v.storage import counted

if TYPE_CHECKING:
    import pandas as pd

DIMENSIONS = ("arousal", "dominance", "valence")
EMBEDDING_SIZE = 1024
_MOST_HINTED = 1 << 16  # a header may state any duration, and list() makes room for what is hinted

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
        notices: a plain sentence for each thing that is missing or unusual in the recording; complete once the pass has ended
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
    once and keep the rows; then `len` counts them. Several threads may use one trajectory, and one iterator of it.

    A recording is let go of when an iteration has ended. `close`, or `with`, lets go of it before that:

    >>> import numpy as np
    >>> import emow2v
    >>> noise = np.random.default_rng(0).normal(0, 0.1, 2 * 16000)
    >>> with emow2v.load("lite").predict(noise, 16000) as trajectory:
    ...     first = next(iter(trajectory))
    >>> first.scores.shape[1], first.embeddings.shape[1]
    (3, 1024)

    Args:
        info: what is known before the first row
        blocks: gives an iterator over the blocks; called for every iteration
        close: called once, when the trajectory is closed or nobody has it any more
    """

    def __init__(
        self, info: Info, blocks: Callable[[], Iterator[Block]], close: Callable[[], None] = lambda: None
    ) -> None:
        self.info = info
        self._blocks = blocks
        self._kept: Block | None = None
        self._keeping = threading.Lock()
        self._passes: weakref.WeakSet[_Pass] = weakref.WeakSet()
        self._let_go = weakref.finalize(self, close)
        self._closed = False

    def __iter__(self) -> _Pass:
        if self._kept is not None:
            return _Pass(self, iter([self._kept]))
        if self._closed:
            raise _closed(self.info.source)
        found = _Pass(self, self._blocks())
        self._passes.add(found)
        return found

    def __bool__(self) -> bool:
        return True  # without computing what it holds

    def __len__(self) -> int:
        """Rows, where they are kept.

        Raises:
            TypeError: nothing is kept so far, so nothing was counted; `list` and its like, which ask, go on without
        """
        if self._kept is None:
            raise TypeError("The rows are not computed yet; len(trajectory.starts) computes and counts them.")
        return len(self._kept)

    def __length_hint__(self) -> int:
        return min(self.info.expected_rows or 0, _MOST_HINTED)

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the recording and of the threads of iterations that have not ended; rows that are kept stay.

        An iteration that goes on all the same raises `Closed`: it never looks as if the recording had ended.
        """
        self._closed = True
        for one in list(self._passes):
            one.close()
        self._let_go()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A trajectory has a recording and a model that no other process has; hand on to_frame() instead."
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not computed yet"
        if self._kept is not None:
            state = counted(len(self._kept), "row")
        return f"<Trajectory of {self.info.source}: {state}>"

    @property
    def provenance(self) -> Mapping[str, str | float]:
        return self.info.provenance

    @property
    def notices(self) -> list[str]:
        """What is missing or unusual in the recording, a plain sentence each; complete once the pass has ended."""
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
        with self._keeping:  # two threads that ask at once are served by one pass
            if self._kept is None:
                with contextlib.closing(iter(self)) as blocks:
                    self._kept = concatenate(list(blocks))
            return self._kept


class _Pass(Iterator[Block]):
    """One iteration: threads may share it, it can be closed, and it never ends early without a word."""

    def __init__(self, trajectory: Trajectory, blocks: Iterator[Block]) -> None:
        self._trajectory = trajectory  # which would let go of its recording when nobody has it any more
        self._blocks = blocks
        self._lock = threading.RLock()
        self._running = self._ended = self._closed = False

    def __next__(self) -> Block:
        with self._lock:
            if self._closed and not self._ended:
                raise _closed(self._trajectory.info.source)
            self._running = True
            try:
                return next(self._blocks)
            except StopIteration:
                self._ended = True
                raise
            finally:
                self._running = False
                if self._closed:
                    self.close()

    def close(self) -> None:
        """Let go of the recording; waits for a block that another thread computes."""
        with self._lock:
            self._closed = True
            close = getattr(self._blocks, "close", None)
            if close is not None and not self._running:  # else it is done behind the block that is being computed
                close()


def _closed(source: str) -> Closed:
    return Closed(f"The trajectory of {source} is closed; expected an open one; predict again.")


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
