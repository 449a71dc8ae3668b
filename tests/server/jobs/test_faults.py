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


def raged(storm: Storm, jobs: int, kills: int) -> None:
    """Rage, and leave no process behind."""
    print(f"EMOW2V_FAULT_SEED={SEED}")  # shown where it fails
    try:
        storm.rage(jobs, kills=kills)  # each costs the start of a process, most of the test's time
    finally:
        if storm.process is not None and storm.process.poll() is None:
            storm.stop(kill=True)
    print(f"{storm.worker_kills} workers and {storm.server_kills} servers were killed")


@pytest.mark.slow
def test_a_hundred_jobs_while_processes_are_killed(tmp_path: Path) -> None:
    storm = Storm(tmp_path / "storm", SEED, pause_s=1.0)
    raged(storm, 100, kills=10)
    assert storm.worker_kills and len(storm.posted) == 100
    storm.check(storm.undisturbed(tmp_path / "calm"))


@pytest.mark.slow
def test_twenty_names_see_only_their_own_while_processes_are_killed(tmp_path: Path) -> None:
    storm = Storm(tmp_path / "storm", SEED, pause_s=1.0, names=20)
    raged(storm, 60, kills=4)
    assert storm.worker_kills and storm.spied > 100 and len({owner for owner, _ in storm.posted}) == 20
    storm.check(storm.undisturbed(tmp_path / "calm"))
