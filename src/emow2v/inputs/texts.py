"""Many texts in little memory, and the question which of them stand there more than once."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import overload

_ERRORS = "surrogatepass"  # names of files need not be Unicode


class Texts(Sequence[str]):
    """A sequence of texts that keeps their bytes in one piece: 8 bytes each beside them, where a string takes 57."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("Q")
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._bytes += text.encode(errors=_ERRORS)
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        end = self._ends[place]
        begin = self._ends[place - 1] if place % len(self) else 0
        return self._bytes[begin:end].decode(errors=_ERRORS)


def repeated(texts: Iterable[str], text_at: Callable[[int], str]) -> dict[str, list[int]]:
    """The texts that stand at several places, with these places.

    Memory: 8 bytes a text, and some 40 more for a moment; texts that stand there once are not kept.

    Args:
        texts: read once
        text_at: returns the text at a place, which may be read again
    """
    hashes = array("q", map(hash, texts))
    several = {one for one, following in itertools.pairwise(sorted(hashes)) if one == following}
    places: dict[str, list[int]] = {}
    if several:
        for place, one in enumerate(hashes):
            if one in several:
                places.setdefault(text_at(place), []).append(place)
    return {text: found for text, found in places.items() if len(found) > 1}
