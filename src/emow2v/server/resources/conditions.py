"""Conditions and ranges of requests for a result (RFC 9110, sections 8.8, 13 and 14)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Literal

from starlette.datastructures import Headers

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(rf"[ \t,]*(?:{_TAG.pattern}[ \t]*(?:,[ \t,]*|$))+")
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS = 18  # of a place in a file; a larger number lies behind every end


def tag_of(facts: Sequence[object]) -> str:
    """A strong entity tag: other facts have another one, and it tells nothing of them."""
    return f'"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"'


def verdict(headers: Headers, tag: str) -> Literal[200, 304, 412]:
    """What the conditions of a GET or HEAD say: send the result; the client has it; it is not the one that the client means.

    Results have no date of change, so conditions on dates are left out, as RFC 9110 asks for.

    Args:
        tag: of the result; it is strong
    """
    if "if-match" in headers and not _matches(headers.getlist("if-match"), tag, strong=True):
        return 412
    if "if-none-match" in headers and _matches(headers.getlist("if-none-match"), tag, strong=False):
        return 304
    return 200


def part_of(headers: Headers, tag: str, size: int) -> range | None:
    """The bytes that a GET asks for; None for all of them, an empty range where it asks for none that are there.

    A client that asks for several ranges gets all bytes, and so does one whose `If-Range` names another result.

    Args:
        size: of the result in bytes
    """
    sent = headers.getlist("range")
    if len(sent) != 1 or not _goes_on(headers, tag):
        return None
    unit, _, asked = sent[0].partition("=")
    specs = [one.strip(" \t") for one in asked.split(",")]
    specs = [one for one in specs if one]
    if unit.lower() != "bytes" or len(specs) != 1 or (match := _RANGE.fullmatch(specs[0])) is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        return range(size - min(size, _place(last)), size) if size else None
    if last and _place(last) < _place(first):
        return None
    begin = min(size, _place(first))
    return range(begin, max(begin, min(size, _place(last) + 1)) if last else size)


def _place(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS else 10**_DIGITS


def _goes_on(headers: Headers, tag: str) -> bool:
    """Whether a range continues what the client has; a date is none of the result's."""
    conditions = headers.getlist("if-range")
    return not conditions or [one.strip(" \t") for one in conditions] == [tag]


def _matches(sent: Sequence[str], tag: str, *, strong: bool) -> bool:
    """Whether a list of entity tags has a tag. A header that is no such list has none."""
    text = ", ".join(sent).strip(" \t")
    if text == "*":
        return True
    if not _LIST.fullmatch(text):
        return False
    return any(f'"{opaque}"' == tag and not (strong and weak) for weak, opaque in _TAG.findall(text))
