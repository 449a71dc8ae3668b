"""Models in other processes: a pickled model names its package, and each process loads that package once."""

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

_MOST_KEPT = 2  # models that a worker keeps between two tasks


class Opener(Protocol):
    """Options of `load`: hashable, picklable, and able to open the model of a card."""

    def open(self, card: cards.Card) -> Any: ...


@dataclass(frozen=True)
class Sent:
    """What is pickled of a model.

    Attributes:
        folder: absolute path of its package
        sha256: of its weights
        options: those it was loaded with
    """

    folder: str
    sha256: str
    options: Opener


_lock = threading.Lock()
_models: weakref.WeakValueDictionary[tuple[int, Sent], Any] = weakref.WeakValueDictionary()
_kept: deque[Any] = deque(maxlen=_MOST_KEPT)  # no task of a worker may be the last to hold the model


def sent(model: Any, card: cards.Card, options: Opener) -> tuple[Callable[[Sent], Any], tuple[Sent]]:
    """What `__reduce__` returns for a model; in this process it will be unpickled as itself."""
    one = Sent(str(card.folder.resolve()), card.sha256, options)
    with _lock:
        _models[os.getpid(), one] = model  # a forked process has another number, and must load the model anew
    return receive, (one,)


def receive(one: Sent) -> Any:
    """The model that was sent, loaded once in each process.

    Raises:
        ModelError: its package is not here, holds other weights, or is damaged
    """
    with _lock:
        model = _models.get((os.getpid(), one))
        if model is None or model.closed:
            card = cards.find(Path(one.folder))
            if card.sha256 != one.sha256:
                raise ModelError(
                    f"{one.folder} holds other weights (SHA-256 {card.sha256[:12]}...) than the model that was sent "
                    f"({one.sha256[:12]}...); install the same package here, or load the model again."
                )
            model = one.options.open(card)
            _models[os.getpid(), one] = model
            _kept.append(model)
        return model


def forget_lock() -> None:
    """A fresh lock in a forked process, where another thread may have held it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_lock)
