"""Workers and the server killed at random moments: nothing is lost, nothing is done twice, no file is half."""

import os
import sys
import time
from pathlib import Path

import pytest

from faults import Storm

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds worker processes in /proc")

# `EMOW2V_FAULT_SEED` repeats a run that failed; benchmarks/faults.py runs longer ones.
SEED = int(os.environ.get("EMOW2V_FAULT_SEED") or time.time_ns() % 1_000_000)


@pytest.mark.slow
def test_a_hundred_jobs_while_processes_are_killed(tmp_path: Path) -> None:
    print(f"EMOW2V_FAULT_SEED={SEED}")  # shown where it fails
    storm = Storm(tmp_path / "storm", SEED, pause_s=1.0)
    try:
        storm.rage(100, kills=10)  # each costs the start of a process, most of the test's time
    finally:
        if storm.process is not None and storm.process.poll() is None:
            storm.stop(kill=True)
    print(f"{storm.worker_kills} workers and {storm.server_kills} servers were killed")
    assert storm.worker_kills and len(storm.posted) == 100
    storm.check(storm.undisturbed(tmp_path / "calm"))
