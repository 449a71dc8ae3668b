"""Server-sent events: pieces of bytes become the JSON of events."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

MOST = 4 << 20  # characters of an event


class Events:
    """Reads a stream of events; comments and fields other than data are left out."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._data: list[str] = []

    def add(self, piece: bytes) -> Iterator[Any]:
        """The JSON of each event that is complete; one that is no JSON is None."""
        *lines, self._rest = (self._rest + self._text.decode(piece)).replace("\r\n", "\n").split("\n")
        for line in lines:
            if line.startswith("data:"):
                self._data.append(line[5:].removeprefix(" "))
            elif not line and self._data:
                data, self._data = "\n".join(self._data), []
                yield _json(data)
        if len(self._rest) > MOST:
            self._rest = ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
