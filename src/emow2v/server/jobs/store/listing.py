"""Which jobs a list has: by state, kind, model, name, owner and time, a page at a time."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from emow2v.server.jobs.store.job import Kind, Status
from emow2v.server.jobs.store.schema import MODEL, MOST_LISTED


@dataclass(frozen=True)
class Filter:
    """Conditions that all jobs of a list meet; None where any job does.

    Attributes:
        owner: name of the person who posted them; "" for jobs without one
        status, kind: as jobs have them
        model: name of the model that computed them; jobs that have not begun have none
        name: a part of the recording's name, in upper or lower case
        since, until: first and last time of posting, UTC, ISO 8601 to the millisecond
        before: jobs that were posted before the one of that number
    """

    owner: str | None = None
    status: Status | None = None
    kind: Kind | None = None
    model: str | None = None
    name: str | None = None
    since: str | None = None
    until: str | None = None
    before: int | None = None

    @property
    def where(self) -> tuple[str, list[object]]:
        """A WHERE clause, "" where any job meets the conditions, and its values."""
        model = f"{MODEL} = ?"
        if self.owner is not None or self.status is not None:
            model = f"+{model}"  # the index of owners or states is better: it has the order of the list
        conditions: dict[str, object] = {
            "status = ?": None if self.status is None else int(self.status),
            "owner = ?": self.owner,
            "kind = ?": self.kind,
            model: self.model,
            "instr(name, ?)": None if self.name is None else searchable(self.name),
            "posted >= ?": self.since,
            "posted <= ?": self.until,
            "number < ?": self.before,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        return (f"WHERE {' AND '.join(given)}" if given else ""), [*given.values()]


def searchable(name: str) -> str:
    """A name as lists of jobs are searched: without upper case, and with one form of each character."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return folded.encode("utf-8", "backslashreplace").decode()[:MOST_LISTED]
