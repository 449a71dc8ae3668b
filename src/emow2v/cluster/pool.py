"""The workers of a run on the nodes of a cluster: they come with the nodes, are checked, get work, and may be lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emow2v.cluster.jobs import Answer, Settings, Task
from emow2v.cluster.worker import Worker, versions
from emow2v.errors import ClusterError, ModelError
from emow2v.model import Model

_WAITING = 2  # jobs that a worker has: one that it computes, and the next one
_LOOK_S = 2.0  # between two looks at the nodes
_FIRST_S = 30  # for the first node with room to come
_PATIENCE_S = 600  # for another one, after all are lost
_MOST_LOSSES = 3  # of workers on nodes that are there, until what they computed is taken for the reason


@dataclass(eq=False)
class Job:
    """Tasks that one worker does.

    Attributes:
        node: that has it, or had it last
        lost: nodes whose worker ended with it
        answers: of the tasks; None until they are done
    """

    tasks: list[Task]
    node: str = ""
    lost: list[str] = field(default_factory=list)
    answers: list[Answer] | None = None


@dataclass(eq=False)
class _Seat:
    """A worker on a node.

    Attributes:
        opening: the call that loads the model; None when it is done
    """

    node: str
    actor: Any
    opening: Any
    jobs: dict[Any, Job] = field(default_factory=dict)


class Pool:
    """Workers on all nodes that have room for one.

    Args:
        ray: the module, connected
        model: whose package the workers load, with the options that it was loaded with
        settings: of the run
        cpus, gpus: that a worker takes of its node
        say: gets sentences for the user
    """

    def __init__(
        self, ray: Any, model: Model, settings: Settings, *, cpus: int = 1, gpus: float = 0,
        say: Callable[[str], object] = lambda sentence: None,
    ) -> None:  # fmt: skip
        self._ray, self._settings, self._say = ray, settings, say
        self._model, self._versions = model, versions(model)
        reference: Any = model.__reduce__()[1][0]
        self._reference = replace(reference, options=replace(reference.options, threads=cpus))
        self._cpus, self._gpus = cpus, gpus
        self._files: Any = None  # in the object store
        self._seats: list[_Seat] = []
        self._nodes: dict[str, str] = {}  # that are there: their addresses
        self._refused: dict[str, str] = {}  # nodes that get no work, with a sentence
        self._looked = -_LOOK_S
        self._returned: list[Job] = []  # of workers that are no more
        self._had_workers = False
        self._ready = time.monotonic()  # when a worker was last there

    @property
    def workers(self) -> int:
        """Number of workers that have loaded the model."""
        return sum(seat.opening is None for seat in self._seats)

    @property
    def free(self) -> bool:
        """Whether a worker can take one more job."""
        return any(seat.opening is None and len(seat.jobs) < _WAITING for seat in self._seats)

    def submit(self, job: Job) -> None:
        """Give a job to the worker that has the least to do."""
        seat = min((one for one in self._seats if one.opening is None), key=lambda one: len(one.jobs))
        job.node = seat.node
        seat.jobs[seat.actor.compute.remote(job.tasks)] = job

    def wait(self, timeout_s: float = 1.0) -> list[Job]:
        """Wait until something happens; returns jobs that are done, and jobs without answers whose worker was lost.

        Raises:
            ClusterError: no node can work, or none has come for ten minutes
        """
        self._look()
        calls: dict[Any, _Seat] = {seat.opening: seat for seat in self._seats if seat.opening is not None}
        calls |= {call: seat for seat in self._seats for call in seat.jobs}
        if not calls:
            time.sleep(timeout_s)
        ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0) if calls else ([], [])
        if calls and not ready:
            ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout_s)
        finished: list[Job] = []
        for call in ready:
            seat = calls[call]
            if call is seat.opening:
                self._opened(seat)
            elif call in seat.jobs:  # else its worker was lost with another call
                finished += self._done(seat, call)
        finished, self._returned = finished + self._returned, []
        return finished

    def close(self) -> None:
        """End all workers; those that were sent the weights remove them."""
        if self._files is not None:
            calls = [seat.actor.close.remote() for seat in self._seats if seat.opening is None]
            self._ray.wait(calls, num_returns=len(calls), timeout=_LOOK_S) if calls else None
        while self._seats:
            self._drop(self._seats[-1])

    def refuse(self, node: str, why: str) -> None:
        """Give a node no work any more, and say so; its jobs come back from `wait`."""
        if node not in self._refused:
            self._refused[node] = f"Node {self._nodes.get(node, node)} {why}."
            self._say(f"{self._refused[node]} It gets no recordings.")
        for seat in [seat for seat in self._seats if seat.node == node]:
            self._drop(seat)

    def blame(self, job: Job) -> bool:
        """Whether a job has ended several workers on nodes that are there still: then it is the reason, not the nodes."""
        counts = Counter(job.lost)
        return sum(number for node, number in counts.items() if node in self._nodes) >= _MOST_LOSSES

    # --- nodes ---

    def _look(self) -> None:
        """Give workers to nodes that have come, and forget those that have gone."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        there = [node for node in self._ray.nodes() if node["Alive"]]
        gone, self._nodes = self._nodes, {node["NodeID"]: node["NodeManagerAddress"] for node in there}
        for name, address in gone.items():
            if name not in self._nodes and name not in self._refused:
                self._say(f"Node {address} is gone; what it had is done elsewhere.")
        for node in there:
            name = node["NodeID"]
            while name not in self._refused and self._seats_on(name) < self._room(node["Resources"]):
                self._seats.append(self._seat(name))
        if self.workers:
            self._ready = now
        elif not self._seats:
            if self._refused:
                raise ClusterError(next(iter(self._refused.values())))
            if now - self._ready > (_PATIENCE_S if self._had_workers else _FIRST_S):
                raise ClusterError(self._no_room())

    def _no_room(self) -> str:
        needs = f"{self._cpus} CPU" + (f" and {self._gpus:g} GPU" if self._gpus else "")
        return (
            f"No node of the cluster has {needs} for a worker; start nodes that have, or choose --threads and --device so "
            "that one fits; what was done stays, and the same command continues."
        )

    def _seats_on(self, node: str) -> int:
        return sum(seat.node == node for seat in self._seats)

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 0) // self._cpus
        return int(min(room, resources.get("GPU", 0) // self._gpus) if self._gpus else room)

    def _seat(self, node: str) -> _Seat:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._ray.remote(Worker).options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_concurrency=_WAITING,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote()  # fmt: skip
        return _Seat(node, actor, actor.open.remote(self._reference, self._model.name, self._settings))

    def _drop(self, seat: _Seat) -> None:
        """End a worker; what it had comes back from `wait`."""
        if seat in self._seats:
            self._seats.remove(seat)
            self._returned += seat.jobs.values()
            self._ray.kill(seat.actor)

    # --- what happens ---

    def _opened(self, seat: _Seat) -> None:
        """A worker has loaded the model, or needs its files, or cannot work."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(seat.opening)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ModelError):
                why = f"cannot load the model: {str(cause).rstrip('.')}"
            else:
                why = f"cannot run emow2v ({' '.join(str(cause).split())[-200:]}); install emow2v there"
            self.refuse(seat.node, why)
            return
        except errors.RayError as error:
            self._drop(seat)
            if seat.node in self._nodes and "ModuleNotFoundError" in str(error):
                version = self._versions["emow2v"]
                self.refuse(seat.node, f"has no emow2v {version}; run there: pip install 'emow2v[ray]=={version}'")
            return
        if found is None:
            self._say(
                f"Node {self._nodes.get(seat.node)} has no weights of {self._model.name}; it gets them from here."
            )
            call = seat.actor.open.remote(self._reference, self._model.name, self._settings, self._package())
            seat.opening = call
        elif others := [name for name, version in self._versions.items() if found[name] != version]:
            there = ", ".join(f"{name} {found[name]}" for name in others)
            here = ", ".join(f"{name} {self._versions[name]}" for name in others)
            self.refuse(seat.node, f"has {there}; expected {here}, as here")
        else:
            seat.opening = None
            self._had_workers = True

    def _package(self) -> Any:
        """The files of the model's package, in the object store."""
        if self._files is None:
            folder = self._model.card.folder
            files = {path.name: np.fromfile(path, np.uint8) for path in sorted(folder.iterdir()) if path.is_file()}
            self._files = self._ray.put(files)
        return self._files

    def _done(self, seat: _Seat, call: Any) -> list[Job]:
        """A job is done, or its worker was lost with all that it had."""
        errors = self._ray.exceptions
        job = seat.jobs[call]
        try:
            job.answers = self._ray.get(call)
        except errors.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except errors.RayError:
            for one in seat.jobs.values():
                one.lost.append(seat.node)
            self._drop(seat)
            return []
        del seat.jobs[call]
        return [job]
