# SPDX-FileCopyrightText: 2026 The emow2v authors
# SPDX-License-Identifier: GPL-3.0-only
#
# This one file is under GPL-3.0-only (its text is in COPYING), because it imports discover_utils, which is under the
# GPL. It is not part of the emow2v wheel, and nothing in the wheel imports it. The code of the rest of the project is
# under Apache-2.0.
"""EmoW2V for a stock DISCOVER server: its windows go to emow2v, and what comes back becomes annotations and a stream.

It only translates. The server decodes and cuts the windows; options, model, engine and errors are emow2v's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from discover_utils.data.annotation import ContinuousAnnotation, ContinuousAnnotationScheme
from discover_utils.data.stream import SSIStream
from discover_utils.interfaces.server_module import Processor
from discover_utils.utils.log_utils import log

DEFAULTS = {"batch_size": 250, "model": "lite", "engine": "auto", "precision": "fp32"}
INPUT = "audio"

_HELD_SAMPLES = 250 * 16000  # of a batch, whatever batch_size: long windows take memory
_TELL_EVERY_S = 10

Signal = npt.NDArray[np.float32]


def _installed_package() -> ModuleType:
    """The installed emow2v: never this file, which has its name, nor the folder around it, wherever the job runs."""
    here = Path(__file__).resolve()
    held = getattr(sys.modules.get("emow2v"), "__file__", None)
    if held and Path(held).resolve() == here:  # somebody imported this file as emow2v
        del sys.modules["emow2v"]
    path = sys.path
    sys.path = [entry for entry in path if Path(entry).resolve() != here.parent]
    try:
        package = importlib.import_module("emow2v")
        if not hasattr(package, "__version__"):  # a folder of that name, taken for a namespace
            del sys.modules["emow2v"]
            raise ModuleNotFoundError(name="emow2v")
    except ModuleNotFoundError as error:
        if error.name != "emow2v":
            raise
        raise ImportError(
            f"The package emow2v is not installed in {sys.prefix}; expected what requirements.txt lists. Delete that "
            "environment and post the request again where pip finds emow2v (README.md of this module)."
        ) from None
    finally:
        sys.path = path
    return package


emow2v = _installed_package()


class Result(NamedTuple):
    """What `process_data` hands to `to_output`.

    Attributes:
        rate: values a second
        scores, confidence: float32 [rows, 3], arousal, dominance, valence; scores as the model gives them
        embeddings: float32 [rows, 1024]; None where no output asks for them
        description: model, weights, engine and windows in one line
    """

    rate: float
    scores: Signal
    confidence: Signal
    embeddings: Signal | None
    description: str


class EmoW2V(Processor):
    """Arousal, dominance and valence over time, and the embeddings behind them.

    Raises:
        emow2v.Emow2vError: an option, a model or a recording that does not fit, in one sentence
    """

    def __init__(self, model_io: Any = None, opts: Any = None, trainer: Any = None) -> None:
        super().__init__(model_io=model_io, opts=opts, trainer=trainer)
        given = _options(opts)
        self.options = given
        self.batch_size = _batch_size(given)
        # fp32 is what every version of emow2v computes in when it is not asked
        precision = {} if given["precision"] == "fp32" else {"precision": given["precision"]}
        self.model = emow2v.load(given["model"], engine=given["engine"], **precision)
        engine = self.model.engine
        folder = Path(emow2v.__file__).parent
        log(f"emow2v {emow2v.__version__} in {folder}")
        log(f"model {self.model.name} {self.model.card.version} on {engine.name}, {engine.precision}")

    def process_data(self, ds_manager: Any) -> Result:
        """Run the model on every window of a session; memory holds one batch of them."""
        from emow2v.errors import AudioError
        from emow2v.model import no_values

        self.ds_manager = ds_manager
        outputs = _outputs(ds_manager.data_description)
        embeddings_wanted = any(port == "embedding" for _, port in outputs)
        framing = self._framing(ds_manager)
        length = framing.window_samples(self.model.card.sampling_rate)
        windows = self._windows(ds_manager, length)
        at_once = min(self.batch_size, max(1, _HELD_SAMPLES // length))
        rows = 0
        parts: list[tuple[Signal | None, Signal, Signal]] = []
        told = monotonic()
        while batch := list(islice(windows, at_once)):
            embeddings, scores, confidence = self.model.run(np.stack(batch))
            sure = np.ones_like(scores) if confidence is None else confidence
            parts.append((embeddings if embeddings_wanted else None, scores, sure))
            rows += len(batch)
            if monotonic() - told > _TELL_EVERY_S:
                told = monotonic()
                log(f"{rows} values, {float(rows * framing.step_ms / 1000):g} s of the recording")

        stream = ds_manager.current_session.input_data[INPUT]
        duration = Fraction(float(ds_manager.current_session_info.duration)) / 1000
        expected = framing.count(duration)
        if expected <= 0:
            raise no_values(str(stream.meta_data.name), duration, framing)
        if rows < expected:  # the server leaves such windows out: every later value would stand at a wrong time
            raise AudioError(
                f"{stream.meta_data.name} contains NaN in {expected - rows} of {expected} windows; "
                "expected finite samples, about -1..1."
            )
        facts = self.model.provenance(framing)
        if stream.meta_data.sample_rate != self.model.card.sampling_rate:
            facts["resampled"] = f"each window by itself, from {stream.meta_data.sample_rate:g} Hz"
        return Result(
            rate=float(1000 / framing.step_ms),
            scores=np.concatenate([scores for _, scores, _ in parts]),
            confidence=np.concatenate([sure for _, _, sure in parts]),
            embeddings=np.concatenate([part for part, _, _ in parts]) if embeddings_wanted else None,
            description="; ".join(f"{name}: {value}" for name, value in facts.items()),
        )

    def to_output(self, data: Result) -> dict[str, Any]:
        """Every output that the request asks for, by its id; scores clipped to the scheme's 0..1."""
        outputs = _outputs(self.ds_manager.data_description)
        clipped = 0
        made: dict[str, Any] = {}
        for one, port in outputs:
            if port == "embedding":
                made[one["id"]] = self._stream(one, data)
            else:
                made[one["id"]], count = self._annotation(one, port, data)
                clipped += count
        log(f"{len(data.scores)} values" + (f", {clipped} clipped to 0..1" if clipped else ""))
        return made

    def _framing(self, ds_manager: Any) -> Any:
        """The request's windows; the trainer's where it names none, which the server itself does not look up."""
        from emow2v.errors import FramingError

        if ds_manager.frame_size == 0 and self.trainer is not None:
            ds_manager.frame_size = self.trainer.meta_frame_step
            ds_manager.stride = ds_manager.stride or self.trainer.meta_frame_step
            ds_manager.left_context = ds_manager.left_context or self.trainer.meta_left_ctx
            ds_manager.right_context = ds_manager.right_context or self.trainer.meta_right_ctx
            log(
                f"the request has no frameSize: {ds_manager.frame_size} ms with {ds_manager.left_context} ms before "
                f"and {ds_manager.right_context} ms after, as in the trainer"
            )
        if ds_manager.frame_size <= 0 or ds_manager.stride <= 0:
            raise FramingError(
                f"frameSize is {ds_manager.frame_size} ms, stride {ds_manager.stride} ms; "
                "expected more than 0, e.g. 40ms."
            )
        framing = emow2v.Framing(
            frame_step_ms=ds_manager.stride,
            frame_size_ms=ds_manager.frame_size,
            left_context_ms=ds_manager.left_context,
            right_context_ms=ds_manager.right_context,
            end_ms=None if ds_manager.end >= sys.maxsize else ds_manager.end,
        )
        card = self.model.card
        if framing.window_samples(card.sampling_rate) < card.min_samples:
            raise FramingError(
                f"A window of {float(framing.window_ms):g} ms is too short for {self.model.name}; expected at least "
                f"{card.min_samples / card.sampling_rate * 1000:g} ms with its contexts."
            )
        return framing

    def _windows(self, ds_manager: Any, length: int) -> Iterator[Signal]:
        """Windows as the model takes them, float32 [length]: mono, at its rate."""
        from emow2v.audio import mix_down
        from emow2v.errors import AudioError

        rate = self.model.card.sampling_rate
        for sample in ds_manager:
            stream = ds_manager.current_session.input_data[INPUT]
            name = stream.meta_data.name
            window = np.asarray(sample[INPUT])
            if window.ndim not in (1, 2):
                raise AudioError(f"{name} is a {type(stream).__name__}; expected audio, wav or mp3.")
            if not len(window):
                raise AudioError(
                    f"{name} ends before the duration stated for it; expected sound up to there, e.g. as wav."
                )
            signal = mix_down(np.atleast_2d(window.T))
            if not np.isfinite(signal).all():
                raise AudioError(f"{name} contains NaN or infinity; expected finite samples, about -1..1.")
            if stream.meta_data.sample_rate != rate:
                import soxr

                signal = soxr.resample(signal, stream.meta_data.sample_rate, rate, quality="HQ")
            yield _of_length(signal, length)

    def _annotation(self, one: Mapping[str, Any], port: str, data: Result) -> tuple[ContinuousAnnotation, int]:
        from emow2v.trajectory import DIMENSIONS

        column = DIMENSIONS.index(port)
        scores, sure = data.scores[:, column], data.confidence[:, column]
        known = np.isfinite(scores)
        scheme = ContinuousAnnotationScheme(
            name=str(one.get("scheme") or port), sample_rate=data.rate, min_val=0, max_val=1
        )
        labels = np.zeros(len(scores), scheme.label_dtype)  # a score that is no number: 0 with confidence 0
        labels["score"][known] = np.clip(scores[known], 0, 1)
        labels["conf"][known] = np.clip(np.nan_to_num(sure[known]), 0, 1)
        annotation = ContinuousAnnotation(
            scheme=scheme,
            data=labels,
            annotator=str(one.get("annotator") or self._annotator()),
            duration=len(scores) / data.rate * 1000,
            **self._place(one, ".annotation"),
        )
        annotation.meta_data.description = data.description
        return annotation, int(np.count_nonzero(known & ((scores < 0) | (scores > 1))))

    def _stream(self, one: Mapping[str, Any], data: Result) -> SSIStream:
        assert data.embeddings is not None
        rows, size = data.embeddings.shape
        return SSIStream(
            data=np.ascontiguousarray(data.embeddings, np.float32),
            sample_rate=data.rate,
            duration=rows / data.rate * 1000,
            sample_shape=(size,),
            num_samples=rows,
            media_type="feature",
            custom_meta={"annotator": self._annotator(), "description": data.description},
            **self._place(one, ".stream"),
        )

    def _annotator(self) -> str:
        return f"emow2v {self.model.name} {self.model.card.version}"

    def _place(self, one: Mapping[str, Any], ending: str) -> dict[str, str]:
        """Where data belongs; the name becomes a file's where the origin is `request:`."""
        from emow2v.discover.places import safe_name

        session = self.ds_manager.current_session
        name = safe_name(str(one.get("name") or ""), one["id"]).removesuffix(ending) + ending
        return {
            "dataset": session.dataset,
            "session": session.session,
            "role": str(one.get("role") or ""),
            "name": name,
        }


def _options(opts: Any) -> dict[str, Any]:
    """The options that are known, with their defaults; others are named and ignored."""
    from emow2v.errors import RequestError

    if opts is not None and not isinstance(opts, dict):
        raise RequestError(f'options is a {type(opts).__name__}; expected a JSON object such as {{"batch_size": 250}}.')
    given = {name: value for name, value in (opts or {}).items() if value is not None and str(value).strip()}
    for name in sorted(set(given) - set(DEFAULTS)):
        log(f"option {name} is unknown and was ignored")
    return {name: str(given.get(name, default)).strip() for name, default in DEFAULTS.items()}


def _batch_size(given: Mapping[str, str]) -> int:
    from emow2v.discover.options import batch_size

    return batch_size(given, int(DEFAULTS["batch_size"]))


def _outputs(descriptors: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """The outputs to write, each with the id of the module's own that it means.

    Raises:
        emow2v.Emow2vError: no input audio, or an output that this module does not have
    """
    from emow2v.discover.module import MODULE
    from emow2v.errors import RequestError

    if not any(one.get("type") == "input" and one.get("id") == INPUT for one in descriptors):
        raise RequestError(
            f"data names no input with the id {INPUT}; expected one, for instance "
            '{"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "talk.wav"}.'
        )
    outputs = []
    for one in descriptors:
        if one.get("type") != "output" or not one.get("active", True):
            continue
        port = MODULE.port("output", str(one.get("id")))
        if port is None:
            known = ", ".join(port.id for port in MODULE.ports if port.direction == "output")
            raise RequestError(f"The output id '{str(one.get('id'))[:60]}' is unknown; expected {known}.")
        outputs.append((one, port.id))
    return outputs


def _of_length(signal: Signal, length: int) -> Signal:
    """One length for all windows: the server's differ by a sample where their time is no whole number of samples."""
    if signal.size < length:
        return np.pad(signal, (0, length - signal.size), mode="edge")
    return signal[signal.size - length :]
