"""Addresses of requests: strict parsing, the hosts that an administrator allows, and the IP addresses that are refused.

Programs read unusual addresses in different ways (`@`, backslashes, decimal and octal numbers). Here an address has one
form only, and everything else is refused, so that what was checked is what is connected to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urljoin

from emow2v.errors import AudioError, Emow2vError
from emow2v.storage import shown

PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 1000  # characters; the job store lists so many of a field

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_LABEL = re.compile(r"[0-9a-z_]([0-9a-z_-]{0,61}[0-9a-z_])?")
_UNUSABLE = re.compile('[\x00-\x20\x7f-\x9f"<>\\\\^`{|}\ud800-\udfff]')
_KEPT = "/?:@!$&'()*+,;=-._~%[]"
# The part behind the host name, as it may stand in JSON with escaped slashes
_SECRETS = re.compile(r"""(https?:(?:\\*/){2})([^\s"'<>\\/?#]*@)?([^\s"'<>?#]*)(\?[^\s"'<>]*)?""", re.IGNORECASE)

# Never connected to, whatever an administrator allows. IPv6 addresses that hold an IPv4 address would get around checks.
_NEVER_4 = [IPv4Network(one) for one in ("0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "224.0.0.0/3")]
_NEVER_6 = [
    IPv6Network(one)
    for one in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
] + [IPv6Network(one) for one in ("fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "fd00:ec2::254/128")]
_GLOBAL_6 = IPv6Network("2000::/3")
_LOOPBACK_6 = IPv6Address("::1")

Network = IPv4Network | IPv6Network


class SourceError(AudioError):
    """An address is not allowed, or what lies there cannot be fetched."""


@dataclass(frozen=True)
class Address:
    """An http address in parts.

    Attributes:
        scheme: "http" or "https"
        host: name or IP address in lower case, without brackets
        target: path and query, as they are sent
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and, where it is unusual, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")

    @property
    def text(self) -> str:
        """The whole address, which may hold a secret in its query."""
        return self.origin + self.target

    @property
    def shown(self) -> str:
        """The address without its query, for people and logs."""
        return self.origin + self.target.partition("?")[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(unquote(self.target.partition("?")[0])).name

    def join(self, location: str) -> Address:
        """The address that a redirect from here names.

        Raises:
            SourceError: it has no usable form, or goes from https to http
        """
        joined = parse(urljoin(self.text, location))
        if (self.scheme, joined.scheme) == ("https", "http"):
            raise SourceError(f"{self.shown} redirects from https to http; expected an address that stays with https.")
        return joined


def parse(text: str) -> Address:
    """The parts of an address.

    Raises:
        SourceError: it has no scheme http or https, holds a user name, or is not written in the one usual form
    """
    hidden = hide_secrets(text)
    if _ADDRESS.fullmatch(text) is None and "@" in hidden:  # a password can hold any character, also the end of a host
        hidden = f"...@{hidden.rpartition('@')[2]}"
    said = shown(hidden[:100])
    if len(text) > MAX_LENGTH:
        raise SourceError(f"The address {said} is too long; expected at most {MAX_LENGTH} characters.")
    if _UNUSABLE.search(text):
        raise SourceError(
            f"The address {said} holds a blank or another unusable character; expected it percent-encoded."
        )
    scheme, slashes, rest = text.partition("://")
    if scheme.lower() not in PORTS or not slashes:
        raise SourceError(
            f"The address {said} is not one of http or https; expected for instance https://host/talk.wav."
        )
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise SourceError(
            f"The address {said} holds a user name or a password; expected an address without, for instance a signed one."
        )
    if "%" in authority:
        raise SourceError(f"The address {said} has a zone or an escape in its host; expected a plain host name.")
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise SourceError(
            f"The address {said} has no usable host; expected a name in ASCII letters, digits, dots and dashes."
        )
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port < 65536:
        raise SourceError(f"The address {said} has the port {port}; expected 1 to 65535.")
    target = quote((found["path"] or "/") + (found["query"] or ""), safe=_KEPT)
    return Address(scheme, _host(host, said), port, target)


def _host(host: str, said: str) -> str:
    """A host in its one form: IP addresses as `ipaddress` writes them."""
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            raise SourceError(f"The address {said} has no IPv6 address in its brackets; expected one.") from None
    labels = host.removesuffix(".").split(".")
    if re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):  # some programs read such names as IPv4 addresses
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise SourceError(
                f"The address {said} has an IP address in an unusual form; expected four decimal numbers without zeros before."
            ) from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise SourceError(f"The address {said} has no usable host; expected a host name.")
    return ".".join(labels)


def hide_secrets(text: str) -> str:
    """A text in which addresses have neither a user name nor a query, since both may hold secrets."""
    return _SECRETS.sub(lambda found: found[1] + found[3] + ("?..." if found[4] else ""), text)


def refusal(ip: str, networks: tuple[Network, ...] = ()) -> str:
    """Why an IP address is not connected to; "" where it may be.

    Args:
        networks: that an administrator allows although they are not public
    """
    if "%" in ip:
        return "has a zone"
    address = ip_address(ip)
    if isinstance(address, IPv4Address):
        if any(address in network for network in _NEVER_4):
            return "is that of a machine's own services, of a group, or reserved"
        public = address.is_global
    else:
        if address != _LOOPBACK_6 and any(address in network for network in _NEVER_6):
            return "is link-local, of a group, unspecified, or holds an IPv4 address"
        public = address in _GLOBAL_6 and address.is_global
    if public or any(address in network for network in networks if network.version == address.version):
        return ""
    return "is not public"


def parse_hosts(texts: tuple[str, ...], option: str) -> frozenset[tuple[str, int]]:
    """Hosts that an administrator allows, with their ports: 80 and 443 where none is named.

    Args:
        texts: as "host", "host:port" or "[IPv6]:port"
        option: of the command line, for sentences

    Raises:
        Emow2vError: one of another form
    """
    hosts: set[tuple[str, int]] = set()
    for text in texts:
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/@]+)(:[0-9]{1,5})?", text.strip())
        try:
            if found is None:
                raise SourceError("form")
            address = parse(f"https://{text.strip()}/")
        except SourceError:
            raise Emow2vError(
                f"{option} is {shown(text) or 'empty'}; expected a host name, or a name with a port such as archive.example.org:8443."
            ) from None
        hosts |= {(address.host, port) for port in ([address.port] if found[2] else PORTS.values())}
    return frozenset(hosts)


def parse_networks(texts: tuple[str, ...], option: str) -> tuple[Network, ...]:
    """Networks that an administrator allows.

    Args:
        texts: as "10.1.0.0/16"
        option: of the command line, for sentences

    Raises:
        Emow2vError: one of another form
    """
    try:
        return tuple(ip_network(text.strip()) for text in texts)
    except ValueError as error:
        raise Emow2vError(f"{option} is no network ({error}); expected for instance 10.1.0.0/16.") from None
