"""The demonstration shows the main job; it and `make demo` fail if nothing was made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from commands import run
from emow2v.cli import demo
from emow2v.errors import Emow2vError
from emow2v.trajectory import DIMENSIONS

ROOT = Path(__file__).resolve().parents[2]
needs_make = pytest.mark.skipif(
    not shutil.which("make") or not (ROOT / "Makefile").exists(), reason="no make, or no Makefile here"
)


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    done = run("demo", "-o", tmp_path / "mit Leerzeichen")
    assert done.returncode == 0, done.stderr.decode()
    assert b"321 values a curve at 25 a second and 321 x 1024 embeddings" in done.stdout
    names = {path.name for path in (tmp_path / "mit Leerzeichen").iterdir()}
    assert {"example.arousal.annotation", "example.embeddings.stream~", "example.png"} <= names
    assert (tmp_path / "mit Leerzeichen" / "example.png").read_bytes().startswith(b"\x89PNG")


def test_results_without_a_value_are_no_success(tmp_path: Path) -> None:
    for name in DIMENSIONS:
        path = tmp_path / f"example.{name}.annotation"
        ssi_annotation(path)
    with pytest.raises(Emow2vError, match="arousal has no values; expected one every 40 ms"):
        demo._show(tmp_path, tmp_path / "example.flac", 1.0, Console(quiet=True))


def ssi_annotation(path: Path) -> None:
    path.write_text(
        '<?xml version="1.0" ?><annotation ssi-v="3"><info ftype="ASCII" size="0"/>'
        '<scheme name="arousal" type="CONTINUOUS" sr="25" min="0" max="1"/></annotation>'
    )
    path.with_name(f"{path.name}~").write_text("")


@needs_make
@pytest.mark.parametrize(
    ("body", "passes"),
    [
        ("echo emow2v 0.1.0", False),  # every command did this with Typer 0.12.5
        ("mkdir -p demo-output", False),
        ("mkdir -p demo-output; : >demo-output/example.arousal.annotation~", False),
        ("mkdir -p demo-output; touch -d 2020-01-01 demo-output/old; exit 1", False),
        ("sleep 0.1; mkdir -p demo-output; echo 0.5 >demo-output/example.arousal.annotation~", True),
    ],
)
def test_make_demo_looks_at_what_was_made(tmp_path: Path, body: str, passes: bool) -> None:
    version = "{}.{}.{}".format(*sys.version_info[:3])
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/demo.txt", "pyproject.toml"):
        (tmp_path / name).write_text("")
    commands = tmp_path / ".venv-demo" / "bin"
    commands.mkdir(parents=True)
    (commands / "emow2v").write_text(f"#!/bin/sh\n{body}\n")
    (commands / "emow2v").chmod(0o755)
    for stamp in ("ready", version):  # `ready` was the stamp before it bore the version
        (tmp_path / ".venv-demo" / stamp).write_text("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "demo", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) is passes, done
    if not passes and "exit 1" not in body:
        assert "expected demo-output/example.arousal.annotation~" in done.stderr


@needs_make
def test_a_python_that_is_too_old_or_absent_is_one_sentence(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = tmp_path / "python3.9"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 2); $2"\n')
    old.chmod(0o755)
    for python, fault in ((old, "is 3.9.2"), ("python3.99", "is no Python")):
        done = subprocess.run(["make", "test", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and f"{fault}; expected Python 3.11 or newer" in done.stderr
