"""EmoW2V: arousal, dominance and valence of speech over time, and the features behind them.

>>> import emow2v
>>> model = emow2v.load("lite")
>>> trajectory = model.predict("talk.wav")
>>> trajectory.scores.shape  # a row every 40 ms: arousal, dominance, valence
(321, 3)
>>> table = trajectory.to_frame()  # pandas, indexed (file, start, end)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emow2v._version import __version__

if TYPE_CHECKING:
    from emow2v import formats
    from emow2v.cards import Card
    from emow2v.errors import Emow2vError
    from emow2v.framing import Framing
    from emow2v.model import Model, load
    from emow2v.stream import Stream
    from emow2v.trajectory import Block, Trajectory

__all__ = [
    "Block", "Card", "Emow2vError", "Framing", "Model", "Stream", "Trajectory", "__version__", "formats", "load",
    "models",
]  # fmt: skip

_HOMES = {
    "Block": "trajectory", "Card": "cards", "Emow2vError": "errors", "Framing": "framing", "Model": "model",
    "Stream": "stream", "Trajectory": "trajectory", "load": "model",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # NumPy and the decoder are imported with the first use: importing emow2v itself costs nothing.
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f"emow2v.{_HOMES[name]}"), name)
    if name == "formats":
        return import_module("emow2v.formats")
    raise AttributeError(f"module 'emow2v' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


def models() -> list[Card]:
    """The cards of every model that can be loaded by name."""
    from emow2v import cards

    return cards.available()
