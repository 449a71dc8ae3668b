"""How many live streams the machine can compute in real time: measured when a stream comes, and while streams run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from emow2v.cards import Card
from emow2v.engines.frames import FramesEngine
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.server.jobs.store import Busy

MAX_LOAD = 0.7  # share of the machine's time for all live streams together; the rest is for jobs
MAX_BUSY = 0.9  # share of the time in which steps were computed lately
LATE_S = 1.0  # a stream whose sound waits for so long is late
FRESH_S = 120  # a measurement is valid for so long, because the other load of the machine changes
DOUBTED_S = 10  # and for so long before a client is refused because of it
TOGETHER = 16  # streams of a model of frames in the measurement
AT_ONCE = 8  # windows at most
STEP = 4  # frames of each in it


class Running(Protocol):
    """The streams of one model that are computed."""

    @property
    def late_s(self) -> float:
        """By how many seconds the latest stream is late."""
        ...

    @property
    def busy(self) -> float:
        """Share of the last seconds in which steps were computed."""
        ...


@dataclass(frozen=True)
class _Kind:
    """Streams that take the same time.

    Attributes:
        weights: of the model
        length: milliseconds of a window, rounded up; 0 for a model of frames
        step_s: seconds from a window to the next; 1 for a model of frames
    """

    weights: str
    length: int
    step_s: float


class Capacity:
    """Admits streams.

    Args:
        max_streams: at the same time; 0 for as many as the machine computes in real time, as measured
        running: the streams that are computed
        clock: seconds, for the age of a measurement

    Attributes:
        streams: number of admitted streams
    """

    def __init__(
        self,
        max_streams: int = 0,
        running: Callable[[], Iterable[Running]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_streams, self._running, self._clock = max_streams, running, clock
        self._measured: dict[tuple[str, int], tuple[float, float]] = {}  # seconds taken, and time of measurement
        self._admitted: dict[object, _Kind] = {}
        self._lock = threading.Lock()  # held for short times

    @property
    def streams(self) -> int:
        return len(self._admitted)

    @property
    def late_s(self) -> float:
        """By how many seconds the latest stream is late; 0 without streams."""
        return max((one.late_s for one in self._running()), default=0.0)

    @property
    def load(self) -> float:
        """Share of the machine's time that the admitted streams take, as it was measured last."""
        with self._lock:
            return sum(self._taken(kind) for kind in self._admitted.values())

    def possible(self) -> int | None:
        """Number of streams like those that run, or like the last one, that stay in real time; None if none was measured."""
        if self._max_streams:
            return self._max_streams
        with self._lock:
            kinds = list(self._admitted.values())
            taken = [self._taken(kind) for kind in kinds] or [one for one, _ in list(self._measured.values())[-1:]]
        if not taken:
            return None
        mean = sum(taken) / len(taken)
        return max(1, math.floor(MAX_LOAD / mean + 1e-9)) if mean else None

    def admit(self, model: Model, framing: Framing) -> object:
        """Admit a stream; `leave` takes what this gives. One call at a time.

        Raises:
            Busy: the machine could not compute it in real time
        """
        kind = _Kind(model.card.sha256, 0, 1.0)
        if not isinstance(model.engine, FramesEngine):
            kind = _Kind(kind.weights, rounded_ms(float(framing.window_ms)), float(framing.step_ms) / 1000)
        self._measure(model, kind, FRESH_S)
        if not self._fits(kind):  # the machine may have been busy during the measurement
            self._measure(model, kind, DOUBTED_S)
        with self._lock:
            number = len(self._admitted)
        if not self._fits(kind):
            many = f"{number} live streams are as many as "
            if self._max_streams:
                raise Busy(f"{many}are taken here; try again later, or see --max-streams.")
            raise Busy(f"{many}stay in real time here; try again later, or with a longer frame_step.")
        if number and (late := self.late_s) > LATE_S:
            raise Busy(f"A live stream is {late:.1f} s late now, so no more are accepted; try again later.")
        ticket = object()
        with self._lock:
            self._admitted[ticket] = kind
        return ticket

    def leave(self, ticket: object) -> None:
        """A stream has ended."""
        with self._lock:
            del self._admitted[ticket]

    def _fits(self, kind: _Kind) -> bool:
        """Whether one more stream is possible; the first one always is."""
        if self._max_streams:
            return self.streams < self._max_streams
        with self._lock:
            more = self._taken(kind)
        return not self.streams or (
            self.load + more <= MAX_LOAD and sum(one.busy for one in self._running()) + more <= MAX_BUSY
        )

    def _taken(self, kind: _Kind) -> float:
        """Share of the machine's time that a stream takes."""
        return self._measured[kind.weights, kind.length][0] / kind.step_s

    def _measure(self, model: Model, kind: _Kind, fresh_s: float) -> None:
        """Measure the time of a stream, unless that was done at most `fresh_s` seconds ago."""
        key = kind.weights, kind.length
        if self._clock() - self._measured.get(key, (0.0, -math.inf))[1] <= fresh_s:
            return
        if isinstance(model.engine, FramesEngine):
            taken = share_of_frames(model.card, model.engine)
        else:
            longest = model.card.max_samples
            taken = seconds(model, min(longest, kind.length * model.card.sampling_rate // 1000))
        with self._lock:
            self._measured.pop(key, None)  # the last one is that of the last stream
            self._measured[key] = taken, self._clock()


def rounded_ms(window_ms: float) -> int:
    """A window's length as it is measured: rounded up to 0.1 s, above one second to 0.5 s.

    With few lengths, clients cannot choose how often the machine is measured.
    """
    step = 100 if window_ms <= 1000 else 500
    return max(step, math.ceil(window_ms / step) * step)


def share_of_frames(card: Card, engine: FramesEngine) -> float:
    """Share of the machine's time that a stream takes with others; the median of seven steps."""
    signal = np.zeros((TOGETHER, STEP * card.frame_hop), np.float32)
    lengths, state = np.full(TOGETHER, signal.shape[1]), engine.start(TOGETHER)
    taken = []
    for _ in range(8):  # the first one prepares
        started = time.perf_counter()
        _, _, state = engine.step(signal, lengths, state)
        taken.append(time.perf_counter() - started)
    return sorted(taken[1:])[3] / TOGETHER / (signal.shape[1] / card.sampling_rate)


def seconds(model: Model, samples: int) -> float:
    """Seconds for one window of a batch, as of several streams; the median of seven batches."""
    card = model.card
    batch = max(1, min(AT_ONCE, card.batch_samples // samples, card.max_batch or AT_ONCE))
    windows = np.zeros((batch, samples), np.float32)
    model.run(windows)
    taken = []
    for _ in range(7):
        started = time.perf_counter()
        model.run(windows)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[3] / len(windows)
