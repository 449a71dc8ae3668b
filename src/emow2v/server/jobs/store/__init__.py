"""The jobs of a server, in one SQLite file."""

from emow2v.server.jobs.store.job import Busy, Job, Kind, Status
from emow2v.server.jobs.store.keys import KeyTaken, RequestKey
from emow2v.server.jobs.store.limits import Limits, OverLimit
from emow2v.server.jobs.store.listing import Filter
from emow2v.server.jobs.store.schema import MOST_LISTED
from emow2v.server.jobs.store.store import Store

__all__ = [
    "MOST_LISTED",
    "Busy",
    "Filter",
    "Job",
    "KeyTaken",
    "Kind",
    "Limits",
    "OverLimit",
    "RequestKey",
    "Status",
    "Store",
]
