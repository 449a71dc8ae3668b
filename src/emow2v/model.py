"""A model: its card, an engine that runs it, and the one corridor from a recording to its trajectory."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v import cards, storage
from emow2v._version import __version__
from emow2v.audio import recording as audio
from emow2v.audio.recording import Channel, Recording, Source
from emow2v.blocks import block_of, blocks_of, checked, expected_rows, fed
from emow2v.blocks import no_values as no_values
from emow2v.engines import Engine, Outputs, choose, overlapped
from emow2v.engines.outputs import WeightedMean, stacked
from emow2v.engines.shared_context import SHARED, SharedContext, check_shared
from emow2v.errors import AudioError, FramingError, PathError
from emow2v.framing import Context as Context
from emow2v.framing import Framing, Signal
from emow2v.framing import Unit as Unit
from emow2v.framing.windows import Pieces, Windower
from emow2v.storage import counted
from emow2v.stream import SAMPLING_RATES
from emow2v.stream import Stream as Stream
from emow2v.trajectory import Block, Info, Trajectory


def _is_pipe(source: Source) -> bool:
    try:
        return isinstance(source, str | os.PathLike) and storage.kind_of(source) == "other"
    except PathError:  # told where it is opened
        return False


def _go_on() -> None:
    """Nothing asks to stop."""


def load(
    model: str | Path = "lite",
    *,
    engine: str = "auto",
    precision: str = "",
    threads: int = 0,
    device: str = "auto",
) -> Model:
    """Load a model by name or from its folder (a package, or a Hugging Face checkpoint), ready to predict.

    Args:
        engine: auto, openvino, onnxruntime or torch
        precision: of the arithmetic: "fp32", "bf16", "fp16" (on a GPU), "int8" (with a quantised package);
            "" for float32, or int8 where the model is a quantised package
        threads: CPU threads; 0 takes every core the process may use
        device: for the engine torch: auto, cpu, cuda or mps

    >>> import emow2v
    >>> model = emow2v.load("lite")
    >>> model.name
    'lite'

    Raises:
        ModelError: no such model or engine, or its files are not whole
    """
    card = cards.for_precision(cards.find(model), precision)
    return Model(card, choose(card, engine, precision=precision, threads=threads, device=device))


class Model:
    """A network with its card and the framing of recordings; safe to use from several threads."""

    def __init__(self, card: cards.Card, engine: Engine) -> None:
        self.card = card
        self.engine = engine

    @property
    def name(self) -> str:
        return self.card.name

    def __call__(self, signal: npt.NDArray[np.generic], sampling_rate: int) -> dict[str, Signal]:
        """One signal as one window, in audonnx's words.

        Args:
            signal: [samples] or [channels, samples]
            sampling_rate: Hz

        Returns:
            hidden_states: float32 [1, 1024]
            logits: float32 [1, 3], arousal, dominance, valence
        """
        with self.predict(signal, sampling_rate, unit="files") as trajectory:
            block = next(iter(trajectory))
        return {"hidden_states": block.embeddings, "logits": block.scores}

    def predict(
        self,
        source: Source,
        sampling_rate: int | None = None,
        *,
        unit: Unit = "windows",
        framing: Framing | None = None,
        context: Context = "window",
        batch_size: int | None = None,
        check: Callable[[], None] = _go_on,
        longest_s: float = 0,
        track: int | None = None,
        channel: Channel = "mix",
        name_channel: str = "",
    ) -> Trajectory:
        """The trajectory of a recording; the work is done when it is iterated or asked for its rows.

        Args:
            source: path, binary file object, or array [samples] or [channels, samples]
            sampling_rate: Hz of an array
            unit: "windows" for values over time, "files" for one value over all
            framing: step, contexts and padding; default: a value every 40 ms over the second before
            context: "window" computes every window by itself, exactly; "shared" computes stretches of 8 s once and
                pools each window's frames out of them: some 20 times less work at 25 windows a second, other numbers
            batch_size: windows given to the engine at once; None for what the model and the machine are good for
            check: called often while the work goes on; may raise to stop it
            longest_s: of the recording, or of it until `end`; 0 for any length
            track: number of its track of sound, from 1; None for the one that is marked as default, or else the first
            channel: "mix" for the mean of all, "left", "right", or a channel's number from 1
            name_channel: what tables call the channel; "" where they need no name (`predict_channels` gives names)

        Raises:
            AudioError: nothing there that can be decoded (found when the source is opened, here)
            TooLong: found when so much has been decoded, whatever the recording says of itself
            FramingError: a framing the model cannot take
        """
        if unit not in ("windows", "files"):
            raise FramingError(f"unit is '{unit}'; expected windows or files.")
        if batch_size is not None and batch_size < 1:
            raise FramingError(f"batch_size is {batch_size}; expected 1 or more.")
        framing = framing or (Framing() if unit == "windows" else Framing.files())
        if unit == "files" and not framing.whole:
            framing = Framing.files(start_ms=framing.start_ms, end_ms=framing.end_ms)
        self.check(framing, context)
        rate = self.card.sampling_rate
        # what cannot be opened again for another pass: a stream, a pipe with a name
        once = hasattr(source, "read") or _is_pipe(source)
        opened = audio.open_recording(source, sampling_rate, target_rate=rate, track=track, channel=channel)
        waiting = [opened] if once or isinstance(source, np.ndarray) else []
        if not waiting:
            opened.close()
        expected = opened.expected_duration
        facts = self.provenance(framing, context) | opened.facts
        info = Info(
            source=opened.name,
            framing=framing,
            provenance=facts,
            channel=name_channel,
            expected_rows=None if expected is None else expected_rows(expected, framing),
        )

        def blocks() -> Iterator[Block]:
            recording = _taken(waiting)
            if once and recording is None:
                raise AudioError("A stream can be read only once; keep its rows or open it again.")
            recording = recording or opened.again()
            recording.longest_s = longest_s
            try:
                if framing.whole:
                    yield from self._whole(recording, framing, check)
                elif context == "shared":
                    yield from self._shared(recording, framing, check)
                else:
                    yield from self._framed(recording, framing, batch_size, check)
            finally:
                recording.close()
                info.notices[:] = recording.notices
                facts.update(recording.facts)
                if info.notices:
                    facts["notices"] = " ".join(info.notices)

        def close() -> None:
            while (recording := _taken(waiting)) is not None:
                recording.close()

        return Trajectory(info, blocks, close)

    def predict_channels(
        self, source: Source, sampling_rate: int | None = None, *, track: int | None = None, **options: Any
    ) -> list[Trajectory]:
        """A trajectory for each channel of a recording, by names that tables have: left and right, or numbers.

        Args:
            source: path or array; a stream can be read only once
            options: as `predict` takes them

        Raises:
            AudioError: as `predict`, or a stream
        """
        if hasattr(source, "read") or _is_pipe(source):
            raise AudioError("A stream can be read only once; save it as a file to have each of its channels.")
        opened = audio.open_recording(source, sampling_rate, target_rate=self.card.sampling_rate, track=track)
        opened.close()
        count = int(opened.facts["channels"] or 1)
        names = ["left", "right"] if count == 2 else [str(number + 1) for number in range(count)]
        options |= {"track": track}
        return [
            self.predict(source, sampling_rate, channel=number, name_channel=name, **options)
            for number, name in enumerate(names, 1)
        ]

    def stream(
        self, framing: Framing | None = None, *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> Stream:
        """A live session: samples in, blocks out as soon as their windows are complete, with a file's numbers.

        Args:
            sampling_rate: Hz of the samples; default: the model's own. Another rate delays values by what the resampler
                looks ahead, some 10 ms
        """
        framing = framing or Framing()
        self.check(framing)
        if sampling_rate is not None and sampling_rate not in SAMPLING_RATES:
            raise FramingError(f"sampling_rate is {sampling_rate}; expected 1000 to 768000 Hz.")
        return Stream(self, framing, self.at_once(framing, batch_size), sampling_rate=sampling_rate)

    def provenance(self, framing: Framing, context: Context = "window") -> dict[str, str | float]:
        """What a reader needs to know, or to compute the same again, in plain strings and numbers."""
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
        }
        if context == "shared":
            facts["shared_context"] = SHARED
        if framing.start_ms:
            facts["start_ms"] = float(framing.start_ms)
        if framing.end_ms:
            facts["end_ms"] = float(framing.end_ms)
        longest = self.card.max_samples
        if framing.whole or framing.window_samples(self.card.sampling_rate) > longest:
            facts["long_windows"] = (
                f"what is longer than {longest / self.card.sampling_rate:g} s is cut into pieces of that length, the last "
                "one ending with the window, and averaged by the length of audio that each adds"
            )
        return facts

    def check(self, framing: Framing, context: Context = "window") -> None:
        """Refuse what this model cannot compute.

        Raises:
            FramingError: windows too short, or too long to share their context
            ModelError: shared context with a model whose frames are not known
        """
        if context not in ("window", "shared"):
            raise FramingError(f"context is '{context}'; expected window or shared.")
        rate = self.card.sampling_rate
        if context == "shared":
            check_shared(self.card, framing)
        if not framing.whole and framing.window_samples(rate) < self.card.min_samples:
            raise FramingError(
                f"A window of {float(framing.window_ms):g} ms is too short for {self.name}; "
                f"expected at least {self.card.min_samples / rate * 1000:g} ms with its contexts."
            )

    def at_once(self, framing: Framing, batch_size: int | None = None) -> int:
        """Windows in a batch: what is asked for, or what the model and the device's memory are good for."""
        if framing.whole:
            return 1
        samples = min(framing.window_samples(self.card.sampling_rate), self.card.max_samples)
        wanted = batch_size or self._good(samples)
        return min(wanted, self.card.max_batch or wanted)

    def _good(self, samples: int) -> int:
        """Windows of so many samples that the model and the device's memory are good for at once."""
        good = max(1, (self.engine.batch_samples or self.card.batch_samples) // samples)
        return min(good, self.card.max_batch or good)

    def _framed(
        self, recording: Recording, framing: Framing, batch_size: int | None, check: Callable[[], None]
    ) -> Iterator[Block]:
        windower = Windower(framing, self.card.sampling_rate, self.at_once(framing, batch_size))
        batches = fed(recording, windower, check)
        if framing.window_samples(self.card.sampling_rate) > self.card.max_samples:
            done = self._in_pieces(batches, check)
        else:
            done = overlapped(self.engine, batches, self.engine.run_beside)
        yield from blocks_of(done, recording, framing, check)

    def _shared(self, recording: Recording, framing: Framing, check: Callable[[], None]) -> Iterator[Block]:
        shared = SharedContext(self.card, self.engine, framing)
        stretches = ((one.first, one) for one in fed(recording, shared.stretches(), check))
        done = overlapped(self.engine, stretches, shared.run)
        yield from blocks_of(done, recording, framing, check)

    def _whole(self, recording: Recording, framing: Framing, check: Callable[[], None]) -> Iterator[Block]:
        rate = self.card.sampling_rate
        begin, end = (round(float(ms or 0) * rate / 1000) for ms in (framing.start_ms, framing.end_ms))
        mean = WeightedMean()
        pieces = Pieces(self.card.max_samples)
        position = 0
        used = 0
        for samples in recording:
            part = samples[max(0, begin - position) : (end - position if end else None)]
            position += samples.size
            used += part.size
            check()
            for piece, weight in pieces.add(part):
                mean.add(self.engine.run(piece[None]), weight)
            if end and position >= end:
                break
        if used < self.card.min_samples:
            raise no_values(recording.name, Fraction(position, rate), framing, self.card.min_samples / rate)
        for piece, weight in pieces.finish():
            mean.add(self.engine.run(piece[None]), weight)
        start = float(framing.start_ms) / 1000
        stop = start + used / rate
        yield block_of(0, (np.array([start]), np.array([stop])), mean.result())

    def _in_pieces(
        self, batches: Iterator[tuple[int, Signal]], check: Callable[[], None]
    ) -> Generator[tuple[int, Outputs]]:
        for first, windows in batches:
            yield first, self.run(windows, check)

    def run(self, windows: Signal, check: Callable[[], None] = _go_on) -> Outputs:
        """Windows [batch, samples] of any length; long ones are cut and averaged.

        Raises:
            FramingError: windows shorter than the model takes
        """
        if windows.shape[1] < self.card.min_samples:
            raise FramingError(
                f"Windows of {counted(windows.shape[1], 'sample')} are too short for {self.name}; expected {self.card.min_samples} or more."
            )
        longest = self.card.max_samples
        at_once = self._good(min(windows.shape[1], longest))
        if len(windows) > at_once:
            batches = ((begin, windows[begin : begin + at_once]) for begin in range(0, len(windows), at_once))
            if windows.shape[1] > longest:
                return stacked([outputs for _, outputs in self._in_pieces(batches, check)])
            return stacked(
                [outputs for _, outputs in overlapped(self.engine, checked(batches, check), self.engine.run_beside)]
            )
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


def _taken(waiting: list[Recording]) -> Recording | None:
    """The recording that waits to be read, for one thread only."""
    try:
        return waiting.pop()
    except IndexError:
        return None
