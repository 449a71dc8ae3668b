"""What a server is made of: what its administrator chose, and what runs its jobs."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Protocol

from emow2v.cards import Card
from emow2v.discover.places import Places
from emow2v.model import Context
from emow2v.server.security.walls import Walls


@dataclass(frozen=True)
class Settings:
    """What an administrator chooses.

    Attributes:
        model: the card of the model that is used where a request names none
        places: folders that requests may read and write
        context: how windows are computed where a request does not say
        most_kept, days_kept: ended jobs and their results
        most_waiting: jobs in the queue
        longest_s: of a recording, 0 for any length
        patience_s: how long running jobs may go on when the server is told to stop
        nova_status: 3 for cancelled jobs, since NOVA knows no 4
        walls: who may ask, and how much
        checking: of how many requests the recordings are looked into at once, so that many, or slow ones on a network drive,
            leave threads for all other routes
        stopping: set when the server is told to stop, so that nobody is left waiting
    """

    model: Card
    places: Places
    context: Context = "window"
    most_kept: int = 1000
    days_kept: float = 30.0
    most_waiting: int = 10_000
    longest_s: float = 0
    patience_s: float = 10.0
    nova_status: bool = False
    walls: Walls = field(default_factory=Walls)
    checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
    stopping: threading.Event = field(default_factory=threading.Event)


class Workers(Protocol):
    """What runs the jobs of the store."""

    def start(self) -> None: ...
    def wake(self) -> None: ...
    def stop(self, patience_s: float) -> None: ...
    @property
    def ready(self) -> int:
        """Workers with a warm model."""
        ...

    @property
    def deaths(self) -> int:
        """Workers that died since the start."""
        ...
