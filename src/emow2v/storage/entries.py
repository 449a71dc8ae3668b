"""JSON objects that wait on the disk until they are written: facts of many recordings, and which of them all share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

_IN_MEMORY = 1 << 20  # bytes; more go into a temporary file
_Facts = Mapping[str, str | float]


class Entries:
    """JSON objects in the order in which they were added; the memory does not depend on their number."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def add(self, entry: object) -> None:
        """Add one at the end."""
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (see `close`)
        self._file.seek(0, 2)
        self._file.write(json.dumps(entry).encode() + b"\n")

    def __iter__(self) -> Iterator[Any]:
        if self._file is None:
            return iter(())
        self._file.seek(0)
        return map(json.loads, self._file)

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()


class RecordingFacts:
    """Facts of recordings. Those of the first are kept, and of the others what differs from it."""

    def __init__(self) -> None:
        self._first: dict[str, str | float] = {}
        self._layouts: dict[tuple[str, ...], int] = {}  # names of facts in their order
        self._differing: set[str] = set()
        self._entries = Entries()

    def add(self, name: _Facts, facts: _Facts) -> None:
        """Add a recording.

        Args:
            name: facts that are always told
        """
        if not self._layouts:
            self._first = dict(facts)
        missing = object()
        other = {key: value for key, value in facts.items() if self._first.get(key, missing) != value}
        self._differing |= other.keys() | (self._first.keys() - facts.keys())
        layout = self._layouts.setdefault(tuple(facts), len(self._layouts))
        self._entries.add((dict(name), layout, other))

    def shared(self) -> dict[str, str | float]:
        """The facts that all recordings have."""
        return {key: value for key, value in self._first.items() if key not in self._differing}

    def __iter__(self) -> Iterator[dict[str, str | float]]:
        """Of each recording, its name and the facts that not all share."""
        layouts = list(self._layouts)
        for name, layout, other in self._entries:
            keys = [key for key in layouts[layout] if key in self._differing or key not in self._first]
            yield name | {key: other[key] if key in other else self._first[key] for key in keys}

    def close(self) -> None:
        """Remove the temporary file."""
        self._entries.close()
