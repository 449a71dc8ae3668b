"""What runs on a node: one engine, which computes recordings and gives their rows back. It writes no results."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emow2v import cards
from emow2v._version import __version__
from emow2v.archive.content import Content
from emow2v.archive.loop import each, predictions
from emow2v.cluster.jobs import Answer, Found, Settings, Task, is_long
from emow2v.cluster.temporary import temporary_folder
from emow2v.errors import Emow2vError, ModelError
from emow2v.prediction.processes import ModelReference
from emow2v.rows import Block, concatenate
from emow2v.storage import exists
from emow2v.stores import is_address
from emow2v.trajectory import Trajectory

if TYPE_CHECKING:
    import numpy.typing as npt

    from emow2v.model import Model

Files = Mapping[str, Any]  # uint8 [bytes] of each file of a package, by its name


def versions(model: Model) -> dict[str, str]:
    """The versions that decide on numbers, by the words of refusals; the same on all nodes of a run."""
    return {
        "emow2v": __version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "engine": " ".join(model.engine.name.split()[:2]),  # without the device of PyTorch
        "precision": model.engine.precision,
        "PyAV": metadata.version("av"),
        "soxr": metadata.version("soxr"),
    }


class Worker:
    """One engine on a node. The first call is `open`; afterwards several threads may call `compute`."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._folders = contextlib.ExitStack()
        self._settings = Settings("mix", False, False, "")

    def open(
        self, reference: ModelReference, name: str, settings: Settings, files: Files | None = None
    ) -> dict[str, str] | None:
        """Load the model.

        Args:
            reference: of the model, where the command runs
            name: of the model
            files: of its package, for a node that has none

        Returns:
            the versions here; None if no package here has the weights, and no files were given

        Raises:
            ModelError: the model cannot be loaded here
        """
        self._settings = settings
        with contextlib.suppress(OSError):  # names of recordings are then whole paths, or they are missing here
            os.chdir(settings.folder)
        card = _find(reference, name)
        if card is None and files is None:
            return None
        if card is not None:
            self._model = reference.options.open(card)
        elif files is not None:
            self._model = self._open_sent(reference, files)
        assert self._model is not None
        return versions(self._model)

    def _open_sent(self, reference: ModelReference, files: Files) -> Model:
        """The model of a package that was sent; its folder stays, since engines read it when they first need it."""
        try:
            folder = self._folders.enter_context(temporary_folder("emow2v-weights-"))
            for file, content in files.items():
                content.tofile(folder / file)
        except OSError as error:
            raise ModelError(f"its weights cannot be written there ({error.strerror})") from None
        card = cards.find(folder)
        if card.sha256 != reference.sha256:
            raise ModelError(f"the weights came with the SHA-256 {card.sha256}, expected {reference.sha256}")
        model: Model = reference.options.open(card)
        return model

    def close(self) -> None:
        """Remove the package that was sent."""
        self._folders.close()

    def compute(self, tasks: list[Task]) -> list[Answer]:
        """The rows or the error of each recording, in their order."""
        model, settings = self._model, self._settings
        assert model is not None
        there = [task for task in tasks if _is_here(task.path)]
        contents = {id(task): Content(task.path) for task in there}
        values: dict[int, list[Block]] = {id(task): [] for task in there}

        def options(task: Task) -> dict[str, Any]:
            return {**task.options, **({"on_values": values[id(task)].append} if task.values else {})}

        def found(task: Task, trajectory: Trajectory) -> Found:
            values[id(task)].clear()
            blocks = list(trajectory)
            rows = concatenate(blocks)
            if not settings.embeddings:
                rows = replace(rows, embeddings=_without_columns(rows.embeddings))
            return Found(trajectory.info, rows, tuple(_light(one) for one in values[id(task)]))

        source = lambda task: contents[id(task)].source  # noqa: E731
        with predictions(model, there, options, source, settings.channel, turns=settings.turns) as computed_of:

            def work(task: Task) -> Answer:
                trajectories = computed_of(task)
                rows = trajectories[0].info.expected_rows or 0
                if task.divisible and is_long(rows, task.options):
                    trajectories[0].close()
                    return Answer(long=rows)
                results = tuple(found(task, one) for one in trajectories)
                content = contents[id(task)]
                return Answer(results, "", content.text(), content.duration_s)

            done = {
                id(result.item): result.value or Answer(error=result.error)
                for result in each(there, work, lambda task: task.path)
            }
        return [done.get(id(task), Answer(missing=True)) for task in tasks]


def _find(reference: ModelReference, name: str) -> cards.Card | None:
    """The card of a package on this node with the weights of a model; None if there is none."""
    for place in (Path(reference.folder), name):
        try:
            card = cards.find(place)
            if card.sha256 == reference.sha256:
                return card
        except (Emow2vError, OSError):
            continue
    return None


def _is_here(path: str) -> bool:
    if is_address(path):
        return True  # reading it says whether it is
    try:
        return exists(Path(path))
    except Emow2vError:  # reading it meets that again, and says so
        return True


def _light(block: Block) -> Block:
    """Values over time as annotation files need them."""
    return replace(block, embeddings=_without_columns(block.embeddings))


def _without_columns(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[:, :0].copy()
