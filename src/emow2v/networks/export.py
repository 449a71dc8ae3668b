"""Export to ONNX packages: one graph from the raw signal to embeddings and scores, with its card.

python -m emow2v.networks.export DIR/model.pt -o src/emow2v/weights/lite
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from emow2v.networks.lite import SAMPLING_RATE, Lite, LiteConfig

GRAPH = "model.onnx"
MIN_SAMPLES = 400  # 25 ms, one frame of the spectrogram
HALF_FROM = 4096  # values: smaller tensors (biases, norms) are not worth rounding


def export_graph(model: nn.Module, path: Path, *, half_weights: bool = True) -> None:
    """Write `model` as ONNX: signal [batch, samples] to hidden_states [batch, 1024] and logits [batch, 3].

    Args:
        half_weights: keep large weights as float16 in the file; arithmetic stays float32, and so
            does the front end, whose tables are never rounded
    """
    model.eval()
    program = torch.onnx.export(
        model,
        (torch.randn(2, SAMPLING_RATE),),
        input_names=["signal"],
        output_names=["hidden_states", "logits"],
        dynamic_shapes=({0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=MIN_SAMPLES)},),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    graph = program.model_proto
    if half_weights:
        _halve(graph)
    onnx.checker.check_model(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, str(path))


def _halve(model: onnx.ModelProto) -> None:
    """Store large initialisers as float16 with a cast back to float32 behind them."""
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < HALF_FROM or "log_mel" in tensor.name:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + ".half"))
        casts.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT, name=name + ".cast"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for info in [value for value in graph.value_info if any(value.name == cast.output[0] for cast in casts)]:
        graph.value_info.remove(info)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """card.json for the files in `folder`, with their checksums."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != "card.json":
            data = path.read_bytes()
            files[path.name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    text = json.dumps({**card, "files": files}, indent=2, ensure_ascii=False)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")


def load_lite(path: Path) -> tuple[Lite, dict[str, Any]]:
    """The network in a model.pt of the training, without its auxiliary head, and what the file says of it."""
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    model = Lite(LiteConfig(**{**stored["config"], "emotions": 0}))
    model.load_state_dict({name: value for name, value in stored["model"].items() if not name.startswith("emotion.")})
    return model.eval(), stored


def lite_card(model: Lite, stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "lite",
        "version": "0.1",
        "description": "Lower three layers of the Whisper base encoder, fine-tuned on acted emotional speech.",
        "licence": "CC-BY-NC-SA-4.0",
        "citation": "emow2v lite 0.1, trained on nEMO, RAVDESS and BAVED from the Whisper base encoder",
        "graph": GRAPH,
        "sampling_rate": SAMPLING_RATE,
        "min_samples": MIN_SAMPLES,
        "max_samples": model.max_samples,
        "encoder": {"name": "openai/whisper-base", "licence": "MIT", "layers": model.config.layers},
        "training_data": [
            {"corpus": "nEMO", "language": "Polish", "licence": "CC-BY-NC-SA-4.0", "labels": "six acted emotions"},
            {"corpus": "RAVDESS (speech)", "language": "English", "licence": "CC-BY-NC-SA-4.0",
             "labels": "eight acted emotions, two intensities"},
            {"corpus": "BAVED", "language": "Arabic", "licence": "CC-BY-4.0",
             "labels": "three levels of expressiveness, used for arousal only"},
        ],
        "targets": (
            "No listener rated these recordings: classes were given values between the norms of Mehrabian and Russell "
            "(1977) and the means of rated podcast speech; dominance follows arousal, leaning to the norms by a quarter."
        ),
        "recipe": stored["recipe"],
        "held_out": {
            "what": "CCC against those values on 16 speakers never trained on (2 nEMO, 4 RAVDESS, 10 BAVED)",
            "command": "python -m emow2v.training.lite --data CORPORA --encoder openai/whisper-base -o DIR",
            **stored["figures"],
        },
        "limits": (
            "Acted speech and values assigned by class: read scores as a tendency, compare within a recording and a "
            "speaker, and do not decide about people by them. Version 0.1 is a first model."
        ),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m emow2v.networks.export", description="Package a trained lite.")
    parser.add_argument("checkpoint", type=Path, help="model.pt of the training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for model.onnx and card.json")
    options = parser.parse_args(arguments)
    model, stored = load_lite(options.checkpoint)
    export_graph(model, options.output / GRAPH)
    write_card(options.output, lite_card(model, stored))
    print(f"wrote {options.output / GRAPH} ({(options.output / GRAPH).stat().st_size / 1e6:.1f} MB) and its card")


if __name__ == "__main__":
    main()
