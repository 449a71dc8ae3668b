"""People's ratings of a corpus that is never trained on: recipes of `lite` are chosen by them.

The speakers of the corpus are parted in two by their place in the alphabet, before any training. Recipes are chosen by
one half (`for_choosing`); the model card reports the other one (`for_reporting`), by which nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emow2v.agreement import ccc, within_classes
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.corpora.scales import parse_scales
from emow2v.errors import FormatError
from emow2v.training.lite.signals import Signals

if TYPE_CHECKING:
    from emow2v.networks.lite import Lite
    from emow2v.networks.lite_frames import LiteFrames

SCALE = "0:100"  # of the ratings in the file


@dataclass(frozen=True)
class RatedSpeech:
    """Clips that people rated, with their signals."""

    clips: Sequence[Clip]
    signals: Signals

    def figures(self, model: Lite | LiteFrames) -> dict[str, Any]:
        """CCC with the ratings, and correlation with them within classes, of whole clips and of the mean of 1 s windows."""
        from emow2v.training.lite.held_out import by_dimension, score  # PyTorch, which readers of ratings do without

        ratings = np.array([clip.ratings for clip in self.clips])
        classes = np.unique([clip.emotion for clip in self.clips], return_inverse=True)[1]
        scored = score(model, self.signals, range(len(self.clips)))
        return {
            "clips": len(self.clips),
            "speakers": sorted({clip.speaker for clip in self.clips}),
            **{
                name: {
                    "ccc": by_dimension(ccc, ratings, scores),
                    "within_classes": by_dimension(within_classes, ratings, scores, classes),
                }
                for name, scores in (("whole", scored.whole), ("windows_averaged", scored.averaged))
            },
        }


def read_rated_clips(manifest: Path, ratings: Path) -> list[Clip]:
    """The clips of a manifest that people rated, with their ratings on 0..1.

    Args:
        manifest: CSV with file, corpus, speaker and emotion of every clip
        ratings: CSV with file (as the manifest writes it), arousal and valence on 0..100, and dominance if it was rated

    Raises:
        FormatError: a file that cannot be read, a rated clip that the manifest does not have or has without speaker and
            class, a rating outside its scale
    """
    rated = read_manifest(ratings, scales=parse_scales(SCALE), required=("arousal", "valence"), missing_files=True)
    known = {clip.name: clip for clip in read_manifest(manifest, required=("speaker", "emotion"), missing_files=True)}
    clips = []
    for clip in rated:
        found = known.get(clip.name)
        if found is None or not found.speaker or not found.emotion:
            raise FormatError(
                f"{ratings} has ratings of {clip.name}, of which {manifest} does not say speaker and class; expected a line "
                "with both."
            )
        clips.append(replace(found, ratings=clip.ratings))
    return clips


def for_choosing(clips: Sequence[Clip]) -> list[Clip]:
    """The clips of every other speaker in the alphabet, from the first one."""
    chosen = _speakers(clips)[::2]
    return [clip for clip in clips if clip.speaker in chosen]


def for_reporting(clips: Sequence[Clip]) -> list[Clip]:
    """The clips of the other speakers."""
    chosen = _speakers(clips)[1::2]
    return [clip for clip in clips if clip.speaker in chosen]


def _speakers(clips: Sequence[Clip]) -> list[str]:
    return sorted({clip.speaker for clip in clips})


def check_apart(clips: Sequence[Clip], signals: Signals, rated: RatedSpeech) -> None:
    """Check that no network is judged by what it has learnt.

    Args:
        clips, signals: of the training

    Raises:
        FormatError: a speaker or the sound of a clip of the training is among those that people rated
    """
    if speakers := {clip.speaker for clip in clips} & {clip.speaker for clip in rated.clips}:
        raise FormatError(
            f"{min(speakers)} belongs to the training and to the speech that people rated; expected other speakers there."
        )
    known = {signals.digest(index): clip for index, clip in enumerate(clips)}
    for index, clip in enumerate(rated.clips):
        if same := known.get(rated.signals.digest(index)):
            raise FormatError(
                f"{clip.name}, which people rated, holds the same sound as {same.name} of the training; leave one of them out."
            )
