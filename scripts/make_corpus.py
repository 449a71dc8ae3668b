"""Makes a small rated corpus to try things on: python scripts/make_corpus.py -o corpus

Needs the program espeak-ng and nothing else. Eight voices say three sentences calmly, evenly and excitedly, by rate, pitch
and amplitude; the labels say what was asked of the synthesizer, on a scale of 1 to 7, and are nobody's rating.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Manner:
    """Attributes:
    rate: words per minute
    pitch: 0..99
    amplitude: 0..200
    labels: arousal, dominance, valence on 1..7
    """

    rate: int
    pitch: int
    amplitude: int
    labels: tuple[float, float, float]


MANNERS = {
    "calm": Manner(115, 25, 60, (2.0, 3.0, 4.5)),
    "neutral": Manner(160, 45, 80, (4.0, 4.0, 4.0)),
    "excited": Manner(215, 75, 110, (6.0, 5.0, 5.0)),
}
SPEAKERS = {
    "f1": "train", "f3": "train", "m1": "train", "m3": "train", "f2": "development", "m4": "development",
    "f4": "test", "m7": "test",
}  # fmt: skip
SENTENCES = (
    "The boats come home when the tide turns.",
    "Nobody told me that the market was closed today.",
    "We can leave as soon as the lamp goes out.",
)


def speak(text: str, speaker: str, manner: Manner, path: Path) -> None:
    """One sentence as a wav file at 22.05 kHz."""
    options = {"-v": f"en+{speaker}", "-s": manner.rate, "-p": manner.pitch, "-a": manner.amplitude, "-w": path}
    command = [str(part) for option in options.items() for part in option]
    subprocess.run(["espeak-ng", *command, text], check=True)


def write_corpus(folder: Path, say: Callable[[str, str, Manner, Path], None] = speak) -> Path:
    """wav files and corpus.csv with the columns file, speaker, partition, emotion, arousal, dominance, valence."""
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    rows = []
    for speaker, partition in SPEAKERS.items():
        for number, text in enumerate(SENTENCES):
            for name, manner in MANNERS.items():
                file = f"wav/{speaker}_{number}_{name}.wav"
                say(text, speaker, manner, folder / file)
                rows.append((file, speaker, partition, name, *manner.labels))
    path = folder / "corpus.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("file", "speaker", "partition", "emotion", "arousal", "dominance", "valence"))
        writer.writerows(rows)
    return path


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a small corpus of synthetic speech.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    options = parser.parse_args(arguments)
    if shutil.which("espeak-ng") is None:
        raise SystemExit("espeak-ng is not on the path; install it (Debian: apt-get install espeak-ng).")
    print(f"wrote {write_corpus(options.output)}")


if __name__ == "__main__":
    main()
