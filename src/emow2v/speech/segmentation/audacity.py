"""Reader of Audacity's label tracks: start, end and label, with tabs between."""

from __future__ import annotations

import re

from emow2v.errors import FormatError
from emow2v.speech.segmentation.text import lines_of, parse_time, quoted
from emow2v.speech.segments import Segment, Segmentation, Tier

LINE = re.compile(r"[+-]?\d+(?:[.,]\d+)?\t[+-]?\d+(?:[.,]\d+)?(?:\t.*)?")


def read_audacity(text: str) -> Segmentation:
    """The labels of a track; lines with frequencies, which begin with a backslash, belong to the label before them.

    A track has no name in its file; labels are on the tier "labels", those of no length on "points".

    Raises:
        FormatError: a line that is none of a label track
    """
    segments = []
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        if not LINE.fullmatch(line):
            raise FormatError(
                f"line {number} is {quoted(line)}; expected start, end and label with tabs between; correct it"
            )
        start, end, *label = line.split("\t", 2)
        begin, stop = parse_time(start), parse_time(end)
        segments.append(Segment(begin, stop, "", "labels" if stop > begin else "points", *label))
    names = {segment.tier for segment in segments}
    tiers = tuple(tier for tier in (Tier("labels"), Tier("points", points=True)) if tier.name in names)
    return Segmentation(tuple(segments), "Audacity", tiers)
