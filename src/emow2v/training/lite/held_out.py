"""Figures of a network on the clips of held-out speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emow2v.agreement import ccc, pearson
from emow2v.corpora.clip import Clip
from emow2v.evaluation.embeddings import recall as embedding_recall
from emow2v.framing import SAMPLING_RATE, Framing
from emow2v.framing.windows import cut
from emow2v.networks.lite import FRAME_HOP, Lite, LiteConfig
from emow2v.networks.lite_frames import FRAME, LiteFrames
from emow2v.training.lite.signals import Signals
from emow2v.training.lite.targets import emotion_of, target_of
from emow2v.trajectory import DIMENSIONS

WINDOWS = Framing(frame_step_ms=500, frame_size_ms=1000, left_context_ms=0)


@dataclass(frozen=True)
class Scored:
    """What a network says of clips.

    Attributes:
        whole: scores of whole clips, [clips, 3]
        embeddings: of whole clips, [clips, 1024]
        windows: for each clip the scores of its windows of 1 s, [windows, 3]
    """

    whole: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]
    windows: Sequence[npt.NDArray[np.float32]]

    @property
    def averaged(self) -> npt.NDArray[np.float32]:
        """The mean of each clip's windows, [clips, 3]."""
        return np.stack([scores.mean(axis=0) for scores in self.windows])


def score(model: Lite | LiteFrames, signals: Signals, indices: Sequence[int]) -> Scored:
    """Score clips as a whole (up to 10 s) and in windows of 1 s, on the device of the network."""
    model.eval()
    device = next(model.parameters()).device
    whole, embeddings, windows = [], [], []
    with torch.no_grad():
        for index in indices:
            signal = signals[index][: LiteConfig.positions * FRAME_HOP]
            padded = np.pad(signal, (0, max(0, SAMPLING_RATE - signal.size)))
            if isinstance(model, LiteFrames):
                clip, parts = pooled_by_frames(model, torch.from_numpy(padded)[None].to(device), signal.size)
                (embedding, scores, *_), single = model.read(clip), model.read(parts)[1]
            else:
                embedding, scores, *_ = model(torch.from_numpy(signal)[None].to(device))
                single = model(torch.from_numpy(cut(padded, WINDOWS)).to(device))[1]
            embeddings.append(embedding[0].cpu().numpy())
            whole.append(scores[0].cpu().numpy())
            windows.append(single.cpu().numpy())
    return Scored(np.stack(whole), np.stack(embeddings), windows)


def pooled_by_frames(model: LiteFrames, signal: Tensor, samples: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Pooled values of a whole clip by a model of frames, and of its windows of 1 s, whose frames are those of the clip. A
    window that begins within a frame has its frames from there on.

    Args:
        signal: [1, samples], padded to a window
        samples: of the clip
    """
    frames = model.frames(signal, torch.tensor([samples], device=signal.device))[:, : -(-samples // FRAME)]
    size, step = (round(ms * SAMPLING_RATE / 1000) for ms in (1000, 500))
    begins = range(0, signal.shape[1] - size + 1, step)
    windows = [model.pooled(frames[:, begin // FRAME : (begin + size) // FRAME]) for begin in begins]
    return model.pooled(frames), tuple(torch.cat(layer) for layer in zip(*windows, strict=True))


def by_dimension(metric: Callable[..., float], truth: Any, prediction: Any, *third: Any) -> dict[str, float]:
    """A figure of each dimension for which it is defined, to three digits; for values [rows, 3]."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    values = {name: round(metric(truth[:, k], prediction[:, k], *third), 3) for k, name in enumerate(DIMENSIONS)}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def held_out_figures(
    model: Lite | LiteFrames, clips: Sequence[Clip], signals: Signals, indices: Sequence[int], recall: bool = False
) -> dict[str, Any]:
    """CCC and correlations with the targets, of whole clips (up to 10 s), of 1 s windows, and of their mean over a clip.

    Args:
        indices: of the clips to measure
        recall: also the unweighted average recall of a support vector machine on the embeddings of each corpus with
            classes
    """
    measured = [clips[index] for index in indices]
    truth = np.array([target_of(clip) for clip in measured])
    scored = score(model, signals, indices)
    counts = [len(scores) for scores in scored.windows]
    corpora = np.array([clip.corpus for clip in measured])
    parts = {name: corpora == name for name in np.unique(corpora).tolist()}
    summary = {
        "clips": len(indices),
        "whole": by_dimension(ccc, truth, scored.whole),
        "whole_by_corpus": {name: by_dimension(ccc, truth[part], scored.whole[part]) for name, part in parts.items()},
        "pearson_by_corpus": {
            name: by_dimension(pearson, truth[part], scored.whole[part]) for name, part in parts.items()
        },
        "windows_averaged": by_dimension(ccc, truth, scored.averaged),
        "single_windows": by_dimension(ccc, np.repeat(truth, counts, axis=0), np.concatenate(scored.windows)),
    }
    if recall:
        emotions = np.array([emotion_of(clip) for clip in measured])
        names = [clip.emotion for clip in measured]
        speakers = np.unique([clip.speaker for clip in measured], return_inverse=True)[1]
        summary["uar_by_corpus"] = {
            name: round(
                embedding_recall(
                    scored.embeddings[part],
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
