"""`lite` as a model of frames: each frame depends on a bounded past and a bounded look-ahead, so that one pass serves all windows.

The trunk is that of `lite`. What `lite` takes from a whole window (level, floor of the spectrum, attention, positions) is
taken here from a bounded stretch about each frame. The frames of a recording are therefore the same in one piece, in
overlapping pieces, and in a stream of chunks. Mean and deviation over any span of frames give scores as those of `lite`.

Times count in hops of 10 ms; a frame is four hops. What lies before the first sample or behind the last one does not exist:
attention, level and floor leave it out, convolutions see zeros there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite import EPSILON, HOP, LEVEL, LEVEL_FLOOR, N_FFT, Layer, LiteConfig, LogMel, Readout

FRAME = 4 * HOP  # samples from one frame to the next: 40 ms
HISTORY = HOP + N_FFT // 2  # samples kept for the next spectra: its first one is centred on the last hop
MASKED = -1e4  # added to the logits of what does not exist
LOG10_E = 0.43429448190325176
RANGE = 8.0  # decades between the largest value of a spectrum and its floor

State = dict[str, Tensor]


@dataclass(frozen=True)
class FramesConfig(LiteConfig):
    """Sizes of the network, and the stretch on which a frame depends.

    Attributes:
        back, ahead: for each layer, frames before and behind a frame to which it attends: of 20 ms up to the layer
            `halve_after`, of 40 ms behind it
        level_back, level_ahead: hops before and behind a hop over which its level is taken, itself among the former;
            `level_ahead` is a multiple of 4
        floor: least decimal logarithm of the levelled spectrum; None takes 8 decades below the largest value of the last
            `level_back` hops
    """

    beside: int = 1
    confidence: int = 1
    back: tuple[int, ...] = (25, 25, 25)
    ahead: tuple[int, ...] = (5, 5, 5)
    level_back: int = 150
    level_ahead: int = 0
    floor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.halve_after <= self.layers:
            raise ValueError(f"halve_after is {self.halve_after}; expected 1 to {self.layers}.")
        if len(self.back) != self.layers or len(self.ahead) != self.layers:
            raise ValueError(f"back is {self.back} and ahead {self.ahead}; expected a number for each layer.")
        if self.level_back < 1 or self.level_ahead < 0 or self.level_ahead % 4:
            raise ValueError(
                f"level_back is {self.level_back} and level_ahead {self.level_ahead}; expected 1 or more, and a multiple of 4."
            )


class _States:
    """The tensors that a step takes from the one before, and those that it leaves to the next one."""

    def __init__(self, old: Mapping[str, Tensor]) -> None:
        self.old, self.new = old, State()

    def extend(self, name: str, value: Tensor, size: int, axis: int = -1) -> Tensor:
        """The last `size` values of the steps before, and those of this one behind them; time is the axis -1 or 1."""
        if not size:
            return value
        longer = torch.cat([self.old[name], value], dim=axis)
        self.new[name] = longer[..., -size:] if axis == -1 else longer[:, -size:]
        return longer


class RunningLogMel(LogMel):
    """Log-mel spectra at a running level: the mean power of the hops about each one.

    A constant offset has no part in spectrum and power: each spectrum is that of its samples less their mean.
    """

    parseval: Tensor

    def __init__(self, config: FramesConfig) -> None:
        super().__init__()
        self.config = config
        self.dft = self.dft - self.dft.mean(dim=2, keepdim=True)
        bins = torch.full((N_FFT // 2 + 1,), 2.0)
        bins[0] = bins[-1] = 1.0
        window = 0.375 * N_FFT  # sum of the squares of a Hann window
        self.register_buffer("parseval", bins[None, :, None] / (N_FFT * window), persistent=False)

    def states(self) -> dict[str, tuple[int, ...]]:
        config = self.config
        peaks = config.level_back - 1 if config.floor is None else 0
        sizes = {
            "samples": (HISTORY,),
            "power": (config.level_back - 1 + config.level_ahead,),
            "spectrum": (self.mel.shape[0], config.level_ahead),
            "peak": (peaks,),
        }
        return {name: size for name, size in sizes.items() if size[-1]}

    def step(self, signal: Tensor, exists: Exists, states: _States) -> Tensor:
        """Signal [batch, 160 hops] to [batch, 80, hops], delayed by 1 + `level_ahead` hops; 0 where nothing exists."""
        config = self.config
        samples = states.extend("samples", signal, HISTORY)
        spectrum = functional.conv1d(samples[:, None], self.dft, stride=HOP)
        real, imaginary = spectrum.chunk(2, dim=1)
        energy = real * real + imaginary * imaginary
        back, ahead = config.level_back, config.level_ahead
        known = exists.of(2, 0)
        power = states.extend("power", (energy * self.parseval).sum(dim=1) * known, back - 1 + ahead)
        span = back + ahead
        counted = exists.of(2, back - 1 + ahead)
        share = functional.avg_pool1d(counted[:, None], span, stride=1).clamp(min=0.5 / span)
        level = functional.avg_pool1d(power[:, None], span, stride=1) / share
        mel = states.extend("spectrum", torch.matmul(self.mel, energy), ahead)
        mel = mel[:, :, :-ahead] if ahead else mel
        gain = LEVEL * LEVEL / (level + LEVEL_FLOOR)
        log = torch.log(torch.clamp(mel * gain, min=1e-10)) * LOG10_E
        if config.floor is None:
            peak = states.extend("peak", mel.amax(dim=1) * exists.of(2 + ahead, 0), back - 1)
            largest = functional.max_pool1d(peak[:, None], back, stride=1) * gain
            floor = torch.log(torch.clamp(largest, min=1e-10)) * LOG10_E - RANGE
            log = torch.maximum(log, floor)
        else:
            log = torch.clamp(log, min=config.floor)
        return (log + 4.0) / 4.0 * exists.of(2 + ahead, 0)[:, None]


class Exists:
    """Which hops exist, as 1 and 0: [batch, history + hops of the step]."""

    def __init__(self, hops: Tensor, history: int) -> None:
        self._hops, self._history = hops, history

    def of(self, delay: int, extra: int, stride: int = 1) -> Tensor:
        """For frames of `stride` hops, of which the last one begins `delay` hops before the end of the step, and `extra` ones
        before those of the step."""
        return self._hops[:, self._history - delay - (extra - 1) * stride : (1 - delay) or None : stride]


class BandedLayer(Layer):
    """A layer of the encoder whose frames attend to some before and behind them.

    Keys and values have learnt parts by their distance from the frame that attends, in place of those that positions give
    them: Shaw, Uszkoreit and Vaswani (2018), Self-Attention with Relative Position Representations, NAACL.
    """

    def __init__(self, config: FramesConfig, back: int, ahead: int) -> None:
        super().__init__(config)
        self.back, self.ahead = back, ahead
        distances = config.heads, back + ahead + 1, config.width // config.heads
        self.distant_keys = nn.Parameter(torch.zeros(distances))
        self.distant_values = nn.Parameter(torch.zeros(distances))

    def step(self, hidden: Tensor, exists: Tensor, name: str, states: _States, block: int) -> Tensor:
        """Frames [batch, time, width] to as many, delayed by `ahead` frames.

        Args:
            exists: of these frames and of `back + ahead` ones before them
            block: frames that are computed together
        """
        batch, _, width = hidden.shape
        span = self.back + self.ahead
        normed = self.self_attn_layer_norm(hidden)
        keys = states.extend(f"{name}.keys", self.self_attn["k_proj"](normed), span, 1)
        values = states.extend(f"{name}.values", self.self_attn["v_proj"](normed), span, 1)
        if self.ahead:
            hidden = states.extend(f"{name}.hidden", hidden, self.ahead, 1)[:, : -self.ahead]
            normed = self.self_attn_layer_norm(hidden)
        more = -(-span // block)  # blocks of keys before those of a block of queries
        bias = (1 - exists[:, :, None]) * MASKED

        def split(rows: Tensor, blocks_before: int) -> Tensor:
            """[batch, time, n] to [batch, blocks, n, frames of a block and of the blocks before it]."""
            taken = span if blocks_before else 0
            rows = functional.pad(rows, (0, 0, 0, blocks_before * block - taken + block - 1))
            blocks = rows.shape[1] // block
            parts = rows[:, : blocks * block].reshape(batch, blocks, block, rows.shape[2])
            if not blocks_before:
                return parts
            shifted = [parts[:, k : (k - blocks_before) or None] for k in range(blocks_before + 1)]
            return torch.cat(shifted, dim=2)

        def heads(rows: Tensor) -> Tensor:
            return rows.reshape(batch, rows.shape[1], rows.shape[2], self.heads, width // self.heads).transpose(2, 3)

        queries = heads(split(self.self_attn["q_proj"](normed), 0)) * (width // self.heads) ** -0.5
        logits = torch.matmul(queries, heads(split(keys, more)).transpose(3, 4))
        logits = logits + self._by_key(torch.matmul(queries, self.distant_keys.transpose(1, 2)), logits.shape[4])
        logits = logits + self._band(block, logits.shape[4]) + split(bias, more)[:, :, :, 0][:, :, None, None]
        weights = torch.softmax(logits, dim=-1)
        attended = torch.matmul(weights, heads(split(values, more)))
        attended = attended + torch.matmul(self._by_distance(weights), self.distant_values)
        attended = attended.transpose(2, 3).reshape(batch, -1, width)[:, : hidden.shape[1]]
        hidden = hidden + self.self_attn["out_proj"](attended)
        inner = functional.gelu(self.fc1(self.final_layer_norm(hidden)))
        result: Tensor = hidden + self.fc2(inner)
        return result

    def _by_key(self, values: Tensor, keys: int) -> Tensor:
        """Values by distance [..., block, distances] to values by key [..., block, keys]: row k begins k keys later."""
        block, distances = values.shape[-2:]
        rows = functional.pad(values, (0, keys + 1 - distances)).flatten(-2)[..., :-block]
        return rows.unflatten(-1, (block, keys))

    def _by_distance(self, values: Tensor) -> Tensor:
        """Values by key to values by distance, the way back."""
        block, keys = values.shape[-2:]
        rows = functional.pad(values.flatten(-2), (0, block)).unflatten(-1, (block, keys + 1))
        return rows[..., : self.back + self.ahead + 1]

    def _band(self, block: int, keys: int) -> Tensor:
        """What is added to logits [block, keys]: 0 within reach of a frame."""
        device = self.distant_keys.device
        distance = torch.arange(keys, device=device)[None] - torch.arange(block, device=device)[:, None]
        outside = (distance < 0) | (distance > self.back + self.ahead)
        return outside.to(self.distant_keys.dtype) * MASKED


class LiteFrames(Readout):
    """Raw signal at 16 kHz to frames of 40 ms [batch, frames, 1024], float32: of each the states of the layer `beside`, and
    of the last one behind them, both normalised. The mean and deviation of any span of frames give its scores (`pooled`,
    `read`).

    `forward` computes a whole signal, or a piece of a longer one. `step` computes chunks of a stream.

    Attributes:
        look_back, look_ahead: samples before the first one of a frame, and behind its last one, on which it depends
        max_samples: of a window, an hour: it is held in memory
        delay: frames by which those of `step` are late
    """

    max_samples = 3600 * SAMPLING_RATE

    def __init__(self, config: FramesConfig | None = None) -> None:
        super().__init__()
        self.config: FramesConfig = config or FramesConfig()
        config = self.config
        if not config.beside:
            raise ValueError("beside is 0; expected the number of a lower layer.")
        self.log_mel = RunningLogMel(config)
        self.conv1 = nn.Conv1d(self.log_mel.mel.shape[0], config.width, 3)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2)
        self.position = nn.Parameter(torch.zeros(config.width))  # in place of a table: the same at all frames
        self.layers = nn.ModuleList(map(BandedLayer, [config] * config.layers, config.back, config.ahead))
        self.layer_norm = nn.LayerNorm(config.width)
        self.add_readout(config)
        self.speech = nn.Sequential(nn.Linear(2 * config.width, 32), nn.Tanh(), nn.Linear(32, 1))
        before, behind = (slice(None, config.halve_after), slice(config.halve_after, None))
        halved = sum(config.ahead[before])
        self._late = [
            4 + config.level_ahead
        ]  # hops from the last frame of each stage to the end of a step, layer by layer
        for number, ahead in enumerate(config.ahead, start=1):
            self._late.append(self._late[-1] + (2 if number <= config.halve_after else 4) * ahead)
            if number == config.halve_after:
                self._held = 2 - halved % 2  # frames that wait for the next step where time is halved
                self._late[-1] = 8 + config.level_ahead + halved // 2 * 4
        self.delay = self._late[-1] // 4 - 1
        hops_back = config.level_back - 1 + 2 * sum(config.back[before]) + 4 * sum(config.back[behind]) + 4
        hops_ahead = config.level_ahead + 2 * halved + 4 * sum(config.ahead[behind]) + 4
        self.look_back = hops_back * HOP + N_FFT // 2
        self.look_ahead = hops_ahead * HOP + N_FFT // 2 - FRAME
        spans = [
            (2 if k < config.halve_after else 4) * (config.back[k] + config.ahead[k]) for k in range(config.layers)
        ]
        self._history = max(config.level_back + config.level_ahead, *map(sum, zip(self._late, spans, strict=False))) + 8

    def states(self) -> dict[str, tuple[int, ...]]:
        """Names of the tensors of a state, and the size of each without its first axis, the batch; all are float32."""
        config, width = self.config, self.config.width
        sizes = {
            **self.log_mel.states(),
            "exists": (self._history,),
            "mel": (self.log_mel.mel.shape[0], 2),
            "conv": (width, 1),
        }
        for number, layer in enumerate(self._banded, start=1):
            for name, rows in (
                ("keys", layer.back + layer.ahead),
                ("values", layer.back + layer.ahead),
                ("hidden", layer.ahead),
            ):
                sizes[f"layer{number}.{name}"] = (rows, width)
        sizes |= {"halved": (self._held, width), "lower": (sum(config.ahead[config.beside :]), width)}
        return {name: size for name, size in sizes.items() if size[0]}

    @property
    def _banded(self) -> list[BandedLayer]:
        return cast("list[BandedLayer]", list(self.layers))

    def start(self, batch: int) -> State:
        """The state before the first sample of each stream of a batch: zeros."""
        device = self.position.device
        return {name: torch.zeros(batch, *size, device=device) for name, size in self.states().items()}

    def step(
        self, signal: Tensor, length: Tensor, state: Mapping[str, Tensor], block: int = 32
    ) -> tuple[Tensor, Tensor, State]:
        """The next chunk of streams.

        Args:
            signal: [batch, samples], a multiple of 640 samples
            length: int64 [batch], how many samples of each row exist; fewer than there are at the end of a stream, and 0
                behind it
            state: of the step before, or `start`; rows are streams
            block: frames whose attention is computed together; about the length of a step for short ones

        Returns:
            frames [batch, samples / 640, 1024], the probability of speech in each [batch, samples / 640], and the next state.
            They are `delay` frames late: before the first and behind the last one of a stream stand zeros, and so many
            frames without samples bring its last ones
        """
        states = _States(state)
        frames = self._frames(signal, length, states, block)
        return frames, torch.sigmoid(self.speech(frames)[:, :, 0]), states.new

    def forward(self, signal: Tensor, length: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A signal as a whole.

        Args:
            signal: [batch, samples]
            length: int64 [batch], samples of each row; None where all exist

        Returns:
            frames [batch, samples / 640 rounded up, 1024], and the probability of speech in each
        """
        frames = self.frames(signal, length)
        return frames, torch.sigmoid(self.speech(frames)[:, :, 0])

    def frames(self, signal: Tensor, length: Tensor | None = None) -> Tensor:
        """Frames as of `forward`."""
        batch, samples = signal.shape
        if length is None:
            length = torch.full((batch,), samples, device=signal.device)
        padded = functional.pad(signal, (0, -samples % FRAME + self.delay * FRAME))
        return self._frames(padded, length, _States(self.start(batch)), 32)[:, self.delay :]

    def pooled(self, frames: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over time of the layer `beside` and of the last one, for `read`: [batch, 1024] each.

        Args:
            frames: [batch, time, 1024]
            weight: [batch, time], 1 for the frames that count and 0 for others; None where all do
        """
        if weight is None:
            weight = torch.ones_like(frames[:, :, 0])
        weight = (weight / weight.sum(dim=1, keepdim=True).clamp(min=1))[:, :, None]
        mean = (frames * weight).sum(dim=1)
        return self.moments(mean, ((frames - mean[:, None]) ** 2 * weight).sum(dim=1))

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """`pooled`, of the mean and the variance of frames over time [batch, 1024]."""
        deviation = torch.sqrt(variance + EPSILON)
        width = self.config.width
        lower, last = (
            torch.cat([mean[:, part], deviation[:, part]], dim=1) for part in (slice(width), slice(width, None))
        )
        return lower, last

    def _frames(self, signal: Tensor, length: Tensor, states: _States, block: int) -> Tensor:
        config, extra = self.config, 0
        known = torch.arange(signal.shape[1], device=signal.device) < length[:, None]
        hops = states.extend("exists", known[:, ::HOP].to(signal.dtype), self._history)
        exists = Exists(hops, self._history)
        late = config.level_ahead
        mel = self.log_mel.step(torch.where(known, signal, 0.0), exists, states)
        first = functional.gelu(self.conv1(states.extend("mel", mel, 2))) * exists.of(3 + late, 0)[:, None]
        hidden = functional.gelu(self.conv2(states.extend("conv", first, 1))).transpose(1, 2) + self.position
        lower, stride = hidden, 2
        for number, layer in enumerate(self._banded, start=1):
            extra = layer.back + layer.ahead
            late = self._late[number - 1]
            hidden = layer.step(hidden, exists.of(late, extra, stride), f"layer{number}", states, block)
            if number == config.halve_after:
                known_rows = exists.of(late + 2 * layer.ahead, self._held, stride)[:, None]
                rows = states.extend("halved", hidden, self._held, 1).transpose(1, 2) * known_rows
                share = functional.avg_pool1d(known_rows, 3, stride=2).clamp(min=0.1)
                hidden, stride = (functional.avg_pool1d(rows, 3, stride=2) / share).transpose(1, 2), 4
            if number == config.beside:
                lower = functional.layer_norm(hidden, hidden.shape[2:])
        waiting = sum(config.ahead[config.beside :])
        if waiting:
            lower = states.extend("lower", lower, waiting, 1)[:, :-waiting]
        return torch.cat([lower, self.layer_norm(hidden)], dim=2) * exists.of(self._late[-1], 0, 4)[:, :, None]
