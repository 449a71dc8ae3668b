"""The computation of a model: windows of one recording, or of many recordings in shared batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from emow2v._version import __version__
from emow2v.audio.recording import Recording
from emow2v.cards import Card
from emow2v.engines import Engine, Outputs, overlapped
from emow2v.engines.frames import FramesEngine
from emow2v.engines.outputs import WeightedMean, stacked
from emow2v.engines.shared_context import SHARED, SharedContext, check_shared
from emow2v.errors import AudioError, Emow2vError, FramingError
from emow2v.framing import Context, Framing, Signal
from emow2v.framing.windows import Pieces, Windower
from emow2v.prediction.batches import rows_of_each
from emow2v.prediction.blocks import blocks_of, cut, no_values, samples_between, whole_block, with_checks
from emow2v.prediction.one_pass import OnePass, SpanValues, one_pass_facts
from emow2v.rows import Block
from emow2v.storage import counted


def go_on() -> None:
    """The default of `check`: continue."""


class Computation:
    """The computation of one model: checks of windows, batch sizes, provenance and outputs.

    Args:
        card: of the model
        engine: runs the model
    """

    def __init__(self, card: Card, engine: Engine) -> None:
        self.card = card
        self.engine = engine

    def check(self, framing: Framing, context: Context = "window") -> None:
        """Refuse windows that the model cannot compute; see `Model.check`."""
        if context not in ("window", "shared"):
            raise FramingError(f"context is '{context}'; expected window or shared.")
        rate = self.card.sampling_rate
        if context == "shared":
            check_shared(self.card, framing)
        if not framing.whole and framing.window_samples(rate) < self.card.min_samples:
            raise FramingError(
                f"A window of {float(framing.window_ms):g} ms is too short for {self.card.name}; "
                f"expected at least {self.card.min_samples / rate * 1000:g} ms with its contexts."
            )

    def provenance(self, framing: Framing, context: Context = "window") -> dict[str, str | float]:
        """The facts that a reader needs to judge a result or to compute it again; see `Model.provenance`."""
        facts: dict[str, str | float] = {
            "model": self.card.name,
            "model_version": self.card.version,
            "weights_sha256": self.card.sha256,
            "licence": self.card.licence,
            "citation": self.card.citation,
            "engine": self.engine.name,
            "precision": self.engine.precision,
            "software": f"emow2v {__version__}",
            "frame_step_ms": float(framing.step_ms),
            "frame_size_ms": float(framing.core_ms),
            "left_context_ms": float(framing.left_context_ms),
            "right_context_ms": float(framing.right_context_ms),
            "padding": framing.padding,
            "context": context,
            "covers": framing.covers,
        }
        if framing.align != "step":
            facts["align"] = framing.align
        if context == "shared":
            facts["shared_context"] = SHARED
        if self.card.one_pass:
            facts |= one_pass_facts(self.card)
        if framing.start_ms:
            facts["start_ms"] = float(framing.start_ms)
        if framing.end_ms:
            facts["end_ms"] = float(framing.end_ms)
        longest = self.card.max_samples
        if self.card.one_pass:
            return facts
        if framing.whole or framing.window_samples(self.card.sampling_rate) > longest:
            facts["long_windows"] = (
                f"what is longer than {longest / self.card.sampling_rate:g} s is cut into pieces of that length, the last "
                "one ending with the window, and averaged by the length of audio that each adds"
            )
        return facts

    def batch_size(self, framing: Framing, batch_size: int | None = None) -> int:
        """Number of windows in a batch; see `Model.batch_size`."""
        if framing.whole:
            return 1
        samples = min(framing.window_samples(self.card.sampling_rate), self.card.max_samples)
        size = batch_size or self.suitable(samples)
        return min(size, self.card.max_batch or size)

    def suitable(self, samples: int) -> int:
        """Number of windows of `samples` samples that suit the model and the device's memory."""
        suitable = max(1, (self.engine.batch_samples or self.card.batch_samples) // samples)
        return min(suitable, self.card.max_batch or suitable)

    def blocks(
        self,
        recording: Recording,
        framing: Framing,
        context: Context = "window",
        batch_size: int | None = None,
        check: Callable[[], None] = go_on,
        speech: bool = False,
        on_speech: Callable[[Signal], None] | None = None,
    ) -> Generator[Block]:
        """The rows of one recording, block by block, as they are computed; with their probability of speech if asked for."""
        if isinstance(self.engine, FramesEngine):
            yield from self._frame_blocks(self.engine, recording, framing, check, speech, on_speech)
            return
        if speech or on_speech is not None:
            from emow2v.prediction.speech import Detector, RowSpeech, speech_frame_ms  # loads the detector

            of_rows = RowSpeech(framing, speech_frame_ms(self.card), on_speech)
            recording.tee(Detector(of_rows, self.card.sampling_rate).pass_on)
            with contextlib.closing(self.blocks(recording, framing, context, batch_size, check)) as blocks:
                for block in blocks:
                    yield replace(block, speech=of_rows.values.of(block.first, len(block))) if speech else block
            return
        if framing.whole:
            yield self._whole(recording, framing, check)
            return
        if context == "shared":
            shared = SharedContext(self.card, self.engine, framing)
            stretches = ((one.first, one) for one in cut(recording, shared.stretches(), check))
            computed = overlapped(self.engine, stretches, shared.run)
        else:
            windower = Windower(framing, self.card.sampling_rate, self.batch_size(framing, batch_size))
            computed = self.outputs(cut(recording, windower, check), framing, check)
        yield from blocks_of(computed, recording, framing, check)

    def _frame_blocks(
        self, engine: FramesEngine, recording: Recording, framing: Framing, check: Callable[[], None], speech: bool,
        on_speech: Callable[[Signal], None] | None,
    ) -> Generator[Block]:  # fmt: skip
        """`blocks` of a model of frames, which says itself where somebody speaks."""
        from emow2v.prediction.speech import RowSpeech, speech_frame_ms

        of_rows = RowSpeech(framing, speech_frame_ms(self.card), on_speech)
        if framing.whole:
            begin, end = framing.span(self.card.sampling_rate)
            pooled = SpanValues(self.card, engine, [(begin, end)], of_rows.add, all_samples=not framing.end_ms)
            outputs = dict(pooled.values(recording, check)).get(0)
            if outputs is None:
                raise self._too_short(recording, framing)
            blocks = iter([whole_block(framing, (min(end, pooled.samples) - begin) / self.card.sampling_rate, outputs)])
        else:
            one_pass = OnePass(self.card, engine, framing, of_rows.add)
            computed = one_pass.outputs(cut(recording, one_pass.chunks(engine.chunk), check))
            blocks = blocks_of(computed, recording, framing, check)
        for block in blocks:
            yield replace(block, speech=of_rows.values.of(block.first, len(block))) if speech else block

    def outputs(
        self, batches: Iterator[tuple[int, Signal]], framing: Framing, check: Callable[[], None]
    ) -> Generator[tuple[int, Outputs]]:
        """Outputs of numbered batches of windows. Windows that are too long for the model are computed in pieces."""
        if framing.window_samples(self.card.sampling_rate) > self.card.max_samples:
            return self._in_pieces(batches, check)
        return overlapped(self.engine, batches, self.engine.run_parallel)

    def _whole(self, recording: Recording, framing: Framing, check: Callable[[], None]) -> Block:
        """The one row of a whole recording, or of its part between start and end."""
        rate = self.card.sampling_rate
        mean, pieces = WeightedMean(), Pieces(self.card.max_samples)
        used = 0

        def weighted() -> Iterator[tuple[int, Signal]]:
            nonlocal used
            for part in samples_between(recording, framing, check):
                used += part.size
                for piece, weight in pieces.add(part):
                    yield weight, piece[None]
            if used < self.card.min_samples:
                raise self._too_short(recording, framing)
            for piece, weight in pieces.finish():
                yield weight, piece[None]

        found = weighted()
        first = list(islice(found, 2))
        if len(first) == 1:  # the only piece gets all cores
            return whole_block(framing, used / rate, self.engine.run(first[0][1]))
        with contextlib.closing(overlapped(self.engine, chain(first, found), self.engine.run_parallel)) as computed:
            for weight, outputs in computed:
                mean.add(outputs, weight)
        return whole_block(framing, used / rate, mean.result())

    def _too_short(self, recording: Recording, framing: Framing) -> AudioError:
        needed_s = self.card.min_samples / self.card.sampling_rate
        return no_values(recording.name, recording.duration, framing, needed_s)

    def _in_pieces(
        self, batches: Iterable[tuple[int, Signal]], check: Callable[[], None]
    ) -> Generator[tuple[int, Outputs]]:
        for number, windows in batches:
            yield number, self.run(windows, check)

    def batch(
        self, recordings: Sequence[Recording], framing: Framing, batch_size: int | None, check: Callable[[], None]
    ) -> list[Block | Emow2vError]:
        """The rows of each of many short recordings, or its error. Different recordings share batches. Those of a model of
        frames have their probability of speech."""
        return rows_of_each(self, recordings, framing, batch_size, check)

    def run(self, windows: Signal, check: Callable[[], None] = go_on) -> Outputs:
        """Outputs of windows [batch, samples] of any length; see `Model.run`."""
        if windows.shape[1] < self.card.min_samples:
            raise FramingError(
                f"Windows of {counted(windows.shape[1], 'sample')} are too short for {self.card.name}; "
                f"expected {self.card.min_samples} or more."
            )
        longest = self.card.max_samples
        size = self.suitable(min(windows.shape[1], longest))
        if len(windows) > size:
            batches = ((begin, windows[begin : begin + size]) for begin in range(0, len(windows), size))
            if windows.shape[1] > longest:
                return stacked([outputs for _, outputs in self._in_pieces(batches, check)])
            computed = overlapped(self.engine, with_checks(batches, check), self.engine.run_parallel)
            return stacked([outputs for _, outputs in computed])
        check()
        if windows.shape[1] <= longest:
            return self.engine.run(windows)
        mean = WeightedMean()
        total = windows.shape[1]
        for begin in range(0, total, longest):
            check()
            weight = min(longest, total - begin)
            first = min(begin, total - longest)
            mean.add(self.engine.run(windows[:, first : first + longest]), weight)
        return mean.result()
