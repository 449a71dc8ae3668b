"""Models of frames: one graph computes frames of 40 ms chunk by chunk, another one reads scores from spans of them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emow2v.cards import Card
from emow2v.engines import Floats, Outputs
from emow2v.errors import ModelError
from emow2v.framing import Signal
from emow2v.framing.chunks import FEWEST

Array = npt.NDArray[Any]
State = Mapping[str, Floats]

CHUNK = 128  # frames that are computed at a time, 5 s: longer chunks bring nothing
ROUND = 8  # frames of a batch of signals: a multiple of so many
MOST_BYTES = 50_000_000  # inputs of calls that are computed together: some 100 streams
SHORT = 4  # frames, 160 ms: steps up to here are computed by a graph of their own
ROWS = 1024  # spans that are read at a time
SPECTRA = "mel"  # the part of a state to which the spectra of a step are joined: the end of the front end


class Graph(Protocol):
    """A graph that is ready to run: inputs by name to outputs by name.

    Attributes:
        engine: name and version of what runs it
    """

    engine: str

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Floats]: ...


class ByLength:
    """The graph of a step: one for steps of up to `SHORT` frames, which is loaded when it is first needed, and one for others.

    Args:
        hop: samples of a frame
    """

    def __init__(self, graph: Graph, short: Callable[[], Graph], hop: int) -> None:
        self.engine = graph.engine
        self._graph, self._most = graph, SHORT * hop
        self._short = functools.cache(short)

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Floats]:
        return (self._graph if values["signal"].shape[1] > self._most else self._short())(values)


class Combined:
    """A graph whose calls by several threads are computed together: those that come while another one is computed are the
    rows of one batch. Nobody waits for calls to come.

    Args:
        join: makes one input of those of several calls

    Attributes:
        join: the same
    """

    def __init__(self, graph: Graph, join: Callable[[list[Any]], Any] = np.concatenate) -> None:
        self.engine = graph.engine
        self._graph, self.join = graph, join
        self._waiting: list[_Call] = []
        self._queue, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Floats]:
        call = _Call(values)
        with self._queue:
            self._waiting.append(call)
        with self._turn:  # while it is another thread's, that one may compute this call, too
            if call.results is None and call.error is None:
                self._run(self._like(call))
        if call.error is not None:
            raise call.error
        assert call.results is not None
        return call.results

    def _like(self, call: _Call) -> list[_Call]:
        """Waiting calls that fit into a batch with one of them, which is the first; they wait no more."""
        with self._queue:
            others = [one for one in self._waiting if one is not call and one.shapes == call.shapes]
            calls = [call, *others[: max(0, MOST_BYTES // call.bytes - 1)]]
            self._waiting = [one for one in self._waiting if one not in calls]
        return calls

    def _run(self, calls: list[_Call]) -> None:
        first = calls[0].values
        values = {name: self.join([one.values[name] for one in calls]) for name in first} if calls[1:] else first
        try:
            results = self._graph(values)
        except ModelError as error:
            calls[0].error = error
            if calls[1:]:  # one of them is wrong, perhaps
                calls[0].error = None
                for one in calls:
                    self._run([one])
            return
        begin = 0
        for one in calls:
            rows = slice(begin, begin := begin + one.rows)
            one.results = {name: result[rows] for name, result in results.items()} if calls[1:] else results


class _Call:
    """Inputs of a graph, whose first axis is the rows of a batch, and its results or its error."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = values
        self.rows = len(next(iter(values.values())))
        self.shapes = [(name, value.shape[1:]) for name, value in values.items()]
        self.bytes = sum(value.nbytes for value in values.values()) or 1
        self.results: dict[str, Floats] | None = None
        self.error: ModelError | None = None


@dataclass(frozen=True)
class Row:
    """The state of one stream: a row of the states of streams that were computed together.

    Attributes:
        state: of those streams
        row: the stream's
        streams: how many they are
    """

    state: State
    row: int
    streams: int

    def separated(self) -> Row:
        """The same state, which keeps none of the others in memory."""
        if self.streams == 1:
            return self
        copies = {name: value[self.row : self.row + 1] for name, value in self.state.items()}
        copies = {
            name: value.copy() if isinstance(value, np.ndarray) else value.clone() for name, value in copies.items()
        }
        return Row(copies, 0, 1)


class SpanSums:
    """Running sums of frames, from which mean and variance of any span follow; float64, so that long signals lose nothing.

    Attributes:
        known: number of frames so far
    """

    def __init__(self) -> None:
        self.known = 0
        self._first = 0  # frames before the first sums that are kept
        self._space: npt.NDArray[np.float64] = np.zeros((0, 0))
        self._begin, self._end = 0, 1  # rows of the space that are sums: of no frame, one frame, ... behind `_first`

    def add(self, frames: Floats) -> None:
        """Add the frames that follow, float32 [frames, width]."""
        begin, width = self._row_behind(len(frames), 2 * frames.shape[1]), frames.shape[1]
        added = self._space[begin : begin + len(frames)]
        added[:, :width] = frames
        np.square(added[:, :width], out=added[:, width:])
        before = self._space[begin - 1]
        for row in added:  # rows fit the cache: np.cumsum takes three times as long
            row += before
            before = row
        self._end += len(frames)
        self.known += len(frames)

    def _row_behind(self, more: int, width: int) -> int:
        """The row behind the sums, with space for so many rows from there on."""
        kept = self._end - self._begin
        if self._end + more > len(self._space):
            old = self._space[self._begin : self._end]
            if 2 * (kept + more) > len(self._space):  # else the sums are moved to the beginning
                self._space = np.zeros((2 * (kept + more), width))
            if old.size:
                self._space[:kept] = old
            self._begin, self._end = 0, kept
        return self._end

    def moments(self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Mean and variance [spans, width] of spans of one frame or more."""
        row = self._begin - self._first
        sums = self._space.take(ends + row, axis=0)
        sums -= self._space.take(begins + row, axis=0)
        sums /= (ends - begins)[:, None]
        mean, square = np.split(sums, 2, axis=1)
        return _moments(mean, square)

    def drop(self, begin: int) -> None:
        """Forget the frames before `begin`."""
        if begin > self._first:
            self._begin += begin - self._first
            self._first = begin


def _rounded(frames: int) -> int:
    """A number of frames that is as large or a little larger: graphs compile parts of themselves for each new length."""
    return -(-frames // ROUND) * ROUND


def _moments(mean: Array, square: Array) -> tuple[Floats, Floats]:
    """Mean and variance, from the means of values and of their squares, float64."""
    return mean.astype(np.float32), np.maximum(square - mean * mean, 0).astype(np.float32)


class FrameTotals:
    """Sums of frames, from which their mean and variance follow; float64, so that long stretches lose nothing."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: npt.NDArray[np.float64] = np.zeros((2, 0))

    def add(self, frames: Floats) -> None:
        """Add frames, float32 [frames, width]."""
        exact = frames.astype(np.float64)
        sums = np.stack([exact.sum(axis=0), (exact * exact).sum(axis=0)])
        self._sums = self._sums + sums if self.count else sums
        self.count += len(frames)

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and variance [1, width] of the frames, one or more."""
        mean, square = self._sums[:, None] / self.count
        return _moments(mean, square)


class FramesEngine:
    """A model of frames that is ready to run; an `Engine`, whose windows are signals by themselves.

    Args:
        step: the graph of a chunk of streams
        readout: the graph from mean and variance of frames
        chunk: frames of a recording that are best computed at a time
        batch_samples: samples of a batch of recordings for which the device has memory; None for the usual number
        precision: of the step behind its front end
    """

    def __init__(
        self,
        card: Card,
        step: Graph,
        readout: Graph,
        *,
        chunk: int = CHUNK,
        batch_samples: int | None = None,
        precision: str = "fp32",
    ) -> None:
        self.name, self.precision = step.engine, precision
        self.parallel_batches = 1  # a step uses all threads
        self.batch_samples = batch_samples
        self.chunk = chunk
        self._card, self._step, self._readout = card, step, readout

    def start(self, streams: int) -> State:
        """The state before the first sample of streams."""
        return {name: np.zeros((streams, *size), np.float32) for name, size in self._card.states.items()}

    def step(self, signal: Floats, lengths: npt.NDArray[np.int64], state: State) -> tuple[Floats, Floats, State]:
        """The frames of the next chunk of streams.

        Args:
            signal: float32 [streams, samples], a whole number of frames, two or more
            lengths: int64 [streams], how many samples of each row exist
            state: of the step before, or `start`

        Returns:
            frames [streams, frames, width], late by the card's `delay`; the probability of speech in each [streams, frames];
            and the next state
        """
        named = self._step({"signal": signal, "length": np.asarray(lengths, np.int64), **state})
        return named["frames"], named["speech"], {name: named[f"next.{name}"] for name in state}

    def joined(self, rows: Sequence[Row]) -> State:
        """The state of streams, from those of each, for `step`. Those that were computed together are not copied."""
        first = rows[0]
        if len(rows) == first.streams and all(one.state is first.state and one.row == k for k, one in enumerate(rows)):
            return first.state
        join = self._step.join if isinstance(self._step, Combined) else np.concatenate
        return {name: join([one.state[name][one.row : one.row + 1] for one in rows]) for name in self._card.states}

    def read(self, mean: Floats, variance: Floats) -> Outputs:
        """Embeddings, scores and confidence of spans, from mean and variance of their frames [spans, width]."""
        parts = [
            self._readout({"mean": mean[begin : begin + ROWS], "variance": variance[begin : begin + ROWS]})
            for begin in range(0, len(mean), ROWS)
        ]
        embeddings, scores = (np.concatenate([part[name] for part in parts]) for name in ("hidden_states", "logits"))
        confidence = np.concatenate([part["confidence"] for part in parts]) if "confidence" in parts[0] else None
        return embeddings, scores, confidence

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """See `Engine.run`. Rows of different lengths share a batch."""
        hop = self._card.frame_hop
        batch, samples = signal.shape
        lengths = np.full(batch, samples) if lengths is None else lengths
        totals = _Totals(self, self._card, batch)
        for begin in range(0, samples, self.chunk * hop):
            part = signal[:, begin : begin + self.chunk * hop]
            totals.add(np.pad(part, ((0, 0), (0, -part.shape[1] % hop))), np.clip(lengths - begin, 0, part.shape[1]))
        return totals.outputs()

    def signals(self, signals: Sequence[Signal]) -> list[tuple[Floats, Floats]]:
        """Frames [frames, width] and probabilities of speech [frames] of signals [samples] of any lengths, computed together."""
        hop, delay = self._card.frame_hop, self._card.delay
        lengths = np.array([signal.size for signal in signals], np.int64)
        total = _rounded(-(-int(lengths.max()) // hop) + delay)
        padded = np.zeros((len(signals), total * hop), np.float32)
        for row, signal in zip(padded, signals, strict=True):
            row[: signal.size] = signal
        state, steps = self.start(len(signals)), []
        for begin in range(0, total, self.chunk):
            part = padded[:, begin * hop : (begin + self.chunk) * hop]
            *step, state = self.step(part, np.clip(lengths - begin * hop, 0, part.shape[1]), state)
            steps.append(step)
        frames, speech = (np.concatenate(parts, axis=1) for parts in zip(*steps, strict=True))
        ends = delay + -(-lengths // hop)
        return [(frames[row, delay:end], speech[row, delay:end]) for row, end in enumerate(ends.tolist())]

    def run_parallel(self, signal: Floats) -> Outputs:
        return self.run(signal)

    def frames(self, signal: Floats) -> Floats:
        raise self._no_context()

    def frames_parallel(self, signal: Floats) -> Floats:
        raise self._no_context()

    def pooled(self, frames: Floats) -> Outputs:
        raise self._no_context()

    def _no_context(self) -> ModelError:
        return ModelError(f"{self._card.name} computes every recording in one pass; choose the context window.")


class _Totals:
    """Sums over all frames of streams."""

    def __init__(self, engine: FramesEngine, card: Card, streams: int) -> None:
        self._engine, self._hop, self._delay = engine, card.frame_hop, card.delay
        self._state, self._sums = engine.start(streams), np.zeros(())
        self._frames = np.zeros(streams, np.int64)
        self._late = card.delay

    def add(self, signal: Floats, lengths: npt.NDArray[np.int64]) -> None:
        """Add a chunk [streams, samples] of whole frames, whose rows have so many samples; no row goes on behind its end."""
        self._frames += -(-lengths // self._hop)
        fewest = max(signal.shape[1], FEWEST * self._hop)
        values, _, self._state = self._engine.step(
            np.pad(signal, ((0, 0), (0, fewest - signal.shape[1]))), lengths, self._state
        )
        nothing = min(self._late, values.shape[1])
        self._late -= nothing
        exact = values[:, nothing:].astype(np.float64)  # zeros behind the last frame of a row
        self._sums = self._sums + np.stack([exact.sum(axis=1), (exact * exact).sum(axis=1)])

    def outputs(self) -> Outputs:
        """Outputs of the rows, when all samples were added."""
        for begin in range(0, self._delay, self._engine.chunk):
            frames = min(self._engine.chunk, self._delay - begin)
            self.add(np.zeros((len(self._frames), frames * self._hop), np.float32), np.zeros_like(self._frames))
        mean, square = self._sums / np.maximum(self._frames, 1)[:, None]
        return self._engine.read(*_moments(mean, square))


def open_frames(name: str, card: Card, *, threads: int = 0, precision: str = "fp32") -> FramesEngine:
    """Load the graphs of a model of frames on OpenVINO or ONNX Runtime.

    Args:
        precision: "fp32", or on OpenVINO "bf16" for what comes behind the spectra; heads are always float32

    Raises:
        ModelError: the graphs cannot be run, or not in this precision
    """
    if name == "openvino":
        from emow2v.engines import openvino as runtime

        lower = {} if precision == "fp32" else {"precision": precision, "state": SPECTRA}
    else:
        from emow2v.engines import onnxruntime as runtime  # type: ignore[no-redef]

        lower = {}

    def load(name: str, **options: str) -> Graph:
        return runtime.NamedGraph(card.folder / name, threads=threads, **options)

    step = load(card.graph, **lower)
    if card.short:
        step = ByLength(step, lambda: load(card.short, **lower), card.frame_hop)
    return FramesEngine(card, Combined(step), Combined(load(card.readout)), precision=precision)
