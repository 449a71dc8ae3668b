"""Turns of a request: inputs of discrete or free annotations, which say who speaks when.

The input `turns` must be usable. Other annotations are ignored, with a notice, where they are not: clients send inputs
that are meant for other modules.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from emow2v.discover.database.access import RequestDatabase
from emow2v.discover.descriptors import Descriptor
from emow2v.discover.places import Places
from emow2v.errors import Emow2vError, FormatError, RequestError
from emow2v.sources.turns import TurnFiles
from emow2v.speech.segmentation import read_segments
from emow2v.speech.segments import Segmentation, Tier, fit_to_recording
from emow2v.storage import one_line, shown

IDS = ("turns", "segments")
# Limits of a file with turns, by which one is read in seconds, and valued in little memory; a day of turns has a hundredth
MAX_BYTES = 16 << 20
MAX_LINES = 200_000
MAX_TURNS = 20_000
MAX_AT_ONCE = 100  # turns that sound at the same time


@dataclass(frozen=True)
class TurnInputs:
    """The turns of a session.

    Attributes:
        segmentation: those of all inputs; None where no input has any
        files: that were read
        notices: a sentence for each input that was ignored
    """

    segmentation: Segmentation | None
    files: tuple[Path, ...]
    notices: tuple[str, ...]


def turn_inputs(descriptors: Iterable[Descriptor]) -> list[Descriptor]:
    """The inputs of a request that may hold turns."""
    return [
        one
        for one in descriptors
        if one.direction == "input" and one.kind == "annotation" and (one.sub in ("discrete", "free") or one.id in IDS)
    ]


def turn_file(places: Places, uri: str) -> Path:
    """The file with turns that a uri names.

    Raises:
        RequestError: it lies elsewhere, does not exist, or is a folder
        FormatError: it is too large, or cannot be read
    """
    uri = uri.removesuffix("~") if uri.endswith(".annotation~") else uri
    path = places.input(uri, "a file with turns")
    files = [path]
    if path.suffix == ".annotation":  # its data lie beside it
        files.append(places.input(f"{uri}~", "the data of an annotation"))
    check_size(files, uri)
    return path


def check_size(files: Iterable[Path], name: str) -> None:
    """Refuse a file with turns that takes long to read.

    Args:
        files: of one annotation; or one file
        name: for sentences

    Raises:
        FormatError: it has more than `MAX_BYTES` or `MAX_LINES`, or cannot be read
    """
    for file in files:
        try:
            large = file.stat().st_size > MAX_BYTES
            lines = 0 if large else file.read_bytes().replace(b"\r", b"\n").count(b"\n")
        except OSError as error:
            said = f"{shown(name)} cannot be read ({error.strerror}); expected a file with turns."
            raise FormatError(said) from None
        if large or lines > MAX_LINES:
            limit = f"{MAX_BYTES >> 20} MiB" if large else f"{MAX_LINES} lines"
            raise FormatError(f"{shown(name)} has more than {limit}; expected turns; leave tiers of words out.")


def check_turns(segmentation: Segmentation) -> None:
    """Refuse more turns than the server takes.

    Raises:
        FormatError: there are more than `MAX_TURNS`, or more than `MAX_AT_ONCE` at the same time
    """
    count = len(segmentation.segments)
    if count > MAX_TURNS:
        raise FormatError(
            f"{segmentation.name} has {count} turns; the server takes {MAX_TURNS}; leave tiers of words out."
        )
    edges = [(one.start, 1) for one in segmentation.segments] + [(one.end, -1) for one in segmentation.segments]
    if max(accumulate(change for _, change in sorted(edges)), default=0) > MAX_AT_ONCE:
        raise FormatError(
            f"{segmentation.name} has more than {MAX_AT_ONCE} turns at the same time; expected those of speakers; "
            "leave other tiers out."
        )


def read_turns(
    inputs: Iterable[Descriptor],
    dataset: str,
    session: str,
    places: Places,
    recording: str,
    duration_s: float = 0,
    database: RequestDatabase | None = None,
    addresses: TurnFiles | None = None,
) -> TurnInputs:
    """Read the turns of a session.

    Args:
        recording: its name
        duration_s: of the recording, as it states it; 0 where that is not known
        database: of inputs with the origin db:
        addresses: fetches inputs with the origin url:

    Raises:
        RequestError: the input `turns` cannot be used
    """
    found: list[Segmentation] = []
    files, notices = [], []
    for one in inputs:
        try:
            path = None
            if one.origin == "db" and database:
                read = database.turns(one, session)
            elif one.origin == "file":
                path = turn_file(places, uri := one.path(dataset, session))
                read = _with_names(read_segments(path, (), recording=Path(recording), name=uri), one)
            elif one.origin == "url" and addresses:
                read = _with_names(_read_fetched(addresses.read(one.path(dataset, session)), Path(recording)), one)
            else:
                raise RequestError(
                    f"The input '{one.id[:60]}' has the origin {one.origin}; expected file:, url: or db:annotation."
                )
            check_turns(read)
            fit_to_recording(read, duration_s or None, one_line(Path(recording).name))
        except Emow2vError as error:
            if one.id in IDS:
                raise RequestError(str(error)) from None
            notices.append(f"The input '{one.id[:60]}' was ignored: {error}")
        else:
            found.append(read)
            files += [path] if path else []
    return TurnInputs(_joined(found), tuple(files), tuple(notices))


def _read_fetched(files: Mapping[str, bytes], recording: Path) -> Segmentation:
    """The turns of files that were fetched, by their names."""
    name, *_ = files
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / ("turns.annotation" if len(files) > 1 else "turns")
        paths = [stem, stem.with_name(f"{stem.name}~")][: len(files)]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        check_size(paths, name)
        return read_segments(stem, (), recording=recording, name=name)


def _with_names(read: Segmentation, descriptor: Descriptor) -> Segmentation:
    """The turns with the role and the scheme of the descriptor where the file, as NOVA writes it, has none."""
    segments = tuple(
        replace(one, speaker=one.speaker or descriptor.role, tier=one.tier or descriptor.scheme)
        for one in read.segments
    )
    tiers = read.tiers or ((Tier(descriptor.scheme, descriptor.role),) if descriptor.scheme else ())
    return replace(read, segments=segments, tiers=tiers)


def _joined(found: Sequence[Segmentation]) -> Segmentation | None:
    """One for all: clients have a file for each role."""
    if len(found) < 2:
        return found[0] if found else None
    return replace(
        found[0],
        segments=tuple(segment for one in found for segment in one.segments),
        tiers=tuple(tier for one in found for tier in one.tiers),
        source=Path(", ".join(one.name for one in found)),
        notices=tuple(notice for one in found for notice in one.notices),
    )
