"""A person who may use the server, and the one that the present request is from."""

from __future__ import annotations

import re
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Literal

from emow2v.discover.places import safe_name
from emow2v.errors import Emow2vError

Role = Literal["member", "administrator", "metrics"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class Person:
    """A person, or a program.

    Attributes:
        name: owner of their jobs and uploads; "" for the single token (--token), and where no token is required
        role: member: uses the server; administrator: also sees the jobs of all; metrics: may read /metrics, nothing else
    """

    name: str
    role: Role = "member"

    @property
    def is_administrator(self) -> bool:
        return self.role == "administrator"


EVERYBODY = Person("", "administrator")  # who has the single token, or uses a server that requires none


@dataclass
class Call:
    """A request, as far as it matters who made it.

    Attributes:
        person: None until a token was accepted
        client: address that it came from
        jobs: owners and ids of the jobs that it is about
        facts: numbers for the audit log, such as those of what was erased; no content
    """

    person: Person | None
    client: str = ""
    jobs: list[tuple[str, str]] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)


class NobodyCalls(RuntimeError):
    """A programming mistake: a job was asked for outside a request, or before its token was accepted."""


_CALL: ContextVar[Call] = ContextVar("emow2v.call")


def begin_call(call: Call) -> Token[Call]:
    """Make a request the present one, also in the threads that it uses; gives what `end_call` takes."""
    return _CALL.set(call)


def end_call(token: Token[Call]) -> None:
    """The request has been answered."""
    _CALL.reset(token)


def present_call() -> Call:
    """The present request.

    Raises:
        NobodyCalls: there is none
    """
    call = _CALL.get(None)
    if call is None:
        raise NobodyCalls("nobody calls: no request is being answered here")
    return call


def caller() -> Person:
    """The person of the present request.

    Raises:
        NobodyCalls: no token was accepted yet
    """
    person = present_call().person
    if person is None:
        raise NobodyCalls("nobody calls: no token was accepted")
    return person


def check_name(name: str) -> str:
    """A name that a person may have; it is also that of a folder.

    Raises:
        Emow2vError: one sentence on what was expected
    """
    if not is_name(name):
        raise Emow2vError(
            f"The name is '{name[:60]}'; expected 1 to 40 of a-z, 0-9, dot, dash and underscore, beginning with a letter or "
            "digit, such as anna or nova-pc3."
        )
    return name


def is_name(text: str) -> bool:
    """Whether a text is a name as `check_name` expects it."""
    return bool(_NAME.fullmatch(text)) and safe_name(text, "") == text
