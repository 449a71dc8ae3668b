"""The lowest layers of a pre-trained encoder with a new regression head: the network that a fine-tuning begins with.

Wagner et al. (2023) took 12 of the 24 layers of wav2vec2-large-robust this way and lost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from emow2v import cards, storage
from emow2v.errors import ModelError
from emow2v.modelstore.hub import Progress, from_hub
from emow2v.networks import checkpoint
from emow2v.networks.wav2vec2 import ENCODERS, load, read_json, read_tensors, spelled, unfolded
from emow2v.storage.folders import atomic_folder
from emow2v.storage.home import home
from emow2v.trajectory import DIMENSIONS

_POSITIONAL = "encoder.pos_conv_embed.conv.weight"
_RELATIVE = "attention.rel_attn_embed.weight"  # WavLM's table of distances: in its first layer, for all of them
_ENCODER = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")


@dataclass(frozen=True)
class Pruned:
    """A checkpoint that was written.

    Attributes:
        kind: wav2vec2, hubert or wavlm
        kept: numbers, from 0, of the layers that were kept, of `layers`
        parameters: of the new network, head included
        left_over: names of the other tensors that were left out, layers aside: heads and quantisers of the pre-training
    """

    folder: Path
    kind: str
    kept: tuple[int, ...]
    layers: int
    parameters: int
    left_over: tuple[str, ...]


def source(model: str | Path, progress: Progress = lambda what, done, total: None) -> Path:
    """The folder of a checkpoint: a path, or a name on the model hub, whose files are downloaded.

    Raises:
        ModelError: neither a folder nor a name on the hub
        DownloadError: the hub cannot be reached
    """
    path = Path(model)
    if str(model).strip() and storage.is_folder(path):
        return path
    owner, _, name = str(model).partition("/")
    if not (owner and name) or "/" in name or path.is_absolute() or owner in (".", ".."):
        raise ModelError(
            f"{model} is no folder; expected that of a checkpoint, or a name on the hub such as owner/name."
        )
    return from_hub(str(model), home() / "checkpoints" / owner / name, progress)


def prune(
    model: Path,
    output: Path,
    *,
    keep: Sequence[int] | int,
    seed: int = 0,
    replace: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Pruned:
    """Write a checkpoint with some layers of another, and a head that is not trained.

    Args:
        model: folder of a wav2vec2, HuBERT or WavLM checkpoint, pre-trained or fine-tuned to anything
        output: new folder; it appears whole or not at all
        keep: how many of the lowest layers, or the numbers of the layers, from 0
        seed: of the head's weights
        replace: whether a folder at that place is replaced
        on_stage: called with the name of each stage: reading, writing

    Raises:
        ModelError: another architecture, layers that are not there, tensors missing
        FormatError: the output cannot be written
    """
    content = read_json(model / "config.json")
    kind = str(content.get("model_type"))
    if kind not in ENCODERS:
        raise ModelError(f"{model} holds a model of the type '{kind}'; expected {', '.join(ENCODERS)}.")
    layers = content.get("num_hidden_layers")
    if type(layers) is not int or layers < 1:
        raise ModelError(f"{model / 'config.json'} has {layers!r} layers; expected a number from 1.")
    kept = _kept(keep, layers)
    on_stage("reading")
    encoder, left_over = _encoder(kind, read_tensors(model), kept, model)
    size = content.get("hidden_size", 768)
    range_ = content.get("initializer_range", 0.02)
    if content.get("mask_time_prob", 0.05) or content.get("mask_feature_prob", 0.0):
        # published encoders have one; where masking was never on, it is drawn as in Transformers
        encoder.setdefault(f"{kind}.masked_spec_embed", torch.rand(size, generator=torch.Generator().manual_seed(seed)))
    preprocessor = (
        read_json(model / "preprocessor_config.json") if (model / "preprocessor_config.json").is_file() else {}
    )
    tensors = encoder | _head(size, range_, seed)
    on_stage("writing")
    with atomic_folder(output, replace=replace) as fresh:
        checkpoint.write(
            fresh,
            tensors,
            {**content, "num_hidden_layers": len(kept)},
            normalise=bool(preprocessor.get("do_normalize", True)),
            readme=_readme(model, kind, kept, layers),
        )
        load(fresh)  # tensors that do not fit are an error before the folder appears
    return Pruned(output, kind, kept, layers, sum(value.numel() for value in tensors.values()), left_over)


def _kept(keep: Sequence[int] | int, layers: int) -> tuple[int, ...]:
    numbers = tuple(range(keep)) if isinstance(keep, int) else tuple(keep)
    if not numbers or min(numbers) < 0 or max(numbers) >= layers or list(numbers) != sorted(set(numbers)):
        asked = keep if isinstance(keep, int) else ", ".join(map(str, numbers)) or "none"
        raise ModelError(
            f"Layers to keep: {asked}; expected 1 to {layers} of them, or numbers from 0 to {layers - 1} in rising order."
        )
    return numbers


def _encoder(
    kind: str, tensors: Mapping[str, Tensor], kept: Sequence[int], model: Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of the encoder under its prefix, layers renumbered; and the names of tensors that it does not have."""
    place = {number: str(k) for k, number in enumerate(kept)}
    taken: dict[str, Tensor] = {}
    left_over, relative = [], None
    for name, value in spelled(tensors).items():
        bare = name.removeprefix(f"{kind}.")
        if not bare.startswith(_ENCODER):
            left_over.append(name)
            continue
        if bare == _POSITIONAL:
            taken |= unfolded(kind, value)
            continue
        if bare.startswith("encoder.layers."):
            number, _, rest = bare.removeprefix("encoder.layers.").partition(".")
            if rest == _RELATIVE:
                relative = value
            if not number.isdecimal():
                raise ModelError(
                    f"{model} holds {name}, which is no tensor of a numbered layer; expected a checkpoint."
                )
            if int(number) not in place:
                continue
            bare = f"encoder.layers.{place[int(number)]}.{rest}"
        taken[f"{kind}.{bare}"] = value
    if relative is not None:
        taken[f"{kind}.encoder.layers.0.{_RELATIVE}"] = relative
    if not taken:
        raise ModelError(f"{model} holds no tensors of a {kind} encoder; expected a checkpoint of one.")
    return taken, tuple(left_over)


def _head(size: int, range_: float, seed: int) -> dict[str, Tensor]:
    """Dense layer and projection with the first weights of Transformers: normal weights, no offsets."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "classifier.dense.weight": torch.randn(size, size, generator=generator) * range_,
        "classifier.dense.bias": torch.zeros(size),
        "classifier.out_proj.weight": torch.randn(len(DIMENSIONS), size, generator=generator) * range_,
        "classifier.out_proj.bias": torch.zeros(len(DIMENSIONS)),
    }


def _readme(model: Path, kind: str, kept: Sequence[int], layers: int) -> str:
    """A README with the source of the weights, which stay under the licence of the source."""
    licence = cards.stated_licence(model)
    front = f"---\nlicense: {licence.lower()}\n---\n" if licence != "unknown" else ""
    return (
        f"{front}# {kind} with {len(kept)} of {layers} layers\n\n"
        f"Layers {', '.join(map(str, kept))} of the checkpoint {model.resolve().name}, under a regression head for "
        f"{', '.join(DIMENSIONS)} that was not trained yet. Written by `emow2v prune`.\n"
    )
