"""Manifests for `emow2v evaluate`: the held-out speakers of `lite` with their targets, each corpus that it was never
trained on, and the clips with people's ratings by whose speakers no recipe was chosen.

python tools/evaluation_manifests.py --data CORPORA [--ratings CSV] -o DIR
"""

from __future__ import annotations

import argparse
import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

from emow2v.corpora.clip import Clip, Ratings
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.errors import exit_with_message
from emow2v.training.lite.rated import for_reporting, read_rated_clips
from emow2v.training.lite.targets import HELD_OUT, target_of
from emow2v.trajectory import DIMENSIONS

# Measured only, and only when everything else is decided.
OTHER_CORPORA = ("emodb", "tess", "ased", "urdu")
RATED = "rated"
COLUMNS = ("file", "corpus", "speaker", "sex", "language", "emotion")


def sex(corpus: str, speaker: str) -> str:
    """The sex of a speaker as the description of the corpus has it; "" where it is not known here."""
    name = speaker.removeprefix(f"{corpus}_")
    if corpus == "ravdess":
        return "male" if int(name) % 2 else "female"
    if corpus == "emodb":
        return "male" if name in ("03", "10", "11", "12", "15") else "female"
    if corpus == "urdu":
        return {"SF": "female", "SM": "male"}.get(name[:2], "")
    return "female" if corpus == "tess" else ""


def write_manifests(data: Path, folder: Path, ratings: Path | None = None) -> list[Path]:
    """Write held-out.csv, and a file for each of `OTHER_CORPORA`, to `folder`, from the manifest.csv in `data`.

    Args:
        ratings: CSV as `emow2v.training.lite.rated` reads it, for rated.csv; None for none
    """
    # a clip of an unknown speaker belongs in no fold (TESS has one)
    clips = [
        clip
        for clip in read_manifest(data / "manifest.csv", missing_files=True)
        if not clip.speaker.endswith("unknown")
    ]
    folder.mkdir(parents=True, exist_ok=True)
    held_out = [clip for clip in clips if clip.speaker in HELD_OUT]
    paths = [_write_manifest(folder / "held-out.csv", held_out, [target_of(clip) for clip in held_out])]
    for name in OTHER_CORPORA:
        paths.append(_write_manifest(folder / f"{name}.csv", [clip for clip in clips if clip.corpus == name]))
    if ratings:
        rated = for_reporting(read_rated_clips(data / "manifest.csv", ratings))
        paths.append(_write_manifest(folder / f"{RATED}.csv", rated, [clip.ratings for clip in rated]))
    return paths


def _write_manifest(path: Path, clips: Sequence[Clip], truth: Sequence[Ratings] | None = None) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *DIMENSIONS] if truth else COLUMNS)
        writer.writeheader()
        for number, clip in enumerate(clips):
            line = {
                "file": Path(os.path.relpath(clip.file, path.parent)).as_posix(),
                "corpus": clip.corpus,
                "speaker": clip.speaker,
                "sex": sex(clip.corpus, clip.speaker),
                "language": clip.groups.get("language", ""),
                "emotion": clip.emotion,
            }
            if truth:
                values = zip(DIMENSIONS, truth[number], strict=True)
                line |= {name: "" if math.isnan(value) else f"{value:.4g}" for name, value in values}
            writer.writerow(line)
    return path


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python tools/evaluation_manifests.py", description="Manifests to measure with."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("--ratings", type=Path, help="CSV with people's ratings of clips in the manifest")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the manifests")
    options = parser.parse_args(arguments)
    for path in write_manifests(options.data, options.output, options.ratings):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
