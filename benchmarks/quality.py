"""How good models are on the corpora: people's ratings, held-out speakers of the training, every corpus never trained on,
robustness.

python benchmarks/quality.py --data CORPORA --ratings CSV --model lite --model DIR -o docs/models/lite

writes NAME-VERSION/CORPUS.json and robustness.json (with --recorded DIR only recorded.json: noises and rooms of DIR) below the output folder (the figures of model cards), the reports and
pictures below build/benchmarks/quality, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import emow2v
from common import FOLDER, console
from emow2v.agreement import ccc, within_classes
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.errors import AudioError
from emow2v.evaluation import report
from emow2v.evaluation.embeddings import FEATURES
from emow2v.evaluation.evaluate import evaluate
from emow2v.evaluation.figures import figures
from emow2v.evaluation.robustness.run import robustness
from emow2v.model import Model
from emow2v.storage.files import write_text
from emow2v.trajectory import DIMENSIONS
from evaluation_manifests import write_manifests

REPORTS = FOLDER / "quality"
ROBUSTNESS_CLIPS = 200  # of held-out speakers, evenly chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("--ratings", type=Path, help="CSV with people's ratings of clips in the manifest")
    parser.add_argument("--model", action="append", help="name or folder; repeatable [default: lite]")
    parser.add_argument(
        "--corpus", action="append", help="held-out, rated, emodb, tess, ased or urdu; repeatable [default: all]"
    )
    parser.add_argument("--opensmile", action="store_true", help="also openSMILE's features, of the first model's run")
    parser.add_argument("--no-robustness", action="store_true")
    parser.add_argument("--recorded", type=Path, help="folder with noises/ and rooms/, for recorded.json alone")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the JSON files")
    options = parser.parse_args()
    manifests = {path.stem: path for path in write_manifests(options.data, REPORTS / "manifests", options.ratings)}
    table = Table("model", "corpus", "CCC arousal", "dominance", "valence", "Pearson a", "v", "kept a", "UAR", box=None)
    for number, name in enumerate(options.model or ["lite"]):
        model = emow2v.load(name)
        folder = f"{model.name}-{model.card.version}"
        for corpus in () if options.recorded else options.corpus or list(manifests):
            features = FEATURES if options.opensmile and number == 0 and corpus == "emodb" else ()
            evaluation = evaluate(model, read_manifest(manifests[corpus]), features=features)
            about = {
                "command": f"python benchmarks/quality.py --data CORPORA --model {Path(name).name} --corpus {corpus}"
            }
            report.write(evaluation, REPORTS / folder / corpus, about=about)
            plain = {**about, **figures(evaluation)}
            if corpus == "rated":
                plain["longer"] = longer(model, read_manifest(manifests[corpus]))
            write_text(options.output / folder / f"{corpus}.json", json.dumps(plain, indent=1) + "\n")
            table.add_row(folder, corpus, *row(plain))
            console.print(f"{folder} on {corpus}: done", style="dim")
        if options.recorded:
            measure_robustness(model, manifests["held-out"], options.output / folder, options.recorded)
        elif not options.no_robustness:
            measure_robustness(model, manifests["held-out"], options.output / folder)
    console.print(table)


def longer(model: Model, clips: Sequence[Clip]) -> dict[str, Any]:
    """CCC and correlation within classes of the means of 2 s windows over clips, and of turns: of those that the detector of
    speech (or the model) finds in a clip the mean by duration, or the whole clip where it finds none."""
    averaged = figures(evaluate(model, clips, window_ms=2000, draws=0))["windows_averaged"]
    said = np.stack([of_turns(model, clip) for clip in clips])
    truth = np.array([clip.ratings for clip in clips], float)
    classes = np.unique([clip.emotion for clip in clips], return_inverse=True)[1]
    turns = {}
    for k, dimension in enumerate(DIMENSIONS):
        if not np.isnan(truth[:, k]).all():
            within = within_classes(truth[:, k], said[:, k], classes)
            turns[dimension] = {"ccc": round(ccc(truth[:, k], said[:, k]), 4), "within_classes": round(within, 4)}
    windows = {dimension: {"ccc": values["ccc"]["value"]} for dimension, values in averaged.items()}
    return {"windows_of_2_s": windows, "turns": turns}


def of_turns(model: Model, clip: Clip) -> npt.NDArray[np.float32]:
    """Scores of a clip [3] from its turns."""
    try:
        turns = model.predict_turns(clip.file)
        scores, seconds = turns.scores, turns.ends - turns.starts
    except AudioError:  # nobody speaks in it
        scores, seconds = np.zeros((0, 3), np.float32), np.zeros(0)
    said = ~np.isnan(scores).any(axis=1)
    if not said.any():
        return model.predict(clip.file, unit="files").scores[0]
    mean: npt.NDArray[np.float32] = np.average(scores[said], axis=0, weights=seconds[said])
    return mean


def row(plain: dict[str, Any]) -> list[str]:
    whole, kept = plain["whole"], plain["windows_keep"]

    def value(dimension: str, key: str) -> str:
        return f"{whole[dimension][key]['value']:.3f}" if dimension in whole else "-"

    recalls = [f"{one['uar']['value']:.3f}" for parts in plain["recall"].values() for one in parts.values()]
    return [
        *(value(dimension, "ccc") for dimension in ("arousal", "dominance", "valence")),
        value("arousal", "pearson"), value("valence", "pearson"),
        f"{kept['arousal']:.0%}" if "arousal" in kept else "-", " / ".join(recalls),
    ]  # fmt: skip


def measure_robustness(model: Model, manifest: Path, folder: Path, recorded: Path | None = None) -> None:
    clips = [clip for clip in read_manifest(manifest) if clip.corpus != "baved"]  # single words
    chosen = [clips[k * len(clips) // ROBUSTNESS_CLIPS].file for k in range(ROBUSTNESS_CLIPS)]
    if recorded is None:
        found, name = robustness(model, chosen), "robustness"
    else:
        only = ("environment", "measured room")
        found = robustness(model, chosen, noises=recorded / "noises", rooms=recorded / "rooms", only=only)
        name = "recorded"
    write_text(folder / f"{name}.json", json.dumps(found.figures(), indent=1) + "\n")
    sys.stdout.write(found.markdown() + "\n")


if __name__ == "__main__":
    main()
