"""Keys of requests: a request that is sent again with its key finds the job that it has posted."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from emow2v.errors import Emow2vError


class KeyTaken(Emow2vError):
    """The key came with another request before."""

    def __init__(self) -> None:
        super().__init__(
            "The Idempotency-Key came with another request before; expected a new key for each request, and the same fields and "
            "content where one is sent again."
        )


@dataclass(frozen=True)
class RequestKey:
    """What tells that two requests are one.

    Attributes:
        key: hash of the client's key
        request: hash of the request: its fields and its content
    """

    key: str
    request: str


def find(database: sqlite3.Connection, owner: str, key: RequestKey) -> int | None:
    """The number of the job that was posted with a key; None where the owner has none.

    Raises:
        KeyTaken: it was posted by another request
    """
    query = "SELECT job, request FROM keys WHERE owner = ? AND key = ?"
    row = database.execute(query, (owner, key.key)).fetchone()
    if row is None:
        return None
    if row["request"] != key.request:
        raise KeyTaken
    return int(row["job"])


def add(database: sqlite3.Connection, owner: str, key: RequestKey, job: int) -> None:
    """Keep the key of a new job, in the transaction that queues it."""
    database.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (owner, key.key, key.request, job))
