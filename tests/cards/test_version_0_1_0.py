"""Packages that emow2v 0.1.0 wrote: they are read as they are, and what a killed 0.1.0 left disturbs nobody."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emow2v
from emow2v import cards
from emow2v.errors import ModelError
from emow2v.modelstore import install, verify

# What 0.1.0's `emow2v export` and `models verify` wrote, in its order, of another network than the one below; the graph
# itself is that of `lite`, which is the same file in 0.1.0.
EXPORTED: dict[str, Any] = {
    "name": "small", "version": "4487b77e",
    "description": "wav2vec2 with 2 layers and a regression head, exported from a checkpoint.",
    "licence": "CC-BY-NC-SA-4.0", "citation": "", "graph": "model.onnx", "weights": "", "pytorch": False,
    "sampling_rate": 16000, "min_samples": 400, "max_samples": 160000, "batch_samples": 128000, "frame_hop": 320,
    "normalisation": "inside the graph",
    "origin": {"weights": "model.safetensors", "sha256": "44" * 32, "left_over": []},
    "features": "", "frames": "", "weights_precision": "fp32",
    "export": {
        "with": {"torch": "2.13.0+cpu", "transformers": "5.24.0", "onnx": "1.23.2"},
        "largest_difference_from_pytorch": {"logits": 5.5e-07, "hidden_states": 1.7e-06},
        "difference_by_rounded_weights": {"hidden_states": 0.0, "logits": 4.5e-08},
    },
    "expected": [
        {
            "input": "zeros", "begin": 0, "end": 16000, "logits": [-0.14911075, 0.046143573, -0.13297345],
            "first": [-0.9717328, -1.0331655, 0.9348533], "last": [1.7128704, -0.42442453, 1.6566219],
            "source": "PyTorch 2.13.0+cpu at export",
        }
    ],
    "verified": {"on": "2026-11-20", "with": "emow2v 0.1.0", "passed": True, "rows": []},
}  # fmt: skip


def write(folder: Path, of: cards.Card | None = None, **change: Any) -> Path:
    """A package as 0.1.0 left it on the disk, with the graph of `lite` or of another card."""
    folder.mkdir(parents=True)
    card = of or cards.find("lite")
    files = {}
    for name in filter(None, (card.graph, card.weights)):
        shutil.copyfile(card.folder / name, folder / name)
        files[name] = {"sha256": cards.file_sha256(folder / name), "bytes": (folder / name).stat().st_size}
    content = {**EXPORTED, "graph": card.graph, "weights": card.weights, **change, "files": files}
    (folder / "card.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def test_a_package_of_0_1_0_gives_the_numbers_of_its_graph(windows: emow2v.Model, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    old = emow2v.load(write(tmp_path / "old", windows.card))
    assert old.name == "small"
    np.testing.assert_array_equal(old.predict(noise, 16000).scores, windows.predict(noise, 16000).scores)


def test_its_card_says_all_that_it_said(tmp_path: Path) -> None:
    card = cards.find(write(tmp_path / "old"))
    assert {name: getattr(card, name) for name in ("version", "licence", "max_samples", "frame_hop", "precision")} == {
        "version": "4487b77e", "licence": "CC-BY-NC-SA-4.0", "max_samples": 160000, "frame_hop": 320, "precision": "fp32",
    }  # fmt: skip
    (expected,) = verify.expectations_of(card)
    assert expected.logits == (-0.14911075, 0.046143573, -0.13297345) and expected.source.startswith("PyTorch 2.13")
    card.verify_files()


def test_a_model_that_0_1_0_installed_is_found_by_its_name(home: Path) -> None:
    """Also beside the text of a card that a killed 0.1.0 had not renamed, and a pull that it had not ended."""
    folder = write(home / "models" / "small")
    (folder / "card.json.new").write_text('{"name": "sma')
    (home / "models" / ".small.k3_9xyz0").mkdir()
    card = cards.find("small")
    assert card.folder == folder and verify.verdict(card) == "2026-11-20"
    assert install.remove("small") > card.size and list((home / "models").iterdir()) == []


def test_an_int8_package_of_0_1_0_is_found_for_its_model(home: Path) -> None:
    lite = cards.find("lite")
    details = {"quantized_from": {"name": "lite", "version": lite.version, "sha256": lite.sha256}}
    write(home / "models" / "lite-int8", name="lite-int8", precision="int8", **details)
    assert cards.for_precision(lite, "int8").name == "lite-int8"


@pytest.mark.parametrize("name", ["version", "files", "graph", "max_samples"])
def test_a_card_that_lacks_something_says_what_to_do(home: Path, tmp_path: Path, name: str) -> None:
    for folder, remedy in (
        (tmp_path / "small", "install or copy the package again"),
        (home / "models" / "small", "run: emow2v models add PACKAGE --name small --force"),
        (home / "models" / "msp-dim", "run: emow2v models pull msp-dim --force"),
    ):
        content = json.loads((write(folder) / "card.json").read_text())
        del content[name]
        (folder / "card.json").write_text(json.dumps(content))
        with pytest.raises(ModelError, match=rf"card\.json is not a model card \(no {name}\); {remedy}"):
            cards.read_card(folder)
