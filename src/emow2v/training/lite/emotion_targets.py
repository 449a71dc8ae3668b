"""Corpora of emotional speech: what is in them, what it is worth as a target, who is held out.

python -m emow2v.training.lite.emotion_targets --data CORPORA -o DIR writes manifests for emow2v evaluate: the held-out speakers with
their targets, and every corpus that was never trained on.
"""

from __future__ import annotations

import argparse
import csv
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.audio import recording
from emow2v.corpora.checks import SILENT, is_there
from emow2v.corpora.csv_rows import read_rows
from emow2v.errors import AudioError, Emow2vError, FormatError, exit_with_message
from emow2v.storage.files import StagedFiles

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
COLUMNS = ("file", "corpus", "speaker", "emotion", "intensity")  # of a manifest
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
    if not storage.is_file(path):
        raise Emow2vError(f"{path} does not exist; expected a manifest.csv with a line for each clip.")
    read = read_rows(path, "file", ", ".join(COLUMNS), COLUMNS).values()
    missing = [name for name in COLUMNS if name not in next(iter(read))]
    if missing:
        raise FormatError(f"{path} has no column '{missing[0]}'; expected {', '.join(COLUMNS)}.")
    rows = [row for row in read if row["corpus"] in corpora]
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
    """All clips decoded, end to end, as 16 bit at 16 kHz (an hour takes 115 MB).

    Attributes:
        why: of each clip the sentence why it cannot be used; "" where it can
    """

    samples: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int64]
    why: tuple[str, ...]

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        samples: npt.NDArray[np.float32] = self.samples[self.offsets[index] : self.offsets[index + 1]].astype(
            np.float32
        )
        return samples * np.float32(1 / 32768)


def decode(
    clips: Sequence[Clip], cache: Path | None = None, done: Callable[[Clip], None] = lambda clip: None
) -> Signals:
    """Decode every clip once; the result is kept in `cache` (.npz), if there is one, for the next run.

    Args:
        done: told of every clip that was decoded

    Raises:
        FormatError: files that do not exist, or the cache cannot be written
    """
    names = np.array([str(clip.file) for clip in clips])
    if cache and (stored := _stored(cache, names)):
        return stored
    missing = [clip.file for clip in clips if not is_there(clip.file)]
    if missing:
        raise FormatError(
            f"{len(missing)} of {len(clips)} files do not exist, such as {missing[0]}; expected all that the manifest names."
        )
    signals, why = [], []
    pool = ThreadPoolExecutor(2)
    try:
        for clip, (signal, sentence) in zip(clips, pool.map(_decoded, clips), strict=True):
            signals.append(signal)
            why.append(sentence)
            done(clip)
    finally:
        pool.shutdown(cancel_futures=True)
    offsets = np.concatenate([[0], np.cumsum([signal.size for signal in signals])]).astype(np.int64)
    samples = np.concatenate(signals) if signals else np.zeros(0, np.int16)
    if cache:
        with StagedFiles(overwrite=True) as staged:
            np.savez(staged.open(cache), names=names, samples=samples, offsets=offsets, why=np.array(why, np.str_))
    return Signals(samples, offsets, tuple(why))


def _decoded(clip: Clip) -> tuple[npt.NDArray[np.int16], str]:
    """A clip, and why it cannot be used or ""."""
    try:
        signal, _ = recording.read(clip.file)
    except AudioError as error:
        return np.zeros(0, np.int16), str(error)
    silent = not signal.size or float(signal.max() - signal.min()) <= 2 * SILENT
    samples = np.round(np.clip(signal, -1, 32767 / 32768) * 32768).astype(np.int16)
    return samples, f"{clip.file} holds silence." if silent else ""


def _stored(cache: Path, names: npt.NDArray[np.str_]) -> Signals | None:
    """What an earlier run kept of the same files."""
    try:
        with np.load(cache) as stored:
            if np.array_equal(stored["names"], names):
                return Signals(stored["samples"], stored["offsets"], tuple(stored["why"].tolist()))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # none, cut off, or of another version
        pass
    return None


def sounding(clips: Sequence[Clip], signals: Signals) -> tuple[list[Clip], Signals]:
    """The clips that can be used, and their signals."""
    if not any(signals.why):
        return list(clips), signals
    kept = [index for index, sentence in enumerate(signals.why) if not sentence]
    parts = [signals.samples[signals.offsets[index] : signals.offsets[index + 1]] for index in kept]
    offsets = np.concatenate([[0], np.cumsum([part.size for part in parts])]).astype(np.int64)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return [clips[index] for index in kept], Signals(samples, offsets, ("",) * len(kept))


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
        # nobody knows in which fold a clip of an unknown speaker belongs (TESS has one)
        rows = [row for row in csv.DictReader(file) if not row["speaker"].endswith("unknown")]
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


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m emow2v.training.lite.emotion_targets", description="Manifests to measure with."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the manifests")
    options = parser.parse_args(arguments)
    for path in write_manifests(options.data, options.output):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
