"""What engines give, put together: batches one behind the other, pieces of one window in the mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emow2v.engines import Outputs


def stacked(parts: list[Outputs]) -> Outputs:
    """Outputs of consecutive batches as those of one."""
    embeddings, scores, confidence = zip(*parts, strict=True)
    sure = [part for part in confidence if part is not None]
    return np.concatenate(embeddings), np.concatenate(scores), np.concatenate(sure) if sure else None


class WeightedMean:
    """Running mean of engine outputs over pieces of one window."""

    def __init__(self) -> None:
        self._sums: list[npt.NDArray[np.float64] | None] = [None, None, None]
        self._weight = 0

    def add(self, outputs: Outputs, weight: int) -> None:
        for k, values in enumerate(outputs):
            if values is not None:
                weighted = values.astype(np.float64) * weight
                held = self._sums[k]
                self._sums[k] = weighted if held is None else held + weighted
        self._weight += weight

    def result(self) -> Outputs:
        embeddings, scores, confidence = (
            None if held is None else (held / self._weight).astype(np.float32) for held in self._sums
        )
        assert embeddings is not None and scores is not None
        return embeddings, scores, confidence
