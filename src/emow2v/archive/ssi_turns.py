"""Turns as annotations of SSI and NOVA: who speaks when as discrete ones, labels as free ones, values as continuous ones."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from emow2v.errors import FormatError
from emow2v.formats import AnnotationFacts
from emow2v.formats.pictures import SPEAKERS as COLOURS
from emow2v.formats.ssi import add_continuous_scheme, annotation_header, write_header, xml_text
from emow2v.formats.ssi_read import data_path
from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.speech.segmentation.praat import grouped
from emow2v.speech.segments import Segment, Segmentation, Turn
from emow2v.storage import exists, take_name
from emow2v.storage.files import StagedFiles

RATE = 25  # values a second of continuous annotations
_SCHEMES = ("turns", "labels", *DIMENSIONS)
_SPEECH = "speech"  # class of turns without a named speaker
_NAMELESS = "turns"  # the name that `grouped` has for them
_NO_NAME = re.compile(
    r'[\\/:*?"<>|.\x00-\x1f\x7f\ud800-\udfff]+'
)  # what names of files, or of NOVA's parts of them, cannot hold
_LONGEST_NAME = 255 - len("-99999.dominance.annotation~")  # bytes
_LINE_ENDS = re.compile("[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


class TurnAnnotationsWriter:
    """Writes pairs of files for each speaker: `NAME.SPEAKER.turns.annotation` and so on; without SPEAKER where none is named.

    `turns` is discrete; its classes are the speakers, and its confidence is the share of speech. `labels` is free, and written
    where turns have labels. `arousal`, `dominance` and `valence` are continuous: a turn's value as long as it lasts, NaN between
    turns. Turns of one speaker that overlap go to further files, as for ELAN.

    Args:
        stem: first part of every name
        segmentation: where turns came from, whose file is never replaced; None for the detector
        facts: role where no speaker is named, and the range of values

    Attributes:
        staged, clipped: see `formats.Writer`
    """

    def __init__(
        self, folder: Path, stem: str, segmentation: Segmentation | None, facts: AnnotationFacts, *, overwrite: bool
    ) -> None:
        self._folder, self._stem, self._facts = folder, stem, facts
        self._source = segmentation.source if segmentation else None
        self._turns: list[Turn] = []
        self._confidence: dict[Turn, float] = {}
        self.clipped = 0
        self.staged = StagedFiles(overwrite=overwrite)
        known = segmentation.segments if segmentation else ()
        for _, _, places in self._groups([Turn(one, (math.nan,) * 3, 0) for one in known]):
            self._expect(places)

    @property
    def path(self) -> Path | None:
        """The first file, for messages; None before one is known."""
        headers = [path for path in self.staged.places if not path.name.endswith("~")]
        return headers[0] if headers else None

    def open(self, info: Info) -> None:
        self._info = info

    def add(self, block: Block) -> None:
        assert block.turns is not None and block.speech is not None
        texts = (block.turns.speakers, block.turns.tiers, block.turns.labels)
        values = (block.scores.tolist(), block.speech.tolist(), block.confidence.min(axis=1).tolist())
        for start, end, speaker, tier, label, scores, share, confidence in zip(
            block.starts.tolist(), block.ends.tolist(), *texts, *values, strict=True
        ):
            turn = Turn(Segment(start, end, speaker, tier, label), tuple(scores), 1, share)
            self._turns.append(turn)
            self._confidence[turn] = _share(confidence)

    def close(self) -> None:
        groups = self._groups(self._turns)
        names = list(dict.fromkeys(name or _SPEECH for name, _, _ in groups))
        for name, turns, places in groups:
            self._expect(places)
            role = name or self._facts.role
            self._discrete(places["turns"], role, turns, names, names.index(name or _SPEECH))
            if "labels" in places:
                self._free(places["labels"], role, turns)
            for column, dimension in enumerate(DIMENSIONS):
                self._continuous(places[dimension], role, turns, column)

    def _groups(self, turns: Sequence[Turn]) -> list[tuple[str, list[Turn], dict[str, Path]]]:
        """Turns that do not overlap, with the name of their speaker or tier, "" for none, and the header of each scheme."""
        taken: set[str] = set()
        groups = []
        for label, lane in grouped(turns) or [(_NAMELESS, [])]:
            name = lane[0].segment.speaker or lane[0].segment.tier if lane else ""
            has_labels = any(one.segment.label for one in lane)
            schemes = [scheme for scheme in _SCHEMES if has_labels or scheme != "labels"]
            stem = (
                self._stem if not name and label == _NAMELESS else f"{self._stem}.{_NO_NAME.sub('_', label).strip(' ')}"
            )
            short = stem.encode(errors="replace")[:_LONGEST_NAME].decode(errors="ignore")
            stem = take_name(short, taken)
            places = {scheme: self._folder / f"{stem}.{scheme}.annotation" for scheme in schemes}
            groups.append((name, lane, places))
        return groups

    def _expect(self, places: dict[str, Path]) -> None:
        for header in places.values():
            if self._source and exists(self._source) and exists(header) and header.samefile(self._source):
                raise FormatError(f"{header} is the file with the turns itself; choose another output folder.")
            self.staged.expect({data_path(header): header, header: None})

    def _discrete(self, header: Path, role: str, turns: Sequence[Turn], names: Sequence[str], number: int) -> None:
        def scheme(root: ET.Element) -> None:
            element = ET.SubElement(root, "scheme", {"name": "turns", "type": "DISCRETE"})
            for place, name in enumerate(names):
                colour = COLOURS[place % len(COLOURS)].upper()
                ET.SubElement(element, "item", {"id": str(place), "name": xml_text(name), "color": colour})

        lines = [f"{_times(turn)};{number};{_share(turn.speech):.6f}\n" for turn in turns]
        self._write(header, role, lines, scheme, "confidence: share of the turn in which somebody speaks")

    def _free(self, header: Path, role: str, turns: Sequence[Turn]) -> None:
        def scheme(root: ET.Element) -> None:
            ET.SubElement(root, "scheme", {"name": "labels", "type": "FREE"})

        labelled = [turn for turn in turns if turn.segment.label]
        self._write(header, role, [f"{_times(turn)};{_label(turn)};1\n" for turn in labelled], scheme)

    def _continuous(self, header: Path, role: str, turns: Sequence[Turn], column: int) -> None:
        rows = max((math.ceil(round(turn.segment.end * RATE, 6)) for turn in turns), default=0)
        lines = ["NaN;0.000000\n"] * rows
        for turn in turns:
            score = turn.scores[column]
            if not math.isfinite(score):
                continue
            self.clipped += not 0 <= score <= 1
            text = self._facts.texts([min(max(score, 0.0), 1.0)])[0]
            first, end = (round(time * RATE) for time in (turn.segment.start, turn.segment.end))
            for row in range(first, min(max(end, first + 1), rows)):  # a turn has one row at least
                lines[row] = f"{text};{self._confidence[turn]:.6f}\n"
        name = DIMENSIONS[column]
        note = "a turn's value as long as it lasts, NaN between turns"
        self._write(
            header, role, lines, lambda root: add_continuous_scheme(root, name, Fraction(RATE), self._facts), note
        )

    def _write(
        self, header: Path, role: str, lines: Sequence[str], scheme: Callable[[ET.Element], None], note: str = ""
    ) -> None:
        root = annotation_header(self._info, len(lines), role, note=note)
        scheme(root)
        data = data_path(header)
        self.staged.open(data).write("".join(lines).encode())
        write_header(self.staged.open(header), root, self.staged.digest(data))


def _share(value: float) -> float:
    return float(np.clip(value, 0, 1)) if math.isfinite(value) else 0.0


def _times(turn: Turn) -> str:
    return f"{turn.segment.start:.6f};{turn.segment.end:.6f}"


def _label(turn: Turn) -> str:
    """A label on one line, without the signs that separate or quote columns; free annotations have no escapes."""
    text = _LINE_ENDS.sub(" ", turn.segment.label).replace(";", ",").replace('"', "'")
    return text.encode(errors="backslashreplace").decode()
