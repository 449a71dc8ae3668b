"""Random weights of the size of msp-dim, made once: what benchmarks run where the real ones may not be had.

Speed depends on the sizes of a network, not on its weights; errors of a precision do, so those are taken on lite.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config

from common import FOLDER
from emow2v import cards
from emow2v.cards import Card
from emow2v.engines.openvino import has_int8
from emow2v.modelstore.export import export
from emow2v.modelstore.quantize import quantize
from emow2v.networks.wav2vec2 import Wav2Vec2Emotion

SIZES = {
    "conv_bias": True, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "hidden_size": 1024,
    "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 12, "model_type": "wav2vec2",
    "id2label": {"0": "arousal", "1": "dominance", "2": "valence"},
}  # fmt: skip
NAMES = ("lite", "msp-dim")


def network() -> Wav2Vec2Emotion:
    """12 layers, 165 million weights of a fixed seed."""
    torch.manual_seed(0)
    return Wav2Vec2Emotion(Wav2Vec2Config.from_dict(SIZES)).eval()


def checkpoint() -> Path:
    folder = FOLDER / "checkpoint"
    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_file(network().state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(SIZES))
    return folder


def package() -> Path:
    """The folder of the exported package; made when it is first asked for (a minute, 1.4 GB)."""
    done = FOLDER / "random-msp-dim"
    if not (done / cards.CARD_FILE).is_file() or not cards.read_card(done).frames:
        export(cards.find(checkpoint()), done, replace=True)
    return done


def card(name: str) -> Card:
    return cards.find("lite" if name == "lite" else package())


def quantized(name: str) -> Card | None:
    """The int8 package, made when it is first asked for; None where the processor could not run it."""
    if not has_int8():
        return None
    source, done = card(name), FOLDER / f"{name}-int8"
    if (done / cards.CARD_FILE).is_file():
        found = cards.read_card(done)
        if found.details["quantized_from"]["sha256"] == source.sha256:
            return found
    return quantize(source, done, replace=True)
