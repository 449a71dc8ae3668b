"""Many recordings in their order: read ahead in one thread, and short ones computed together in others."""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from emow2v.archive.loop import Request
from emow2v.audio.recording import Source
from emow2v.errors import Emow2vError
from emow2v.framing import Context, Framing, Unit
from emow2v.prediction import trajectories
from emow2v.prediction.blocks import expected_rows
from emow2v.prediction.computation import Computation
from emow2v.prediction.trajectories import Opener, can_be_read_once
from emow2v.rows import Block
from emow2v.trajectory import Trajectory

SHORT_S = 30  # a longer recording is computed by itself
MOST_RECORDINGS = 64  # in a group
MOST_S = 480  # of sound that the network gets for a group
_GROUPS = 3  # of which one is read by the caller, and the next ones are computed and read
_COMPUTED = 2  # groups at a time: where one has no batch left for every core, the next one has
# Options that need no other way
_OPTIONS = {"unit", "framing", "context", "batch_size", "track", "channel", "speech", "max_duration_s"}


class _Model(Protocol):
    @property
    def _computation(self) -> Computation: ...
    def predict(self, source: Source, *arguments: Any, **options: Any) -> Trajectory: ...
    def _framing(self, unit: Unit, framing: Framing | None, context: Context, batch_size: int | None) -> Framing: ...


_Group = Future[list["_Recording"]]


class _Stopped(Exception):
    """The caller needs no more results."""


@dataclass
class _Recording:
    """One recording on its way: with its error, or open and read as far as it is short, or to be opened later.

    Attributes:
        shared: whether it is computed together with others
        rows: its rows, once they are computed
        network_s: seconds of sound that the network gets for it, windows counted one by one
        taken: whether the caller has its trajectory or its error
    """

    model: _Model
    request: Request
    options: dict[str, Any] = field(default_factory=dict)
    framing: Framing = field(default_factory=Framing)
    error: Exception | None = None
    opener: Opener | None = None
    shared: bool = False
    rows: Block | None = None
    network_s: float = 0.0
    taken: bool = False

    def take(self) -> Trajectory:
        """The trajectory.

        Raises:
            Emow2vError, OSError: of this recording
        """
        self.taken = True
        if self.error is not None:
            raise self.error
        if self.opener is None:
            return self.model.predict(self.request.source, **self.options)
        return trajectories.predict(
            lambda: self.model._computation,
            self.opener,
            self.framing,
            context=self.options.get("context", "window"),
            batch_size=self.options.get("batch_size"),
            speech=self.options.get("speech", False),
            max_duration_s=self.options.get("max_duration_s", 0),
            computed=self.rows,
        )

    def close(self) -> None:
        """Close what was opened, unless a trajectory has it."""
        if self.opener is not None and not self.taken:
            self.opener.close()


def ahead(model: _Model, requests: Iterable[Request]) -> Generator[Callable[[], Trajectory]]:
    """The trajectories of recordings in their order; see `Model.predict_ahead`.

    Memory: the sound and the rows of some groups of short recordings, and the first 30 s of some long ones.
    """
    waiting = iter(requests)
    stopped = threading.Event()
    groups: deque[tuple[_Group, _Group]] = deque()  # read, and computed

    def check() -> None:
        if stopped.is_set():
            raise _Stopped

    def compute(group: _Group) -> list[_Recording]:
        return _compute(group.result(), check)

    reading = ThreadPoolExecutor(1, thread_name_prefix="emow2v-reading")
    computing = ThreadPoolExecutor(_COMPUTED, thread_name_prefix="emow2v-computing")
    try:
        while True:
            while len(groups) < _GROUPS:
                read = reading.submit(_read_group, model, waiting, check)
                groups.append((read, computing.submit(compute, read)))
            recordings = groups[0][1].result()
            if not recordings:
                return
            while recordings:
                yield recordings[0].take
                recordings.pop(0).close()
            groups.popleft()
    finally:
        stopped.set()
        reading.shutdown(cancel_futures=True)
        computing.shutdown(cancel_futures=True)
        for read, _ in groups:
            if not read.cancelled() and read.exception() is None:
                for recording in read.result():
                    recording.close()


def _read_group(model: _Model, requests: Iterator[Request], check: Callable[[], None]) -> list[_Recording]:
    """The next recordings: short ones up to the limits of a group, the last one perhaps a long one; none at the end."""
    group: list[_Recording] = []
    network_s = 0.0
    for request in requests:
        recording = _read(model, request, check)
        group.append(recording)
        network_s += recording.network_s
        if len(group) >= MOST_RECORDINGS or network_s >= MOST_S or (recording.opener and not recording.shared):
            break
    return group


def _read(model: _Model, request: Request, check: Callable[[], None]) -> _Recording:
    """Open a recording, and read it as far as a short one reaches."""
    recording = _Recording(model, request)
    try:
        recording.options = options = request.prepare()
        source = request.source
        context, size = options.get("context", "window"), options.get("batch_size")
        framing = model._framing(options.get("unit", "windows"), options.get("framing"), context, size)
        if not isinstance(source, str | os.PathLike) or can_be_read_once(source) or set(options) - _OPTIONS:
            return recording
        if framing.start_ms or framing.end_ms:  # which decide how far it is read
            return recording
        card = model._computation.card
        track, channel = options.get("track"), options.get("channel", "mix")
        opener = Opener(source, None, card.sampling_rate, track=track, channel=channel, kept=True)
        recording.framing, recording.opener = framing, opener
        opener.opened.max_duration_s = options.get("max_duration_s", 0)
        samples, complete = _read_ahead(opener, round(SHORT_S * card.sampling_rate), check)
        shareable = context == "window" and (card.one_pass or not options.get("speech"))
        recording.shared = complete and shareable
        if recording.shared:
            seconds = samples / card.sampling_rate
            windows = 1 if framing.whole else expected_rows(seconds, framing)
            once = framing.whole or card.one_pass
            recording.network_s = seconds if once else windows * float(framing.window_ms) / 1000
    except (Emow2vError, OSError) as error:
        recording.close()
        recording.error = error
    except BaseException:
        recording.close()
        raise
    return recording


def _read_ahead(opener: Opener, most: int, check: Callable[[], None]) -> tuple[int, bool]:
    """Read a recording up to `most` samples, which its first pass gets again; how many there are, and whether it has ended."""
    recording = opener.opened
    blocks = []
    samples = 0
    complete = True
    for block in recording:
        check()
        blocks.append(block)
        samples += block.size
        if samples > most:
            complete = False
            break
    recording.tee(lambda rest: chain(blocks, rest))
    return samples, complete


def _compute(group: list[_Recording], check: Callable[[], None]) -> list[_Recording]:
    """Compute the short recordings of a group, those with equal options together."""
    alike: dict[tuple[Framing, int | None], list[_Recording]] = defaultdict(list)
    for one in group:
        if one.shared:
            alike[one.framing, one.options.get("batch_size")].append(one)
    for (framing, size), members in alike.items():
        recordings = [one.opener.recording(0) for one in members if one.opener]
        computed = members[0].model._computation.batch(recordings, framing, size, check)
        for one, rows in zip(members, computed, strict=True):
            if isinstance(rows, Emow2vError):
                one.error = rows
            else:
                one.rows = rows
    return group
