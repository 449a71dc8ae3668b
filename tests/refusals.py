"""What an operating system refuses, where a test says so."""

import os
from pathlib import Path
from typing import Any

import pytest


def refuse_folder(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Folders called `name` cannot be listed, as on a network share that has gone."""
    scandir = os.scandir

    def scan(place: Any) -> Any:
        if not isinstance(place, int) and Path(place).name == name:  # pytest removes folders by their descriptors
            raise OSError(number, os.strerror(number), str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", scan)
