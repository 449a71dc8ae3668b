"""Values of signals as they come: of a model of windows, or of a model of frames; of one signal, or of many together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from emow2v.cards import Card
from emow2v.engines import Outputs
from emow2v.engines.frames import CHUNK, MOST_BYTES, FramesEngine
from emow2v.framing import Framing, Signal
from emow2v.framing.chunks import Chunk, Chunks
from emow2v.framing.windows import Windower
from emow2v.prediction.blocks import Cutter
from emow2v.prediction.one_pass import OnePass, OnSpeech, part_of, run_passes

Cut = TypeVar("Cut")
Part = TypeVar("Part", covariant=True)
Numbered = tuple[int, Outputs]  # index of the first window, outputs of it and those that follow
Windows = tuple[int, Signal]  # index of the first window, windows [batch, samples]


class LiveCutter(Cutter[Part], Protocol[Part]):
    """Cuts samples without waiting for more, too; a `Windower` or `Chunks`."""

    def flush(self) -> Iterator[Part]: ...


class LiveValues(ABC, Generic[Cut]):
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

    # --- for many signals together: parts are cut here, and computed by `compute_together` in their order ---

    def cut(self, signal: Signal) -> list[Cut]:
        """The parts that became complete with these samples."""
        return [*self._cutter.add(signal), *self._cutter.flush()]

    def cut_last(self, duration: Fraction) -> list[Cut]:
        """The last parts of a signal of `duration` seconds."""
        return list(self._cutter.finish(duration))

    @abstractmethod
    def compute_together(self, work: Sequence[tuple[Any, Cut]]) -> list[Numbered | None]:
        """Compute one part of each of several signals of this model; None where a part completes no window.

        Args:
            work: pairs of what `window_values` or `frame_values` made, and its next part
        """

    @property
    def more(self) -> bool:
        """Whether `cut` gives a part without more samples."""
        return False

    def detach(self) -> None:
        """Keep nothing in memory of other signals, with which this one was computed."""


class _WindowValues(LiveValues[Windows]):
    def __init__(self, run: Callable[[Signal], Outputs], framing: Framing, rate: int, batch_size: int) -> None:
        super().__init__(Windower(framing, rate, batch_size), lambda part: (part[0], run(part[1])))
        self._compute, self._batch_size = run, batch_size

    def compute_together(self, work: Sequence[tuple[Any, Windows]]) -> list[Numbered | None]:
        found: list[Numbered | None] = []
        for begin, end in _batches([len(windows) for _, (_, windows) in work], self._batch_size):
            parts = [part for _, part in work[begin:end]]
            outputs = self._compute(parts[0][1] if len(parts) == 1 else np.concatenate([part[1] for part in parts]))
            row = 0
            for first, windows in parts:
                found.append((first, part_of(outputs, row, row := row + len(windows))))
        return found


class _FrameValues(LiveValues[Chunk]):
    def __init__(self, card: Card, engine: FramesEngine, framing: Framing, on_speech: OnSpeech | None) -> None:
        self._pass = OnePass(card, engine, framing, on_speech)
        self._chunks: Chunks = self._pass.chunks(CHUNK)
        super().__init__(self._chunks, lambda chunk: _numbered(chunk, self._pass.run(chunk)))
        self._stream_bytes = 4 * sum(int(np.prod(size)) for size in card.states.values())

    def cut(self, signal: Signal) -> list[Chunk]:
        return [*self._cutter.add(signal), *self._chunks.doubled()]

    def compute_together(self, work: Sequence[tuple[Any, Chunk]]) -> list[Numbered | None]:
        found: list[Numbered | None] = []
        most = max(1, MOST_BYTES // (self._stream_bytes + work[0][1].signal.nbytes))
        for begin in range(0, len(work), most):
            pairs = [(values._pass, chunk) for values, chunk in work[begin : begin + most]]
            outputs = run_passes(pairs)
            found += [_numbered(chunk, own) for (_, chunk), own in zip(pairs, outputs, strict=True)]
        return found

    @property
    def more(self) -> bool:
        return self._chunks.more

    def detach(self) -> None:
        self._pass.detach()


def window_values(
    run: Callable[[Signal], Outputs], framing: Framing, rate: int, batch_size: int
) -> LiveValues[Windows]:
    """Those of a model of windows, which `run` computes."""
    return _WindowValues(run, framing, rate, batch_size)


def frame_values(
    card: Card, engine: FramesEngine, framing: Framing, on_speech: OnSpeech | None = None
) -> LiveValues[Chunk]:
    """Those of a model of frames, which also says where somebody speaks."""
    return _FrameValues(card, engine, framing, on_speech)


def length_of(part: Any) -> int:
    """Samples of a part, of one window where it has several: only parts of one length are computed together."""
    return int(part.signal.size if isinstance(part, Chunk) else part[1].shape[1])


def _numbered(chunk: Chunk, outputs: Outputs | None) -> Numbered | None:
    return None if outputs is None else (chunk.first, outputs)


def _batches(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Begins and ends of runs of parts with about `most` windows in all, but one part at least."""
    begin = total = 0
    for number, size in enumerate(sizes):
        if total and total + size > most:
            yield begin, number
            begin, total = number, 0
        total += size
    if total:
        yield begin, len(sizes)
