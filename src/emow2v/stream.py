"""Live prediction: samples are added, blocks are returned as soon as their windows are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from emow2v.audio.arrays import mono
from emow2v.audio.resampling import Resampler
from emow2v.cards import Card
from emow2v.engines import Outputs
from emow2v.engines.frames import FramesEngine
from emow2v.errors import Closed, FramingError
from emow2v.framing import Framing, Signal
from emow2v.prediction.blocks import block_of
from emow2v.prediction.live import LiveValues, Numbered, frame_values, length_of, window_values
from emow2v.prediction.one_pass import OnSpeech
from emow2v.rows import Block

if TYPE_CHECKING:
    from emow2v.model import Model
    from emow2v.prediction.speech import Detector, RowSpeech

SAMPLING_RATES = range(1000, 768_001)  # Hz, rates that a stream accepts


class Stream:
    """The live variant of `Model.predict`, for one thread. `Model.stream` opens it; `close`, or `with`, ends it.

    `add` returns blocks as soon as their windows are complete. The numbers are those of `predict`. With a model of frames, a
    value comes `look_ahead` samples (see its card) behind the end of its window.

    >>> import numpy as np
    >>> import emow2v
    >>> with emow2v.load("lite").stream() as stream:
    ...     rows = [len(block) for block in stream.add(np.zeros(16000, np.float32), flush=True)]
    >>> sum(rows)
    25
    """

    def __init__(
        self,
        model: Model,
        framing: Framing,
        batch_size: int,
        *,
        sampling_rate: int | None = None,
        speech: bool = False,
    ) -> None:
        if sampling_rate is not None and sampling_rate not in SAMPLING_RATES:
            lowest, highest = SAMPLING_RATES[0], SAMPLING_RATES[-1]
            raise FramingError(f"sampling_rate is {sampling_rate}; expected {lowest} to {highest} Hz.")
        self._model = model
        self._framing = framing
        self._rate = sampling_rate or model.card.sampling_rate
        self._resampler = Resampler(model.card.sampling_rate)
        self._speech: RowSpeech | None
        self._detector: Detector | None
        self._speech, self._detector = _row_speech(model.card, framing) if speech else (None, None)
        self._values = _values(model, framing, batch_size, None if self._speech is None else self._speech.add)
        self._closed = False

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop buffered samples. Later calls of `add` and `finish` raise `Closed`."""
        self._closed = True
        self._resampler = Resampler(self._model.card.sampling_rate)
        self._values = _values(self._model, self._framing, 1, None)

    def add(self, samples: npt.ArrayLike, *, flush: bool = False) -> Iterator[Block]:
        """Add samples of one channel, and return the blocks whose windows became complete.

        Args:
            samples: [samples], any number of them, about -1..1; an array, a tensor or a list
            flush: return values without waiting for a whole batch; the latency is lowest

        Raises:
            Closed: the stream was closed
            AudioError: the samples are not numbers, or have several channels
        """
        self._check_open()
        yield from self._run(self._values.add(self._detect(self._resampler.add(mono(samples), self._rate))))
        if flush:
            yield from self._run(self._values.flush())

    def finish(self) -> Iterator[Block]:
        """The last rows, as if a recording ended here.

        Raises:
            Closed: the stream was closed
        """
        self._check_open()
        yield from self._run(self._values.add(self._detect(self._resampler.finish())))
        if self._detector is not None:
            self._detector.finish()
        yield from self._run(self._values.finish(self._resampler.duration))

    def cut(self, samples: Signal) -> list[Any]:
        """Take samples, and give the parts that became complete, which `compute_together` computes: `add` for many streams.

        Args:
            samples: float32 [samples], about -1..1

        Raises:
            Closed: the stream was closed
        """
        self._check_open()
        return self._values.cut(self._detect(self._resampler.add(samples, self._rate)))

    def cut_last(self) -> list[Any]:
        """The last parts: `finish` for many streams.

        Raises:
            Closed: the stream was closed
        """
        self._check_open()
        parts = self._values.cut(self._detect(self._resampler.finish()))
        if self._detector is not None:
            self._detector.finish()
        return parts + self._values.cut_last(self._resampler.duration)

    @property
    def more(self) -> bool:
        """Whether `cut` gives a part without more samples."""
        return self._values.more

    def detach(self) -> None:
        """Keep nothing in memory of other streams, with which this one was computed, if it is not computed for a while."""
        self._values.detach()

    @property
    def exhausted(self) -> bool:
        """Whether the framing's `end` is reached, so that no rows can follow."""
        return self._values.exhausted

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The stream is closed; expected an open one; begin another with Model.stream.")
        _ = self._model.engine  # raises Closed, too, where the model was closed

    def _detect(self, signal: Signal) -> Signal:
        """The same samples, which the detector takes before the windows do."""
        if self._detector is not None:
            self._detector.add(signal)
        return signal

    def _run(self, values: Iterator[Numbered]) -> Iterator[Block]:
        for first, outputs in values:
            yield self._block(first, outputs)

    def _block(self, first: int, outputs: Outputs) -> Block:
        block = block_of(first, self._framing.times(first, len(outputs[1])), outputs)
        return block if self._speech is None else replace(block, speech=self._speech.values.of(first, len(block)))


def compute_together(work: Sequence[tuple[Stream, Any]]) -> list[Block | None]:
    """Compute the next part of each of several streams of one model at once.

    Each has the numbers that it has by itself, but for the last digits of float32 where the engine rounds otherwise in
    larger batches.

    Args:
        work: pairs of a stream, which appears once, and its next part, see `Stream.cut`

    Returns:
        the rows that each part completes; None where there are none
    """
    groups: dict[int, list[int]] = {}
    for number, (_, part) in enumerate(work):
        groups.setdefault(length_of(part), []).append(number)
    found: list[Block | None] = [None] * len(work)
    for numbers in groups.values():
        own = [(work[number][0], work[number][1]) for number in numbers]
        outputs = own[0][0]._values.compute_together([(stream._values, part) for stream, part in own])
        for number, (stream, _), numbered in zip(numbers, own, outputs, strict=True):
            if numbered is not None:
                found[number] = stream._block(*numbered)
    return found


def _values(model: Model, framing: Framing, batch_size: int, on_speech: OnSpeech | None) -> LiveValues[Any]:
    if isinstance(model.engine, FramesEngine):
        return frame_values(model.card, model.engine, framing, on_speech)
    return window_values(model.run, framing, model.card.sampling_rate, batch_size)


def _row_speech(card: Card, framing: Framing) -> tuple[RowSpeech, Detector | None]:
    from emow2v.prediction.speech import Detector, RowSpeech, speech_frame_ms  # loads the detector

    rows = RowSpeech(framing, speech_frame_ms(card))
    return rows, None if card.one_pass else Detector(rows, card.sampling_rate)
