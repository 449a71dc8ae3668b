"""Random changes of speech as recordings bring them: noise, rooms, colour, narrow bands, clipping.

All changes work on a batch of signals [batch, samples] at 16 kHz. None changes which label is right.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from emow2v.framing import SAMPLING_RATE
from emow2v.training.lite.bank import Bank


class Augmenter:
    """Changes that draw from one generator, so that a seed and an epoch give the same again; works on its device.

    Args:
        noises: recorded noises, for half of the rows to which noise is added
        rooms: what follows the direct sound in measured rooms, for half of the rows that are put into one
    """

    def __init__(self, generator: torch.Generator, noises: Bank | None = None, rooms: Bank | None = None) -> None:
        self.generator, self.noises, self.rooms = generator, noises, rooms
        self.device = generator.device

    def __call__(self, signal: Tensor, *, edges: bool = True) -> Tensor:
        """Changes by chance; without `edges` none of them replaces a stretch, so that frames keep their places."""
        for change, share in (
            (self.reverberate, 0.3),
            (self.tilt, 0.5),
            (self.narrow, 0.25),
            (self.clip, 0.08),
            (self.add_voices, 0.15),
            (self.add_noise, 0.6),
            (self.quantise, 0.1),
            (self.hold_edge, 0.05 * edges),
        ):
            chosen = self._uniform(signal.shape[0]) < share
            if chosen.any():
                signal = signal.clone()
                signal[chosen] = change(signal[chosen])
        return signal

    def _uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator, device=self.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def _count(self, number: int) -> Tensor:
        return torch.arange(number, device=self.device)

    def _or_recorded(self, made: Tensor, bank: Bank | None) -> Tensor:
        """Half of the rows in place of a bank's, where there is one."""
        if bank is None:
            return made
        chosen = self._uniform(len(made), 1) < 0.5
        return torch.where(chosen, bank.draw(made.shape[0], made.shape[1], self.generator), made)

    def add_noise(self, signal: Tensor) -> Tensor:
        """Noise of a random colour (power over frequency^0..2), or a recorded one, at 5 to 35 dB below the signal."""
        batch, samples = signal.shape
        spectrum = torch.fft.rfft(self._normal(batch, samples))
        frequency = self._count(spectrum.shape[1]).clamp(min=max(1, samples * 50 // SAMPLING_RATE)).float()
        noise = torch.fft.irfft(spectrum * frequency ** -self._uniform(batch, 1), n=samples)
        noise = self._or_recorded(noise, self.noises)
        snr = self._uniform(batch, 1, low=5.0, high=35.0)
        scale = _rms(signal) / (_rms(noise) + 1e-9) * 10 ** (-snr / 20)
        return signal + scale * noise

    def tilt(self, signal: Tensor) -> Tensor:
        """A first-order filter that lifts or lowers the treble."""
        tap = self._uniform(signal.shape[0], 1, low=-0.6, high=0.7)
        delayed = torch.nn.functional.pad(signal, (1, 0))[:, :-1]
        return signal - tap * delayed

    def narrow(self, signal: Tensor) -> Tensor:
        """Band limits from a telephone's to a dull microphone's: 20..400 Hz up to 3..7 kHz."""
        batch, samples = signal.shape
        spectrum = torch.fft.rfft(signal)
        hz = self._count(spectrum.shape[1]) * SAMPLING_RATE / samples
        low, high = self._uniform(batch, 1, low=20, high=400), self._uniform(batch, 1, low=3000, high=7000)
        gain = torch.sigmoid((hz - low) / 30) * torch.sigmoid((high - hz) / 150)
        return torch.fft.irfft(spectrum * gain, n=samples)

    def reverberate(self, signal: Tensor) -> Tensor:
        """A room as exponentially decaying noise (60 dB in 0.1 to 0.8 s), or as measured, at 0 to 15 dB below the direct
        sound."""
        batch, samples = signal.shape
        length = SAMPLING_RATE // 2
        seconds = self._count(length) / SAMPLING_RATE
        decay = torch.exp(-math.log(1000) * seconds / self._uniform(batch, 1, low=0.1, high=0.8))
        tail = self._or_recorded(self._normal(batch, length) * decay, self.rooms)
        tail = tail / tail.norm(dim=1, keepdim=True) * 10 ** (-self._uniform(batch, 1, high=15.0) / 20)
        tail[:, 0] += 1
        size = samples + length
        wet = torch.fft.irfft(torch.fft.rfft(signal, n=size) * torch.fft.rfft(tail, n=size), n=size)
        return wet[:, :samples]

    def clip(self, signal: Tensor) -> Tensor:
        """Overdriven recordings: peaks cut at 10 to 60 % of the largest."""
        limit = signal.abs().amax(dim=1, keepdim=True) * self._uniform(signal.shape[0], 1, low=0.1, high=0.6)
        return torch.minimum(torch.maximum(signal, -limit), limit)

    def add_voices(self, signal: Tensor) -> Tensor:
        """Three others of the batch talk in the background, 8 to 25 dB below."""
        batch = signal.shape[0]
        voices = [signal.roll(k % batch, dims=0).roll(signal.shape[1] // (k + 1), dims=1) for k in (1, 2, 3)]
        others = torch.stack(voices).sum(dim=0)
        snr = self._uniform(batch, 1, low=8.0, high=25.0)
        return signal + others * (_rms(signal) / (_rms(others) + 1e-9) * 10 ** (-snr / 20))

    def quantise(self, signal: Tensor) -> Tensor:
        """Eight bits on a logarithmic scale, as telephones have it (mu-law, ITU-T G.711)."""
        scale = signal.abs().amax(dim=1, keepdim=True) / self._uniform(signal.shape[0], 1, low=0.2, high=1.0) + 1e-9
        compressed = torch.sign(signal) * torch.log1p(255 * signal.abs() / scale) / math.log(256)
        steps = torch.round(compressed * 127) / 127
        return torch.sign(steps) * torch.expm1(steps.abs() * math.log(256)) / 255 * scale

    def hold_edge(self, signal: Tensor) -> Tensor:
        """The first window of a recording: its first sample is repeated before it."""
        batch, samples = signal.shape
        begin = (self._uniform(batch, 1, low=0.1, high=0.9) * samples).long()
        held = signal.gather(1, begin)
        return torch.where(self._count(samples) < begin, held, signal)

    def nothing(self, batch: int, samples: int) -> Tensor:
        """Signals without speech: silence, noise of any colour, tones."""
        # recorded ones may hold voices
        noise = Augmenter(self.generator).add_noise(1e-9 * self._normal(batch, samples))
        noise = noise / (_rms(noise) + 1e-12) * 10 ** (-self._uniform(batch, 1, low=20.0, high=90.0) / 20)
        hertz = self._uniform(batch, 1, low=50.0, high=4000.0)
        tone = torch.sin(2 * math.pi * hertz * self._count(samples) / SAMPLING_RATE) * 0.1
        kind = self._uniform(batch, 1)
        return torch.where(kind < 0.3, torch.zeros_like(noise), torch.where(kind < 0.85, noise, noise + tone))

    def mask_bands(self, features: Tensor) -> Tensor:
        """One band of up to 12 mel filters set to the mean, for half of [batch, 80, frames]."""
        batch, bands, _ = features.shape
        width = self._uniform(batch, 1, high=12.0) * (self._uniform(batch, 1) < 0.5)
        first = self._uniform(batch, 1) * (bands - width)
        band = self._count(bands)
        masked = (band >= first) & (band < first + width)
        return torch.where(masked[:, :, None], features.mean(dim=(1, 2), keepdim=True), features)


def _rms(signal: Tensor) -> Tensor:
    return torch.sqrt((signal * signal).mean(dim=1, keepdim=True))
