"""Addresses of object stores and other places that fsspec reaches: s3://, https://, zip:// and more.

This module stays light and imports no fsspec: every command asks it whether a name is an address. `connection` opens
stores and words their errors, `listing` finds recordings there, `objects` reads them, and `results` puts results there.
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote, urlsplit

from emow2v.storage import public

__all__ = ["is_address", "is_on_web", "join", "name_of", "parent", "path_of", "public", "schemes", "with_two_slashes"]

# One letter before :// is a drive of Windows
_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+(?:://[^:]*)?::)*[A-Za-z][A-Za-z0-9+.-]+://")
_ONE_SLASH = re.compile(r"(s3a?|gs|gcs|az|abfss?|https?|sftp|zip):/(?!/)")


def is_address(text: str) -> bool:
    """Whether a name is an address: a scheme, or several that are joined by ::, and ://."""
    return _ADDRESS.match(text) is not None


def with_two_slashes(text: str) -> str:
    """The address that is meant by a text with one slash, such as s3:/study, which pathlib makes of it; "" for another text."""
    found = _ONE_SLASH.match(text)
    return f"{found[0]}/{text[found.end() :]}" if found else ""


def schemes(address: str) -> tuple[str, ...]:
    """The schemes of an address, the outer one first: ("zip", "s3") for zip://a.wav::s3://bucket/a.zip."""
    return tuple(part.partition("://")[0].lower() for part in address.split("::") if part)


def is_on_web(address: str) -> bool:
    """Whether the outer part of an address is that of a web server."""
    return schemes(address)[:1] in (("http",), ("https",))


def path_of(address: str) -> str:
    """The path of the outer part of an address, with its bucket or host: bucket/a/talk.wav."""
    first = next((part for part in address.split("::") if "://" in part), address.partition("::")[0])
    path = public(first).partition("://")[2]
    return unquote(path) if is_on_web(first) else path


def name_of(address: str) -> str:
    """The last part of the path: talk.wav."""
    return posixpath.basename(path_of(address).rstrip("/"))


def join(folder: str, name: str) -> str:
    """The address of a name relative to a folder at an address; names may hold .. and folders."""
    first, chained, rest = folder.partition("::")
    scheme, _, path = first.partition("://")
    root = ""
    if is_on_web(first):
        root, path = urlsplit(first).netloc, urlsplit(first).path
    joined = posixpath.normpath(posixpath.join("/", path.lstrip("/"), name)).lstrip("/")
    kept = "/" if path.startswith("/") or root else ""
    return f"{scheme}://{root}{kept}{joined}{chained}{rest}"


def parent(address: str) -> str:
    """The address of the folder that something lies in."""
    return join(address, "..") if not path_of(address).endswith("/") else join(f"{address}x", "..")
