"""Turns of a request: inputs of discrete or free annotations, which say who speaks when.

The input `turns` must be usable. Other annotations are ignored, with a notice, where they are not: clients send inputs
that are meant for other modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emow2v.discover.descriptors import Descriptor
from emow2v.discover.places import Places
from emow2v.errors import Emow2vError, FormatError, RequestError
from emow2v.speech.segmentation import read_segments
from emow2v.speech.segments import Segmentation, Tier, fit_to_recording
from emow2v.storage import one_line, shown

IDS = ("turns", "segments")
MAX_BYTES = 16 << 20  # of a file with turns; a day of turns has a hundredth of it


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
        RequestError: it lies elsewhere, or does not exist
        FormatError: it is too large
    """
    uri = uri.removesuffix("~") if uri.endswith(".annotation~") else uri
    path = places.input(uri, "a file with turns")
    files = [path]
    if path.suffix == ".annotation":  # its data lie beside it
        files.append(places.input(f"{uri}~", "the data of an annotation"))
    if sum(file.stat().st_size for file in files) > MAX_BYTES:
        raise FormatError(
            f"{shown(uri)} has more than {MAX_BYTES >> 20} MiB; expected turns; leave tiers of words out."
        )
    return path


def read_turns(
    inputs: Iterable[Descriptor], dataset: str, session: str, places: Places, recording: str, duration_s: float = 0
) -> TurnInputs:
    """Read the turns of a session.

    Args:
        recording: its name
        duration_s: of the recording, as it states it; 0 where that is not known

    Raises:
        RequestError: the input `turns` cannot be used
    """
    found: list[Segmentation] = []
    files, notices = [], []
    for one in inputs:
        try:
            if one.origin != "file":
                raise RequestError(f"The input '{one.id[:60]}' has the origin request; expected file:annotation.")
            path = turn_file(places, uri := one.path(dataset, session))
            read = _with_names(read_segments(path, (), recording=Path(recording), name=uri), one)
            fit_to_recording(read, duration_s or None, one_line(Path(recording).name))
        except Emow2vError as error:
            if one.id in IDS:
                raise RequestError(str(error)) from None
            notices.append(f"The input '{one.id[:60]}' was ignored: {error}")
        else:
            found.append(read)
            files.append(path)
    return TurnInputs(_joined(found), tuple(files), tuple(notices))


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
