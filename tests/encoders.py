"""Pre-trained encoders for tests, small, of random weights; and how the users of Transformers read what we write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
import transformers
from torch import nn

SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
}  # fmt: skip
FAMILIES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}


def pretrained(folder: Path, kind: str = "wav2vec2", *, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint of a bare encoder that Transformers itself wrote; its small tensors are no zeros and ones."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{FAMILIES[kind]}Config")(**{**SIZES, **changes})
    model = getattr(transformers, f"{FAMILIES[kind]}Model")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return folder


class RegressionHead(nn.Module):
    """As users of the published checkpoint write it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.final_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(features)))))


def reader(kind: str = "wav2vec2") -> Any:
    """A class of Transformers with `from_pretrained`, which a user needs to read a checkpoint with a regression head."""

    class Model(getattr(transformers, f"{FAMILIES[kind]}PreTrainedModel")):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            setattr(self, kind, getattr(transformers, f"{FAMILIES[kind]}Model")(config))
            self.classifier = RegressionHead(config)
            self.post_init()

        def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            pooled = getattr(self, kind)(values)[0].mean(dim=1)
            return pooled, self.classifier(pooled)

    return Model


def read(folder: Path, kind: str = "wav2vec2") -> Any:
    """The model in a folder, by Transformers; every tensor must find its place."""
    model, told = reader(kind).from_pretrained(folder, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    return model.eval()
