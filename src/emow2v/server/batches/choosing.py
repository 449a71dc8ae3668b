"""Which recordings a job of many has: those of a folder of the data folders, of a list of paths, or of uploads."""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emow2v import storage
from emow2v.discover.places import Places, safe_name
from emow2v.errors import Emow2vError, FormatError, PathError, RequestError
from emow2v.inputs import ENDINGS, LeftOut, stem_of

# Recordings of a job. Their names are stored with it, and each request on its files reads them: 1 MB in 5 ms. More
# recordings are for the command line, whose journal takes millions.
MOST = 10_000
MOST_PATTERNS = 20


@dataclass(frozen=True)
class Chosen:
    """A recording of a job.

    Attributes:
        name: its path relative to the data folders, or the client's own name of an upload
        folder, stem: of its results; no other recording of the job has both
        upload: name of the stored upload; "" for a recording of the data folders
    """

    name: str
    folder: str
    stem: str
    upload: str = ""


def in_folder(places: Places, folder: str, patterns: Sequence[str], *, recursive: bool) -> tuple[list[str], str]:
    """The recordings of a folder of the data folders, in the order of the command line.

    Hidden entries, the work folder and links that lead out are left out, as in the list of files; so are folders that are
    links, and other names of a recording.

    Args:
        folder: relative to the data folders; "" for these
        patterns: of names, or of paths relative to the folder where they hold a /; none for all recordings
        recursive: also those of the folders below

    Returns:
        names relative to the data folders, and a sentence on what was left out; "" where nothing was

    Raises:
        RequestError: there is no such folder, or no recording in it
        FormatError: a pattern is not usable, or there are too many recordings
    """
    folder = folder.replace("\\", "/").strip("/")
    for pattern in patterns:
        _check_pattern(pattern)
    others: list[str] = []
    links: list[str] = []
    found: list[tuple[str, Path]] = []
    for within, path in _walk(places, folder, "", recursive, links):
        if PurePosixPath(within).suffix.lower() not in ENDINGS or not is_unicode(within) or not _is_file(path):
            others.append(within)
        elif not patterns or any(matches(within, pattern) for pattern in patterns):
            found.append((f"{folder}/{within}" if folder else within, path))
            if len(found) > MOST:
                raise too_many(f"The folder {storage.shown(folder or 'of the data')} has more than {MOST} recordings")
    chosen = _without_aliases(found)
    if not chosen:
        said = " that match" if patterns else ""
        raise RequestError(
            f"The folder {storage.shown(folder or 'of the data')} has no recordings{said}; expected recordings such as "
            ".wav, .mp3 or .mp4."
        )
    return chosen, LeftOut(folder or "data folders", others, (), links).sentence if others or links else ""


def _walk(places: Places, top: str, within: str, recursive: bool, links: list[str]) -> Iterator[tuple[str, Path]]:
    """Files below a folder with their paths relative to it; linked folders are added to `links`."""
    entries = places.entries("/".join(part for part in (top, within) if part))
    for name in sorted(entries):
        path, inside = entries[name], f"{within}/{name}" if within else name
        try:
            is_folder = storage.is_folder(path)
        except PathError:  # such as a drive that is gone; the recording fails when it is read
            is_folder = False
        if not is_folder:
            yield inside, path
        elif path.is_symlink():
            links.append(inside)
        elif recursive and is_unicode(name):
            yield from _walk(places, top, inside, recursive, links)


def _without_aliases(found: Sequence[tuple[str, Path]]) -> list[str]:
    """Each recording once: its own name is preferred to names of links."""
    own = {path for _, path in found if not path.is_symlink()}
    chosen = []
    for name, path in found:
        if path.is_symlink():
            if (target := path.resolve()) in own:
                continue
            own.add(target)
        chosen.append(name)
    return chosen


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a pattern: * and ? stand for no /, and ** for any folders. A pattern without / is one of names."""
    parts = pattern.split("/")
    return _match(path.split("/"), parts if len(parts) > 1 else ["**", *parts])


def _match(path: Sequence[str], pattern: Sequence[str]) -> bool:
    ends = [True] + [False] * len(path)  # whether the pattern so far matches so many parts
    for part in pattern:
        if part == "**":
            for place in range(len(path)):
                ends[place + 1] |= ends[place]
        else:
            ends = [False] + [
                ends[place] and fnmatch.fnmatchcase(name.lower(), part.lower()) for place, name in enumerate(path)
            ]
    return ends[-1]


def of_paths(places: Places, paths: Sequence[str]) -> list[str]:
    """The paths of a list, each once. Those without a recording fail later, and not the others with them.

    Raises:
        RequestError: none of them is the path of a recording; the sentence is that of the first
        FormatError: there are too many
    """
    names = list(dict.fromkeys(paths))
    if len(names) > MOST:
        raise too_many(f"The request names {len(names)} paths")
    first: Emow2vError | None = None
    for name in names:
        try:
            local(places, name)
        except Emow2vError as error:
            first = first or error
        else:
            return names
    if first is not None:
        raise RequestError(str(first))
    return names


def local(places: Places, name: str) -> Path:
    """The file of a recording of the data folders here.

    Raises:
        RequestError: there is none, or it lies in a data folder at an address
        PathError: the operating system refuses to answer
    """
    path = places.input(name)
    if path.is_relative_to(places.fetched.resolve()):
        raise RequestError(
            f"{storage.shown(name)} lies in a data folder at an address; a job of many recordings takes those of the "
            "server's disks; post it to /v1/predictions."
        )
    return path


def with_results(
    places: Places, names: Sequence[str], below: Mapping[str, str], uploads: Mapping[str, str]
) -> list[Chosen]:
    """Recordings with the folders and names of their results, as the command line names them.

    Args:
        names: of all recordings
        below: the folder that was asked for, by the names of its recordings; their results lie relative to it
        uploads: names of stored uploads by the client's names
    """
    placed = [(name, *_place(places, name, below.get(name), name in uploads)) for name in names]
    equal = Counter((folder, stem_of(own).lower()) for _, folder, own in placed)
    taken: dict[str, set[str]] = {}
    chosen = []
    for name, folder, own in placed:
        stem = own if equal[folder, stem_of(own).lower()] > 1 else stem_of(own)
        stem = storage.take_name(stem, taken.setdefault(folder, set()))
        chosen.append(Chosen(name, folder, stem, uploads.get(name, "")))
    return chosen


def _place(places: Places, name: str, below: str | None, is_upload: bool) -> tuple[str, str]:
    """The folder of a recording's results, and the recording's own name there.

    Nothing of a request becomes part of a path, unless a recording of the data folders has that name.
    """
    if below is not None:
        folder, _, own = (name[len(below) + 1 :] if below else name).rpartition("/")
        return folder, own
    if not is_upload:
        with contextlib.suppress(Emow2vError):
            path = local(places, name)
            roots = [root.resolve() for root in places.data_dirs]
            inside = next((path.relative_to(root) for root in roots if path.is_relative_to(root)), Path(path.name))
            return "" if inside.parent == Path() else inside.parent.as_posix(), path.name
    return "", safe_name(name.replace("\\", "/").rpartition("/")[2], "recording")


def too_many(said: str) -> FormatError:
    """The refusal of a job with too many recordings."""
    return FormatError(f"{said}; one job takes {MOST}; post parts of it, or use emow2v predict, which takes millions.")


def _check_pattern(pattern: str) -> None:
    if not pattern.strip("/") or len(pattern) > 1000 or ".." in pattern.split("/") or pattern.startswith("/"):
        raise FormatError(
            f"The pattern '{storage.shown(pattern)}' is not usable; expected one of names such as *.wav, or of paths "
            "below the folder such as session1/**/*.wav."
        )


def _is_file(path: Path) -> bool:
    """Whether a path is a file, or the operating system does not say: it fails when it is read, then."""
    try:
        return storage.kind_of(path) == "file"
    except PathError:
        return True


def is_unicode(name: str) -> bool:
    """Whether a name is text, which JSON can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
