"""The loop over many recordings, for the command line and the library."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from emow2v import storage
from emow2v.archive.fetching import fetched_ahead
from emow2v.audio.recording import Source
from emow2v.errors import Emow2vError
from emow2v.trajectory import Trajectory

Item = TypeVar("Item")
Value = TypeVar("Value")


class Request(NamedTuple):
    """A recording that will be predicted.

    Attributes:
        source: the recording
        prepare: called once before the recording is opened, in another thread; returns the options of `Model.predict`. An
            `Emow2vError` or `OSError` that it raises is the recording's error
    """

    source: Source
    prepare: Callable[[], dict[str, Any]]


class Predictor(Protocol):
    """An object that predicts one recording, such as a `Model`. Options are those of `Model.predict`."""

    def predict(self, source: Source, *arguments: Any, **options: Any) -> Trajectory: ...

    def predict_turns(self, source: Source, *arguments: Any, **options: Any) -> Trajectory: ...

    def predict_channels(self, source: Source, *arguments: Any, **options: Any) -> list[Trajectory]: ...

    def predict_ahead(self, requests: Iterable[Request]) -> Generator[Callable[[], Trajectory]]: ...


@runtime_checkable
class Elsewhere(Protocol):
    """An object that has recordings predicted by other processes, all at once and in any order, and returns their results in
    the order of the requests.
    """

    def predict_elsewhere(
        self, requests: Iterable[Request], channel: object, *, turns: bool
    ) -> Generator[Callable[[], list[Trajectory]]]: ...


class Result(NamedTuple, Generic[Item, Value]):
    """The result of one item: a value, or the sentence of an error.

    Attributes:
        item: the item
        value: None if the work failed
        error: one sentence; "" if the work succeeded
    """

    item: Item
    value: Value | None
    error: str = ""


def each(
    items: Iterable[Item],
    work: Callable[[Item], Value],
    path_of: Callable[[Item], str | os.PathLike[str]],
    *,
    stop_at_errors: bool = False,
    fatal: tuple[type[Emow2vError], ...] = (),
) -> Iterator[Result[Item, Value]]:
    """Work on items one after the other. An error of one item does not stop the others.

    Args:
        work: returns the value of an item
        path_of: returns the path of an item, for errors of the operating system that name no file
        stop_at_errors: raise the first error instead
        fatal: errors that stop the loop, whatever their item

    Raises:
        Emow2vError: the first error, with `stop_at_errors`
        BrokenPipeError: the reader of the output has closed it
    """
    for item in items:
        try:
            yield Result(item, work(item))
        except BrokenPipeError:
            raise
        except Emow2vError as error:
            if stop_at_errors or isinstance(error, fatal):
                raise
            yield Result(item, None, str(error))
        except OSError as error:
            failure = storage.unreadable(error.filename or path_of(item), error)
            if stop_at_errors:
                raise failure from None
            yield Result(item, None, str(failure))


def trajectories(
    model: Predictor, source: Source, channel: object, options: dict[str, Any], *, turns: bool = False
) -> list[Trajectory]:
    """The trajectory of one recording, or with the channel "each" one trajectory for each channel.

    Args:
        turns: rows are turns, and the options are those of `predict_turns`
    """
    if channel == "each":
        return model.predict_channels(source, turns=turns, **options)
    predict = model.predict_turns if turns else model.predict
    return [predict(source, channel=channel, **options)]


class _Stopped(Exception):
    """The caller needs no more results."""


def _turns_ahead(model: Predictor, requests: Iterable[Request]) -> Generator[Callable[[], Trajectory]]:
    """The turns of recordings in their order. Those of the next recording are found while one is computed."""
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _Stopped

    def begin(request: Request) -> Trajectory:
        trajectory = model.predict_turns(request.source, **request.prepare(), check=check)
        try:
            trajectory.prepare()
        except BaseException:
            trajectory.close()
            raise
        return trajectory

    waiting: deque[Future[Trajectory]] = deque()
    finding = ThreadPoolExecutor(1, thread_name_prefix="emow2v-turns")
    try:
        for request in requests:
            waiting.append(finding.submit(begin, request))
            if len(waiting) > 1:
                yield waiting.popleft().result
        while waiting:
            yield waiting.popleft().result
    finally:
        stopped.set()
        finding.shutdown(cancel_futures=True)
        for future in waiting:
            if not future.cancelled() and future.exception() is None:
                future.result().close()


@contextlib.contextmanager
def predictions(
    model: Predictor | Elsewhere,
    items: Sequence[Item],
    prepare: Callable[[Item], dict[str, Any]],
    source: Callable[[Item], Source],
    channel: object,
    *,
    turns: bool = False,
    rest: bool = False,
) -> Iterator[Callable[[Item], list[Trajectory]]]:
    """A function that returns the trajectories of an item, for `each`: it is called for every item once, in their order.

    Recordings are read and computed ahead (`Model.predict_ahead`). Of turns, those of the next recording are found ahead.
    Single channels are predicted one recording after the other, and so is a recording that is the only one.

    Args:
        prepare: returns the options of an item without its channel; may raise the item's error
        channel, turns: as for `trajectories`
        rest: the items may be what a stopped run left; the last one is then computed as it would have been among others,
            since the last bit of its numbers depends on that
    """
    if isinstance(model, Elsewhere):
        elsewhere = (Request(source(item), partial(prepare, item)) for item in items)
        with contextlib.closing(model.predict_elsewhere(elsewhere, channel, turns=turns)) as results:
            yield lambda item: next(results)()
        return
    if channel == "each" or (len(items) < 2 and not rest):
        with contextlib.closing(fetched_ahead(map(source, items))) as sources:
            yield lambda item: trajectories(model, next(sources), channel, prepare(item), turns=turns)
        return

    def options(item: Item) -> dict[str, Any]:
        return {**prepare(item), "channel": channel}

    with contextlib.closing(fetched_ahead(map(source, items))) as sources:
        requests = (Request(fetched, partial(options, item)) for item, fetched in zip(items, sources, strict=True))
        found = _turns_ahead(model, requests) if turns else model.predict_ahead(requests)
        with contextlib.closing(found) as ready:
            yield lambda item: [next(ready)()]
