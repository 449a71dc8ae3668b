"""Turns of many recordings, from one file for all, or from a folder of files named as the recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.inputs import STDIN
from emow2v.speech.segmentation import ENDINGS, SegmentFolder, read_segments
from emow2v.speech.segments import Segmentation, parse_tier

# Formats that may name several recordings; a file of another one belongs to one recording
_OF_SEVERAL = (".rttm", ".csv", ".tsv", ".txt", ".parquet")


@dataclass(frozen=True)
class Turns:
    """The source of turns, and options for their values.

    Attributes:
        segments: a file, a folder, or None for the turns of the detector
        tiers: as `read_segments` takes them
        options: more options of `Model.predict_turns`: pool, and those of the detector
    """

    segments: Path | None = None
    tiers: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def finder(self, recordings: Sized) -> Finder:
        """A finder of the turns of so many recordings.

        Raises:
            FormatError: the file or folder does not exist, cannot belong to several recordings, or a tier has no name
        """
        for tier in self.tiers:
            parse_tier(tier)
        return Finder(self, recordings)


class Finder:
    """Finds the turns of each recording of a run."""

    def __init__(self, turns: Turns, recordings: Sized) -> None:
        self._turns = turns
        self._several = len(recordings) > 1
        place = turns.segments
        kind = None if place is None else storage.kind_of(place)
        if place is not None and kind is None:
            raise FormatError(
                f"{storage.shown(place)} does not exist; expected a file with turns, or a folder of them."
            )
        self._folder = SegmentFolder(place) if place is not None and kind == "folder" else None

    def options(self, recording: str) -> dict[str, Any]:
        """Options of `Model.predict_turns` for a recording.

        Raises:
            FormatError: the recording has no file with turns, or it cannot be read
        """
        return {**self._turns.options, "segments": self.segmentation(recording)}

    def segmentation(self, recording: str) -> Segmentation | None:
        """The turns of a recording; None for those of the detector. Raises as `options`."""
        path = self.file(recording)
        if path is None:
            return None
        return read_segments(path, self._turns.tiers, recording=None if recording == STDIN else recording)

    def file(self, recording: str) -> Path | None:
        """The file with the turns of a recording; None where they are the detector's. Raises as `options`."""
        place, name = self._turns.segments, Path(recording)
        if place is None:
            return None
        if self._folder is None:
            if self._several and place.suffix.lower() not in _OF_SEVERAL and place.stem not in (name.stem, name.name):
                raise FormatError(
                    f"{storage.shown(place)} is not named as {storage.shown(recording)}; expected a folder of files named as "
                    "the recordings."
                )
            return place
        found = self._folder.find(name, self._turns.tiers)
        if found is None:
            raise FormatError(
                f"{storage.shown(recording)} has no file with turns in {storage.shown(place)}; expected "
                f"{storage.shown(name.stem + ENDINGS[0])}, .TextGrid or another that docs/segments.md names."
            )
        return found
