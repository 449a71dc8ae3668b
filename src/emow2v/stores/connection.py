"""Stores as fsspec opens them, and their errors as one sentence each. Nothing that may be a secret is in a sentence."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from emow2v.errors import AudioError, DiskFull, Emow2vError, FormatError, StoreError, is_own
from emow2v.storage import one_line, reason, shown
from emow2v.stores import schemes

EXTRA = "pip install 'emow2v[cloud]'"
_OF_THE_EXTRA = {"s3", "s3a", "http", "https"}
_PLACES = frozenset("s3 s3a http https gs gcs az abfs abfss sftp ssh ftp hf webhdfs smb memory".split())
ARCHIVES = frozenset(["zip", "tar", "libarchive"])
PARALLEL = 16  # requests at a time
_PAUSES_S = (0.5, 1.0, 2.0)  # before each further try of what failed for a reason that may pass
_SILENCE_S = 60  # that a web server may say nothing
_VALIDATORS = (
    "ETag",
    "etag",
    "md5Hash",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "mtime",
    "updated",
    "date_time",
    "CRC",
)
_NO_BUCKET = re.compile("NoSuchBucket|HeadBucket operation|specified bucket does not exist")
_SECRET = re.compile(r"""(?<=://)[^\s/'"]*@|\?[^\s'"]*""")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)  # there may be a million
class Facts:
    """What a store says of an object.

    Attributes:
        size: bytes; None where it does not say
        stamp: a number below 2**63 that changes with the object: made of its ETag or its time; 0 where it has neither
    """

    size: int | None
    stamp: int


class Changed(Exception):
    """An object is not the one any more that was looked at."""


def connect(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path there.

    Credentials and endpoints are those of fsspec's own configuration.

    Raises:
        ImportError, ValueError and what the store raises: see `reading`
    """
    try:
        import fsspec
    except ImportError:
        raise Emow2vError(_without_extra(address)) from None
    if schemes(address) in (("file",), ("local",)):
        path = address.partition("://")[2]
        raise Emow2vError(f"{shown(address)} is an address; expected a path, such as {shown(path)}.")
    if any(scheme in _PLACES for scheme in schemes(address)[:-1]):  # nothing can lie in another address there
        raise Emow2vError(f"{shown(address)} holds ::, which joins addresses; expected a name and a host without it.")
    if schemes(address)[-1] in ARCHIVES:
        example = f"{schemes(address)[-1]}://talk.wav::talks.{schemes(address)[-1]}"
        raise Emow2vError(f"{shown(address)} names no archive; expected it behind ::, as in {example}.")
    options: dict[str, Any] = {}
    for scheme in schemes(address):
        if scheme in ("http", "https"):
            options[scheme] = _of_the_web(dict(fsspec.config.conf.get(scheme, {})))
    if len(schemes(address)) == 1 and options:
        options = options[schemes(address)[0]]
    file_system, path = fsspec.core.url_to_fs(address, **options)
    return file_system, path


def _of_the_web(configured: Mapping[str, Any]) -> dict[str, Any]:
    """Options without the limit of five minutes for a whole recording, unless fsspec's configuration has one."""
    from aiohttp import ClientTimeout

    client = dict(configured.get("client_kwargs", {}))
    client.setdefault("timeout", ClientTimeout(total=None, sock_connect=_SILENCE_S, sock_read=_SILENCE_S))
    return {"client_kwargs": client}


def _without_extra(address: str) -> str:
    return f"{shown(address)} is an address; install what reads it: {EXTRA}."


@contextlib.contextmanager
def reading(address: str) -> Iterator[None]:
    """Errors of a store as an AudioError with one sentence."""
    with _worded(address, AudioError):
        yield


@contextlib.contextmanager
def writing(address: str) -> Iterator[None]:
    """Errors of a store as a StoreError with one sentence."""
    with _worded(address, StoreError):
        yield


@contextlib.contextmanager
def _worded(address: str, kind: type[Emow2vError]) -> Iterator[None]:
    try:
        yield
    except Emow2vError as error:
        if isinstance(error, kind | DiskFull) or (kind is StoreError and isinstance(error, FormatError)):
            raise
        raise kind(str(error)) from None
    except Exception as error:  # every store has its own errors
        if is_own(error) and not isinstance(error, Changed | ImportError):
            raise
        raise kind(_sentence(address, error, "written" if kind is StoreError else "read")) from None


def again(call: Callable[[], T], pauses_s: tuple[float, ...] = _PAUSES_S) -> T:
    """The result of a call that is tried again if it fails for a reason that may pass."""
    for pause in pauses_s:
        try:
            return call()
        except Exception as error:  # every store has its own errors
            if not may_pass(error):
                raise
            time.sleep(pause)
    return call()


def is_without_bucket(error: BaseException) -> bool:
    """Whether an object is not found because its whole bucket is not there."""
    return _NO_BUCKET.search(f"{error} {error.__cause__}") is not None


def _reason_of(error: BaseException) -> BaseException:
    """What fsspec's HTTP file system hides behind "not found": a refusal, or a server that does not answer."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error


def _sentence(address: str, error: BaseException, done: str) -> str:
    if schemes(address)[-1] in ("http", "https"):
        error = _reason_of(error)
    name, text, status = shown(address), str(error), getattr(error, "status", None)
    kind = type(error).__name__
    why = one_line(reason(_SECRET.sub("", text)))
    if isinstance(error, ImportError) and set(schemes(address)) & _OF_THE_EXTRA:
        return _without_extra(address)
    if isinstance(error, ImportError):
        return f"{name} cannot be {done}: {schemes(address)[0]}:// needs another package ({why}); install it."
    if isinstance(error, Changed) or kind == "FileExpired":
        return f"{name} has changed while it was read; try again."
    if isinstance(error, ValueError) and "rotocol not known" in text:
        return f"{name} has a scheme that fsspec does not know; expected for instance s3://, https:// or zip://."
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        what = "its bucket does not exist" if is_without_bucket(error) else "nothing of that name is there"
        return f"{name} does not exist: {what}; check the address."
    if isinstance(error, PermissionError) or status in (401, 403):
        return f"{name} cannot be {done}: its store refuses access; check the credentials in fsspec's configuration."
    if "Credentials" in kind or "token" in kind.lower():
        return f"{name} cannot be {done}: there are no usable credentials; put them into fsspec's configuration."
    if isinstance(status, int) and status:
        return f"{name} cannot be {done}: its server answers with status {status}; try again later."
    if kind == "TooManyRedirects":
        return f"{name} cannot be {done}: its server redirects again and again; check the address."
    if kind == "ClientPayloadError":
        return f"{name} cannot be {done}: its server cut the connection; try again later."
    if may_pass(error):
        return f"{name} cannot be reached ({why or kind}); check address and network, and try again."
    what = "archive" if schemes(address)[0] in ARCHIVES else "address"
    return f"{name} cannot be {done} ({why}); check the {what}."


def may_pass(error: BaseException) -> bool:
    """Whether an error comes from the network, or from a store that is busy."""
    error = _reason_of(error)
    names = {one.__name__ for one in type(error).__mro__}
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return status == 429 or status >= 500
    known = {
        "TimeoutError",
        "ConnectionError",
        "ClientConnectionError",
        "ClientPayloadError",
        "HTTPClientError",
        "ServerDisconnectedError",
    }
    return bool(names & known)


# --- facts ---

_known: dict[str, Facts] = {}  # of listings, which say it of many objects at once


def facts_of(info: Mapping[str, Any]) -> Facts:
    """The facts in what fsspec tells of an object."""
    size = info.get("size")
    texts = [f"{name}={info[name]}" for name in _VALIDATORS if info.get(name)]
    if any(text.lower().startswith("etag=") for text in texts):
        texts = [text for text in texts if text.lower().startswith("etag=")]
    digest = hashlib.sha256(f"{size} {texts}".encode(errors="backslashreplace")).digest()
    return Facts(None if size is None else int(size), int.from_bytes(digest[:8], "big") >> 1 if texts else 0)


def remember(address: str, info: Mapping[str, Any]) -> None:
    """Keep the facts that a listing told."""
    _known[address] = facts_of(info)


def known_facts(address: str) -> Facts | None:
    """The facts that a listing told, without asking the store."""
    return _known.get(address)


def facts(address: str) -> Facts:
    """The facts of an object, as a listing told them or as the store says now; see `reading` for what it raises."""
    if address not in _known:
        with reading(address):
            _known[address] = fresh_facts(address)
    return _known[address]


def fresh_facts(address: str) -> Facts:
    """The facts of an object, as the store says now.

    Raises:
        AudioError: a folder is there
    """
    file_system, path = connect(address)
    file_system.invalidate_cache()
    info = again(lambda: file_system.info(path))
    if info.get("type") == "directory":
        raise AudioError(f"{shown(address)} is a folder; expected a recording.")
    return facts_of(info)


def look(addresses: list[str]) -> dict[str, str]:
    """Ask for the facts of many objects at once.

    Returns:
        the sentence for each object of which there are none
    """

    def one(address: str) -> str:
        try:
            facts(address)
        except AudioError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="emow2v-stores") as pool:
        return {address: error for address, error in zip(addresses, pool.map(one, addresses), strict=True) if error}
