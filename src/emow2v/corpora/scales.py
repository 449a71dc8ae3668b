"""Scales of ratings: the lowest and the highest value that raters could give, which become 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from emow2v.corpora.clip import Ratings
from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

Scale = tuple[float, float]
Scales = str | Sequence[str] | Mapping[str, str]  # the ways to write scales in a configuration


def parse_scale(text: str) -> dict[str, Scale]:
    """The scale of each dimension: "1:7" for all of them, "arousal=1:5" for one.

    Raises:
        FormatError: another form
    """
    name, _, span = text.rpartition("=")
    low, _, high = span.partition(":")
    try:
        scale = float(low), float(high)
    except ValueError:
        scale = (math.nan, math.nan)
    if not scale[0] < scale[1] or name not in ("", *DIMENSIONS):
        raise FormatError(f"'{text}' is no scale; expected LOW:HIGH such as 1:7, or arousal=1:7.")
    return dict.fromkeys((name,) if name else DIMENSIONS, scale)


def parse_scales(scales: Scales) -> dict[str, Scale]:
    """The scale of each dimension, from "1:7", ["arousal=1:5", "valence=-3:3"] or {"arousal": "1:5"}.

    Raises:
        FormatError: another form
    """
    if isinstance(scales, str):
        texts: list[object] = [scales]
    elif isinstance(scales, Mapping):
        texts = [f"{name}={span}" for name, span in scales.items()]
    else:
        texts = list(scales) if isinstance(scales, Sequence) else [scales]
    if not all(isinstance(text, str) for text in texts):  # YAML reads 1:7 without quotes as minutes and seconds
        raise FormatError(f'{scales!r} is no scale; expected LOW:HIGH in quotes, such as "1:7".')
    return {name: scale for text in texts for name, scale in parse_scale(str(text)).items()}


def rescaled(values: Sequence[float], scale: Scale) -> Ratings:
    """Ratings of arousal, dominance and valence on 0..1; values outside their scale lie outside 0..1."""
    low, high = scale
    arousal, dominance, valence = ((value - low) / (high - low) for value in values)
    return arousal, dominance, valence
