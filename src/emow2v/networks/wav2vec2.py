"""wav2vec2 with a regression head: the network of Wagner et al. (2023, arXiv 2203.07378), on Transformers' encoders.

The input is the raw signal at 16 kHz; the outputs are the mean of the last hidden states over time, and arousal,
dominance and valence. Clips of different lengths can share a batch, with the results of each clip by itself. HuBERT and
WavLM can replace wav2vec2 under the same head.
"""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from emow2v import storage
from emow2v.cards import WEIGHT_FILES
from emow2v.errors import ModelError, is_own
from emow2v.framing import SAMPLING_RATE
from emow2v.trajectory import DIMENSIONS

logger = logging.getLogger("emow2v.networks")

EPSILON = 1e-7  # added to the variance, as Transformers' feature extractor does
# Names of Transformers' classes by the model_type in config.json, which is also the prefix of the tensors' names
ENCODERS = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
POSITIONS = "encoder.pos_conv_embed.conv."
# Tensors of the weight-normalised positional convolution: their names in older versions of PyTorch, and now
SPELLINGS = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
# Settings of how a network is run, which emow2v chooses; they do not change what it computes
_RUN = ("attn_implementation", "_attn_implementation", "return_dict", "use_return_dict", "output_attentions",
        "output_hidden_states", "torchscript", "quantization_config", "gradient_checkpointing")  # fmt: skip
_SHOWN = 5  # most tensor names in a sentence


class Head(nn.Module):
    """Dense, tanh, projection to the scores: [batch, hidden] to [batch, 3]."""

    def __init__(self, hidden: int, scores: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(hidden, scores)

    def forward(self, pooled: Tensor) -> Tensor:
        inner = torch.tanh(self.dense(self.dropout(pooled)))
        scores: Tensor = self.out_proj(self.dropout(inner))
        return scores


class Wav2Vec2Emotion(nn.Module):
    """Signal [batch, samples] to pooled hidden states [batch, hidden] and scores [batch, 3].

    Args:
        config: Transformers' `Wav2Vec2Config`, `HubertConfig` or `WavLMConfig`
        normalise: first bring each clip to zero mean and unit variance, as the feature extractor of the checkpoint does
    """

    def __init__(self, config: Any, *, normalise: bool = True) -> None:
        import transformers

        super().__init__()
        self.config = config
        self.normalise = normalise
        self.add_module(config.model_type, getattr(transformers, f"{ENCODERS[config.model_type]}Model")(config))
        self.classifier = Head(config.hidden_size, len(DIMENSIONS), config.final_dropout)

    @property
    def encoder(self) -> Any:
        """Transformers' model; the attribute has the name with which its tensors' names begin."""
        return getattr(self, self.config.model_type)

    @property
    def masks(self) -> bool:
        """Whether clips of different lengths can share a batch; they cannot where features are normalised over time."""
        return bool(self.config.feat_extract_norm == "layer")

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pooled hidden states [batch, hidden] and scores [batch, 3].

        Args:
            signal: float32 [batch, samples]; values behind the length of a clip have no effect
            lengths: int64 [batch], valid samples of each clip; None where all are whole

        Raises:
            ValueError: clips of different lengths for a network that cannot mask (group normalisation over time)
        """
        return self.scored(self.pooled(signal, lengths))

    def pooled(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mean over the valid frames, float32 [batch, hidden]."""
        if lengths is None or bool((lengths == signal.shape[1]).all()):
            return self.hidden(signal).mean(dim=1)
        if not self.masks:
            raise ValueError(
                "this network normalises over time and cannot mask; run clips of each length by themselves"
            )
        hidden = self.hidden(signal, lengths)
        frames = self.frames(lengths)
        valid = (torch.arange(hidden.shape[1], device=signal.device) < frames[:, None])[:, :, None]
        # torch.where, not a product: the padding may hold NaN
        return torch.where(valid, hidden, 0.0).sum(dim=1) / frames[:, None]

    def hidden(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Hidden states over time, float32 [batch, frames, hidden]; the encoder computes in its own precision."""
        if self.normalise:
            signal = standardised(signal, lengths)
        mask = None
        if lengths is not None:
            mask = (torch.arange(signal.shape[1], device=signal.device) < lengths[:, None]).long()
        signal = signal.to(self.encoder.dtype)
        with warnings.catch_warnings():
            # WavLM passes two masks of different types to PyTorch, which uses both correctly
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            states: Tensor = self.encoder(signal, attention_mask=mask).last_hidden_state
        return states.float()

    def read(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, of hidden states [batch, frames, hidden], all of which count."""
        return self.scored(hidden.mean(dim=1))

    def scored(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled hidden states [batch, hidden], and their scores [batch, 3]."""
        return pooled, self.classifier(pooled)

    def frames(self, samples: Tensor) -> Tensor:
        """Number of frames that the convolutions make of a number of samples: 49 of 16000, 1 of 400."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = torch.div(samples - kernel, stride, rounding_mode="floor") + 1
        return samples

    @property
    def min_samples(self) -> int:
        """Samples of the shortest signal that makes a frame: 400 with the published sizes."""
        needed = 1
        for kernel, stride in reversed(list(zip(self.config.conv_kernel, self.config.conv_stride, strict=True))):
            needed = (needed - 1) * stride + kernel
        return needed

    def transformer_to(self, dtype: torch.dtype) -> None:
        """Change the precision of the encoder, between normalisation and pooling."""
        nn.Module.to(self.encoder, dtype)

    def fold(self) -> Wav2Vec2Emotion:
        """Replace the weight normalisation of the positional convolution by its product, for inference."""
        conv = self.encoder.encoder.pos_conv_embed.conv
        if parametrize.is_parametrized(conv, "weight"):
            parametrize.remove_parametrizations(conv, "weight")
        return self


def standardised(signal: Tensor, lengths: Tensor | None = None) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-7) over the valid samples of each clip, zero behind them; in float32."""
    signal = signal.float()
    # the mean is subtracted twice: that of a loud offset is rounded in float32, and the rest would not be silence
    if lengths is None:
        centred = signal - signal.mean(dim=1, keepdim=True)
        centred = centred - centred.mean(dim=1, keepdim=True)
        return centred / torch.sqrt((centred * centred).mean(dim=1, keepdim=True) + EPSILON)
    valid = torch.arange(signal.shape[1], device=signal.device) < lengths[:, None]
    count = lengths[:, None]
    mean = torch.where(valid, signal, 0.0).sum(dim=1, keepdim=True) / count
    centred = torch.where(valid, signal - mean, 0.0)
    centred = torch.where(valid, centred - centred.sum(dim=1, keepdim=True) / count, 0.0)
    return centred / torch.sqrt((centred * centred).sum(dim=1, keepdim=True) / count + EPSILON)


@dataclass(frozen=True)
class Checkpoint:
    """A network that was loaded from a folder.

    Attributes:
        model: the network in evaluation mode, with scores in the order arousal, dominance, valence; its weight normalisation
            is folded, unless it was loaded for training
        left_over: names of tensors in the file that the network does not use
    """

    model: Wav2Vec2Emotion
    left_over: tuple[str, ...]


def load(folder: Path, *, trainable: bool = False, settings: Mapping[str, Any] | None = None) -> Checkpoint:
    """Load the network in a Hugging Face folder, or in one of our packages with weights for PyTorch.

    Args:
        trainable: keep the weight normalisation, and give parameters gradients
        settings: values that replace those of config.json, such as dropouts; they must change no tensor

    Raises:
        ModelError: another architecture, missing tensors or other shapes, a damaged file, code in a pickle
    """
    config, normalise, order = _configuration(folder, settings or {})
    kind = config.model_type
    tensors = spelled(read_tensors(folder))
    folded = f"{kind}.{POSITIONS}weight"  # the product of direction and length, as in our packages
    if trainable and folded in tensors:
        tensors |= unfolded(kind, tensors.pop(folded))
    if config.num_hidden_layers > len(tensors):  # before a network of that depth is built
        raise ModelError(
            f"{folder} holds {len(tensors)} tensors, too few for the {config.num_hidden_layers} layers of its config.json; "
            "take both from the same checkpoint."
        )
    try:
        with torch.device("meta"):  # neither memory nor time for weights that are replaced at once
            model = Wav2Vec2Emotion(config, normalise=normalise)
    # impossible sizes and unknown functions raise many types in Transformers and PyTorch
    except (ValueError, TypeError, KeyError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        if is_own(error):
            raise
        raise ModelError(
            f"{folder / 'config.json'} is not a {kind} configuration ({storage.reason(error)}); copy or download it again."
        ) from None
    if folded in tensors:
        model.fold()
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of {len(expected)} tensors ({_some(missing)}); expected a whole {kind} checkpoint "
            "with a regression head (classifier.dense, classifier.out_proj)."
        )
    wrong = [name for name, value in expected.items() if tensors[name].shape != value.shape]
    if wrong:
        name = wrong[0]
        raise ModelError(
            f"{folder} holds {name} with the shape {list(tensors[name].shape)}; its config.json asks for "
            f"{list(expected[name].shape)}: take both from the same checkpoint."
        )
    odd = [name for name in expected if not tensors[name].is_floating_point() or not tensors[name].isfinite().all()]
    if odd:
        raise ModelError(f"{folder} holds no finite numbers in {_some(odd)}; expected trained weights.")
    left_over = tuple(name for name in tensors if name not in expected)
    own = (f"{kind}.", "classifier.")  # prefixes of the network's own tensors; others belong to its pre-training
    foreign = [name for name in left_over if name.startswith(own) and not name.endswith("masked_spec_embed")]
    if foreign:  # to leave out a layer would change every number
        raise ModelError(
            f"{folder} holds {len(foreign)} tensors that its config.json has no place for ({_some(foreign)}); "
            "take both from the same checkpoint."
        )
    if left_over:
        logger.warning("%s: %d tensors were not used (%s)", folder, len(left_over), _some(left_over))
    model.load_state_dict({name: tensors[name].float() for name in expected}, assign=True)
    head = model.classifier.out_proj
    head.weight, head.bias = nn.Parameter(head.weight[order]), nn.Parameter(head.bias[order])
    if trainable:
        return Checkpoint(model.eval().requires_grad_(True), left_over)
    return Checkpoint(model.fold().eval().requires_grad_(False), left_over)


def unfolded(kind: str, weight: Tensor) -> dict[str, Tensor]:
    """The weight of a positional convolution as length [1, 1, kernel] and direction, the form for training."""
    first, second = (f"{kind}.{POSITIONS}{name}" for name in SPELLINGS.values())
    return {first: weight.float().norm(dim=(0, 1), keepdim=True), second: weight.float()}


def _configuration(folder: Path, settings: Mapping[str, Any]) -> tuple[Any, bool, list[int]]:
    """Transformers' configuration, whether the signal is normalised, and the positions of our dimensions in its labels."""
    import transformers

    content = {**read_json(folder / "config.json"), **settings}
    kind = content.get("model_type")
    if kind not in ENCODERS:
        raise ModelError(
            f"{folder} holds a model of the type '{kind}'; expected {', '.join(ENCODERS)} with a regression head."
        )
    named = content.get("id2label")
    named = named if isinstance(named, dict) else {}
    labels = [str(named.get(str(k), "")).lower() for k in range(len(DIMENSIONS))]
    if sorted(labels) != sorted(DIMENSIONS) or len(named) != len(labels):
        names = ", ".join(str(label) for label in named.values()) or "none"
        raise ModelError(
            f"{folder / 'config.json'} names the labels {names}; expected id2label with {', '.join(DIMENSIONS)}."
        )
    # null means not set (vocab_size in the published file); newer versions of Transformers refuse it
    known = {name: value for name, value in content.items() if value is not None and name not in _RUN}
    if known.get("pooling_mode", "mean") != "mean":
        raise ModelError(f"{folder} pools over time by '{known['pooling_mode']}'; expected the mean.")
    if known.get("use_weighted_layer_sum"):
        raise ModelError(f"{folder} uses a weighted sum of its layers; expected the last one.")
    kinds = getattr(transformers, f"{ENCODERS[kind]}Config")
    try:
        config = kinds.from_dict(known)
    except Exception as error:  # the exceptions of its validation share no base class
        if is_own(error):
            raise
        raise ModelError(
            f"{folder / 'config.json'} is not a {kind} configuration ({storage.reason(error)}); copy or download it again."
        ) from None
    if min((*config.conv_kernel, *config.conv_stride)) < 1:
        raise ModelError(f"{folder / 'config.json'} has convolutions of size or stride 0; expected 1 or more.")
    if getattr(config, "add_adapter", False):
        raise ModelError(f"{folder} uses an adapter behind the encoder; expected a {kind} without one.")
    if getattr(config, "conv_pos_batch_norm", False):
        raise ModelError(f"{folder} normalises positions over the batch; expected a {kind} with weight normalisation.")
    extractor = folder / "preprocessor_config.json"
    said = read_json(extractor) if extractor.is_file() else {}
    normalise = said.get("do_normalize", True)
    if not isinstance(normalise, bool) or said.get("sampling_rate", SAMPLING_RATE) != SAMPLING_RATE:
        raise ModelError(
            f"{extractor} asks for {said.get('sampling_rate')} Hz and do_normalize {normalise!r}; expected {SAMPLING_RATE} Hz "
            "and true or false."
        )
    return config, normalise, [labels.index(name) for name in DIMENSIONS]


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration file of a checkpoint.

    Raises:
        ModelError: it cannot be read, or holds no object
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
        reason = "not an object"
    except OSError as error:
        reason = error.strerror or "cannot be read"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise ModelError(f"{path} is not a configuration ({reason}); copy the checkpoint again.")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by the names in its file.

    Raises:
        ModelError: the folder holds no weights, a damaged file, or a pickle with code
    """
    from safetensors.torch import load_file

    for name in WEIGHT_FILES:
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.suffix == ".safetensors":
                return load_file(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on pickles of other protocols, which are read or refused
                loaded = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise ModelError(
                f"{path} holds more than tensors (a pickle that would run code) and was not opened; expected "
                "model.safetensors, or a pytorch_model.bin with nothing but tensors."
            ) from None
        except Exception as error:  # damaged pickles and archives raise many types in PyTorch
            if is_own(error):
                raise
            raise ModelError(
                f"{path} is damaged or cut off ({storage.reason(error)}); copy or download it again."
            ) from None
        if isinstance(loaded, Mapping) and all(isinstance(value, Tensor) for value in loaded.values()):
            return dict(loaded)
        raise ModelError(f"{path} holds no table of tensors; expected the state_dict of a checkpoint.")
    raise ModelError(f"{folder} holds no weights; expected {' or '.join(WEIGHT_FILES)}.")


def spelled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with the names that the current PyTorch has for those of the positional convolution."""
    changed = {POSITIONS + old: POSITIONS + new for old, new in SPELLINGS.items()}

    def current(name: str) -> str:
        old = next((old for old in changed if name.endswith(old)), None)
        return name if old is None else name.removesuffix(old) + changed[old]

    return {current(name): value for name, value in tensors.items()}


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
