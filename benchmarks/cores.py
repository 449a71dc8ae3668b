"""How busy the processor cores are while `emow2v predict` computes long recordings, until the last one is written.

    python benchmarks/cores.py [--minutes 60] [--recordings 7] [-- --unit files]

The recordings are made of the shipped example, with noise, 48 kHz, two channels; their lengths differ by up to five times.
Whatever follows `--` is given to the command, whose values over time are 25 a second otherwise.

Every 20 ms the threads of the command are counted that compute, or could if a core were free. A core counts as busy if
there is such a thread for it. So other programs on the machine do not change the figures; they only take time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from common import keep, parser, show
from emow2v.engines import cores
from emow2v.modelstore.verify import EXAMPLE

RATE = 48_000
EVERY_S = 0.02


def make(folder: Path, recordings: int, minutes: float) -> None:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    voice = soxr.resample(signal, rate, RATE)
    draws = np.random.default_rng(0)
    shares = draws.uniform(1, 5, recordings)
    for number, seconds in enumerate(shares / shares.sum() * minutes * 60):
        with soundfile.SoundFile(folder / f"{number:03}.wav", "w", RATE, 2, "PCM_16") as file:
            left = round(seconds * RATE)
            while left > 0:
                part = np.roll(voice, int(draws.integers(voice.size)))[:left] * draws.uniform(0.3, 1)
                file.write(np.stack([part, 0.8 * part + draws.normal(0, 1e-3, part.size)], 1))
                left -= part.size


def ready(process: int) -> int:
    """Number of threads that compute, or wait for a core."""
    count = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        try:
            count += (task / "stat").read_text().rpartition(") ")[2].startswith("R")
        except OSError:  # it has ended
            continue
    return count


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--recordings", type=int, default=7)
    arguments.add_argument("command", nargs="*")
    given = arguments.parse_args()
    number = cores()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "recordings")
        folder.mkdir()
        make(folder, given.recordings, given.minutes)
        options = [str(folder), "-o", str(Path(place, "results")), *given.command]
        began, before = time.perf_counter(), os.times()
        process = subprocess.Popen([sys.executable, "-m", "emow2v", "predict", *options], stderr=subprocess.DEVNULL)
        samples: list[tuple[float, int]] = []
        while process.poll() is None:
            samples.append((time.perf_counter() - began, min(number, ready(process.pid))))
            time.sleep(EVERY_S)
        wall, after = time.perf_counter() - began, os.times()
    if process.returncode:
        sys.exit(f"the command ended with {process.returncode}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    times, busy = np.array([time for time, _ in samples]), np.array([count for _, count in samples]) / number * 100
    tenth = wall / 10
    rows = [
        (name, *(float(busy[(times >= first) & (times < last)].mean()) for first, last in spans))
        for name, spans in (
            ("whole run", [(0, wall)]),
            *((f"tenth {part + 1}", [(part * tenth, (part + 1) * tenth)]) for part in range(10)),
            ("last 2 s", [(wall - 2, wall)]),
        )
    ]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    title = (
        f"{given.minutes:g} minutes in {given.recordings} recordings, {' '.join(given.command) or '25 values a second'}: "
        f"{wall:.0f} s, {spent:.0f} s of processors, {number} cores; load {load}"
    )
    columns = ("part of the run", "cores busy %")
    show(title, columns, rows)
    keep("cores", {"title": title, "columns": columns, "rows": rows}, given.json)


if __name__ == "__main__":
    main()
