"""Results in the database: values over time as continuous annotations, and streams that are registered."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType

import numpy as np

from emow2v.errors import DatabaseError
from emow2v.nova import documents, writing
from emow2v.nova.documents import StreamEntry
from emow2v.nova.rates import Values, at_rate, count_at
from emow2v.nova.sizes import check_continuous
from emow2v.nova.store import Dataset, Place
from emow2v.nova.writing import AnnotationChange, StreamChange
from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.storage.files import StagedFiles


class AnnotationRows:
    """Takes the rows of one dimension, and inserts them as labels that no annotation names yet; a writer as in `formats`.

    Args:
        change: of the annotation
        place: with its scheme, at whose rate and in whose range values are stored
        dimension: arousal, dominance or valence
        gaps: rows without speech become NaN, with their confidence
    """

    def __init__(self, change: AnnotationChange, place: Place, dimension: str, *, gaps: bool = False) -> None:
        self.staged = StagedFiles()
        self.clipped = 0
        self.rate = Fraction(1)
        self._change, self._place, self._gaps = change, place, gaps
        self._column = DIMENSIONS.index(dimension)
        self._scores: list[Values] = []
        self._confidence: list[Values] = []
        self._rows = 0

    def open(self, info: Info) -> None:
        self._whole = info.framing.whole
        if not self._whole:
            self.rate = 1000 / info.framing.step_ms

    def add(self, block: Block) -> None:
        """Take the next rows; those before them that were not computed have no value and the confidence 0."""
        if not len(block):
            return
        if self._whole and (seconds := float(block.ends[0] - block.starts[0])):
            self.rate = 1 / Fraction(seconds).limit_denominator(10**9)
        missing = block.first - self._rows
        scores = block.scores[:, self._column].astype(np.float64)
        confidence = np.clip(np.nan_to_num(block.confidence[:, self._column].astype(np.float64)), 0, 1)
        finite = np.isfinite(scores)
        self.clipped += int(np.count_nonzero(finite & ((scores < 0) | (scores > 1))))
        silent = block.silent if self._gaps else np.zeros(len(block), bool)
        self._scores += [np.full(missing, np.nan), np.where(finite & ~silent, scores, np.nan)]
        self._confidence += [np.zeros(missing), np.where(finite, confidence, 0.0)]
        self._rows = block.first + len(block)

    def close(self) -> None:
        """Insert the labels.

        Raises:
            DatabaseError: they are too large, or the database does not take them
        """
        scheme = self._place.scheme
        check_continuous(scheme.name, count_at(self._rows, self.rate, scheme.rate), scheme.rate)
        # a mean of nothing has no confidence; with gaps it is NaN, which NOVA leaves out of the curve
        scores = at_rate(np.concatenate([np.zeros(0), *self._scores]), self.rate, scheme.rate)
        confidence = at_rate(np.concatenate([np.zeros(0), *self._confidence]), self.rate, scheme.rate)
        if not self._gaps:
            confidence = np.where(np.isfinite(scores), confidence, 0.0)
            scores = np.nan_to_num(scores)
        self._change.insert(documents.continuous_labels(documents.in_range(scores, scheme), confidence))


class SessionWriting:
    """The results of a session in the database, as a context manager: undone after an error.

    Args:
        dataset: None where the database gets no results
        places: of the annotations, each with its dimension
        streams: to register, with their rates
        gaps: see `AnnotationRows`

    Attributes:
        writers: for the pass over the session's values
        notices: sentences on what stayed behind
    """

    def __init__(
        self,
        dataset: Dataset | None,
        places: Sequence[tuple[str, Place]],
        streams: Sequence[StreamEntry],
        *,
        gaps: bool,
    ) -> None:
        self._streams = [StreamChange(dataset, entry) for entry in streams] if dataset else []
        self._changes = [AnnotationChange(dataset, place) for _, place in places] if dataset else []
        rows = zip(self._changes, places, strict=True)
        self.writers = [AnnotationRows(change, place, port, gaps=gaps) for change, (port, place) in rows]
        self.notices: list[str] = []

    def __enter__(self) -> SessionWriting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            writing.undo([*self._changes, *self._streams])
            return
        for change in self._changes:
            try:
                change.finish()
            except DatabaseError as failed:
                self.notices.append(f"The old labels of an annotation stayed in the database: {failed}")

    def commit(self) -> None:
        """Let the annotations name their new labels and register the streams, all or none.

        Raises:
            DatabaseError: the database does not take them, or an annotation was changed or locked meanwhile
        """
        writing.apply([*self._changes, *self._streams])
