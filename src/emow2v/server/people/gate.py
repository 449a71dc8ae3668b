"""The gate: which person a token stands for, and whether one is required at all."""

from __future__ import annotations

import hmac
import logging
import math
from datetime import UTC, datetime

from emow2v.errors import Emow2vError
from emow2v.server.people.attempts import Attempts
from emow2v.server.people.audit import Audit
from emow2v.server.people.person import EVERYBODY, Person
from emow2v.server.people.tokens import Tokens, hashed

_TOO_MANY = ""  # in place of a hash

logger = logging.getLogger("emow2v.server")


class Refused(Emow2vError):
    """A token opens nothing now.

    Attributes:
        status: of the answer
        headers: of the answer
    """

    def __init__(self, sentence: str, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers or {}


class Gate:
    """Who comes in.

    Args:
        token: the single token, whose holder is an administrator without a name; "" for none
        tokens: the named ones
        audit: where refused tokens are written down
        attempts: wrong tokens by address
    """

    def __init__(self, token: str, tokens: Tokens, audit: Audit, attempts: Attempts | None = None) -> None:
        self._token = hashed(token) if token else ""
        self._tokens, self._audit = tokens, audit
        self._attempts = attempts or Attempts()

    @property
    def required(self) -> bool:
        """Whether a token is required."""
        return bool(self._token) or self._tokens.required

    def person(self, candidate: str, client: str) -> Person | None:
        """The person that a token stands for; None where it is missing or wrong.

        Args:
            candidate: the text that came as a token; "" for none
            client: address that it came from

        Raises:
            Refused: the token is expired or removed, or the address has sent too many wrong ones
        """
        try:
            if not self.required:
                return EVERYBODY
        except Emow2vError as error:
            raise self._unreadable(error) from None
        if not candidate:
            return None
        digest = hashed(candidate)
        if seconds := self._attempts.must_wait(client, digest):
            raise self._too_many(client, seconds)
        person = self._known(digest, candidate, client)
        if person is None:
            if self._attempts.count_wrong(client, digest):
                self._refuse(client, "wrong")
        else:
            self._attempts.accept(client, digest)
        return person

    def _known(self, digest: str, candidate: str, client: str) -> Person | None:
        if self._token and hmac.compare_digest(self._token, digest):
            return EVERYBODY
        try:
            found = self._tokens.find(candidate)
        except Emow2vError as error:
            raise self._unreadable(error) from None
        if found is None:
            return None
        state = found.state(datetime.now(UTC))
        if state != "valid":
            if self._attempts.is_news(client, digest):
                self._refuse(client, state, found.name)
            raise Refused(f"The token of {found.name} is {state}; the administrator can give you a new one.", 401)
        return found.person

    def _unreadable(self, error: Emow2vError) -> Refused:
        logger.error("%s", error)
        said = "The list of tokens cannot be read; the administrator finds the reason in the log."
        return Refused(said, 503, {"Retry-After": "60"})

    def _too_many(self, client: str, seconds: float) -> Refused:
        if self._attempts.count_wrong(client, _TOO_MANY):  # once in a while
            self._refuse(client, "too many wrong tokens")
        minutes = math.ceil(seconds / 60)
        return Refused(
            f"Too many wrong tokens came from your address; try again in {minutes} min.",
            429,
            {"Retry-After": str(math.ceil(seconds))},
        )

    def _refuse(self, client: str, why: str, name: str = "") -> None:
        logger.warning("a token was refused (%s)", why, extra={"client": client})
        self._audit.refused(client, why, name)
