"""Tasks: what a job asks for, the same for DISCOVER requests and for predictions of /v1."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Protocol

from emow2v.cards import Card
from emow2v.discover.options import TrackChoice
from emow2v.discover.places import Places
from emow2v.discover.recordings import Found
from emow2v.discover.task import DiscoverTask
from emow2v.formats.table_read import Table
from emow2v.framing import Framing
from emow2v.model import Context, Model
from emow2v.server.batches.task import BatchTask
from emow2v.server.jobs.observer import JobObserver
from emow2v.server.jobs.prediction import PredictionTask
from emow2v.server.jobs.store.job import Job, Kind
from emow2v.storage import one_line


class Task(Protocol):
    """A posted form that a worker can carry out, and the results that it leaves.

    Attributes:
        job_id: id of the job
        name: the name that people see
        sessions: names of the recordings
        framing, context: the windows, and how they are computed
        track_choice: track and channel of the recordings, where the request chooses them
        default_format: format of results where a client names none
        first_row: number of a table's first row, counted from the beginning of the recording
        embeddings: whether embeddings are among its results
        owned: uploads that belong to this job alone
        notes: sentences on fields and options that are unknown and ignored
    """

    job_id: str

    @property
    def name(self) -> str: ...
    @property
    def sessions(self) -> list[str]: ...
    @property
    def framing(self) -> Framing: ...
    @property
    def context(self) -> Context: ...
    @property
    def track_choice(self) -> TrackChoice: ...
    @property
    def default_format(self) -> str: ...
    @property
    def first_row(self) -> int: ...
    @property
    def embeddings(self) -> bool: ...
    @property
    def owned(self) -> Set[Path]: ...
    @property
    def notes(self) -> Sequence[str]: ...

    def recording(self, number: int) -> Found:
        """The recording of a session; it need not exist any more."""

    def close(self) -> None:
        """Remove what was fetched from addresses; a later use fetches it again."""

    def uploads(self) -> set[Path]:
        """Files that clients sent to the server for this job."""

    def folders(self) -> set[Path]:
        """Folders that the job writes to."""

    def card(self, served: Card) -> Card:
        """The card of the model to use; `served` is that of the server's own model."""

    def check(self, served: Card, max_duration_s: float = 0) -> float:
        """Check the form and its recordings.

        Args:
            served: the card of the server's own model
            max_duration_s: longest recording in seconds; 0 for no limit

        Returns:
            seconds of sound up to the end of the request, as far as the recordings state their duration

        Raises:
            RequestError: one sentence on the first error
            TooLong: a recording is longer
        """

    def run(self, model: Model, observer: JobObserver | None = None, max_duration_s: float = 0) -> int:
        """Compute and write the results; gives the number of values, raises Emow2vError."""

    def stored(self, file_format: str, number: int | None = None) -> Path | None:
        """The table of a session as it is stored, where it has that format already; raises FormatError where it is gone.

        Without a number it is the table of the job.
        """

    def files(self, number: int) -> list[Path]:
        """The files that the values of a session are read from, as far as they exist; raises RequestError as `table` does."""

    def arrays(self, number: int) -> Path | None:
        """The arrays of a session (.npz) with its embeddings; None if the job did not keep them."""

    def table(self, number: int) -> Table:
        """The values of a session; raises RequestError or FormatError where it has none."""

    def stem(self, number: int) -> str:
        """The beginning of the names of files that people save."""


_TASKS: dict[Kind, Callable[..., Task]] = {
    "process": functools.partial(DiscoverTask, stored=True),
    "prediction": PredictionTask,
    "batch": BatchTask,
}


def task_of(job: Job, places: Places) -> Task:
    """The task of a stored job.

    Args:
        places: folders that requests may read and write
    """
    return _TASKS[job.kind](job.id, job.form, places.of(job.owner), job.context)


def name_of(kind: Kind, job_id: str, form: Mapping[str, str], places: Places) -> str:
    """The name that people see, of a form that may not be a job yet, in one line."""
    return one_line(_TASKS[kind](job_id, form, places).name)
