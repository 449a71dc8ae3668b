"""Local servers of files for tests: with and without ranges, hostile ones, and ones with a certificate of a test authority."""

import contextlib
import datetime
import ipaddress
import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOOPBACK = ("127.0.0.0/8",)  # the network that a test's administrator allows


@dataclass
class Site:
    """A server while it runs.

    Attributes:
        port: on 127.0.0.1
        asked: path and Range header of each request that came
        posted: headers and body of each POST
    """

    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)
    posted: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/talk.wav", scheme: str = "http") -> str:
        return f"{scheme}://{self.host}{path}"


Reply = Callable[[BaseHTTPRequestHandler], None]


def give(handler: BaseHTTPRequestHandler, body: bytes, *, ranges: bool = True, **headers: str) -> None:
    """Answer with a file, or the part that was asked for."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    part = body
    if asked and ranges:
        first, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
        part = body[first : last + 1]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
    else:
        handler.send_response(200)
    for name, value in {"Content-Length": str(len(part)), "ETag": '"1"', **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(part)


def move(handler: BaseHTTPRequestHandler, location: str, status: int = 302) -> None:
    """Answer with a redirect."""
    handler.send_response(status)
    handler.send_header("Location", location)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break off here; their tests look at what the clients say."""


@contextlib.contextmanager
def serving(reply: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server on 127.0.0.1 that answers every request by a function."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers.get("Range", "")))
            with contextlib.suppress(OSError):
                reply(self)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            site.posted.append((dict(self.headers), body))
            with contextlib.suppress(OSError):
                reply(self)

    server = _Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    site = Site(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        socketserver.BaseServer.server_close(server)
        server.socket.close()
        thread.join()


def certificates(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """The TLS context of a server with a certificate for these names, and the file of the authority that signed it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)

    def certify(name: str, key: Any, issuer: str, signing: Any, *extensions: tuple[Any, bool]) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signing, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    basic = x509.BasicConstraints(ca=True, path_length=None)
    root = certify(
        "test authority", root_key, "test authority", root_key, (basic, True), (usage, True), (identifier, False)
    )
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = certify(
        names[0],
        key,
        "test authority",
        root_key,
        (x509.SubjectAlternativeName(alternatives), False),
        (authority, False),
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        leaf.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, folder / "authority.pem"
