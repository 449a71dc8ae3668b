"""Live streams: samples go out as they are recorded, values come back for each step. Requires the extra `client`."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from urllib.parse import urlencode

from emow2v.client.errors import Invalid, Unavailable, Unreachable
from emow2v.client.exchange import JSON, Answer, Server, refusal_of, wrong
from emow2v.client.recordings import texts
from emow2v.errors import ClientError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection

ANSWER_S = 60.0  # until the first message: the server may load a model and measure itself
END = "end"
TRY_LATER = 1013  # the code by which the server closes a stream that it has no time for


class LiveOptions(TypedDict, total=False):
    """Options of a live stream; times are texts ("40ms") or seconds.

    Attributes:
        model: name of an installed model; the default is the server's
        sampling_rate: of the samples, in Hz; the default is 16000
        frame_step, left_context, right_context, padding: the windows
        embeddings: each value has its embedding, 4 KB
    """

    model: str
    sampling_rate: int
    frame_step: str | float
    left_context: str | float
    right_context: str | float
    padding: Literal["edge", "zeros"]
    embeddings: bool


@dataclass(frozen=True)
class Value:
    """A step of live speech: start and end in seconds, scores, confidence, and the probability of speech.

    `embedding` is float32 [1024]; None unless the stream was opened with embeddings=True.
    """

    index: int
    start: float
    end: float
    arousal: float
    dominance: float
    valence: float
    confidence: float
    speech: float
    embedding: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Target:
    """What a stream connects to."""

    server: Server
    headers: Mapping[str, str]
    context: ssl.SSLContext | None
    trust_env: bool
    options: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `connect` of websockets."""
        query = [("encoding", "f32le")]
        query += [(name, text) for name, value in self.options.items() for text in texts(name, value)]
        more = {} if self.context is None else {"ssl": self.context}
        return {
            "uri": f"ws{self.server.address.removeprefix('http')}/v1/stream?{urlencode(query)}",
            "additional_headers": {name: text for name, text in self.headers.items() if name != "User-Agent"},
            "user_agent_header": self.headers.get("User-Agent"),
            "max_queue": None,  # values are read while samples are sent, or both sides would wait for each other
            "proxy": True if self.trust_env else None,  # True: that of the environment
            **more,
        }

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Errors of websockets as our own."""
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

        try:
            yield
        except InvalidStatus as error:
            response = error.response
            headers = {name.lower(): text for name, text in response.headers.raw_items()}
            raise refusal_of(self.server, Answer(response.status_code, headers, bytes(response.body or b""))) from None
        except ConnectionClosed as error:
            raise Unreachable(f"The stream to {self.server.address} broke ({error}); begin a new one.") from None
        except (OSError, WebSocketException) as error:  # also TimeoutError
            raise Unreachable(f"{self.server.address} cannot be reached ({error}); check the address.") from None

    def body(self, message: str | bytes) -> dict[str, Any]:
        """A message of the server."""
        try:
            body = json.loads(message)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise wrong(self.server, f"a message of the stream is not {JSON}")
        return body

    @property
    def has_embeddings(self) -> bool:
        """Whether a message of its embedding follows each value."""
        return bool(self.options.get("embeddings"))

    def value(self, body: Mapping[str, Any], embedding: str | bytes | None) -> Value:
        """The value that a message holds.

        Args:
            embedding: the message behind it; None where none follows
        """
        import numpy as np

        array = None
        if embedding is not None:
            if isinstance(embedding, str) or not embedding or len(embedding) % 4:
                raise wrong(self.server, "an embedding of the stream is no row of numbers")
            array = np.frombuffer(embedding, "<f4")
        try:
            return Value(**{one.name: body[one.name] for one in fields(Value)[:-1]}, embedding=array)
        except KeyError as error:
            raise wrong(self.server, f"a value of the stream has no {error.args[0]}") from None


def refused(sentence: str, code: int | None) -> ClientError:
    """The error for a stream that the server ends with a sentence."""
    return Unavailable(sentence, 503) if code == TRY_LATER else Invalid(sentence, 422)


def samples_of(samples: npt.ArrayLike) -> list[bytes]:
    """Samples as messages of a second or so.

    Raises:
        ClientError: they are not of one channel
    """
    import numpy as np

    array = np.asarray(samples, "<f4")
    if array.ndim != 1:
        raise ClientError(f"The samples have the shape {array.shape}; expected those of one channel, in -1..1.")
    return [array[begin : begin + 16000].tobytes() for begin in range(0, len(array), 16000)]


def check_websockets() -> None:
    """Say what to install where websockets is missing."""
    try:
        import websockets.sync.client  # noqa: F401
    except ImportError:
        raise ClientError("Live streams require websockets; install it with: pip install 'emow2v[client]'.") from None


class LiveStream:
    """A live stream, open inside a `with` block.

    Attributes:
        provenance: model, engine and windows of its values
    """

    def __init__(self, target: Target) -> None:
        check_websockets()
        self._target = target
        self.provenance: Mapping[str, str | float] = {}

    def __enter__(self) -> LiveStream:
        from websockets.sync.client import connect

        with contextlib.ExitStack() as opened:
            with self._target.errors():
                self._socket: ClientConnection = opened.enter_context(connect(**self._target.arguments))
            self.provenance = dict(self._next().get("provenance", {}))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def send(self, samples: npt.ArrayLike) -> list[Value]:
        """Send samples, and get the values that have come since.

        Args:
            samples: float [samples], -1..1, of one channel

        Raises:
            ClientError: the server ends the stream, or the connection broke
        """
        found: list[Value] = []
        for piece in samples_of(samples):
            with self._target.errors():
                self._socket.send(piece)
            while (body := self._waiting()) is not None:
                found.append(self._value(body))
        return found

    def finish(self) -> list[Value]:
        """Say that no more samples come, and get the last values."""
        with self._target.errors():
            self._socket.send(END)
        found: list[Value] = []
        while not (body := self._next()).get("done"):
            found.append(self._value(body))
        return found

    def _waiting(self) -> dict[str, Any] | None:
        """A message that has come; None if there is none."""
        try:
            message = self._socket.recv(timeout=0)
        except TimeoutError:
            return None
        return self._checked(message)

    def _value(self, body: Mapping[str, Any]) -> Value:
        return self._target.value(body, self._message() if self._target.has_embeddings else None)

    def _next(self) -> dict[str, Any]:
        return self._checked(self._message())

    def _message(self) -> str | bytes:
        with self._target.errors():
            return self._socket.recv(timeout=ANSWER_S)

    def _checked(self, message: str | bytes) -> dict[str, Any]:
        body = self._target.body(message)
        if "error" in body:
            self._socket.close()
            raise refused(str(body["error"]), self._socket.close_code)
        return body


class AsyncLiveStream:
    """A live stream, open inside an `async with` block; see `LiveStream`."""

    def __init__(self, target: Target) -> None:
        check_websockets()
        self._target = target
        self.provenance: Mapping[str, str | float] = {}

    async def __aenter__(self) -> AsyncLiveStream:
        from websockets.asyncio.client import connect

        async with contextlib.AsyncExitStack() as opened:
            with self._target.errors():
                self._socket: AsyncConnection = await opened.enter_async_context(connect(**self._target.arguments))
            self.provenance = dict((await self._next()).get("provenance", {}))
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._opened.aclose()

    async def send(self, samples: npt.ArrayLike) -> None:
        """Send samples; the values come by iteration, in this task or another one."""
        for piece in samples_of(samples):
            with self._target.errors():
                await self._socket.send(piece)

    async def finish(self) -> None:
        """Say that no more samples come; the iteration ends with the last value."""
        with self._target.errors():
            await self._socket.send(END)

    def __aiter__(self) -> AsyncLiveStream:
        return self

    async def __anext__(self) -> Value:
        body = await self._next()
        if body.get("done"):
            raise StopAsyncIteration
        return self._target.value(body, await self._message() if self._target.has_embeddings else None)

    async def _message(self) -> str | bytes:
        with self._target.errors():
            return await self._socket.recv()

    async def _next(self) -> dict[str, Any]:
        body = self._target.body(await self._message())
        if "error" in body:
            await self._socket.close()
            raise refused(str(body["error"]), self._socket.close_code)
        return body
