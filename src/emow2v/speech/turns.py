"""Turns from probabilities of speech: the times in seconds at which speech begins and ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from emow2v.errors import FramingError
from emow2v.framing import Signal
from emow2v.speech.activity import FRAME_MS, THRESHOLD

SHORTEST_TURN_MS = 250.0
LONGEST_TURN_MS = 15_000.0
BRIDGED_PAUSE_MS = 300.0
PADDING_MS = 60.0


def turns(
    probabilities: Signal,
    *,
    threshold: float = THRESHOLD,
    shortest_turn_ms: float = SHORTEST_TURN_MS,
    longest_turn_ms: float = LONGEST_TURN_MS,
    bridged_pause_ms: float = BRIDGED_PAUSE_MS,
    padding_ms: float = PADDING_MS,
    duration_s: float | None = None,
    frame_ms: float = FRAME_MS,
) -> list[tuple[float, float]]:
    """The turns (start, end) in seconds, in order and without overlap.

    Frames with at least `threshold` are speech. Pauses up to `bridged_pause_ms` belong to the turn around them. Stretches
    that are then shorter than `shortest_turn_ms` are dropped. Longer ones than `longest_turn_ms` are cut at the frame with the least
    probability in the second half of the allowed length.

    Args:
        probabilities: float32 [frames] of a recording, from its start (`activity.probabilities`)
        threshold: above 0, at most 1
        longest_turn_ms: 0 for turns of any length
        padding_ms: added before and behind each turn, but never more than half of the pause there
        duration_s: of the recording: no turn ends after it
        frame_ms: length of the frames

    Raises:
        FramingError: an option is out of its range

    >>> turns(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0], np.float32), padding_ms=0)
    [(0.032, 0.32)]
    """
    check_options(threshold, shortest_turn_ms, longest_turn_ms, bridged_pause_ms, padding_ms, frame_ms)
    speech = _bridge(_runs(probabilities >= threshold), bridged_pause_ms / frame_ms)
    kept = [(begin, end) for begin, end in speech if (end - begin) * frame_ms >= shortest_turn_ms]
    pieces = [
        piece for begin, end in kept for piece in _cut(probabilities, begin, end, int(longest_turn_ms / frame_ms))
    ]
    last = len(probabilities) * frame_ms / 1000
    times = [(begin * frame_ms / 1000, end * frame_ms / 1000) for begin, end in pieces]
    return _pad(times, padding_ms / 1000, last if duration_s is None else min(duration_s, last))


def check_options(
    threshold: float = THRESHOLD,
    shortest_turn_ms: float = SHORTEST_TURN_MS,
    longest_turn_ms: float = LONGEST_TURN_MS,
    bridged_pause_ms: float = BRIDGED_PAUSE_MS,
    padding_ms: float = PADDING_MS,
    frame_ms: float = FRAME_MS,
) -> None:
    """Refuse options of `turns` that are out of their range, before there are probabilities: `FramingError`."""
    if not 0 < threshold <= 1:
        raise FramingError(f"threshold is {threshold:g}; expected more than 0, at most 1.")
    times = {"shortest turn": shortest_turn_ms, "bridged pause": bridged_pause_ms, "padding of turns": padding_ms}
    for name, value in times.items():
        if not 0 <= value < float("inf"):
            raise FramingError(f"The {name} is {value:g} ms; expected 0 or more milliseconds.")
    lowest = 2 * (shortest_turn_ms + frame_ms)  # so that no piece of a turn is shorter than a turn may be
    if longest_turn_ms and not lowest <= longest_turn_ms < float("inf"):
        raise FramingError(
            f"The longest turn is {longest_turn_ms:g} ms; expected 0 (turns of any length), or at least {lowest:g} ms: "
            f"twice the shortest turn and {frame_ms:g} ms each."
        )


def _runs(speech: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches of True, as pairs of the first index and the index after the last."""
    edges = np.flatnonzero(np.diff(speech.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _bridge(runs: list[tuple[int, int]], pause: float) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in runs:
        if joined and begin - joined[-1][1] <= pause:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _cut(probabilities: Signal, begin: int, end: int, longest: int) -> list[tuple[int, int]]:
    """Pieces of at most `longest` frames (0 for any length); where there are several, none is shorter than half of it."""
    half = (longest + 1) // 2
    pieces = []
    while longest and end - begin > longest:
        low, high = begin + half, min(begin + longest, end - half)
        cut = low + int(np.argmin(probabilities[low : high + 1]))
        pieces.append((begin, cut))
        begin = cut
    return [*pieces, (begin, end)]


def _pad(times: list[tuple[float, float]], padding_s: float, last_s: float) -> list[tuple[float, float]]:
    """Times in seconds, with padding of at most half the pause to the next turn."""
    pauses = [following[0] - one[1] for one, following in pairwise(times)]
    before = [padding_s, *(min(padding_s, pause / 2) for pause in pauses)]
    behind = [*before[1:], padding_s]
    padded = [
        (max(0.0, begin - lead), min(last_s, end + tail))
        for (begin, end), lead, tail in zip(times, before, behind, strict=False)
    ]
    return [(round(begin, 6), round(end, 6)) for begin, end in padded if end > begin]
