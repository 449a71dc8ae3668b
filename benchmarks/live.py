"""Live streams of a server: processor time, and how long a value takes.

python benchmarks/live.py [--model lite-frames] [--streams 1,20,100] [--message 40] [--query frame_step=40ms]
                          [--seconds 12] [--rounds 1] [--beside OLDER/src] [--slower 1] [--json results.json]

The server is a process of its own, as users start it; a second process sends the sound of all streams in real time and receives the
values, so that its time is not the server's. Streams begin at different moments. The time of the server and its workers is read from
/proc, after the first seconds: "cores" is that time for a second of sound of all streams, also where the machine is too slow to
keep up, and "late" then says by how much the values of the last second came later than those of the first one. Latency counts from
the message with which the sound of a value was complete (for a model of frames: the sound that it looks ahead) to the value.
With --beside, the package of another folder serves in turns with this one. With --slower 4, sound comes at a quarter of its pace and
the server rests four times as long between its rounds, so that a machine that others use computes what a faster one would; latencies
are then divided by 4, and mean little. Linux.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from common import keep, parser, show
from emow2v import cards
from emow2v.audio import recording as audio
from emow2v.modelstore.verify import EXAMPLE
from job import ServerProcess

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from faults import workers_of

RATE = 16000
WARM_S = 2.0  # of sound, before the server's time counts
INDEX = re.compile(rb'"index": (\d+)')


async def feed(
    socket: ClientConnection, sound: bytes, message: int, pace: float, begin: float, until: float
) -> tuple[list[float], list[tuple[float, int]]]:
    """When each message was sent, and when each value came with its index."""
    sent: list[float] = []
    came: list[tuple[float, int]] = []

    async def speak() -> None:
        number = 0
        while (due := begin + number * message / pace) < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            at = number * message * 2 % (len(sound) - message * 2)
            sent.append(time.perf_counter())
            await socket.send(sound[at : at + message * 2])
            number += 1

    speaking = asyncio.create_task(speak())
    while not speaking.done():
        try:
            told = await asyncio.wait_for(socket.recv(decode=False), 0.5)
        except TimeoutError:
            continue
        now = time.perf_counter()
        came += [(now, int(found)) for found in INDEX.findall(told)]
    await speaking
    return sent, came


async def drive(
    url: str, query: str, streams: int, message_ms: int, seconds: float, slower: float, told: Connection
) -> dict[str, object]:
    signal, _ = audio.read(EXAMPLE)
    sound = (np.clip(signal, -1, 1) * 32767).astype("<i2")
    address = f"{url.replace('http', 'ws')}/v1/stream?{query}"
    sockets = []
    for _ in range(streams):
        sockets.append(await connect(address, max_queue=None, compression=None, ping_interval=None))
        first = json.loads(await sockets[-1].recv())
        if "provenance" not in first:
            raise SystemExit(first["error"])
    message = message_ms * RATE // 1000
    rng = np.random.default_rng(0)
    begin = time.perf_counter() + 0.2
    until = begin + WARM_S * slower + seconds
    feeding = [
        asyncio.create_task(
            feed(
                one,
                np.roll(sound, int(rng.integers(sound.size))).tobytes(),
                message,
                RATE / slower,
                begin + float(rng.uniform(0, 0.08 * slower)),
                until,
            )
        )
        for one in sockets
    ]
    await asyncio.sleep(begin + WARM_S * slower - time.perf_counter())
    told.send("begin")
    used = time.process_time()
    await asyncio.sleep(until - time.perf_counter())
    told.send("end")
    used = time.process_time() - used
    found = await asyncio.gather(*feeding)
    for one in sockets:
        one.transport.abort()
    return {"begin": begin, "until": until, "client": used / seconds, "streams": found}


def client(
    url: str, query: str, streams: int, message_ms: int, seconds: float, slower: float, told: Connection
) -> None:
    told.send(asyncio.run(drive(url, query, streams, message_ms, seconds, slower, told)))


def processor_s(pid: int) -> float:
    ticks = 0
    for one in [pid, *workers_of(pid)]:
        words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])  # user, system
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(
    source: Path, model: str, query: str, streams: int, message_ms: int, seconds: float, slower: float
) -> dict[str, float]:
    """Figures of one server with so many streams."""
    card = cards.find(model)
    step_s = float(re.search(r"frame_step=(\d+)ms", query)[1]) / 1000  # type: ignore[index]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(source), str(Path(__file__).resolve().parent)])
    os.environ["EMOW2V_SLOWER"] = str(slower)
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder), "--model", model, "--max-streams", str(streams), module="slow_server")
        try:
            while httpx.get(f"{server.url}/readyz", trust_env=False).status_code != 200:
                time.sleep(0.1)
            here, there = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=client, args=(server.url, query, streams, message_ms, seconds, slower, there)
            )
            process.start()
            there.close()  # so that a client that fails is noticed
            while here.recv() != "begin":
                pass
            used, started = processor_s(server.process.pid), time.perf_counter()
            while here.recv() != "end":
                pass
            used, taken = processor_s(server.process.pid) - used, time.perf_counter() - started
            told = here.recv()
            process.join()
        finally:
            server.stop()
    latencies, values, late = [], 0, []
    for sent, came in told["streams"]:
        own = []
        for now, index in came:
            if not told["begin"] + WARM_S * slower <= now <= told["until"]:
                continue
            values += 1
            needed = (index + 1) * step_s + (card.delay * card.frame_hop / RATE if card.one_pass else 0)
            number = min(len(sent) - 1, int(np.ceil(needed * 1000 / message_ms - 1e-6)) - 1)
            own.append((now - sent[number]) / slower)
        latencies += own
        if own:
            late.append(np.mean(own[-25:]) - np.mean(own[:25]))
    sound_s = values * step_s  # of all streams
    return {
        "cores": used / sound_s * streams,
        "used": used / taken,
        "rows_of_due": sound_s / (streams * seconds / slower),
        "p50_ms": float(np.quantile(latencies, 0.5) * 1000),
        "p95_ms": float(np.quantile(latencies, 0.95) * 1000),
        "late_ms": float(np.mean(late) * 1000),
        "client": told["client"],
    }  # fmt: skip


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--model", default="lite-frames")
    arguments.add_argument("--streams", default="1,20,100")
    arguments.add_argument("--message", type=int, default=40, help="ms of sound in a message")
    arguments.add_argument("--query", default="frame_step=40ms")
    arguments.add_argument("--seconds", type=float, default=12)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--slower", type=float, default=1, help="than real time")
    arguments.add_argument("--beside", type=Path, help="the folder src of another version")
    options = arguments.parse_args()
    here = Path(__file__).resolve().parents[1] / "src"
    rows, figures = [], []
    for streams in map(int, options.streams.split(",")):
        for number in range(options.rounds):
            for source in filter(None, (options.beside and options.beside.resolve(), here)):
                found = measured(
                    source, options.model, options.query, streams, options.message, options.seconds, options.slower
                )
                name = "this" if source == here else "other"
                rows.append(
                    (
                        name,
                        streams,
                        found["cores"],
                        found["used"],
                        found["rows_of_due"],
                        found["p50_ms"],
                        found["p95_ms"],
                        found["late_ms"],
                        found["client"],
                    )
                )
                figures.append({"package": name, "streams": streams, "round": number, **found})
    show(
        f"{options.model}, {options.query}, messages of {options.message} ms; cores of the server",
        (
            "package",
            "streams",
            "cores a second of sound",
            "cores used",
            "values of those due",
            "p50 ms",
            "p95 ms",
            "late ms",
            "client's cores",
        ),
        rows,
    )
    keep(
        "live",
        {"model": options.model, "query": options.query, "message_ms": options.message, "live": figures},
        options.json,
    )


if __name__ == "__main__":
    main()
