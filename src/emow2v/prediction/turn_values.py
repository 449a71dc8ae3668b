"""Values of turns in one pass over a recording: one value for the turn, or the mean of the values inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from emow2v.audio.recording import Recording
from emow2v.engines import Outputs, overlapped
from emow2v.engines.frames import FramesEngine
from emow2v.engines.outputs import WeightedMean
from emow2v.framing import NO_END, Context, Framing, Signal
from emow2v.framing.windows import Pieces
from emow2v.prediction.computation import Computation
from emow2v.prediction.one_pass import SpanValues
from emow2v.prediction.speech import RowSpeech
from emow2v.rows import Block
from emow2v.speech.activity import THRESHOLD

Span = tuple[float, float]  # seconds
Value = tuple[int, Outputs | None, int]  # index of the turn, outputs [1, ...] or None, number of values in their mean

_TOLERANCE_S = 1e-6  # times are decimal fractions, floats are not


class WholeTurns:
    """Computes one value for each turn: of its sound as one window, or as pieces if it is longer than the model takes.

    Args:
        spans: sorted by start; they may overlap, and cross the end of the recording
    """

    def __init__(self, computation: Computation, spans: Sequence[Span], check: Callable[[], None]) -> None:
        self._computation, self._check = computation, check
        self._spans = _in_samples(computation, spans)
        self._jobs: list[tuple[int, int]] = []  # of each piece: the turn, its weight
        self._waiting: Counter[int] = Counter()  # pieces of a turn that are being computed
        self._means: dict[int, WeightedMean] = {}
        self._ended: set[int] = set()

    def values(self, recording: Recording) -> Iterator[Value]:
        """The values, each soon after its turn has ended; none for turns after the end of the recording."""
        engine = self._computation.engine
        for job, outputs in overlapped(engine, self._pieces(recording), engine.run_parallel):
            self._check()
            turn, weight = self._jobs[job]
            self._waiting[turn] -= 1
            self._means[turn].add(outputs, weight)
            yield from self._complete()
        yield from self._complete()

    def _complete(self) -> Iterator[Value]:
        for turn in sorted(turn for turn in self._ended if not self._waiting[turn]):
            self._ended.remove(turn)
            mean = self._means.pop(turn, None)
            yield turn, None if mean is None else mean.result(), int(mean is not None)

    def _pieces(self, recording: Recording) -> Iterator[tuple[int, Signal]]:
        active: dict[int, Pieces] = {}
        position = following = 0
        sizes: Counter[int] = Counter()
        for samples in recording:
            self._check()
            behind = position + samples.size
            while following < len(self._spans) and self._spans[following][0] < behind:
                active[following] = Pieces(self._computation.card.max_samples)
                following += 1
            for turn, pieces in list(active.items()):
                begin, end = self._spans[turn]
                part = samples[max(0, begin - position) : max(0, end - position)]
                sizes[turn] += part.size
                yield from self._begin(turn, pieces.add(part))
                if end <= behind:
                    yield from self._finish(turn, active.pop(turn), sizes.pop(turn))
            position = behind
        for turn, pieces in active.items():
            yield from self._finish(turn, pieces, sizes[turn])

    def _finish(self, turn: int, pieces: Pieces, size: int) -> Iterator[tuple[int, Signal]]:
        if size >= self._computation.card.min_samples:
            yield from self._begin(turn, pieces.finish())
        self._ended.add(turn)

    def _begin(self, turn: int, pieces: Iterator[tuple[Signal, int]]) -> Iterator[tuple[int, Signal]]:
        for piece, weight in pieces:
            self._means.setdefault(turn, WeightedMean())
            self._waiting[turn] += 1
            self._jobs.append((turn, weight))
            yield len(self._jobs) - 1, piece[None]


class FrameTurns:
    """Gives one value for each turn from the frames of a model of frames, as exact as the turn's ends: half a frame.

    Args:
        spans: as for `WholeTurns`
        speech: gets the probability of speech of the frames
    """

    def __init__(
        self, computation: Computation, spans: Sequence[Span], check: Callable[[], None], speech: RowSpeech
    ) -> None:
        self._check = check
        engine = cast(FramesEngine, computation.engine)
        self._values = SpanValues(computation.card, engine, _in_samples(computation, spans), speech.add)

    def values(self, recording: Recording) -> Iterator[Value]:
        """The values; see `WholeTurns.values`."""
        for turn, outputs in self._values.values(recording, self._check):
            yield turn, outputs, int(outputs is not None)


def _in_samples(computation: Computation, spans: Sequence[Span]) -> list[tuple[int, int]]:
    rate = computation.card.sampling_rate
    return [(round(start * rate), round(end * rate) if np.isfinite(end) else NO_END) for start, end in spans]


@dataclass
class _Sums:
    """Sums of the values of one turn."""

    start: float
    end: float
    speech: WeightedMean = field(default_factory=WeightedMean)
    every: WeightedMean = field(default_factory=WeightedMean)
    counts: list[int] = field(default_factory=lambda: [0, 0])  # with speech, all
    last: Outputs | None = None

    def add(self, block: Block, begins: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], speech: Signal) -> None:
        before_end = ends <= self.end + _TOLERANCE_S
        inside = before_end & (begins >= self.start - _TOLERANCE_S)
        for place, (mean, rows) in enumerate(((self.speech, inside & (speech >= THRESHOLD)), (self.every, inside))):
            if count := int(rows.sum()):
                parts = (block.embeddings[rows], block.scores[rows], block.confidence[rows])
                mean.add(_mean(parts), count)
                self.counts[place] += count
        steps = np.flatnonzero(before_end & (block.starts >= self.start - _TOLERANCE_S))
        if steps.size:
            row = slice(int(steps[-1]), int(steps[-1]) + 1)
            self.last = block.embeddings[row], block.scores[row], block.confidence[row]

    def value(self, turn: int) -> Value:
        for count, mean in zip(self.counts, (self.speech, self.every), strict=True):
            if count:
                return turn, mean.result(), count
        return turn, self.last, int(self.last is not None)


class PooledTurns:
    """Computes for each turn the mean of the values whose window lies inside it: of those with speech, if there are any.

    A turn that is shorter than a window has its last value.

    Args:
        spans: as for `WholeTurns`
        speech: knows the probability of speech before each block of values

    Attributes:
        on_values: called with each block of values, which has its speech; None to call nothing
    """

    def __init__(
        self, computation: Computation, spans: Sequence[Span], check: Callable[[], None], framing: Framing,
        context: Context, batch_size: int | None, speech: RowSpeech,
    ) -> None:  # fmt: skip
        self._computation, self._spans, self._check = computation, spans, check
        self._framing, self._context, self._batch_size, self._speech = framing, context, batch_size, speech
        self.on_values: Callable[[Block], None] | None = None

    def values(self, recording: Recording) -> Iterator[Value]:
        """The values; see `WholeTurns.values`."""
        lead = float(self._framing.left_context_ms) / 1000
        reach = float(self._framing.core_ms) / 1000 + float(self._framing.right_context_ms) / 1000
        active: dict[int, _Sums] = {}
        following = 0
        on_speech = self._speech.add if self._computation.card.one_pass else None  # which gives its own speech
        for block in self._computation.blocks(
            recording, self._framing, self._context, self._batch_size, self._check, on_speech=on_speech
        ):
            begins, ends = block.starts - lead, block.starts + reach
            speech = self._speech.values.of(block.first, len(block))
            if self.on_values is not None:
                self.on_values(replace(block, speech=speech))
            while following < len(self._spans) and self._spans[following][0] < ends[-1]:
                active[following] = _Sums(*self._spans[following])
                following += 1
            for turn, sums in list(active.items()):
                sums.add(block, begins, ends, speech)
                if sums.end <= ends[-1]:
                    yield active.pop(turn).value(turn)
        for turn, sums in active.items():
            yield sums.value(turn)
        duration = float(recording.duration)
        for turn in range(following, len(self._spans)):
            if self._spans[turn][0] < duration:  # in the last step of the recording, which has no value
                yield turn, None, 0


def _mean(outputs: tuple[Signal, Signal, Signal]) -> Outputs:
    embeddings, scores, confidence = (part.mean(axis=0, keepdims=True, dtype=np.float64) for part in outputs)
    return embeddings, scores, confidence
