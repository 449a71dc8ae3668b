"""A clip: a stretch of a recording, who speaks in it, and what people said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.errors import PathError

Ratings = tuple[float, float, float]  # arousal, dominance, valence
UNRATED: Ratings = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Clip:
    """A stretch of a recording, or a whole one: what evaluation measures and training learns from.

    Attributes:
        file: where the recording is
        name: as the corpus writes it
        start, end: seconds; end is None for the end of the recording
        speaker: "" where unknown
        ratings: arousal, dominance, valence on 0..1, NaN where there is none
        by_rater: the same from each rater by name, where a corpus has them; `ratings` is then their mean
        emotion: class, "" where there is none
        intensity: how strongly the class was acted, or a level of expressiveness, as the corpus writes it
        groups: sex, language and corpus, as far as they are known
        partition: train, development or test; in a manifest as it is written there; "" where there is none
    """

    file: Path
    name: str
    start: float = 0.0
    end: float | None = None
    speaker: str = ""
    ratings: Ratings = UNRATED
    by_rater: Mapping[str, Ratings] = field(default_factory=dict)
    emotion: str = ""
    intensity: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    partition: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it is a recording from its first sample to its last."""
        return not self.start and self.end is None

    @property
    def label(self) -> str:
        """Its name in reports."""
        return self.name if self.is_whole else f"{self.name} from {self.start:g} s"

    @property
    def corpus(self) -> str:
        """The corpus it belongs to, "" where the manifest does not say."""
        return self.groups.get("corpus", "")


def speaker_numbers(clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """A number for the speaker of each clip [clips]; a clip whose speaker is unknown has a number of its own."""
    names = [clip.speaker or f"\0{number}" for number, clip in enumerate(clips)]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names], np.int64)


def is_missing(file: Path) -> bool:
    """Whether no file lies at a path. A path that the operating system refuses is an error where it is opened."""
    try:
        return not storage.is_file(file)
    except PathError:
        return False
