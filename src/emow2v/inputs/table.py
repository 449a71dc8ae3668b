"""Many inputs in little memory: a million names take some tens of megabytes."""

from __future__ import annotations

import os
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from emow2v.inputs import Input, stem_of
from emow2v.inputs.texts import Texts

_OF_PATH, _NAME_OF_PATH = 0, 1  # where the name of a result comes from; a negative number is its place among others


class _Rows(Sequence[Input]):
    """A sequence of inputs that are made when they are read."""

    @overload
    def __getitem__(self, place: int) -> Input: ...
    @overload
    def __getitem__(self, place: slice) -> list[Input]: ...
    def __getitem__(self, place: int | slice) -> Input | list[Input]:
        if isinstance(place, slice):
            return [self._at(one) for one in range(*place.indices(len(self)))]
        return self._at(place)

    @abstractmethod
    def _at(self, place: int) -> Input: ...


class Inputs(_Rows):
    """A sequence of inputs in columns. Inputs that follow each other share their folder; an input is made when it is read."""

    def __init__(self, inputs: Iterable[Input] = ()) -> None:
        self._heads, self._head = Texts(), array("I")  # folders of paths, with the separator at their end
        self._tails = Texts()
        self._folders, self._folder = Texts(), array("I")
        self._stem = array("i")
        self._key = array("i")  # where it begins in the path, or its place among others
        self._others = Texts()  # names of results and keys that are no part of the path
        self._last = "", ""  # head and folder of the last one
        self._read: tuple[int, Path] = -1, Path()  # folder of the one that was read last
        for one in inputs:
            self.append(one)

    def append(self, one: Input) -> None:
        """Add an input at the end."""
        before, separator, tail = one.path.rpartition(os.sep)
        head, folder = before + separator, one.folder.as_posix()
        if not len(self._tails) or self._last[0] != head:
            self._heads.append(head)
        if not len(self._tails) or self._last[1] != folder:
            self._folders.append(folder)
        self._last = head, folder
        self._head.append(len(self._heads) - 1)
        self._folder.append(len(self._folders) - 1)
        self._tails.append(tail)
        self._stem.append(
            _OF_PATH if one.stem == stem_of(tail) else _NAME_OF_PATH if one.stem == tail else self._other(one.stem)
        )
        begin = len(one.path) - len(one.key)
        self._key.append(begin if begin >= 0 and one.path[begin:] == one.key else self._other(one.key))

    def _other(self, text: str) -> int:
        self._others.append(text)
        return -len(self._others)

    def __len__(self) -> int:
        return len(self._tails)

    def _at(self, place: int) -> Input:
        tail = self._tails[place]
        path = self._heads[self._head[place]] + tail
        stem, key, number = self._stem[place], self._key[place], self._folder[place]
        folder = self._read
        if folder[0] != number:
            self._read = folder = number, Path(self._folders[number])
        return Input(
            path,
            folder[1],
            self._others[-stem - 1] if stem < 0 else tail if stem == _NAME_OF_PATH else stem_of(tail),
            self._others[-key - 1] if key < 0 else path[key:],
        )

    def path(self, place: int) -> str:
        """The path of the input at a place."""
        return self._heads[self._head[place]] + self._tails[place]

    def chosen(self, places: Sequence[int]) -> Chosen:
        """The inputs at some places."""
        return Chosen(self, places)


class Chosen(_Rows):
    """Some of many inputs, in order."""

    def __init__(self, inputs: Inputs, places: Sequence[int]) -> None:
        self._inputs, self._places = inputs, places

    def __len__(self) -> int:
        return len(self._places)

    def _at(self, place: int) -> Input:
        return self._inputs[self._places[place]]

    def paths(self) -> Iterator[str]:
        """Their paths."""
        return map(self._inputs.path, self._places)
