"""Shared context: hidden states of long stretches, computed once and pooled for every window that lies in them.

The sound around a window then influences its hidden states, and its signal is normalised (or levelled) together with
that of its stretch. The numbers differ from those of the window by itself, and cost a small part of the work. `emow2v
compare` and benchmarks/fidelity.py measure the difference.
"""

from __future__ import annotations

import numpy as np

from emow2v.cards import Card
from emow2v.engines import Engine, Outputs
from emow2v.engines.kept import of_inputs
from emow2v.engines.outputs import stacked
from emow2v.errors import FramingError, ModelError
from emow2v.framing import Framing
from emow2v.framing.windows import Stretch, Stretches

# Attention grows with the square of a stretch's length, and shorter stretches waste more on their margins. The margin is
# the sound that a window at the end of a stretch still has beside it.
STRETCH_MS = 8_000
LAST_STRETCH_MS = 12_000  # at most; so 10 s are one stretch, not two
MARGIN_MS = 500
POOLED_AT_ONCE = 64  # windows

SHARED = (
    f"computed over stretches of {STRETCH_MS / 1000:g} s (the last one up to {LAST_STRETCH_MS / 1000:g} s, as the model takes "
    "it), each normalised as one, and pooled over each window's frames; "
    f"a window lies {MARGIN_MS / 1000:g} s or more inside its stretch, except at the recording's ends"
)


def check_shared(card: Card, framing: Framing) -> None:
    """Refuse a model or windows for which context cannot be shared.

    Raises:
        FramingError: one value for the whole recording, or windows too long to lie in a stretch
        ModelError: the model's frames are not known
    """
    if framing.whole:
        raise FramingError("One value for a whole recording shares no context; choose the context window.")
    if card.one_pass:
        raise ModelError(f"{card.name} computes every recording in one pass; choose the context window.")
    if not card.frame_hop:
        raise ModelError(
            f"{card.name} does not name its frames, which shared context requires; export or install it again, "
            "or choose the context window."
        )
    _stretches(card, framing)


class SharedContext:
    """Computes windows from shared stretches, with a model and a framing that `check_shared` has accepted."""

    def __init__(self, card: Card, engine: Engine, framing: Framing) -> None:
        self._engine, self._framing, self._card = engine, framing, card
        self._hop = card.frame_hop
        # the number of frames that the network makes of one window by itself
        self._frames = (framing.window_samples(card.sampling_rate) - card.min_samples) // self._hop + 1

    def stretches(self) -> Stretches:
        """The object that cuts a recording into stretches."""
        return _stretches(self._card, self._framing)

    def run(self, stretch: Stretch) -> Outputs:
        """Embeddings [windows, 1024], scores [windows, 3] and confidence of the windows in a stretch."""
        name = "stretch" if stretch.only else "one of several stretches"
        return of_inputs(self._engine, name, (stretch.signal, stretch.begins), lambda: self._computed(stretch))

    def _computed(self, stretch: Stretch) -> Outputs:
        frames = self._engine.frames if stretch.only else self._engine.frames_parallel
        states = frames(stretch.signal[None])[0]
        nearest = np.minimum((stretch.begins + self._hop // 2) // self._hop, len(states) - self._frames)
        # with steps shorter than a frame, several windows have the same frames
        firsts, rows = np.unique(nearest, return_inverse=True)
        windows = np.lib.stride_tricks.sliding_window_view(states, self._frames, axis=0).transpose(0, 2, 1)
        parts = [
            self._engine.pooled(windows[firsts[begin : begin + POOLED_AT_ONCE]])
            for begin in range(0, len(firsts), POOLED_AT_ONCE)
        ]
        embeddings, scores, confidence = stacked(parts)
        return embeddings[rows], scores[rows], None if confidence is None else confidence[rows]


def _stretches(card: Card, framing: Framing) -> Stretches:
    rate = card.sampling_rate
    usual, longest = (min(ms * rate // 1000, card.max_samples) for ms in (STRETCH_MS, LAST_STRETCH_MS))
    return Stretches(framing, rate, usual, longest, MARGIN_MS * rate // 1000)
