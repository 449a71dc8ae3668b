"""Values of a signal as it comes: of a model of windows, or of a model of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

from emow2v.cards import Card
from emow2v.engines import Outputs
from emow2v.engines.frames import CHUNK, FramesEngine
from emow2v.framing import Framing, Signal
from emow2v.framing.chunks import Chunk
from emow2v.framing.windows import Windower
from emow2v.prediction.blocks import Cutter
from emow2v.prediction.one_pass import Heard, OnePass

Cut = TypeVar("Cut")
Part = TypeVar("Part", covariant=True)
Numbered = tuple[int, Outputs]  # index of the first window, outputs of it and those that follow


class LiveCutter(Cutter[Part], Protocol[Part]):
    """Cuts samples without waiting for more, too; a `Windower` or `Chunks`."""

    def flush(self) -> Iterator[Part]: ...


class LiveValues(Generic[Cut]):
    """Takes samples, gives the outputs of the windows that became complete.

    Args:
        cutter: cuts the samples
        run: computes what it cuts; None where that completes no window
    """

    def __init__(self, cutter: LiveCutter[Cut], run: Callable[[Cut], Numbered | None]) -> None:
        self._cutter, self._run = cutter, run

    @property
    def exhausted(self) -> bool:
        """Whether the framing's `end` is reached."""
        return self._cutter.exhausted

    def add(self, signal: Signal) -> Iterator[Numbered]:
        return self._outputs(self._cutter.add(signal))

    def flush(self) -> Iterator[Numbered]:
        return self._outputs(self._cutter.flush())

    def finish(self, duration: Fraction) -> Iterator[Numbered]:
        return self._outputs(self._cutter.finish(duration))

    def _outputs(self, parts: Iterator[Cut]) -> Iterator[Numbered]:
        return (numbered for part in parts if (numbered := self._run(part)) is not None)


def window_values(
    run: Callable[[Signal], Outputs], framing: Framing, rate: int, batch_size: int
) -> LiveValues[tuple[int, Signal]]:
    """Those of a model of windows, which `run` computes."""
    return LiveValues(Windower(framing, rate, batch_size), lambda part: (part[0], run(part[1])))


def frame_values(card: Card, engine: FramesEngine, framing: Framing, heard: Heard | None = None) -> LiveValues[Chunk]:
    """Those of a model of frames, which also says where somebody speaks."""
    one_pass = OnePass(card, engine, framing, heard)

    def run(chunk: Chunk) -> Numbered | None:
        outputs = one_pass.run(chunk)
        return None if outputs is None else (chunk.first, outputs)

    return LiveValues(one_pass.chunks(CHUNK), run)
