"""The client: connections go to checked addresses only, whatever a server or the names of the net answer."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import webs
from emow2v.errors import Emow2vError
from emow2v.sources import web as module
from emow2v.sources.address import SourceError, parse
from emow2v.sources.web import Client, Deadline, Unreachable, Web

METADATA = "169.254.169.254"


def allowing(*hosts: str, networks: tuple[str, ...] = webs.LOOPBACK) -> Web:
    return Web(hosts, networks)


def body_of(client: Client, url: str) -> bytes:
    answer = client.get(client.web.address(url), {})
    try:
        return answer.read()
    finally:
        answer.close()
        client.close()


@pytest.fixture
def site() -> Iterator[webs.Site]:
    with webs.serving(lambda handler: webs.give(handler, b"sound")) as site:
        yield site


def test_a_file_of_an_allowed_host(site: webs.Site) -> None:
    assert body_of(Client(allowing(site.host)), site.url()) == b"sound"
    assert site.asked == [("/talk.wav", "")]


def test_by_default_no_host_is_allowed(site: webs.Site) -> None:
    with pytest.raises(
        SourceError, match="allows no host; expected one that the administrator names with --allow-source"
    ):
        Web().address(site.url())
    assert not site.asked


def test_a_host_and_a_port_are_allowed_together(site: webs.Site) -> None:
    with pytest.raises(SourceError, match="port 81 is not allowed"):
        allowing("example.org").address("http://example.org:81/")
    with pytest.raises(SourceError, match="is not allowed"):
        allowing(f"example.org:{site.port}").address(site.url())
    assert allowing("example.org").address("https://EXAMPLE.org/a").port == 443
    with pytest.raises(Emow2vError, match="--allow-source is"):
        allowing("http://example.org").check()


@pytest.mark.parametrize(
    "url",
    ["http://2130706433:{}/", "http://0x7f000001:{}/", "http://0177.0.0.1:{}/", "http://127.1:{}/", "http://0.0.0.0:{}/",
     "http://[::1]:{}/", "http://[::ffff:127.0.0.1]:{}/", "http://[::]:{}/", "http://allowed.org@127.0.0.1:{}/",
     "http://localhost:{}/", "http://127.0.0.1:{}@allowed.org/"],
)  # fmt: skip
def test_other_forms_of_a_loopback_address_reach_nothing(site: webs.Site, url: str) -> None:
    web = Web((f"allowed.org:{site.port}", f"0.0.0.0:{site.port}", f"[::1]:{site.port}", f"[::]:{site.port}"))
    with pytest.raises(SourceError):
        body_of(Client(web), url.format(site.port))
    assert not site.asked


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "::ffff:127.0.0.1", METADATA, "10.0.0.7", "0.0.0.0", "fe80::1%lo"])
def test_a_name_with_an_address_that_is_not_public_is_refused_even_beside_public_ones(site: webs.Site, ip: str) -> None:
    client = Client(Web((f"allowed.org:{site.port}",)), resolve=lambda host, port: ["93.184.216.34", ip])
    with pytest.raises(SourceError, match=r"The host allowed\.org has the address .* which"):
        body_of(client, f"http://allowed.org:{site.port}/")
    assert not site.asked


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(site: webs.Site) -> None:
    answers = [["127.0.0.1"], ["127.9.9.9"], [METADATA]]  # a server of names that changes its mind
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    client = Client(allowing(f"allowed.org:{site.port}"), resolve=resolve)
    url = f"http://allowed.org:{site.port}/talk.wav"
    client.check(client.web.address(url))
    for _ in range(3):
        assert body_of(client, url) == b"sound"  # each on a new connection
    assert asked == ["allowed.org"]
    with pytest.raises(SourceError, match=r"link-local|own services"):
        Client(allowing(f"allowed.org:{site.port}"), resolve=lambda host, port: answers[2]).check(parse(url))


def test_the_system_is_not_asked_again_for_a_name_that_was_checked(
    site: webs.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[object] = []
    real = socket.getaddrinfo

    def watched(host: object, *arguments: object, **options: object) -> object:
        looked_up.append(host)
        return real(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    client = Client(allowing(f"localhost:{site.port}", networks=(*webs.LOOPBACK, "::1/128")))
    assert body_of(client, f"http://localhost:{site.port}/") == b"sound"
    assert looked_up.count("localhost") == 1
    assert set(looked_up) <= {"localhost", "127.0.0.1", "::1"}


def test_a_name_without_an_address() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "unknown")

    with pytest.raises(Unreachable, match="has no address; check its name"):
        body_of(Client(allowing("allowed.org"), resolve=resolve), "https://allowed.org/")


# --- redirects ---


@pytest.mark.parametrize(
    "location",
    [f"http://{METADATA}/latest/meta-data/", f"http://[::ffff:{METADATA}]/", "http://2852039166/", "http://localhost/",
     "http://metadata.google.internal/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://user@allowed.org/", "//0.0.0.0/", ""],
)  # fmt: skip
def test_redirects_are_checked_as_the_first_address(location: str) -> None:
    with webs.serving(lambda handler: webs.move(handler, location)) as site, pytest.raises(SourceError):
        body_of(Client(allowing(site.host)), site.url())
    assert len(site.asked) == 1


def test_a_redirect_to_an_allowed_name_that_leads_to_a_metadata_service() -> None:
    names = {"allowed.org": "127.0.0.1", "other.org": METADATA}
    with webs.serving(lambda handler: webs.move(handler, "http://other.org/")) as site:
        client = Client(allowing(f"allowed.org:{site.port}", "other.org"), resolve=lambda host, port: [names[host]])
        with pytest.raises(SourceError, match=r"other\.org has the address 169\.254\.169\.254"):
            body_of(client, f"http://allowed.org:{site.port}/")


def test_redirects_are_followed_to_allowed_hosts_and_end() -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/here":
            webs.give(handler, b"sound")
        else:
            webs.move(handler, "/here" if handler.path == "/talk.wav" else "/on", 307)

    with webs.serving(reply) as site:
        assert body_of(Client(allowing(site.host)), site.url()) == b"sound"
        with pytest.raises(SourceError, match="more than 5 redirects"):
            body_of(Client(allowing(site.host)), site.url("/on"))
    assert len(site.asked) == 2 + 6


# --- the environment ---


def test_no_proxy_of_the_environment_is_used(site: webs.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with webs.serving(lambda handler: webs.give(handler, b"proxy")) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
            monkeypatch.setenv(name.upper(), f"http://{proxy.host}")
        assert body_of(Client(allowing(site.host)), site.url()) == b"sound"
    assert not proxy.asked


# --- certificates ---


def test_the_certificate_is_that_of_the_name_although_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    server, authority = webs.certificates(tmp_path, "allowed.org")
    trusting = ssl.create_default_context(cafile=str(authority))
    names: list[str | None] = []

    def named(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        names.append(name)

    server.sni_callback = named
    with webs.serving(lambda handler: webs.give(handler, b"sound"), server) as site:
        web = allowing(f"allowed.org:{site.port}", f"other.org:{site.port}", site.host)

        def client(tls: ssl.SSLContext | None) -> Client:
            return Client(web, resolve=lambda host, port: ["127.0.0.1"], tls=tls)

        assert body_of(client(trusting), f"https://allowed.org:{site.port}/") == b"sound"
        assert names == ["allowed.org"]
        for host, tls in (("other.org", trusting), ("allowed.org", None), ("127.0.0.1", trusting)):
            with pytest.raises(SourceError, match=f"no certificate that is valid for {host}"):
                body_of(client(tls), f"https://{host}:{site.port}/")
        with pytest.raises(Unreachable):  # TLS where HTTP is spoken
            body_of(client(None), f"http://allowed.org:{site.port}/")
    assert len(site.asked) == 1


def test_an_authority_of_the_environment_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, authority = webs.certificates(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with webs.serving(lambda handler: webs.give(handler, b"sound"), server) as site:
        assert body_of(Client(allowing(site.host)), site.url(scheme="https")) == b"sound"


# --- servers that keep a client waiting ---


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(1)  # until the client hangs up


def headers_one_by_one(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X: 1\r\n")
        time.sleep(0.02)


def body_one_by_one(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def answers_before_the_answer(handler: BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize("reply", [silent, headers_one_by_one, body_one_by_one, answers_before_the_answer])
def test_an_answer_has_so_much_time_however_its_bytes_come(reply: webs.Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.4)
    with webs.serving(reply) as site, pytest.raises(Unreachable, match="does not answer in time"):
        body_of(Client(allowing(site.host)), site.url())


def test_all_answers_together_have_so_much_time() -> None:
    with webs.serving(body_one_by_one) as site, pytest.raises(Unreachable, match="does not answer in time"):
        body_of(Client(allowing(site.host), max_s=0.4), site.url())


def test_the_time_that_is_left_is_what_was_not_waited() -> None:
    moment = 0.0
    deadline = Deadline(10, clock=lambda: moment)
    with deadline.waiting(4):
        assert deadline.left() == 4
        moment = 3
        assert deadline.left() == 1
    assert deadline.total_s == 7
    moment = 100  # time between answers does not count
    with deadline.waiting(30):
        assert deadline.left() == 7


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
             b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, b"HTTP/1.1 999999 x\r\n\r\n"],
)  # fmt: skip
def test_answers_that_are_none(sent: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):  # the client may have enough
                connection.recv(1000)
                connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"breaks off|cannot be reached"):
            body_of(Client(allowing(host)), f"http://{host}/")
        thread.join()


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Unreachable, match="cannot be reached") as caught:
            body_of(Client(allowing(host)), f"http://{host}/talk.wav?sig=secret")
    assert "secret" not in str(caught.value)
