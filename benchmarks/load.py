"""A server with many clients: small jobs at once, live streams until one more is refused, latencies, memory over many jobs.

python benchmarks/load.py [--jobs 200] [--clients 16] [--many 1000] [--seconds 20] [--workers 1] [--json results.json]

The server is a process of its own with lite, as users start it; clients are threads here, so they take from the same cores.
1. JOBS recordings of a second from CLIENTS clients, each posting the next when the last is done: over /process (asked for its state
   ten times a second) and over /v1/predictions (an upload, answered with the table). Latency counts from POST to the answer that it is done.
2. A recording of 10 s from POST to finished (asked for every 20 ms), and in between the same by the engine in this process:
   what the server adds, with the asking. Pairs are compared, so that what else the machine does meets both; and processor time.
3. A live stream fed in real time, 25 values a second: from when a value's last sample was sent to when it came.
   Then as many as the server admits, all together; then one more.
4. MANY jobs of 0.2 s: resident memory of the server and its workers during the first hundred and the last.
Nothing may be lost: every job that was posted has finished, and only those. Linux (memory is read from /proc).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

import emow2v
from common import console, keep, parser, show
from emow2v.audio import recording as audio
from emow2v.cli.demo import request
from emow2v.modelstore.verify import EXAMPLE
from job import ServerProcess, recording

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from faults import workers_of

CHUNK = 640  # samples of 40 ms


def asking(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=600, trust_env=False)


def ready(url: str) -> None:
    with asking(url) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)


def process(client: httpx.Client, folder: Path, path: Path, name: str, every_s: float = 0.1) -> float:
    """Seconds from POST to finished over the routes of DISCOVER."""
    form = request(folder / name, path) | {"jobID": name}
    started = time.perf_counter()
    assert client.post("/process", data=form).json()["success"] == "True"
    while (status := client.post("/job_status", data={"jobID": name}).json()["status"]) < 2:
        time.sleep(every_s)
    assert status == 2, status
    return time.perf_counter() - started


def predict(client: httpx.Client, sound: bytes) -> float:
    """Seconds from POST to the table over /v1."""
    started = time.perf_counter()
    answer = client.post("/v1/predictions", files={"file": ("a.wav", sound)}, data={"format": "csv"})
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - started


def at_once(url: str, clients: int, jobs: int, work: Callable[[httpx.Client, int], float]) -> tuple[list[float], float]:
    """Seconds of each job, and of all."""
    numbers, taken, lock = count(), [], threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        with asking(url) as client:
            while not failures:
                with lock:
                    number = next(numbers)
                if number >= jobs:
                    return
                try:
                    taken.append(work(client, number))
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return taken, time.perf_counter() - started


def finished(url: str) -> int:
    """Jobs that have finished; all that the server knows must have."""
    with asking(url) as client:
        jobs = client.get("/v1/jobs", params={"limit": 10_000}).json()
    assert {job["state"] for job in jobs} <= {"finished"}, "a job did not finish"
    return len({job["id"] for job in jobs})


async def feed(socket: ClientConnection, signal: np.ndarray, chunks: int) -> list[float]:
    """Seconds from the last sample of each value to the value, for a stream fed in real time."""
    sent: dict[int, float] = {}
    taken: list[float] = []

    async def speak() -> None:
        begun = time.perf_counter()
        for index in range(chunks):
            await asyncio.sleep(max(0.0, begun + index * 0.04 - time.perf_counter()))
            begin = index * CHUNK % (signal.size - CHUNK)
            sent[index] = time.perf_counter()
            await socket.send(signal[begin : begin + CHUNK].tobytes())
        await socket.send("end")

    speaking = asyncio.create_task(speak())
    async for message in socket:
        told = json.loads(message)
        if "index" in told:
            taken.append(time.perf_counter() - sent[told["index"]])
        elif "done" in told:
            break
    await speaking
    assert len(taken) == chunks
    return taken


async def streams(url: str, signal: np.ndarray, seconds: float) -> tuple[list[float], list[float], int, str]:
    """Latencies of one stream and of as many as are taken, their number, and how one more is refused."""
    address = url.replace("http", "ws") + "/v1/stream?encoding=f32le"
    chunks = round(seconds * 25)
    async with connect(address) as socket:
        await socket.recv()
        alone = await feed(socket, signal, chunks)
    taken: list[ClientConnection] = []
    refusal = ""
    while not refusal and len(taken) < 500:
        socket = await connect(address)
        first = json.loads(await socket.recv())
        if "provenance" in first:
            taken.append(socket)
            continue
        try:
            await socket.recv()
        except ConnectionClosed:
            refusal = f"{first['error']} (close code {socket.close_code})"
    together = await asyncio.gather(*(feed(socket, signal, chunks) for socket in taken))
    for socket in taken:
        await socket.close()
    return alone, [one for latencies in together for one in latencies], len(taken), refusal


def resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def processor_s(pid: int) -> float:
    """Processor seconds that a server and its workers have used so far."""
    ticks = 0
    for one in [pid, *workers_of(pid)]:
        told = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(told[11]) + int(told[12])  # user, system
    return ticks / os.sysconf("SC_CLK_TCK")


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    return float(np.quantile(seconds, 0.5) * 1000), float(np.quantile(seconds, 0.99) * 1000)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--jobs", type=int, default=200, help="of a second, a route")
    arguments.add_argument("--clients", type=int, default=16)
    arguments.add_argument("--many", type=int, default=1000, help="jobs that memory is watched over; at least 200")
    arguments.add_argument("--seconds", type=float, default=20, help="of live speech")
    arguments.add_argument("--repeat", type=int, default=15, help="jobs of 10 s")
    arguments.add_argument("--workers", type=int, default=1)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        second, ten, short = (recording(folder, seconds / 60) for seconds in (1, 10, 0.2))
        kept = str(4 * (options.jobs + options.many))
        server = ServerProcess(folder, "--workers", str(options.workers), "--keep-jobs", kept)
        try:
            ready(server.url)
            figures = measure(server, folder, second, ten, short, options)
        finally:
            server.stop()
    keep("load", figures, options.json)


def measure(
    server: ServerProcess, folder: Path, second: Path, ten: Path, short: Path, options: object
) -> dict[str, object]:
    jobs, clients, many = options.jobs, options.clients, options.many  # type: ignore[attr-defined]
    url, sound = server.url, second.read_bytes()
    with asking(url) as client:
        process(client, folder, second, "warm")
    rows = []
    for route, work in (
        ("/process", lambda client, number: process(client, folder, second, f"job {number}")),
        ("/v1/predictions", lambda client, number: predict(client, sound)),
    ):
        before = finished(url)
        taken, seconds = at_once(url, clients, jobs, work)
        done = finished(url) - before
        assert done == jobs, f"{jobs - done} jobs were lost"
        memory = sum(map(resident_mb, [server.process.pid, *workers_of(server.process.pid)]))
        rows.append((route, jobs, clients, jobs / seconds, *quantiles(taken), memory, jobs - done))
    show(
        f"{jobs} recordings of 1 s from {clients} clients at once, 25 exact windows a second",
        ("route", "jobs", "clients", "jobs/s", "p50 ms", "p99 ms", "memory MB", "lost"),
        rows,
    )

    model, pairs = emow2v.load("lite"), []
    model.predict(ten).scores  # noqa: B018 (computes)
    with asking(url) as client:
        for number in range(options.repeat + 1):  # type: ignore[attr-defined]
            spent = processor_s(server.process.pid)
            served = process(client, folder, ten, f"ten {number}", 0.02)
            spent = processor_s(server.process.pid) - spent
            started, used = time.perf_counter(), time.process_time()
            model.predict(ten).scores  # noqa: B018
            own = time.perf_counter() - started
            pairs.append((served, own, served - own, spent, time.process_time() - used))
    job, engine, more, job_cpu, engine_cpu = (quantiles(list(one))[0] for one in zip(*pairs[1:], strict=True))
    show(
        "10 s of speech, from POST to finished, and by the engine alone in between; processor time of the server, and of the engine",
        ("POST to finished, p50 ms", "engine, p50 ms", "more, p50 of pairs, ms", "server, ms", "engine, ms"),
        [(job, engine, more, job_cpu, engine_cpu)],
    )

    signal, _ = audio.read(EXAMPLE)
    alone, together, most, refusal = asyncio.run(streams(url, signal, options.seconds))  # type: ignore[attr-defined]
    live = [(1, len(alone), *quantiles(alone)), (most, len(together), *quantiles(together))]
    show(
        "Live streams in real time, 25 values a second: from a value's audio to the value",
        ("streams", "values", "p50 ms", "p99 ms"),
        live,
    )
    console.print(f"one more: {refusal}")

    memory: list[tuple[float, float]] = []

    def small(client: httpx.Client, number: int) -> float:
        answer = client.post("/v1/predictions", data={"path": short.name, "format": "csv"})
        assert answer.status_code == 200, answer.text
        workers = sum(map(resident_mb, workers_of(server.process.pid)))
        memory.append((resident_mb(server.process.pid), workers))
        return 0.0

    before = finished(url)
    _, seconds = at_once(url, 4, many, small)
    assert finished(url) - before == many, "jobs were lost"
    first, last = (np.mean(part, axis=0) for part in (memory[:100], memory[-100:]))
    show(
        f"Resident memory over {many} jobs, MB ({many / seconds:.0f} jobs a second)",
        ("", "first hundred", "last hundred"),
        [("server", float(first[0]), float(last[0])), ("workers", float(first[1]), float(last[1]))],
    )
    return {
        "throughput": [dict(zip(("route", "jobs", "clients", "jobs_a_s", "p50_ms", "p99_ms", "memory_mb", "lost"), row, strict=True)) for row in rows],
        "ten_seconds": {"job_p50_ms": job, "engine_p50_ms": engine, "more_ms": more, "job_cpu_ms": job_cpu, "engine_cpu_ms": engine_cpu},
        "live": [dict(zip(("streams", "values", "p50_ms", "p99_ms"), row, strict=True)) for row in live],
        "refusal": refusal,
        "memory_mb": {"jobs": many, "server": [first[0], last[0]], "workers": [first[1], last[1]]},
    }  # fmt: skip


if __name__ == "__main__":
    main()
