"""Rows of sound for a model of frames: crops of clips between made pauses, and rows without speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emow2v.networks.lite_frames import FRAME
from emow2v.speech import activity, silero
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.bank import Bank

STARTS = 0.3  # share of rows that begin with their crop, as recordings do


@dataclass(frozen=True)
class Rows:
    """Sound of a batch with what the network is to say of it.

    Attributes:
        signal: [batch, samples], changed at random
        window: what the teacher hears, [rows with speech, samples], unchanged
        first: int64 [rows with speech], the frame at which the window begins in its row
        crop: [batch, frames], 1 for the frames of the crop; all of them in rows without speech
        speech: [batch, frames], the detector's probability of speech
    """

    signal: Tensor
    window: Tensor
    first: Tensor
    crop: Tensor
    speech: Tensor


def compose(
    crops: Tensor,
    without_speech: int,
    pause_frames: int,
    span: tuple[int, int],
    rng: np.random.Generator,
    augment: Augmenter,
    noises: Bank | None,
) -> Rows:
    """Put crops between pauses, and change all by chance.

    Args:
        crops: [batch, samples], a multiple of 640; the first ones are replaced
        without_speech: rows of noise, silence and tones in their place
        pause_frames: by which rows are longer than crops
        span: first and last frame (excluded) of the teacher's window in a crop
    """
    batch, samples = crops.shape
    frames = samples // FRAME
    lead = np.where(rng.uniform(size=batch) < STARTS, 0, rng.integers(0, pause_frames + 1, batch))
    signal = _pauses(crops, pause_frames * FRAME, rng, augment, noises)
    crop = torch.zeros(batch, frames + pause_frames)
    for row in range(batch):
        begin = int(lead[row])
        signal[row, begin * FRAME : begin * FRAME + samples] += crops[row]
        crop[row, begin : begin + frames] = 1
    if without_speech:
        made = augment.nothing(without_speech, signal.shape[1])
        if noises is not None:
            recorded = noises.draw(without_speech, signal.shape[1], augment.generator)
            made = torch.where(torch.from_numpy(rng.uniform(size=(without_speech, 1)) < 0.5), recorded, made)
        signal[:without_speech], crop[:without_speech] = made, 1
    speech = np.stack([speech_by_frame(row) for row in signal.numpy()])
    first = torch.from_numpy(lead[without_speech:] + span[0])
    changed = signal.clone()
    changed[without_speech:] = augment(signal[without_speech:], edges=False)
    window = crops[without_speech:, span[0] * FRAME : span[1] * FRAME]
    return Rows(changed, window, first, crop, torch.from_numpy(speech))


def _pauses(crops: Tensor, samples: int, rng: np.random.Generator, augment: Augmenter, noises: Bank | None) -> Tensor:
    """What lies under and around crops: nothing, or noise of 20 to 70 dB below each, [batch, crop + samples]."""
    batch, longer = crops.shape[0], crops.shape[1] + samples
    noise = torch.randn(batch, longer, generator=augment.generator)
    if noises is not None:
        recorded = noises.draw(batch, longer, augment.generator)
        noise = torch.where(torch.from_numpy(rng.uniform(size=(batch, 1)) < 0.5), recorded, noise)
    below = torch.from_numpy(rng.uniform(20, 70, (batch, 1))).float()
    present = torch.from_numpy((rng.uniform(size=(batch, 1)) < 0.8).astype(np.float32))
    loudness = crops.square().mean(dim=1, keepdim=True).sqrt()
    return noise / (noise.square().mean(dim=1, keepdim=True).sqrt() + 1e-9) * loudness * 10 ** (-below / 20) * present


def speech_by_frame(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The detector's probability of speech in frames of 40 ms: the mean over the samples of a frame of what it says of each."""
    said = np.repeat(activity.probabilities([signal]), silero.FRAME)[: signal.size // FRAME * FRAME]
    means: npt.NDArray[np.float32] = said.reshape(-1, FRAME).mean(axis=1)
    return means
