"""Inputs that nobody meant, many of them, through every parser and door of the server; counts what came of them.

python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--only "SSI streams"]

An input is taken, or refused with one of the project's own errors. Anything else (another exception, a 500, an answer that
takes longer than a minute) ends the run with exit code 1 and the smallest such input that Hypothesis finds. The doors and their
inputs are those of the tests (tests/fuzzing.py).
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from common import console, keep, parser, show
from emow2v.errors import Emow2vError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fuzzing import TARGETS, Ground, Target

CHUNK = 2000  # inputs; Hypothesis remembers those of one run
HANG_S = 60


def run(ground: Ground, target: Target, count: int, seed: int) -> tuple[int, int, float]:
    """How many inputs were taken and refused, and the longest time that one took in seconds."""
    taken = refused = 0
    longest = 0.0
    while taken + refused < count:
        before = taken + refused

        @seeded(seed)
        @settings(
            max_examples=min(CHUNK, count - before),
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(target.inputs(ground))
        def one(given: object) -> None:
            nonlocal taken, refused, longest
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            started = time.perf_counter()
            try:
                target.feed(ground, given)
                taken += 1
            except Emow2vError:
                refused += 1
            longest = max(longest, time.perf_counter() - started)

        one()
        seed += 1
        if taken + refused == before:
            raise SystemExit("no inputs are left")
    faulthandler.cancel_dump_traceback_later()
    return taken, refused, longest


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--inputs", type=int, default=100_000, help="of all doors together")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS))
    options = arguments.parse_args()
    logging.disable(logging.CRITICAL)  # jobs that fail, by the thousand
    shares = sum(TARGETS[name].share for name in options.only)
    rows = []
    with Ground() as ground:
        for name in options.only:
            target = TARGETS[name]
            started = time.perf_counter()
            taken, refused, longest = run(
                ground, target, round(options.inputs * target.share / shares) + 1, options.seed
            )
            rows.append((name, taken + refused, taken, refused, longest * 1000, time.perf_counter() - started))
            console.print(f"{name}: {taken + refused}")
    columns = ("door", "inputs", "taken", "refused", "longest ms", "s")
    show(f"{sum(row[1] for row in rows)} inputs, none of which met another error", columns, rows)
    keep("fuzz", {"seed": options.seed, "rows": [dict(zip(columns, row, strict=True)) for row in rows]}, options.json)


if __name__ == "__main__":
    main()
