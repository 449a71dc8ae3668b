"""Live speech over a WebSocket: samples in, one message per step out, with the same numbers as for a file.

A client connects to /v1/stream?sampling_rate=48000&encoding=f32le and receives a message with the provenance. It sends
samples as binary messages of any size, and receives {"index", "start", "end", "arousal", "dominance", "valence",
"confidence", "speech"} for each step as soon as its audio has arrived; the last is the probability of speech. The text message "end" asks for the last rows; {"done": true}
follows, and the connection closes. A message is read after the one before it is computed, so that fast clients wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from emow2v.audio.microphone import ENCODINGS, PCMReader
from emow2v.cards import Card
from emow2v.discover.names import unknown
from emow2v.engines.frames import FramesEngine
from emow2v.errors import Emow2vError, RequestError
from emow2v.formats.table import LIVE_COLUMNS, ndjson_row, rows
from emow2v.framing import Framing, parse_time
from emow2v.framing.chunks import FEWEST
from emow2v.model import Model
from emow2v.server.failures import failure
from emow2v.server.jobs.store import Busy
from emow2v.server.security.refusals import without_values
from emow2v.stream import SAMPLING_RATES, Stream
from emow2v.trajectory import Block

logger = logging.getLogger("emow2v.server")

MAX_LOAD = 0.7  # share of the machine's time for all live streams together; the rest is for jobs
END = "end"
PARAMETERS = ("sampling_rate", "encoding", "frame_step", "left_context", "right_context", "padding")
FRESH_S = 120  # a measurement is valid for so long, because the other load of the machine changes
DOUBTED_S = 10  # and for so long before a client is refused because of it
PIECE_S = 1  # of sound; longer messages are computed in pieces, so that a closed connection is noticed
LONGEST_S = 10  # of a window: each stream keeps so much sound, or frames of it
MOST_THREADS = 100  # for the live streams together
TOGETHER = 16  # streams of a model of frames in the measurement
COUNTED_S = 10  # of sound, after which it is counted for the limit of a person
IDLE_S = 120  # without a message; silent streams would keep others out
# Codes of RFC 6455 and its registry.
CLOSED, REFUSED, TRY_LATER = 1000, 1008, 1013


class Live:
    """The live streams of a server, which share one model in the server's process.

    Args:
        load: loads the model; called for the first stream
        max_streams: at the same time; 0 for as many as the machine computes in real time, as measured
        clock: seconds, for the age of a measurement
    """

    def __init__(
        self, load: Callable[[], Model], max_streams: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load, self._max_streams, self._clock = load, max_streams, clock
        self._model: Model | None = None
        self._lock = threading.Lock()  # of the figures; held for short times
        # one stream loads or measures, which takes seconds; the others wait without a thread, because threads are limited
        self._measuring = asyncio.Lock()
        self._measured: dict[
            int, tuple[float, float]
        ] = {}  # by milliseconds of a window: seconds taken, and time of measurement
        self._load_now = 0.0
        self._threads: CapacityLimiter | None = None
        self.streams = 0
        self.sound_s: defaultdict[str, float] = defaultdict(float)  # seconds of sound that came, by model

    async def serve(self, socket: WebSocket, add_sound: Callable[[float], None]) -> None:
        """One connection, from its beginning to its end.

        Args:
            add_sound: counts seconds of sound; raises Busy where the person may send no more
        """
        await socket.accept()
        counted = _Counted(add_sound)
        load = 0.0
        admitted = False
        try:
            async with self._measuring:
                request = await run_in_threadpool(self._parse, socket.query_params)
                await counted.flush()
                load = await run_in_threadpool(self._admit, *request[:2])
                admitted = True
            await self._exchange(socket, counted, *request)
        except WebSocketDisconnect:
            pass
        except sqlite3.Error as error:  # such as a full disk, when sound is counted
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await _close(socket, failure(error)[1], TRY_LATER)
        except Emow2vError as error:
            client = socket.client.host if socket.client else ""
            logger.info("refused: live stream: %s", without_values(str(error)), extra={"client": client})
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client may have closed the connection
                await _close(socket, str(error), TRY_LATER if isinstance(error, Busy) else REFUSED)
        finally:
            if admitted:
                with self._lock:
                    self.streams -= 1
                    self._load_now -= load
            with contextlib.suppress(Busy, sqlite3.Error):  # it has ended anyhow
                await counted.flush()

    async def _in_thread(self, work: Callable[..., list[Block]], *arguments: object) -> list[Block]:
        """Compute in a thread of the live streams' own, so that steps of many streams can come at once (`engines.frames`), and
        other requests have theirs."""
        if self._threads is None:
            self._threads = CapacityLimiter(MOST_THREADS)
        return await to_thread.run_sync(work, *arguments, limiter=self._threads)

    def _parse(self, query: QueryParams) -> tuple[Model, Framing, int, str]:
        """The request in the connection's address."""
        for name, _ in query.multi_items():
            if name not in PARAMETERS:
                raise RequestError(f"{unknown('parameter', name, PARAMETERS)}.")
            if len(query.getlist(name)) > 1:
                raise RequestError(f"The parameter '{name}' came {len(query.getlist(name))} times; expected it once.")
        encoding = query.get("encoding", "s16le")
        if encoding not in ENCODINGS:
            raise RequestError(f"encoding is '{encoding[:20]}'; expected {' or '.join(ENCODINGS)}.")
        rate = query.get("sampling_rate", "16000")
        if not rate.isdecimal() or int(rate[:7]) not in SAMPLING_RATES:
            raise RequestError(f"sampling_rate is '{rate[:20]}'; expected 1000 to 768000 Hz.")
        padding = query.get("padding", "edge")
        if padding not in ("edge", "zeros"):
            raise RequestError(f"padding is '{padding[:20]}'; expected edge or zeros.")
        framing = Framing(
            frame_step_ms=parse_time(query.get("frame_step", "40ms"), "frame_step"),
            left_context_ms=parse_time(query.get("left_context", "960ms"), "left_context"),
            right_context_ms=parse_time(query.get("right_context", "0ms"), "right_context"),
            padding=padding,  # type: ignore[arg-type]
        )
        if self._model is None:
            self._model = self._load()
        model = self._model
        model.check(framing)
        if framing.whole:
            raise RequestError("A live stream has no end to give one value for; expected a frame_step.")
        longest = min(LONGEST_S, model.card.max_samples / model.card.sampling_rate)
        if framing.window_ms > longest * 1000:
            raise RequestError(
                f"A window of {float(framing.window_ms):g} ms is too long; live it is {longest:g} s at most."
            )
        return model, framing, int(rate), encoding

    def _admit(self, model: Model, framing: Framing) -> float:
        """Admit a stream; gives the share of the machine's time that it takes.

        Raises:
            Busy: the machine could not compute it in real time
        """
        load = self._share(model, framing, FRESH_S)
        if not self._fits(load):  # the machine may have been busy during the measurement
            load = self._share(model, framing, DOUBTED_S)
        with self._lock:
            if not self._fits(load):
                many = f"{self.streams} live streams are as many as "
                if self._max_streams:
                    raise Busy(f"{many}are taken here; try again later, or see --max-streams.")
                raise Busy(f"{many}stay in real time here; try again later, or with a longer frame_step.")
            self.streams += 1
            self._load_now += load
        return load

    def _fits(self, load: float) -> bool:
        """Whether one more stream is possible; the first one always is."""
        if self._max_streams:
            return self.streams < self._max_streams
        return not self.streams or self._load_now + load <= MAX_LOAD

    def _share(self, model: Model, framing: Framing, fresh_s: float) -> float:
        """Share of the machine's time that a stream takes; see `_window_s`."""
        if not isinstance(model.engine, FramesEngine):
            return self._window_s(model, framing, fresh_s) / (float(framing.step_ms) / 1000)
        taken, when = self._measured.get(0, (0.0, -math.inf))
        if self._clock() - when > fresh_s:
            taken = _share_of_frames(model.card, model.engine)
            self._measured[0] = taken, self._clock()
        return taken

    def _window_s(self, model: Model, framing: Framing, fresh_s: float) -> float:
        """Seconds that the machine takes for a window of about that length.

        Args:
            fresh_s: greatest age of a measurement; an older one is repeated
        """
        length = rounded_ms(float(framing.window_ms))
        taken, when = self._measured.get(length, (0.0, -math.inf))
        if self._clock() - when > fresh_s:
            longest = model.card.max_samples
            taken = _seconds(model, min(longest, length * model.card.sampling_rate // 1000))
            self._measured[length] = taken, self._clock()
        return taken

    async def _exchange(
        self, socket: WebSocket, sound_of: _Counted, model: Model, framing: Framing, rate: int, encoding: str
    ) -> None:
        session = model.stream(framing, sampling_rate=rate, speech=True)
        await socket.send_json({"provenance": model.provenance(framing)})
        reader = PCMReader(encoding)
        sent = 0
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), IDLE_S)
            except TimeoutError:
                raise RequestError(f"Nothing came for {IDLE_S} s; send samples as they are recorded.") from None
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                if message["text"].strip().strip('"') != END:
                    raise RequestError(
                        f"A text message is '{message['text'][:20]}'; expected binary samples, or {END}."
                    )
                break
            sound = reader.add(message["bytes"])
            with self._lock:
                self.sound_s[model.name] += sound.size / rate
            for begin in range(0, sound.size, rate * PIECE_S):
                piece = sound[begin : begin + rate * PIECE_S]
                await sound_of.add(piece.size / rate)
                sent = await _send_rows(socket, await self._in_thread(_computed, session, piece), sent)
        sent = await _send_rows(socket, await self._in_thread(lambda: list(session.finish())), sent)
        await socket.send_json({"done": True, "rows": sent})
        await socket.close(CLOSED)


class _Counted:
    """Counts the seconds of a stream, now and then.

    Args:
        add_sound: see `Live.serve`
    """

    def __init__(self, add_sound: Callable[[float], None]) -> None:
        self._add_sound, self._seconds = add_sound, 0.0

    async def add(self, seconds: float) -> None:
        self._seconds += seconds
        if self._seconds >= COUNTED_S:
            await self.flush()

    async def flush(self) -> None:
        """Count what was not counted yet.

        Raises:
            Busy: the person may send no more
        """
        seconds, self._seconds = self._seconds, 0.0
        await run_in_threadpool(self._add_sound, seconds)


def _computed(session: Stream, samples: npt.NDArray[np.float32]) -> list[Block]:
    return list(session.add(samples, flush=True))


async def _send_rows(socket: WebSocket, blocks: list[Block], sent: int) -> int:
    """Send a message for each row; gives the number of rows sent so far."""
    for block in blocks:
        for number, row in enumerate(rows(block, every_score=True)):
            await socket.send_text(f'{{"index": {block.first + number}, {ndjson_row(row, LIVE_COLUMNS)[1:]}')
            sent += 1
    return sent


async def _close(socket: WebSocket, sentence: str, code: int) -> None:
    await socket.send_text(json.dumps({"error": sentence}, ensure_ascii=False))
    await socket.close(code, sentence.encode()[:120].decode(errors="ignore"))


def rounded_ms(window_ms: float) -> int:
    """A window's length as it is measured: rounded up to 0.1 s, above one second to 0.5 s.

    With few lengths, clients cannot choose how often the machine is measured.
    """
    step = 100 if window_ms <= 1000 else 500
    return max(step, math.ceil(window_ms / step) * step)


def _share_of_frames(card: Card, engine: FramesEngine) -> float:
    """Share of the machine's time that a stream takes with others, with steps of two frames; the median of seven."""
    signal = np.zeros((TOGETHER, FEWEST * card.frame_hop), np.float32)
    lengths, state = np.full(TOGETHER, signal.shape[1]), engine.start(TOGETHER)
    taken = []
    for _ in range(8):  # the first one prepares
        started = time.perf_counter()
        _, _, state = engine.step(signal, lengths, state)
        taken.append(time.perf_counter() - started)
    return sorted(taken[1:])[3] / TOGETHER / (signal.shape[1] / card.sampling_rate)


def _seconds(model: Model, samples: int) -> float:
    """Seconds for one window by itself; the median of seven."""
    window = np.zeros((1, samples), np.float32)
    model.run(window)
    taken = []
    for _ in range(7):
        started = time.perf_counter()
        model.run(window)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[3]
