"""Checkpoints and graphs for tests: random weights of a fixed seed, in the forms in which others publish them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from emow2v.networks import wav2vec2

# config.json as it is published with the 12-layer model, as far as it shapes the network: nulls and old keys included
PUBLISHED: dict[str, Any] = {
    "_name_or_path": "torch", "activation_dropout": 0.1, "adapter_kernel_size": 3, "adapter_stride": 2,
    "add_adapter": False, "apply_spec_augment": True, "architectures": ["Wav2Vec2ForSpeechClassification"],
    "attention_dropout": 0.1, "bos_token_id": 1, "codevector_dim": 768, "contrastive_logits_temperature": 0.1,
    "conv_bias": True, "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2], "ctc_loss_reduction": "sum", "ctc_zero_infinity": False,
    "diversity_loss_weight": 0.1, "do_stable_layer_norm": True, "eos_token_id": 2, "feat_extract_activation": "gelu",
    "feat_extract_dropout": 0.0, "feat_extract_norm": "layer", "feat_proj_dropout": 0.1, "final_dropout": 0.1,
    "finetuning_task": "wav2vec2_reg", "gradient_checkpointing": False, "hidden_act": "gelu", "hidden_dropout": 0.1,
    "hidden_size": 1024, "id2label": {"0": "arousal", "1": "dominance", "2": "valence"}, "initializer_range": 0.02,
    "intermediate_size": 4096, "label2id": {"arousal": 0, "dominance": 1, "valence": 2}, "layer_norm_eps": 1e-05,
    "layerdrop": 0.1, "mask_feature_length": 10, "mask_feature_prob": 0.0, "mask_time_length": 10,
    "mask_time_prob": 0.05, "model_type": "wav2vec2", "num_adapter_layers": 3, "num_attention_heads": 16,
    "num_codevector_groups": 2, "num_codevectors_per_group": 320, "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 128, "num_feat_extract_layers": 7, "num_hidden_layers": 12, "num_negatives": 100,
    "output_hidden_size": 1024, "pad_token_id": 0, "pooling_mode": "mean", "problem_type": "regression",
    "proj_codevector_dim": 768, "tokenizer_class": "Wav2Vec2CTCTokenizer", "torch_dtype": "float32",
    "transformers_version": "4.17.0.dev0", "use_weighted_layer_sum": False, "vocab_size": None,
}  # fmt: skip
SMALL = {
    **PUBLISHED, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
OLD = {
    f"wav2vec2.{wav2vec2.POSITIONS}{new}": f"wav2vec2.{wav2vec2.POSITIONS}{old}"
    for old, new in wav2vec2.SPELLINGS.items()
}
NEW = {old: new for new, old in OLD.items()}


def random_model(config: dict[str, Any] = SMALL, seed: int = 0) -> wav2vec2.Wav2Vec2Emotion:
    """The network with weights that move its outputs: larger biases and gains than an untrained one has."""
    torch.manual_seed(seed)
    known = {name: value for name, value in config.items() if value is not None}
    model = wav2vec2.Wav2Vec2Emotion(Wav2Vec2Config.from_dict(known)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def write_checkpoint(folder: Path, config: dict[str, Any] = SMALL, *, seed: int = 0, kind: str = "safetensors") -> Path:
    """A Hugging Face folder, tensors named as in the published file."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {OLD.get(name, name): value for name, value in random_model(config, seed).state_dict().items()}
    if kind == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000})
    )
    (folder / "vocab.json").write_text("{}")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: cc-by-nc-sa-4.0\n---\n# A model\n")
    return folder


class Judge:
    """Transformers' own model and feature extractor, and the head written out, on the tensors of a folder."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float64) -> None:
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text())
        known = {name: value for name, value in config.items() if value is not None}
        tensors = load_file(folder / "model.safetensors")
        self.encoder = Wav2Vec2Model(Wav2Vec2Config.from_dict(known)).eval()
        own = {
            NEW.get(name, name).removeprefix("wav2vec2."): value
            for name, value in tensors.items()
            if name.startswith("wav2vec2.")
        }
        self.encoder.load_state_dict(own, strict=True)
        self.encoder.to(dtype)
        self.head = {name: value.to(dtype) for name, value in tensors.items() if name.startswith("classifier.")}
        self.extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
        self.dtype = dtype

    def __call__(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One clip [samples]: hidden states [hidden] and logits [3]."""
        given = self.extractor(signal.astype(np.float64), sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            pooled = self.encoder(given.to(self.dtype)).last_hidden_state.mean(dim=1)
            inner = torch.tanh(pooled @ self.head["classifier.dense.weight"].T + self.head["classifier.dense.bias"])
            logits = inner @ self.head["classifier.out_proj.weight"].T + self.head["classifier.out_proj.bias"]
        return pooled[0].numpy(), logits[0].numpy()


class BatchOfOne(nn.Module):
    """wav2vec2's attention as older versions wrote it, with the batch of one written into every shape."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any = None, **_: Any) -> tuple[torch.Tensor, None]:
        own = self.attention
        width = int(hidden_states.size(2))
        heads, size = own.num_heads, width // own.num_heads

        def split(values: torch.Tensor) -> torch.Tensor:
            return values.view(1, -1, heads, size).transpose(1, 2).contiguous().view(heads, -1, size)

        query = split(own.q_proj(hidden_states) * own.scaling)
        weights = torch.softmax(torch.bmm(query, split(own.k_proj(hidden_states)).transpose(1, 2)), dim=-1)
        mixed = torch.bmm(weights, split(own.v_proj(hidden_states))).view(1, heads, -1, size)
        return own.out_proj(mixed.transpose(1, 2).reshape(1, -1, width)), None


def foreign_graph(checkpoint: Path, path: Path, *, normalise: bool, fixed: bool = True, opset: int = 14) -> Path:
    """An ONNX file as a third party may have made it: traced with one clip, by the old exporter.

    Args:
        normalise: inside the graph
        fixed: the batch stands in the shapes as a number
    """
    model = wav2vec2.load(checkpoint).model
    model.normalise = normalise
    if fixed:
        for layer in model.wav2vec2.encoder.layers:
            layer.attention = BatchOfOne(layer.attention)
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.randn(1, 16000),),
            str(path),
            input_names=["signal"],
            output_names=["hidden_states", "logits"],
            dynamic_axes={"signal": {1: "time"}},
            opset_version=opset,
            dynamo=False,
        )
    return path


def audonnx_yaml(order: tuple[str, ...] = ("arousal", "dominance", "valence")) -> str:
    lines = "".join(f"    - {name}\n" for name in order)
    return f"$audonnx.core.model.Model==0.6.1:\n  path: model.onnx\n  labels:\n    logits:\n{lines}  transform: null\n"
