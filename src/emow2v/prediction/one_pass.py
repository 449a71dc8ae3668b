"""One pass of a model of frames over a recording or a stream: chunks in, the values of windows or of any spans out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction

import numpy as np

from emow2v.audio.recording import Recording
from emow2v.cards import Card
from emow2v.engines import Outputs, overlapped
from emow2v.engines.frames import FramesEngine, FrameTotals, Row, SpanSums
from emow2v.framing import NO_END, SAMPLING_RATE, Framing, Signal
from emow2v.framing.chunks import FEWEST, Chunk, Chunks, FrameChunks, spans_of_frames
from emow2v.prediction.blocks import cut
from emow2v.rows import Floats

OnSpeech = Callable[[Signal], None]  # takes the probabilities of speech of the frames that follow
Part = tuple[Floats, Signal]  # frames [frames, width], and the probability of speech in each

_AT_ONCE = 64 * SAMPLING_RATE  # samples of a batch of clips, with what fills the shorter ones
_ROWS_AT_ONCE = 256  # of values over time: engines compute few rows by other kernels, whose last bit differs


class FrameSteps:
    """The frames of one recording or stream, without what stands before its first one and behind its last one.

    Args:
        engine: of a model of frames
    """

    def __init__(self, card: Card, engine: FramesEngine) -> None:
        self._hop, self._engine = card.frame_hop, engine
        self._state = Row(engine.start(1), 0, 1)
        self._late = card.delay  # frames of the steps to come that stand for nothing
        self._left = self._samples = 0  # frames that exist and did not come yet; samples so far

    def run(self, chunk: Chunk) -> Part:
        """The frames that a chunk completes. Chunks are to be run in their order."""
        return run_steps([(self, chunk)])[0]

    def detach(self) -> None:
        """Keep no state of other streams in memory, with which this one was computed."""
        self._state = self._state.separated()

    def _step(self, chunk: Chunk, frames: Floats, speech: Signal, state: Row) -> Part:
        """Those of the computed frames [frames, width] that stand for something."""
        self._state = state
        self._left += -(-(self._samples + chunk.length) // self._hop) - -(-self._samples // self._hop)
        self._samples += chunk.length
        nothing = min(self._late, len(frames))
        self._late -= nothing
        kept = slice(nothing, min(nothing + self._left, len(frames)))
        self._left -= kept.stop - kept.start
        return frames[kept], speech[kept]


def run_steps(work: Sequence[tuple[FrameSteps, Chunk]]) -> list[Part]:
    """`FrameSteps.run` for one chunk of each of several streams of one engine. The chunks have the same number of samples."""
    engine = work[0][0]._engine
    state = engine.joined([steps._state for steps, _ in work])
    signal, lengths = np.stack([chunk.signal for _, chunk in work]), np.array([chunk.length for _, chunk in work])
    frames, speech, following = engine.step(signal, lengths, state)
    return [
        steps._step(chunk, frames[row], speech[row], Row(following, row, len(work)))
        for row, (steps, chunk) in enumerate(work)
    ]


class OnePass:
    """The values of the windows of one recording or stream.

    Args:
        engine: of a model of frames
        on_speech: called with the probabilities of speech of frames, before the values of the windows that end with them
    """

    def __init__(self, card: Card, engine: FramesEngine, framing: Framing, on_speech: OnSpeech | None = None) -> None:
        self._card, self._engine, self._framing, self._on_speech = card, engine, framing, on_speech
        self._steps, self._sums = FrameSteps(card, engine), SpanSums()

    def chunks(self, size: int) -> Chunks:
        """The object that cuts the samples into chunks of `size` frames."""
        return chunks_of(self._card, self._framing, size)

    def run(self, chunk: Chunk) -> Outputs | None:
        """Embeddings [windows, 1024], scores [windows, 3] and confidence of the windows that a chunk completes; None where
        there is no window. Chunks are to be run in their order."""
        return self._report_speech(self._computed(chunk))

    def outputs(self, chunks: Iterator[Chunk]) -> Generator[tuple[int, Outputs]]:
        """Numbered outputs of chunks; the next chunk is cut while one is computed."""
        numbered = ((chunk.first, chunk) for chunk in chunks)
        with closing(overlapped(self._engine, numbered, self._computed)) as computed:
            for first, values in computed:
                if (outputs := self._report_speech(values)) is not None:
                    yield first, outputs

    def detach(self) -> None:
        """See `FrameSteps.detach`."""
        self._steps.detach()

    def _computed(self, chunk: Chunk) -> tuple[Signal, Outputs | None]:
        frames, speech = self._steps.run(chunk)
        moments = self._moments(chunk, frames)
        return speech, None if moments is None else self._engine.read(*moments)

    def _moments(self, chunk: Chunk, frames: Floats) -> tuple[Floats, Floats] | None:
        """Mean and variance [windows, width] of the frames of the windows that a chunk completes; None where it completes none."""
        self._sums.add(frames)
        if not len(chunk.begins):
            return None
        moments = self._sums.moments(chunk.begins, chunk.ends)
        self._sums.drop(int(chunk.begins[-1]))
        return moments

    def _report_speech(self, values: tuple[Signal, Outputs | None]) -> Outputs | None:
        if self._on_speech is not None:
            self._on_speech(values[0])
        return values[1]


def run_passes(work: Sequence[tuple[OnePass, Chunk]]) -> list[Outputs | None]:
    """`OnePass.run` for one chunk of each of several streams of one engine. The chunks have the same number of samples."""
    parts = run_steps([(one._steps, chunk) for one, chunk in work])
    moments = [one._moments(chunk, frames) for (one, chunk), (frames, _) in zip(work, parts, strict=True)]
    known = [both for both in moments if both is not None]
    outputs, begin = None, 0
    if known:
        outputs = work[0][0]._engine.read(*(np.concatenate(half) for half in zip(*known, strict=True)))
    found: list[Outputs | None] = []
    for (one, _), (_, speech), both in zip(work, parts, moments, strict=True):
        own = None
        if both is not None and outputs is not None:
            own = part_of(outputs, begin, begin := begin + len(both[0]))
        found.append(one._report_speech((speech, own)))
    return found


class SpanValues:
    """One value for each of some spans of a recording, of all frames in it; spans may be of any length and overlap.

    Args:
        engine: of a model of frames
        spans: first sample, and the one after the last, which may lie behind the end of the recording; sorted by start
        on_speech: as for `OnePass`
        all_samples: go on to the end of the recording where the last span ends before it

    Attributes:
        samples: that were read
    """

    def __init__(
        self, card: Card, engine: FramesEngine, spans: Sequence[tuple[int, int]], on_speech: OnSpeech | None = None, *,
        all_samples: bool = True,
    ) -> None:  # fmt: skip
        self._card, self._engine, self._spans, self._on_speech = card, engine, spans, on_speech
        self._last = (
            None if all_samples else spans_of_frames(0, max(end for _, end in spans), card.frame_hop, NO_END)[1]
        )
        self.samples = 0

    def values(self, recording: Recording, check: Callable[[], None]) -> Iterator[tuple[int, Outputs | None]]:
        """Index and outputs [1, ...] of each span that begins within the recording, soon after its end; None for one that is
        shorter than the model takes."""
        totals: dict[int, FrameTotals] = {}
        following = known = 0
        for frames, speech in self._parts(recording, check):
            if self._on_speech is not None:
                self._on_speech(speech)
            behind = known + len(frames)
            while following < len(self._spans) and self._frames(following)[0] < behind:
                totals[following] = FrameTotals()
                following += 1
            for span, total in list(totals.items()):
                begin, end = self._frames(span)
                if end > known:
                    total.add(frames[max(0, begin - known) : end - known])
                if end <= behind:
                    yield span, self._value(span, totals.pop(span))
            known = behind
        for span, total in totals.items():
            yield span, self._value(span, total)
        for span in range(following, len(self._spans)):
            if self._spans[span][0] < self.samples:  # within half a frame of the end
                yield span, None

    def _parts(self, recording: Recording, check: Callable[[], None]) -> Iterator[Part]:
        card = self._card

        def counted(blocks: Iterator[Signal]) -> Iterator[Signal]:
            for block in blocks:
                self.samples += block.size
                yield block

        recording.tee(counted)
        cutter = FrameChunks(hop=card.frame_hop, delay=card.delay, size=self._engine.chunk, last=self._last)
        steps = FrameSteps(card, self._engine)
        with closing(overlapped(self._engine, enumerate(cut(recording, cutter, check)), steps.run)) as computed:
            for _, part in computed:
                check()
                yield part

    def _frames(self, span: int) -> tuple[int, int]:
        begin, end = spans_of_frames(*self._spans[span], self._card.frame_hop, NO_END)
        return int(begin), int(end)

    def _value(self, span: int, total: FrameTotals) -> Outputs | None:
        begin, end = self._spans[span]
        if min(end, self.samples) - begin < self._card.min_samples or not total.count:
            return None
        return self._engine.read(*total.moments())


def speech_of(card: Card, engine: FramesEngine, recording: Recording, check: Callable[[], None]) -> Signal:
    """The probability of speech in every frame of a recording, float32 [frames]."""
    found: list[Signal] = [np.zeros(0, np.float32)]
    for _ in SpanValues(card, engine, [], found.append).values(recording, check):
        pass
    return np.concatenate(found)


def clip_values(
    card: Card,
    engine: FramesEngine,
    framing: Framing,
    clips: Sequence[tuple[Signal, Fraction]],
    check: Callable[[], None],
) -> list[tuple[Outputs | None, Signal]]:
    """Outputs of each of many short recordings, and its probabilities of speech; None where it has no value.

    Clips of about the same length are computed together. The values of one are the same whichever others it comes with.

    Args:
        clips: samples and duration in seconds of each
    """
    results: list[tuple[Outputs | None, Signal]] = [(None, np.zeros(0, np.float32))] * len(clips)
    for members in _batches([signal.size for signal, _ in clips], engine.batch_samples or _AT_ONCE):
        check()
        moments = []
        for number, (frames, speech) in zip(members, engine.signals([clips[one][0] for one in members]), strict=True):
            begins, ends = _clip_spans(card, framing, *clips[number])
            sums = SpanSums()
            sums.add(frames)
            moments.append(sums.moments(begins, ends))
            results[number] = None, speech
        if not any(len(mean) for mean, _ in moments):
            continue
        both = [np.concatenate(parts) for parts in zip(*moments, strict=True)]
        more = 0 if framing.whole else -len(both[0]) % _ROWS_AT_ONCE
        outputs = engine.read(*(np.pad(part, ((0, more), (0, 0))) for part in both))
        begin = 0
        for number, (mean, _) in zip(members, moments, strict=True):
            if len(mean):
                results[number] = part_of(outputs, begin, begin := begin + len(mean)), results[number][1]
    return results


def _batches(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Numbers of clips with samples, in groups of neighbouring lengths, of at most so many samples where there are several."""
    group: list[int] = []
    for number in sorted((one for one, size in enumerate(sizes) if size), key=lambda one: (sizes[one], one)):
        if group and (len(group) + 1) * sizes[number] > most:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _clip_spans(card: Card, framing: Framing, signal: Signal, duration: Fraction) -> tuple[np.ndarray, np.ndarray]:
    frames = -(-signal.size // card.frame_hop)
    if not framing.whole:
        return chunks_of(card, framing, FEWEST).spans(signal.size, duration)
    begin, end = framing.span(card.sampling_rate)
    fits = min(end, signal.size) - begin >= card.min_samples
    span = np.array([[begin, end]] if fits else np.zeros((0, 2)), np.int64)
    return spans_of_frames(span[:, 0], span[:, 1], card.frame_hop, frames)


def chunks_of(card: Card, framing: Framing, size: int) -> Chunks:
    """The object that cuts samples into chunks of `size` frames, with the windows of a framing."""
    return Chunks(framing, card.sampling_rate, hop=card.frame_hop, delay=card.delay, size=size)


def part_of(outputs: Outputs, begin: int, end: int) -> Outputs:
    """Some rows of outputs."""
    embeddings, scores, confidence = outputs
    return embeddings[begin:end], scores[begin:end], None if confidence is None else confidence[begin:end]


def one_pass_facts(card: Card) -> dict[str, str | float]:
    """What the provenance of a result says of a model of frames."""
    rate = card.sampling_rate
    return {
        "one_pass": (
            f"frames of {card.frame_hop / rate * 1000:g} ms, each computed from up to {card.look_back / rate:.4g} s before it and "
            f"{card.look_ahead / rate:.4g} s behind it, and pooled over each window; nothing stands before a recording or behind it"
        )
    }
