"""Metrics for Prometheus: jobs by state, workers, live streams, requests and their durations."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.server.jobs.store import Store
from emow2v.server.routes.live import Live
from emow2v.server.state import Workers

BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600)  # seconds


class Metrics(Collector):
    """The metrics of one server, in a registry of their own, so that one process may hold several servers."""

    def __init__(self, store: Store, workers: Workers, live: Live) -> None:
        self._store, self._workers, self._live = store, workers, live
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "emow2v_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "emow2v_request_seconds",
            "Time until an answer had been sent.",
            ("route",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def collect(self) -> Iterable[Metric]:
        """The present values; called by the registry."""
        jobs = GaugeMetricFamily("emow2v_jobs", "Jobs that are remembered, by state.", labels=["state"])
        for status, number in self._store.counts().items():
            jobs.add_metric([status.name.lower()], number)
        yield jobs
        yield GaugeMetricFamily("emow2v_workers_ready", "Workers with a warm model.", value=self._workers.ready)
        yield CounterMetricFamily("emow2v_worker_deaths", "Workers that died.", value=self._workers.deaths)
        yield GaugeMetricFamily("emow2v_streams", "Live streams.", value=self._live.streams)

    async def answer(self, request: Request) -> Response:
        """The route /metrics."""
        return Response(await run_in_threadpool(generate_latest, self._registry), media_type=CONTENT_TYPE_LATEST)

    def counted(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Counting:
    """An ASGI layer that counts every request.

    Args:
        routes: paths with counts of their own; others, which hold ids or free text, are counted by their first part
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.counted(self._named(scope["path"]), status, time.perf_counter() - started)

    def _named(self, path: str) -> str:
        if path in self._routes:
            return path
        begin = next((one for one in ("/v1/jobs/", "/jobs/", "/log/", "/static/") if path.startswith(one)), "")
        return f"{begin}..." if begin else "other"
