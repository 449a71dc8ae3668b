"""The live streams of one model, computed together by one thread.

Connections leave bytes here and get messages back. The thread takes what has come of all streams, computes one part of
each in common batches of the engine, and makes the messages. It rests between two rounds for as long as a round takes,
so that the next batch is larger: larger batches take less time a stream. A stream that is behind has larger parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from emow2v.audio.microphone import ENCODINGS, PCMReader
from emow2v.engines.frames import FramesEngine
from emow2v.errors import Emow2vError
from emow2v.formats.table import LIVE_COLUMNS, ndjson_row, rows
from emow2v.model import Model
from emow2v.rows import Block
from emow2v.stream import Stream, compute_together

TAKEN_S = 1.0  # of sound of a stream in a round, so that a long message does not keep the others waiting
REST_S = 0.04  # at most, between the beginnings of two rounds
REST_OF_FRAMES_S = 0.16  # for a model of frames: batches of streams and longer steps gain more
BUSY_S = 5.0  # of the past, in which the share of work is looked at
UNSENT_BYTES = 1 << 22  # that wait to be sent: no more of a stream is computed until its client has read them
DETACHED_S = 0.5  # a stream that was not computed for so long keeps no others in memory


@dataclass(frozen=True)
class StreamOptions:
    """What a client asks of a stream.

    Attributes:
        rate: Hz of the samples
        encoding: one of `ENCODINGS`
        together: rows that are known at the same time come in one message
        embeddings: embeddings follow their rows, as binary messages
    """

    rate: int
    encoding: str
    together: bool = False
    embeddings: bool = False

    @property
    def second(self) -> int:
        """Bytes of a second."""
        return self.rate * ENCODINGS[self.encoding].itemsize


@dataclass(eq=False)
class Feed:
    """One stream: bytes that came, and messages that are to be sent.

    Attributes:
        messages: to be sent; used on the connection's event loop only
        moved: set whenever messages have come, or sound was computed
        read: set when the messages were sent
        failure: why the stream cannot go on
        done: whether all messages have come
        rows: number of rows in all messages
        unsent: bytes of the messages
    """

    stream: Stream
    options: StreamOptions
    loop: asyncio.AbstractEventLoop
    wake: Callable[[], None]
    began: float
    messages: deque[str | bytes] = field(default_factory=deque)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    read: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Emow2vError | None = None
    done: bool = False
    rows: int = 0
    unsent: int = 0

    def __post_init__(self) -> None:
        self.reader = PCMReader(self.options.encoding)
        self.inbox: deque[bytes] = deque()
        self.received = self.computed = 0  # bytes
        self.ended = False  # the client sends no more
        self.parts: deque[object] = deque()
        self.taken = 0  # bytes that were cut into parts
        self.full = False  # more came than was taken in the last round
        self.finished = False  # the last parts were cut
        self.over = False  # nothing follows
        self.stepped_at = self.began
        self.detached = True

    @property
    def pending_s(self) -> float:
        """Seconds of sound that came and were not computed."""
        return (self.received - self.computed) / self.options.second

    def late_s(self, now: float) -> float:
        """By how many seconds the stream is behind its client: sound that came faster than it is spoken does not count."""
        received, computed = (number / self.options.second for number in (self.received, self.computed))
        return max(0.0, min(received, now - self.began) - computed)

    def add(self, data: bytes) -> None:
        """Samples have come."""
        self.inbox.append(data)
        self.received += len(data)
        self.wake()

    def end(self) -> None:
        """No more samples come; the last rows follow, then `done`."""
        self.ended = True
        self.wake()

    def sent(self, message: str | bytes) -> None:
        """A message was sent."""
        waited = self.waits
        self.unsent -= len(message)
        if waited and not self.waits:
            self.wake()

    # --- in the thread of the steps ---

    @property
    def waits(self) -> bool:
        """Whether the client must read before more is computed."""
        return self.unsent > UNSENT_BYTES

    def take(self) -> None:
        """Cut what has come into parts.

        Raises:
            AudioError: NaN or infinity
        """
        if self.parts:
            return
        room, data = max(1, round(self.options.second * TAKEN_S)), []
        while self.inbox and room > 0:
            one = self.inbox.popleft()
            if len(one) > room:
                self.inbox.appendleft(one[room:])
                one = one[:room]
            room -= len(one)
            data.append(one)
        sound = b"".join(data)
        self.taken += len(sound)
        self.full = room <= 0
        if sound or self.stream.more:
            self.parts += self.stream.cut(self.reader.add(sound))
        if self.ended and not self.inbox and not self.finished:
            self.finished = True
            self.parts += self.stream.cut_last()

    @property
    def hurried(self) -> bool:
        """Whether there is so much to compute that the next round begins at once."""
        return bool(self.parts or (self.full and self.inbox) or (self.ended and not self.finished))

    def texts(self, block: Block) -> list[str | bytes]:
        """The messages of rows."""
        made = [
            f'{{"index": {block.first + number}, {ndjson_row(row, LIVE_COLUMNS)[1:]}'
            for number, row in enumerate(rows(block, every_score=True))
        ]
        if self.options.together:
            made = [f'{{"rows": [{", ".join(made)}]}}']
        if not self.options.embeddings:
            return list(made)
        whole = block.embeddings.astype("<f4", copy=False)
        if self.options.together:
            return [made[0], whole.tobytes()]
        return [one for text, row in zip(made, whole, strict=True) for one in (text, row.tobytes())]


class Steps:
    """The streams of one model.

    Args:
        model: stays loaded as long as this object is used
        clock: seconds
    """

    def __init__(self, model: Model, clock: Callable[[], float] = time.monotonic) -> None:
        self.model, self._clock = model, clock
        self._rest = REST_OF_FRAMES_S if isinstance(model.engine, FramesEngine) else REST_S
        self._feeds: list[Feed] = []  # replaced, not changed
        self._lock = threading.Lock()  # of changes of the list
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._rounds: deque[tuple[float, float]] = deque()  # begin and end of those of the last seconds
        self._thread = threading.Thread(target=self._run, name=f"emow2v-live-{model.name}", daemon=True)
        self._thread.start()

    def open(self, stream: Stream, options: StreamOptions) -> Feed:
        """Begin with a stream; call it on the event loop of its connection."""
        feed = Feed(stream, options, asyncio.get_running_loop(), self._wake.set, self._clock())
        with self._lock:
            self._feeds = [*self._feeds, feed]
        return feed

    def close(self, feed: Feed) -> None:
        """Compute no more of a stream."""
        with self._lock:
            self._feeds = [one for one in self._feeds if one is not feed]

    def stop(self) -> None:
        """End the thread; it finishes its round."""
        self._stopped.set()
        self._wake.set()

    @property
    def late_s(self) -> float:
        now = self._clock()
        return max((one.late_s(now) for one in self._feeds if not one.waits), default=0.0)

    @property
    def busy(self) -> float:
        now = self._clock()
        return sum(end - max(begin, now - BUSY_S) for begin, end in list(self._rounds) if end > now - BUSY_S) / BUSY_S

    def _run(self) -> None:
        try:
            next_at = 0.0
            while True:
                self._wake.wait()
                self._stopped.wait(max(0.0, next_at - self._clock()))
                self._wake.clear()
                if self._stopped.is_set():
                    return
                begun = self._clock()
                self._round()
                ended = self._clock()
                self._rounds.append((begun, ended))
                while self._rounds[0][1] < ended - BUSY_S:
                    self._rounds.popleft()
                feeds = [one for one in self._feeds if not one.over and not one.waits]
                next_at = begun + min(2 * (ended - begun), self._rest)
                if any(one.hurried for one in feeds):
                    next_at = ended
                    self._wake.set()
                elif any(one.inbox or one.stream.more for one in feeds):
                    self._wake.set()
        finally:  # a fault of emow2v is logged by the thread; its connections are told
            self._stopped.set()
            _deliver([_Delivery(one, [], None, False) for one in self._feeds])

    @property
    def stopped(self) -> bool:
        """Whether the thread has ended, or is ending."""
        return self._stopped.is_set()

    def _round(self) -> None:
        """Compute the next part of each stream that has one."""
        deliveries: list[_Delivery] = []
        work: list[Feed] = []
        for feed in self._feeds:
            if feed.over or feed.waits:
                continue
            try:
                feed.take()
            except Emow2vError as error:
                feed.over = True
                deliveries.append(_Delivery(feed, [], error, False))
                continue
            if feed.parts:
                work.append(feed)
                continue
            if feed.finished or feed.computed != feed.taken:
                feed.computed, feed.over = feed.taken, feed.finished
                deliveries.append(_Delivery(feed, [], None, feed.over))
        deliveries += self._computed(work)
        now, computed = self._clock(), set(work)
        for feed in self._feeds:
            if feed in computed:
                feed.stepped_at, feed.detached = now, False
            elif not feed.detached and now - feed.stepped_at > DETACHED_S:
                feed.stream.detach()
                feed.detached = True
        _deliver(deliveries)

    def _computed(self, work: list[Feed]) -> list[_Delivery]:
        try:
            blocks = compute_together([(feed.stream, feed.parts.popleft()) for feed in work])
        except Emow2vError as error:  # which stream has caused it is not known, and each of them may have gone on
            for feed in work:
                feed.over = True
            return [_Delivery(feed, [], error, False) for feed in work]
        deliveries = []
        for feed, block in zip(work, blocks, strict=True):
            messages = [] if block is None else feed.texts(block)
            if not feed.parts:
                feed.computed, feed.over = feed.taken, feed.finished
            deliveries.append(_Delivery(feed, messages, None, feed.over, 0 if block is None else len(block)))
        return deliveries


class _Delivery(NamedTuple):
    """What a connection gets: messages, and whether they are the last ones."""

    feed: Feed
    messages: list[str | bytes]
    failure: Emow2vError | None
    done: bool
    rows: int = 0


def _deliver(deliveries: list[_Delivery]) -> None:
    """Hand messages to connections, on their event loops."""
    loops: dict[asyncio.AbstractEventLoop, list[_Delivery]] = {}
    for one in deliveries:
        loops.setdefault(one.feed.loop, []).append(one)
    for loop, own in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its connections with it
            loop.call_soon_threadsafe(_arrived, own)


def _arrived(deliveries: list[_Delivery]) -> None:
    for feed, messages, failure, done, count in deliveries:
        feed.messages += messages
        feed.unsent += sum(map(len, messages))
        feed.rows += count
        feed.failure, feed.done = failure, done
        feed.moved.set()
