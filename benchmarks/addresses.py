"""A long recording at an address, beside the same file on the disk: time to the first values, wall clock, processor time.

    python benchmarks/addresses.py [--minutes 60] [--model lite] [--context shared] [--format wav] [--rounds 3]
        [--delay 0] [--mbit 0] [--no-ranges] [--fsspec] [--json results.json]

The web server is a process of its own on this machine, and its processor time does not count. It gives ranges, waits
--delay milliseconds before each answer, and sends no more than --mbit megabits a second; 0 for no limit. Both ways are
computed in this process in turns, on all cores, with the checks and the temporary file that `emow2v serve` has;
with --fsspec as the command line and the library read addresses (extra `cloud`). Each
figure is the median of the rounds; the ratio is the median of the ratios of each round. The time that was waited for
the web server is an upper bound of what the network adds, also where other programs make the wall clock say nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile

import emow2v
from common import console, keep, parser, show
from emow2v.audio.recording import Source
from emow2v.modelstore.verify import EXAMPLE
from emow2v.sources.remote import Remote
from emow2v.sources.web import Client, Web
from file_server import serving


def make(folder: Path, minutes: float, ending: str) -> Path:
    """The shipped example again and again, 16 kHz and 16 bit."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    path = folder / f"talk.{ending}"
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        left = round(minutes * 60 * rate)
        while left > 0:
            file.write(signal[:left])
            left -= len(signal)
    return path


def compute(model: emow2v.Model, source: Source, context: str) -> dict[str, float]:
    """Seconds to the first values, in all, and of this process's processors; and the number of values."""
    started, processor = time.perf_counter(), time.process_time()
    first, rows = 0.0, 0
    for block in model.predict(source, context=context):  # type: ignore[arg-type]
        rows += len(block)
        first = first or time.perf_counter() - started
    return {
        "first": first,
        "wall": time.perf_counter() - started,
        "processor": time.process_time() - processor,
        "rows": rows,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--model", default="lite")
    arguments.add_argument("--context", default="shared", choices=["shared", "window"])
    arguments.add_argument("--format", default="wav", choices=["wav", "flac", "mp3"])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--delay", type=float, default=0)
    arguments.add_argument("--mbit", type=float, default=0)
    arguments.add_argument("--no-ranges", action="store_true")
    arguments.add_argument("--fsspec", action="store_true")
    options = arguments.parse_args()
    model = emow2v.load(options.model)
    model.predict(np.zeros(16000 * 30, np.float32), 16000, context=options.context).load()
    near: list[dict[str, float]] = []
    far: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        path = make(Path(name), options.minutes, options.format)
        slow = serving(path.parent, delay_ms=options.delay, mbit=options.mbit, ranges=not options.no_ranges)
        with slow as root:
            url = f"{root}/{path.name}"
            host = url.split("/")[2]
            web = Web((host,), ("127.0.0.0/8",))
            for _ in range(options.rounds):
                near.append(compute(model, path, options.context))
                if options.fsspec:
                    far.append(compute(model, url, options.context) | {"waiting": float("nan")})
                    continue
                client = Client(web)
                with closing(Remote(web.address(url), client, Path(name))) as remote:
                    far.append(compute(model, remote, options.context))
                far[-1]["waiting"] = web.max_s - client.deadline.total_s
            assert [one["rows"] for one in near] == [one["rows"] for one in far]
        size = path.stat().st_size
    figures = {
        what: {
            "disk": statistics.median(one[what] for one in near),
            "address": statistics.median(one[what] for one in far),
            "ratio": statistics.median(b[what] / a[what] for a, b in zip(near, far, strict=True)),
        }
        for what in ("first", "wall", "processor")
    }
    show(
        f"{options.minutes:g} min of {options.format} ({size / 1e6:.0f} MB), {model.name}, {options.context}, seconds",
        ["", "disk", "address", "ratio"],
        [
            [{"first": "first values", "wall": "wall clock", "processor": "processor time"}[what], *one.values()]
            for what, one in figures.items()
        ],
    )
    waiting = f"; {statistics.median(one['waiting'] for one in far):.2f} s of waiting for the web server"
    console.print(f"{near[0]['rows']:.0f} values; {options.rounds} rounds{'' if options.fsspec else waiting}")
    rounds = {"disk": near, "address": far}
    keep(
        "addresses",
        {"options": {key: str(value) for key, value in vars(options).items()}, **figures, "rounds": rounds},
        options.json,
    )


if __name__ == "__main__":
    main()
