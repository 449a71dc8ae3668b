"""Metrics for Prometheus: jobs and their durations, sound, bytes kept, workers, live streams, requests."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emow2v.discover.places import Places
from emow2v.server.jobs.store import Store
from emow2v.server.jobs.store.limits import size_of, sizes
from emow2v.server.jobs.store.totals import BOUNDS
from emow2v.server.jobs.uploads import kept_bytes
from emow2v.server.live.route import Live
from emow2v.server.state import Workers
from emow2v.server.work_folder.disk import Disk

KEPT_S = 30.0  # between two looks at the sizes of files
BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600)  # seconds


class Metrics(Collector):
    """The metrics of one server, in a registry of their own, so that one process may hold several servers."""

    def __init__(self, store: Store, workers: Workers, live: Live, places: Places, disk: Disk) -> None:
        self._store, self._workers, self._live, self._places, self._disk = store, workers, live, places, disk
        self._kept: dict[str, int] = {}
        self._kept_at = -math.inf
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
        yield GaugeMetricFamily("emow2v_queue_age_seconds", "Age of the oldest waiting job.", value=self._queue_age())
        yield from self._totals()
        kept = GaugeMetricFamily("emow2v_kept_bytes", "Size of what the work folder keeps, by kind.", labels=["kind"])
        for kind, size in self._kept_bytes().items():
            kept.add_metric([kind], size)
        yield kept
        yield from self._room()
        yield GaugeMetricFamily("emow2v_workers_ready", "Workers with a warm model.", value=self._workers.ready)
        yield CounterMetricFamily("emow2v_worker_deaths", "Workers that died.", value=self._workers.deaths)
        yield from self._streams()
        yield from self._models()

    def _streams(self) -> Iterable[Metric]:
        """Live streams: how many there are and may be, and whether they stay in real time."""
        capacity = self._live.capacity
        yield GaugeMetricFamily("emow2v_streams", "Live streams.", value=capacity.streams)
        models = GaugeMetricFamily("emow2v_model_streams", "Live streams, by model.", labels=["model"])
        for model, streams in self._live.by_model.items():
            models.add_metric([model], streams)
        yield models
        late = "Seconds by which the latest live stream is behind its client."
        yield GaugeMetricFamily("emow2v_stream_lag_seconds", late, value=capacity.late_s)
        load = "Share of the machine's time that live streams take, as measured."
        yield GaugeMetricFamily("emow2v_stream_load", load, value=capacity.load)
        if (possible := capacity.possible()) is not None:
            yield GaugeMetricFamily("emow2v_stream_capacity", "Live streams that stay in real time.", value=possible)

    def _models(self) -> Iterable[Metric]:
        """Models in memory, of the workers together and of the process of live streams."""
        held = GaugeMetricFamily("emow2v_models", "Processes that hold a model.", labels=["model", "process"])
        taken = GaugeMetricFamily("emow2v_model_bytes", "Memory of models.", labels=["model", "process"])
        for process, holders in (("worker", self._workers.models), ("live", [self._live.models.sizes])):
            for model in sorted({name for one in holders for name in one}):
                own = [one[model] for one in holders if model in one]
                held.add_metric([model, process], len(own))
                taken.add_metric([model, process], sum(own))
        yield held
        yield taken
        loads = CounterMetricFamily("emow2v_model_loads", "Models that were loaded.", labels=["process"])
        loads.add_metric(["worker"], self._workers.loads)
        loads.add_metric(["live"], self._live.models.loads)
        yield loads

    def _queue_age(self) -> float:
        posted = self._store.oldest_waiting()
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(posted)).total_seconds()) if posted else 0.0

    def _room(self) -> Iterable[Metric]:
        """The disk: its limits, and what was removed or refused for want of room."""
        disk, now = self._disk, self._disk.usage()
        yield GaugeMetricFamily("emow2v_disk_bytes", "Size of the work folder.", value=now.used)
        yield GaugeMetricFamily("emow2v_disk_limit_bytes", "Its limit, --max-disk; 0 for none.", value=now.limit)
        yield GaugeMetricFamily("emow2v_disk_free_bytes", "Free on its disk.", value=now.free)
        removed = CounterMetricFamily("emow2v_disk_removed", "Removed for want of room.", labels=["what"])
        removed.add_metric(["recording"], disk.removed_recordings)
        removed.add_metric(["job"], disk.removed_jobs)
        yield removed
        yield CounterMetricFamily("emow2v_disk_refused", "Requests refused for want of room.", value=disk.refused)

    def _totals(self) -> Iterable[Metric]:
        """Durations of jobs and seconds of sound, by model; those of jobs go on across restarts."""
        durations = HistogramMetricFamily(
            "emow2v_job_seconds", "Time that jobs took, from start to end.", labels=["model", "state"]
        )
        sound = CounterMetricFamily(
            "emow2v_sound_seconds", "Sound of jobs that have ended, and of live streams.", labels=["model", "state"]
        )
        for one in self._store.totals():
            labels = [one.model, one.status.name.lower()]
            bounds = [*map(str, BOUNDS), "+Inf"]
            buckets = list(zip(bounds, map(float, [*one.within, one.jobs]), strict=True))
            durations.add_metric(labels, buckets, one.taken_s)
            sound.add_metric(labels, one.sound_s)
        for model, seconds in dict(self._live.sound_s).items():
            sound.add_metric([model, "live"], seconds)
        yield durations
        yield sound

    def _kept_bytes(self) -> dict[str, int]:
        """Bytes of uploads, results and the database, looked at once in `KEPT_S`: there may be many files."""
        now = time.monotonic()
        if now - self._kept_at >= KEPT_S:
            everybody = [self._places.of(owner) for owner in self._places.owners]
            database = self._store.path
            self._kept = {
                "uploads": sum(map(kept_bytes, everybody)),
                "results": sum(sum(sizes(one.results("").parent)) for one in everybody),
                "database": sum(map(size_of, database.parent.glob(f"{database.name}*"))),
            }
            self._kept_at = now
        return self._kept

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
        begin = next(
            (one for one in ("/v1/jobs/", "/v1/uploads/", "/jobs/", "/log/", "/static/") if path.startswith(one)), ""
        )
        return f"{begin}..." if begin else "other"
