"""`emow2v serve`, and what the command line does where the extra `server` is not installed."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.extra import PACKAGES

ROOT = Path(__file__).parents[2]

# The command line in a process to which the packages of the extra are invisible
BARE = f"""
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {PACKAGES!r} else super().find_spec(name, path, target)

sys.meta_path[:] = [Hidden if finder is PathFinder else finder for finder in sys.meta_path]
for name in {PACKAGES!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{{name}} was not hidden")
from emow2v.cli.main import main
main()
"""


def bare(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_needs_the_server_says_what_to_install(command: str, tmp_path: Path) -> None:
    done = bare(command, folder=tmp_path)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(f"emow2v {command} needs packages that are not installed")
    assert done.stderr.endswith("run: pip install 'emow2v[server]'\n") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_all_else_works_without_the_server(tmp_path: Path) -> None:
    done = bare("predict", str(EXAMPLE), "-o", str(tmp_path), "--format", "json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "example.json").read_text())
    assert len(table["rows"]) == 321 and table["provenance"]["model"] == "lite"
    assert "lite" in bare("models", "list", folder=tmp_path).stdout
    assert "Arousal" in bare("cite", folder=tmp_path).stdout
    assert "--token" in bare("serve", "--help", folder=tmp_path).stdout


def test_the_extra_holds_these_packages_and_the_base_none_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = {line.partition(">")[0].replace("-", "_") for line in project["optional-dependencies"]["server"]}
    base = {line.partition(">")[0].replace("-", "_") for line in project["dependencies"]}
    assert extra == set(PACKAGES) and not extra & base
