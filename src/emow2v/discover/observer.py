"""Observers: the events of a job that runs, as one object that a server, a test or a script may implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from emow2v.formats import Writer, record
from emow2v.storage.files import Move
from emow2v.trajectory import Block, Trajectory


class Observer:
    """Receives the events of a running job. Each method may be overridden; by default it does nothing.

    `on_step` and `before_publish` may raise an exception: the job then stops, and no further file appears.

    Attributes:
        owner: name of the process that runs the job, in letters and digits; unfinished files carry it (see `storage.files`)
    """

    owner = ""

    def on_step(self) -> None:
        """Called often while the job computes."""

    def on_rows(self, rows: int, expected: int | None) -> None:
        """Called after each block of a session.

        Args:
            rows: values computed so far
            expected: values of the whole session; None where its duration is unknown
        """

    def before_publish(self, moves: Sequence[Move]) -> None:
        """Called when all files of a session are complete, before they are renamed to their final names."""

    def after_publish(self) -> None:
        """Called when the files of a session have appeared and another session follows."""

    def on_provenance(self, provenance: Mapping[str, str | float]) -> None:
        """Called with the provenance of the values, at the end of a job that has one recording."""

    def log(self, line: str) -> None:
        """Takes a line for the job's log."""

    def notice(self, sentences: Sequence[str]) -> None:
        """Takes sentences on what is missing or unusual in a recording, and on what was ignored in the request."""
        for sentence in sentences:
            self.log(sentence)

    def writers(self) -> Sequence[Writer]:
        """Further writers for the session that begins."""
        return ()


def record_observed(
    trajectory: Trajectory,
    writers: Sequence[Writer],
    observer: Observer,
    expected: int | None = None,
    commit: Callable[[], None] = lambda: None,
) -> int:
    """Compute a trajectory, write its files and report both to an observer.

    Args:
        expected: values of the trajectory; default: as its recording states its duration
        commit: called when all files are complete, before they are published; may raise, and then no file appears

    Returns:
        the number of values

    Raises:
        Emow2vError, and what the observer raises: no file appears
    """
    rows = 0
    expected = trajectory.info.expected_rows if expected is None else expected

    def advance(block: Block) -> None:
        nonlocal rows
        rows += len(block)
        observer.on_rows(rows, expected)

    def publish(moves: Sequence[Move]) -> None:
        observer.on_step()
        commit()
        observer.before_publish(moves)

    record(trajectory, [*writers, *observer.writers()], advance, publish, owner=observer.owner)
    return rows
