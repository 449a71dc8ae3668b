"""Models: loading them, and predictions of recordings as trajectories and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from emow2v import cards
from emow2v.audio import recording as audio
from emow2v.audio.recording import Channel, Source
from emow2v.engines import Engine, Outputs, check_int8, choose
from emow2v.errors import AudioError, Closed, FramingError
from emow2v.framing import Context as Context
from emow2v.framing import Framing, Signal
from emow2v.framing import Unit as Unit
from emow2v.prediction import trajectories
from emow2v.prediction.blocks import no_values as no_values
from emow2v.prediction.computation import Computation, go_on
from emow2v.prediction.processes import ModelReference, pickled
from emow2v.prediction.tables import Tables
from emow2v.prediction.trajectories import Progress
from emow2v.rows import Block
from emow2v.stream import Stream as Stream
from emow2v.trajectory import Trajectory

if TYPE_CHECKING:
    from emow2v.speech.segments import Segmentation


@dataclass(frozen=True)
class Options:
    """The options of `load`, which describes them."""

    engine: str = "auto"
    precision: str = ""
    threads: int = 0
    device: str = "auto"

    def open(self, card: cards.Card) -> Model:
        """Open the model of a card with the chosen engine; errors are those of `load`."""
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
    """Load a model.

    Args:
        model: name, or folder of a package or of a Hugging Face checkpoint
        engine: auto, openvino, onnxruntime or torch
        precision: numeric precision: "fp32", "bf16", "fp16" (on a GPU), "int8" (with a quantised package);
            "" for float32, or for int8 if the package is quantised
        threads: CPU threads; 0 for all cores that the process may use
        device: for the engine torch: auto, cpu, cuda or mps

    >>> import emow2v
    >>> model = emow2v.load("lite")
    >>> model.name
    'lite'

    Raises:
        ModelError: the model or the engine does not exist, or files are damaged
    """
    check_int8(engine, precision)
    card = cards.for_precision(cards.find(model), precision)
    return Options(engine, precision, threads, device).open(card)


class Model(Tables):
    """A network with its card and engine, opened by `load`.

    Several threads may share a model. `close`, or `with`, frees the engine. A model can be pickled: another process
    loads the same package once, and refuses other weights. Predictions with a closed model raise `Closed`.

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
        """Free the engine. Iterations that have begun may end."""
        self._open = None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._open is None

    def __reduce__(self) -> tuple[Callable[[ModelReference], Model], tuple[ModelReference]]:
        if self._options is None:
            raise TypeError("Only a model that emow2v.load opened can be sent to another process; load it there.")
        return pickled(self, self.card, self._options)

    def __repr__(self) -> str:
        return f"<Model {self.name} {self.card.version}{' (closed)' if self.closed else ''}>"

    @property
    def name(self) -> str:
        """The model's name, such as lite."""
        return self.card.name

    @property
    def engine(self) -> Engine:
        """The engine that runs the model. Its `name` and `precision` are in every provenance.

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
        """Predict one value for a signal, with the names of results that audonnx uses.

        Args:
            signal: [samples] or [channels, samples], about -1..1; channels are mixed
            sampling_rate: Hz

        Returns:
            hidden_states: float32 [1, 1024]
            logits: float32 [1, 3], arousal, dominance, valence

        Raises:
            AudioError: as for `predict`
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
        max_duration_s: float = 0,
        track: int | None = None,
        channel: Channel = "mix",
        name_channel: str = "",
        speech: bool = False,
        on_speech: Callable[[Signal], None] | None = None,
    ) -> Trajectory:
        """Predict a recording. Rows are computed when the trajectory is iterated, or when they are needed.

        Args:
            source: path or address (s3://, https://, see docs/stores.md), binary file object, or array, tensor or list
                [samples] or [channels, samples]
            sampling_rate: Hz of an array
            unit: "windows" for values over time, "files" for one value for the whole recording
            framing: step, contexts and padding; default: one value every 40 ms, for the second before
            context: "window" computes each window separately; "shared" computes stretches of 8 s once, and pools the
                frames of each window. At 25 windows a second this is about 20 times less work; the scores differ
            batch_size: windows that are computed at once; None for as many as suit the model and the machine
            check: called often during the work; may raise to stop it
            on_progress: called after each block with the number of rows so far and the expected number (None if the
                recording does not state its duration); may raise to stop the work
            max_duration_s: maximum duration in seconds, of the recording or of its part until `end`; 0 for any duration
            track: number of the audio track, from 1; None for the track that is marked as default, or else the first
            channel: "mix" for the mean of all, "left", "right", or a channel's number from 1
            name_channel: the channel's name in tables; "" for tables without a column channel
            speech: also compute the probability of speech. Tables have no scores in rows without speech (below .5), and
                `mean` leaves these rows out; `scores` has the scores of all rows
            on_speech: called with the probabilities of frames (32 ms, or those of a model of frames), also without `speech`

        Raises:
            AudioError: the source cannot be decoded; raised here, or during the work
            TooLong: the recording is longer than `max_duration_s`; raised during the work
            FramingError: the model cannot compute such windows
        """
        framing = self._framing(unit, framing, context, batch_size)
        opener = trajectories.Opener(source, sampling_rate, self.card.sampling_rate, track=track, channel=channel)
        return trajectories.predict(
            lambda: self._computation,
            opener,
            framing,
            context=context,
            batch_size=batch_size,
            check=check,
            on_progress=on_progress,
            max_duration_s=max_duration_s,
            name_channel=name_channel,
            speech=speech,
            on_speech=on_speech,
        )

    def predict_turns(
        self,
        source: Source,
        sampling_rate: int | None = None,
        *,
        track: int | None = None,
        channel: Channel = "mix",
        name_channel: str = "",
        check: Callable[[], None] = go_on,
        on_progress: Progress | None = None,
        max_duration_s: float = 0,
        segments: str | Path | Segmentation | None = None,
        tiers: Sequence[str] = (),
        pool: bool = False,
        framing: Framing | None = None,
        context: Context = "window",
        batch_size: int | None = None,
        shortest_turn_ms: float = 250,
        longest_turn_ms: float = 15_000,
        bridged_pause_ms: float = 300,
        on_values: Callable[[Block], None] | None = None,
    ) -> Trajectory:
        """Predict the turns of a recording in one pass: a trajectory with one row for each turn.

        Rows also have speaker, tier, label, number of values, and share of speech. Turns that are too short have no scores.

        Args:
            source, sampling_rate, track, channel, name_channel, check, on_progress, max_duration_s, batch_size: as for `predict`
            segments: path of a segmentation (docs/segments.md), or the result of `read_segments`; None for the turns of the
                detector, which takes one more pass
            tiers: names of tiers, each with a channel if its sound is on one ("VP=right"); none for all independent tiers
            pool: False for one value a turn, which is nearer to listeners (docs/speech.md); True for the mean of the values
                over time whose window lies inside the turn
            framing, context: of the values over time
            shortest_turn_ms, longest_turn_ms, bridged_pause_ms: of the detector's turns, see `speech.turns.turns`
            on_values: called with each block of the values over time, if their mean is taken; once for each channel

        Raises:
            AudioError: as for `predict`; or nobody speaks in the recording
            FormatError: the segmentation cannot be read, has no such tier, or no turn within the recording
            FramingError: the model cannot compute such windows, or the detector's options are out of range
        """
        from emow2v.prediction import turns
        from emow2v.speech.segmentation import read_segments
        from emow2v.speech.segments import Segmentation

        if segments is not None and not isinstance(segments, Segmentation):
            path = source if isinstance(source, str | Path) else None
            segments = read_segments(segments, tiers, recording=path)
        checked = self._framing("windows" if pool else "files", framing if pool else None, context, batch_size)
        request = turns.TurnRequest(
            segments,
            {"shortest_turn_ms": shortest_turn_ms, "longest_turn_ms": longest_turn_ms, "bridged_pause_ms": bridged_pause_ms},
            checked if pool else None, context, batch_size, check, max_duration_s, channel, name_channel, on_values,
        )  # fmt: skip
        opener = trajectories.Opener(source, sampling_rate, self.card.sampling_rate, track=track, channel=channel)
        return turns.predict(lambda: self._computation, opener, request, on_progress)

    def predict_channels(
        self,
        source: Source,
        sampling_rate: int | None = None,
        *,
        track: int | None = None,
        turns: bool = False,
        **options: Any,
    ) -> list[Trajectory]:
        """Predict each channel of a recording, named left and right, or by number; one trajectory for each.

        Args:
            source, sampling_rate, track: as for `predict`, but not a stream, which can be read only once
            turns: rows are turns, as for `predict_turns`; turns of a tier that is tied to a channel are in its result only
            options: those of `predict`, or of `predict_turns`

        Raises:
            AudioError: as for `predict`, and for a stream
        """
        if trajectories.can_be_read_once(source):
            raise AudioError("A stream can be read only once; save it as a file to have each of its channels.")
        source = audio.stored(source)
        opened = audio.open_recording(source, sampling_rate, target_rate=self.card.sampling_rate, track=track)
        opened.close()
        count = int(opened.facts["channels"] or 1)
        names = ["left", "right"] if count == 2 else [str(number + 1) for number in range(count)]
        options |= {"track": track}
        predict = self.predict_turns if turns else self.predict
        return [
            predict(source, sampling_rate, channel=number, name_channel=name, **options)
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
        """Predict many short signals of equal or different lengths. The numbers are those of `predict`.

        Windows of equal length share batches. All rows are computed when this returns.

        Args:
            signals: arrays [samples] or [channels, samples], as for `predict`; or one array [clips, samples]
            sampling_rate: Hz of all signals
            unit, framing, batch_size, check: as for `predict`

        >>> import numpy as np
        >>> import emow2v
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 32000)
        >>> clips = emow2v.load("lite").predict_batch([noise[:20000], noise], 16000, unit="files")
        >>> np.concatenate([clip.embeddings for clip in clips]).shape
        (2, 1024)

        Raises:
            AudioError: `predict` refuses a signal, or a signal is too short; the sentence has its index
            FramingError: the model cannot compute such windows
        """
        framing = self._framing(unit, framing, "window", batch_size)
        return trajectories.predict_batch(self._computation, signals, sampling_rate, framing, batch_size, check)

    def stream(
        self,
        framing: Framing | None = None,
        *,
        sampling_rate: int | None = None,
        batch_size: int | None = None,
        speech: bool = False,
    ) -> Stream:
        """Open a live prediction. Blocks are returned as soon as their windows are complete; the numbers are those of a file.

        Args:
            framing, batch_size: as for `predict`
            sampling_rate: Hz of the samples; default: that of the model. The resampler delays other rates by about 10 ms
            speech: blocks also have the probability of speech of each row

        Raises:
            FramingError: the model cannot compute such windows, or the sampling rate is not supported
        """
        framing = framing or Framing()
        self.check(framing)
        return Stream(self, framing, self.batch_size(framing, batch_size), sampling_rate=sampling_rate, speech=speech)

    def provenance(self, framing: Framing, context: Context = "window") -> dict[str, str | float]:
        """The facts that are needed to judge a result or to compute it again, as strings and numbers."""
        return self._computation.provenance(framing, context)

    def check(self, framing: Framing, context: Context = "window") -> None:
        """Refuse windows that the model cannot compute: `FramingError`, or `ModelError` without shared context."""
        self._computation.check(framing, context)

    def batch_size(self, framing: Framing, batch_size: int | None = None) -> int:
        """Number of windows in a batch: `batch_size`, or as many as suit the model and the device's memory."""
        return self._computation.batch_size(framing, batch_size)

    def run(self, windows: Signal, check: Callable[[], None] = go_on) -> Outputs:
        """Compute windows that the caller cut. Windows that are too long for the model are computed in pieces and averaged.

        Args:
            windows: float32 [batch, samples] at the model's sampling rate, about -1..1

        Returns:
            embeddings float32 [batch, 1024], scores float32 [batch, 3], confidence float32 [batch, 3] or None

        Raises:
            FramingError: the windows are too short for the model
        """
        return self._computation.run(windows, check)

    def _framing(self, unit: Unit, framing: Framing | None, context: Context, batch_size: int | None) -> Framing:
        """Check unit, framing, context and batch size, and return the framing of a prediction."""
        if unit not in ("windows", "files"):
            raise FramingError(f"unit is '{unit}'; expected windows or files.")
        if batch_size is not None and batch_size < 1:
            raise FramingError(f"batch_size is {batch_size}; expected 1 or more.")
        framing = framing or (Framing() if unit == "windows" else Framing.files())
        if unit == "files" and not framing.whole:
            framing = Framing.files(start_ms=framing.start_ms, end_ms=framing.end_ms)
        self.check(framing, context)
        return framing
