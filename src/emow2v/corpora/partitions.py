"""Who is trained on, who decides when to stop, who judges: partitions, and how to draw them so that no speaker is in two."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emow2v.errors import FormatError

if TYPE_CHECKING:
    from emow2v.corpora.segments import Segment

TRAIN, DEVELOPMENT, TEST = PARTITIONS = ("train", "development", "test")
_NAMES = {
    TRAIN: ("train", "training"),
    DEVELOPMENT: ("development", "dev", "devel", "validation", "valid", "val"),
    TEST: ("test", "testing"),
}


def partition_of(where: str, name: str) -> str:
    """The partition that a corpus calls `name`, "" for no name.

    Raises:
        FormatError: it is none; the sentence begins with `where`
    """
    found = next((partition for partition, names in _NAMES.items() if name.lower() in names), "")
    if name and not found:
        raise FormatError(f"{where}: '{name}' is no partition; expected {TRAIN}, {DEVELOPMENT} or {TEST}.")
    return found


def split(
    segments: Sequence[Segment], *, development_share: float = 0.15, test_share: float = 0.15, seed: int = 1
) -> list[Segment]:
    """Segments that all have a partition; whole speakers are drawn, and the same ones for the same seed.

    Where no segment has one, speakers are drawn for test and development. Where there is no development, it is drawn
    from train. Segments of one file whose speaker nobody knows are one speaker.

    Args:
        development_share, test_share: of the segments drawn from, as nearly as whole speakers allow

    Raises:
        FormatError: shares or a seed that are none, some segments without partition, or too few speakers
    """
    wrong = [
        one for one in (development_share, test_share) if isinstance(one, bool) or not isinstance(one, int | float)
    ]
    if wrong or isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise FormatError(
            f"development_share is {development_share!r}, test_share {test_share!r} and seed {seed!r}; "
            "expected two numbers, and a whole one from 0."
        )
    if not (0 <= development_share < 1 and 0 <= test_share < 1 and development_share + test_share < 1):
        raise FormatError(
            f"development_share is {development_share:g} and test_share {test_share:g}; "
            "expected two shares from 0 whose sum is below 1."
        )
    done = list(segments)
    without = sum(not segment.partition for segment in done)
    if 0 < without < len(done):
        raise FormatError(
            f"{without} of {len(done)} segments have no partition; expected one for all of them, or none."
        )
    rng = np.random.default_rng(seed)
    if without:
        tested = _drawn(done, test_share, rng, left=2 if development_share else 1)
        done = [
            dataclasses.replace(segment, partition=TEST if _voice(segment) in tested else TRAIN) for segment in done
        ]
        development_share = development_share / (1 - test_share)
    if not any(segment.partition == DEVELOPMENT for segment in done):
        chosen = _drawn([segment for segment in done if segment.partition == TRAIN], development_share, rng)
        done = [
            dataclasses.replace(segment, partition=DEVELOPMENT)
            if segment.partition == TRAIN and _voice(segment) in chosen
            else segment
            for segment in done
        ]
    return done


def _voice(segment: Segment) -> str:
    return segment.speaker or f"\0{segment.file}"


def _drawn(segments: Sequence[Segment], share: float, rng: np.random.Generator, left: int = 1) -> set[str]:
    """Speakers whose segments are about `share` of all: at least one; `left` or more are not drawn."""
    counts = Counter(map(_voice, segments))
    if not share or not counts:
        return set()
    if len(counts) <= left:
        raise FormatError(
            f"No speaker can be set apart from {len(counts)}; expected more speakers, a partition for each segment, "
            "or development_share and test_share of 0."
        )
    names = sorted(counts)
    order = [names[index] for index in rng.permutation(len(names))]
    wanted, count = share * len(segments), 0
    drawn: set[str] = set()
    for name in order:
        if len(drawn) < len(names) - left and abs(count + counts[name] - wanted) < abs(count - wanted):
            drawn.add(name)
            count += counts[name]
    return drawn or {min(order, key=lambda name: counts[name])}
