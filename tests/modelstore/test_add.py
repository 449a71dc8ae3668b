"""A package from elsewhere becomes a model with a name, or nothing changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import emow2v
from emow2v import cards
from emow2v.cli.main import app
from emow2v.engines import installed
from emow2v.errors import Emow2vError, ModelError
from emow2v.modelstore import install
from emow2v.modelstore.add import add
from emow2v.storage.home import models_folder


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy"))


def test_an_added_model_is_found_by_its_name_and_answers_alike(package: Path) -> None:
    result = CliRunner().invoke(app, ["models", "add", str(package), "--name", "ours"])
    assert result.exit_code == 0 and "installed ours in" in result.output, result.output
    signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    by_name, by_folder = emow2v.load("ours"), emow2v.load(package)
    np.testing.assert_array_equal(by_name(signal, 16000)["logits"], by_folder(signal, 16000)["logits"])
    assert "ours" in {card.name for card in cards.available()} and cards.find("ours").details["verified"]
    with pytest.raises(ModelError, match=r"is installed already.*--force"):
        add(package, "ours")
    assert add(package, "ours", replace=True).card.name == "ours"
    assert CliRunner().invoke(app, ["models", "remove", "ours"]).exit_code == 0
    assert "ours" not in {card.name for card in cards.available()}


def test_what_cannot_be_added_says_why_and_leaves_nothing(package: Path, copy: Path, checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="is a checkpoint; run: emow2v export"):
        add(checkpoint)
    with pytest.raises(ModelError, match="is no folder"):
        add(copy / "missing")
    for name in ("lite", "msp-dim"):
        with pytest.raises(ModelError, match="a published model"):
            add(package, name)
    for name in ("../evil", ".hidden", "a b", "x" * 65):
        with pytest.raises(ModelError, match="cannot be a name"):
            add(package, name)
    content = json.loads((copy / "card.json").read_text())
    for row in content["expected"]:
        row["logits"] = [value + 0.1 for value in row["logits"]]
    (copy / "card.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="does not give the numbers in its card"):
        add(copy, "ours")
    (copy / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is damaged"):
        add(copy, "ours")
    assert not models_folder().is_dir() or not [path for path in models_folder().iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["x" * 300, "談" * 100, "a\0b", "y" * 5000, "z" * 256])
def test_a_name_that_no_disk_takes_is_a_sentence_in_every_command_of_models(name: str) -> None:
    """Path.is_dir raised, and a traceback came."""
    works = [lambda: add(Path(name)), lambda: install.pull("msp-dim", origin=name)]
    if installed("torch"):
        from emow2v.training.finetune.prune import source

        works.append(lambda: source(name))
    for work in works:
        with pytest.raises(Emow2vError) as raised:
            work()
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
