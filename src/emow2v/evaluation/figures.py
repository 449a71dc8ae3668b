"""Figures of a corpus: agreement, groups, stability, confidence and recall of the clips that were judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from emow2v.corpora.clip import Clip, speaker_numbers
from emow2v.corpora.csv_manifest import GROUPS
from emow2v.evaluation.embeddings import Recall, Undefined, recall
from emow2v.evaluation.intervals import Figure, agreement, difference, missing
from emow2v.evaluation.norms import norm
from emow2v.trajectory import DIMENSIONS

Floats = npt.NDArray[np.floating]
Agreement = Mapping[str, Mapping[str, Figure | int]]
Truth = Literal["ratings", "norms", "none"]

FIFTHS = 5
ENOUGH_SPEAKERS = 5  # of each group, to speak of a difference between two


@dataclass(frozen=True)
class Judged:
    """What a model said of one clip.

    Attributes:
        whole, confidence: [3], of the clip as one utterance
        embedding: [1024]
        windows: [windows, 3]
        window_confidence: [windows, 3]
        notices: sentences on what is missing or unusual in the recording
    """

    clip: Clip
    seconds: float
    whole: Floats
    confidence: Floats
    embedding: Floats
    windows: Floats
    window_confidence: Floats
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stability:
    """How scores move within a clip.

    Attributes:
        step: mean absolute change from one window to the next
        within, between: deviation of windows about their clip's mean, and of the clips' means
    """

    step: float
    within: float
    between: float

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Evaluation:
    """All figures of a model on a corpus.

    Attributes:
        about: model, framing, software: plain strings and numbers
        truth: what scores were compared with: people's ratings, the norms of emotion words, or nothing
        judged: the clips, in the manifest's order
        skipped: names of clips that could not be read, with the sentence why
        whole: scores of whole clips; windows_averaged: the mean of their windows; windows_weighted: their mean by
            confidence, which counts silence for little; single_windows: each by itself
        groups: by sex, language and corpus where there is more than one, the figures of whole clips
        sexes: CCC of the women's clips less the men's, where each are enough speakers
        stability: by dimension
        surer: by dimension, mean confidence and mean absolute error of the fifths of clips from unsure to sure
        recalls: by corpus, by features, what an SVM makes of them
        classes: mean and deviation of the scores of each
        undefined: figures that these clips do not define, each with the sentence why
    """

    about: Mapping[str, object]
    truth: Truth
    judged: Sequence[Judged]
    skipped: Mapping[str, str]
    whole: Agreement
    windows_averaged: Agreement
    windows_weighted: Agreement
    single_windows: Agreement
    groups: Mapping[str, Mapping[str, Agreement]]
    sexes: Mapping[str, Figure]
    stability: Mapping[str, Stability]
    surer: Mapping[str, Mapping[str, object]]
    recalls: Mapping[str, Mapping[str, Recall]]
    classes: Mapping[str, Mapping[str, object]]
    undefined: Mapping[str, str] = field(default_factory=dict)


def evaluation_of(
    about: Mapping[str, object],
    judged: Sequence[Judged],
    skipped: Mapping[str, str],
    draws: int,
    features: Mapping[str, Floats],
) -> Evaluation:
    """All figures of clips that were judged.

    Args:
        draws: of the bootstrap; 0 for none
        features: by name, rows of openSMILE, as many as clips
    """
    clips = [one.clip for one in judged]
    truth, ratings = truth_of(clips)
    who = speaker_numbers(clips)
    whole = np.stack([one.whole for one in judged])
    averaged = np.stack([one.windows.mean(axis=0) for one in judged])
    weighted = np.stack([_weighted(one.windows, one.window_confidence) for one in judged])
    counts = [len(one.windows) for one in judged]
    groups = _groups(clips)
    women = np.array([clip.groups.get("sex", "").lower() in ("f", "female", "w", "woman") for clip in clips])
    men = np.array([clip.groups.get("sex", "").lower() in ("m", "male", "man") for clip in clips])
    enough = min(np.unique(who[women]).size, np.unique(who[men]).size) >= ENOUGH_SPEAKERS
    known = women | men
    agreed = agreement(ratings, whole, who, draws)
    undefined = _undefined(ratings, agreed)
    recalls = _recalls(
        clips, who, {"embeddings": np.stack([one.embedding for one in judged]), **features}, draws, undefined
    )
    return Evaluation(
        about=about,
        truth=truth,
        judged=judged,
        skipped=skipped,
        whole=agreed,
        windows_averaged=agreement(ratings, averaged, who, draws),
        windows_weighted=agreement(ratings, weighted, who, draws),
        single_windows=agreement(
            np.repeat(ratings, counts, axis=0),
            np.concatenate([one.windows for one in judged]),
            np.repeat(who, counts),
            0,
        ),
        groups={
            name: {
                value: agreement(ratings[chosen], whole[chosen], who[chosen], draws) for value, chosen in parts.items()
            }
            for name, parts in groups.items()
        },
        sexes=difference(ratings[known], whole[known], who[known], women[known], draws) if enough else {},
        stability=_stability([one.windows for one in judged]),
        surer=_surer(ratings, whole, np.stack([one.confidence for one in judged])),
        recalls=recalls,
        classes=_classes(clips, whole),
        undefined=undefined,
    )


def _weighted(scores: Floats, weights: Floats) -> Floats:
    """Mean over windows by weights [windows, 3]; the plain one where all weights are 0."""
    total = weights.sum(axis=0)
    mean: Floats = np.where(total > 0, (scores * weights).sum(axis=0) / np.maximum(total, 1e-12), scores.mean(axis=0))
    return mean


def truth_of(clips: Sequence[Clip]) -> tuple[Truth, Floats]:
    """What there is to compare scores with, [clips, 3]: ratings if there are any, else norms of the classes' words."""
    ratings = np.array([clip.ratings for clip in clips], np.float64)
    if np.isfinite(ratings).any():
        return "ratings", ratings
    norms = np.stack([norm(clip.emotion) for clip in clips])
    return ("norms" if np.isfinite(norms).any() else "none"), norms


def _groups(clips: Sequence[Clip]) -> dict[str, dict[str, npt.NDArray[np.intp]]]:
    """Of each column that tells clips apart, the clips of each value."""
    found = {}
    for name in GROUPS:
        values = np.array([clip.groups.get(name, "") for clip in clips])
        parts = {value: np.flatnonzero(values == value) for value in np.unique(values).tolist() if value}
        if len(parts) > 1:
            found[name] = parts
    return found


def _stability(windows: Sequence[Floats]) -> dict[str, Stability]:
    several = [one for one in windows if len(one) > 1]
    if not several:
        return {}
    steps = np.concatenate([np.abs(np.diff(one, axis=0)) for one in several]).mean(axis=0)
    within = np.sqrt(np.concatenate([(one - one.mean(axis=0)) ** 2 for one in several]).mean(axis=0))
    between = np.stack([one.mean(axis=0) for one in several]).std(axis=0)
    return {name: Stability(float(steps[k]), float(within[k]), float(between[k])) for k, name in enumerate(DIMENSIONS)}


def _surer(ratings: Floats, scores: Floats, confidence: Floats) -> dict[str, dict[str, object]]:
    """Do errors fall as confidence rises? Nothing for models that are always sure."""
    found: dict[str, dict[str, object]] = {}
    for column, name in enumerate(DIMENSIONS):
        rated = np.isfinite(ratings[:, column])
        sure = confidence[rated, column]
        if rated.sum() < 2 * FIFTHS or np.ptp(sure) == 0:
            continue
        error = np.abs(scores[rated, column] - ratings[rated, column])
        order = np.array_split(np.argsort(sure, kind="stable"), FIFTHS)
        found[name] = {
            "rank_correlation": _spearman(sure, error),
            "confidence": [round(float(sure[part].mean()), 4) for part in order],
            "mean_absolute_error": [round(float(error[part].mean()), 4) for part in order],
        }
    return found


def _spearman(first: Floats, second: Floats) -> float | None:
    """Rank correlation; None where one of the two does not vary."""
    try:
        from scipy.stats import spearmanr
    except ImportError:
        raise missing() from None
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return round(float(spearmanr(first, second).statistic), 4)


def _classes(clips: Sequence[Clip], scores: Floats) -> dict[str, dict[str, object]]:
    """Where the classes lie: mean and deviation of the scores of each."""
    emotions = np.array([clip.emotion for clip in clips])
    return {
        name: {"clips": int((emotions == name).sum())}
        | {
            dimension: {"mean": round(float(part[:, k].mean()), 4), "deviation": round(float(part[:, k].std()), 4)}
            for k, dimension in enumerate(DIMENSIONS)
        }
        for name in dict.fromkeys(sorted(emotions.tolist()))
        if name and (part := scores[emotions == name]).size
    }


def _undefined(ratings: Floats, whole: Agreement) -> dict[str, str]:
    """Of dimensions with ratings, those whose agreement is not defined."""
    found = {}
    for column, name in enumerate(DIMENSIONS):
        rated = int(np.isfinite(ratings[:, column]).sum())
        pearson = whole[name]["pearson"] if name in whole else None
        if rated == 1:
            found[f"agreement of {name}"] = "only one clip has a value to compare with; expected two or more."
        elif isinstance(pearson, Figure) and math.isnan(pearson.value):
            found[f"correlation of {name}"] = (
                "what is compared is the same for every clip; expected values that differ."
            )
    return found


def _recalls(
    clips: Sequence[Clip],
    who: npt.NDArray[np.int64],
    values: Mapping[str, Floats],
    draws: int,
    undefined: dict[str, str],
) -> dict[str, dict[str, Recall]]:
    """Of every corpus whose clips have classes; what one does not define is told in `undefined`."""
    emotions = np.array([clip.emotion for clip in clips])
    corpora = np.array([clip.groups.get("corpus", "") for clip in clips])
    found = {}
    for corpus in np.unique(corpora).tolist():
        chosen = np.flatnonzero((corpora == corpus) & (emotions != ""))
        if not chosen.size:
            continue
        try:
            found[corpus or "all"] = {
                name: recall(rows[chosen], emotions[chosen].tolist(), who[chosen], draws)
                for name, rows in values.items()
            }
        except Undefined as error:
            undefined[f"recall of {corpus or 'all'}"] = str(error)
    return found


def kept(evaluation: Evaluation, *, weighted: bool = False) -> dict[str, float]:
    """By dimension, CCC of the averaged windows as a share of that of whole clips; where that one is above 0.

    Args:
        weighted: averaged by confidence
    """
    averaged = evaluation.windows_weighted if weighted else evaluation.windows_averaged
    shares = {}
    for name, figures in evaluation.whole.items():
        whole, windows = figures["ccc"], averaged[name]["ccc"]
        assert isinstance(whole, Figure) and isinstance(windows, Figure)
        if whole.value > 0 and math.isfinite(windows.value):
            shares[name] = windows.value / whole.value
    return shares


def figures(evaluation: Evaluation) -> dict[str, object]:
    """An evaluation for JSON."""
    judged = evaluation.judged
    return {
        **evaluation.about,
        "truth": evaluation.truth,
        "clips": len(judged),
        "speakers": int(np.unique(speaker_numbers([one.clip for one in judged])).size),
        "hours": round(sum(one.seconds for one in judged) / 3600, 3),
        "skipped": dict(evaluation.skipped),
        "notices": {one.clip.label: list(one.notices) for one in judged if one.notices},
        "undefined": dict(evaluation.undefined),
        "whole": _plain(evaluation.whole),
        "windows_averaged": _plain(evaluation.windows_averaged),
        "windows_weighted": _plain(evaluation.windows_weighted),
        "single_windows": _plain(evaluation.single_windows),
        "windows_keep": {name: round(value, 4) for name, value in kept(evaluation).items()},
        "weighted_windows_keep": {name: round(value, 4) for name, value in kept(evaluation, weighted=True).items()},
        "groups": {
            name: {value: _plain(one) for value, one in parts.items()} for name, parts in evaluation.groups.items()
        },
        "women_less_men_ccc": {name: one.to_json() for name, one in evaluation.sexes.items()},
        "stability": {name: one.to_json() for name, one in evaluation.stability.items()},
        "confidence": dict(evaluation.surer),
        "classes": dict(evaluation.classes),
        "recall": {
            corpus: {name: one.to_json() for name, one in parts.items()} for corpus, parts in evaluation.recalls.items()
        },
    }


def _plain(found: Agreement) -> dict[str, dict[str, object]]:
    return {
        name: {key: one.to_json() if isinstance(one, Figure) else one for key, one in values.items()}
        for name, values in found.items()
    }
