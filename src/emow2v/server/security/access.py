"""Access: tokens, the server's own names, requests of other sites' pages, and the size of requests.

Each check is an ASGI layer around the application, so that no route can omit it.
"""

from __future__ import annotations

import codecs
import ipaddress
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.errors import Emow2vError
from emow2v.server.people.gate import Gate, Refused
from emow2v.server.people.person import Call, Person, begin_call, end_call
from emow2v.server.uploads.protocol import is_upload

COOKIE = "emow2v-token"
FIELD = "token"  # of a form, for clients that can send no header
# hold nobody's data
OPEN_PATHS = frozenset(["/healthz", "/readyz", "/login", "/logout", "/static/style.css", "/static/icon.svg"])
AUTHORISED = "emow2v.authorised"  # in a request's scope: a header or a cookie held a token
METRICS = "/metrics"
# uploads go to the disk; other bodies stay in memory
RECORDINGS = frozenset(["/upload", "/v1/predictions", "/v1/batches"])
MAX_FORM = 64 << 20  # bytes of a request to any other route
# Charsets of the texts in a form. Others that Python knows raise errors of their own (undefined, punycode)
# or give characters that no file can hold (unicode_escape, utf-7).
CHARSETS = frozenset(["utf-8", "ascii", "iso8859-1", "cp1252"])

NO_HEADER = "The token is missing or wrong; send the header 'Authorization: Bearer TOKEN'."
NO_TOKEN = "The token is missing or wrong; send the header 'Authorization: Bearer TOKEN', or a form field token."
METRICS_ONLY = "This token opens /metrics only; expected the token of a person."
NO_METRICS = "/metrics is for administrators; expected their token, or one of: emow2v tokens add NAME --metrics-only."

# An answer with a status and a sentence, and perhaps headers
Refuse = Callable[..., ASGIApp]


def check_exposure(host: str, token: str, *, insecure: bool, named: bool = False) -> None:
    """Refuse to listen on a public address without a token.

    Args:
        insecure: something else controls access
        named: there are tokens with names

    Raises:
        Emow2vError: a public address without a token, or a token that no header can hold
    """
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise Emow2vError("The token holds characters that no header can; expected letters, digits and signs of ASCII.")
    if token or named or insecure or is_loopback(host):
        return
    raise Emow2vError(
        f"{host} can be reached from other machines, and there is no token: anybody there could read recordings and write "
        "results. Give --token (or EMOW2V_TOKEN), add people (emow2v tokens add), listen on 127.0.0.1, or give --insecure if something else controls access."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a server answers to; empty for any name, where it listens on a public address and `more` is empty.

    Without the check, a page of another site could reach a server on a loopback address under a name that points here
    (DNS rebinding), and would not count as another site.

    Args:
        host: address that the server listens on
        more: names that the administrator added
    """
    named = {name.lower() for name in more}
    if named or is_loopback(host):
        return frozenset({"localhost", "127.0.0.1", "::1", host.strip("[]").lower(), *named})
    return frozenset()


class HostCheck:
    """Refuses requests to names that are not the server's.

    Args:
        hosts: names and addresses without ports; empty for any
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], refuse: Refuse) -> None:
        self._app, self._hosts, self._refuse = app, hosts, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and self._hosts:
            host = _name(Headers(scope=scope).get("host", ""))
            if host not in self._hosts:
                await self._refuse(421, _other_name(host[:60]))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SiteCheck:
    """Refuses changes that a page of another site requests through a user's browser (cross-site request forgery).

    Browsers state the origin of a request in Origin or Sec-Fetch-Site. Other programs send neither and are let through.
    """

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
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
                await self._refuse(403, _other_site(origin, headers.get("host", "")))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class TokenCheck:
    """Requires a token, in "Authorization: Bearer TOKEN" or in the cookie of the login page, and keeps whose it is.

    Args:
        gate: knows the tokens
        forms: whether a request's form may hold the token in a field; its route then checks it (see `AUTHORISED`)
    """

    def __init__(self, app: ASGIApp, gate: Gate, refuse: Refuse, forms: Callable[[Scope], bool]) -> None:
        self._app, self._gate, self._refuse, self._forms = app, gate, refuse, forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        client = scope["client"][0] if scope.get("client") else ""
        call = Call(None, client)
        scope[AUTHORISED] = False
        if scope["path"] not in OPEN_PATHS:
            try:
                call.person = self._person(Headers(scope=scope), client)
                if call.person is not None:
                    check_role(call.person, scope["path"])
            except Refused as error:
                await self._refuse(error.status, str(error), error.headers)(scope, receive, send)
                return
            scope[AUTHORISED] = call.person is not None
            if call.person is None and not self._forms(scope):
                await self._refuse(401, NO_HEADER)(scope, receive, send)
                return
        begun = begin_call(call)
        try:
            await self._app(scope, receive, send)
        finally:
            end_call(begun)

    def _person(self, headers: Headers, client: str) -> Person | None:
        kind, _, candidate = headers.get("authorization", "").partition(" ")
        sent = [candidate.strip()] if kind.lower() == "bearer" else []
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            pass
        else:
            sent += [cookie[COOKIE].value] if COOKIE in cookie else []
        for one in sent or [""]:
            if (person := self._gate.person(one, client)) is not None:
                return person
        return None


def check_role(person: Person, path: str) -> None:
    """Refuse what a person may not do because of their role.

    Args:
        path: of the address

    Raises:
        Refused: with the sentence
    """
    if (person.role == "metrics") != (path == METRICS) and not person.is_administrator:
        raise Refused(METRICS_ONLY if person.role == "metrics" else NO_METRICS, 403)


def _other_name(host: str) -> str:
    """The sentence for a name that the server does not have, with the option that gives it the name."""
    name = host if host.isascii() and host.replace("-", "").replace(".", "").isalnum() else "NAME"
    return (
        f"This server does not answer to '{host}'. If people reach it by this name, for instance through a proxy, the "
        f"administrator must start it with --allow-host {name}."
    )


def _other_site(origin: str | None, host: str) -> str:
    """The sentence for a request of another site, with the setting of a proxy that makes its own pages look like one."""
    came = f" ({_authority(origin)[:100] or 'no address'}; the server was asked as {host[:100]})" if origin else ""
    return (
        f"A page of another site{came} may not do this; use this server's own pages. Behind a proxy, let it pass the Host "
        "header on (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On)."
    )


class BodyCheck:
    """Refuses bodies that state or reach too large a size, and unusual charsets.

    Args:
        max_bytes: of a request with a recording; 0 for no limit
    """

    def __init__(self, app: ASGIApp, max_bytes: int, refuse: Refuse) -> None:
        self._app, self._max_bytes, self._refuse = app, max_bytes, refuse

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
        # whose bytes go to the disk as they come
        large = (scope["path"] in RECORDINGS and kind == "multipart/form-data") or is_upload(scope["path"])
        known = scope.get(AUTHORISED, True)
        limit = self._max_bytes if large and known else min(self._max_bytes or MAX_FORM, MAX_FORM)
        if limit == self._max_bytes:
            remedy = ", or see --max-upload."
        elif large:
            remedy = ", or the token in a header (Authorization: Bearer TOKEN)."
        else:
            remedy = ", and post recordings to /upload, as multipart/form-data."
        sentence = f"The request is larger than the {limit / 1e6:g} MB that are taken here; send less{remedy}"
        stated = headers.get("content-length", "")
        if limit and stated.isascii() and stated.isdigit() and int(stated[:30]) > limit:
            await self._refuse(413, sentence)(scope, receive, send)
            return
        size, begun = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if limit and size > limit:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if limit and size > limit and not begun:
                raise _TooLarge  # the application took the refusal for a body that cannot be read
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLarge:
            if not begun:
                await self._refuse(413, sentence)(scope, receive, send)


class _TooLarge(Exception):
    """Raised in the application's next read."""


def _charset(content_type: str) -> str:
    """The charset of a multipart form, by Python's name where Python knows it."""
    kind, options = parse_options_header(content_type)
    name = options.get(b"charset", b"utf-8").decode("latin-1") if kind == b"multipart/form-data" else "utf-8"
    try:
        return codecs.lookup(name).name
    except LookupError:  # no such charset
        return name
    except ValueError:  # a zero byte in the name
        return name


def _authority(origin: str) -> str:
    """Host and port of an Origin header; empty where the header holds no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()
