"""What lies in a store: folders with their subfolders, and patterns. What listings say of objects is remembered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from emow2v.stores import is_on_web, schemes
from emow2v.stores.connection import ARCHIVES, again, connect, reading, remember

_MAGIC = re.compile(r"[*?\[]")
_MAGIC_OF_THE_WEB = re.compile(r"\*")  # a query begins with ?, and hosts may have brackets


def is_pattern(address: str) -> bool:
    """Whether an address is a pattern."""
    outer = next((part for part in address.split("::") if "://" in part), "")
    return bool((_MAGIC_OF_THE_WEB if is_on_web(outer) else _MAGIC).search(outer))


def is_object(address: str) -> bool:
    """Whether an object has the name of a pattern, which then means only itself. Web servers are not asked: many of them
    have a page for every name. See `reading` for what it raises.
    """
    if schemes(address)[-1] in ("http", "https") and schemes(address)[0] not in ARCHIVES:
        return False
    with reading(address):
        file_system, path = connect(address)
        file_system.invalidate_cache()
        try:
            info = again(lambda: file_system.info(path))
        except (FileNotFoundError, ValueError):  # the latter: a bucket cannot have such a name
            return False
    return bool(info.get("type") != "directory")


def is_folder(address: str) -> bool:
    """Whether a folder is at an address: objects whose names begin with it and a slash. See `reading` for what it raises.

    A web address is that of a folder if it ends with a slash.
    """
    if is_on_web(address):
        return address.partition("?")[0].endswith("/")
    with reading(address):
        file_system, path = connect(address)
        file_system.invalidate_cache()
        info = again(lambda: file_system.info(path)) if path else {"type": "directory"}
        if info.get("type") != "directory":
            remember(address, info)
            return False
        return True


def below(address: str) -> Iterator[tuple[str, str]]:
    """The objects in a folder and below it, in the order of their names: address, and name relative to the folder."""
    with reading(address):
        file_system, path = connect(address)
        file_system.invalidate_cache()
        found = again(lambda: file_system.find(path, detail=True))
        file_system.invalidate_cache()  # which holds the listing once more
    top = path.rstrip("/")
    for name in sorted(found):
        if found[name].get("type") == "directory" or name.rstrip("/") == top or name.endswith("/"):
            continue
        within = name.removeprefix(top).lstrip("/")
        if not within.startswith("?"):  # with such links a page sorts itself
            yield _remembered(address, file_system, name, found[name]), within


def matching(address: str) -> Iterator[tuple[str, bool]]:
    """What a pattern matches, in the order of names: address, and whether it is a folder."""
    with reading(address):
        file_system, path = connect(address)
        file_system.invalidate_cache()
        found = again(lambda: file_system.glob(path, detail=True))
        file_system.invalidate_cache()
    for name in sorted(found):
        folder = found[name].get("type") == "directory"
        yield _remembered(address, file_system, name, found[name]), folder


def _remembered(address: str, file_system: Any, name: str, info: dict[str, Any]) -> str:
    """The address of an object that a listing names, whose facts are kept."""
    found = _named(address, name)
    if info.get("type") != "directory" and info.get("size") is not None:
        remember(found, info)
    return found


def _named(address: str, name: str) -> str:
    """The address with another name in its outer part that has one."""
    first, chained, rest = address.partition("::")
    scheme, separator, _ = first.partition("://")
    if not separator:  # a file system without places of its own, such as simplecache
        return f"{first}::{_named(rest, name)}"
    return f"{name if separator in name else scheme + separator + name}{chained}{rest}"
