"""Models that a process keeps in memory: loaded when they are named, unloaded by use, number, memory and idle time."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from emow2v.engines.frames import FramesEngine
from emow2v.framing.chunks import FEWEST
from emow2v.model import Model
from emow2v.server.models.memory import give_back, resident_bytes

logger = logging.getLogger("emow2v.server")


@dataclass(frozen=True)
class Limits:
    """When models are unloaded that nobody uses.

    Attributes:
        count: number of models that stay in memory
        memory: bytes of them; 0 for no limit
        idle_s: seconds after their last use; 0 for no limit
    """

    count: int = 2
    memory: int = 0
    idle_s: float = 0


DEFAULT = Limits()


@dataclass(eq=False)
class _Held:
    name: str  # by which it was asked for; its own may say more, as that of an int8 package
    model: Model
    size: int  # bytes by which the process grew
    used_at: float
    users: int = 0


@dataclass
class HeldModels:
    """The models of a process; safe to use from several threads. Models that stay, and those in use, are never unloaded.

    Args:
        load: loads a model by the name that requests know
        limits: see there
        stays: names of the models that stay in memory
        changed: called after each change of what is in memory
        clock: seconds
        resident: bytes of memory of this process
        tidy: gives memory of unloaded models back to the system

    Attributes:
        loads: number of models that were loaded so far
    """

    load: Callable[[str], Model]
    limits: Limits = DEFAULT
    stays: Collection[str] = ()
    changed: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    resident: Callable[[], int] = resident_bytes
    tidy: Callable[[], None] = give_back
    loads: int = 0
    _held: list[_Held] = field(default_factory=list)  # used last at the end
    _lock: threading.Lock = field(default_factory=threading.Lock)  # held for short times
    # one at a time, so that its memory can be measured
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Model]:
        """A model, which stays in memory at least until the end of the with block; loaded if it is not there.

        Raises:
            ModelError: it cannot be loaded
        """
        model = self.take(name)
        try:
            yield model
        finally:
            self.release(model)

    def take(self, name: str) -> Model:
        """See `using`; `release` is called once for each call."""
        if (model := self._found(name)) is not None:
            return model
        with self._loading:
            if (model := self._found(name)) is not None:  # another thread loaded it
                return model
            self._unload(1)
            self.tidy()  # so that the new one does not fill what others left
            before = self.resident()
            model = self.load(name)
            run_once(model)
            size = max(0, self.resident() - before)
            with self._lock:
                self._held.append(_Held(name, model, size, self.clock(), 1))
                self.loads += 1
            logger.info("model %s is loaded: %.0f MB", name, size / 1e6)
            self._unload()
            if self.limits.memory and self.memory > self.limits.memory:
                logger.warning(
                    "models in use take %.0f MB, more than the limit of %.0f MB",
                    self.memory / 1e6,
                    self.limits.memory / 1e6,
                )
        self.changed()
        return model

    def release(self, model: Model) -> None:
        """A user of a model needs it no more."""
        with self._lock:
            one = next(one for one in self._held if one.model is model)
            one.users -= 1
            one.used_at = self.clock()
        if self._unload():
            self.changed()

    def unload_idle(self) -> None:
        """Unload models that nobody has used for long."""
        if self.limits.idle_s and self._unload():
            self.changed()

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of memory by model: by how much the process grew while it was loaded and computed its first window."""
        with self._lock:
            return {one.name: one.size for one in self._held}

    @property
    def memory(self) -> int:
        """Bytes of all models in memory."""
        with self._lock:
            return sum(one.size for one in self._held)

    def _found(self, name: str) -> Model | None:
        with self._lock:
            for one in self._held:
                # a package that was installed anew is another model; streams go on with the old one
                if one.name == name and one.model.card.unchanged():
                    self._held.remove(one)
                    self._held.append(one)
                    one.users += 1
                    one.used_at = self.clock()
                    return one.model
        return None

    def _unload(self, coming: int = 0) -> bool:
        """Unload what the limits leave no room for; whether anything was.

        Args:
            coming: number of models that are loaded next
        """
        gone = []
        with self._lock:
            for one in list(self._held):
                if one.users or (one.name in self.stays and one.model.card.unchanged()):
                    continue
                taken = sum(other.size for other in self._held)
                if (
                    len(self._held) + coming > self.limits.count
                    or (self.limits.memory and taken > self.limits.memory)
                    or (self.limits.idle_s and self.clock() - one.used_at >= self.limits.idle_s)
                    or not one.model.card.unchanged()
                ):
                    self._held.remove(one)
                    gone.append(one.name)
        if gone:
            self.tidy()
            logger.info("no more in memory: %s", ", ".join(gone))
        return bool(gone)


def run_once(model: Model) -> None:
    """Compute a window, or a step of a live stream, for what is prepared at the first one."""
    card = model.card
    model.run(np.zeros((1, max(card.min_samples, card.sampling_rate)), np.float32))
    if isinstance(model.engine, FramesEngine):
        signal = np.zeros((1, FEWEST * card.frame_hop), np.float32)
        model.engine.step(signal, np.array([signal.shape[1]]), model.engine.start(1))
