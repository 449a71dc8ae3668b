"""Evaluation of a model on a corpus: its scores of each clip as a whole, and of short windows of the clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from emow2v.audio.excerpts import read_stretch
from emow2v.corpora.clip import Clip
from emow2v.errors import AudioError, Emow2vError, FramingError
from emow2v.evaluation.embeddings import opensmile
from emow2v.evaluation.figures import Evaluation, Floats, ScoredClip, evaluation_of
from emow2v.framing import SAMPLING_RATE, Framing, Signal
from emow2v.framing.windows import cut
from emow2v.model import Model


def evaluate(
    model: Model,
    clips: Sequence[Clip],
    *,
    window_ms: Fraction | int = 1000,
    step_ms: Fraction | int = 500,
    draws: int = 1000,
    features: Sequence[str] = (),
    on_clip: Callable[[Clip], None] = lambda clip: None,
) -> Evaluation:
    """Compare the scores of a model with the ratings or classes of a corpus.

    Args:
        window_ms, step_ms: length of short windows, and time from one to the next; all lie within the clip, and a clip
            that is shorter than a window is one window
        draws: of the bootstrap, for 95 % intervals; 0 for none
        features: sets of features of openSMILE ("ComParE_2016", "eGeMAPSv02") that the embeddings are compared with, on
            the same folds
        on_clip: called after each clip, scored or skipped; may raise to stop

    Raises:
        FramingError: windows that are too short for the model, or no step
        Emow2vError: no clip that can be read, a library that is not installed
    """
    windows = Framing(frame_step_ms=step_ms, frame_size_ms=window_ms, left_context_ms=0)
    if windows.whole:
        raise FramingError("The step from one short window to the next is 0 ms; expected a time such as 500 ms.")
    model.check(windows)
    functionals = {name: opensmile(name) for name in features}
    rows: dict[str, list[Floats]] = {name: [] for name in features}
    scored: list[ScoredClip] = []
    skipped: dict[str, str] = {}
    for clip in clips:
        try:
            notices: list[str] = []
            signal = _signal(clip, notices.extend)
            scored.append(_score(model, clip, signal, windows, notices))
        except Emow2vError as error:
            skipped[clip.label] = str(error)
        else:
            for name, functional in functionals.items():
                rows[name].append(functional(signal))
        on_clip(clip)
    if not scored:
        raise Emow2vError(
            f"None of the {len(clips)} clips could be read; the first: {next(iter(skipped.values()), 'there is none')}"
        )
    about = facts(model, window_ms, step_ms)
    return evaluation_of(about, scored, skipped, draws, {name: np.stack(values) for name, values in rows.items()})


def facts(model: Model, window_ms: Fraction | int, step_ms: Fraction | int) -> dict[str, object]:
    """What an evaluation is of: model, weights, engine, precision, windows."""
    return {"model": model.name, "version": model.card.version, "weights_sha256": model.card.sha256} | {
        "engine": model.engine.name, "precision": model.engine.precision,
        "window_ms": float(window_ms), "step_ms": float(step_ms),
    }  # fmt: skip


def _signal(clip: Clip, notice: Callable[[Sequence[str]], object] = lambda sentences: None) -> Signal:
    """The signal of a clip [samples] at 16 kHz; of a long recording little more than the clip is decoded and kept.

    Raises:
        AudioError: nothing there, not decodable, or the recording ends before the clip begins
    """
    signal = read_stretch(clip.file, clip.start, clip.end, notice)
    if not signal.size and (clip.start or clip.end is not None):
        raise AudioError(f"{clip.name} ends before {clip.start:g} s; correct its times in the manifest.")
    if not signal.size:
        raise AudioError(f"{clip.name} has no samples; leave it out, or record it again.")
    return signal


def _score(model: Model, clip: Clip, signal: Signal, windows: Framing, notices: Sequence[str]) -> ScoredClip:
    whole = next(iter(model.predict(signal, SAMPLING_RATE, unit="files")))
    if signal.size <= windows.window_samples(SAMPLING_RATE):
        scores, confidence = whole.scores, whole.confidence
    else:
        _, scores, known = model.run(cut(signal, windows))
        confidence = np.ones_like(scores) if known is None else known
    return ScoredClip(
        clip=clip,
        seconds=signal.size / SAMPLING_RATE,
        whole=whole.scores[0],
        confidence=whole.confidence[0],
        embedding=whole.embeddings[0],
        windows=scores,
        window_confidence=confidence,
        notices=tuple(notices),
    )
