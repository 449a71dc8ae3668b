"""Trajectories whose rows are the turns of a recording."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emow2v.audio.channels import Channel
from emow2v.audio.recording import Recording
from emow2v.engines.frames import FramesEngine
from emow2v.errors import AudioError, FramingError
from emow2v.framing import Context, Framing
from emow2v.prediction.blocks import with_checks
from emow2v.prediction.computation import Computation
from emow2v.prediction.one_pass import speech_of
from emow2v.prediction.speech import Detector, RowSpeech, speech_facts, speech_frame_ms
from emow2v.prediction.trajectories import Opener, Progress, add_facts, with_progress
from emow2v.prediction.turn_values import FrameTurns, PooledTurns, Value, WholeTurns
from emow2v.rows import DIMENSIONS, EMBEDDING_SIZE, Block, Info, TurnRows, concatenate
from emow2v.speech.activity import probabilities
from emow2v.speech.segments import Segment, Segmentation, fit_to_recording
from emow2v.speech.turns import turns as turns_of
from emow2v.storage import counted, one_line
from emow2v.trajectory import Trajectory

_WHOLE = "one value for the sound of each turn"
_FRAMES = "all frames of a turn, each computed with the sound about it, pooled to one value"
_POOLED = (
    "mean of the values whose window lies inside the turn, of those with speech where there are any; of a turn that is "
    "shorter than a window, its last value"
)


@dataclass(frozen=True)
class TurnRequest:
    """Options of `Model.predict_turns`.

    Attributes:
        segmentation: the turns; None for those of the detector
        detection: options of `speech.turns.turns`
        framing: of the values whose mean is taken; None for one value for each turn
        name_channel: "" unless each channel has its own result
        on_values: called with each block of the values whose mean is taken
    """

    segmentation: Segmentation | None
    detection: Mapping[str, float]
    framing: Framing | None
    context: Context
    batch_size: int | None
    check: Callable[[], None]
    max_duration_s: float
    channel: Channel
    name_channel: str
    on_values: Callable[[Block], None] | None = None


@dataclass
class _Rows:
    """Turns sorted by time, the channel of each, the recordings that were read, and turns that are too short."""

    segmentation: Segmentation
    channels: list[Channel | None]  # None for the request's
    recordings: list[Recording] = field(default_factory=list)
    short: list[Segment] = field(default_factory=list)


def predict(
    computation: Callable[[], Computation], opener: Opener, request: TurnRequest, on_progress: Progress | None
) -> Trajectory:
    """The turns of one recording as a trajectory; see `Model.predict_turns`."""
    opened, segmentation = opener.opened, request.segmentation
    if request.framing is not None and (request.framing.start_ms or request.framing.end_ms):
        raise FramingError("Turns have times of their own; expected a framing without start and end.")
    if request.framing is not None and request.framing.align != "step":
        raise FramingError("Values of turns are those whose window lies inside; expected a framing with align step.")
    if segmentation is None and opener.once:
        raise AudioError("Turns of the detector need two passes; a stream can be read once; save it as a file.")
    if segmentation is not None and segmentation.channels and int(opened.facts["channels"] or 1) == 1:
        segmentation = _without_channels(segmentation, one_line(Path(opened.name).name))
        request = replace(request, segmentation=segmentation)
    framing = request.framing or Framing.files()
    facts = (
        computation().provenance(framing, request.context) | speech_facts(computation().card, turns=True) | opened.facts
    )
    whole = _FRAMES if computation().card.one_pass else _WHOLE
    covers = "the sound of a turn" if request.framing is None else f"values inside a turn, each of {framing.covers}"
    facts |= {"covers": covers, "turns": whole if request.framing is None else _POOLED} | _source_facts(request)
    rows = None if segmentation is None else _file_rows(segmentation, request)
    info = Info(
        opened.name,
        framing,
        facts,
        channel=request.name_channel,
        speech=True,
        turns=True,
        expected_rows=None if rows is None else len(rows.segmentation.segments),
    )

    found_ahead: list[_Rows] = []  # for the next pass

    def prepare() -> None:
        if segmentation is None and not found_ahead:
            found_ahead.append(_detector_rows(computation(), opener, request))

    def blocks() -> Iterator[Block]:
        run = computation()
        if segmentation is not None:
            found = _file_rows(segmentation, request)
        else:
            found = found_ahead.pop() if found_ahead else _detector_rows(run, opener, request)
        notices: Iterable[str] = ()
        try:
            computed = _blocks(run, opener, found, request)
            yield from with_progress(computed, info, on_progress) if on_progress else computed
            facts["duration_s"] = max((float(one.duration) for one in found.recordings), default=0.0)
            notices = _notices(
                found, request, one_line(Path(opened.name).name), run.card.min_samples / run.card.sampling_rate
            )
        finally:
            for recording in found.recordings:
                recording.close()
            add_facts(info, facts, *found.recordings, more=notices)

    return Trajectory(info, blocks, opener.close, prepare=prepare)


def _without_channels(segmentation: Segmentation, name: str) -> Segmentation:
    """The turns of a recording that has one channel only, whatever their tiers are tied to."""
    ties = ", ".join(f"{tier}={channel}" for tier, channel in segmentation.channels.items())
    notice = f"{name} has one channel; all turns are valued in it ({one_line(ties)} does not apply)."
    return replace(segmentation, channels={}).with_notices(notice)


def _source_facts(request: TurnRequest) -> dict[str, str | float]:
    segmentation = request.segmentation
    if segmentation is None:
        return {"turns_from": "the detector", **request.detection}
    facts: dict[str, str | float] = {"turns_from": f"{segmentation.name} ({segmentation.format})"}
    if segmentation.channels:
        facts["turns_channels"] = ", ".join(f"{name}={channel}" for name, channel in segmentation.channels.items())
    return facts


def _file_rows(segmentation: Segmentation, request: TurnRequest) -> _Rows:
    """The turns of a file, without those that are tied to channels with another result."""
    fitted = fit_to_recording(segmentation, None)
    if not request.name_channel:
        return _Rows(fitted, [fitted.channel_of(one) for one in fitted.segments])
    same = {request.channel, request.name_channel, {"left": 1, "right": 2}.get(request.name_channel, request.channel)}
    kept = tuple(one for one in fitted.segments if fitted.channel_of(one) in (None, *same))
    return _Rows(replace(fitted, segments=kept), [None] * len(kept))


def _detector_rows(run: Computation, opener: Opener, request: TurnRequest) -> _Rows:
    """The turns of the detector, or of a model of frames itself, which take one more pass."""
    recording = opener.recording(request.max_duration_s)
    try:
        if isinstance(run.engine, FramesEngine):
            frames = speech_of(run.card, run.engine, recording, request.check)
        else:
            frames = probabilities(with_checks(recording, request.check), recording.sampling_rate)
        found = turns_of(
            frames, **request.detection, duration_s=float(recording.duration), frame_ms=speech_frame_ms(run.card)
        )
    finally:
        recording.close()
    if not found and not request.name_channel:
        raise AudioError(f"{opener.opened.name} has no turn: nobody speaks in it, says the detector; expected speech.")
    segments = tuple(Segment(start, end) for start, end in found)
    return _Rows(Segmentation(segments, "the detector"), [None] * len(segments))


def _blocks(run: Computation, opener: Opener, rows: _Rows, request: TurnRequest) -> Generator[Block]:
    """The rows in order, each as soon as all rows before it are computed."""
    waiting: dict[int, Block] = {}
    first = 0
    for channel in dict.fromkeys(rows.channels) or [None]:
        places = [place for place, one in enumerate(rows.channels) if one == channel]
        for place, block in _pass(run, opener, rows, places, channel, request):
            waiting[place] = block
            if place == first:
                ready = []
                while (block_ := waiting.pop(first, None)) is not None:
                    ready.append(replace(block_, first=first))
                    first += 1
                yield replace(concatenate(ready), first=ready[0].first)
    if waiting:  # a turn before them lies after the end of its channel's sound
        left = [block for _, block in sorted(waiting.items())]
        yield replace(concatenate(left), first=first)


def _pass(
    run: Computation, opener: Opener, rows: _Rows, places: Sequence[int], channel: Channel | None, request: TurnRequest
) -> Iterator[tuple[int, Block]]:
    """The rows of the turns of one channel, as they are computed."""
    recording = opener.recording(request.max_duration_s, channel)
    rows.recordings.append(recording)
    segments = [rows.segmentation.segments[place] for place in places]
    spans = [(one.start, one.end) for one in segments]
    speech = RowSpeech(request.framing or Framing.files(), speech_frame_ms(run.card))
    one_pass = isinstance(run.engine, FramesEngine)
    if not one_pass:
        recording.tee(Detector(speech, run.card.sampling_rate).pass_on)
    cutter: WholeTurns | PooledTurns | FrameTurns
    if request.framing is None:
        cutter = FrameTurns(run, spans, request.check, speech) if one_pass else WholeTurns(run, spans, request.check)
    else:
        cutter = PooledTurns(run, spans, request.check, request.framing, request.context, request.batch_size, speech)
        cutter.on_values = request.on_values
    for value in cutter.values(recording):
        segment = segments[value[0]]
        end = min(segment.end, float(recording.duration))  # the recording is decoded up to the turn's end, or its own
        if not value[2]:
            rows.short.append(segment)
        yield places[value[0]], _row(replace(segment, end=end), value, speech.shares.between(segment.start, end))


def _row(segment: Segment, value: Value, share: float) -> Block:
    _, outputs, count = value
    if outputs is None:
        sizes = (EMBEDDING_SIZE, len(DIMENSIONS), len(DIMENSIONS))
        outputs = tuple(np.full((1, size), np.nan, np.float32) for size in sizes)  # type: ignore[assignment]
        assert outputs is not None
    embeddings, scores, confidence = outputs
    return Block(
        first=0,
        starts=np.array([segment.start]),
        ends=np.array([segment.end]),
        embeddings=embeddings,
        scores=scores,
        confidence=np.ones_like(scores) if confidence is None else confidence,
        speech=np.array([share], np.float32),
        turns=TurnRows((segment.speaker,), (segment.tier,), (segment.label,), (count,)),
    )


def _notices(rows: _Rows, request: TurnRequest, name: str, needed_s: float) -> list[str]:
    """Sentences on the turns, once the recording's duration is known."""
    found: tuple[str, ...] = ()
    if request.segmentation is not None and rows.recordings:
        duration = max(float(recording.duration) for recording in rows.recordings)
        found = fit_to_recording(request.segmentation, duration, name).notices
    short = []
    if rows.short:
        verb = "has" if len(rows.short) == 1 else "have"
        short = [
            f"{counted(len(rows.short), 'turn')} {verb} no value, being shorter than "
            f"{max(needed_s, float((request.framing or Framing.files()).step_ms) / 1000):g} s (first at "
            f"{rows.short[0].start:g} s)."
        ]
    return [*found, *short]
