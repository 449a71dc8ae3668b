"""The count of tests that .ci/run makes sees what it is for."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch):
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not in the source distribution")
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("count_tests").faults


def test_a_whole_is_the_sum_of_its_runs(faults) -> None:
    assert faults(["a", "b", "c"], [["b"], ["a", "c"]]) == []


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([["a"], ["c"]], "b ran in none of the runs."),
        ([["a", "b"], ["b", "c"]], "b ran 2 times."),
        ([["a", "b"], ["c", "d"]], "d ran, and is not among the tests that are there."),
    ],
)
def test_what_is_missing_or_twice_is_named(faults, runs: list[list[str]], sentence: str) -> None:
    assert faults(["a", "b", "c"], runs) == [sentence]


@pytest.mark.parametrize("parallel", [[], ["-n", "1"]])
def test_a_run_tells_what_it_ran(tmp_path: Path, parallel: list[str]) -> None:
    (tmp_path / "conftest.py").write_bytes(Path(__file__).parents[1].joinpath("conftest.py").read_bytes())
    (tmp_path / "test_two.py").write_text(
        "import pytest\ndef test_one(): pass\n@pytest.mark.skip\ndef test_two(): pass\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["EMOW2V_TALLY"] = str(tmp_path / "tally")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *parallel, str(tmp_path)]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "tally").read_text().splitlines() == ["test_two.py::test_one", "test_two.py::test_two"]
