"""A long recording with many turns: processor time and memory of each way, against the plain run and a tenth of the length.

python benchmarks/long_turns.py [--minutes 120] [--turns 2000] [--frame-step 40ms] [--json results.json]

Each row is a process of its own, `emow2v predict` with lite on one thread. Turns last 2.6 s, as many a minute in both
lengths. --frame-step concerns the plain run and --pool; at 40 ms two hours take 13 minutes of processor time each.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import console, keep, parser, show
from job import recording
from memory import peak_mb

TURN_S = 2.6
WAYS = {
    "plain": [],
    "plain, --speech": ["--speech"],
    "turns, --pool": ["--segments", "--pool"],
    "turns, one value each": ["--segments"],
}


def segmentation(folder: Path, minutes: float, turns: int) -> Path:
    """Turns of two speakers at equal distances, in a table."""
    path = folder / f"{minutes:g}.csv"
    step = 60 * minutes / turns
    rows = (f"{k * step:.3f},{k * step + min(step, TURN_S):.3f},{'VP' if k % 2 else 'IV'}" for k in range(turns))
    path.write_text("\n".join(["start,end,speaker", *rows]) + "\n")
    return path


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=120)
    arguments.add_argument("--turns", type=int, default=2000)
    arguments.add_argument("--frame-step", default="40ms")
    options = arguments.parse_args()
    rows = []
    for minutes in (options.minutes / 10, options.minutes):
        plain = 0.0
        with tempfile.TemporaryDirectory() as name:
            path = recording(Path(name), minutes)
            turns = segmentation(Path(name), minutes, round(options.turns * minutes / options.minutes))
            for way, more in WAYS.items():
                command = [sys.executable, "-m", "emow2v", "predict", str(path), "-o", f"{name}/{len(rows)}", "--threads", "1",
                           "--frame-step", options.frame_step]  # fmt: skip
                command += [
                    argument for one in more for argument in ([one, str(turns)] if one == "--segments" else [one])
                ]
                peak, processor_s = peak_mb(command)
                plain = plain or processor_s
                rows.append({"minutes": minutes, "way": way, "processor_s": processor_s, "of plain": processor_s / plain,
                             "peak_mb": peak})  # fmt: skip
                console.print(f"{minutes:g} min, {way}: {processor_s:.1f} s, {peak:.0f} MB")
    show(
        f"{options.turns} turns in {options.minutes:g} min, values every {options.frame_step}",
        ("minutes", "way", "processor s", "of plain", "peak MB"),
        [tuple(row.values()) for row in rows],
    )
    keep("long_turns", {"turns": options.turns, "frame_step": options.frame_step, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
