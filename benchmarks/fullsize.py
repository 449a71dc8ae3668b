"""Random weights of the size of msp-dim, exported once: what benchmarks run where the real ones may not be had.

Speed depends on the sizes of a network, not on its weights; errors of a precision do, so those are taken on lite.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config

from emow2v import cards
from emow2v.networks.export import export
from emow2v.networks.wav2vec2 import Wav2Vec2Emotion

FOLDER = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
SIZES = {
    "conv_bias": True, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "hidden_size": 1024,
    "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 12, "model_type": "wav2vec2",
    "id2label": {"0": "arousal", "1": "dominance", "2": "valence"},
}  # fmt: skip


def network() -> Wav2Vec2Emotion:
    """12 layers, 165 million weights of a fixed seed."""
    torch.manual_seed(0)
    return Wav2Vec2Emotion(Wav2Vec2Config.from_dict(SIZES)).eval()


def package() -> Path:
    """The folder of the exported package; made when it is first asked for (a minute, 1.4 GB)."""
    done = FOLDER / "random-msp-dim"
    if not (done / cards.CARD_FILE).is_file():
        checkpoint = FOLDER / "checkpoint"
        checkpoint.mkdir(parents=True, exist_ok=True)
        save_file(network().state_dict(), checkpoint / "model.safetensors")
        (checkpoint / "config.json").write_text(json.dumps(SIZES))
        export(cards.find(checkpoint), done, replace=True)
    return done
