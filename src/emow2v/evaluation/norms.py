"""Published norms of emotion words, for corpora that have classes and no ratings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Pleasure, arousal, dominance on -1..1: Mehrabian and Russell (1977), Evidence for a three-factor theory of
# emotions, Journal of Research in Personality 11. Neutral is the middle of their scales by construction.
_PLEASURE_AROUSAL_DOMINANCE = {
    "neutral": (0.0, 0.0, 0.0),
    "anger": (-0.51, 0.59, 0.25),
    "fear": (-0.64, 0.60, -0.43),
    "happiness": (0.81, 0.51, 0.46),
    "sadness": (-0.63, -0.27, -0.33),
    "disgust": (-0.60, 0.35, 0.11),
    "surprise": (0.40, 0.67, -0.13),
    "boredom": (-0.65, -0.62, -0.33),
}
_OTHER_WORDS = {
    "angry": "anger",
    "afraid": "fear",
    "fearful": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "disgusted": "disgust",
    "surprised": "surprise",
    "bored": "boredom",
}


def norm(emotion: str) -> npt.NDArray[np.float64]:
    """Arousal, dominance and valence of an emotion word, [3] on 0..1; NaN for words without norms.

    >>> norm("anger").round(3).tolist()
    [0.795, 0.625, 0.245]
    """
    word = emotion.strip().lower()
    values = _PLEASURE_AROUSAL_DOMINANCE.get(_OTHER_WORDS.get(word, word))
    if values is None:
        return np.full(3, np.nan)
    pleasure, arousal, dominance = values
    return (np.array([arousal, dominance, pleasure]) + 1) / 2
