"""The jobs of a server, in one SQLite file."""

from emow2v.server.jobs.store.job import Busy, Job, Kind, Status
from emow2v.server.jobs.store.limits import Limits, OverLimit
from emow2v.server.jobs.store.schema import MOST_LISTED
from emow2v.server.jobs.store.store import Store

__all__ = ["MOST_LISTED", "Busy", "Job", "Kind", "Limits", "OverLimit", "Status", "Store"]
