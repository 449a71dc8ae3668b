"""Export of a wav2vec2, HuBERT or WavLM checkpoint as an ONNX package.

A package holds two graphs over one file of weights, and a card. It is compared with PyTorch before it appears.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emow2v import cards
from emow2v.cards import Card
from emow2v.engines import Engine, Outputs, installed, onnx_graph, open_graph
from emow2v.errors import ModelError
from emow2v.framing import SAMPLING_RATE
from emow2v.modelstore import verify
from emow2v.networks import wav2vec2
from emow2v.networks.trace import trace
from emow2v.networks.wav2vec2 import Wav2Vec2Emotion
from emow2v.storage.folders import atomic_folder
from emow2v.trajectory import DIMENSIONS

PRECISIONS = ("fp32", "fp16")
HALF_FROM = 4096  # values; smaller tensors (biases, norms) stay in float32
AGREEMENT = 1e-4  # largest difference from PyTorch: of scores, and of hidden states as a share of the largest


@dataclass(frozen=True)
class Check:
    """One comparison of the package with PyTorch.

    Attributes:
        engine, graph: what ran
        input, samples: the input in a word, and its length
        hidden_states, logits: largest differences, the former as a share of the largest hidden state
    """

    engine: str
    graph: str
    input: str
    samples: int
    hidden_states: float
    logits: float


def export(
    source: Card,
    output: Path,
    *,
    precision: str = "fp32",
    identity: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> tuple[Card, list[Check]]:
    """Write the package of a checkpoint; it appears whole, and only when its graphs give the same as PyTorch.

    Args:
        source: a model with PyTorch weights
        precision: of the weights in the file: "fp32", or "fp16" for half the size; arithmetic stays float32
        identity: name, version, licence and so on, in place of the source's own
        replace: replace a folder that is not empty

    Returns:
        the card of the package, and the comparisons with PyTorch

    Raises:
        ModelError: the checkpoint cannot be loaded, or the exported graphs disagree with it
        FormatError: the output cannot be written
    """
    if precision not in PRECISIONS:
        raise ModelError(f"Precision '{precision}' is unknown; expected {' or '.join(PRECISIONS)}.")
    if not source.pytorch:
        raise ModelError(f"Model {source.name} holds no weights for PyTorch; expected a Hugging Face checkpoint.")
    source.verify_files()
    checkpoint = wav2vec2.load(source.folder)
    model = checkpoint.model
    with atomic_folder(output, replace=replace) as folder:
        _write_configuration(model, source.folder, folder)
        _write_weights(model, folder, half=precision == "fp16")
        cuts = _write_graphs(model, folder, half=precision == "fp16")
        (folder / onnx_graph.LABELS).write_text(onnx_graph.labels_yaml(), encoding="utf-8")
        written = wav2vec2.load(folder).model
        checks = _compare(written, folder)
        # normalising silence over time divides rounding errors by almost nothing: such numbers are not compared
        counted = [one for one in checks if one.input != "silence" or model.config.feat_extract_norm == "layer"]
        worst = max(counted, key=lambda one: max(one.logits, one.hidden_states))
        if max(worst.logits, worst.hidden_states) > AGREEMENT:
            raise ModelError(
                f"The exported graph differs from PyTorch by {worst.logits:.1e} in its logits and {worst.hidden_states:.1e} in "
                f"its hidden states ({worst.input}, {worst.engine}); expected at most {AGREEMENT:.0e}. Nothing was written; "
                "try other versions of torch and onnxscript."
            )
        content = {**_card(model, source, checkpoint.left_over), **(identity or {})}
        content |= {**cuts, "weights_precision": precision, "export": _report(model, written, checks)}
        content["expected"] = verify.own_expectations(_runner(written), f"PyTorch {torch.__version__} at export")
        cards.write_card(folder, content)
    return cards.read_card(output), checks


def _write_weights(model: Wav2Vec2Emotion, folder: Path, *, half: bool) -> None:
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    if half:
        large = [name for name, values in tensors.items() if np.abs(values).max(initial=0) > np.finfo(np.float16).max]
        if large:
            raise ModelError(f"{large[0]} holds values too large for fp16; export in fp32.")
        tensors = {
            name: values.astype(np.float16) if values.size >= HALF_FROM else values for name, values in tensors.items()
        }
    onnx_graph.write_weights(tensors, folder / onnx_graph.WEIGHTS)


def _write_configuration(model: Wav2Vec2Emotion, source: Path, folder: Path) -> None:
    """Write the checkpoint's configuration, with the labels in the order of the scores."""
    content = json.loads((source / "config.json").read_text(encoding="utf-8"))
    content["id2label"] = {str(k): name for k, name in enumerate(DIMENSIONS)}
    content["label2id"] = {name: k for k, name in enumerate(DIMENSIONS)}
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    extractor = {"do_normalize": model.normalise, "sampling_rate": SAMPLING_RATE, "return_attention_mask": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor, indent=2) + "\n", encoding="utf-8")


def _write_graphs(model: Wav2Vec2Emotion, folder: Path, *, half: bool) -> dict[str, str | int]:
    """Write both graphs; gives the names of the tensors at which they can be cut, for the card."""
    # normalisation is added to the graph, not traced: it is then the same as in imported graphs, and can be removed
    normalise, model.normalise = model.normalise, False
    try:
        graph = trace(model)
    finally:
        model.normalise = normalise
    if half:
        onnx_graph.halve(graph, smallest=HALF_FROM)
    if normalise:
        onnx_graph.add_normalisation(graph)
    onnx_graph.point_at(graph, folder / onnx_graph.WEIGHTS)
    onnx_graph.set_batch(graph, "batch")
    onnx_graph.save(graph, folder / onnx_graph.BATCHED)
    onnx_graph.set_batch(graph, 1)
    onnx_graph.save(graph, folder / onnx_graph.SINGLE)
    hop = math.prod(model.config.conv_stride)
    return {"features": onnx_graph.front_end(graph), "frames": onnx_graph.frames(graph), "frame_hop": hop}


def _compare(model: Wav2Vec2Emotion, folder: Path) -> list[Check]:
    """Compare noise, silence and speech of three lengths, single and in a batch, on every installed engine."""
    run = _runner(model)
    cases = []
    for samples in (model.min_samples, SAMPLING_RATE, 3 * SAMPLING_RATE):
        inputs = {
            "noise": verify.signal("noise", 0, samples),
            "silence": verify.signal("zeros", 0, samples),
            "speech": verify.signal("example", SAMPLING_RATE, SAMPLING_RATE + samples),
        }
        cases.append((inputs, {name: run(signal) for name, signal in inputs.items()}))
    checks = []
    for name in [one for one in ("openvino", "onnxruntime") if installed(one)]:
        for graph in (onnx_graph.BATCHED, onnx_graph.SINGLE):
            engine = open_graph(name, folder / graph)
            for inputs, expected in cases:
                results = _results(engine, inputs, in_batch=graph == onnx_graph.BATCHED)
                checks += [
                    Check(engine.name, graph, word, inputs[word].shape[1], *_differences(results[word], expected[word]))
                    for word in inputs
                ]
            del engine  # before the next one, for each holds a copy of the weights
    return checks


def _results(engine: Engine, inputs: Mapping[str, verify.Floats], *, in_batch: bool) -> dict[str, Outputs]:
    if not in_batch:
        return {word: engine.run(signal) for word, signal in inputs.items()}
    hidden, logits, _ = engine.run(np.concatenate(list(inputs.values())))
    return {word: (hidden[k : k + 1], logits[k : k + 1], None) for k, word in enumerate(inputs)}


def _differences(own: Outputs, expected: Outputs) -> tuple[float, float]:
    """Largest differences: of hidden states, as a share of the largest one, and of logits."""
    scale = np.abs(expected[0]).max()
    return float(np.abs(own[0] - expected[0]).max() / scale), float(np.abs(own[1] - expected[1]).max())


def _runner(model: Wav2Vec2Emotion) -> verify.Run:
    def run(signal: verify.Floats) -> Outputs:
        with torch.inference_mode():
            hidden, logits = model(torch.from_numpy(signal))
        return hidden.numpy(), logits.numpy(), None

    return run


def _card(model: Wav2Vec2Emotion, source: Card, left_over: tuple[str, ...]) -> dict[str, Any]:
    config = model.config
    return {
        "name": source.name,
        "version": source.version if source.version != cards.CHECKPOINT else source.sha256[:8],
        "description": f"{config.model_type} with {config.num_hidden_layers} layers and a regression head, exported from a checkpoint.",
        "licence": source.licence,
        "citation": source.citation,
        "graph": onnx_graph.BATCHED,
        "weights": onnx_graph.WEIGHTS,
        "pytorch": True,
        **cards.WAV2VEC2_LIMITS,
        "min_samples": model.min_samples,
        "normalisation": "inside the graph" if model.normalise else "none, as the checkpoint says",
        "origin": {
            "weights": source.weights,
            "sha256": source.sha256,
            "left_over": list(left_over),
        },
    }


def _report(model: Wav2Vec2Emotion, written: Wav2Vec2Emotion, checks: list[Check]) -> dict[str, Any]:
    import onnx
    import transformers

    speech = verify.signal("example", SAMPLING_RATE, 4 * SAMPLING_RATE)
    rounded = _differences(_runner(written)(speech), _runner(model)(speech))
    return {
        "with": {"torch": str(torch.__version__), "transformers": transformers.__version__, "onnx": onnx.__version__},
        "largest_difference_from_pytorch": {
            "logits": float(f"{max(one.logits for one in checks):.1e}"),
            "hidden_states": float(f"{max(one.hidden_states for one in checks):.1e}"),
        },
        "difference_by_rounded_weights": {
            "hidden_states": float(f"{rounded[0]:.1e}"),
            "logits": float(f"{rounded[1]:.1e}"),
        },
    }
