"""The client for programs with asyncio, or trio."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar, Unpack

import anyio
import anyio.to_thread
import httpx

from emow2v.client import answers, flows
from emow2v.client.answers import Citation, Job, ModelInfo, Recording, Result
from emow2v.client.connection import Connected, Settings, answer_of, arguments, loss_of
from emow2v.client.exchange import Answer, Call, Close, Flow, Lost, Next, Notify, Open, Pause, Request, Run, Send, Step
from emow2v.client.flows import JobOrId, Progress
from emow2v.client.live import AsyncLiveStream, LiveOptions, Target
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


class AsyncClient(Connected):
    __doc__ = Connected.__doc__

    def __init__(self, address: str, **settings: Unpack[Settings]) -> None:
        super().__init__(address, **settings)
        self._http = httpx.AsyncClient(**self._settings())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    # --- predictions ---

    async def predict(self, recording: Source | None = None, **options: Unpack[PredictOptions]) -> Result:
        """See `Client.predict`."""
        return await self._run(flows.predict(self._server, recording, options))

    async def post(self, recording: Source | None = None, **options: Unpack[PostOptions]) -> Job:
        """See `Client.post`."""
        return await self._run(flows.post(self._server, recording, options))

    async def upload(self, recording: Source) -> str:
        """See `Client.upload`."""
        return await self._run(upload_in_parts(self._server, attachment("file", recording)))

    async def batch(self, *recordings: Source, **options: Unpack[BatchOptions]) -> Job:
        """See `Client.batch`."""
        return await self._run(flows.batch(self._server, recordings, options))

    async def wait(self, job: JobOrId, *, on_progress: Progress | None = None, timeout_s: float | None = None) -> Job:
        """See `Client.wait`."""
        return await self._run(flows.wait(self._server, job, on_progress, timeout_s))

    # --- jobs ---

    async def job(self, job: JobOrId) -> Job:
        """See `Client.job`."""
        return await self._run(flows.ask_json(self._server, flows.of_job(job), answers.read_job))

    async def jobs(self, **filters: Unpack[Filters]) -> AsyncIterator[Job]:
        """See `Client.jobs`."""
        query = [*listing(filters), ("limit", flows.PAGE)]
        while query:
            page, query = await self._run(flows.page(self._server, query))
            for job in page:
                yield job

    async def recordings(self, job: JobOrId, *, state: str = "") -> AsyncIterator[Recording]:
        """See `Client.recordings`."""
        first = 0
        while found := await self._run(flows.recordings(self._server, job, first, state)):
            first += len(found)
            for one in found:
                yield one

    async def cancel(self, job: JobOrId) -> Job:
        """See `Client.cancel`."""
        return await self._run(
            flows.ask_json(self._server, flows.of_job(job, "/cancel"), answers.read_job, method="POST")
        )

    async def erase(self, job: JobOrId) -> Job:
        """See `Client.erase`."""
        return await self._run(flows.erase(self._server, job))

    async def log(self, job: JobOrId) -> str:
        """See `Client.log`."""
        return await self._run(flows.text(self._server, flows.of_job(job, "/log")))

    # --- results ---

    async def result(self, job: JobOrId, *, session: int = 0, embeddings: bool | None = None) -> Result:
        """See `Client.result`."""
        return await self._run(flows.result(self._server, job, session, embeddings))

    async def content(self, job: JobOrId, *, format: str = "", session: int | None = None) -> bytes:  # noqa: A002
        """See `Client.content`."""
        return await self._run(flows.content(self._server, job, format, session))

    async def download(self, job: JobOrId, path: str | os.PathLike[str], **options: Unpack[FileOptions]) -> Path:
        """See `Client.download`."""
        return await self._run(flows.download_values(self._server, job, path, options))

    async def citation(self, job: JobOrId) -> Citation:
        """See `Client.citation`."""
        return await self._run(flows.ask_json(self._server, flows.of_job(job, "/citation"), answers.read_citation))

    # --- server ---

    async def models(self) -> list[ModelInfo]:
        """See `Client.models`."""
        return await self._run(flows.models(self._server))

    def stream(self, **options: Unpack[LiveOptions]) -> AsyncLiveStream:
        """See `Client.stream`; for an `async with` block."""
        return AsyncLiveStream(Target(self._server, self._headers, self._context, self._trust_env, options))

    # --- what flows ask for ---

    async def _run(self, flow: Flow[T]) -> T:
        """Carry out a flow, step by step."""
        async with contextlib.AsyncExitStack() as opened:
            run = opened.enter_context(Run(flow))
            while run.step is not None:
                try:
                    outcome = await self._do(run.step, opened)
                except (Lost, Emow2vError) as error:
                    run.throw(error)
                else:
                    run.send(outcome)
            return run.result

    async def _do(self, step: Step, opened: contextlib.AsyncExitStack) -> Any:
        """The outcome of a step.

        Args:
            opened: closes answers that were not read to their end
        """
        try:
            match step:
                case Send(request):
                    with arguments(self._server, request) as given:
                        response = await self._http.send(self._http.build_request(**given))
                    return answer_of(response, response.content)
                case Open(request):
                    return await self._opened(request, opened)
                case Next((_, pieces)):
                    return await anext(pieces, None)
                case Close((response, _)):
                    await response.aclose()
                case Pause(seconds):
                    await anyio.sleep(seconds)
                case Call(function):
                    return await anyio.to_thread.run_sync(function)
                case Notify(function, value):
                    answer = function(value)
                    if inspect.isawaitable(answer):
                        await answer
        except httpx.RequestError as error:
            raise loss_of(error) from None
        return None

    async def _opened(self, request: Request, opened: contextlib.AsyncExitStack) -> Answer:
        with arguments(self._server, request) as given:
            response = await self._http.send(self._http.build_request(**given), stream=True)
        opened.push_async_callback(response.aclose)
        if response.status_code >= 300:
            return answer_of(response, await response.aread())
        return answer_of(response, stream=(response, response.aiter_bytes()))
