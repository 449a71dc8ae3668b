"""What both clients know of a server and of httpx: address, token, certificates, requests, and errors of connections."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias, TypedDict
from urllib.parse import urlsplit

import httpx

from emow2v._version import __version__
from emow2v.client.exchange import Answer, Lost, Request, Server
from emow2v.errors import ClientError

Verify: TypeAlias = bool | str | os.PathLike[str] | ssl.SSLContext

TOKEN = "EMOW2V_TOKEN"  # of the environment
PATIENCE_S = 120.0
CONNECT_S, WRITE_S = 10.0, 60.0


class Settings(TypedDict, total=False):
    """Arguments of a client, besides the address; see `Connected`."""

    token: str | None
    verify: Verify
    patience_s: float
    trust_env: bool


class Connected:
    """A client of a server.

    Args:
        address: of the server, as http://127.0.0.1:8080 or https://lab.example.org/emow2v
        token: that the administrator gave; the default is `EMOW2V_TOKEN` of the environment; "" for none
        verify: file or folder of certificates of authorities that also count, a context, or False for any certificate
        patience_s: how long an operation waits for a server that is away, or that asks to come back later, in seconds
        trust_env: use the proxies of the environment (HTTPS_PROXY ...)

    Raises:
        ClientError: the address, the token or the certificates cannot be used
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        verify: Verify = True,
        patience_s: float = PATIENCE_S,
        trust_env: bool = False,
    ) -> None:
        self._server = Server(checked(address), patience_s)
        self._context = context(verify) if self._server.address.startswith("https:") else None
        self._headers = {"User-Agent": f"emow2v/{__version__}", **_access(token)}
        self._trust_env = trust_env

    def __repr__(self) -> str:  # without the token
        return f"{type(self).__name__}({self._server.address!r})"

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._server.address

    def _settings(self) -> dict[str, Any]:
        """The arguments of a client of httpx."""
        return {
            "headers": self._headers,
            "verify": self._context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            "trust_env": self._trust_env,
            "follow_redirects": False,  # the token is for this server
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
        }


def checked(address: str) -> str:
    """An address without its last slash and without /v1.

    Raises:
        ClientError: it is none of a server
    """
    text = address.strip()
    expected = "expected one such as http://127.0.0.1:8080 or https://lab.example.org/emow2v"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ClientError(f"The address is '{text[:100]}'; {expected}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ClientError(f"The address is '{text[:100]}'; {expected}.")
    if parts.username is not None or parts.query or parts.fragment:
        raise ClientError(
            f"The address has a user name, a query or a fragment; {expected}. A token is given as token=."
        )
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def _access(token: str | None) -> dict[str, str]:
    given = os.environ.get(TOKEN, "") if token is None else token
    if not given:
        return {}
    if not (given.isascii() and given.isprintable() and given == given.strip()):
        raise ClientError("The token holds characters that no header can; expected letters, digits and signs of ASCII.")
    return {"Authorization": f"Bearer {given}"}


def context(verify: Verify) -> ssl.SSLContext:
    """What certificates count: those of known authorities and of the operating system, and further ones.

    Raises:
        ClientError: the file cannot be used
    """
    if isinstance(verify, ssl.SSLContext):
        return verify
    if verify is False:
        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        return unchecked
    made = httpx.create_ssl_context(trust_env=False)
    made.load_default_certs()
    if verify is not True:
        place = Path(verify)
        try:
            made.load_verify_locations(**{"capath" if place.is_dir() else "cafile": str(place)})
        except OSError as error:  # also ssl.SSLError
            reason = error.strerror or str(error)
            raise ClientError(f"{place} holds no certificates ({reason}); expected a file of PEM.") from None
    return made


@contextlib.contextmanager
def arguments(server: Server, request: Request) -> Iterator[dict[str, Any]]:
    """The arguments of `build_request` of httpx; files are open meanwhile.

    Raises:
        ClientError: a file cannot be read
    """
    fields: dict[str, list[str]] = {}
    for name, text in request.form or ():
        fields.setdefault(name, []).append(text)
    with contextlib.ExitStack() as opened:
        files: list[tuple[str, tuple[str, IO[bytes] | bytes, str]]] = []
        for one in request.attachments:
            source = one.source
            if isinstance(source, Path):
                try:
                    source = opened.enter_context(source.open("rb"))
                except OSError as error:
                    raise ClientError(f"{one.name} cannot be read ({error.strerror}).") from None
            # httpx fails on some names otherwise
            files.append((one.field, (one.name, source, "application/octet-stream")))
        yield {
            "method": request.method,
            "url": f"{server.address}/v1/{request.path}",
            "params": [*request.query] or None,
            "data": fields or None,
            "files": files or None,
            "content": request.content,
            "headers": {"Accept": "application/json", **request.headers},
            "timeout": httpx.Timeout(connect=CONNECT_S, read=request.read_s, write=WRITE_S, pool=None),
        }


def answer_of(response: httpx.Response, body: bytes = b"", stream: Any = None) -> Answer:
    """An answer of httpx."""
    return Answer(response.status_code, {name.lower(): text for name, text in response.headers.items()}, body, stream)


def loss_of(error: httpx.RequestError) -> Lost:
    """What an error of httpx means for the request."""
    reason = str(error).strip().rstrip(".") or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        cause = f"no connection within {CONNECT_S:g} s" if isinstance(error, httpx.ConnectTimeout) else reason
        return Lost(cause, was_sent=False, can_mend="certificate" not in reason.lower() and "ssl" not in reason.lower())
    if isinstance(error, httpx.RemoteProtocolError):
        return Lost(reason, can_mend="disconnected" in reason or "closed connection" in reason)
    if isinstance(error, httpx.TimeoutException):
        return Lost("no answer in time")
    return Lost(reason, can_mend=isinstance(error, httpx.NetworkError))
