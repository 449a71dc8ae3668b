"""Figures of a model on a corpus: agreement, groups, stability, confidence and recall."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from emow2v.agreement import Floats as Floats
from emow2v.agreement import within_classes
from emow2v.corpora.clip import Clip, speaker_numbers
from emow2v.corpora.csv_manifest import GROUPS
from emow2v.evaluation.confidence import confidence_of
from emow2v.evaluation.embeddings import Recall, Undefined, recall
from emow2v.evaluation.intervals import Draws, Figure, agreement, difference
from emow2v.evaluation.norms import norm
from emow2v.evaluation.raters import RaterFigures, raters_of
from emow2v.trajectory import DIMENSIONS

Agreement = Mapping[str, Mapping[str, Figure | int]]
Truth = Literal["ratings", "norms", "none"]

ENOUGH_SPEAKERS = 5  # of each group, to speak of a difference between two


@dataclass(frozen=True)
class ScoredClip:
    """A clip with the scores of a model.

    Attributes:
        whole, confidence: [3], of the clip as one utterance
        embedding: [1024]
        windows: [windows, 3]
        window_confidence: [windows, 3]
        notices: sentences about missing or unusual parts of the recording
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
        truth: whether scores were compared with people's ratings, with norms of emotion words, or with nothing
        scored: the clips in the order of the manifest
        skipped: names of clips that could not be read, with the sentence why
        whole: agreement of the scores of whole clips; windows_averaged: of the mean of their windows; windows_weighted:
            of their mean by confidence, in which silence counts for little; single_windows: of each by itself
        groups: by sex, language and corpus where there is more than one, the figures of whole clips
        within_classes: correlation of whole clips' scores with people's ratings within classes (`agreement.within_classes`),
            where clips have both
        raters: by dimension, agreement with single raters and of these with each other, where clips have several
        women_less_men: CCC of the clips of women less that of men, where enough speakers of both speak
        stability: by dimension
        confidence, confidence_of_windows: by dimension, whether errors of whole clips and of single windows fall as confidence
            rises (`confidence.confidence_of`)
        recalls: by corpus and by features, the recall of an SVM
        classes: by class, mean and deviation of the scores
        undefined: figures that these clips do not define, each with the sentence why
    """

    about: Mapping[str, object]
    truth: Truth
    scored: Sequence[ScoredClip]
    skipped: Mapping[str, str]
    whole: Agreement
    windows_averaged: Agreement
    windows_weighted: Agreement
    single_windows: Agreement
    groups: Mapping[str, Mapping[str, Agreement]]
    women_less_men: Mapping[str, Figure]
    stability: Mapping[str, Stability]
    confidence: Mapping[str, Mapping[str, object]]
    recalls: Mapping[str, Mapping[str, Recall]]
    classes: Mapping[str, Mapping[str, object]]
    undefined: Mapping[str, str] = field(default_factory=dict)
    confidence_of_windows: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    within_classes: Mapping[str, Figure] = field(default_factory=dict)
    raters: Mapping[str, RaterFigures] = field(default_factory=dict)


def evaluation_of(
    about: Mapping[str, object],
    scored: Sequence[ScoredClip],
    skipped: Mapping[str, str],
    draws: int,
    features: Mapping[str, Floats],
) -> Evaluation:
    """All figures of clips with their scores.

    Args:
        draws: of the bootstrap; 0 for none
        features: by name, rows of openSMILE, as many as clips
    """
    clips = [one.clip for one in scored]
    truth, ratings = truth_of(clips)
    speakers = speaker_numbers(clips)
    whole = np.stack([one.whole for one in scored])
    averaged = np.stack([one.windows.mean(axis=0) for one in scored])
    weighted = np.stack([_weighted(one.windows, one.window_confidence) for one in scored])
    counts = [len(one.windows) for one in scored]
    rated_windows, single = np.repeat(ratings, counts, axis=0), np.concatenate([one.windows for one in scored])
    groups = _groups(clips)
    women = np.array([clip.groups.get("sex", "").lower() in ("f", "female", "w", "woman") for clip in clips])
    men = np.array([clip.groups.get("sex", "").lower() in ("m", "male", "man") for clip in clips])
    enough = min(np.unique(speakers[women]).size, np.unique(speakers[men]).size) >= ENOUGH_SPEAKERS
    known = women | men
    agreed = agreement(ratings, whole, speakers, draws)
    undefined = _undefined(ratings, agreed)
    recalls = _recalls(
        clips, speakers, {"embeddings": np.stack([one.embedding for one in scored]), **features}, draws, undefined
    )
    return Evaluation(
        about=about,
        truth=truth,
        scored=scored,
        skipped=skipped,
        whole=agreed,
        windows_averaged=agreement(ratings, averaged, speakers, draws),
        windows_weighted=agreement(ratings, weighted, speakers, draws),
        single_windows=agreement(
            rated_windows,
            single,
            np.repeat(speakers, counts),
            0,
        ),
        groups={
            name: {
                value: agreement(ratings[chosen], whole[chosen], speakers[chosen], draws)
                for value, chosen in parts.items()
            }
            for name, parts in groups.items()
        },
        women_less_men=difference(ratings[known], whole[known], speakers[known], women[known], draws) if enough else {},
        stability=_stability([one.windows for one in scored]),
        confidence=confidence_of(ratings, whole, np.stack([one.confidence for one in scored])),
        confidence_of_windows=confidence_of(
            rated_windows, single, np.concatenate([one.window_confidence for one in scored])
        ),
        recalls=recalls,
        classes=_classes(clips, whole),
        undefined=undefined,
        raters=raters_of(clips, whole),
        within_classes=_within_classes(clips, ratings, whole, speakers, draws) if truth == "ratings" else {},
    )


def _within_classes(
    clips: Sequence[Clip], ratings: Floats, scores: Floats, speakers: npt.NDArray[np.int64], draws: int
) -> dict[str, Figure]:
    """By dimension; only clips that have a class count, and nothing is said where they have one class."""
    emotions = np.array([clip.emotion for clip in clips])
    classes = np.unique(emotions, return_inverse=True)[1].astype(np.float64)
    figures: dict[str, Figure] = {}
    for column, name in enumerate(DIMENSIONS):
        rated = np.isfinite(ratings[:, column]) & (emotions != "")
        if np.unique(classes[rated]).size > 1:
            found = Draws(speakers[rated], draws).figure(
                within_classes, ratings[rated, column], scores[rated, column], classes[rated]
            )
            figures |= {name: found} if math.isfinite(found.value) else {}
    return figures


def _weighted(scores: Floats, weights: Floats) -> Floats:
    """Mean over windows by weights [windows, 3]; the plain one where all weights are 0."""
    total = weights.sum(axis=0)
    mean: Floats = np.where(total > 0, (scores * weights).sum(axis=0) / np.maximum(total, 1e-12), scores.mean(axis=0))
    return mean


def truth_of(clips: Sequence[Clip]) -> tuple[Truth, Floats]:
    """The values that scores are compared with, [clips, 3]: ratings if there are any, else norms of the classes."""
    ratings = np.array([clip.ratings for clip in clips], np.float64)
    if np.isfinite(ratings).any():
        return "ratings", ratings
    norms = np.stack([norm(clip.emotion) for clip in clips])
    return ("norms" if np.isfinite(norms).any() else "none"), norms


def _groups(clips: Sequence[Clip]) -> dict[str, dict[str, npt.NDArray[np.intp]]]:
    """By column with several values, the indices of the clips of each value."""
    groups = {}
    for name in GROUPS:
        values = np.array([clip.groups.get(name, "") for clip in clips])
        parts = {value: np.flatnonzero(values == value) for value in np.unique(values).tolist() if value}
        if len(parts) > 1:
            groups[name] = parts
    return groups


def _stability(windows: Sequence[Floats]) -> dict[str, Stability]:
    several = [one for one in windows if len(one) > 1]
    if not several:
        return {}
    steps = np.concatenate([np.abs(np.diff(one, axis=0)) for one in several]).mean(axis=0)
    within = np.sqrt(np.concatenate([(one - one.mean(axis=0)) ** 2 for one in several]).mean(axis=0))
    between = np.stack([one.mean(axis=0) for one in several]).std(axis=0)
    return {name: Stability(float(steps[k]), float(within[k]), float(between[k])) for k, name in enumerate(DIMENSIONS)}


def _classes(clips: Sequence[Clip], scores: Floats) -> dict[str, dict[str, object]]:
    """Mean and deviation of the scores of each class."""
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
    """Dimensions with ratings whose agreement is not defined, with the sentence why."""
    sentences = {}
    for column, name in enumerate(DIMENSIONS):
        rated = int(np.isfinite(ratings[:, column]).sum())
        pearson = whole[name]["pearson"] if name in whole else None
        if rated == 1:
            sentences[f"agreement of {name}"] = "only one clip has a value to compare with; expected two or more."
        elif isinstance(pearson, Figure) and math.isnan(pearson.value):
            sentences[f"correlation of {name}"] = (
                "what is compared is the same for every clip; expected values that differ."
            )
    return sentences


def _recalls(
    clips: Sequence[Clip],
    speakers: npt.NDArray[np.int64],
    values: Mapping[str, Floats],
    draws: int,
    undefined: dict[str, str],
) -> dict[str, dict[str, Recall]]:
    """The recall on every corpus whose clips have classes; where it is not defined, `undefined` gets the sentence why."""
    emotions = np.array([clip.emotion for clip in clips])
    corpora = np.array([clip.groups.get("corpus", "") for clip in clips])
    recalls = {}
    for corpus in np.unique(corpora).tolist():
        chosen = np.flatnonzero((corpora == corpus) & (emotions != ""))
        if not chosen.size:
            continue
        try:
            recalls[corpus or "all"] = {
                name: recall(rows[chosen], emotions[chosen].tolist(), speakers[chosen], draws)
                for name, rows in values.items()
            }
        except Undefined as error:
            undefined[f"recall of {corpus or 'all'}"] = str(error)
    return recalls


def ccc_kept(evaluation: Evaluation, *, weighted: bool = False) -> dict[str, float]:
    """By dimension, CCC of the averaged windows as a share of the CCC of whole clips, where that is above 0.

    Args:
        weighted: whether windows are averaged by confidence
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
    scored = evaluation.scored
    return {
        **evaluation.about,
        "truth": evaluation.truth,
        "clips": len(scored),
        "speakers": int(np.unique(speaker_numbers([one.clip for one in scored])).size),
        "hours": round(sum(one.seconds for one in scored) / 3600, 3),
        "skipped": dict(evaluation.skipped),
        "notices": {one.clip.label: list(one.notices) for one in scored if one.notices},
        "undefined": dict(evaluation.undefined),
        "whole": _plain(evaluation.whole),
        "windows_averaged": _plain(evaluation.windows_averaged),
        "windows_weighted": _plain(evaluation.windows_weighted),
        "single_windows": _plain(evaluation.single_windows),
        "windows_keep": {name: round(value, 4) for name, value in ccc_kept(evaluation).items()},
        "weighted_windows_keep": {name: round(value, 4) for name, value in ccc_kept(evaluation, weighted=True).items()},
        "groups": {
            name: {value: _plain(one) for value, one in parts.items()} for name, parts in evaluation.groups.items()
        },
        "within_classes": {name: one.to_json() for name, one in evaluation.within_classes.items()},
        "raters": {name: one.to_json() for name, one in evaluation.raters.items()},
        "women_less_men_ccc": {name: one.to_json() for name, one in evaluation.women_less_men.items()},
        "stability": {name: one.to_json() for name, one in evaluation.stability.items()},
        "confidence": dict(evaluation.confidence),
        "confidence_of_windows": dict(evaluation.confidence_of_windows),
        "classes": dict(evaluation.classes),
        "recall": {
            corpus: {name: one.to_json() for name, one in parts.items()} for corpus, parts in evaluation.recalls.items()
        },
    }


def _plain(figures: Agreement) -> dict[str, dict[str, object]]:
    return {
        name: {key: one.to_json() if isinstance(one, Figure) else one for key, one in values.items()}
        for name, values in figures.items()
    }
