"""The recording that workers die of."""

from __future__ import annotations

import json

from emow2v.archive.journal import Journal
from emow2v.inputs import Input

MAX_DEATHS = 3  # of workers that compute a recording alone; then it is left out
_FACT = "alone"  # of the journal: the recording that is computed alone, and how often it was


class CulpritFinder:
    """Finds the recording that workers die of: after a death, recordings are computed one by one, and the journal knows which.

    Args:
        journal: of the run
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._key, self._count = json.loads(journal.fact(_FACT) or '["", 0]')

    def begin(self, one: Input) -> None:
        """A recording will be computed alone: if the worker dies, it was this one."""
        self._count = self._count + 1 if one.key == self._key else 1
        self._key = one.key
        self._journal.set_fact(_FACT, json.dumps([self._key, self._count]))

    def clear(self) -> None:
        """Recordings are computed together again."""
        if self._key:
            self._key, self._count = "", 0
            self._journal.set_fact(_FACT, "")

    def culprit(self, attempt: int) -> str:
        """The key of the recording that is to be left out; "" where there is none.

        Args:
            attempt: number of attempts that have not got further
        """
        return str(self._key) if self._count >= MAX_DEATHS and attempt > MAX_DEATHS else ""
