"""The reference's way of computing a recording, written down anew: a process, a model, float32 eager, batches of 250.

python benchmarks/reference.py RECORDING.wav OUTPUT.npz [--checkpoint DIR]

What the module of the reference does, without its crashes: Transformers' feature extractor normalises every window,
PyTorch runs them eagerly, 250 at once, and the results are kept until the end. peers.py runs it as a process of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor

from emow2v.networks.wav2vec2 import Wav2Vec2Emotion, load

BATCH = 250
STEP, WINDOW = 640, 16000  # samples


def windows_of(signal: np.ndarray) -> np.ndarray:
    """The second before each 40 ms, the first sample repeated before the start: [windows, 16000]."""
    padded = np.concatenate([np.full(WINDOW - STEP, signal[0], np.float32), signal])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]


class Eager:
    """Windows to outputs, as the reference's module computes them."""

    def __init__(self, checkpoint: Path) -> None:
        self.model: Wav2Vec2Emotion = load(checkpoint).model
        self.model.normalise = False  # the extractor does
        self.extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)

    def run(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given = self.extractor(list(windows), sampling_rate=16000)
        with torch.no_grad():
            hidden, scores = self.model(torch.from_numpy(np.array(given["input_values"])))
        return hidden.numpy(), scores.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    options = parser.parse_args()
    signal, _ = soundfile.read(options.recording, dtype="float32")
    model, windows = Eager(options.checkpoint), windows_of(signal)
    parts = [model.run(windows[begin : begin + BATCH]) for begin in range(0, len(windows), BATCH)]
    hidden, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.savez(options.output, embeddings=hidden, scores=scores)


if __name__ == "__main__":
    main()
