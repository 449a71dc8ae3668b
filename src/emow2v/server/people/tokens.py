"""Named tokens: a file in the work folder with their hashes, which a running server reads anew when it changes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from emow2v import storage
from emow2v.errors import Emow2vError
from emow2v.server.people.person import Person, Role, check_name, is_name
from emow2v.storage import locks
from emow2v.storage.atomic import atomic_file

FILE = "tokens.json"
_FORMAT = 1
_RANDOM_BYTES = 32  # nobody can guess so many, so that a plain hash hides them
_MOST_DAYS = 36_500


@dataclass(frozen=True)
class NamedToken:
    """A token as the file has it. Times are UTC, ISO 8601; empty for never.

    Attributes:
        name: of the person
        role: see `Person`
        sha256: of the token, hexadecimal
        created, expires, removed: the token is valid from the first until the others
    """

    name: str
    role: Role
    sha256: str
    created: str
    expires: str = ""
    removed: str = ""

    @property
    def person(self) -> Person:
        return Person(self.name, self.role)

    def state(self, now: datetime) -> str:
        """valid, expired or removed."""
        if self.removed:
            return "removed"
        return "expired" if self.expires and datetime.fromisoformat(self.expires) <= now else "valid"


class Tokens:
    """The named tokens of a work folder; safe to use from several threads and processes.

    A removed token stays in the file, so that a refusal can name it, and so that a name is not given to a second person
    by accident. Once the file exists, the server requires a token, also where all of them are removed, or the file itself is.

    Args:
        work_dir: of the server
    """

    def __init__(self, work_dir: Path) -> None:
        self.path = work_dir / FILE
        self._lock = threading.Lock()
        self._read: tuple[object, tuple[NamedToken, ...]] = (None, ())
        self._was_there = False

    @property
    def required(self) -> bool:
        """Whether the file exists, or existed before: a folder that is gone must not open the server to everybody."""
        self._was_there = self._was_there or self._stamp() is not None
        return self._was_there

    def all(self) -> Sequence[NamedToken]:
        """Every token, also expired and removed ones, the oldest first.

        Raises:
            Emow2vError: the file cannot be read
        """
        stamp = self._stamp()
        with self._lock:
            if stamp is None:
                return ()
            if self._read[0] != stamp:
                self._read = (stamp, self._load())
            return self._read[1]

    def find(self, candidate: str) -> NamedToken | None:
        """The token with this text, also an expired or removed one; the time taken does not tell how much of it is right.

        Raises:
            Emow2vError: the file cannot be read
        """
        digest, found = hashed(candidate), None
        for one in self.all():
            if hmac.compare_digest(one.sha256, digest):
                found = one
        return found

    def add(self, name: str, role: Role = "member", expires: str = "", *, again: bool = False) -> str:
        """A new token for a name.

        Args:
            expires: see `end_of`; "" for never
            again: the name may have had a token before, which is valid no longer then

        Returns:
            the token, which is stored nowhere

        Raises:
            Emow2vError: the name is not usable, or had a token before; or the file cannot be written
        """
        check_name(name)
        now = datetime.now(UTC)
        text = f"emow2v_{secrets.token_urlsafe(_RANDOM_BYTES)}"
        made = NamedToken(name, role, hashed(text), _written(now), end_of(expires, now))
        with self._changing():
            before = [one for one in self.all() if one.name == name]
            if before and not again:
                raise Emow2vError(f"{name} {_history(before[-1], now)}")
            kept = [
                replace(one, removed=_written(now)) if one in before and not one.removed else one for one in self.all()
            ]
            self._store([*kept, made])
        return text

    def remove(self, name: str) -> None:
        """Make the token of a name invalid, at once. Jobs and uploads of the name stay.

        Raises:
            Emow2vError: the name has no token; or the file cannot be written
        """
        now = datetime.now(UTC)
        with self._changing():
            if not any(one.name == name and not one.removed for one in self.all()):
                known = ", ".join(sorted({one.name for one in self.all() if not one.removed})) or "none"
                raise Emow2vError(f"'{name[:60]}' has no token that can be removed; names with a token: {known}.")
            self._store(
                [
                    replace(one, removed=_written(now)) if one.name == name and not one.removed else one
                    for one in self.all()
                ]
            )

    def _changing(self) -> locks.Lock:
        folder = self.path.parent
        if storage.kind_of(folder) not in (None, "folder"):
            raise Emow2vError(f"The work folder {folder} is a file; expected a folder.")
        try:
            if not storage.is_folder(folder):
                folder.mkdir(mode=0o700, parents=True)  # as the server makes it
                _give_to_owner(folder)
            return locks.acquire(folder / f"{FILE}.lock", "The tokens are being changed", error=Emow2vError)
        except OSError as error:
            raise Emow2vError(f"The tokens in {folder} cannot be changed ({error.strerror}); {_ACCOUNT}.") from None

    def _store(self, tokens: Sequence[NamedToken]) -> None:
        document = {"format": _FORMAT, "tokens": [asdict(one) for one in tokens]}
        try:
            with atomic_file(self.path, mode=0o600) as file:
                file.write(json.dumps(document, indent=1).encode() + b"\n")
            _give_to_owner(self.path)
        except OSError as error:
            raise Emow2vError(f"{self.path} cannot be written ({error.strerror}); {_ACCOUNT}.") from None

    def _stamp(self) -> object:
        """What changes with each change of the file; None where there is no file."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Emow2vError(f"{self.path} cannot be read ({error.strerror}); {_ACCOUNT}.") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> tuple[NamedToken, ...]:
        try:
            return tuple(_tokens(json.loads(self.path.read_bytes())))
        except OSError as error:
            raise Emow2vError(f"{self.path} cannot be read ({error.strerror}); {_ACCOUNT}.") from None
        except ValueError as error:
            raise Emow2vError(
                f"{self.path} is damaged ({error}), so nobody is let in; bring back a copy, or remove it and add the tokens "
                "again; or update emow2v, if a newer version wrote it."
            ) from None


_ACCOUNT = "run the command, and the server, under the account that the work folder belongs to"


def _give_to_owner(path: Path) -> None:
    """Let what root has made belong to the account of the folder around it, so that the server can use it."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)


def _tokens(document: Any) -> Iterator[NamedToken]:
    """The tokens in a file.

    Raises:
        ValueError: it is not as `Tokens` writes it
    """
    rows = document.get("tokens") if isinstance(document, dict) and document.get("format") == _FORMAT else None
    if not isinstance(rows, list):
        raise ValueError(f"expected format {_FORMAT}, with a list of tokens")
    expected = {one.name for one in fields(NamedToken)}
    for row in rows:
        if not isinstance(row, dict) or set(row) != expected or not all(isinstance(one, str) for one in row.values()):
            raise ValueError(f"expected tokens with {', '.join(sorted(expected))}")
        token = NamedToken(**row)
        if not is_name(token.name) or token.role not in get_args(Role):
            raise ValueError("a name or a role is not usable")
        if token.expires and datetime.fromisoformat(token.expires).tzinfo is None:
            raise ValueError("an end has no time zone")
        yield token


def hashed(token: str) -> str:
    """What is stored of a token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode(errors="backslashreplace")).hexdigest()


def end_of(expires: str, now: datetime) -> str:
    """When a token ends, as it is stored.

    Args:
        expires: the last day, such as 2027-06-30 (UTC), or a number of days, such as 90d; "" for never

    Raises:
        Emow2vError: another text, or a day that is over
    """
    if not expires:
        return ""
    expected = "expected the last day, such as 2027-06-30, or a number of days from 1 on, such as 90d"
    if days := re.fullmatch(r"([0-9]{1,5})d", expires, re.ASCII):
        if not 1 <= int(days[1]) <= _MOST_DAYS:
            raise Emow2vError(f"--expires is '{expires}'; {expected}, {_MOST_DAYS}d at most.")
        return _written(now + timedelta(days=int(days[1])))
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", expires, re.ASCII):
            raise ValueError(expires)
        last = datetime.combine(date.fromisoformat(expires), datetime.min.time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise Emow2vError(f"--expires is '{expires[:40]}'; {expected}.") from None
    if last <= now:
        raise Emow2vError(f"--expires is {expires}, which is over (in UTC); {expected}.")
    return _written(last)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _history(before: NamedToken, now: datetime) -> str:
    """Why a name gets no second token without a further word."""
    said = "has a token" if before.state(now) == "valid" else f"had a token, which is {before.state(now)}"
    return (
        f"{said}; a new one opens the same jobs. Give --again if it is for the same person, who loses the old one; else choose "
        "another name."
    )


def as_role(*, administrator: bool, metrics_only: bool) -> Role:
    """The role that two options of the command line choose.

    Raises:
        Emow2vError: both were given
    """
    if administrator and metrics_only:
        raise Emow2vError("--admin and --metrics-only exclude each other; expected one of them, or neither.")
    return "administrator" if administrator else "metrics" if metrics_only else "member"
