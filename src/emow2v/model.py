"""A model: its card, the engine that runs it, and the way from recordings to trajectories and tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from emow2v import cards
from emow2v.audio import recording as audio
from emow2v.audio.recording import Channel, Source
from emow2v.engines import Engine, Outputs, choose
from emow2v.errors import AudioError, Closed, FramingError
from emow2v.framing import Context as Context
from emow2v.framing import Framing, Signal
from emow2v.framing import Unit as Unit
from emow2v.prediction import trajectories
from emow2v.prediction.blocks import no_values as no_values
from emow2v.prediction.computation import Computation, go_on
from emow2v.prediction.processes import Sent, sent
from emow2v.prediction.trajectories import Progress
from emow2v.stream import Stream as Stream
from emow2v.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

    from emow2v.archive.tables import Paths, Times


@dataclass(frozen=True)
class Options:
    """How `load` opens a model; see there."""

    engine: str = "auto"
    precision: str = ""
    threads: int = 0
    device: str = "auto"

    def open(self, card: cards.Card) -> Model:
        """The model of a card, on the engine that these options choose."""
        engine = choose(card, self.engine, precision=self.precision, threads=self.threads, device=self.device)
        return Model(card, engine, self)


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
        precision: numeric precision: "fp32", "bf16", "fp16" (on a GPU), "int8" (with a quantised package);
            "" for float32, or int8 where the model is a quantised package
        threads: CPU threads; 0 for every core that the process may use
        device: for the engine torch: auto, cpu, cuda or mps

    >>> import emow2v
    >>> model = emow2v.load("lite")
    >>> model.name
    'lite'

    Raises:
        ModelError: there is no such model or engine, or its files are damaged
    """
    card = cards.for_precision(cards.find(model), precision)
    return Options(engine, precision, threads, device).open(card)


class Model:
    """A network with its card and engine. Several threads may use one model; `close`, or `with`, frees the engine.

    It can be pickled: another process loads the same package once, and refuses other weights.

    Attributes:
        card: name, version, licence, citation and limits of the model
    """

    def __init__(self, card: cards.Card, engine: Engine, options: Options | None = None) -> None:
        self.card, self._options = card, options
        self._open: Computation | None = Computation(card, engine)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine; later predictions raise `Closed`. Iterations that are under way may end first."""
        self._open = None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._open is None

    def __reduce__(self) -> tuple[Callable[[Sent], Model], tuple[Sent]]:
        if self._options is None:
            raise TypeError("Only a model that emow2v.load opened can be sent to another process; load it there.")
        return sent(self, self.card, self._options)

    def __repr__(self) -> str:
        return f"<Model {self.name} {self.card.version}{' (closed)' if self.closed else ''}>"

    @property
    def name(self) -> str:
        """The model's name, such as lite."""
        return self.card.name

    @property
    def engine(self) -> Engine:
        """The engine that runs the model; its `name` and `precision` stand in every provenance.

        Raises:
            Closed: the model was closed
        """
        return self._computation.engine

    @property
    def _computation(self) -> Computation:
        if self._open is None:
            raise Closed(f"The model {self.name} is closed; expected an open one; load it again.")
        return self._open

    def __call__(self, signal: npt.ArrayLike, sampling_rate: int) -> dict[str, Signal]:
        """One signal as one window, with the names that audonnx uses.

        Args:
            signal: [samples] or [channels, samples]
            sampling_rate: Hz

        Returns:
            hidden_states: float32 [1, 1024]
            logits: float32 [1, 3], arousal, dominance, valence

        Raises:
            AudioError: as `predict`
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
        check: Callable[[], None] = go_on,
        on_progress: Progress | None = None,
        longest_s: float = 0,
        track: int | None = None,
        channel: Channel = "mix",
        name_channel: str = "",
    ) -> Trajectory:
        """The trajectory of a recording; it is computed when it is iterated or its rows are needed.

        Args:
            source: path, binary file object, or array [samples] or [channels, samples]; tensors and lists are arrays
            sampling_rate: Hz of an array
            unit: "windows" for values over time, "files" for one value for the whole recording
            framing: step, contexts and padding; default: a value every 40 ms for the second before
            context: "window" computes each window by itself, exactly; "shared" computes stretches of 8 s once and
                pools each window's frames out of them: some 20 times less work at 25 windows a second, other numbers
            batch_size: windows computed at once; None for as many as suit the model and the machine
            check: called often during the work; may raise to stop it
            on_progress: called after each block with the rows done and the rows expected (None where the recording
                does not state its duration); may raise to stop the work
            longest_s: longest recording in seconds, or longest part of it until `end`; 0 for any length
            track: number of the audio track, from 1; None for the one that is marked as default, or else the first
            channel: "mix" for the mean of all, "left", "right", or a channel's number from 1
            name_channel: the channel's name in tables; "" where they need none (`predict_channels` gives names)

        Raises:
            AudioError: the source cannot be decoded; raised here, or during the work
            TooLong: `longest_s` is reached; raised during the work, whatever duration the recording states
            FramingError: the model cannot compute such windows
        """
        framing = self._framing(unit, framing, context, batch_size)
        return trajectories.predict(
            lambda: self._computation,
            source,
            sampling_rate,
            framing,
            context=context,
            batch_size=batch_size,
            check=check,
            on_progress=on_progress,
            longest_s=longest_s,
            track=track,
            channel=channel,
            name_channel=name_channel,
        )

    def predict_channels(
        self, source: Source, sampling_rate: int | None = None, *, track: int | None = None, **options: Any
    ) -> list[Trajectory]:
        """A trajectory for each channel of a recording, with the channels' names: left and right, or numbers.

        Args:
            source: path or array; a stream can be read only once
            options: those of `predict`

        Raises:
            AudioError: as `predict`, or a stream
        """
        if trajectories.can_be_read_once(source):
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

    def predict_batch(
        self,
        signals: Iterable[npt.ArrayLike],
        sampling_rate: int,
        *,
        unit: Unit = "windows",
        framing: Framing | None = None,
        batch_size: int | None = None,
        check: Callable[[], None] = go_on,
    ) -> list[Trajectory]:
        """The trajectories of many short signals, of equal or different lengths, with the numbers that `predict` gives.

        Windows of equal length share batches, whichever signal they are from. All rows are computed when this returns.

        Args:
            signals: arrays [samples] or [channels, samples], as `predict` takes them; or one array [clips, samples]
            sampling_rate: Hz of all of them
            unit, framing, batch_size, check: as `predict`

        >>> import numpy as np
        >>> import emow2v
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 32000)
        >>> clips = emow2v.load("lite").predict_batch([noise[:20000], noise], 16000, unit="files")
        >>> np.concatenate([clip.embeddings for clip in clips]).shape
        (2, 1024)

        Raises:
            AudioError: a signal that `predict` refuses, or that is too short; the sentence has its index
            FramingError: the model cannot compute such windows
        """
        framing = self._framing(unit, framing, "window", batch_size)
        return trajectories.predict_batch(self._computation, signals, sampling_rate, framing, batch_size, check)

    def predict_files(
        self,
        files: Paths,
        starts: Times = None,
        ends: Times = None,
        *,
        root: str | os.PathLike[str] | None = None,
        unit: Unit = "windows",
        framing: Framing | None = None,
        context: Context = "window",
        batch_size: int | None = None,
        track: int | None = None,
        channel: Channel | Literal["each"] = "mix",
        embeddings: bool = False,
        errors: Literal["raise", "skip"] = "raise",
        progress: bool = False,
        on_progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Scores of many recordings, or of segments of them, in one table.

        Args:
            files: paths; one that comes with several starts is repeated
            starts, ends: of segments: seconds or timedeltas, one for all or one for each file; None or NaT for the
                recording's own. A value belongs to a segment if its step lies in it; its window may begin before
            root: folder that relative paths begin at; the table has the paths as they are given
            unit, framing, context, batch_size, track: as `predict`
            channel: as `predict`, or "each" for rows of each channel, named in the column channel
            embeddings: add the columns embedding_0 .. embedding_1023, 4 KB a row
            errors: "raise" stops at the first recording that fails; "skip" leaves it out, warns (`UserWarning`), and lists
                it in `attrs["errors"]`
            progress: show a bar on standard error
            on_progress: called after each segment with the number done and the number of all; may raise to stop

        Returns:
            Table indexed (file, start, end) as audformat and audinterface do it: arousal, dominance, valence and
            confidence (the lowest of the three). With unit "files" one row for each segment, with its start and end.
            `attrs` has the provenance that all recordings share, and as lists of {row, file, start, end, ...} with times in
            seconds "errors" (error: the sentence) and "notices" (notice: what is missing or unusual in the recording).

        Raises:
            AudioError: a recording cannot be decoded, or has no value in its segment
            FramingError: the times do not fit the files, or the model cannot compute such windows
        """
        from emow2v.archive import tables

        options: dict[str, Any] = {"framing": self._framing(unit, framing, context, batch_size), "context": context}
        options |= {"batch_size": batch_size, "track": track, "channel": channel}
        request = tables.Request(options, embeddings, errors, progress, on_progress)
        return tables.predict(self, tables.segments_of_files(files, starts, ends, root), request)

    def predict_index(
        self,
        index: pd.Index,
        *,
        root: str | os.PathLike[str] | None = None,
        preserve_index: bool = False,
        **options: Any,
    ) -> pd.DataFrame:
        """Scores of the files or segments of an index of audformat, in one table.

        Args:
            index: levels file, or file, start and end; NaT as the end for the recording's own
            root: folder that relative paths begin at
            preserve_index: the table has this very index, also where an end is NaT; needs unit="files"
            options: those of `predict_files`, from unit on

        Returns:
            As `predict_files`; with unit "files" indexed as the argument is, but for NaT, which is the recording's end

        Raises:
            Emow2vError: as `predict_files`, or another index
        """
        from emow2v.archive import tables

        if preserve_index:
            tables.check_preserved(options.get("unit", "windows"), options.get("channel", "mix"))
        files, starts, ends = tables.columns_of_index(index)
        table = self.predict_files(files, starts, ends, root=root, **options)
        return tables.preserve(table, index) if preserve_index else table

    def stream(
        self, framing: Framing | None = None, *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> Stream:
        """A live session: samples in, blocks out as soon as their windows are complete, with the numbers of a file.

        Args:
            sampling_rate: Hz of the samples; default: the model's own. Another rate delays values by some 10 ms, which
                the resampler looks ahead

        Raises:
            FramingError: the model cannot compute such windows
        """
        framing = framing or Framing()
        self.check(framing)
        return Stream(self, framing, self.batch_size(framing, batch_size), sampling_rate=sampling_rate)

    def provenance(self, framing: Framing, context: Context = "window") -> dict[str, str | float]:
        """The facts that a reader needs to judge a result or to compute it again, as strings and numbers."""
        return self._computation.provenance(framing, context)

    def check(self, framing: Framing, context: Context = "window") -> None:
        """Refuse windows that this model cannot compute: `FramingError`, or `ModelError` for shared context."""
        self._computation.check(framing, context)

    def batch_size(self, framing: Framing, batch_size: int | None = None) -> int:
        """Windows in a batch: `batch_size`, or as many as suit the model and the device's memory."""
        return self._computation.batch_size(framing, batch_size)

    def run(self, windows: Signal, check: Callable[[], None] = go_on) -> Outputs:
        """Windows that the caller cut, at the model's sampling rate; long ones are computed in pieces and averaged.

        Args:
            windows: float32 [batch, samples]

        Returns:
            embeddings float32 [batch, 1024], scores float32 [batch, 3], confidence float32 [batch, 3] or None

        Raises:
            FramingError: the windows are shorter than the model takes
        """
        return self._computation.run(windows, check)

    def _framing(self, unit: Unit, framing: Framing | None, context: Context, batch_size: int | None) -> Framing:
        """The framing of a prediction, when unit, framing, context and batch size were checked."""
        if unit not in ("windows", "files"):
            raise FramingError(f"unit is '{unit}'; expected windows or files.")
        if batch_size is not None and batch_size < 1:
            raise FramingError(f"batch_size is {batch_size}; expected 1 or more.")
        framing = framing or (Framing() if unit == "windows" else Framing.files())
        if unit == "files" and not framing.whole:
            framing = Framing.files(start_ms=framing.start_ms, end_ms=framing.end_ms)
        self.check(framing, context)
        return framing
