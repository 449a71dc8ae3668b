"""A trajectory: scores and embeddings of one recording over time, computed when they are needed."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt

from emow2v.errors import Closed
from emow2v.rows import DIMENSIONS, EMBEDDING_SIZE, Block, Floats, Info, MeanScores, Seconds, concatenate
from emow2v.storage import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DIMENSIONS", "EMBEDDING_SIZE", "Block", "Info", "MeanScores", "Trajectory", "concatenate"]

_MAX_LENGTH_HINT = 1 << 16  # list() reserves memory for the hint, and a header may state any duration


class Trajectory:
    """Scores and embeddings of one recording over time, computed when they are needed.

    Iterating gives blocks while they are computed, in memory that does not grow with the recording. Every new iteration
    computes the rows again. `load`, and everything that needs all rows (`scores`, `embeddings`, `starts`, `ends`,
    `confidence`, `mean`, `to_frame`), computes them once and keeps them; after that `len` is their number. Several
    threads may share a trajectory, and also one iterator of it.

    The recording is closed when an iteration has ended. `close`, or `with`, closes it earlier:

    >>> import numpy as np
    >>> import emow2v
    >>> noise = np.random.default_rng(0).normal(0, 0.1, 2 * 16000)
    >>> with emow2v.load("lite").predict(noise, 16000) as trajectory:
    ...     first = next(iter(trajectory))
    >>> first.scores.shape[1], first.embeddings.shape[1]
    (3, 1024)

    Args:
        info: facts that are known before the first row
        blocks: returns an iterator over the blocks; called for each iteration
        close: called once, when the trajectory is closed or garbage collected
        with_speech: returns the rows with their probability of speech, in one more pass; None if this is not possible
        prepare: does what comes before the first row of a pass, which the next pass then has
    """

    def __init__(
        self,
        info: Info,
        blocks: Callable[[], Iterator[Block]],
        close: Callable[[], None] = lambda: None,
        with_speech: Callable[[Block], Block] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.info = info
        self._blocks = blocks
        self._with_speech = with_speech
        self._prepare = prepare
        self._silent: npt.NDArray[np.bool_] | None = None
        self._rows: Block | None = None
        self._computing = threading.Lock()
        self._iterations: weakref.WeakSet[_Iteration] = weakref.WeakSet()
        self._close_source = weakref.finalize(self, close)
        self._closed = False

    def __iter__(self) -> _Iteration:
        if self._rows is not None:
            return _Iteration(self, iter([self._rows]))
        if self._closed:
            raise _closed_error(self.info.source)
        iteration = _Iteration(self, self._blocks())
        self._iterations.add(iteration)
        return iteration

    def __bool__(self) -> bool:
        return True  # without computing the rows

    def __len__(self) -> int:
        """Number of rows, once they are computed.

        Raises:
            TypeError: the rows are not computed yet; `list` and others continue without a length
        """
        if self._rows is None:
            raise TypeError("The rows are not computed yet; len(trajectory.starts) computes and counts them.")
        return len(self._rows)

    def __length_hint__(self) -> int:
        return min(self.info.expected_rows or 0, _MAX_LENGTH_HINT)

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Do ahead what an iteration does before its first row: find the turns of the detector. The next iteration has them.

        Another thread may call it, as long as no iteration runs.

        Raises:
            AudioError, Closed: as for an iteration
        """
        if self._closed:
            raise _closed_error(self.info.source)
        self._prepare()

    def close(self) -> None:
        """Close the recording, and end the threads of unfinished iterations. Computed rows stay available.

        An unfinished iteration raises `Closed` when it is continued, so that it is not mistaken for a complete one.
        """
        self._closed = True
        for one in list(self._iterations):
            one.close()
        self._close_source()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A trajectory cannot be copied or sent to another process, as its recording is open; use to_frame() instead."
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not computed yet"
        if self._rows is not None:
            state = counted(len(self._rows), "row")
        return f"<Trajectory of {self.info.source}: {state}>"

    @property
    def provenance(self) -> Mapping[str, str | float]:
        """Model, weights, engine, framing, licence and citation, as plain strings and numbers."""
        return self.info.provenance

    @property
    def notices(self) -> list[str]:
        """One sentence for each missing or unusual part of the recording; complete when the pass has ended."""
        return self.info.notices

    @property
    def starts(self) -> Seconds:
        """float64 [rows]: seconds at which the step of each value begins."""
        return self._all().starts

    @property
    def ends(self) -> Seconds:
        """float64 [rows]: seconds at which the step of each value ends."""
        return self._all().ends

    @property
    def scores(self) -> Floats:
        """float32 [rows, 3]: arousal, dominance, valence, about 0..1."""
        return self._all().scores

    @property
    def embeddings(self) -> Floats:
        """float32 [rows, 1024]: the embedding of each window."""
        return self._all().embeddings

    @property
    def confidence(self) -> Floats:
        """float32 [rows, 3]: 0..1; 1 if the model gives none."""
        return self._all().confidence

    @property
    def speech(self) -> Floats | None:
        """float32 [rows], 0..1, the probability of speech in each value's window; None where it was not asked for."""
        return self._all().speech

    def load(self) -> Trajectory:
        """Compute all rows now, and keep them; returns the trajectory itself.

        Raises:
            AudioError: the recording cannot be decoded, or is too short for a value
            Closed: the trajectory, or its model, was closed
        """
        self._all()
        return self

    def mean(self, *, silence: bool = False) -> MeanScores:
        """Mean of the scores over the rows with speech, about 0..1; NaN if there are none.

        If the trajectory was predicted without `speech=True`, the first call finds speech in one more pass over the
        recording, unless the model itself says where it is. A stream cannot be read again, so all its rows count then. A
        turn, and a value for the whole recording, always counts.

        Args:
            silence: also count rows without speech

        >>> import numpy as np
        >>> import emow2v
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 2 * 16000)
        >>> trajectory = emow2v.load("lite").predict(noise, 16000)
        >>> trajectory.mean()  # nobody speaks
        MeanScores(arousal=nan, dominance=nan, valence=nan)
        >>> all(0 < score < 1 for score in trajectory.mean(silence=True))
        True

        Raises:
            AudioError, Closed: as for `load`
        """
        scores = self._all().scores
        if not silence:
            scores = scores[~self._find_silence()]
        return MeanScores(*(scores.mean(axis=0, dtype=np.float64).tolist() if len(scores) else [float("nan")] * 3))

    def _find_silence(self) -> npt.NDArray[np.bool_]:
        """bool [rows]: rows without speech."""
        rows = self._all()
        with self._computing:  # one of several threads
            if self._silent is None:
                if self.info.framing.whole:
                    self._silent = np.zeros(len(rows), bool)
                elif rows.speech is None and rows.turns is None and self._with_speech is not None:
                    self._silent = self._with_speech(rows).silent
                else:
                    self._silent = rows.silent
            return self._silent

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the trajectory to a file. The ending of the name chooses the format.

        Rows that are not computed yet are computed and written block by block, in constant memory.

        Args:
            path: `talk.csv`, `talk.json` or `talk.ndjson` for scores; `talk.stream` for embeddings; `talk.npz` for
                all arrays; `talk.annotation` for three pairs of SSI files, `talk.valence.annotation` for one
            overwrite: also replace files that emow2v did not write, or that were changed since

        Raises:
            PlaceTaken: a file exists that emow2v did not write, or that was changed since
            FormatError: the ending is unknown, or the folder cannot be written
            AudioError, Closed: as for `load`
        """
        from emow2v import formats

        formats.write(self, path, overwrite=overwrite)

    def to_frame(self, *, embeddings: bool = False) -> pd.DataFrame:
        """All rows as a table with the index (file, start, end) of audformat and audinterface.

        Args:
            embeddings: add the columns embedding_0 .. embedding_1023; `table.filter(like="embedding_")` selects them

        Returns:
            Table with the columns arousal, dominance, valence and confidence (the lowest of the three); with embeddings
            1024 more; speech, if it was computed (scores are then NaN in rows without speech); speaker, tier, label and n,
            if rows are turns; and channel if each channel has its own trajectory. `attrs` has the provenance.

        Raises:
            AudioError, Closed: as for `load`
        """
        from emow2v.formats.frame import frame_of

        return frame_of(self.info, self._all(), embeddings=embeddings)

    def _all(self) -> Block:
        with self._computing:  # two threads that need the rows at once share one pass
            if self._rows is None:
                with contextlib.closing(iter(self)) as blocks:
                    self._rows = concatenate(list(blocks))
            return self._rows


class _Iteration(Iterator[Block]):
    """One iteration. Threads may share it, it can be closed, and it raises an error if it ends early."""

    def __init__(self, trajectory: Trajectory, blocks: Iterator[Block]) -> None:
        self._trajectory = trajectory  # keeps the recording open as long as the iteration lives
        self._blocks = blocks
        self._lock = threading.RLock()
        self._running = self._ended = self._closed = False

    def __next__(self) -> Block:
        with self._lock:
            if self._closed and not self._ended:
                raise _closed_error(self._trajectory.info.source)
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
        """End the iteration and close the recording, after a block that another thread computes."""
        with self._lock:
            self._closed = True
            close = getattr(self._blocks, "close", None)
            # else __next__ closes it after the block that is being computed
            if close is not None and not self._running:
                close()


def _closed_error(source: str) -> Closed:
    return Closed(f"The trajectory of {source} is closed; expected an open one; predict again.")
