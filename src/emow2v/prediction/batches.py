"""Many short recordings in shared batches: one value for each, or windows over time. Each has its rows or its own error."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np

from emow2v.audio.recording import Recording
from emow2v.engines import overlapped
from emow2v.engines.frames import FramesEngine
from emow2v.engines.outputs import WeightedMean
from emow2v.errors import AudioError, Emow2vError, ModelError
from emow2v.framing import Framing, Signal
from emow2v.framing.windows import Pieces, Windower
from emow2v.prediction.blocks import block_of, no_values, samples_between, whole_block, with_checks
from emow2v.prediction.one_pass import clip_values, part_of
from emow2v.rows import Block, concatenate

if TYPE_CHECKING:
    from emow2v.prediction.computation import Computation

Rows = Block | Emow2vError


@dataclass(frozen=True)
class _Clip:
    """A recording that was read."""

    name: str
    signal: Signal
    duration: Fraction


def rows_of_each(
    computation: Computation,
    recordings: Sequence[Recording],
    framing: Framing,
    batch_size: int | None,
    check: Callable[[], None],
) -> list[Rows]:
    """The rows of each recording, or its error; another recording's error changes nothing.

    Pieces of equal length share batches if each recording has one value, and all windows share batches otherwise. If the
    engine refuses a batch, its recordings are computed one by one.
    """
    rows: list[Rows | None] = [None] * len(recordings)
    clips: dict[int, _Clip] = {}
    for number, recording in enumerate(recordings):
        try:
            clips[number] = _read(recording, framing, check, computation.card.one_pass)
        except AudioError as error:
            rows[number] = error
    compute = _frames if computation.card.one_pass else _values if framing.whole else _windows
    computed = _computed(lambda some: compute(computation, some, framing, batch_size, check), list(clips.values()))
    for number, one in zip(clips, computed, strict=True):
        rows[number] = one
    return [one for one in rows if one is not None]


def _read(recording: Recording, framing: Framing, check: Callable[[], None], one_pass: bool) -> _Clip:
    cut = framing.whole and not one_pass
    samples = samples_between(recording, framing, check) if cut else with_checks(recording, check)
    signal = np.concatenate([np.zeros(0, np.float32), *samples])
    return _Clip(recording.name, signal, recording.duration)


def _computed(compute: Callable[[list[_Clip]], list[Rows]], clips: list[_Clip]) -> list[Rows]:
    try:
        return compute(clips)
    except ModelError as error:
        if len(clips) == 1:
            return [error]
        return [_computed(compute, [clip])[0] for clip in clips]


def _frames(
    computation: Computation, clips: list[_Clip], framing: Framing, batch_size: int | None, check: Callable[[], None]
) -> list[Rows]:
    """The rows of each clip, with their probability of speech, by a model of frames."""
    from emow2v.prediction.speech import RowSpeech, speech_frame_ms

    card, engine = computation.card, cast(FramesEngine, computation.engine)
    results = clip_values(card, engine, framing, [(clip.signal, clip.duration) for clip in clips], check)
    rate = card.sampling_rate
    begin, end = framing.span(rate)
    rows: list[Rows] = []
    for clip, (outputs, probabilities) in zip(clips, results, strict=True):
        if outputs is None:
            rows.append(no_values(clip.name, clip.duration, framing, card.min_samples / rate if framing.whole else 0))
            continue
        first = framing.first_frame
        block = (
            whole_block(framing, (min(end, clip.signal.size) - begin) / rate, outputs)
            if framing.whole
            else block_of(first, framing.times(first, len(outputs[1])), outputs)
        )
        speech = RowSpeech(framing, speech_frame_ms(card))
        speech.add(probabilities)
        rows.append(replace(block, speech=speech.values.of(block.first, len(block))))
    return rows


def _values(
    computation: Computation, clips: list[_Clip], framing: Framing, batch_size: int | None, check: Callable[[], None]
) -> list[Rows]:
    """One value for each clip. Neighbouring lengths follow each other, for which engines have less to prepare."""
    card = computation.card
    means = [WeightedMean() for _ in clips]
    members: dict[int, list[tuple[int, Signal, int]]] = defaultdict(list)  # by length: clip, piece and its weight
    for number, clip in enumerate(clips):
        if clip.signal.size >= card.min_samples:
            pieces = Pieces(card.max_samples)
            for piece, weight in [*pieces.add(clip.signal), *pieces.finish()]:
                members[piece.size].append((number, piece, weight))
    batches: list[list[tuple[int, Signal, int]]] = []
    for length in sorted(members):
        size, same = computation.suitable(length), members[length]
        batches += [same[begin : begin + size] for begin in range(0, len(same), size)]
    numbered = ((index, np.stack([piece for _, piece, _ in batch])) for index, batch in enumerate(batches))
    with contextlib.closing(
        overlapped(computation.engine, with_checks(numbered, check), computation.engine.run_parallel)
    ) as computed:
        for index, outputs in computed:
            for row, (number, _, weight) in enumerate(batches[index]):
                means[number].add(part_of(outputs, row, row + 1), weight)
    rate = card.sampling_rate
    return [
        no_values(clip.name, clip.duration, framing, card.min_samples / rate)
        if clip.signal.size < card.min_samples
        else whole_block(framing, clip.signal.size / rate, mean.result())
        for clip, mean in zip(clips, means, strict=True)
    ]


def _windows(
    computation: Computation, clips: list[_Clip], framing: Framing, batch_size: int | None, check: Callable[[], None]
) -> list[Rows]:
    """The windows of each clip. A batch has windows of several clips, so that all but the last one are full."""
    size = computation.batch_size(framing, batch_size)
    members: list[list[tuple[int, int, int]]] = []  # of each batch: clip, its first row, its rows

    def windows() -> Iterator[tuple[int, int, Signal]]:
        for number, clip in enumerate(clips):
            windower = Windower(framing, computation.card.sampling_rate, size)
            for first, batch in chain(windower.add(clip.signal), windower.finish(clip.duration)):
                yield number, first, batch

    def batches() -> Iterator[tuple[int, Signal]]:
        for group in _groups(windows(), size):
            members.append([(number, first, len(part)) for number, first, part in group])
            parts = [part for _, _, part in group]
            yield len(members) - 1, parts[0] if len(parts) == 1 else np.concatenate(parts)

    blocks: list[list[Block]] = [[] for _ in clips]
    with contextlib.closing(computation.outputs(batches(), framing, check)) as computed:
        for index, outputs in computed:
            check()
            begin = 0
            for number, first, rows in members[index]:
                part = part_of(outputs, begin, begin := begin + rows)
                blocks[number].append(block_of(first, framing.times(first, rows), part))
    return [
        concatenate(one) if one else no_values(clip.name, clip.duration, framing)
        for clip, one in zip(clips, blocks, strict=True)
    ]


def _groups(parts: Iterator[tuple[int, int, Signal]], size: int) -> Iterator[list[tuple[int, int, Signal]]]:
    """Groups of consecutive parts with `size` windows each; the last group may have fewer."""
    group: list[tuple[int, int, Signal]] = []
    windows = 0
    for number, first, part in parts:
        while len(part):
            taken, part = part[: size - windows], part[size - windows :]
            group.append((number, first, taken))
            first, windows = first + len(taken), windows + len(taken)
            if windows == size:
                yield group
                group, windows = [], 0
    if group:
        yield group
