"""Addresses: one form is read, every other one is refused; IP addresses that are never connected to."""

import ipaddress

import pytest

from emow2v.errors import Emow2vError
from emow2v.sources.address import (
    MAX_LENGTH,
    SourceError,
    hide_secrets,
    parse,
    parse_hosts,
    parse_networks,
    refusal,
)

pytestmark = pytest.mark.quick


def test_the_parts_of_an_address() -> None:
    address = parse("HTTPS://Archive.Example.org:8443/study 1/talk.wav?sig=a%20b#t=3".replace(" ", "%20"))
    assert (address.scheme, address.host, address.port) == ("https", "archive.example.org", 8443)
    assert address.target == "/study%201/talk.wav?sig=a%20b"
    assert (address.name, address.shown) == ("talk.wav", "https://archive.example.org:8443/study%201/talk.wav")
    assert parse("http://example.org").text == "http://example.org/"
    assert parse("http://example.org./a").host == "example.org"
    assert parse("https://[2001:DB8:0::1]/a").origin == "https://[2001:db8::1]"
    assert parse("https://example.org/Gespräch.wav").target == "/Gespr%C3%A4ch.wav"


@pytest.mark.parametrize(
    "text",
    [
        "", "talk.wav", "ftp://example.org/a", "file:///etc/passwd", "gopher://example.org", "//example.org/a",
        "http:/example.org", "http:example.org", "http://", "http:///a", "http://:80/a",
        # user names, and what some programs take for them
        "http://me:hunter2@example.org/a", "http://example.org@127.0.0.1/", "http://allowed.org%40127.0.0.1/",
        "http://127.0.0.1#@example.org@/a b", "http://127.0.0.1\\@example.org/", "http://example.org\\.evil.org/",
        "http://a@b@127.0.0.1/",
        # IP addresses in other forms
        "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.1/",
        "http://010.0.0.1/", "http://127.0.0.01/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://example.0x10/",
        "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/",
        # zones, escapes, broken brackets
        "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1/", "http://[1.2.3.4]/", "http://[]/", "http://%31/",
        # blanks and line ends
        "http://exa mple.org/", "http://example.org/a\r\nHost: evil", "http://example.org/\x00", "http://example.org/\ud800",
        # ports and names
        "http://example.org:0/", "http://example.org:65536/", "http://example.org:8o/", "http://example.org:-1/",
        "http://-a.org/", "http://a..org/", "http://.org/", f"http://{'a' * 64}.org/", "http://münchen.example/",
        "http://example.org/" + "a" * MAX_LENGTH,
    ],
)  # fmt: skip
def test_every_other_form_is_refused_with_one_sentence(text: str) -> None:
    with pytest.raises(SourceError, match="expected") as caught:
        parse(text)
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and "hunter2" not in said and len(said) < 400


def test_a_redirect_is_read_as_an_address_and_stays_with_https() -> None:
    here = parse("https://example.org/a/talk.wav?sig=1")
    assert here.join("b.wav").text == "https://example.org/a/b.wav"
    assert here.join("//other.org/c").origin == "https://other.org"
    for location in ("http://example.org/a", "file:///etc/passwd", "https://user@example.org/", "http://2130706433/"):
        with pytest.raises(SourceError):
            here.join(location)


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "0.1.2.3",
        "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254",
        "ff02::1", "2001:db8::1", "100::1", "4000::1",
    ],
)  # fmt: skip
def test_ip_addresses_that_are_not_public_are_refused(ip: str) -> None:
    assert refusal(ip)


@pytest.mark.parametrize("ip", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_public_ones_are_not(ip: str) -> None:
    assert refusal(ip) == ""


def test_a_network_that_an_administrator_allows() -> None:
    networks = parse_networks(("10.1.0.0/16", "127.0.0.0/8", "::1/128", "fd12::/16"), "--allow-network")
    for ip in ("10.1.2.3", "127.0.0.1", "::1", "fd12::7"):
        assert refusal(ip, networks) == ""
    assert refusal("10.2.0.1", networks)
    everything = parse_networks(("0.0.0.0/0", "::/0"), "--allow-network")
    for ip in (
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:10.1.2.3",
        "64:ff9b::a01:203",
        "fe80::1",
        "fd00:ec2::254",
    ):
        assert refusal(ip, everything), ip  # never
    assert refusal(str(ipaddress.ip_address("192.168.0.1")), everything) == ""


def test_hosts_that_an_administrator_allows() -> None:
    assert parse_hosts(("Example.org", "archive.example.org:8443", "[2001:db8::1]:80"), "--allow-source") == {
        ("example.org", 80), ("example.org", 443), ("archive.example.org", 8443), ("2001:db8::1", 80),
    }  # fmt: skip
    for wrong in (
        "https://example.org",
        "example.org/a",
        "*",
        "*.example.org",
        "",
        "a@b",
        "example.org:",
        "10.0.0.0/8",
    ):
        with pytest.raises(Emow2vError, match="expected a host name"):
            parse_hosts((wrong,), "--allow-source")
    for wrong in ("10.1.2.3/16", "x", "10.0.0.0/99"):
        with pytest.raises(Emow2vError, match=r"expected for instance 10\.1\.0\.0/16"):
            parse_networks((wrong,), "--allow-network")


def test_queries_and_user_names_are_hidden_in_texts() -> None:
    for slashes in ("//", "\\/\\/", "\\\\/\\\\/"):
        text = f'{{"uri": "https:{slashes}me:word@example.org{slashes[: len(slashes) // 2]}a.wav?sig=secret&x=\\u0026y"}} and http://h/b'
        hidden = hide_secrets(text)
        assert "secret" not in hidden and "word" not in hidden and "u0026" not in hidden
        assert "example.org" in hidden and "a.wav?..." in hidden and hidden.endswith('"} and http://h/b')


@pytest.mark.parametrize(
    "text", ["http://user:pa/ss@host/", "http://user:pa#ss@host/a", "http://user:pa ss@host/", "x://u:pass@h/"]
)
def test_refused_addresses_say_no_password(text: str) -> None:
    with pytest.raises(SourceError) as refused:
        parse(text)
    assert "user" not in str(refused.value).replace("user name", "") and "ss@" not in str(refused.value)
