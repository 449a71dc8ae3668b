"""The operations of the clients, each as a flow (`exchange`)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from emow2v.client import answers
from emow2v.client.answers import Job
from emow2v.client.download import download
from emow2v.client.errors import Conflict, JobFailed, NotFound, TimedOut
from emow2v.client.events import Events
from emow2v.client.exchange import (
    Answer,
    Close,
    Flow,
    Lost,
    Next,
    Notify,
    Open,
    Pause,
    Request,
    Server,
    ask,
    json_of,
    wrong,
)
from emow2v.client.recordings import FileOptions, Source, prediction
from emow2v.client.recordings import batch as make_batch
from emow2v.client.uploads import LARGE, size_of, upload_in_parts

T = TypeVar("T")
JobOrId: TypeAlias = "Job | str"
Progress: TypeAlias = Callable[[Job], object]

PAGE = "500"  # jobs of a page
SILENCE_S = 40.0  # of a stream of events, in which a server says something every 15 s
_POLLS_S = (0.25, 5.0)  # between two looks at a job, where events do not come through
_MOST_SILENT = 3  # streams of events in a row without an event; from then on the client asks for the job
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)


def id_of(job: JobOrId) -> str:
    """The id of a job, or the id itself."""
    return job if isinstance(job, str) else job.id


def of_job(job: JobOrId, rest: str = "") -> str:
    """Path of a job, or of something of it."""
    return f"jobs/{quote(id_of(job), safe='')}{rest}"


def _read(server: Server, answer: Answer, read: Callable[[Any], T]) -> T:
    """What the JSON of an answer means."""
    try:
        return read(json_of(server, answer))
    except answers.Unfit as error:
        raise wrong(server, str(error)) from None


def ask_json(server: Server, path: str, read: Callable[[Any], T], method: str = "GET", **query: str) -> Flow[T]:
    """Ask for something, and read its JSON."""
    answer = yield from ask(server, Request(method, path, query=[*query.items()]))
    return _read(server, answer, read)


def text(server: Server, path: str) -> Flow[str]:
    """Ask for a text."""
    answer = yield from ask(server, Request("GET", path))
    return answer.body.decode("utf-8", "replace")


def post(server: Server, recording: Source | None, options: Mapping[str, Any]) -> Flow[Job]:
    """Post a recording; the answer is its job. A large one is sent in parts before, if the server takes parts."""
    request = prediction(recording, options)
    large = [one for one in request.attachments if one.field == "file" and size_of(one) >= LARGE]
    if large:
        try:
            upload_id = yield from upload_in_parts(server, large[0])
        except NotFound:  # an older server
            pass
        else:
            request = prediction(None, {**options, "upload": upload_id})
    answer = yield from ask(server, request)
    return _read(server, answer, answers.read_job)


def batch(server: Server, recordings: Sequence[Source], options: Mapping[str, Any]) -> Flow[Job]:
    """Post many recordings as one job."""
    answer = yield from ask(server, make_batch(recordings, options))
    return _read(server, answer, answers.read_job)


def recordings(server: Server, job: JobOrId, first: int, state: str) -> Flow[list[answers.Recording]]:
    """A page of the recordings of a job of many."""
    query = {"first": str(first), "limit": PAGE} | ({"state": state} if state else {})
    return (yield from ask_json(server, of_job(job, "/files"), answers.read_recordings, **query))


def predict(server: Server, recording: Source | None, asked: Mapping[str, Any]) -> Flow[answers.Result]:
    """Post a recording, wait, and fetch its values."""
    options = dict(asked)
    on_progress, keep = options.pop("on_progress", None), options.pop("keep", True)
    job = yield from post(server, recording, options)
    job = yield from wait(server, job, on_progress, None)
    values = yield from result(server, job, 0, bool(options.get("embeddings")))
    if not keep:
        yield from erase(server, job)
    return values


def erase(server: Server, job: JobOrId) -> Flow[Job]:
    """Erase a job."""
    return (yield from ask_json(server, of_job(job), answers.read_job, method="DELETE"))


def page(server: Server, query: list[tuple[str, str]]) -> Flow[tuple[list[Job], list[tuple[str, str]]]]:
    """A page of the list of jobs, and the query of the next one; an empty query after the last."""
    answer = yield from ask(server, Request("GET", "jobs", query=query))
    jobs = _read(server, answer, lambda body: [answers.read_job(one) for one in answers.read_list(body)])
    following = _NEXT.search(answer.headers.get("link", ""))
    try:
        query = parse_qsl(urlsplit(following[1]).query, keep_blank_values=True) if following else []
    except ValueError:  # brackets that are not closed
        raise wrong(server, "the address of the next page of jobs is damaged") from None
    return jobs, query


def result(server: Server, job: JobOrId, session: int, embeddings: bool | None) -> Flow[answers.Result]:
    """The values of a job.

    Args:
        embeddings: whether to fetch them; None for a look whether the job has kept them
    """
    found = yield from ask_json(server, of_job(job), answers.read_job)
    if found.state in ("error", "canceled"):
        raise JobFailed(found)
    if not found.has_ended:
        raise Conflict(f"The job is {found.state}; its result comes when it has finished. Wait for it.", 409)
    if embeddings is None:
        head = yield from ask_json(
            server, of_job(job, "/rows"), answers.read_object, first=str(2**40), session=str(session)
        )
        embeddings = bool(head.get("embeddings"))
    table = yield from ask(server, result_request(job, "json", session))
    arrays = None
    if embeddings:
        kept = yield from ask(server, result_request(job, "npz", session))
        arrays = kept.body
    return _read(server, table, lambda body: answers.read_result(body, found, arrays))


def result_request(job: JobOrId, file_format: str, session: int | None) -> Request:
    """The request for the values of a job in a format; "" for that of its own request."""
    wanted = [("format", file_format)] if file_format else []
    which = [] if session is None else [("session", str(session))]
    return Request("GET", of_job(job, "/result"), query=[*wanted, *which])


def download_values(server: Server, job: JobOrId, path: str | os.PathLike[str], options: FileOptions) -> Flow[Path]:
    """The values of a job, in a file."""
    request = result_request(job, options.get("format", ""), options.get("session"))
    if options.get("each"):
        wanted = [("format", options["format"])] if options.get("format") else []
        request = Request("GET", of_job(job, "/zip"), query=wanted)
    return (yield from download(server, request, path, options.get("overwrite", False)))


def content(server: Server, job: JobOrId, file_format: str, session: int | None) -> Flow[bytes]:
    """The values of a job in a format, as bytes."""
    answer = yield from ask(server, result_request(job, file_format, session))
    return answer.body


def models(server: Server) -> Flow[list[answers.ModelInfo]]:
    """Models that a request may name."""
    return (
        yield from ask_json(server, "models", lambda body: [answers.read_model(one) for one in answers.read_list(body)])
    )


def wait(server: Server, job: JobOrId, on_progress: Progress | None, timeout_s: float | None) -> Flow[Job]:
    """Wait for the end of a job: by its events, and where these do not come through, by asking for it."""
    deadline = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
    reported: Job | None = None
    silent, pause = 0, _POLLS_S[0]

    def report(now: Job) -> Flow[None]:
        nonlocal reported
        if now != reported and on_progress is not None:
            yield Notify(on_progress, now)
        reported = now

    while True:
        if silent < _MOST_SILENT:
            before = reported
            last = yield from _follow(server, job, report, deadline)
            silent = silent + 1 if reported is before else 0
            if last is not None and last.has_ended:
                return last
        now = yield from ask_json(server, of_job(job), answers.read_job)  # which waits for a server that starts again
        yield from report(now)
        if now.has_ended:
            return now
        if time.monotonic() > deadline:
            raise TimedOut(f"The job {now.id} is {now.state} after {timeout_s:g} s; wait for it again, or cancel it.")
        yield Pause(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(_POLLS_S[1], pause * 1.5) if silent >= _MOST_SILENT else _POLLS_S[0]


def _follow(server: Server, job: JobOrId, report: Callable[[Job], Flow[None]], deadline: float) -> Flow[Job | None]:
    """The last state in one stream of events; None where there is none."""
    left = max(1.0, min(SILENCE_S, deadline - time.monotonic()))
    headers = {"Accept": "text/event-stream"}
    try:
        answer: Answer = yield Open(Request("GET", of_job(job, "/events"), headers=headers, read_s=left))
    except Lost:
        return None
    if answer.status != 200:
        return None
    last = None
    if answer.kind == "text/event-stream":
        events = Events()
        try:
            while (piece := (yield Next(answer.stream))) is not None and time.monotonic() < deadline:
                for data in events.add(piece):
                    try:
                        last = answers.read_job(data)
                    except answers.Unfit as error:
                        raise wrong(server, str(error)) from None
                    yield from report(last)
                if last is not None and last.has_ended:
                    break
        except Lost:
            return last
    yield Close(answer.stream)
    return last
