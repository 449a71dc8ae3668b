"""The audit log: who posted, read, cancelled and erased which job, and which tokens were refused.

It is a file of its own, one JSON object a line, to which lines are only ever added. It holds no content: no names of
recordings, no values, no tokens. The file may be moved away at any time; the next entry begins a new one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from emow2v.server.people.person import Person

logger = logging.getLogger("emow2v.server")

FILE = "audit.ndjson"
Action = Literal["post", "read", "cancel", "erase", "upload", "stream", "login"]
CHANGES = frozenset(["post", "cancel", "erase", "upload"])  # reach the disk before the client gets its answer
SAME_S = 600.0  # a page that shows a job reads it many times; within this time it is written down once
_MOST_REMEMBERED = 10_000
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)  # Windows: line ends as everywhere


class Audit:
    """The audit log of a server; safe to use from several threads.

    Args:
        path: of the file
        clock: seconds
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._last: OrderedDict[bytes, float] = OrderedDict()  # by hashes, since one reading may be of many jobs

    def done(
        self,
        person: Person,
        client: str,
        action: Action,
        what: str = "",
        jobs: Sequence[tuple[str, str]] = (),
        facts: Mapping[str, int] | None = None,
    ) -> None:
        """Write down what a person did. The same reading is written down once in `SAME_S`.

        Args:
            client: address of the request
            what: the part of the job that was read, such as audio; "" for none
            jobs: owners and ids of the jobs
            facts: numbers, such as those of erased files
        """
        if action == "read" and not self._is_news((person.name, action, what, *jobs)):
            return
        entry: dict[str, object] = {"name": person.name, "role": person.role, "client": client, "action": action}
        if what:
            entry["what"] = what
        if jobs:
            entry["jobs"] = _as_objects(jobs)
        entry |= facts or {}
        self._add(entry, lasting=action in CHANGES)

    def removed(self, why: str, jobs: Sequence[tuple[str, str]], what: str = "") -> None:
        """Write down that the server itself erased jobs.

        Args:
            why: age (--keep-days, --keep-jobs) or room (--max-disk)
            jobs: owners and ids
            what: the part of them, such as recording; "" for all
        """
        entry: dict[str, object] = {"name": "", "role": "server", "action": "erase", "why": why}
        if what:
            entry["what"] = what
        self._add(entry | {"jobs": _as_objects(jobs)}, lasting=True)

    def refused(self, client: str, why: str, name: str = "") -> None:
        """Write down that a token was refused.

        Args:
            why: wrong, expired, removed, or too many wrong tokens
            name: whose token it was, where that is known
        """
        self._add({"name": name, "client": client, "action": "refuse", "why": why})

    def _is_news(self, what: tuple[object, ...]) -> bool:
        now, digest = self._clock(), hashlib.sha256(repr(what).encode()).digest()
        with self._lock:
            if now - self._last.get(digest, -math.inf) < SAME_S:
                return False
            self._last[digest] = now
            self._last.move_to_end(digest)
            if len(self._last) > _MOST_REMEMBERED:
                self._last.popitem(last=False)
        return True

    def _add(self, entry: dict[str, object], *, lasting: bool = False) -> None:
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry}) + "\n"
        try:
            place = os.open(self.path, _FLAGS, 0o600)
            try:
                os.write(place, line.encode())  # at once, so that lines of several threads do not mix
                if lasting:
                    os.fsync(place)
            finally:
                os.close(place)
        except OSError as error:  # such as a full disk; the request goes on
            logger.error("the audit log %s cannot be written (%s); lost: %s", self.path, error.strerror, line.rstrip())


def _as_objects(jobs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"owner": owner, "id": job_id} for owner, job_id in jobs]
