"""Writing a network with a regression head as a Hugging Face folder, in the form of the published one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from emow2v.framing import SAMPLING_RATE
from emow2v.networks.wav2vec2 import ENCODERS, POSITIONS, SPELLINGS
from emow2v.trajectory import DIMENSIONS

_OTHERS = ("_name_or_path", "auto_map", "dtype", "torch_dtype", "transformers_version", "architectures")


def write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    content: Mapping[str, Any],
    *,
    normalise: bool = True,
    readme: str = "",
) -> None:
    """Write config.json, preprocessor_config.json, model.safetensors and README.md into an empty folder.

    Args:
        tensors: tensors of the network, by their names in Transformers
        content: configuration of the encoder; labels and entries on the origin of the file are replaced
        normalise: the feature extractor brings each clip to zero mean and unit variance
        readme: text of README.md, with the front matter that names the licence

    Raises:
        OSError: the folder cannot be written
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    kept = {name: value for name, value in content.items() if value is not None and name not in _OTHERS}
    config = {
        **kept,
        "architectures": [f"{ENCODERS[kept['model_type']]}ForSpeechClassification"],
        "problem_type": "regression",
        "pooling_mode": "mean",
        "id2label": {str(k): name for k, name in enumerate(DIMENSIONS)},
        "label2id": {name: k for k, name in enumerate(DIMENSIONS)},
        "torch_dtype": "float32",
    }
    extractor = {
        "do_normalize": normalise,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": SAMPLING_RATE,
    }
    for name, value in (("config.json", config), ("preprocessor_config.json", extractor)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    if readme:
        (folder / "README.md").write_text(readme, encoding="utf-8")
    # every version of Transformers reads the older names of weight normalisation
    ours = {_spelled_as_published(name): value.detach().float().contiguous().cpu() for name, value in tensors.items()}
    try:
        save_file(ours, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # in place of the error of the operating system
        raise OSError(str(error)) from None


def _spelled_as_published(name: str) -> str:
    for old, new in SPELLINGS.items():
        if name.endswith(POSITIONS + new):
            return name.removesuffix(new) + old
    return name
