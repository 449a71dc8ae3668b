"""A made corpus: hums whose pitch, brightness and rhythm are their labels. Loudness says nothing, as for the network."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def hum(arousal: float, dominance: float, valence: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """float32 [samples]: fundamental 100 to 400 Hz, 2 to 8 swells a second, weak to strong overtones."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 100 * 4**arousal
    tone = sum(
        np.sin(2 * np.pi * k * pitch * time + rng.uniform(0, 6.28)) * (0.2 + 0.7 * valence) ** k for k in range(1, 9)
    )
    swell = 1 + 0.8 * np.sin(2 * np.pi * (2 + 6 * dominance) * time + rng.uniform(0, 6.28))
    return (0.1 * tone * swell / np.abs(tone * swell).max() * rng.uniform(0.5, 5)).astype(np.float32)


def write_corpus(folder: Path, clips: int = 24, *, seed: int = 0, seconds: tuple[float, float] = (0.4, 1.0)) -> Path:
    """CSV of clips by four speakers for training, two for development and two for tests, as many each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(clips):
        labels = [round(float(value), 3) for value in rng.uniform(0.1, 0.9, 3)]
        soundfile.write(folder / f"{k:03}.wav", hum(*labels, rng.uniform(*seconds), rng), RATE)
        partition = ("train", "train", "development", "test")[k % 4]
        rows.append((f"{k:03}.wav", f"{partition}{k // 4 % 2}{k % 4}", partition, *labels))
    path = folder / "corpus.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "speaker", "partition", "arousal", "dominance", "valence"), *rows])
    return path
