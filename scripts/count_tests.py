"""Count what several runs of pytest ran together: every test there is, once.

EMOW2V_TALLY=quick pytest -m "not slow"; EMOW2V_TALLY=slow pytest -m slow
python scripts/count_tests.py quick slow
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def faults(whole: Iterable[str], runs: Iterable[Iterable[str]]) -> list[str]:
    """A sentence for each test that did not run, ran twice, or ran and is none."""
    there, ran = set(whole), Counter(name for run in runs for name in run)
    return [
        *(f"{name} ran in none of the runs." for name in sorted(there - ran.keys())),
        *(f"{name} ran {times} times." for name, times in sorted(ran.items()) if times > 1),
        *(f"{name} ran, and is not among the tests that are there." for name in sorted(ran.keys() - there)),
    ]


def main(tallies: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    whole = [line for line in told.splitlines() if "::" in line]
    runs = [Path(path).read_text(encoding="utf-8").splitlines() for path in tallies]
    found = faults(whole, runs)
    print(*found[:20], sep="\n", file=sys.stderr, end="\n" if found else "")
    print(f"{len(whole)} tests; the runs had {' + '.join(str(len(run)) for run in runs)}")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
