"""Models in other processes. A pickled model is the name of its package, which each process loads once."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emow2v import cards
from emow2v.errors import ModelError

_MAX_RECENT = 2  # models that a worker keeps between two tasks


class Opener(Protocol):
    """Options of `load`, which can be hashed and pickled, and open the model of a card."""

    def open(self, card: cards.Card) -> Any: ...


@dataclass(frozen=True)
class ModelReference:
    """The pickled form of a model.

    Attributes:
        folder: absolute path of its package
        sha256: SHA-256 of its weights
        options: options with which it was loaded
    """

    folder: str
    sha256: str
    options: Opener


_lock = threading.Lock()
_models: weakref.WeakValueDictionary[tuple[int, ModelReference], Any] = weakref.WeakValueDictionary()
_recent: deque[Any] = deque(maxlen=_MAX_RECENT)  # a worker keeps models that no task uses at the moment


def pickled(
    model: Any, card: cards.Card, options: Opener
) -> tuple[Callable[[ModelReference], Any], tuple[ModelReference]]:
    """The result of a model's `__reduce__`. In this process, unpickling gives the model itself."""
    reference = ModelReference(str(card.folder.resolve()), card.sha256, options)
    with _lock:
        _models[os.getpid(), reference] = model  # a forked process has another id, so it loads the model itself
    return open_pickled, (reference,)


def open_pickled(reference: ModelReference) -> Any:
    """The model of a pickle, loaded once in each process.

    Raises:
        ModelError: its package does not exist here, has other weights, or is damaged
    """
    with _lock:
        model = _models.get((os.getpid(), reference))
        if model is None or model.closed:
            card = cards.find(Path(reference.folder))
            if card.sha256 != reference.sha256:
                raise ModelError(
                    f"{reference.folder} holds other weights (SHA-256 {card.sha256[:12]}...) than the model that was sent "
                    f"({reference.sha256[:12]}...); install the same package here, or load the model again."
                )
            model = reference.options.open(card)
            _models[os.getpid(), reference] = model
            _recent.append(model)
        return model


def renew_lock() -> None:
    """Make a new lock in a forked process, because a thread of the parent may have held the old one."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_lock)
