"""Live speech over a WebSocket: samples in, one message per step out, with the same numbers as for a file.

A client connects to /v1/stream?sampling_rate=48000&encoding=f32le and receives a message with the provenance. It sends
samples as binary messages of any size, and receives {"index", "start", "end", "arousal", "dominance", "valence",
"confidence", "speech"} for each step as soon as its audio has arrived; the last is the probability of speech. The text
message "end" asks for the last rows; {"done": true} follows, and the connection closes. With `together=true`, rows that
are known at the same time come in one message, {"rows": [...]}. With `embeddings=true`, a binary message follows each
message of rows: float32 in little-endian order, 1024 for each of its rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from emow2v.cards import Card
from emow2v.errors import Emow2vError, RequestError
from emow2v.model import Model
from emow2v.server.failures import failure
from emow2v.server.jobs.store import Busy
from emow2v.server.live.capacity import Capacity
from emow2v.server.live.request import StreamRequest, parse
from emow2v.server.live.steps import Feed, Steps
from emow2v.server.models.held import HeldModels
from emow2v.server.security.refusals import without_values

logger = logging.getLogger("emow2v.server")

END = "end"
COUNTED_S = 10  # of sound, after which it is counted for the limit of a person
IDLE_S = 120  # without a message; silent streams would keep others out
PENDING_S = 2  # of sound that waits to be computed: a client that is faster waits
UNSENT = 100  # messages that wait to be sent: a client that does not read them waits
# Codes of RFC 6455 and its registry.
CLOSED, REFUSED, FAULT, TRY_LATER = 1000, 1008, 1011, 1013


class Live:
    """The live streams of a server, which share its process.

    Args:
        models: in memory; a model that a stream uses stays there
        card: of the model that is used where a client names none
        max_streams: at the same time; 0 for as many as the machine computes in real time, as measured
        clock: seconds, for the age of a measurement
    """

    def __init__(
        self, models: HeldModels, card: Card, max_streams: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.models, self._card = models, card
        self._steps: dict[Model, tuple[Steps, int]] = {}  # with the number of streams
        self.capacity = Capacity(max_streams, lambda: [steps for steps, _ in list(self._steps.values())], clock)
        self._lock = threading.Lock()  # of the steps; held for short times
        # one stream loads or measures, which takes seconds; the others wait without a thread, because threads are limited
        self._measuring = asyncio.Lock()
        self.sound_s: defaultdict[str, float] = defaultdict(float)  # seconds of sound that came, by model

    @property
    def by_model(self) -> dict[str, int]:
        """Number of streams of each model."""
        with self._lock:
            found: defaultdict[str, int] = defaultdict(int)
            for model, (_, streams) in self._steps.items():
                found[model.name] += streams
        return dict(found)

    async def serve(self, socket: WebSocket, add_sound: Callable[[float], None]) -> None:
        """One connection, from its beginning to its end.

        Args:
            add_sound: counts seconds of sound; raises Busy where the person may send no more
        """
        await socket.accept()
        counted = _Counted(add_sound)
        try:
            async with contextlib.AsyncExitStack() as at_end:
                async with self._measuring:
                    request = await run_in_threadpool(parse, socket.query_params, self._card)
                    await counted.flush()
                    model = await run_in_threadpool(self._admitted, request, at_end)
                await self._exchange(socket, counted, model, request)
        except WebSocketDisconnect:
            pass
        except sqlite3.Error as error:  # such as a full disk, when sound is counted
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await _close(socket, failure(error)[1], TRY_LATER)
        except Emow2vError as error:
            client = socket.client.host if socket.client else ""
            logger.info("refused: live stream: %s", without_values(str(error)), extra={"client": client})
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client may have closed the connection
                await _close(socket, str(error), _code(error))
        finally:
            with contextlib.suppress(Busy, sqlite3.Error):  # it has ended anyhow
                await counted.flush()

    def _admitted(self, request: StreamRequest, at_end: contextlib.AsyncExitStack) -> Model:
        """The model of a stream, which is admitted.

        Args:
            at_end: gives back what the stream takes
        """
        model = self.models.take(request.model)
        at_end.push_async_callback(run_in_threadpool, self.models.release, model)
        model.check(request.framing)
        at_end.callback(self.capacity.leave, self.capacity.admit(model, request.framing))
        return model

    @contextlib.contextmanager
    def _computing(self, model: Model, request: StreamRequest) -> Iterator[tuple[Steps, Feed]]:
        """The steps of the model and the feed of one of its streams."""
        stream = model.stream(request.framing, sampling_rate=request.options.rate, speech=True)
        with self._lock:
            steps, streams = self._steps.get(model) or (Steps(model), 0)
            if steps.stopped:  # by a fault
                steps = Steps(model)
            self._steps[model] = steps, streams + 1
        feed = steps.open(stream, request.options)
        try:
            yield steps, feed
        finally:
            steps.close(feed)
            with self._lock:
                steps, streams = self._steps[model]
                self._steps[model] = steps, streams - 1
                if streams == 1:
                    del self._steps[model]
                    steps.stop()

    async def _exchange(self, socket: WebSocket, counted: _Counted, model: Model, request: StreamRequest) -> None:
        stack = contextlib.ExitStack()
        steps, feed = stack.enter_context(self._computing(model, request))
        tasks: list[asyncio.Task[None]] = []
        try:
            await socket.send_json({"provenance": model.provenance(request.framing)})
            tasks = [
                asyncio.create_task(self._receive(socket, counted, model.name, feed)),
                asyncio.create_task(_send(socket, steps, feed)),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for one in done:
                one.result()  # raises what has ended it
        finally:
            stack.close()
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await socket.send_json({"done": True, "rows": feed.rows})
        await socket.close(CLOSED)

    async def _receive(self, socket: WebSocket, counted: _Counted, model: str, feed: Feed) -> None:
        """Take samples until the client says that no more come."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(IDLE_S) as limit:
                until = loop.time() + IDLE_S
                while True:
                    message = await socket.receive()
                    if message["type"] == "websocket.disconnect":
                        raise WebSocketDisconnect
                    if (text := message.get("text")) is not None:
                        if text.strip().strip('"') != END:
                            raise RequestError(f"A text message is '{text[:20]}'; expected binary samples, or {END}.")
                        break
                    seconds = len(message["bytes"]) / feed.options.second
                    self.sound_s[model] += seconds
                    if counted.add(seconds):
                        limit.reschedule(None)
                        await counted.flush()
                        until = 0
                    feed.add(message["bytes"])
                    while feed.pending_s > PENDING_S or len(feed.messages) > UNSENT:
                        limit.reschedule(None)  # it is the server that keeps it waiting
                        feed.read.clear()
                        await feed.read.wait()
                        until = 0
                    if loop.time() > until - 0.9 * IDLE_S:  # seldom, because it takes time
                        until = loop.time() + IDLE_S
                        limit.reschedule(until)
        except TimeoutError:
            raise RequestError(f"Nothing came for {IDLE_S} s; send samples as they are recorded.") from None
        feed.end()


async def _send(socket: WebSocket, steps: Steps, feed: Feed) -> None:
    """Send the messages of a stream until the last one."""
    while True:
        await feed.moved.wait()
        feed.moved.clear()
        while feed.messages:
            message = feed.messages.popleft()
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
            feed.sent(message)
        feed.read.set()
        if feed.failure is not None:
            raise feed.failure
        if feed.done:
            return
        if steps.stopped:
            raise Fault


class Fault(Emow2vError):
    """The steps of a model ended by a fault of emow2v, which the log tells."""

    def __init__(self) -> None:
        super().__init__("The server met an unexpected error; its log says more.")


class _Counted:
    """Counts the seconds of a stream, now and then.

    Args:
        add_sound: see `Live.serve`
    """

    def __init__(self, add_sound: Callable[[float], None]) -> None:
        self._add_sound, self._seconds = add_sound, 0.0

    def add(self, seconds: float) -> bool:
        """Whether `flush` is due."""
        self._seconds += seconds
        return self._seconds >= COUNTED_S

    async def flush(self) -> None:
        """Count what was not counted yet.

        Raises:
            Busy: the person may send no more
        """
        seconds, self._seconds = self._seconds, 0.0
        await run_in_threadpool(self._add_sound, seconds)


def _code(error: Emow2vError) -> int:
    """The close code of an error."""
    return TRY_LATER if isinstance(error, Busy) else FAULT if isinstance(error, Fault) else REFUSED


async def _close(socket: WebSocket, sentence: str, code: int) -> None:
    await socket.send_text(json.dumps({"error": sentence}, ensure_ascii=False))
    await socket.close(code, sentence.encode()[:120].decode(errors="ignore"))
