"""Models from the command line."""

import json

import pytest

from commands import caller
from emow2v import cards
from emow2v.model import Model


@pytest.fixture
def invoke(lite: Model, monkeypatch):
    """The command line in this process, with the model loaded already."""
    return caller(monkeypatch, lite)


def test_models(invoke) -> None:
    assert "lite" in invoke("models", "list").stdout
    assert json.loads(invoke("models", "info", "lite", "--json").stdout)["licence"] == "CC-BY-NC-SA-4.0"
    lines = invoke("models", "info", "lite").stdout.splitlines()
    assert (
        len(lines) == 10
        and lines[0].startswith(f"lite {cards.find('lite').version}: ")
        and "licence: CC-BY-NC-SA-4.0" in lines
    )
