"""How a network being trained does on speakers it never met."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from emow2v.agreement import ccc, pearson
from emow2v.evaluation.embeddings import recall as embedding_recall
from emow2v.evaluation.intervals import Metric
from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite import Lite
from emow2v.training.lite.emotion_targets import EMOTIONS, Clip, Signals
from emow2v.trajectory import DIMENSIONS


def held_out_figures(
    model: Lite, clips: list[Clip], signals: Signals, every: int = 1, recall: bool = False
) -> dict[str, Any]:
    """CCC on speakers never trained on: whole clips (up to 10 s), 1 s windows, and their mean over a clip.

    Args:
        every: of the held-out clips one in so many
        recall: also what a support vector machine makes of the embeddings of each corpus with classes (UAR)
    """
    model.eval()
    indices = [index for index, clip in enumerate(clips) if clip.held_out][::every]
    truth = np.array([clips[index].targets for index in indices])
    whole, embeddings, windows, single, single_truth = [], [], [], [], []
    with torch.no_grad():
        for index, target in zip(indices, truth, strict=True):
            signal = torch.from_numpy(signals[index])[: model.max_samples]
            embedding, score, *_ = model(signal[None])
            embeddings.append(embedding[0].numpy())
            whole.append(score[0].numpy())
            pieces = (
                torch.stack(
                    [
                        signal[b : b + SAMPLING_RATE]
                        for b in range(0, signal.shape[0] - SAMPLING_RATE + 1, SAMPLING_RATE // 2)
                    ]
                )
                if (signal.shape[0] >= SAMPLING_RATE)
                else functional.pad(signal, (0, SAMPLING_RATE - signal.shape[0]))[None]
            )
            scores = model(pieces)[1].numpy()
            windows.append(scores.mean(axis=0))
            single.extend(scores)
            single_truth.extend([target] * len(scores))

    def figures(truth: Any, prediction: Any, metric: Metric = ccc) -> dict[str, float]:
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        values = {name: round(metric(truth[:, k], prediction[:, k]), 3) for k, name in enumerate(DIMENSIONS)}
        return {name: value for name, value in values.items() if not np.isnan(value)}

    corpora = np.array([clips[index].corpus for index in indices])
    parts = {name: corpora == name for name in np.unique(corpora).tolist()}
    found = {
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
        emotions = np.array([clips[index].emotion for index in indices])
        speakers = np.unique([clips[index].speaker for index in indices], return_inverse=True)[1]
        found["uar_by_corpus"] = {
            name: round(
                embedding_recall(
                    np.stack(embeddings)[part], [EMOTIONS[k] for k in emotions[part]], speakers[part], 0
                ).uar.value,
                3,
            )
            for name, part in parts.items()
            if (emotions[part] >= 0).all() and _tellable(emotions[part], speakers[part])
        }
    return found


def _tellable(classes: npt.NDArray[np.int64], speakers: npt.NDArray[np.int64]) -> bool:
    """Whether there are speakers to leave out, one by one, and two classes or more among the others' clips."""
    each = np.unique(speakers)
    return each.size > 1 and all(np.unique(classes[speakers != one]).size > 1 for one in each)
