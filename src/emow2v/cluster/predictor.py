"""A model whose recordings are computed on a cluster: they go out in jobs, and their rows come back in their order."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from emow2v.archive.content import ContentPath
from emow2v.archive.loop import Request
from emow2v.cluster.connection import connected
from emow2v.cluster.jobs import Answer, Found, Settings, Task, is_divisible, join, pieces
from emow2v.cluster.pool import Job, Pool
from emow2v.errors import AudioError, Emow2vError
from emow2v.model import Model
from emow2v.rows import Block
from emow2v.storage import exists, shown
from emow2v.stores import is_address
from emow2v.trajectory import Trajectory

_MOST_TASKS = 64  # in a job
_JOB_BYTES = 4 << 20  # of files in a job: some seconds of work for values over time
_JOB_BYTES_WHOLE = 16 << 20  # for one value a recording, which is less work
_AHEAD = 4  # jobs for each worker that are computed, or whose rows wait to be written


@dataclass(eq=False)
class _Recording:
    """A recording on its way.

    Attributes:
        error: that its preparation raised
        parts: its pieces, or itself; None where they are not answered
    """

    request: Request
    task: Task
    on_values: Callable[[Block], None] | None = None
    error: Exception | None = None
    parts: list[Answer | None] = field(default_factory=lambda: [None])
    whole: bool = False  # it is not to be divided any more

    @property
    def answered(self) -> bool:
        return self.error is not None or all(part is not None for part in self.parts)


class ClusterModel:
    """A model on a cluster, for the loop over recordings.

    Args:
        pool: computes with the model
        settings: of the run
        one_pass: whether the model is one of frames
    """

    def __init__(self, pool: Pool, settings: Settings, *, one_pass: bool) -> None:
        self._pool, self._settings, self._one_pass = pool, settings, one_pass
        self._places: dict[int, tuple[_Recording, int]] = {}  # of tasks that are on their way
        self._waiting: deque[Job] = deque()
        self._jobs = 0  # that are not answered

    def predict_elsewhere(
        self, requests: Iterable[Request], channel: object, *, turns: bool
    ) -> Generator[Callable[[], list[Trajectory]]]:
        """The trajectories of recordings in their order, as functions that return those of one, or raise its error.

        Memory: the rows of some jobs for each worker.

        Raises:
            ClusterError: no node can work
        """
        assert (channel, turns) == (self._settings.channel, self._settings.turns)
        recordings: deque[_Recording] = deque()
        groups = self._groups(iter(requests))
        ended = False
        while True:
            while not ended and self._jobs + self._written(recordings) < _AHEAD * max(1, self._pool.workers):
                group = next(groups, None)
                if group is None:
                    ended = True
                    break
                recordings += group
                self._send(group)
            while self._waiting and self._pool.free:
                self._pool.submit(self._waiting.popleft())
            if not recordings:
                return
            if recordings[0].answered:
                yield partial(self._take, recordings.popleft())
                continue
            for job in self._pool.wait():
                self._back(job)

    def _written(self, recordings: deque[_Recording]) -> int:
        """Jobs whose rows wait to be written, as far as can be said: recordings may be of one job."""
        return sum(one.answered for one in recordings) // _MOST_TASKS

    # --- to the nodes ---

    def _groups(self, requests: Iterator[Request]) -> Iterator[list[_Recording]]:
        """Recordings that go into one job: one long one, or short ones up to the limits of a job."""
        group: list[_Recording] = []
        total = 0
        for request in requests:
            one = self._prepared(request)
            group.append(one)
            framing = one.task.options.get("framing")
            most = _JOB_BYTES_WHOLE if framing is not None and framing.whole else _JOB_BYTES
            total += _size(one.task.path)
            if len(group) >= _MOST_TASKS or total >= most:
                yield group
                group, total = [], 0
        if group:
            yield group

    def _prepared(self, request: Request) -> _Recording:
        path = os.fspath(request.source)  # type: ignore[arg-type]
        task = Task(path, {})
        try:
            options = dict(request.prepare())
        except (Emow2vError, OSError) as error:
            return _Recording(request, task, error=error)
        options.pop("channel", None)
        on_values = options.pop("on_values", None)
        divisible = is_divisible(options, self._settings, one_pass=self._one_pass)
        task = Task(path, options, values=on_values is not None, divisible=divisible)
        return _Recording(request, task, on_values)

    def _send(self, group: list[_Recording]) -> None:
        tasks = []
        for one in group:
            if one.error is None:
                self._places[id(one.task)] = one, 0
                tasks.append(one.task)
        if tasks:
            self._put(Job(tasks))

    def _put(self, job: Job, *, first: bool = False) -> None:
        self._jobs += 1
        self._waiting.appendleft(job) if first else self._waiting.append(job)

    # --- from the nodes ---

    def _back(self, job: Job) -> None:
        """A job has come back, with answers, or because its worker was lost."""
        self._jobs -= 1
        if job.answers is None:
            self._lost(job)
            return
        blind = [task for task, answer in zip(job.tasks, job.answers, strict=True) if answer.missing and _is_file(task)]
        if blind:
            self._pool.refuse(job.node, f"does not see {shown(blind[0].path)}; expected the same folders on every node")
            self._put(Job(blind), first=True)
        for task, answer in zip(job.tasks, job.answers, strict=True):
            if task not in blind:
                self._answer(task, answer)

    def _lost(self, job: Job) -> None:
        """Do a job again whose worker was lost, or each of its tasks, if it ends workers."""
        if not self._pool.blame(job):
            self._put(Job(job.tasks, lost=job.lost), first=True)
        elif len(job.tasks) > 1:
            for task in job.tasks:
                self._put(Job([task]), first=True)
        else:
            name = shown(job.tasks[0].path)
            sentence = (
                f"{name}: {len(job.lost)} processes ended while they computed it, perhaps for lack of memory; compute it by "
                "itself, without --ray."
            )
            self._answer(job.tasks[0], Answer(error=sentence))

    def _answer(self, task: Task, answer: Answer) -> None:
        one, place = self._places.pop(id(task))
        if answer.missing:
            answer = Answer(error=f"{shown(task.path)} does not exist.")
        if answer.long and not one.whole:
            parts = pieces(task, answer.long)
            one.parts = [None] * len(parts)
            for number, part in enumerate(parts):
                self._places[id(part)] = one, number
            for part in reversed(parts):
                self._put(Job([part]), first=True)
        else:
            one.parts[place] = answer
        if len(one.parts) > 1 and one.answered and any(part and part.error for part in one.parts):
            # its header stated another length, or it is damaged: it is done in one piece
            one.parts, one.whole = [None], True
            again = replace(one.task, divisible=False)
            self._places[id(again)] = one, 0
            self._put(Job([again]), first=True)

    def _take(self, one: _Recording) -> list[Trajectory]:
        """The trajectories of a recording.

        Raises:
            Emow2vError, OSError: of this recording
        """
        if one.error is not None:
            raise one.error
        parts = [part for part in one.parts if part is not None]
        answer = parts[0] if len(parts) == 1 else join(parts, one.task.options)
        if isinstance(one.request.source, ContentPath):
            one.request.source.content.read_elsewhere(answer.content, answer.duration_s)
        if answer.error:
            raise AudioError(answer.error)
        return [_trajectory(found, one.on_values) for found in answer.found]


def _trajectory(found: Found, on_values: Callable[[Block], None] | None) -> Trajectory:
    def blocks() -> Iterator[Block]:
        for block in found.values if on_values else ():
            assert on_values is not None
            on_values(block)
        yield found.rows

    return Trajectory(found.info, blocks)


def _size(path: str) -> int:
    if is_address(path):
        from emow2v.stores.connection import known_facts

        known = known_facts(path)
        return known.size or 0 if known else 0
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


def _is_file(task: Task) -> bool:
    try:
        return exists(Path(task.path))
    except Emow2vError:
        return False


@contextlib.contextmanager
def on_cluster(
    address: str, model: Model, settings: Settings, *, threads: int = 0, gpus: float = 0,
    say: Callable[[str], object] = lambda sentence: None,
) -> Iterator[ClusterModel]:  # fmt: skip
    """A model whose recordings are computed on a cluster, within the block.

    Args:
        address: as for `connection.connected`
        model: as it was loaded here; the nodes load the same package with the same options
        threads: of each worker, and CPUs that it takes of its node; 0 for one
        gpus: that each worker takes
        say: gets sentences on nodes for the user

    Raises:
        ClusterError: as for `connection.connected`
    """
    with connected(address) as ray:
        pool = Pool(ray, model, settings, cpus=max(1, threads), gpus=gpus, say=say)
        try:
            yield ClusterModel(pool, settings, one_pass=model.card.one_pass)
        finally:
            pool.close()
