"""Values of a signal as it comes: of a model of windows, or of a model of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Protocol

from emow2v.cards import Card
from emow2v.engines import Outputs
from emow2v.engines.frames import FramesEngine
from emow2v.framing import Framing, Signal
from emow2v.framing.chunks import Chunk
from emow2v.framing.windows import Windower
from emow2v.prediction.one_pass import OnePass

Numbered = Iterator[tuple[int, Outputs]]  # index of the first window, outputs of it and those that follow


class LiveValues(Protocol):
    """Takes samples, gives the outputs of the windows that became complete."""

    @property
    def exhausted(self) -> bool:
        """Whether the framing's `end` is reached."""
        ...

    def add(self, signal: Signal) -> Numbered: ...
    def flush(self) -> Numbered: ...
    def finish(self, duration: Fraction) -> Numbered: ...


class WindowValues:
    """Of a model of windows.

    Args:
        run: computes windows [batch, samples]
    """

    def __init__(self, run: Callable[[Signal], Outputs], framing: Framing, rate: int, batch_size: int) -> None:
        self._run, self._windower = run, Windower(framing, rate, batch_size)

    @property
    def exhausted(self) -> bool:
        return self._windower.exhausted

    def add(self, signal: Signal) -> Numbered:
        return self._outputs(self._windower.add(signal))

    def flush(self) -> Numbered:
        return self._outputs(self._windower.flush())

    def finish(self, duration: Fraction) -> Numbered:
        return self._outputs(self._windower.finish(duration))

    def _outputs(self, batches: Iterable[tuple[int, Signal]]) -> Numbered:
        return ((first, self._run(windows)) for first, windows in batches)


class FrameValues:
    """Of a model of frames."""

    def __init__(self, card: Card, engine: FramesEngine, framing: Framing) -> None:
        self._pass = OnePass(card, engine, framing)
        self._chunks = self._pass.chunks()

    @property
    def exhausted(self) -> bool:
        return self._chunks.exhausted

    def add(self, signal: Signal) -> Numbered:
        return self._outputs(self._chunks.add(signal))

    def flush(self) -> Numbered:
        return self._outputs(self._chunks.flush())

    def finish(self, duration: Fraction) -> Numbered:
        return self._outputs(self._chunks.finish(duration))

    def _outputs(self, chunks: Iterable[Chunk]) -> Numbered:
        for chunk in chunks:
            outputs = self._pass.run(chunk)
            if outputs is not None:
                yield chunk.first, outputs
