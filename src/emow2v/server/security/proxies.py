"""Behind a reverse proxy: whose X-Forwarded-* headers are believed, and the path below which people see the server.

A proxy that shows the server below a path either passes requests on as they are (`--root-path`), or removes the path and
names it in X-Forwarded-Prefix. X-Forwarded-Host is never believed: a page of another site can send it.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from emow2v.errors import Emow2vError
from emow2v.server.security.access import Refuse
from emow2v.sources.address import parse_networks

logger = logging.getLogger("emow2v.server")

PREFIX = "emow2v.prefix"  # in a request's scope: the path below which people see the server, "" or as "/emow2v"
HEADER = "X-Forwarded-Prefix"
MAX_LENGTH = 200
_PREFIX = re.compile(r"(?:/(?!\.+(?:/|$))[A-Za-z0-9._~-]+)+")
_EXPECTED = "expected a path such as /emow2v, of ASCII letters, digits and . _ ~ -, without dots alone"


def check_proxies(root_path: str, allowed: Sequence[str]) -> None:
    """Refuse a path or networks that cannot be used.

    Args:
        root_path: path below which a proxy shows the server; "" for none
        allowed: addresses and networks whose X-Forwarded-* headers are believed

    Raises:
        Emow2vError: one of them has another form
    """
    parse_networks(tuple(allowed), "--forwarded-allow")
    if usable(root_path) is None:
        raise Emow2vError(f"--root-path is '{root_path[:60]}'; {_EXPECTED}.")


def usable(text: str) -> str | None:
    """A path without its last slash, as "/emow2v"; "" for the root; None where it has no usable form."""
    plain = text.removesuffix("/")
    return plain if not plain or (len(plain) <= MAX_LENGTH and _PREFIX.fullmatch(plain)) else None


class Proxied:
    """An ASGI layer that gives the application paths without the prefix, and the client that the proxy names.

    Args:
        root_path: removed from the beginning of a path, unless the proxy sends the header
        allowed: addresses and networks whose headers are believed; those of all others change nothing
        refuse: answers a header of another form
    """

    def __init__(self, app: ASGIApp, root_path: str, allowed: Sequence[str], refuse: Refuse) -> None:
        self._root_path = usable(root_path) or ""
        self._networks = parse_networks(tuple(allowed), "--forwarded-allow")
        self._refuse = refuse
        trusted = [str(one) for one in self._networks]
        self._app: Any = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]  # Uvicorn has types of its own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "client": _as_ipv4(scope.get("client"))}
        path, prefix = scope["path"], self._root_path
        named = Headers(scope=scope).getlist(HEADER) if self._is_allowed(scope) else []
        if named:
            known = usable(named[0]) if len(named) == 1 else None
            if known is None:
                said = ", ".join(named)[:60]
                sentence = f"{HEADER} is '{said}'; {_EXPECTED}; the administrator must mend the proxy."
                logger.warning("refused: %s", sentence)
                await self._refuse(400, sentence)(scope, receive, send)
                return
            prefix = known
        elif prefix and path.startswith(f"{prefix}/"):
            path = path[len(prefix) :]
        elif prefix and path == prefix and scope["type"] == "http":
            await RedirectResponse(f"{prefix.rpartition('/')[2]}/")(scope, receive, send)  # relative, as all addresses
            return
        await self._app({**scope, "path": path, PREFIX: prefix}, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        """Whether a request comes from a proxy that is believed."""
        try:
            address = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:  # a socket of the file system, say
            return False
        return any(address in network for network in self._networks)


def _as_ipv4(client: tuple[str, int] | None) -> tuple[str, int] | None:
    """The client's IPv4 address, where a listener on :: writes it as ::ffff:127.0.0.1."""
    try:
        mapped = ipaddress.IPv6Address(client[0]).ipv4_mapped if client else None
    except ValueError:
        return client
    return (str(mapped), client[1]) if client and mapped else client


class Below:
    """The innermost ASGI layer: routes know the prefix as ASGI has it, and Starlette's addresses contain it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if prefix := scope.get(PREFIX):
            scope = {**scope, "root_path": prefix, "path": prefix + scope["path"]}
        await self._app(scope, receive, send)
