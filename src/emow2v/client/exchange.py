"""What the two clients share: requests, answers, and the rules for trying again, without any input or output.

An operation is a generator, a *flow*. It yields what is to be done (`Send`, `Pause` ...) and receives the outcome;
`Client` and `AsyncClient` do these things each in their own way. So there is one implementation of everything else.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeAlias, TypeVar

from emow2v.client.errors import Refused, Unreachable, WrongAnswer, refusal

T = TypeVar("T")
Flow: TypeAlias = Generator["Step", Any, T]

JSON = "application/json"
READ_S = 60.0  # without another byte of an answer; a server decodes the beginning of a recording before it answers
_PAUSES_S = (0.25, 15.0)  # before the second try, and the longest
_TOO_SOON = (429, 503)  # with Retry-After the request was not carried out
_GATEWAYS = (502, 503, 504)  # also of a proxy while the server starts again
_SHOWN = 100  # characters of an answer that a sentence quotes


@dataclass(frozen=True)
class Attachment:
    """A file of a form.

    Attributes:
        source: its path, its bytes, or an open file, which is read from its beginning
    """

    field: str
    name: str
    source: Path | bytes | IO[bytes]


@dataclass(frozen=True)
class Request:
    """A request to /v1.

    Attributes:
        path: below /v1
        form: fields of a form with a body; None for no body
        is_repeatable: may be sent again where the answer was lost, since a second one changes nothing
        read_s: longest time without another byte of the answer
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    form: Sequence[tuple[str, str]] | None = None
    attachments: Sequence[Attachment] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    is_repeatable: bool = True
    read_s: float = READ_S


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        headers: names in lower case
        body: empty where it is read in pieces
        stream: handle of the answer that is read in pieces
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: Any = None

    @property
    def kind(self) -> str:
        """Its media type."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Send:
    """Send a request; the outcome is its whole answer."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request; the outcome is an answer whose body comes in pieces, unless it is a refusal."""

    request: Request


@dataclass(frozen=True)
class Next:
    """The outcome is the next piece of an answer; None at its end."""

    stream: Any


@dataclass(frozen=True)
class Close:
    """End an answer that was read in pieces."""

    stream: Any


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """Call a function that reads or writes files; the outcome is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Notify:
    """Call a function of the user, which may be a coroutine function for `AsyncClient`."""

    function: Callable[[Any], object]
    value: object


Step: TypeAlias = Send | Open | Next | Close | Pause | Call | Notify


class Run(Generic[T]):
    """A flow that is carried out.

    Attributes:
        step: what is to be done; None at the end
        result: of the flow, at its end
    """

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self.step: Step | None = None
        self.result: T
        self._go(lambda: next(flow))

    def __enter__(self) -> Run[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self._flow.close()

    def send(self, outcome: Any) -> None:
        """Go on with the outcome of the step."""
        self._go(lambda: self._flow.send(outcome))

    def throw(self, error: Exception) -> None:
        """Go on with the error of the step."""
        self._go(lambda: self._flow.throw(error))

    def _go(self, move: Callable[[], Step]) -> None:
        try:
            self.step = move()
        except StopIteration as end:
            self.step, self.result = None, end.value


class Lost(Exception):
    """A connection could not be made, or broke.

    Attributes:
        was_sent: the server may have received the request
        can_mend: trying again may help
    """

    def __init__(self, reason: str, *, was_sent: bool = True, can_mend: bool = True) -> None:
        super().__init__(reason)
        self.was_sent, self.can_mend = was_sent, can_mend


@dataclass
class Server:
    """A server as its client knows it.

    Attributes:
        address: without /v1
        patience_s: how long a server may be away, or refuse for a while, before an operation fails
        has_answered: it was there once, so that it is worth waiting for
    """

    address: str
    patience_s: float
    has_answered: bool = False


class Patience:
    """When an operation tries again, and when it gives up.

    Args:
        server: that it talks to
        clock: seconds
    """

    def __init__(self, server: Server, clock: Callable[[], float] = time.monotonic) -> None:
        self._server, self._clock = server, clock
        self.reset()

    def reset(self) -> None:
        """Begin anew: something was reached."""
        self._tries, self._begun = 0, self._clock()

    def after_loss(self, request: Request, error: Lost) -> float:
        """Seconds to wait after a lost connection.

        Raises:
            Unreachable: it is not worth it
        """
        may_repeat = error.can_mend and (request.is_repeatable or not error.was_sent)
        is_there = self._server.has_answered or error.was_sent
        if may_repeat and is_there and (pause := self._pause(0)) is not None:
            return pause
        raise Unreachable(f"{self._server.address} cannot be reached ({error}); {_remedy(error)}.") from None

    def after_refusal(self, request: Request, error: Refused) -> float:
        """Seconds to wait after a refusal.

        Raises:
            Refused: it is not worth it
        """
        is_early = error.status in _TOO_SOON and error.retry_after_s is not None
        is_away = error.status in _GATEWAYS and request.is_repeatable and self._server.has_answered
        if (is_early or is_away) and (pause := self._pause(error.retry_after_s or 0)) is not None:
            return pause
        raise error

    def _pause(self, least: float) -> float | None:
        """The next pause, a part of it by chance, so that clients do not come back all at once; None if it is too long."""
        pause: float = max(least, min(_PAUSES_S[1], _PAUSES_S[0] * 2**self._tries)) * random.uniform(1, 1.25)
        if self._clock() + pause - self._begun > self._server.patience_s:
            return None
        self._tries += 1
        return pause


def _remedy(error: Lost) -> str:
    if "certificate" in str(error).lower():
        return "give the file of the authority that signed the server's certificate: verify='ca.pem'"
    if not error.can_mend:
        return "check the address"
    return (
        "check the address, and that the server runs" if not error.was_sent else "ask for the job, or try again later"
    )


def ask(server: Server, request: Request, step: Callable[[Request], Send | Open] = Send) -> Flow[Answer]:
    """The answer to a request, which is sent again where that helps.

    Args:
        step: `Open` for an answer in pieces

    Raises:
        ClientError: there is none, or it is a refusal
    """
    patience = Patience(server)
    while True:
        try:
            answer: Answer = yield step(request)
        except Lost as error:
            yield Pause(patience.after_loss(request, error))
            continue
        if answer.status < 300:
            server.has_answered = True
            return answer
        if answer.status < 400:
            place = answer.headers.get("location", "")
            raise WrongAnswer(
                f"{server.address} leads elsewhere ({answer.status}, {place[:_SHOWN]}); give the address that it leads to."
            )
        yield Pause(patience.after_refusal(request, refusal_of(server, answer)))


def refusal_of(server: Server, answer: Answer) -> Refused:
    """The error that a refusal means."""
    after = answer.headers.get("retry-after", "")
    retry_after_s = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
    sentence = ""
    if answer.kind == JSON:
        try:
            body = json.loads(answer.body)
        except ValueError:
            body = None
        sentence = str(body.get("error", "")) if isinstance(body, dict) else ""
    if sentence:
        server.has_answered = True
        return refusal(sentence, answer.status, retry_after_s)
    came = f"{answer.kind or 'no media type'}; expected {JSON} of a server of emow2v"
    where = f"{server.address} answers with the status {answer.status} and {came}"
    return refusal(f"{where}. Check the address, and the proxy if there is one.", answer.status, retry_after_s)


def json_of(server: Server, answer: Answer) -> Any:
    """The JSON of an answer.

    Raises:
        WrongAnswer: it is none
    """
    if answer.kind != JSON:
        raise wrong(server, f"it is {answer.kind or 'of no media type'}, not JSON")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):  # no JSON, or no text
        raise wrong(server, "its JSON is damaged") from None


def wrong(server: Server, reason: str) -> WrongAnswer:
    """The error for an answer that no server of emow2v gives."""
    return WrongAnswer(
        f"The answer of {server.address} cannot be used ({reason}); expected a server of emow2v. Check the address, and "
        "the proxy if there is one."
    )
