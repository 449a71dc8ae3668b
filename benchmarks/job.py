"""Seconds from a posted request to its finished results, and memory, with the embedded model.

python benchmarks/job.py [--minutes 0.1667 1 10 60] [--json results.json]

A server runs as a process of its own, as users run it; recordings are noise-like speech made of the
shipped example, 16 kHz wav. "cold" counts the start of the server and its first job, "warm" a later one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import emow2v
from common import console, keep, parser, show
from emow2v.audio import recording as audio
from emow2v.cli.demo import post, request, wait
from emow2v.modelstore.verify import EXAMPLE


def recording(folder: Path, minutes: float) -> Path:
    """The example over and over, 16 bit; written block by block."""
    import wave

    signal, rate = audio.read(EXAMPLE)
    block = (signal * 32767).astype("<i2")
    path = folder / f"{minutes:g}.wav"
    total = int(minutes * 60 * rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        for begin in range(0, total, block.size):
            file.writeframes(block[: total - begin].tobytes())
    return path


class ServerProcess:
    """`emow2v serve` as users start it, with its resident memory watched."""

    def __init__(self, folder: Path, *options: str, module: str = "emow2v") -> None:
        command = [sys.executable, "-m", module, "serve", "--port", "0", "--data-dir", str(folder)]
        command += ["--work-dir", str(folder / "work"), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        self.url = found[0]
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        while self.process.poll() is None and status.exists():
            match = re.search(r"VmRSS:\s+(\d+)", status.read_text())
            self.peak = max(self.peak, int(match[1]) // 1024 if match else 0)
            time.sleep(0.05)

    def job(self, folder: Path, path: Path) -> float:
        """Seconds from POST to finished."""
        started = time.perf_counter()
        post(self.url, "process", request(folder, path))
        status = wait(self.url, "demo")
        assert status == 2, status
        return time.perf_counter() - started

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def first_value_ms() -> float:
    """Milliseconds from the last sample of a window to its value, in a live stream of 40 ms chunks; median."""
    signal, _ = audio.read(EXAMPLE)
    session = emow2v.load("lite").stream()
    times = []
    for begin in range(0, 160 * 640, 640):
        started = time.perf_counter()
        blocks = list(session.add(signal[begin : begin + 640], flush=True))
        times.append((time.perf_counter() - started) * 1000)
        assert sum(map(len, blocks)) == 1
    return float(np.median(times[10:]))


def import_ms() -> float:
    """Milliseconds that `import emow2v` adds to an empty interpreter; smallest of five."""
    code = "import time; t = time.perf_counter(); import emow2v, emow2v as e; e.load; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return min(float(run.stdout) for run in runs) * 1000


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, nargs="+", default=[1 / 6, 1, 10])
    arguments.add_argument("--repeat", type=int, default=3, help="warm jobs a row; the median is shown")
    options = arguments.parse_args()
    rows = []
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = recording(folder, minutes)
            started = time.perf_counter()
            server = ServerProcess(folder)
            server.job(folder, path)
            cold = time.perf_counter() - started
            warm = float(np.median([server.job(folder, path) for _ in range(options.repeat if minutes <= 1 else 1)]))
            server.stop()
            rows.append({"minutes": minutes, "cold_s": cold, "warm_s": warm, "times_real_time": minutes * 60 / warm,
                         "ms_a_window": warm / (minutes * 60 * 25) * 1000, "peak_mb": server.peak})  # fmt: skip
            console.print(f"{minutes:g} min: cold {cold:.2f} s, warm {warm:.2f} s")
    show(
        "POST to finished, lite, 25 exact windows a second",
        ("recording", "cold s", "warm s", "x real time", "ms a window", "peak MB"),
        [(f"{row['minutes'] * 60:g} s", row["cold_s"], row["warm_s"], row["times_real_time"], row["ms_a_window"],
          row["peak_mb"]) for row in rows],
    )  # fmt: skip
    live, imported = first_value_ms(), import_ms()
    console.print(f"live stream: a value {live:.1f} ms after its audio (median); import emow2v: {imported:.0f} ms")
    keep("job", {"jobs": rows, "live_ms": live, "import_ms": imported}, options.json)


if __name__ == "__main__":
    main()
