"""Commands run in a process of their own, or in that of a test with a model that is loaded already."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from emow2v.cli import main
from emow2v.model import Model


def caller(monkeypatch: pytest.MonkeyPatch, model: Model, *words: str) -> Callable[..., Any]:
    """Runs a command line that begins with `words`, and gives its result."""
    monkeypatch.setattr("emow2v.model.load", lambda name, **options: model)

    def call(*arguments: str | Path) -> Any:
        return CliRunner().invoke(main.app, [*words, *map(str, arguments)])

    return call


def run(
    *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command line in a process of its own."""
    command = [sys.executable, "-m", "emow2v", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, check=False)


def predictor(monkeypatch: pytest.MonkeyPatch, model: Model) -> Callable[..., Any]:
    """A function that runs `emow2v predict` with arguments, and checks the exit code."""
    call = caller(monkeypatch, model)

    def run(*arguments: str, code: int = 0) -> Any:
        result = call("predict", *arguments)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run
