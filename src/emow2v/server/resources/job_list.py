"""The route of /v1 that lists jobs: filters, and a page at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request, Response

from emow2v.errors import FormatError
from emow2v.server.jobs.store import Filter, Status
from emow2v.server.jobs.store.job import Kind
from emow2v.server.people.person import caller
from emow2v.server.resources import cursors
from emow2v.server.routes.answers import JobModel, State
from emow2v.server.state import ServerState

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def add(api: FastAPI, state: ServerState, to_model: Callable[..., JobModel]) -> None:
    """Add the route.

    Args:
        to_model: describes a job, with the positions of waiting jobs by their numbers
    """
    store, own = state.store, state.jobs

    @api.get(
        "/jobs",
        responses={
            200: {
                "headers": {
                    "Link": {
                        "description": 'The address of the next page, as <jobs?cursor=...>; rel="next". The last page has none.',
                        "schema": {"type": "string"},
                    }
                }
            }
        },
    )
    def jobs(
        request: Request,
        response: Response,
        state: Annotated[State | None, Query()] = None,
        kind: Annotated[
            Kind | None,
            Query(description="prediction, batch: one or many recordings, of /v1; process: of DISCOVER and NOVA."),
        ] = None,
        model: Annotated[str, Query(max_length=200, description="Name of the model that computed them.")] = "",
        name: Annotated[
            str, Query(max_length=1000, description="A part of the recording's name, in upper or lower case.")
        ] = "",
        since: Annotated[
            str,
            Query(max_length=40, description="Posted from then on: a date or a time, ISO 8601, UTC without a zone."),
        ] = "",
        until: Annotated[str, Query(max_length=40, description="Posted up to then; a date means the whole day.")] = "",
        owner: Annotated[
            str | None,
            Query(
                max_length=100, description="Name of the person who posted them, for administrators; empty: nobody's."
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=10_000, description="Jobs of a page.")] = 100,
        cursor: Annotated[str, Query(max_length=100, description="As the Link header has it.")] = "",
    ) -> list[JobModel]:
        """The newest jobs first. Jobs that are posted or erased meanwhile neither repeat nor hide others on later pages."""
        which = Filter(
            owner=owner,
            status=Status[state.upper()] if state else None,
            kind=kind,
            model=model or None,
            name=name or None,
            since=_time("since", since) if since else None,
            until=_time("until", until, last=True) if until else None,
        )
        person = caller()
        about = json.dumps([person.name, person.is_administrator, which.where])
        secret = store.secret("cursors")
        if cursor:
            which = replace(which, before=cursors.opened(secret, cursor, about))
        found = own.listed(which, limit + 1)
        listed = found[:limit]
        if len(found) > limit:
            filters = [one for one in request.query_params.multi_items() if one[0] != "cursor"]
            following = urlencode([*filters, ("cursor", cursors.seal(secret, listed[-1].number, about))])
            response.headers["Link"] = f'<jobs?{following}>; rel="next"'
        waiting = [job.number for job in listed if job.status is Status.WAITING]
        positions = store.positions(min(waiting), max(waiting)) if waiting else {}
        return [to_model(job, positions) for job in listed]


def _time(field: str, text: str, *, last: bool = False) -> str:
    """A time as the store has it: UTC, ISO 8601 to the millisecond.

    Args:
        last: a date means its end

    Raises:
        FormatError: the text is no time
    """
    text = re.sub(r" (\d\d:?\d\d)$", r"+\1", text)  # a plus sign that was not escaped in the address
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if last and _DATE.fullmatch(text):
            time += timedelta(days=1, milliseconds=-1)
    except (ValueError, OverflowError):
        raise FormatError(
            f"{field} is '{text}'; expected a date or a time, such as 2026-11-25 or 2026-11-25T09:30:00Z."
        ) from None
    return time.isoformat(timespec="milliseconds")
