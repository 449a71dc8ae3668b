"""Trajectories of recordings. Sources are opened at once; rows are computed when they are needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.audio import recording as audio
from emow2v.audio.recording import Channel, Recording, Source
from emow2v.errors import AudioError, Emow2vError, PathError
from emow2v.framing import Context, Framing, Signal
from emow2v.prediction.blocks import expected_rows
from emow2v.prediction.computation import Computation, go_on
from emow2v.rows import Block, Floats, Info
from emow2v.trajectory import Trajectory

Progress = Callable[[int, int | None], None]


def can_be_read_once(source: Source) -> bool:
    """Whether a source cannot be opened again for another pass, such as a stream or a named pipe."""
    if hasattr(source, "read"):
        return True
    try:
        return isinstance(source, str | os.PathLike) and storage.kind_of(source) == "other"
    except PathError:  # raised again when the source is opened
        return False


class Opener:
    """A source that is opened at once, so that it can be refused, and again for each pass over its sound.

    Attributes:
        opened: the recording as it was opened first; its name and stated duration
        facts: its facts before its sound was read
        once: whether there can be only one pass

    Args:
        kept: keep a file open for the first pass; else it is closed, and opened again for each pass
    """

    def __init__(
        self, source: Source, sampling_rate: float | None, target_rate: int, *, track: int | None, channel: Channel,
        kept: bool = False,
    ) -> None:  # fmt: skip
        source = audio.stored(source)
        self._open = partial(audio.open_recording, source, sampling_rate, target_rate=target_rate, track=track)
        self.once = can_be_read_once(source)
        self.opened = self._open(channel=channel)
        self.facts = dict(self.opened.facts)
        self._waiting = [self.opened] if kept or self.once or not isinstance(source, str | os.PathLike) else []
        if not self._waiting:
            self.opened.close()

    def recording(self, max_duration_s: float, channel: Channel | None = None) -> Recording:
        """The recording for a pass.

        Args:
            channel: another one than the first; None for that

        Raises:
            AudioError: a stream that was read, or a file that is not there any more
        """
        recording = _take(self._waiting) if channel is None else None
        if self.once and recording is None:
            raise AudioError("A stream can be read only once; keep its rows or open it again.")
        if recording is None:
            recording = self.opened.again() if channel is None else self._open(channel=channel)
        recording.max_duration_s = max_duration_s
        return recording

    def close(self) -> None:
        """Close what was opened and not read."""
        while (recording := _take(self._waiting)) is not None:
            recording.close()


def predict(
    computation: Callable[[], Computation],
    opener: Opener,
    framing: Framing,
    *,
    context: Context,
    batch_size: int | None,
    check: Callable[[], None] = go_on,
    on_progress: Progress | None = None,
    max_duration_s: float = 0,
    name_channel: str = "",
    speech: bool = False,
    on_speech: Callable[[Signal], None] | None = None,
    computed: Block | None = None,
) -> Trajectory:
    """The trajectory of one recording; see `Model.predict`.

    Args:
        computation: returns the model's computation, once for each pass; raises `Closed` if the model was closed
        computed: all rows, if they are computed already; the opened recording was then read to its end
    """
    expected = opener.opened.expected_duration
    facts = computation().provenance(framing, context)
    if speech:
        from emow2v.prediction.speech import speech_facts  # loads the detector

        facts |= speech_facts(computation().card)
    facts |= opener.facts
    info = Info(
        source=opener.opened.name,
        framing=framing,
        provenance=facts,
        channel=name_channel,
        speech=speech,
        expected_rows=None if expected is None else expected_rows(expected, framing),
    )

    one_pass = computation().card.one_pass  # its rows always have their speech
    speech_of_rows: dict[int, Floats] = {}

    def shown(block: Block) -> Block:
        if not one_pass or block.speech is None:
            return block
        speech_of_rows[block.first] = block.speech
        return block if speech else replace(block, speech=None)

    def blocks() -> Iterator[Block]:
        if computed is not None:
            yield shown(computed)
            add_facts(info, facts, opener.opened)
            return
        run = computation()
        recording = opener.recording(max_duration_s)
        try:
            rows = run.blocks(recording, framing, context, batch_size, check, speech or one_pass, on_speech)
            yield from map(shown, with_progress(rows, info, on_progress) if on_progress else rows)
        finally:
            recording.close()
            if on_speech is not None:
                facts["duration_s"] = float(recording.duration)
            add_facts(info, facts, recording)

    def with_speech(rows: Block) -> Block:
        if one_pass:
            return replace(rows, speech=np.concatenate([speech_of_rows[first] for first in sorted(speech_of_rows)]))
        recording = opener.recording(max_duration_s)
        try:
            return _with_speech(rows, recording, framing)
        finally:
            recording.close()

    return Trajectory(info, blocks, opener.close, with_speech if one_pass or not opener.once else None)


def _with_speech(rows: Block, recording: Recording, framing: Framing) -> Block:
    """Rows of a recording with their probability of speech, which takes one more pass of the detector."""
    from emow2v.prediction.speech import Detector, RowSpeech  # loads the detector
    from emow2v.speech.activity import FRAME_MS

    speech = RowSpeech(framing, FRAME_MS)
    for _ in Detector(speech, recording.sampling_rate).pass_on(iter(recording)):
        pass
    return replace(rows, speech=speech.values.of(rows.first, len(rows)))


def add_facts(info: Info, facts: dict[str, str | float], *recordings: Recording, more: Iterable[str] = ()) -> None:
    """Add what only decoding shows to the facts of a prediction, and its notices, with more of them."""
    info.notices[:] = dict.fromkeys([*(notice for one in recordings for notice in one.notices), *more])
    for recording in reversed(recordings):
        facts.update(recording.facts)
    if info.notices:
        facts["notices"] = " ".join(info.notices)


def predict_batch(
    computation: Computation,
    signals: Iterable[npt.ArrayLike],
    sampling_rate: float,
    framing: Framing,
    batch_size: int | None,
    check: Callable[[], None],
) -> list[Trajectory]:
    """The trajectories of many short signals, which are computed when this returns; see `Model.predict_batch`."""
    recordings: list[Recording] = []
    for number, signal in enumerate(signals):
        name = f"signals[{number}]"
        try:
            recording = audio.open_array(signal, sampling_rate, computation.card.sampling_rate, "mix")
        except AudioError as error:
            raise AudioError(f"{name}: {error}") from None
        recording.name = name
        recordings.append(recording)
    facts = computation.provenance(framing)
    computed: list[Trajectory] = []
    for one, rows in zip(recordings, computation.batch(recordings, framing, batch_size, check), strict=True):
        if isinstance(rows, Emow2vError):
            raise rows
        computed.append(_trajectory_of_block(one, framing, facts, rows))
    return computed


def with_progress(blocks: Generator[Block], info: Info, on_progress: Progress) -> Iterator[Block]:
    """Blocks, with a call of `on_progress` for each."""
    rows = 0
    with contextlib.closing(blocks):
        for block in blocks:
            rows += len(block)
            on_progress(rows, info.expected_rows)
            yield block


def _trajectory_of_block(recording: Recording, framing: Framing, facts: dict[str, Any], block: Block) -> Trajectory:
    """The trajectory of a signal whose rows are computed already."""
    provenance = facts | recording.facts
    if recording.notices:
        provenance["notices"] = " ".join(recording.notices)
    info = Info(recording.name, framing, provenance, len(block), notices=recording.notices)
    if block.speech is not None:  # of a model of frames
        rows = replace(block, speech=None)
        return Trajectory(info, lambda: iter([rows]), with_speech=lambda _: block).load()
    with_speech = partial(_with_speech, recording=recording.again(), framing=framing)
    return Trajectory(info, lambda: iter([block]), with_speech=with_speech).load()


def _take(unread: list[Recording]) -> Recording | None:
    """The opened recording that is not read yet; only one thread gets it."""
    try:
        return unread.pop()
    except IndexError:
        return None
