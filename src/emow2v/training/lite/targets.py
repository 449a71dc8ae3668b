"""What `lite` learns from: the corpora of acted speech, the values that their classes stand for, the held-out speakers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from emow2v import storage
from emow2v.corpora.clip import Clip, Ratings
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.errors import Emow2vError

EMOTIONS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")

# The value of each class as (arousal, dominance, valence) on 0..1. All lie between the norms for words of Mehrabian and
# Russell (1977) and the means of rated podcast speech by class (MSP-Podcast 1.8, stretched about neutral, since acted
# speech is rated further out). Dominance follows arousal as it does in people's ratings of speech, and leans towards the
# norms a little. Valence of unpleasant classes lies less far out than the norms: listeners rate anger and sadness of
# voices nearer to the middle than the words.
TARGETS: dict[str, Ratings] = {
    "neutral": (0.46, 0.50, 0.50),
    "calm": (0.32, 0.41, 0.57),
    "happiness": (0.72, 0.68, 0.74),
    "sadness": (0.30, 0.34, 0.28),
    "anger": (0.80, 0.78, 0.25),
    "fear": (0.70, 0.56, 0.28),
    "disgust": (0.52, 0.53, 0.28),
    "surprise": (0.75, 0.63, 0.60),
}
# RAVDESS was acted twice: distance from the middle, relative to the table.
INTENSITY = {"": 1.0, "normal": 0.85, "strong": 1.15}
# BAVED has no emotions but three levels of expressiveness: arousal only.
EXPRESSIVENESS = {"0": 0.32, "1": 0.48, "2": 0.70}

TRAINING_CORPORA = ("nemo", "ravdess", "baved")  # where a recipe names no others
COLUMNS = ("corpus", "speaker", "emotion", "intensity")  # of the manifest, beside file
# Whole speakers, chosen before any training by their place in the list, never by results. In RAVDESS
# odd numbers are men, even ones women. Of the known speakers of emospeech every seventh in the alphabet is held out; clips
# of its unknown speakers are trained on, and may be by some of these.
_EMOSPEECH = (
    "02fc4ae7 1cfb3698 31bb5038 3d9d3e0e 4b3d0bf6 5e6d4c13 718bb766 8679e56f 91193322 9aa7e4f3 b0303d33 be5d8177 c6b4400c "
    "d2f5206d eaae5953"
)
HELD_OUT = frozenset(
    ["nemo_TP0", "nemo_WR0", "ravdess_21", "ravdess_22", "ravdess_23", "ravdess_24"]
    + [f"baved_{number}" for number in (0, 6, 12, 18, 24, 30, 36, 42, 48, 54)]
    + [f"emospeech_{name}" for name in _EMOSPEECH.split()]
)


def read_acted_clips(path: Path, corpora: Sequence[str] = TRAINING_CORPORA) -> list[Clip]:
    """Clips of the manifest of the corpora (file, corpus, speaker, emotion, intensity), each with a target.

    Raises:
        Emow2vError: no manifest at that path, no clip of these corpora, or a class that has no target
    """
    if not storage.is_file(path):
        raise Emow2vError(f"{path} does not exist; expected a manifest.csv with a line for each clip.")
    clips = read_manifest(path, required=COLUMNS, only={"corpus": corpora}, missing_files=True)
    for clip in clips:
        target_of(clip)
    return clips


def target_of(clip: Clip) -> Ratings:
    """The values that the class of a clip stands for, NaN for a dimension about which it says nothing.

    Raises:
        Emow2vError: a class or an intensity that has no value
    """
    if not clip.emotion and clip.intensity in EXPRESSIVENESS:
        return EXPRESSIVENESS[clip.intensity], math.nan, math.nan
    if clip.emotion not in TARGETS or clip.intensity not in INTENSITY:
        raise Emow2vError(
            f"No target for emotion '{clip.emotion}' of intensity '{clip.intensity}'; known: {', '.join(TARGETS)}."
        )
    return spread(TARGETS[clip.emotion], INTENSITY[clip.intensity])


def spread(ratings: Ratings, factor: float) -> Ratings:
    """Values so many times as far from the middle of the scale."""
    arousal, dominance, valence = (0.5 + factor * (value - 0.5) for value in ratings)
    return arousal, dominance, valence


def emotion_of(clip: Clip) -> int:
    """The index of the class of a clip in `EMOTIONS`, -1 where it has none."""
    return EMOTIONS.index(clip.emotion) if clip.emotion else -1


def is_held_out(clip: Clip, left_out: str = "") -> bool:
    """Whether a clip is measured and never trained on.

    Args:
        left_out: a corpus that is held out as a whole, "" for none
    """
    return clip.speaker in HELD_OUT or (bool(left_out) and clip.corpus == left_out)
