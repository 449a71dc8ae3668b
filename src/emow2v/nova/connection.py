"""Connections to NOVA's database: hosts that an administrator allows, TLS, users, and a sentence for each error."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from emow2v.errors import DatabaseError
from emow2v.storage import shown

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

DEFAULT_PORT = 27017
_ANSWERED_S = 60.0  # for one answer
_HOST = re.compile(r"(?:mongodb://)?(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?/?", re.IGNORECASE)
_DATASET = re.compile(r"[^\x00-\x20/\\.\"$*<>:|?\x7f]+")  # what every version of MongoDB takes as a name
_SYSTEM = ("admin", "config", "local")
_LOCKED_OUT, _NOT_ALLOWED = (11, 18, 334), 13  # codes of MongoDB


class NoAnswer(DatabaseError):
    """A database cannot be reached, or its connection was lost for good."""


@dataclass(frozen=True)
class Credentials:
    """A user of the database. No user: the database has none.

    Attributes:
        password: never shown
    """

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Databases:
    """The databases that requests may name: an administrator's choice, none by default.

    Attributes:
        hosts: "host", which allows the port 27017, or "host:port"
        credentials: of requests that bring none
        tls: whether connections are encrypted, and the certificate checked
        authorities: file with certificates (PEM) that count instead of the known ones
        reached_s: seconds within which a server must be reached
    """

    hosts: Sequence[str] = ()
    credentials: Credentials = Credentials()
    tls: bool = True
    authorities: Path | None = None
    reached_s: float = 5.0

    def check(self) -> None:
        """Refuse settings that cannot be meant.

        Raises:
            DatabaseError: no host, a missing file, or a missing package
        """
        for one in self.hosts:
            _address(one, "", f"--allow-database is {shown(one) or 'empty'}")
        if self.hosts and find_spec("pymongo") is None:
            raise DatabaseError(
                "--allow-database requires pymongo, which is not installed: pip install 'emow2v[mongodb]'."
            )
        if self.authorities and not self.authorities.is_file():
            raise DatabaseError(f"--database-ca {shown(self.authorities)} is no file; expected certificates (PEM).")
        useless = {
            "--database-user": self.credentials.user, "--database-ca": self.authorities, "--database-no-tls": not self.tls,
        }  # fmt: skip
        if not self.hosts and (option := next((name for name, value in useless.items() if value), "")):
            raise DatabaseError(f"{option} has no effect without --allow-database; set both, or neither.")
        if self.authorities and not self.tls:
            raise DatabaseError("--database-ca has no effect with --database-no-tls; expected one of them.")
        if self.authorities:
            _check_certificates(self.authorities)
        if self.credentials.password and not self.credentials.user:
            raise DatabaseError("--database-password is set without --database-user; set both, or neither.")

    def address(self, host: str, port: str = "") -> tuple[str, int]:
        """The host and the port that a request names, as allowed.

        Args:
            host: as NOVA sends it: a name or an IP address, perhaps with mongodb:// before and a port behind it
            port: "" for that of the host

        Raises:
            DatabaseError: no host, or one that is not allowed
        """
        user, sign, behind = host.rpartition("@")  # a password may stand before it, and others behind a question mark
        found = _address(host, port, f"dbHost is {'...' if user else ''}{shown((sign + behind).partition('?')[0])}")
        if found not in [_address(one, "", "") for one in self.hosts]:
            raise DatabaseError(
                f"The database at {_said(found)} is not allowed here; the server's administrator allows one with "
                "--allow-database HOST:PORT."
            )
        return found

    def connect(self, host: str, port: str, credentials: Credentials) -> Connection:
        """A connection; nothing is sent before it is first used.

        Args:
            credentials: of the request; without a user, those of the administrator count

        Raises:
            DatabaseError: see `address`; pymongo is not installed; a password without its user
        """
        address = self.address(host, port)
        if find_spec("pymongo") is None:
            raise DatabaseError(
                "The origin db: requires pymongo, which is not installed: pip install 'emow2v[mongodb]'."
            )
        _check_credentials(credentials)
        return Connection(address, credentials if credentials.user else self.credentials, self)


class Connection:
    """A connection to one server of MongoDB. Closing it twice does nothing.

    Args:
        address: host and port
        credentials: of the user
        databases: how connections are made
    """

    def __init__(self, address: tuple[str, int], credentials: Credentials, databases: Databases) -> None:
        self.address = address
        self._credentials, self._databases = credentials, databases
        self._client: MongoClient[dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """Host and port, for sentences."""
        return _said(self.address)

    def dataset(self, name: str) -> Database[dict[str, Any]]:
        """The database of a dataset.

        Raises:
            DatabaseError: no database can have the name, or it is MongoDB's own
        """
        if not _DATASET.fullmatch(name) or not name.isprintable() or len(name.encode()) > 63 or name in _SYSTEM:
            raise DatabaseError(f"dataset is {shown(name)}; expected the name of a dataset of NOVA's database.")
        return self._connected()[name]

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn the driver's errors into sentences.

        Raises:
            DatabaseError: instead of them
        """
        from bson.errors import BSONError
        from pymongo.errors import PyMongoError

        try:
            yield
        except (PyMongoError, BSONError) as error:
            self._refuse(error)

    def _connected(self) -> MongoClient[dict[str, Any]]:
        if self._client is None:
            from pymongo import MongoClient

            options: dict[str, Any] = {"directConnection": True, "retryWrites": False, "appname": "emow2v"}
            if self._credentials.user:
                # in the parameters, never in an address that an error could show
                options |= {"username": self._credentials.user, "password": self._credentials.password}
            if self._databases.tls:
                authorities = self._databases.authorities
                options |= {"tls": True, **({"tlsCAFile": str(authorities)} if authorities else {})}
            reached_ms = round(self._databases.reached_s * 1000)
            with self.sentences():
                self._client = MongoClient(
                    self.address[0].strip("[]"),
                    self.address[1],
                    serverSelectionTimeoutMS=reached_ms,
                    connectTimeoutMS=reached_ms,
                    socketTimeoutMS=round(_ANSWERED_S * 1000),
                    **options,
                )
        return self._client

    def _refuse(self, error: Exception) -> NoReturn:
        from pymongo import errors

        where, text = f"NOVA's database at {self.name}", str(error)
        user = f"the user {shown(self._credentials.user)}" if self._credentials.user else "requests without a user"
        if isinstance(error, errors.OperationFailure) and error.code in _LOCKED_OUT:
            raise DatabaseError(f"{where} refuses {user}; check dbUser and dbPassword.") from None
        if isinstance(error, errors.OperationFailure) and error.code == _NOT_ALLOWED:
            raise DatabaseError(
                f"{where} does not allow this to {user}; ask its administrator for the rights."
            ) from None
        if isinstance(error, errors.DocumentTooLarge):
            raise DatabaseError(
                f"{where} takes no document so large; choose a scheme with a lower sr, or a part."
            ) from None
        if "certificate verify failed" in text:
            raise DatabaseError(
                f"{where} has a certificate that is not trusted; the server's administrator names its authority with --database-ca."
            ) from None
        if isinstance(error, errors.ConnectionFailure):
            hint = "speaks TLS (else: --database-no-tls)" if self._databases.tls else "does not require TLS"
            raise NoAnswer(f"{where} does not answer; check that it runs and {hint}, and try it again.") from None
        named = error.details.get("codeName") if isinstance(error, errors.OperationFailure) and error.details else None
        said = shown(str(named or type(error).__name__))
        hint = ", and whether it has users" if self._credentials.user else ""
        raise DatabaseError(f"{where} refuses it ({said}); check its log{hint}.") from None


def _address(host: str, port: str, what: str) -> tuple[str, int]:
    found = _HOST.fullmatch(host.strip())
    ports = [text for text in (port.strip(), found[2] if found else "") if text]
    numbers = {int(text) for text in ports if text.isascii() and text.isdigit() and 0 < int(text) < 65536}
    if found is None:
        raise DatabaseError(f"{what}; expected a host, such as 127.0.0.1 or nova.example.org:27017.")
    if len(numbers) != len({*ports}) or len(numbers) > 1:
        raise DatabaseError(
            f"The port of the database is {shown(' and '.join(ports))}; expected one number up to 65535."
        )
    return found[1].lower(), numbers.pop() if numbers else DEFAULT_PORT


def _check_certificates(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(file))
    except OSError as error:  # of which ssl.SSLError is one
        why = "no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise DatabaseError(
            f"--database-ca {shown(file)} cannot be read ({why}); expected certificates (PEM)."
        ) from None


def _check_credentials(credentials: Credentials) -> None:
    from pymongo.saslprep import saslprep  # RFC 4013, by which a driver prepares passwords

    if credentials.password and not credentials.user:
        raise DatabaseError("dbPassword is set without dbUser; expected both, or neither.")
    if not credentials.user.isprintable():
        raise DatabaseError(f"dbUser is {shown(credentials.user)}; expected a name without control characters.")
    if not credentials.password:
        return
    try:
        credentials.password.encode()
        saslprep(credentials.password)
    except ValueError:
        raise DatabaseError("dbPassword holds a character that no password of MongoDB has; check it.") from None


def _said(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
