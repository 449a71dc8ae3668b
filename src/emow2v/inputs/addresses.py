"""Recordings at addresses: named themselves, in folders, by patterns, and by lists."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.inputs import ENDINGS, Input, LeftOut, Outcome, some, stem_of
from emow2v.inputs.texts import repeated
from emow2v.stores import is_address, join, name_of, parent, path_of, public

_LISTS = (".txt", ".csv", ".tsv", ".parquet")
_EXPECTED = "expected recordings such as .wav, .mp3 or .mp4."


def found_at(address: str, folder: Path = Path(), key: str = "") -> Input:
    """A recording at an address, and the name of its results."""
    return Input(address, folder, stem_of(storage.name_here(name_of(address))) or "recording", key)


def recordings_at(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> Iterator[Input]:
    """The recordings that an address stands for: itself, those in a folder and below it, or those that a pattern matches.

    Raises:
        AudioError: its store does not say
    """
    from emow2v.stores import listing

    is_pattern = listing.is_pattern(name)
    if is_pattern and not listing.is_object(name):
        yield from _matching(name, failed, leave_out)
    elif not is_pattern and listing.is_folder(name):
        yield from _in_folder(name, failed, leave_out)
    else:
        yield found_at(name)


def _in_folder(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> Iterator[Input]:
    from emow2v.stores import listing

    others: list[str] = []
    hidden: list[str] = []
    count = 0
    for address, within in listing.below(name):
        parts = PurePosixPath(within).parts
        if any(part.startswith(".") for part in parts):
            if storage.RUN_FOLDER not in parts:
                hidden.append(within)
        elif PurePosixPath(within).suffix.lower() not in ENDINGS:
            others.append(within)
        else:
            count += 1
            yield found_at(address, _folder_here(within), within)
    if not count:
        failed.append(Outcome(public(name), error=f"{storage.shown(public(name))} holds no recording; {_EXPECTED}"))
    left_out = LeftOut(public(name), others, hidden)
    if len(left_out):
        leave_out(left_out)


def _matching(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> Iterator[Input]:
    from emow2v.stores import listing

    files: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    matches_every_name = set(name_of(name)) == {"*"}
    for address, is_folder in listing.matching(name):
        if is_folder:
            folders.append(address)
        elif matches_every_name and PurePosixPath(name_of(address)).suffix.lower() not in ENDINGS:
            others.append(address)
        else:
            files.append(address)
    if others:
        leave_out(LeftOut(public(name), [public(one) for one in others]))
    if files:
        yield from map(found_at, files)
    elif folders and "**" not in name:
        for folder in folders:
            yield from _in_folder(folder, failed, leave_out)
    else:
        what = "recording" if folders or others else "object"
        failed.append(Outcome(public(name), error=f"{storage.shown(public(name))} matches no {what}; {_EXPECTED}"))


def is_list(name: str) -> bool:
    """Whether an address may be that of a list, by its ending."""
    return is_address(name) and name_of(name).lower().endswith(_LISTS)


def read_list_at(name: str, read_list: Callable[[str], Sequence[str] | None]) -> Sequence[str] | None:
    """The names in a list at an address.

    Args:
        read_list: as for `expand`

    Raises:
        AudioError, FormatError: it cannot be read, or is no list
    """
    from emow2v.stores.objects import StoredObject

    with tempfile.TemporaryDirectory(prefix="emow2v-list-") as folder:
        path = Path(folder, name_of(name))
        with StoredObject(name).open() as file:
            path.write_bytes(file.read())
        try:
            return read_list(str(path))
        except FormatError as error:
            raise FormatError(str(error).replace(str(path), storage.shown(public(name)))) from None


def has_addresses(rows: Sequence[str]) -> bool:
    """Whether a list names recordings at addresses."""
    return any("://" in row and is_address(row) for row in rows)


def recordings_listed_at(
    name: str, rows: Sequence[str], failed: list[Outcome], leave_out: Callable[[LeftOut], None]
) -> Iterator[Input]:
    """Recordings of a list at an address, or of one that names addresses. The store is asked for many at a time.

    Results of recordings that are named relative to the list have the same folders. The others keep the folders below the
    one that they share.
    """
    from emow2v.stores.connection import look

    if nameless := sum(not row for row in rows):
        names = storage.counted(nameless, "row names", "rows name")
        failed.append(
            Outcome(
                public(name), error=f"{storage.shown(public(name))}: {names} no recording; expected one in each row."
            )
        )
    top = parent(name) if is_address(name) else str(Path(name).parent)
    places = [_place(top, row) for row in rows]
    again = repeated(places, places.__getitem__)
    again.pop("", None)
    if again:
        leave_out(LeftOut(public(name), repeated=[public(rows[numbers[0]]) for numbers in again.values()]))
    later = {number for numbers in again.values() for number in numbers[1:]}
    chosen = [number for number, place in enumerate(places) if place and number not in later]
    errors = look([places[number] for number in chosen if is_address(places[number])])
    for place, error in errors.items():
        failed.append(Outcome(public(place), error=error))
    missing = [rows[one] for one in chosen if not is_address(places[one]) and not storage.exists(places[one])]
    if missing:
        reason = f"does not exist; expected a name relative to the folder of {storage.shown(name)}, or a whole path."
        count = storage.counted(len(missing), "recording does", "recordings do")
        sentence = f"{storage.shown(name)}: {count} not exist ({some(missing)}); expected whole paths or addresses."
        failed.append(Outcome(public(name), error=sentence, members=missing, reason=reason))
    gone = {*errors, *(_place(top, row) for row in missing)}
    chosen = [number for number in chosen if places[number] not in gone]
    away = [number for number in chosen if _is_away(rows[number])]
    shared = _shared_folder([places[number] for number in away])
    for number in chosen:
        place, row = places[number], rows[number]
        within = posixpath.relpath(_folder(place), shared) + "/" if _is_away(row) else row
        folder, key = _folder_here(within), public(row)
        if is_address(place):
            yield found_at(place, folder, key)
        else:
            yield Input(place, folder, stem_of(Path(place).name), key)


def _folder_here(name: str) -> Path:
    """The folder of results for a name relative to a folder elsewhere."""
    return Path(*map(storage.name_here, PurePosixPath(posixpath.dirname(name)).parts))


def _place(top: str, row: str) -> str:
    """The address or path of a row; "" for an empty one."""
    if not row or is_address(row):
        return row
    return join(top, row) if is_address(top) else str(Path(top, row))


def _is_away(row: str) -> bool:
    return is_address(row) or row.startswith("/") or Path(row).is_absolute() or ".." in PurePosixPath(row).parts


def _folder(place: str) -> str:
    path = path_of(place) if is_address(place) else Path(place).absolute().as_posix()
    return "/" + posixpath.dirname(path).lstrip("/")


def _shared_folder(places: Sequence[str]) -> str:
    return posixpath.commonpath([_folder(place) for place in places]) if places else "/"
