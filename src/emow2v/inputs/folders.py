"""Recordings in folders, and those that patterns match."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from emow2v import storage
from emow2v.errors import PathError
from emow2v.inputs import ENDINGS, Input, LeftOut, Outcome, some, stem_of
from emow2v.inputs.texts import Texts
from emow2v.stores import with_two_slashes

_FETCH = "fetch the content (git annex get, datalad get), or mend the link"
_NO_RECORDING = "matches no recording; expected recordings such as .wav, .mp3 or .mp4."


def found(path: str, folder: Path = Path(), key: str = "") -> Input:
    """A recording, and the name of its results."""
    name = path.rpartition(os.sep)[2]
    return Input(path, folder, stem_of(name) if name and os.sep == "/" else Path(path).stem, key)


class RealFolders:
    """Paths in their folders without links; a file that is a link itself keeps its name. The real path of a folder is kept
    while paths in it follow each other.
    """

    def __init__(self) -> None:
        self._last = "", ""  # a folder and its real path

    def __call__(self, path: str) -> str:
        head, _, tail = path.rpartition(os.sep)
        if not head or tail in ("", os.curdir, os.pardir):
            return os.path.realpath(path)
        if self._last[0] != head:
            self._last = head, os.path.realpath(head)
        return f"{self._last[1]}{os.sep}{tail}"


def recordings_in(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> Iterator[Input]:
    """Recordings in a folder and below it, in the order of their names."""
    top, known, count = Path(name), len(failed), 0
    others, hidden, links, broken = Texts(), Texts(), Texts(), Texts()

    def refuse(error: OSError) -> None:
        failed.append(
            Outcome(str(error.filename or name), error=str(storage.unreadable(error.filename or name, error)))
        )

    for path, is_folder in _walk(top, refuse):
        within = path.relative_to(top)
        if path.name.startswith("."):
            if path.name != storage.RUN_FOLDER:
                hidden.append(str(within))
        elif is_folder:
            links.append(str(within))
        elif path.suffix.lower() not in ENDINGS:
            others.append(str(within))
        else:
            try:
                kind = storage.kind_of(path)
            except PathError as error:
                failed.append(Outcome(str(path), error=str(error)))
                continue
            if kind == "file":
                count += 1
                yield found(str(path), within.parent, within.as_posix())
            elif kind is None:
                broken.append(str(path))
            else:  # a pipe or a device is opened only when it is named itself
                others.append(str(within))
    if broken:
        reason = f"is a link to a file that is not there; {_FETCH}."
        failed.append(Outcome(name, error=_broken_links_error(name, broken), members=broken, reason=reason))
    if not count and len(failed) == known:
        failed.append(Outcome(name, error=f"{storage.shown(name)} {_NO_RECORDING}"))
    left_out = LeftOut(name, others, hidden, links)
    if len(left_out):
        leave_out(left_out)


def _walk(top: Path, refuse: Callable[[OSError], None]) -> Iterator[tuple[Path, bool]]:
    """Files, hidden folders and linked folders in a folder and below it, each with whether it is a folder; in the order of
    their names, as far as those of one folder are in memory.
    """

    def entries(folder: Path) -> Iterator[tuple[Path, bool]]:
        for _, subfolders, files in os.walk(folder, onerror=refuse):
            names = sorted([(one, True) for one in subfolders] + [(one, False) for one in files])
            return ((folder / one, is_folder) for one, is_folder in names)
        return iter(())

    waiting = [entries(top)]
    while waiting:
        for path, is_folder in waiting[-1]:
            if is_folder and not path.name.startswith(".") and not _is_link(path):
                waiting.append(entries(path))
                break
            yield path, is_folder
        else:
            waiting.pop()


def recordings_matching(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> Iterable[Input]:
    """Files that a pattern matches; folders only if it matches no file. A pattern that matches every name, such as "*",
    gives only names with a recording's ending, as a folder does.
    """
    matches = next((paths for paths in map(_glob, _interpretations(name)) if paths), [])
    files: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    matches_every_name = set(Path(name).name) == {"*"}
    for match in matches:
        try:
            kind = storage.kind_of(match)
        except PathError as error:
            failed.append(Outcome(match, error=str(error)))
            continue
        if kind == "folder":
            folders.append(match)
        elif kind is None:
            failed.append(Outcome(match, error=missing_path_error(match)))
        elif matches_every_name and Path(match).suffix.lower() not in ENDINGS:
            others.append(match)
        else:
            files.append(match)
    if others:
        leave_out(LeftOut(name, tuple(others)))
    if not matches and "\n" in name:
        failed.append(Outcome(name, error=missing_path_error(name)))
    elif not matches:
        sentence = "matches nothing; expected recordings such as .wav, .mp3 or .mp4."
        failed.append(Outcome(name, error=f"{storage.shown(name)} {sentence}"))
    if not files and (("**" in name and folders) or (others and not folders)):
        failed.append(Outcome(name, error=f"{storage.shown(name)} {_NO_RECORDING}"))
    if files or "**" in name:
        return map(found, files)
    return (one for folder in folders for one in recordings_in(folder, failed, leave_out))


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (pathlib refuses absolute patterns)


def _interpretations(name: str) -> Iterator[str]:
    """Patterns that a name may stand for. Brackets in an existing folder belong to its name. Other brackets are a choice
    of letters first, and literal brackets second.
    """
    parts = list(Path(name).parts)
    literal = 0  # number of leading parts that exist literally
    for number in range(1, len(parts)):
        if storage.kind_of(Path(*parts[:number])) != "folder":
            break
        literal = number
    choices = [
        [glob.escape(part)] if number < literal else [part, part.replace("[", "[[]")] if "[" in part else [part]
        for number, part in enumerate(parts)
    ]
    for reading in itertools.islice(itertools.product(*choices), 16):
        yield str(Path(*reading))


def missing_path_error(name: str) -> str:
    """The sentence for a path where nothing exists."""
    if _is_link(Path(name)):
        return _broken_links_error(name, [name])
    if address := with_two_slashes(name):
        return f"{storage.shown(name)} does not exist; expected an address with two slashes: {storage.shown(address)}."
    if "\n" in name:
        return f"{storage.shown(name)} does not exist; separate several names by spaces, not lines."
    if "\\" in name and os.sep == "/" and storage.exists(name.replace("\\", "/")):
        return f"{storage.shown(name)} does not exist; expected / and not \\ between folders here."
    return _not_found_error(name)


def _not_found_error(name: str | Path) -> str:
    return f"{storage.shown(name)} does not exist; expected a recording, a folder or a pattern."


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # reported when the file is opened
        return False


def _broken_links_error(name: str, links: Sequence[str]) -> str:
    """The sentence for links to files that do not exist."""
    first = Path(links[0])
    try:
        target = storage.shown(first.readlink())
    except OSError:  # deleted meanwhile
        return _not_found_error(first)
    if len(links) == 1:
        return f"{storage.shown(first)} is a link to {target}, which is not there; {_FETCH}."
    return (
        f"{storage.shown(name)}: {len(links)} recordings are links to files that are not there "
        f"({some(links)}); {_FETCH}."
    )
