"""`lite`: the lower layers of the Whisper base encoder, pooled over time, with a small head.

The input of the graph is the raw signal at 16 kHz. Level normalisation and the log-mel front end are part of the graph,
as plain convolutions and matrix products; so every engine computes them in the same way, and no caller can forget them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emow2v.errors import ModelError
from emow2v.framing import SAMPLING_RATE
from emow2v.networks.confidence import Confidence

N_FFT = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FRAME_HOP = 2 * HOP  # samples between hidden states before time is halved
N_MELS = 80
LEVEL = 0.1  # root mean square after normalisation: a usual level of speech in Whisper's training
LEVEL_FLOOR = 1e-7  # variance below which a signal is amplified less: -70 dB of full scale
EPSILON = 1e-5


@dataclass(frozen=True)
class LiteConfig:
    """Sizes of the network: it has `layers` layers of the encoder, and halves time behind layer `halve_after`.

    Attributes:
        beside: number of a lower layer whose frames are pooled beside those of the last one, with a head of their own; 0 for
            none; at or behind `halve_after`, so that both have as many frames
    """

    layers: int = 3
    halve_after: int = 1
    width: int = 512
    heads: int = 8
    intermediate: int = 2048
    positions: int = 500  # 10 s at 50 frames a second
    hidden: int = 256
    emotions: int = 0  # classes of the auxiliary head, training only
    confidence: int = 0  # 1: the network has an output for the confidence of each score; 2: that of `Confidence`
    beside: int = 0

    def __post_init__(self) -> None:
        if self.beside and not max(1, self.halve_after) <= self.beside < self.layers:
            raise ValueError(
                f"beside is {self.beside}; expected {max(1, self.halve_after)} to {self.layers - 1}, or 0."
            )
        if self.confidence > 1 and not self.beside:
            raise ValueError(f"confidence is {self.confidence} without a layer beside; expected 0 or 1.")

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class LogMel(nn.Module):
    """Whisper's log-mel spectrogram of a signal brought to one level: [batch, samples] to [batch, 80, frames].

    Frames are centred on multiples of 10 ms with reflected ends; the last one is dropped, as in Whisper.
    """

    dft: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        bins = N_FFT // 2 + 1  # 201
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)  # periodic Hann
        phase = 2 * np.pi * np.outer(np.arange(bins), np.arange(N_FFT)) / N_FFT
        dft = np.concatenate([np.cos(phase), np.sin(phase)]) * window
        self.register_buffer("dft", torch.tensor(dft[:, None], dtype=torch.float32), persistent=False)
        self.register_buffer("mel", torch.tensor(mel_filters(), dtype=torch.float32), persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        signal = signal - signal.mean(dim=1, keepdim=True)
        signal = signal - signal.mean(dim=1, keepdim=True)  # the rest of a loud offset, left by rounding
        power = (signal * signal).mean(dim=1, keepdim=True)
        signal = signal * (LEVEL * torch.rsqrt(power + LEVEL_FLOOR))
        padded = functional.pad(signal[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self.dft, stride=HOP)[:, :, :-1]
        real, imaginary = spectrum.chunk(2, dim=1)
        mel = torch.matmul(self.mel, real * real + imaginary * imaginary)
        log = torch.log(torch.clamp(mel, min=1e-10)) * (1 / np.log(10))
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


def mel_filters() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Triangular mel filters of unit area [80, 201] on Slaney's scale (linear below 1 kHz, log above).

    Malcolm Slaney, Auditory Toolbox, Interval Research Technical Report 1998-010.
    """

    def hz(mel: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        # 200/3 Hz a mel up to 1000 Hz (mel 15), from there 27 mels for a factor of 6.4
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    highest = 15 + 27 * np.log(SAMPLING_RATE / 2 / 1000) / np.log(6.4)
    edges = hz(np.linspace(0, highest, N_MELS + 2))
    bins = np.linspace(0, SAMPLING_RATE / 2, N_FFT // 2 + 1)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre))
    return cast("np.ndarray[Any, np.dtype[np.float64]]", np.maximum(triangles, 0) * 2 / (upper - lower))


class Layer(nn.Module):
    """One pre-norm transformer layer of Whisper's encoder; the names are those of its checkpoint."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(width, width),
                "k_proj": nn.Linear(width, width, bias=False),
                "v_proj": nn.Linear(width, width),
                "out_proj": nn.Linear(width, width),
            }
        )
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, width)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, frames, width = hidden.shape
        normed = self.self_attn_layer_norm(hidden)

        def split(name: str) -> Tensor:
            projected: Tensor = self.self_attn[name](normed)
            return projected.view(batch, frames, self.heads, width // self.heads).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(split("q_proj"), split("k_proj"), split("v_proj"))
        attended = attended.transpose(1, 2).reshape(batch, frames, width)
        hidden = hidden + self.self_attn["out_proj"](attended)
        inner = functional.gelu(self.fc1(self.final_layer_norm(hidden)))
        result: Tensor = hidden + self.fc2(inner)
        return result


class Branch(nn.Module):
    """Scores from the pooled frames of one layer [batch, 1024], each value standardised over the training data."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(2 * config.width, affine=False)
        self.head = _head(config)
        self.emotion = nn.Linear(2 * config.width, config.emotions) if config.emotions else None

    def restandardise(self, mean: Tensor, variance: Tensor) -> None:
        """See `Lite.restandardise`."""
        _restandardise(self.standardise, mean, variance, self.head[1], self.emotion)


def _head(config: LiteConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(0.3), nn.Linear(2 * config.width, config.hidden), nn.Tanh(), nn.Linear(config.hidden, 3)
    )


def _restandardise(statistics: nn.BatchNorm1d, mean: Tensor, variance: Tensor, *behind: nn.Module | None) -> None:
    """Another mean and variance [1024], and linear layers behind changed so that their results stay equal."""
    assert statistics.running_mean is not None and statistics.running_var is not None
    scale = torch.sqrt((variance + statistics.eps) / (statistics.running_var + statistics.eps))
    shift = (mean - statistics.running_mean) / torch.sqrt(statistics.running_var + statistics.eps)
    with torch.no_grad():
        for layer in behind:
            if isinstance(layer, nn.Linear):
                layer.bias.add_(layer.weight @ shift)
                layer.weight.mul_(scale)
        statistics.running_mean.copy_(mean)
        statistics.running_var.copy_(variance)


class Readout(nn.Module):
    """What comes behind the pooled frames of a network, with or without a layer `beside`: embeddings, scores, confidence.

    With a layer `beside`, scores are the weighted mean of those of two heads (`share` is the weight of the lower layer's),
    and embeddings the sum of the standardised values of both layers, standardised again (`both`).

    Confidence is that of a linear layer on the embeddings, or of `Confidence` where the network has one.
    """

    share: Tensor

    def add_readout(self, config: LiteConfig) -> None:
        self.standardise = nn.BatchNorm1d(2 * config.width, affine=False)
        self.head = _head(config)
        self.certainty = nn.Linear(2 * config.width, 3) if config.confidence else None
        self.emotion = nn.Linear(2 * config.width, config.emotions) if config.emotions else None
        self.lower = Branch(config) if config.beside else None
        if config.beside:
            self.both = nn.BatchNorm1d(2 * config.width, affine=False)
            self.register_buffer("share", torch.full((3,), 0.5))
        self.confidence = Confidence(4 * config.width) if config.confidence > 1 else None

    def restandardise(self, mean: Tensor, variance: Tensor) -> None:
        """Standardise embeddings by another mean and variance [1024], and change the layers behind so that scores stay equal.

        With a layer `beside` these are values of the last layer, and `restandardise_both` is to follow.
        """
        _restandardise(self.standardise, mean, variance, self.head[1], self.certainty, self.emotion)

    def restandardise_both(self, lower: Tensor, last: Tensor) -> None:
        """Standardise embeddings over pooled values of both layers, [rows, 1024] each."""
        assert self.lower is not None
        with torch.no_grad():
            values = self.standardise.eval()(last) + self.lower.standardise.eval()(lower)
        _restandardise(self.both, values.mean(dim=0), values.var(dim=0))

    def read(self, pooled: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Embeddings [batch, 1024], scores [batch, 3], and confidence [batch, 3] where there is one, from pooled values of the
        layer `beside` and of the last one, or of the only one there is, [batch, 1024] each."""
        embeddings, scores, layers = self.heads(pooled)
        if self.certainty is None:
            return embeddings, scores
        certainty = self.certainty(layers[0])
        if self.confidence is None:
            return embeddings, scores, torch.sigmoid(certainty)
        return embeddings, scores, self.confidence(torch.cat(layers, dim=1), scores, certainty)

    def heads(self, pooled: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Embeddings [batch, 1024], scores [batch, 3], and the standardised values of the last layer and of the one `beside`,
        [batch, 1024] each, from pooled values as in `read`."""
        last = self.standardise(pooled[-1])
        if self.lower is None:
            return last, self.head(last), (last,)
        lower = self.lower.standardise(pooled[0])
        scores = self.share * self.lower.head(lower) + (1 - self.share) * self.head(last)
        return self.both(last + lower), scores, (last, lower)


class Lite(Readout):
    """Raw signal [batch, samples] to embeddings [batch, 1024], scores [batch, 3], and confidence [batch, 3] where it has one.

    Embeddings are mean and standard deviation over time of the last layer (512 + 512), each standardised
    by its own mean and deviation over the training data (stored as those of a batch normalisation).
    """

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LiteConfig()
        self.log_mel = LogMel()
        self.conv1 = nn.Conv1d(N_MELS, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.width)
        self.add_readout(config)

    @property
    def max_samples(self) -> int:
        """Samples of the longest window: 160000 (10 s) with the default sizes."""
        return self.config.positions * FRAME_HOP

    def frames(self, features: Tensor, first: int = 0, *, lower_only: bool = False) -> Tensor:
        """Log-mel [batch, 80, frames] to the last hidden states [batch, time, 512]; those of the layer `beside` lie in front
        of them where there is one [batch, time, 1024].

        Args:
            first: position of the first frame; it is random in training, so that the network learns nothing from the place
                of a frame in its window, and computes long stretches like short ones
            lower_only: only the states of the layer `beside`
        """
        hidden = functional.gelu(self.conv2(functional.gelu(self.conv1(features)))).transpose(1, 2)
        hidden = hidden + self.embed_positions.weight[first : first + hidden.shape[1]]
        lower = None
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden)
            if number == self.config.halve_after:
                hidden = functional.avg_pool1d(
                    hidden.transpose(1, 2), kernel_size=3, stride=2, padding=1, count_include_pad=False
                ).transpose(1, 2)
            if number == self.config.beside:
                lower = functional.layer_norm(hidden, hidden.shape[2:])
                if lower_only:
                    return lower
        normed: Tensor = self.layer_norm(hidden)
        return normed if lower is None else torch.cat([lower, normed], dim=2)

    def pooled(self, features: Tensor, first: int = 0, *, lower_only: bool = False) -> tuple[Tensor, ...]:
        """Mean and standard deviation over time [batch, 1024], float32, of the layer `beside` and of the last one, or of the
        only one there is."""
        return self.pool(self.frames(features, first, lower_only=lower_only).float())

    def pool(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """`pooled`, of the frames [batch, time, 512], or 1024 with a layer `beside`."""
        mean = hidden.mean(dim=1)
        deviation = torch.sqrt(((hidden - mean[:, None]) ** 2).mean(dim=1) + EPSILON)
        width = self.config.width
        return tuple(
            torch.cat([mean[:, begin : begin + width], deviation[:, begin : begin + width]], dim=1)
            for begin in range(0, hidden.shape[2], width)
        )

    def embed(self, features: Tensor, first: int = 0) -> Tensor:
        """Log-mel to embeddings [batch, 1024], float32."""
        pooled = self.pooled(features, first)
        standardised: Tensor = self.standardise(pooled[-1])
        if self.lower is None:
            return standardised
        embeddings: Tensor = self.both(standardised + self.lower.standardise(pooled[0]))
        return embeddings

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        return self.read(self.pooled(self.log_mel(signal)))


def load_whisper(model: Lite, source: str | Path) -> None:
    """Fill the lower layers from a Whisper base encoder.

    Args:
        source: folder with the model.safetensors of the encoder, or of all Whisper

    Raises:
        FileNotFoundError: the folder holds no weights
        ModelError: the weights are damaged, or those of another network
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(source) / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{source} holds no model.safetensors; expected a Whisper encoder.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or cut off ({error}); copy or download it again.") from None
    # The trunk has Whisper's names: its tensors are copied, others stay as they are in both.
    own = model.state_dict()
    trunk = ("conv1.", "conv2.", "embed_positions.", "layers.", "layer_norm.")
    prefix = next((one for one in ("model.encoder.", "encoder.") if f"{one}conv1.weight" in tensors), "")
    for name, target in own.items():
        if not name.startswith(trunk):
            continue
        value = tensors.get(prefix + name)
        if value is None or value.shape[1:] != target.shape[1:] or value.shape[0] < target.shape[0]:
            raise ModelError(f"{path} has no {name} of {list(target.shape)}; expected that of Whisper base.")
        target.copy_(value[: target.shape[0]].float())
