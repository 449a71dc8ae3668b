"""The web as requests may use it: one client that connects to checked addresses only.

httpcore speaks HTTP, because its network backend is the one place where a connection is made: names are resolved and
checked there, and the connection goes to the address that was checked, with the certificate of the name. httpcore
itself follows no redirects, reads no proxy from the environment, keeps no cookies and decompresses nothing.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpcore

from emow2v.errors import Emow2vError
from emow2v.sources.address import Address, Network, SourceError, parse, parse_hosts, parse_networks, refusal

MAX_REDIRECTS = 5
CONNECT_S = 10.0  # to connect to one address
ANSWER_S = 30.0  # until an answer begins, and for each piece of it
PIECE = 1 << 16  # bytes
_REDIRECTS = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host name, as the operating system knows them.

    Raises:
        OSError: the name is unknown
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Unreachable(SourceError):
    """A server does not answer, or breaks off; it may answer later."""


@dataclass(frozen=True)
class Web:
    """What an administrator allows.

    Attributes:
        hosts: as "host" or "host:port"; none by default
        networks: networks that are not public, in which these hosts may lie, as "10.1.0.0/16"
        max_bytes: largest recording; 0 for no limit
        max_s: seconds that one recording may be waited for, in all
        option: of the command line that names the hosts, for sentences
        expected: what is fetched, for sentences
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    max_bytes: int = 0
    max_s: float = 3600.0
    option: str = "--allow-source"
    expected: str = "a recording"

    def check(self) -> None:
        """Refuse hosts and networks that cannot be read, with an Emow2vError."""
        parse_hosts(self.hosts, self.option)
        parse_networks(self.networks, "--allow-network")

    def address(self, text: str) -> Address:
        """The address that a request names.

        Raises:
            SourceError: it has no usable form, or is not one of the allowed hosts
        """
        return self.allowed(parse(text))

    def allowed(self, address: Address) -> Address:
        """The address, if its host and port are allowed; raises SourceError."""
        if not self.hosts:
            raise SourceError(
                f"The address {address.shown} is not fetched, because this server allows no host; "
                f"expected one that the administrator names with {self.option}."
            )
        if (address.host, address.port) not in parse_hosts(self.hosts, self.option):
            raise SourceError(
                f"The host {address.host} with the port {address.port} is not allowed here; "
                f"expected one that the administrator names with {self.option}."
            )
        return address


@dataclass
class Deadline:
    """The time that is left for an answer, and for all of a client's answers together.

    Attributes:
        total_s: seconds of waiting that are left
        until: clock time at which the present answer must be there
    """

    total_s: float
    until: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @contextlib.contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Count the time of a with block, which may take so many seconds."""
        begun = self.clock()
        self.until = begun + min(seconds, self.total_s)
        try:
            yield
        finally:
            self.total_s -= self.clock() - begun

    def left(self) -> float:
        """Seconds that are left.

        Raises:
            httpcore.ReadTimeout: none
        """
        if (left := self.until - self.clock()) <= 0:
            raise httpcore.ReadTimeout("no time is left")
        return left


class _Stream(httpcore.NetworkStream):
    """A connection of which every step ends with the deadline, also where bytes come one by one."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Pinned(httpcore.NetworkBackend):
    """Connects to the checked addresses of a name, never to the name itself.

    Attributes:
        known: addresses by host and port: a name is resolved once
    """

    def __init__(self, networks: tuple[Network, ...], resolve: Resolve, deadline: Deadline) -> None:
        self._networks, self._resolve, self._deadline = networks, resolve, deadline
        self._sockets = httpcore.SyncBackend()
        self.known: dict[tuple[str, int], list[str]] = {}

    def check(self, host: str, port: int) -> list[str]:
        """The addresses of a host.

        Raises:
            SourceError: one of them is not allowed
            Unreachable: the name is unknown
        """
        if (host, port) not in self.known:
            try:
                found = self._resolve(host, port)
            except (OSError, UnicodeError):
                found = []
            if not found:
                raise Unreachable(f"The host {host} has no address; check its name.")
            for ip in found:
                if why := refusal(ip, self._networks):
                    raise SourceError(
                        f"The host {host} has the address {ip}, which {why}; expected public addresses, or those of --allow-network."
                    )
            self.known[host, port] = found
        return self.known[host, port]

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception = httpcore.ConnectError("no address")
        for ip in self.check(host, port):
            try:
                seconds = min(CONNECT_S, self._deadline.left())
                return _Stream(self._sockets.connect_tcp(ip, port, seconds, None, socket_options), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


@dataclass
class Answer:
    """The head of an answer, and its body.

    Attributes:
        address: after redirects
        headers: by lower-case names
    """

    address: Address
    status: int
    headers: Mapping[str, str]
    _pieces: Iterator[bytes] = field(repr=False)
    _deadline: Deadline = field(repr=False)
    _close: Callable[[], None] = field(repr=False)
    _left: bytes = field(default=b"", repr=False)  # behind the bytes that were given

    def read(self, size: int = PIECE) -> bytes:
        """The next bytes of the body: so many, or fewer at its end.

        Raises:
            Unreachable: the connection broke, or they did not come within `ANSWER_S`
        """
        data = bytearray(self._left)
        with _as_sentences(self.address), self._deadline.waiting(ANSWER_S):
            while len(data) < size and (piece := next(self._pieces, b"")):
                data += piece
        self._left = bytes(data[size:])
        return bytes(data[:size])

    def close(self) -> None:
        """Close the answer; a body that was not read to its end closes the connection."""
        self._close()


class Client:
    """Connections to the hosts that a `Web` allows, for one job.

    Args:
        web: what is allowed
        max_s: seconds of waiting in all; default: those of `web`
        resolve: gives the addresses of a name
        tls: checks certificates; default: as httpx checks them, with SSL_CERT_FILE and SSL_CERT_DIR
    """

    def __init__(
        self,
        web: Web,
        *,
        max_s: float | None = None,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.web = web
        self.deadline = Deadline(web.max_s if max_s is None else max_s)
        networks = parse_networks(web.networks, "--allow-network")
        self._backend = _Pinned(networks, resolve, self.deadline)
        self._tls = tls
        self._pool: httpcore.ConnectionPool | None = None

    def close(self) -> None:
        """Close all connections; a later request opens a new one."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def check(self, address: Address) -> None:
        """Refuse an address whose host, port or IP address is not allowed; connects to nothing.

        Raises:
            SourceError: it is not allowed, or its name is unknown
        """
        self.web.allowed(address)
        with self.deadline.waiting(ANSWER_S):  # the operating system may take its time
            self._backend.check(address.host, address.port)

    def get(self, address: Address, headers: Mapping[str, str]) -> Answer:
        """Ask for an address, and for those that it redirects to, each checked as the first.

        Raises:
            SourceError: an address is not allowed
            Unreachable: a server does not answer
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = self.send("GET", address, headers)
            if answer.status not in _REDIRECTS:
                return answer
            answer.close()
            location = answer.headers.get("location", "")
            if not location:
                raise SourceError(f"{address.shown} redirects to nowhere; expected {self.web.expected}.")
            address = address.join(location)
        raise SourceError(
            f"{address.shown} is behind more than {MAX_REDIRECTS} redirects; expected {self.web.expected}."
        )

    def send(self, method: str, address: Address, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send one request to a checked address; redirects are not followed. Raises as `get` does."""
        self.check(address)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = httpcore.URL(
            scheme=address.scheme.encode(), host=host.encode(), port=address.port, target=address.target.encode()
        )
        request = httpcore.Request(method, url, headers=[*self._host(address), *sent], content=body or None)
        if body:
            request.headers.append((b"Content-Length", str(len(body)).encode()))
        with _as_sentences(address), self.deadline.waiting(ANSWER_S):
            response = self._connections().handle_request(request)
        pieces = iter(response.iter_stream())
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return Answer(address, response.status, named, pieces, self.deadline, response.close)

    @staticmethod
    def _host(address: Address) -> list[tuple[bytes, bytes]]:
        return [(b"Host", address.origin.partition("://")[2].encode()), (b"User-Agent", b"emow2v")]

    def _connections(self) -> httpcore.ConnectionPool:
        if self._pool is None:
            import httpx  # takes 0.1 s

            tls = self._tls or httpx.create_ssl_context()
            self._pool = httpcore.ConnectionPool(ssl_context=tls, network_backend=self._backend, keepalive_expiry=30)
        return self._pool


@contextlib.contextmanager
def _as_sentences(address: Address) -> Iterator[None]:
    """Errors of httpcore as sentences, which name the address without its query."""
    try:
        yield
    except Emow2vError:
        raise
    except (httpcore.TimeoutException, httpcore.PoolTimeout):
        raise Unreachable(f"{address.shown} does not answer in time; try again later.") from None
    except httpcore.ConnectError as error:
        said = str(error).lower()
        if "certificate" in said:
            raise SourceError(
                f"{address.shown} has no certificate that is valid for {address.host}; expected one of a known authority."
            ) from None
        raise Unreachable(f"{address.shown} cannot be reached; check the host, or try again later.") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        raise Unreachable(f"{address.shown} breaks off, or does not speak HTTP; try again later.") from None
