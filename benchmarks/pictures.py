"""Pictures of an hour: processor time of `emow2v plot` for values over time and for turns, by kind of picture.

    python benchmarks/pictures.py --minutes 60 --turns 1000

The time of NumPy's and matplotlib's import is a row of its own. Values are made: no model is run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from emow2v.formats.plot import figure_of, save

STEP_S = 0.04


def curves(minutes: float, turns: int, kind: str) -> object:
    """Values of a recording: smooth noise with gaps, or turns of two speakers."""
    from emow2v.formats.pictures import Curves

    random = np.random.default_rng(0)
    if kind == "turns":
        starts = np.sort(random.uniform(0, minutes * 60, turns))
        ends = starts + random.uniform(0.5, 4, turns)
        speakers = [f"S{number % 3}" for number in range(turns)]
        return Curves("talk.wav", starts, ends, random.random((turns, 3)), random.random(turns), speakers)
    rows = int(minutes * 60 / STEP_S)
    starts = np.arange(rows) * STEP_S
    knots = np.linspace(0, rows, rows // 25 + 2)
    scores = np.stack([np.interp(np.arange(rows), knots, random.random(knots.size)) for _ in range(3)], axis=1)
    scores[np.interp(np.arange(rows), knots[::4], random.random(knots[::4].size)) < 0.2] = np.nan
    return Curves("talk.wav", starts, starts + STEP_S, scores, random.random(rows))


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of a call in seconds, all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--recordings", type=int, default=1, help="on one page")
    given = parser.parse_args()
    table = Table("content", "picture", "seconds", "KB", box=None)

    def load() -> None:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401

    table.add_row("", "import of matplotlib", f"{processor_seconds(load):.2f}", "")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("values", "turns"):
            shown = [curves(given.minutes, given.turns, kind)] * given.recordings
            for ending in (".png", ".svg", ".pdf"):
                path = Path(folder) / f"{kind}{ending}"
                used = processor_seconds(lambda: save(figure_of(path, shown, plane=True), path))  # noqa: B023
                table.add_row(kind, ending, f"{used:.2f}", f"{path.stat().st_size / 1000:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
