"""Partitions: speakers to train on, speakers to choose a network by, speakers to test it on; and how they are drawn, so
that no speaker is in two partitions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from emow2v.corpora.clip import Clip
from emow2v.errors import FormatError

TRAIN, DEVELOPMENT, TEST = PARTITIONS = ("train", "development", "test")
_NAMES = {
    TRAIN: ("train", "training"),
    DEVELOPMENT: ("development", "dev", "devel", "validation", "valid", "val"),
    TEST: ("test", "testing"),
}


def partition_of(where: str, name: str) -> str:
    """The partition that a corpus calls `name`, "" for no name.

    Raises:
        FormatError: no partition is called so; the sentence begins with `where`
    """
    partition = next((partition for partition, names in _NAMES.items() if name.lower() in names), "")
    if name and not partition:
        raise FormatError(f"{where}: '{name}' is no partition; expected {TRAIN}, {DEVELOPMENT} or {TEST}.")
    return partition


def split(
    clips: Sequence[Clip], *, development_share: float = 0.15, test_share: float = 0.15, seed: int = 1
) -> list[Clip]:
    """Clips that all have a partition; whole speakers are drawn, and the same ones for the same seed.

    Where no clip has one, speakers are drawn for test and development. Where there is no development, it is drawn
    from train. Clips of one file whose speaker is unknown count as one speaker.

    Args:
        development_share, test_share: of the clips drawn from, as nearly as whole speakers allow

    Raises:
        FormatError: shares or a seed that are no numbers, some clips without partition, or too few speakers
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
    without = sum(not clip.partition for clip in clips)
    if 0 < without < len(clips):
        raise FormatError(f"{without} of {len(clips)} clips have no partition; expected one for all of them, or none.")
    rng = np.random.default_rng(seed)
    if without:
        tested = _drawn(clips, test_share, rng, left=2 if development_share else 1)
        clips = [dataclasses.replace(clip, partition=TEST if _speaker(clip) in tested else TRAIN) for clip in clips]
        development_share = development_share / (1 - test_share)
    if not any(clip.partition == DEVELOPMENT for clip in clips):
        chosen = _drawn([clip for clip in clips if clip.partition == TRAIN], development_share, rng)
        clips = [
            dataclasses.replace(clip, partition=DEVELOPMENT)
            if clip.partition == TRAIN and _speaker(clip) in chosen
            else clip
            for clip in clips
        ]
    return list(clips)


def _speaker(clip: Clip) -> str:
    return clip.speaker or f"\0{clip.file}"


def _drawn(clips: Sequence[Clip], share: float, rng: np.random.Generator, left: int = 1) -> set[str]:
    """Names of speakers whose clips are about `share` of all: at least one; `left` speakers or more are not drawn."""
    counts = Counter(map(_speaker, clips))
    if not share or not counts:
        return set()
    if len(counts) <= left:
        raise FormatError(
            f"No speaker can be set apart from {len(counts)}; expected more speakers, a partition for each clip, "
            "or development_share and test_share of 0."
        )
    names = sorted(counts)
    order = [names[index] for index in rng.permutation(len(names))]
    target, count = share * len(clips), 0
    drawn: set[str] = set()
    for name in order:
        if len(drawn) < len(names) - left and abs(count + counts[name] - target) < abs(count - target):
            drawn.add(name)
            count += counts[name]
    return drawn or {min(order, key=lambda name: counts[name])}
