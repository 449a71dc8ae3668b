"""A client for a server of emow2v, with and without asyncio; docs/client.md has examples."""

from __future__ import annotations

from emow2v.client.answers import Citation, Counts, Job, ModelInfo, Recording, Result, State, Turns
from emow2v.client.asynchronous import AsyncClient
from emow2v.client.errors import (
    Conflict,
    Invalid,
    JobFailed,
    NoRoom,
    NotFound,
    Refused,
    TimedOut,
    TooMany,
    Unauthorized,
    Unavailable,
    Unreachable,
    WrongAnswer,
)
from emow2v.client.live import AsyncLiveStream, LiveOptions, LiveStream, Value
from emow2v.client.recordings import BatchOptions, Computation, FileOptions, Filters, PostOptions, PredictOptions
from emow2v.client.sync import Client
from emow2v.errors import ClientError

__all__ = [
    "AsyncClient", "AsyncLiveStream", "BatchOptions", "Citation", "Client", "ClientError", "Computation", "Conflict", "Counts", "FileOptions", "Filters", "Invalid", "Job", "JobFailed", "LiveOptions", "LiveStream", "ModelInfo", "NoRoom",
    "NotFound", "PostOptions", "PredictOptions", "Recording", "Refused", "Result", "State", "TimedOut", "TooMany", "Turns", "Unauthorized", "Unavailable",
    "Unreachable", "Value", "WrongAnswer",
]  # fmt: skip
