"""Figures of a network on the clips of held-out speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from emow2v.agreement import ccc, pearson
from emow2v.corpora.clip import Clip
from emow2v.evaluation.embeddings import recall as embedding_recall
from emow2v.evaluation.intervals import Metric
from emow2v.framing import SAMPLING_RATE, Framing
from emow2v.framing.windows import cut
from emow2v.networks.lite import Lite
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.targets import emotion_of, target_of
from emow2v.trajectory import DIMENSIONS

WINDOWS = Framing(frame_step_ms=500, frame_size_ms=1000, left_context_ms=0)


def held_out_figures(
    model: Lite, clips: Sequence[Clip], signals: Signals, indices: Sequence[int], recall: bool = False
) -> dict[str, Any]:
    """CCC and correlations with the targets, of whole clips (up to 10 s), of 1 s windows, and of their mean over a clip.

    Args:
        indices: of the clips to measure
        recall: also the unweighted average recall of a support vector machine on the embeddings of each corpus with
            classes
    """
    model.eval()
    measured = [clips[index] for index in indices]
    truth = np.array([target_of(clip) for clip in measured])
    whole, embeddings, windows, single, single_truth = [], [], [], [], []
    with torch.no_grad():
        for index, target in zip(indices, truth, strict=True):
            signal = signals[index][: model.max_samples]
            embedding, score, *_ = model(torch.from_numpy(signal)[None])
            embeddings.append(embedding[0].numpy())
            whole.append(score[0].numpy())
            padded = np.pad(signal, (0, max(0, SAMPLING_RATE - signal.size)))
            scores = model(torch.from_numpy(cut(padded, WINDOWS)))[1].numpy()
            windows.append(scores.mean(axis=0))
            single.extend(scores)
            single_truth.extend([target] * len(scores))

    def figures(truth: Any, prediction: Any, metric: Metric = ccc) -> dict[str, float]:
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        values = {name: round(metric(truth[:, k], prediction[:, k]), 3) for k, name in enumerate(DIMENSIONS)}
        return {name: value for name, value in values.items() if not np.isnan(value)}

    corpora = np.array([clip.corpus for clip in measured])
    parts = {name: corpora == name for name in np.unique(corpora).tolist()}
    summary = {
        "clips": len(indices),
        "whole": figures(truth, whole),
        "whole_by_corpus": {name: figures(truth[part], np.array(whole)[part]) for name, part in parts.items()},
        "pearson_by_corpus": {
            name: figures(truth[part], np.array(whole)[part], pearson) for name, part in parts.items()
        },
        "windows_averaged": figures(truth, windows),
        "single_windows": figures(single_truth, single),
    }
    if recall:
        emotions = np.array([emotion_of(clip) for clip in measured])
        names = [clip.emotion for clip in measured]
        speakers = np.unique([clip.speaker for clip in measured], return_inverse=True)[1]
        summary["uar_by_corpus"] = {
            name: round(
                embedding_recall(
                    np.stack(embeddings)[part],
                    [names[k] for k in np.flatnonzero(part)],
                    speakers[part],
                ).uar.value,
                3,
            )
            for name, part in parts.items()
            if (emotions[part] >= 0).all() and _can_be_told_apart(emotions[part], speakers[part])
        }
    return summary


def _can_be_told_apart(classes: npt.NDArray[np.int64], speakers: npt.NDArray[np.int64]) -> bool:
    """Whether there are speakers to leave out, one by one, and two classes or more among the others' clips."""
    each = np.unique(speakers)
    return each.size > 1 and all(np.unique(classes[speakers != one]).size > 1 for one in each)
