"""Graphs that others traced: fitted without PyTorch's help, and still the same numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import emow2v
from checkpoints import audonnx_yaml, foreign_graph
from emow2v import cards
from emow2v.engines import choose, open_graph
from emow2v.errors import FormatError, ModelError
from emow2v.modelstore import onnx_import
from emow2v.modelstore.onnx_import import import_graph

IDENTITY = {"name": "theirs", "version": "1", "description": "", "licence": "CC-BY-NC-SA-4.0", "citation": "them"}


@pytest.fixture(scope="module")
def foreign(checkpoint, tmp_path_factory) -> Path:
    """With the batch fixed in every shape, and without normalisation."""
    return foreign_graph(checkpoint, tmp_path_factory.mktemp("foreign") / "model.onnx", normalise=False)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(7).normal(0.05, 0.2, (5, 16000)).astype(np.float32)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
def test_any_such_graph_gives_what_the_checkpoint_gives(
    checkpoint, tmp_path, noise, fixed: bool, normalise: bool
) -> None:
    path = foreign_graph(
        checkpoint, tmp_path / "theirs" / "model.onnx", normalise=normalise, fixed=fixed, opset=12 if fixed else 14
    )
    (path.parent / "model.yaml").write_text(audonnx_yaml())
    card = import_graph(path, tmp_path / "package", IDENTITY)
    assert card.details["normalisation"].startswith("inside" if normalise else "added")
    assert (card.graph, card.max_batch) == ("batched.onnx", None)
    expected_hidden, expected, _ = choose(cards.find(checkpoint), "torch").run(noise)
    for engine in ("openvino", "onnxruntime"):
        hidden, scores, _ = choose(card, engine).run(noise)
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        np.testing.assert_allclose(hidden, expected_hidden, atol=1e-5)
    audonnx = pytest.importorskip("audonnx")
    found = audonnx.load(str(tmp_path / "package"))(noise[0], 16000)
    np.testing.assert_allclose(found["logits"][0], expected[0], atol=1e-5)


def test_the_rewriting_is_what_makes_batches_right(foreign: Path, noise: np.ndarray, tmp_path: Path) -> None:
    """Declaring a batch is not enough for such a graph: without the rewriting this fails."""
    graph = onnx.load(foreign)
    onnx_import.onnx_graph.set_batch(graph, "batch")
    onnx.save(graph, tmp_path / "declared.onnx")
    with pytest.raises(ModelError, match="cannot take 5 windows"):
        open_graph("onnxruntime", tmp_path / "declared.onnx").run(noise)


def test_where_rewriting_fails_clips_run_one_by_one(foreign: Path, checkpoint, noise, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        onnx_import.onnx_graph, "free_batch", lambda graph: onnx_import.onnx_graph.set_batch(graph, "batch")
    )
    card = import_graph(foreign, tmp_path / "package", IDENTITY)
    assert (card.graph, card.max_batch) == ("model.onnx", 1)
    assert not (tmp_path / "package" / "batched.onnx").exists()
    expected = choose(cards.find(checkpoint), "torch").run(noise)
    found = emow2v.load(tmp_path / "package").run(noise)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


def test_a_graph_that_is_refused_in_batches_is_told(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = onnx_import.open_graph

    def refuse(name: str, path: Path, **options: Any) -> Any:
        if path.name == "batched.onnx":
            raise ModelError("no batches")
        return opened(name, path, **options)

    monkeypatch.setattr(onnx_import, "open_graph", refuse)
    card = import_graph(foreign, tmp_path / "package", IDENTITY)
    assert (card.graph, card.max_batch) == ("model.onnx", 1)
    assert "clips are run one by one, which is slower: no batches" in caplog.text


@pytest.mark.parametrize(
    "error",
    [MemoryError(), FormatError("no room on the disk"), TypeError("ours"), ValueError("ours"), AttributeError("ours")],
    ids=lambda error: type(error).__name__,
)
def test_our_own_mistakes_and_a_full_disk_are_no_graph_without_batches(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(graph: Any) -> None:
        raise error

    monkeypatch.setattr(onnx_import.onnx_graph, "free_batch", fail)
    with pytest.raises(type(error)):
        import_graph(foreign, tmp_path / "package", IDENTITY)
    assert not (tmp_path / "package").exists()


def test_scores_in_another_order_are_refused(foreign: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(foreign.read_bytes())
    (tmp_path / "model.yaml").write_text(audonnx_yaml(("valence", "arousal", "dominance")))
    with pytest.raises(ModelError, match="lists valence, arousal, dominance; expected arousal, dominance, valence"):
        import_graph(path, tmp_path / "package", IDENTITY)
    assert not (tmp_path / "package").exists()
    (tmp_path / "model.yaml").write_text(
        "# arousal, dominance, valence\nlabels: {logits: [Valence, Arousal, Dominance]}\n"
    )
    with pytest.raises(ModelError, match="lists valence, arousal, dominance"):
        import_graph(path, tmp_path / "package", IDENTITY)


def test_a_graph_that_gives_no_numbers_is_refused(foreign: Path, tmp_path: Path) -> None:
    graph = onnx.load(foreign)
    bias = next(one for one in graph.graph.initializer if one.name == "classifier.out_proj.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    onnx.save(graph, tmp_path / "nan.onnx")
    with pytest.raises(ModelError, match="values that are no numbers"):
        import_graph(tmp_path / "nan.onnx", tmp_path / "package", IDENTITY)


def test_graphs_cut_off_or_of_another_kind_leave_nothing(foreign: Path, tmp_path: Path) -> None:
    data = foreign.read_bytes()
    for n, content in enumerate([data[:1000], data[: len(data) // 2], b"no graph"]):
        path = tmp_path / f"{n}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError):
            import_graph(path, tmp_path / "package", IDENTITY)
    graph = onnx.load(foreign)
    graph.graph.output[0].name = "hidden_states_2"
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="expected a graph from signal to hidden_states and logits"):
        import_graph(tmp_path / "other.onnx", tmp_path / "package", IDENTITY)
    assert not (tmp_path / "package").exists() and not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_graphs_for_another_type_or_one_length_are_refused(foreign: Path, tmp_path: Path) -> None:
    graph = onnx.load(foreign)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(graph, tmp_path / "half.onnx")
    with pytest.raises(ModelError, match=r"another type or shape; expected float32 \[batch, samples\]"):
        import_graph(tmp_path / "half.onnx", tmp_path / "package", IDENTITY)
    graph = onnx.load(foreign)
    samples = graph.graph.input[0].type.tensor_type.shape.dim[1]
    samples.Clear()
    samples.dim_value = 16000
    onnx.save(graph, tmp_path / "fixed.onnx")
    with pytest.raises(
        ModelError, match=r"cannot take 1 window of 32000 samples .* expected a graph for windows of any"
    ):
        import_graph(tmp_path / "fixed.onnx", tmp_path / "package", IDENTITY)
    for shape in (None, []):
        graph = onnx.load(foreign)
        hidden = next(one for one in graph.graph.output if one.name == "hidden_states")
        hidden.CopyFrom(onnx.helper.make_tensor_value_info("hidden_states", onnx.TensorProto.FLOAT, shape))
        onnx.save(graph, tmp_path / "half.onnx")
        with pytest.raises(ModelError, match=r"does not declare hidden_states and logits as \[batch, values\]"):
            import_graph(tmp_path / "half.onnx", tmp_path / "package", IDENTITY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed.onnx", "half.onnx"]


def test_no_pytorch_is_needed(foreign: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nsys.modules['transformers'] = None\n"
        "from pathlib import Path\nfrom emow2v.modelstore.onnx_import import import_graph\nimport emow2v\n"
        f"import_graph(Path({str(foreign)!r}), Path({str(tmp_path / 'package')!r}), {IDENTITY!r})\n"
        f"print(emow2v.load({str(tmp_path / 'package')!r}).run(__import__('numpy').zeros((2, 16000), 'float32'))[1].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(2, 3)", done.stderr


def test_the_weights_are_theirs_to_the_bit(foreign: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    import_graph(foreign, tmp_path / "package", IDENTITY)
    kept = load_file(tmp_path / "package" / "model.safetensors")
    theirs = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(foreign).graph.initializer}
    assert kept and all(np.array_equal(theirs[name], value) for name, value in kept.items())
