"""Inputs from what a user names: files, folders, patterns, lists and "-". Each name without a recording gives one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from emow2v import storage
from emow2v.errors import AudioError, FormatError, PathError
from emow2v.inputs import STDIN, Input, LeftOut, Outcome
from emow2v.inputs.addresses import has_addresses, is_list, read_list_at, recordings_at, recordings_listed_at
from emow2v.inputs.folders import RealFolders, found, missing_path_error, recordings_in, recordings_matching
from emow2v.inputs.lists import recordings_listed
from emow2v.inputs.table import Inputs
from emow2v.inputs.texts import repeated
from emow2v.stores import is_address, name_of, public

_NUMBERS = re.compile(r"(-\d+)+$")  # that distinguish results of one name


def expand(
    names: Sequence[str],
    leave_out: Callable[[LeftOut], None] = lambda left_out: None,
    read_list: Callable[[str], Sequence[str] | None] = lambda name: None,
) -> tuple[Inputs, list[Outcome]]:
    """Turn names into inputs.

    Results of files in a folder get the same subfolders below the output folder. Two inputs never share the name of a
    result. Memory: some tens of bytes for each recording, and its name.

    Args:
        names: files, folders (with their subfolders), patterns and "-"
        leave_out: called for each folder with its files and folders that are left out
        read_list: returns the names in a file that lists recordings, relative to its folder; None for another file

    Returns:
        The inputs, and an outcome with an error for each name that gives no input.
    """
    parts: list[Inputs] = []
    failed: list[Outcome] = []
    for name in names:
        try:
            listed = _listed(name, read_list)
            if listed is None:
                parts.append(Inputs(_resolve(name, failed, leave_out)))
            elif is_address(name) or has_addresses(listed):
                parts.append(Inputs(recordings_listed_at(name, listed, failed, leave_out)))
            else:
                parts.append(Inputs(recordings_listed(name, listed, failed, leave_out)))
        except (PathError, FormatError, AudioError) as error:
            failed.append(Outcome(public(name) if is_address(name) else name, error=str(error)))
    recordings = parts[0] if len(parts) == 1 else Inputs(one for part in parts for one in part)
    del parts
    unique = _without_aliases(recordings, leave_out)
    return _number_equal_stems(_with_endings(unique)), failed


def _listed(name: str, read_list: Callable[[str], Sequence[str] | None]) -> Sequence[str] | None:
    """The names in a list, here or at an address; None where it is no list."""
    if is_address(name):
        return read_list_at(name, read_list) if is_list(name) else None
    return read_list(name) if not _is_other(name) and storage.is_file(name) else None


def _without_aliases(recordings: Inputs, leave_out: Callable[[LeftOut], None]) -> Inputs:
    """Each recording once, where its first name stands. Its own name is preferred to names of links."""
    in_real_folder = RealFolders()

    def real(place: int) -> str:
        path = recordings.path(place)
        if _is_other(path):
            return path
        return os.path.realpath(path) if os.path.islink(path) else in_real_folder(path)  # noqa: PTH114

    several = repeated(map(real, range(len(recordings))), real)
    if not several:
        return recordings
    taken: dict[int, int] = {}  # by the place of the first name
    for places in several.values():
        chosen = min(places, key=lambda place: os.path.islink(recordings.path(place)))  # noqa: PTH114
        taken[places[0]] = chosen
        taken |= dict.fromkeys(places[1:], -1)
        path = recordings.path(chosen)
        if not _is_other(path):
            others = {os.path.abspath(one): one for one in map(recordings.path, places)}  # noqa: PTH100
            del others[os.path.abspath(path)]  # noqa: PTH100
            if others:
                leave_out(LeftOut(path, aliases=tuple(others.values())))
    chosen_places = (taken.get(place, place) for place in range(len(recordings)))
    return Inputs(recordings[place] for place in chosen_places if place >= 0)


def _with_endings(inputs: Inputs) -> Inputs:
    """Names of results with the ending of the recording, where two would be equal: talk.wav and talk.mp3 in one folder
    give talk.wav.csv and talk.mp3.csv.
    """

    def place_of(one: Input) -> str:
        return STDIN if one.path == STDIN else _place(one)

    places = repeated(map(place_of, inputs), lambda place: place_of(inputs[place]))
    shared = {place for several in places.values() for place in several}
    if not shared:
        return inputs
    return Inputs(
        replace(one, stem=_name(one.path)) if place in shared and one.path != STDIN else one
        for place, one in enumerate(inputs)
    )


def _number_equal_stems(inputs: Inputs) -> Inputs:
    """Number equal names from different folders: talk.csv, talk-2.csv."""
    equal = repeated(map(_place, inputs), lambda place: _place(inputs[place]))
    if not equal:
        return inputs
    kinds = {_NUMBERS.sub("", place) for place in equal}  # other names are equal to none that gets a number
    taken: dict[Path, set[str]] = {}  # names in each folder

    def numbered(one: Input) -> Input:
        if _NUMBERS.sub("", _place(one)) not in kinds:
            return one
        return replace(one, stem=storage.take_name(one.stem, taken.setdefault(one.folder, set())))

    return Inputs(map(numbered, inputs))


def _place(one: Input) -> str:
    """The place of a result, whatever the case of its letters."""
    return f"{one.folder.as_posix()}\0{one.stem.lower()}"


def _name(path: str) -> str:
    return storage.name_here(name_of(path)) if is_address(path) else Path(path).name


def _is_other(name: str) -> bool:
    """Whether a name is a pipe or an address instead of a path."""
    return name == STDIN or is_address(name)


def _resolve(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> Iterable[Input]:
    """The recordings that a name stands for, each with the folder of its results."""
    if name == STDIN:
        return [Input(name, Path(), "stdin")]
    if name.startswith("file://"):
        failed.append(Outcome(name, error=f"{storage.shown(name)} is an address; expected a path, such as {name[7:]}."))
        return []
    if is_address(name):
        return recordings_at(name, failed, leave_out)
    if not name:
        failed.append(Outcome(name, error="A name is empty; expected a recording, a folder or a pattern."))
        return []
    kind = storage.kind_of(name)
    if kind == "folder":
        return recordings_in(name, failed, leave_out)
    if kind is not None:
        return [found(name)]
    if any(sign in name for sign in "*?["):
        return recordings_matching(name, failed, leave_out)
    failed.append(Outcome(name, error=missing_path_error(name)))
    return []
