"""Packages judged by audonnx, by PyTorch, and by what is left behind when something goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from safetensors.torch import load_file

import emow2v
from checkpoints import PUBLISHED, SMALL, Judge, write_checkpoint
from emow2v import cards
from emow2v.cli import main as cli
from emow2v.engines import choose, onnx_graph
from emow2v.errors import FormatError, ModelError
from emow2v.modelstore import export as exporting
from emow2v.modelstore.export import export
from emow2v.modelstore.verify import verify


def test_the_package_is_whole_and_says_what_it_is(package: Path, checkpoint: Path) -> None:
    card = cards.find(package)
    card.verify_files()
    assert {path.name for path in package.iterdir()} == {*card.files, "card.json"}
    assert card.files.keys() >= {"model.onnx", "batched.onnx", "model.safetensors", "model.yaml", "config.json"}
    assert (card.graph, card.weights, card.licence) == ("batched.onnx", "model.safetensors", "CC-BY-NC-SA-4.0")
    assert card.details["origin"]["sha256"] == cards.file_sha256(checkpoint / "model.safetensors")
    assert card.details["export"]["largest_difference_from_pytorch"]["logits"] < 1e-5
    assert (package / "model.onnx").stat().st_size < 100_000  # the weights are elsewhere
    assert str(checkpoint.parent) not in (package / "model.onnx").read_bytes().decode("latin-1")


def test_audonnx_takes_the_package_as_it_is(package: Path) -> None:
    audonnx = pytest.importorskip("audonnx")
    judge, model = audonnx.load(str(package)), emow2v.load(package)
    assert judge.outputs["logits"].labels == ["arousal", "dominance", "valence"]
    for samples in (400, 16000, 43210):
        signal = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
        expected, found = judge(signal, 16000), model(signal, 16000)
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
        np.testing.assert_allclose(found["hidden_states"], expected["hidden_states"], atol=1e-5)


def test_every_expectation_in_the_card_holds_on_every_engine(package: Path) -> None:
    rows = verify(cards.find(package))
    assert all(row.passed for row in rows)
    assert sum(row.precision == "fp32" for row in rows) == 9
    assert {row.engine.split()[0] for row in rows} == {"openvino", "onnxruntime", "torch"}


@pytest.mark.slow
def test_half_weights_halve_the_file(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    card, _ = export(cards.find(checkpoint), tmp_path / "half", precision="fp16")
    whole = cards.find(package)
    assert card.files[onnx_graph.WEIGHTS]["bytes"] < 0.7 * whole.files[onnx_graph.WEIGHTS]["bytes"]
    assert 0 < card.details["export"]["difference_by_rounded_weights"]["logits"] < 1e-2
    signal = np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32)
    expected = choose(whole, "torch").run(signal)[1]
    for engine in ("openvino", "onnxruntime", "torch"):
        found = choose(card, engine).run(signal)[1]
        assert 0 < np.abs(found - expected).max() < 1e-2
    assert all(row.passed for row in verify(card))


@pytest.mark.slow
def test_an_export_can_be_exported_again(package: Path, tmp_path: Path) -> None:
    card, _ = export(cards.find(package), tmp_path / "again")
    first, second = (load_file(folder / onnx_graph.WEIGHTS) for folder in (package, tmp_path / "again"))
    assert card.version == cards.find(package).version
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_networks_that_normalise_over_time_are_exported_too(tmp_path: Path) -> None:
    config = {**SMALL, "feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
    folder = write_checkpoint(tmp_path / "base", config)
    card, _ = export(cards.find(folder), tmp_path / "package")
    signal = np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32)
    expected = choose(cards.find(folder), "torch").run(signal)[1]
    np.testing.assert_allclose(choose(card, "openvino").run(signal)[1], expected, atol=1e-5)


@pytest.mark.slow
def test_a_checkpoint_without_normalisation_is_exported_without(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "plain")
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    card, _ = export(cards.find(folder), tmp_path / "package")
    assert card.details["normalisation"].startswith("none")
    signal = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    expected = choose(cards.find(folder), "torch").run(signal)[1]
    np.testing.assert_allclose(choose(card, "openvino").run(signal)[1], expected, atol=1e-5)


def test_weights_too_large_for_half_precision_are_named(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = write_checkpoint(tmp_path / "large")
    tensors = load_file(folder / onnx_graph.WEIGHTS)
    tensors["classifier.dense.weight"][0, 0] = 1e5
    save_file(tensors, folder / onnx_graph.WEIGHTS)
    with pytest.raises(ModelError, match=r"classifier\.dense\.weight holds values too large for fp16; export in fp32"):
        export(cards.find(folder), tmp_path / "package", precision="fp16")


@pytest.mark.slow
def test_a_graph_that_disagrees_is_never_written(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exporting.onnx_graph, "add_normalisation", lambda graph: None)
    with pytest.raises(ModelError, match=r"differs from PyTorch by .* Nothing was written"):
        export(cards.find(checkpoint), tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="is there already and not empty"):
        export(cards.find(checkpoint), tmp_path / "full")
    with pytest.raises(FormatError, match="cannot be written"):
        export(cards.find(checkpoint), tmp_path / "full" / "thesis.txt" / "package")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "thesis.txt"]


def test_models_without_pytorch_weights_and_odd_precisions_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lite holds no weights for PyTorch"):
        export(cards.find("lite"), tmp_path / "x")
    with pytest.raises(ModelError, match="expected fp32 or fp16"):
        export(cards.find(checkpoint), tmp_path / "x", precision="int4")


@pytest.mark.slow
def test_the_command_exports_and_predicts(checkpoint: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    output = tmp_path / "my model"
    assert run_cli(monkeypatch, "export", "--model", str(checkpoint), "--output", str(output)) == 0
    printed = capsys.readouterr().out
    assert re.search(r"batched\.onnx +openvino .* noise +400 samples +logits \d", printed)
    assert cards.find(output).name == "my model"
    recording = Path(emow2v.__file__).parent / "data" / "example.flac"
    arguments = ["predict", str(recording), "--unit", "files", "--format", "json", "-o", "-"]
    found = []
    for model in (checkpoint, output):
        assert run_cli(monkeypatch, *arguments, "--model", str(model)) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [one["provenance"]["model"] for one in found] == [checkpoint.name, "my model"]
    np.testing.assert_allclose(found[0]["rows"], found[1]["rows"], atol=1e-5)


def run_cli(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["emow2v", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


@pytest.mark.slow
def test_the_full_size(tmp_path: Path) -> None:
    """12 layers, 165 million parameters of a fixed seed: every engine against Transformers, and audonnx."""
    folder = write_checkpoint(tmp_path / "full", PUBLISHED)
    assert 661_346_828 < (folder / "model.safetensors").stat().st_size < 661_400_000
    card, _ = export(cards.find(folder), tmp_path / "package")
    signals = {n: np.random.default_rng(n).normal(0.01, 0.1, n).astype(np.float32) for n in (400, 16000, 160000)}
    judge = Judge(folder, torch.float32)
    expected = {n: judge(signal) for n, signal in signals.items()}
    del judge
    for name in ("openvino", "onnxruntime", "torch"):
        engine = choose(card, name)
        for n, signal in signals.items():
            hidden, logits, _ = engine.run(signal[None])
            np.testing.assert_allclose(hidden[0], expected[n][0], atol=1e-4, err_msg=f"{name} {n}")
            np.testing.assert_allclose(logits[0], expected[n][1], atol=1e-4, err_msg=f"{name} {n}")
        if name == "torch":
            lengths = np.array([8000, 16000, 43200, 176000])
            batch = np.random.default_rng(1).normal(0, 0.1, (4, 176000)).astype(np.float32)
            together = engine.run(batch, lengths)
            for k, n in enumerate(lengths):
                alone = engine.run(batch[k : k + 1, :n])
                np.testing.assert_allclose(together[0][k], alone[0][0], atol=1e-5)
                np.testing.assert_allclose(together[1][k], alone[1][0], atol=1e-5)
        del engine
    audonnx = pytest.importorskip("audonnx")
    found = audonnx.load(str(tmp_path / "package"))(signals[16000], 16000)
    np.testing.assert_allclose(found["logits"][0], expected[16000][1], atol=1e-5)
    np.testing.assert_allclose(found["hidden_states"][0], expected[16000][0], atol=2e-5)
