"""Commands run in the process of a test, with a model that is loaded already."""

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
