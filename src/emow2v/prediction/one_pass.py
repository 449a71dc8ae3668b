"""One pass of a model of frames over a recording or a stream: chunks in, the values of windows out."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np

from emow2v.cards import Card
from emow2v.engines import Outputs, overlapped
from emow2v.engines.frames import CHUNK, FramesEngine, SpanSums
from emow2v.framing import Framing
from emow2v.framing.chunks import Chunk, Chunks


class OnePass:
    """The values of one recording or stream. Chunks are to be run in their order.

    Args:
        engine: of a model of frames
    """

    def __init__(self, card: Card, engine: FramesEngine, framing: Framing) -> None:
        self._card, self._engine, self._framing = card, engine, framing
        self._state = engine.start(1)
        self._late = card.delay  # frames of the steps to come that stand for nothing
        self._sums = SpanSums()

    def chunks(self, size: int = CHUNK) -> Chunks:
        """The object that cuts the samples into chunks of `size` frames."""
        card = self._card
        return Chunks(self._framing, card.sampling_rate, hop=card.frame_hop, delay=card.delay, size=size)

    def run(self, chunk: Chunk) -> Outputs | None:
        """Embeddings [windows, 1024], scores [windows, 3] and confidence of the windows that a chunk completes; None where
        there is no window."""
        frames, _, self._state = self._engine.step(chunk.signal[None], np.array([chunk.length]), self._state)
        nothing = min(self._late, frames.shape[1])
        self._late -= nothing
        self._sums.add(frames[0, nothing:])
        if not len(chunk.begins):
            return None
        outputs = self._engine.read(*self._sums.moments(chunk.begins, chunk.ends))
        self._sums.drop(int(chunk.begins[-1]))
        return outputs

    def outputs(self, chunks: Iterator[Chunk]) -> Generator[tuple[int, Outputs]]:
        """Numbered outputs of chunks; the next chunk is cut while one is computed."""
        numbered = ((chunk.first, chunk) for chunk in chunks)
        with closing(overlapped(self._engine, numbered, self.run)) as computed:
            for first, outputs in computed:
                if outputs is not None:
                    yield first, outputs


def one_pass_facts(card: Card) -> dict[str, str | float]:
    """What the provenance of a result says of a model of frames."""
    rate = card.sampling_rate
    return {
        "one_pass": (
            f"frames of {card.frame_hop / rate * 1000:g} ms, each computed from up to {card.look_back / rate:.4g} s before it and "
            f"{card.look_ahead / rate:.4g} s behind it, and pooled over each window; nothing stands before a recording or behind it"
        )
    }
