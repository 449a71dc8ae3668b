"""Text of files that other programs wrote, in the encodings that they use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

WESTERN = ("windows-1252", "latin-1")  # encodings that a text without a mark is taken for if it is not in UTF-8
_LOOKED_AT = 400  # bytes
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def lines(text: str) -> Iterator[str]:
    """The lines of a text with their ends, as a text file gives them that translates no end of a line.

    `io.StringIO` takes four bytes for each letter; this takes none.
    """
    return (match[0] for match in _LINE.finditer(text))


def json_integer(digits: str) -> int:
    """An integer of JSON (`parse_int` of `json`), which Python itself refuses with another error where it is very long.

    Raises:
        JSONDecodeError: more digits than Python takes
    """
    try:
        return int(digits)
    except ValueError:
        raise json.JSONDecodeError(f"A number has {len(digits)} digits", digits, 0) from None


def decode(content: bytes) -> tuple[str, str]:
    """The text of a file and its encoding: UTF-8 or UTF-16, each with or without a byte order mark; else Windows-1252, or
    Latin-1 where that has no such sign.

    Raises:
        UnicodeDecodeError: UTF-16 that is damaged, or UTF-8 that ends within a letter
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else _without_mark(content)
    if encoding:
        return content.decode(encoding).removeprefix("\ufeff"), encoding
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and not content[: error.start].isascii():
            raise
    try:
        return content.decode(WESTERN[0]), WESTERN[0]
    except UnicodeDecodeError:
        return content.decode(WESTERN[1]), WESTERN[1]


def _without_mark(content: bytes) -> str:
    """The kind of UTF-16 in which every other byte of plain letters is 0; "" where there are fewer zeros."""
    for begin, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = content[begin:_LOOKED_AT:2]
        if len(zeros) > 1 and zeros.count(0) > 0.8 * len(zeros):
            return encoding
    return ""
