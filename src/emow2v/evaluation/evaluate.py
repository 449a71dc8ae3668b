"""The evaluation of a model on a corpus: what it says of each clip as a whole, and of short windows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from emow2v.audio.excerpts import read_stretch
from emow2v.corpora.csv_manifest import Clip
from emow2v.errors import AudioError, Emow2vError, FramingError
from emow2v.evaluation.embeddings import opensmile
from emow2v.evaluation.figures import Evaluation, Floats, Judged, evaluation_of
from emow2v.framing import SAMPLING_RATE
from emow2v.model import Model


def evaluate(
    model: Model,
    clips: Sequence[Clip],
    *,
    window_ms: Fraction | int = 1000,
    step_ms: Fraction | int = 500,
    draws: int = 1000,
    features: Sequence[str] = (),
    check: Callable[[], None] = lambda: None,
    done: Callable[[Clip], None] = lambda clip: None,
) -> Evaluation:
    """Judge a model by a corpus with ratings or classes.

    Args:
        window_ms, step_ms: of short windows; all lie within the clip, and a shorter clip is one window
        draws: of the bootstrap, for 95 % intervals; 0 for none
        features: of openSMILE, to compare the embeddings with on the same folds ("ComParE_2016", "eGeMAPSv02")
        check: called before every clip; may raise to stop
        done: called with every clip that was judged or skipped

    Raises:
        Emow2vError: no clip that can be read, a library that is not installed
    """
    rate = model.card.sampling_rate
    size, step = (round(ms * rate / 1000) for ms in (window_ms, step_ms))
    if size < model.card.min_samples or step < 1:
        raise FramingError(
            f"Windows of {float(window_ms):g} ms every {float(step_ms):g} ms are too short for {model.name}; "
            f"expected at least {model.card.min_samples / rate * 1000:g} ms, and a step."
        )
    functionals = {name: opensmile(name) for name in features}
    rows: dict[str, list[Floats]] = {name: [] for name in features}
    judged: list[Judged] = []
    skipped: dict[str, str] = {}
    for clip in clips:
        check()
        try:
            notices: list[str] = []
            signal = _signal(clip, notices.extend)
            judged.append(_judge(model, clip, signal, size, step, notices))
        except Emow2vError as error:
            skipped[clip.label] = str(error)
        else:
            for name, take in functionals.items():
                rows[name].append(take(signal))
        done(clip)
    if not judged:
        raise Emow2vError(
            f"None of the {len(clips)} clips could be read; the first: {next(iter(skipped.values()), 'there is none')}"
        )
    about = {"model": model.name, "version": model.card.version, "weights_sha256": model.card.sha256} | {
        "engine": model.engine.name, "precision": model.engine.precision,
        "window_ms": float(window_ms), "step_ms": float(step_ms),
    }  # fmt: skip
    return evaluation_of(about, judged, skipped, draws, {name: np.stack(found) for name, found in rows.items()})


def _signal(clip: Clip, notice: Callable[[Sequence[str]], object] = lambda sentences: None) -> npt.NDArray[np.float32]:
    """A clip [samples] at the models' rate; of a long recording little more than the clip is decoded and kept.

    Raises:
        AudioError: nothing there, not decodable, or the recording ends before the clip begins
    """
    signal = read_stretch(clip.file, clip.start, clip.end, notice)
    if not signal.size and (clip.start or clip.end is not None):
        raise AudioError(f"{clip.name} ends before {clip.start:g} s; correct its times in the manifest.")
    if not signal.size:
        raise AudioError(f"{clip.name} has no samples; leave it out, or record it again.")
    return signal


def _judge(
    model: Model, clip: Clip, signal: npt.NDArray[np.float32], size: int, step: int, notices: Sequence[str]
) -> Judged:
    whole = next(iter(model.predict(signal, SAMPLING_RATE, unit="files")))
    if signal.size <= size:
        windows, sure = whole.scores, whole.confidence
    else:
        cut = np.lib.stride_tricks.sliding_window_view(signal, size)[::step]
        _, windows, found = model.run(np.ascontiguousarray(cut))
        sure = np.ones_like(windows) if found is None else found
    return Judged(
        clip=clip,
        seconds=signal.size / SAMPLING_RATE,
        whole=whole.scores[0],
        confidence=whole.confidence[0],
        embedding=whole.embeddings[0],
        windows=windows,
        sure=sure,
        notices=tuple(notices),
    )
