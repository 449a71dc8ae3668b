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
    from emow2v.errors import (
        AudioError,
        Cancelled,
        ClientError,
        Closed,
        ClusterError,
        DatabaseError,
        DiskFull,
        Emow2vError,
        FormatError,
        FramingError,
        ModelError,
        PathError,
        PlaceTaken,
        RequestError,
        StoreError,
        TooLong,
    )
    from emow2v.framing import Framing
    from emow2v.model import Model, load
    from emow2v.rows import Block, MeanScores
    from emow2v.stream import Stream
    from emow2v.trajectory import Trajectory

__all__ = [
    "AudioError", "Block", "Cancelled", "Card", "ClientError", "Closed", "ClusterError", "DatabaseError", "DiskFull", "Emow2vError", "FormatError",
    "Framing", "FramingError", "MeanScores", "Model", "ModelError", "PathError", "PlaceTaken", "RequestError", "StoreError", "Stream",
    "TooLong", "Trajectory", "__version__", "formats", "load", "models",
]  # fmt: skip

_MODULES = {
    "Block": "rows", "Card": "cards", "Framing": "framing", "MeanScores": "rows", "Model": "model", "Stream": "stream",
    "Trajectory": "trajectory", "load": "model",
} | dict.fromkeys(
    ("AudioError", "Cancelled", "ClientError", "Closed", "ClusterError", "DatabaseError", "DiskFull", "Emow2vError", "FormatError", "FramingError",
     "ModelError", "PathError", "PlaceTaken", "RequestError", "StoreError", "TooLong"),
    "errors",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    # NumPy and the decoder are imported at the first use, so that importing emow2v costs nothing.
    from importlib import import_module

    if name in _MODULES:
        return getattr(import_module(f"emow2v.{_MODULES[name]}"), name)
    if name == "formats":
        return import_module("emow2v.formats")
    raise AttributeError(f"module 'emow2v' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


def models() -> list[Card]:
    """The cards of all models that can be loaded by name: those in the package, and those that were pulled."""
    from emow2v import cards

    return cards.available()
