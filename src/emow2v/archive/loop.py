"""The loop over recordings: the command line and the library go through many recordings here, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from emow2v import storage
from emow2v.audio.recording import Source
from emow2v.errors import Emow2vError
from emow2v.trajectory import Trajectory

Item = TypeVar("Item")
Value = TypeVar("Value")


class Predictor(Protocol):
    """Anything that predicts one recording; a `Model` is one. Options are those of `Model.predict`."""

    def predict(self, source: Source, *arguments: Any, **options: Any) -> Trajectory: ...

    def predict_channels(self, source: Source, *arguments: Any, **options: Any) -> list[Trajectory]: ...


class Done(NamedTuple, Generic[Item, Value]):
    """What one item of a loop gave: a value, or the sentence that says why it has none."""

    item: Item
    value: Value | None
    error: str = ""


def each(
    items: Iterable[Item],
    work: Callable[[Item], Value],
    path_of: Callable[[Item], str | os.PathLike[str]],
    *,
    stop_at_errors: bool = False,
) -> Iterator[Done[Item, Value]]:
    """Work on one item after the other; the error of one does not stop the others.

    Args:
        path_of: the item's path, for the sentence of an operating system's error that names none
        stop_at_errors: raise the first error instead

    Raises:
        Emow2vError: the first error, with `stop_at_errors`
        BrokenPipeError: nobody reads the output any more
    """
    for item in items:
        try:
            yield Done(item, work(item))
        except BrokenPipeError:
            raise
        except Emow2vError as error:
            if stop_at_errors:
                raise
            yield Done(item, None, str(error))
        except OSError as error:
            failure = storage.unreadable(error.filename or path_of(item), error)
            if stop_at_errors:
                raise failure from None
            yield Done(item, None, str(failure))


def trajectories(model: Predictor, source: Source, channel: object, options: dict[str, Any]) -> list[Trajectory]:
    """The trajectories of one recording: one, or with the channel "each" one for every channel."""
    if channel == "each":
        return model.predict_channels(source, **options)
    return [model.predict(source, channel=channel, **options)]
