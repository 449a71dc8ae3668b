"""A server under fire: workers and the server itself killed at random moments while jobs run; then every promise is checked.

python benchmarks/faults.py [--jobs 1000] [--workers 2] [--names 20] [--seed N]

Jobs are requests of DISCOVER, predictions of /v1, and jobs of two recordings (/v1/batches). Ends with exit code 1 and the
seed where a job was lost, done twice or left a file that is not whole. The same storm over a hundred jobs is in the tests
(tests/server/jobs/test_faults.py). Linux only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import console, keep, parser, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from faults import Storm


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--jobs", type=int, default=1000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--names", type=int, default=0, help="people who share the server, with the same jobIDs")
    arguments.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = arguments.parse_args()
    console.print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as name:
        storm = Storm(Path(name) / "storm", options.seed, workers=options.workers, names=options.names)
        started = time.perf_counter()
        try:
            storm.rage(options.jobs)
            taken = time.perf_counter() - started
            storm.check(storm.undisturbed(Path(name) / "calm"))
        finally:
            if storm.process is not None and storm.process.poll() is None:
                storm.stop(kill=True)
    figures = {
        "jobs": len(storm.posted),
        "workers_killed": storm.worker_kills,
        "servers_killed": storm.server_kills,
        "seconds": taken,
    }
    if options.names:
        console.print(f"{options.names} names asked {storm.spied} times for what belongs to another: 404 each time")
    show(
        "All finished once, every file as without faults",
        ("jobs", "workers killed", "servers killed", "s"),
        [tuple(figures.values())],
    )
    keep("faults", {"seed": options.seed, **figures}, options.json)


if __name__ == "__main__":
    main()
