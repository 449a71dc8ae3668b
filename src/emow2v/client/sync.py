"""The client for programs without asyncio."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, Unpack

import httpx

from emow2v.client import answers, flows
from emow2v.client.answers import Citation, Job, ModelInfo, Recording, Result
from emow2v.client.connection import Connected, Settings, answer_of, arguments, loss_of
from emow2v.client.exchange import Answer, Call, Close, Flow, Lost, Next, Notify, Open, Pause, Request, Run, Send, Step
from emow2v.client.flows import JobOrId, Progress
from emow2v.client.live import LiveOptions, LiveStream, Target
from emow2v.client.recordings import (
    BatchOptions,
    FileOptions,
    Filters,
    PostOptions,
    PredictOptions,
    Source,
    attachment,
    listing,
)
from emow2v.client.uploads import upload_in_parts
from emow2v.errors import Emow2vError

T = TypeVar("T")


class Client(Connected):
    __doc__ = Connected.__doc__

    def __init__(self, address: str, **settings: Unpack[Settings]) -> None:
        super().__init__(address, **settings)
        self._http = httpx.Client(**self._settings())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    # --- predictions ---

    def predict(self, recording: Source | None = None, **options: Unpack[PredictOptions]) -> Result:
        """Post a recording, wait until it is computed, and fetch its values.

        Args:
            recording: path of an audio or video file, its bytes, or an open file; None with `path` or `url`
            options: see `PredictOptions` and `PostOptions`

        Raises:
            JobFailed: the recording could not be computed
            ClientError: the server refuses it, or cannot be reached
        """
        return self._run(flows.predict(self._server, recording, options))

    def post(self, recording: Source | None = None, **options: Unpack[PostOptions]) -> Job:
        """Post a recording, and return its job at once.

        If the answer is lost, the request is sent again; the server makes one job of both.

        Args:
            recording, options: as for `predict`

        Raises:
            Invalid: the recording or an option cannot be used
            TooMany: too many jobs wait, or a limit of the name is reached
            NoRoom: the disk of the server is full
            ClientError: another refusal, or no answer
        """
        return self._run(flows.post(self._server, recording, options))

    def upload(self, recording: Source) -> str:
        """Send a recording in parts, each of which stays on the server if the connection breaks; gives its id.

        `post`, `predict` and others take the id as `upload`. Recordings of 64 MiB and more are sent so anyway. An upload that
        no job uses is removed after a day.

        Args:
            recording: as for `predict`
        """
        return self._run(upload_in_parts(self._server, attachment("file", recording)))

    def batch(self, *recordings: Source, **options: Unpack[BatchOptions]) -> Job:
        """Post many recordings as one job, whose result is one table; a recording that fails does not stop the others.

        Args:
            recordings: as for `predict`; none with `folder` or `path`
            options: see `BatchOptions` and `Computation`
        """
        return self._run(flows.batch(self._server, recordings, options))

    def wait(self, job: JobOrId, *, on_progress: Progress | None = None, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, also while the server starts again; gives its last state, whichever it is.

        Args:
            on_progress: called with the job at each change
            timeout_s: seconds after which to give up; the job goes on

        Raises:
            TimedOut: it has not ended in time
            NotFound: it is erased
        """
        return self._run(flows.wait(self._server, job, on_progress, timeout_s))

    # --- jobs ---

    def job(self, job: JobOrId) -> Job:
        """The present state of a job."""
        return self._run(flows.ask_json(self._server, flows.of_job(job), answers.read_job))

    def jobs(self, **filters: Unpack[Filters]) -> Iterator[Job]:
        """Jobs, the newest first, however many; the list is fetched in pages as it is read.

        Args:
            filters: see `Filters`
        """
        query = [*listing(filters), ("limit", flows.PAGE)]
        while query:
            page, query = self._run(flows.page(self._server, query))
            yield from page

    def recordings(self, job: JobOrId, *, state: str = "") -> Iterator[Recording]:
        """The recordings of a job of many, and what has become of each.

        Args:
            state: only those that are "waiting", "done" or "failed"
        """
        first = 0
        while found := self._run(flows.recordings(self._server, job, first, state)):
            first += len(found)
            yield from found

    def cancel(self, job: JobOrId) -> Job:
        """Cancel a job; one that was cancelled before stays so.

        Raises:
            Conflict: it has ended otherwise
        """
        return self._run(flows.ask_json(self._server, flows.of_job(job, "/cancel"), answers.read_job, method="POST"))

    def erase(self, job: JobOrId) -> Job:
        """Erase a job with its recording, its log and its values; gives its last state."""
        return self._run(flows.erase(self._server, job))

    def log(self, job: JobOrId) -> str:
        """The log of a job."""
        return self._run(flows.text(self._server, flows.of_job(job, "/log")))

    # --- results ---

    def result(self, job: JobOrId, *, session: int = 0, embeddings: bool | None = None) -> Result:
        """The values of a finished job.

        Args:
            session: which of its recordings; a prediction has one
            embeddings: whether to fetch them; None: if the job has kept them

        Raises:
            JobFailed: it ended without
            Conflict: it has not ended
        """
        return self._run(flows.result(self._server, job, session, embeddings))

    def content(self, job: JobOrId, *, format: str = "", session: int | None = None) -> bytes:  # noqa: A002
        """The values of a finished job as a file of a format holds them; see `download`."""
        return self._run(flows.content(self._server, job, format, session))

    def download(self, job: JobOrId, path: str | os.PathLike[str], **options: Unpack[FileOptions]) -> Path:
        """Fetch the values of a finished job into a file, which appears whole; a broken connection is continued.

        Args:
            path: of the file; a folder, or a path that ends with "/", for a file with the name that the server gives
            options: see `FileOptions`

        Returns:
            path of the file

        Raises:
            PlaceTaken: there is such a file
            ClientError: it cannot be fetched, or the file not be written
        """
        return self._run(flows.download_values(self._server, job, path, options))

    def citation(self, job: JobOrId) -> Citation:
        """How to name the values of a finished job in a paper."""
        return self._run(flows.ask_json(self._server, flows.of_job(job, "/citation"), answers.read_citation))

    # --- server ---

    def models(self) -> list[ModelInfo]:
        """Models that `model` may name."""
        return self._run(flows.models(self._server))

    def stream(self, **options: Unpack[LiveOptions]) -> LiveStream:
        """A live stream, for a `with` block; requires the extra `client`.

        Args:
            options: see `LiveOptions`
        """
        return LiveStream(Target(self._server, self._headers, self._context, self._trust_env, options))

    # --- what flows ask for ---

    def _run(self, flow: Flow[T]) -> T:
        """Carry out a flow, step by step."""
        with contextlib.ExitStack() as opened, Run(flow) as run:
            while run.step is not None:
                try:
                    outcome = self._do(run.step, opened)
                except (Lost, Emow2vError) as error:
                    run.throw(error)
                else:
                    run.send(outcome)
            return run.result

    def _do(self, step: Step, opened: contextlib.ExitStack) -> Any:
        """The outcome of a step.

        Args:
            opened: closes answers that were not read to their end
        """
        try:
            match step:
                case Send(request):
                    with arguments(self._server, request) as given:
                        response = self._http.send(self._http.build_request(**given))
                    return answer_of(response, response.content)
                case Open(request):
                    return self._opened(request, opened)
                case Next((_, pieces)):
                    return next(pieces, None)
                case Close((response, _)):
                    response.close()
                case Pause(seconds):
                    time.sleep(seconds)
                case Call(function):
                    return function()
                case Notify(function, value):
                    function(value)
        except httpx.RequestError as error:
            raise loss_of(error) from None
        return None

    def _opened(self, request: Request, opened: contextlib.ExitStack) -> Answer:
        with arguments(self._server, request) as given:
            response = self._http.send(self._http.build_request(**given), stream=True)
        opened.callback(response.close)
        if response.status_code >= 300:
            return answer_of(response, response.read())
        return answer_of(response, stream=(response, response.iter_bytes()))
