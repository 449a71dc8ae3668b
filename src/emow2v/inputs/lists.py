"""Recordings that a list names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from emow2v import storage
from emow2v.inputs import Input, LeftOut, Outcome, some
from emow2v.inputs.folders import RealFolders, found
from emow2v.inputs.texts import Texts, repeated


def recordings_listed(
    name: str, rows: Sequence[str], failed: list[Outcome], leave_out: Callable[[LeftOut], None]
) -> Iterator[Input]:
    """Recordings that a list names. Those that it names from elsewhere keep the folders below the one that they share.

    Raises:
        PathError: the operating system refuses to answer about one of them
    """
    top = Path(name).parent
    written_as = _Spellings(top)
    again = repeated(map(written_as, rows), lambda place: written_as(rows[place]))
    again.pop("", None)
    taken = bytearray(bool(row) for row in rows)  # 1 for each recording that is done
    if nameless := taken.count(0):
        rows_name = storage.counted(nameless, "row names", "rows name")
        failed.append(
            Outcome(name, error=f"{storage.shown(name)}: {rows_name} no recording; expected one in each row.")
        )
    for places in again.values():
        for place in places[1:]:
            taken[place] = 0
    number = sum(taken)
    missing, away, place_of = Texts(), _SharedFolder(), _Places(top)
    for place, row in enumerate(rows):
        if taken[place]:
            path = place_of(row)
            if not storage.exists(path):
                missing.append(row)
                taken[place] = 0
            elif _is_away(row):
                away.add(path)
    if missing:
        count = f"{len(missing)} of {storage.counted(number, 'recording')} {'does' if len(missing) == 1 else 'do'}"
        sentence = f"{storage.shown(name)}: {count} not exist ({some(missing)}); expected names relative to its folder"
        reason = f"does not exist; expected a name relative to the folder of {storage.shown(name)}, or a whole path."
        failed.append(Outcome(name, error=f"{sentence}, or whole paths.", members=missing, reason=reason))
    if again:
        leave_out(LeftOut(name, repeated=[rows[places[0]] for places in again.values()]))
    for place, row in enumerate(rows):
        if taken[place]:
            path = place_of(row)
            yield found(path, away.below(path) if _is_away(row) else place_of.folder, row)


class _Spellings:
    """One spelling for each recording, whichever way rows write it: a.wav, ./a.wav, b/../a.wav, its whole path."""

    def __init__(self, top: Path) -> None:
        self._place_of, self._in_real_folder = _Places(top), RealFolders()

    def __call__(self, row: str) -> str:
        if not row or "\0" in row:  # no path has a NUL
            return row
        return self._in_real_folder(self._place_of(row))


class _Places:
    """The paths of rows. Rows that follow each other share their folder, which is looked at once.

    Attributes:
        folder: of the last row, relative to that of the list; of a row from elsewhere, what it says
    """

    def __init__(self, top: Path) -> None:
        self._top, self._head, self._start = top, "", ""
        self.folder = Path()

    def __call__(self, row: str) -> str:
        tail = row.rpartition(os.sep)[2]
        head = row.removesuffix(tail) if tail else row  # with the separator at its end
        if tail in ("", os.curdir, os.pardir) or "\\" in row or os.sep != "/":
            path = self._top / row
            if "\\" in row and os.sep == "/" and not storage.exists(path):
                path = self._top / row.replace("\\", "/")  # a Windows program wrote it
            self.folder, self._start = path.parent if _is_away(row) else path.relative_to(self._top).parent, ""
            return str(path)
        if not self._start or head != self._head:
            path = self._top / f"{head}x"
            self._head, self._start = head, str(path).removesuffix("x")
            self.folder = path.parent if _is_away(row) else path.relative_to(self._top).parent
        return self._start + tail


def _is_away(row: str) -> bool:
    return (".." in row and ".." in Path(row).parts) or Path(row).is_absolute()


class _SharedFolder:
    """The folder that recordings from elsewhere share, and their folders below it."""

    def __init__(self) -> None:
        self._shared, self._last = "", ""
        self._below: tuple[str, Path] = "", Path()

    def add(self, path: str) -> None:
        """Take a recording into account."""
        folder = _folder(path)
        if folder != self._last:
            self._last = folder
            self._shared = os.path.commonpath((self._shared, folder)) if self._shared else folder

    def below(self, path: str) -> Path:
        """The folder of a recording, relative to the shared one."""
        folder = _folder(path)
        if folder != self._below[0]:
            self._below = folder, Path(os.path.relpath(folder, self._shared))
        return self._below[1]


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
