"""Corpora of emotional speech: what is in them, what it is worth as a target, who is held out.

python -m emow2v.training.corpora --data CORPORA -o DIR writes manifests for emow2v evaluate: the held-out speakers with
their targets, and every corpus that was never trained on.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import audio
from emow2v.errors import Emow2vError, told

EMOTIONS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")

# What a class is worth as (arousal, dominance, valence) on 0..1. Arousal and valence lie between the norms
# for words of Mehrabian and Russell (1977) and the means of rated podcast speech by class (MSP-Podcast 1.8,
# stretched about neutral, since acted speech is rated further out). Dominance follows arousal as it does in
# people's ratings of speech, and leans towards the norms by about a quarter: fear a little below its arousal.
TARGETS = {
    "neutral": (0.46, 0.50, 0.50),
    "calm": (0.32, 0.42, 0.58),
    "happiness": (0.72, 0.68, 0.76),
    "sadness": (0.32, 0.34, 0.26),
    "anger": (0.80, 0.78, 0.22),
    "fear": (0.70, 0.46, 0.25),
    "disgust": (0.55, 0.55, 0.26),
    "surprise": (0.75, 0.58, 0.60),
}
# RAVDESS was acted twice: distance from the middle, relative to the table.
INTENSITY = {"": 1.0, "normal": 0.85, "strong": 1.15}
# BAVED has no emotions but three levels of expressiveness: arousal only.
EXPRESSIVENESS = {"0": 0.32, "1": 0.48, "2": 0.70}

TRAINING_CORPORA = ("nemo", "ravdess", "baved")
# Measured on only, and only when everything else is decided.
OTHER_CORPORA = ("emodb", "tess", "ased", "urdu")
# Whole speakers, chosen before any training by their place in the list, never by results. In RAVDESS
# odd numbers are men, even ones women.
HELD_OUT = frozenset(
    ["nemo_TP0", "nemo_WR0", "ravdess_21", "ravdess_22", "ravdess_23", "ravdess_24"]
    + [f"baved_{number}" for number in (0, 6, 12, 18, 24, 30, 36, 42, 48, 54)]
)


@dataclass(frozen=True)
class Clip:
    """A recording with what is known of it; `targets` holds NaN where nothing is known.

    Attributes:
        left_out: never trained on in this run, to see what carries over to another corpus
    """

    file: Path
    corpus: str
    speaker: str
    targets: tuple[float, float, float]
    emotion: int  # index in EMOTIONS, -1 where none is given
    left_out: bool = False

    @property
    def held_out(self) -> bool:
        return self.left_out or self.speaker in HELD_OUT


def read_manifest(path: Path, corpora: Sequence[str] = TRAINING_CORPORA) -> list[Clip]:
    """Clips of a manifest (columns file, corpus, speaker, emotion, intensity; files relative to it).

    Raises:
        Emow2vError: no manifest there, or a class that has no target
    """
    if not path.is_file():
        raise Emow2vError(f"{path} does not exist; expected a manifest.csv with a line for each clip.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] in corpora]
    return [
        Clip(path.parent / row["file"], row["corpus"], row["speaker"], *_target(row["emotion"], row["intensity"]))
        for row in rows
    ]


def _target(emotion: str, intensity: str) -> tuple[tuple[float, float, float], int]:
    if not emotion and intensity in EXPRESSIVENESS:
        return (EXPRESSIVENESS[intensity], np.nan, np.nan), -1
    if emotion not in TARGETS or intensity not in INTENSITY:
        raise Emow2vError(f"No target for emotion '{emotion}' of intensity '{intensity}'; known: {', '.join(TARGETS)}.")
    factor = INTENSITY[intensity]
    arousal, dominance, valence = (0.5 + factor * (value - 0.5) for value in TARGETS[emotion])
    return (arousal, dominance, valence), EMOTIONS.index(emotion)


@dataclass(frozen=True)
class Signals:
    """All clips decoded, end to end, as 16 bit at 16 kHz (an hour takes 115 MB)."""

    samples: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int64]

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        samples: npt.NDArray[np.float32] = self.samples[self.offsets[index] : self.offsets[index + 1]].astype(
            np.float32
        )
        return samples * np.float32(1 / 32768)


def decode(clips: Sequence[Clip], cache: Path | None = None) -> Signals:
    """Decode every clip once; the result is kept in `cache` (.npz), if there is one, for the next run."""
    names = np.array([str(clip.file) for clip in clips])
    if cache and cache.exists():
        stored = np.load(cache)
        if np.array_equal(stored["names"], names):
            return Signals(stored["samples"], stored["offsets"])

    def one(clip: Clip) -> npt.NDArray[np.int16]:
        signal, _ = audio.read(clip.file)
        return np.round(np.clip(signal, -1, 32767 / 32768) * 32768).astype(np.int16)

    with ThreadPoolExecutor(2) as pool:
        signals = list(pool.map(one, clips))
    offsets = np.concatenate([[0], np.cumsum([signal.size for signal in signals])])
    samples = np.concatenate(signals) if signals else np.zeros(0, np.int16)
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, names=names, samples=samples, offsets=offsets)
    return Signals(samples, offsets)


def sex(corpus: str, speaker: str) -> str:
    """What a corpus's own description says of a speaker; "" where it is not known here."""
    name = speaker.removeprefix(f"{corpus}_")
    if corpus == "ravdess":
        return "male" if int(name) % 2 else "female"
    if corpus == "emodb":
        return "male" if name in ("03", "10", "11", "12", "15") else "female"
    if corpus == "urdu":
        return {"SF": "female", "SM": "male"}.get(name[:2], "")
    return "female" if corpus == "tess" else ""


def write_manifests(data: Path, folder: Path) -> list[Path]:
    """held-out.csv and a file for each of `OTHER_CORPORA` in `folder`, from the manifest.csv in `data`."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = {"held-out": [row for row in rows if row["speaker"] in HELD_OUT]}
    parts |= {name: [row for row in rows if row["corpus"] == name] for name in OTHER_CORPORA}
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_manifest(folder / f"{name}.csv", data, part, name == "held-out") for name, part in parts.items()]


def _write_manifest(path: Path, data: Path, rows: Sequence[dict[str, str]], targets: bool) -> Path:
    columns = ["file", "corpus", "speaker", "sex", "language", "emotion"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns + (["arousal", "dominance", "valence"] if targets else []))
        writer.writeheader()
        for row in rows:
            line = {name: row.get(name, "") for name in columns}
            line["file"] = Path(os.path.relpath(data / row["file"], path.parent)).as_posix()
            line["sex"] = sex(row["corpus"], row["speaker"])
            if targets:
                values, _ = _target(row["emotion"], row["intensity"])
                named = zip(("arousal", "dominance", "valence"), values, strict=True)
                line |= {name: "" if np.isnan(value) else f"{value:.4g}" for name, value in named}
            writer.writerow(line)
    return path


@told
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m emow2v.training.corpora", description="Manifests to measure with.")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the manifests")
    options = parser.parse_args(arguments)
    for path in write_manifests(options.data, options.output):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
