"""The route of /v1 for the turns of a job: who speaks when, with the values of each turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from emow2v.archive import annotation_files
from emow2v.discover.turn_list import ListedTurn, path_of, read_turn_list
from emow2v.errors import Emow2vError
from emow2v.formats import record
from emow2v.formats.table_read import Table
from emow2v.rows import DIMENSIONS, Block, Info, TurnRows
from emow2v.server.jobs.prediction import PredictionTask
from emow2v.server.jobs.store import Job
from emow2v.server.jobs.task import Task, task_of
from emow2v.server.routes.views import PRIVATE, Session, check_finished, or_404, sent_once
from emow2v.server.state import ServerState
from emow2v.speech.segments import Segment
from emow2v.trajectory import Trajectory

MEDIA = {
    "eaf": "text/xml", "textgrid": "text/plain; charset=utf-8", "vtt": "text/vtt; charset=utf-8",
    "rttm": "text/plain; charset=utf-8",
}  # fmt: skip
_DETECTOR = "the detector"
_DECIMALS = 6


class TurnModel(BaseModel):
    """A turn. Its scores stand for `n` values and are null where there is none; `speech` is the share with speech."""

    start: float
    end: float
    label: str
    arousal: float | None
    dominance: float | None
    valence: float | None
    confidence: float | None
    n: int
    speech: float | None


class TierModel(BaseModel):
    """The turns of a tier and a speaker; both are empty for the turns of the detector."""

    name: str
    speaker: str
    turns: list[TurnModel]


class TurnsModel(BaseModel):
    """The turns of a recording.

    `unit` is "turn" for one value for the sound of each turn, and "pool" for the mean of the values over time whose window
    lies inside the turn. `name` is that of the file, or "the detector".
    """

    source: Literal["file", "detector"]
    name: str
    unit: Literal["turn", "pool"]
    tiers: list[TierModel]
    notices: list[str]


def add(api: FastAPI, state: ServerState, find_job: Callable[..., Job]) -> None:
    """Add the route.

    Args:
        find_job: gives a job by its id, or answers 404
    """
    places = state.places

    @api.get(
        "/jobs/{job_id}/turns",
        response_model=TurnsModel,
        responses={
            200: {"content": {kind.partition(";")[0]: {} for kind in MEDIA.values()}, "description": "The turns."}
        },
    )
    def turns(
        job_id: str,
        kind: Annotated[
            Literal["json", "eaf", "textgrid", "vtt", "rttm"],
            Query(
                alias="format", description="eaf: for ELAN; textgrid: for Praat; vtt: subtitles; rttm: of diarisation."
            ),
        ] = "json",
        session: Session = 0,
    ) -> Response:
        """The turns of a finished job, by tier, with their values."""
        job = find_job(job_id)
        check_finished(job)
        task = task_of(job, places)
        found = or_404(lambda: _turns(job, task, session))
        if found is None:
            raise HTTPException(
                404, "The job has no turns; expected one with unit=turns, speech=true or a file with turns (segments)."
            )
        if kind == "json":
            return JSONResponse(_model(found).model_dump(), headers=PRIVATE)
        stem = task.stem(session)
        return sent_once(
            places.of(job.owner).results(job.id),
            lambda folder: _written(found, task, job.provenance, kind, folder, stem),
            media_type=MEDIA[kind],
            filename=f"{stem}.{'TextGrid' if kind == 'textgrid' else kind}",
        )

    def _turns(job: Job, task: Task, session: int) -> _JobTurns | None:
        listed = read_turn_list(path_of(places.of(job.owner).results(job.id), session))
        values = task.table(session)
        if listed is not None:
            return _JobTurns(listed.name or _DETECTOR, "pool", listed.with_values(values, task.framing), listed.notices)
        if values.turns is None:
            return None
        origin = str(job.provenance.get("turns_from", _DETECTOR))
        name = origin if origin == _DETECTOR else origin.rpartition(" (")[0]
        return _JobTurns(name, "turn" if task.framing.whole else "pool", list(_of_rows(values)), job.notices)


@dataclass(frozen=True)
class _JobTurns:
    """The turns of a recording, as `TurnsModel` describes them."""

    name: str
    unit: Literal["turn", "pool"]
    turns: Sequence[ListedTurn]
    notices: Sequence[str]


def _model(found: _JobTurns) -> TurnsModel:
    tiers: dict[tuple[str, str], list[TurnModel]] = {}
    for one in found.turns:
        tiers.setdefault((one.segment.tier, one.segment.speaker), []).append(_turn(one))
    return TurnsModel(
        source="detector" if found.name == _DETECTOR else "file",
        name=found.name,
        unit=found.unit,
        tiers=[TierModel(name=tier, speaker=speaker, turns=turns) for (tier, speaker), turns in tiers.items()],
        notices=list(found.notices),
    )


def _written(
    found: _JobTurns, task: Task, provenance: Mapping[str, str | float], kind: str, folder: Path, stem: str
) -> Path:
    """Write turns for another program; an .eaf that came with the request gets more tiers. Recordings are not linked, since the
    server does not know where the client has them."""
    segmentation, file = task.original_turns() if isinstance(task, PredictionTask) else (None, None)
    segments = [one.segment for one in found.turns]
    scores = np.array([one.scores for one in found.turns], np.float32).reshape(-1, len(DIMENSIONS))
    block = Block(
        first=0,
        starts=np.array([one.start for one in segments]),
        ends=np.array([one.end for one in segments]),
        embeddings=np.zeros((len(segments), 0), np.float32),
        scores=scores,
        confidence=np.ones_like(scores),
        speech=np.array([one.speech for one in found.turns], np.float32),
        turns=TurnRows(
            tuple(one.speaker for one in segments),
            tuple(one.tier for one in segments),
            tuple(one.label for one in segments),
            tuple(one.count for one in found.turns),
        ),
    )
    facts = {"duration_s": max((one.end for one in segments), default=0.0), **provenance}
    info = Info(task.name, task.framing, facts, speech=True, turns=True)
    recording = Path(task.name) if segmentation else None  # for its origin in an .eaf
    try:
        writers = annotation_files.writers([kind], folder, stem, recording, segmentation, turns=True)
        record(Trajectory(info, lambda: iter([block])), writers)
    except Emow2vError as error:
        raise type(error)(str(error).replace(str(file), found.name)) from None
    return next(folder.iterdir())


def _turn(one: ListedTurn) -> TurnModel:
    scores = {name: _number(score) for name, score in zip(DIMENSIONS, one.scores, strict=True)}
    return TurnModel(
        start=round(one.segment.start, _DECIMALS),
        end=round(one.segment.end, _DECIMALS),
        label=one.segment.label,
        **scores,
        confidence=_number(one.confidence),
        n=one.count,
        speech=_number(one.speech),
    )


def _number(value: float) -> float | None:
    return round(value, _DECIMALS) if math.isfinite(value) else None


def _of_rows(values: Table) -> Iterable[ListedTurn]:
    """The rows of a table whose rows are turns."""
    rows = values.turns
    assert rows is not None and values.speech is not None
    for place, texts in enumerate(zip(rows.speakers, rows.tiers, rows.labels, strict=True)):
        arousal, dominance, valence = values.scores[place].tolist()
        yield ListedTurn(
            Segment(float(values.starts[place]), float(values.ends[place]), *texts),
            (arousal, dominance, valence),
            float(values.confidence[place]),
            rows.counts[place],
            float(values.speech[place]),
        )
