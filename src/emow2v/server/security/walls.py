"""Who may ask: a token, the names the server answers to, pages of other sites, bodies that are too large.

Each is an ASGI layer around the application, so that no route can forget it.
"""

from __future__ import annotations

import codecs
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.errors import Emow2vError

COOKIE = "emow2v-token"
FIELD = "token"  # of a form, for clients that can send no header
OPEN_PATHS = frozenset(
    ["/healthz", "/readyz", "/login", "/static/style.css", "/static/icon.svg"]
)  # say nothing of anybody's data
AUTHORISED = "emow2v.authorised"  # in a request's scope: the token was in a header or a cookie
RECORDINGS = frozenset(["/upload", "/v1/predictions"])  # what comes in is put on the disk; elsewhere it stays in memory
MAX_FORM = 64 << 20  # bytes of a request to any other route
# What the texts of a form may be written in. Others that Python knows raise errors of their own (undefined, punycode)
# or give characters that no file can hold (unicode_escape, utf-7).
CHARSETS = frozenset(["utf-8", "ascii", "iso8859-1", "cp1252"])

Answer = Callable[[int, str], ASGIApp]


@dataclass(frozen=True)
class Walls:
    """What an administrator chose.

    Attributes:
        token: that requests must bring, "" for none
        hosts: names and addresses that the server answers to, without ports; empty for any
        max_body: bytes of a request; 0 for any number
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()
    max_body: int = 0


def check_open(host: str, token: str, *, insecure: bool) -> None:
    """Refuse to listen where everybody can reach the server and nobody must say who they are.

    Raises:
        Emow2vError: a public address without a token, or a token that no header can hold
    """
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise Emow2vError("The token holds characters that no header can; expected letters, digits and signs of ASCII.")
    if token or insecure or is_loopback(host):
        return
    raise Emow2vError(
        f"{host} can be reached from other machines, and there is no token: whoever reaches it could read recordings and "
        "write results. Give --token (or EMOW2V_TOKEN), listen on 127.0.0.1, or say --insecure if something else guards it."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_hosts(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a server on an address answers to; empty (any) where it listens on all of them.

    On a loopback address a page of another site could otherwise reach the server under a name of its own that points here
    (DNS rebinding), and would then not count as another site.
    """
    named = {one.lower() for one in more}
    if named or is_loopback(host):
        return frozenset({"localhost", "127.0.0.1", "::1", host.strip("[]").lower(), *named})
    return frozenset()


def matches(token: str, given: str) -> bool:
    """Whether a token is the right one, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(token.encode(), given.encode(errors="backslashreplace"))


class HostWall:
    """Answers requests to its own names only."""

    def __init__(self, app: ASGIApp, walls: Walls, refuse: Answer) -> None:
        self._app, self._hosts, self._refuse = app, walls.hosts, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and self._hosts:
            host = _name(Headers(scope=scope).get("host", ""))
            if host not in self._hosts:
                await self._refuse(421, f"This server does not answer to '{host[:60]}'; see --allow-host.")(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)


class SiteWall:
    """Refuses what a page of another site sends on behalf of somebody's browser (cross-site request forgery).

    Browsers say where a request comes from, in Origin or Sec-Fetch-Site; other programs say neither, and are not stopped.
    """

    def __init__(self, app: ASGIApp, refuse: Answer) -> None:
        self._app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changes = scope["type"] == "websocket" or (
            scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS")
        )
        if changes:
            headers = Headers(scope=scope)
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
            elsewhere = origin is not None and _authority(origin) != headers.get("host", "").lower()
            if elsewhere or site not in ("same-origin", "none"):
                await self._refuse(403, _foreign(origin, headers.get("host", "")))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class TokenWall:
    """Lets in who brings the token: "Authorization: Bearer TOKEN", or the cookie of the login page.

    Forms may also hold it in a field; they are let through to the routes, which read the form anyway and refuse it
    (see `AUTHORISED`). Everything else stops here.
    """

    def __init__(self, app: ASGIApp, walls: Walls, refuse: Answer, forms: Callable[[Scope], bool]) -> None:
        self._app, self._token, self._refuse, self._forms = app, walls.token, refuse, forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope[AUTHORISED] = not self._token or self._brings(Headers(scope=scope))
        if scope[AUTHORISED] or scope["path"] in OPEN_PATHS or self._forms(scope):
            await self._app(scope, receive, send)
        else:
            await self._refuse(401, NO_HEADER)(scope, receive, send)

    def _brings(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and matches(self._token, given.strip()):
            return True
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return COOKIE in cookie and matches(self._token, cookie[COOKIE].value)


def _foreign(origin: str | None, host: str) -> str:
    """Why a request counts as another site's, and what a proxy must pass on where it is none."""
    came = f" ({_authority(origin)[:100] or 'no address'}; the server was asked as {host[:100]})" if origin else ""
    return (
        f"A page of another site{came} may not do this; use this server's own pages. Behind a proxy, let it pass the Host "
        "header on (nginx: proxy_set_header Host $http_host;)."
    )


NO_HEADER = "The token is missing or wrong; send the header 'Authorization: Bearer TOKEN'."
NO_TOKEN = "The token is missing or wrong; send the header 'Authorization: Bearer TOKEN', or a form field token."


class BodyWall:
    """Refuses bodies that are too large, by what they say of themselves or as soon as they are, and odd charsets."""

    def __init__(self, app: ASGIApp, walls: Walls, refuse: Answer) -> None:
        self._app, self._most, self._refuse = app, walls.max_body, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        charset = _charset(headers.get("content-type", ""))
        if charset not in CHARSETS:
            await self._refuse(415, f"The form's charset is '{charset[:40]}'; expected utf-8.")(scope, receive, send)
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        large = scope["path"] in RECORDINGS and kind == "multipart/form-data"  # whose files go to the disk as they come
        known = scope.get(AUTHORISED, True)
        most = self._most if large and known else min(self._most or MAX_FORM, MAX_FORM)
        if most == self._most:
            remedy = ", or see --max-upload."
        elif large:
            remedy = ", or the token in a header (Authorization: Bearer TOKEN)."
        else:
            remedy = ", and post recordings to /upload, as multipart/form-data."
        sentence = f"The request is larger than the {most / 1e6:g} MB that are taken here; send less{remedy}"
        said = headers.get("content-length", "")
        if most and said.isascii() and said.isdigit() and int(said[:30]) > most:
            await self._refuse(413, sentence)(scope, receive, send)
            return
        taken, begun = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if most and taken > most:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if most and taken > most and not begun:
                raise _TooLarge  # an answer that takes what was refused here for a body that cannot be read
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLarge:
            if not begun:
                await self._refuse(413, sentence)(scope, receive, send)


class _TooLarge(Exception):
    """Raised where the application reads on."""


def _charset(content_type: str) -> str:
    """The charset of a multipart form, by Python's name for it where it has one."""
    kind, options = parse_options_header(content_type)
    given = options.get(b"charset", b"utf-8").decode("latin-1") if kind == b"multipart/form-data" else "utf-8"
    try:
        return codecs.lookup(given).name
    except LookupError:  # no such charset
        return given
    except ValueError:  # a zero byte in its name
        return given


def _authority(origin: str) -> str:
    """Host and port of an Origin header; empty where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()
