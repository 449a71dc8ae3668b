"""Outputs of engines, joined: those of consecutive batches, and the mean over the pieces of one window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emow2v.engines import Outputs


def stacked(parts: list[Outputs]) -> Outputs:
    """The outputs of consecutive batches as those of one batch."""
    embeddings, scores, confidence = zip(*parts, strict=True)
    known = [part for part in confidence if part is not None]
    return np.concatenate(embeddings), np.concatenate(scores), np.concatenate(known) if known else None


class WeightedMean:
    """Running weighted mean of outputs over the pieces of one window."""

    def __init__(self) -> None:
        self._sums: list[npt.NDArray[np.float64] | None] = [None, None, None]
        self._weight = 0

    def add(self, outputs: Outputs, weight: int) -> None:
        """Add the outputs of a piece; the weight is its number of new samples."""
        for k, values in enumerate(outputs):
            if values is not None:
                weighted = values.astype(np.float64) * weight
                total = self._sums[k]
                self._sums[k] = weighted if total is None else total + weighted
        self._weight += weight

    def result(self) -> Outputs:
        """The mean of everything added so far, in float32."""
        embeddings, scores, confidence = (
            None if total is None else (total / self._weight).astype(np.float32) for total in self._sums
        )
        assert embeddings is not None and scores is not None
        return embeddings, scores, confidence
