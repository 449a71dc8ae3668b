"""Cards of Hugging Face checkpoints, which have none of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from emow2v.cards.card import Card
from emow2v.errors import ModelError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a checkpoint, in order of preference
CHECKPOINT = "checkpoint"  # version of a model that has no card yet

# wav2vec2 takes 400 samples (25 ms) or more. Attention grows with the square of the length: 30 s are 1500 frames.
WAV2VEC2_LIMITS: dict[str, Any] = {
    "sampling_rate": 16000,  # framing.SAMPLING_RATE, which would import NumPy into every command
    "min_samples": 400,
    "max_samples": 480_000,  # 30 s
    "batch_samples": 128_000,  # 8 windows of 1 s: larger batches are no faster and take more memory
    "frame_hop": 320,  # 20 ms
}


def checkpoint_card(folder: Path) -> Card:
    """A card for a Hugging Face folder, made without opening its weights.

    Raises:
        ModelError: the folder holds no weights
    """
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise ModelError(f"{folder} holds no weights; expected {' or '.join(WEIGHT_FILES)}.")
    names = [name for name in ("config.json", "preprocessor_config.json", weights) if (folder / name).is_file()]
    return Card(
        name=folder.resolve().name,
        version=CHECKPOINT,
        description="A Hugging Face checkpoint, run by PyTorch.",
        licence=stated_licence(folder),
        citation="",
        files={name: {"bytes": (folder / name).stat().st_size} for name in names},
        graph="",
        weights=weights,
        pytorch=True,
        folder=folder,
        **{**WAV2VEC2_LIMITS, **_convolutions(folder)},
    )


def _convolutions(folder: Path) -> dict[str, int]:
    """Samples of one frame and from one frame to the next, by config.json; loading reports what is wrong in it."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    kernels, strides = _whole_numbers(content.get("conv_kernel")), _whole_numbers(content.get("conv_stride"))
    if not kernels or len(kernels) != len(strides):
        return {}
    needed, hop = 1, 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        needed = (needed - 1) * stride + kernel
        hop *= stride
    longest = int(WAV2VEC2_LIMITS["max_samples"])
    return {"min_samples": min(max(needed, 1), longest), "frame_hop": min(max(hop, 1), longest)}


def _whole_numbers(value: object) -> list[int]:
    return value if isinstance(value, list) and all(type(one) is int for one in value) else []


def stated_licence(folder: Path) -> str:
    """The licence in the front matter of a checkpoint's README.md, else "unknown"."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    licence = front and re.search(r"^license:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE)
    return licence[1].upper() if licence else "unknown"
