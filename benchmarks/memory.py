"""Peak memory of `emow2v predict` on long recordings: flat, whatever the length.

python benchmarks/memory.py [--minutes 10 60 240] [--json results.json]

Each row is a process of its own. lite computes windows at a step of 1 s, and every 40 ms in shared context; at 40 ms with
exact windows an engine that only gives zeros stands in, since the real one would take half an hour for four hours of
speech: decoding, windows and writing (four formats, embeddings too) are the real ones. Recordings are 16 kHz wav files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import console, keep, parser, show
from job import recording

STUB = """
import sys
import numpy as np
from emow2v.engines import openvino

def run(self, signal, lengths=None):
    return np.zeros((len(signal), 1024), np.float32), np.zeros((len(signal), 3), np.float32), None

openvino.OpenVINOEngine.run = openvino.OpenVINOEngine.run_parallel = run
from emow2v.cli.main import main
main()
"""
WAYS = {
    "lite, a window every second": (
        [sys.executable, "-m", "emow2v"],
        ["--frame-step", "1s", "--left-context", "0s"],
        "csv",
    ),
    "lite, shared context, every 40 ms": ([sys.executable, "-m", "emow2v"], ["--context", "shared"], "csv,annotation"),
    "no network, a window every 40 ms": ([sys.executable, "-c", STUB], [], "csv,json,annotation,stream"),
}


def peak_mb(command: list[str]) -> tuple[float, float]:
    """Largest resident memory of a command, and the processor's seconds."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, nargs="+", default=[10, 60, 240])
    options = arguments.parse_args()
    rows = []
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as name:
            path = recording(Path(name), minutes)
            for way, (start, framing, formats) in WAYS.items():
                out = Path(name) / "out"
                command = [*start, "predict", str(path), "-o", str(out), "--format", formats, *framing]
                peak, processor_s = peak_mb(command)
                written = sum(file.stat().st_size for file in out.iterdir()) / 1e6
                for file in out.iterdir():
                    file.unlink()
                rows.append(
                    {"way": way, "minutes": minutes, "peak_mb": peak, "processor_s": processor_s, "written_mb": written}
                )
                console.print(f"{way}, {minutes:g} min: {peak:.0f} MB")
    rows.sort(key=lambda row: str(row["way"]))
    show(
        "Peak memory of predict",
        ("way", "minutes", "peak MB", "processor s", "written MB"),
        [tuple(row.values()) for row in rows],
    )
    keep("memory", {"rows": rows}, options.json)


if __name__ == "__main__":
    main()
