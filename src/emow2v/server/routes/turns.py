"""The route of /v1 for the turns of a job: who speaks when, with the values of each turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from emow2v.discover.turn_list import ListedTurn, path_of, read_turn_list
from emow2v.formats.table_read import Table
from emow2v.rows import DIMENSIONS
from emow2v.server.jobs.store import Job
from emow2v.server.jobs.task import Task, task_of
from emow2v.server.routes.views import PRIVATE, Session, check_finished, or_404
from emow2v.server.state import ServerState
from emow2v.speech.segments import Segment

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

    @api.get("/jobs/{job_id}/turns", response_model=TurnsModel)
    def turns(job_id: str, session: Session = 0) -> Response:
        """The turns of a finished job, by tier, with their values."""
        job = find_job(job_id)
        check_finished(job)
        found = or_404(lambda: _turns(job, task_of(job, places), session))
        if found is None:
            raise HTTPException(
                404, "The job has no turns; expected one with unit=turns, speech=true or a file with turns (segments)."
            )
        return JSONResponse(found.model_dump(), headers=PRIVATE)

    def _turns(job: Job, task: Task, session: int) -> TurnsModel | None:
        listed = read_turn_list(path_of(places.results(job.id), session))
        if listed is not None:
            turns = listed.with_values(task.table(session), task.framing)
            return _model(listed.name or _DETECTOR, "pool", turns, listed.notices)
        values = task.table(session)
        if values.turns is None:
            return None
        origin = str(job.provenance.get("turns_from", _DETECTOR))
        name = origin if origin == _DETECTOR else origin.rpartition(" (")[0]
        return _model(name, "turn" if task.framing.whole else "pool", _of_rows(values), job.notices)


def _model(name: str, unit: Literal["turn", "pool"], turns: Iterable[ListedTurn], notices: Iterable[str]) -> TurnsModel:
    tiers: dict[tuple[str, str], list[TurnModel]] = {}
    for one in turns:
        tiers.setdefault((one.segment.tier, one.segment.speaker), []).append(_turn(one))
    return TurnsModel(
        source="detector" if name == _DETECTOR else "file",
        name=name,
        unit=unit,
        tiers=[TierModel(name=tier, speaker=speaker, turns=found) for (tier, speaker), found in tiers.items()],
        notices=list(notices),
    )


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
