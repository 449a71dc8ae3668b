"""How much speech of a person a mean and a spread of scores take, by which other scores are told as relative.

    PYTHONPATH=benchmarks python benchmarks/relative.py CORPORA [--corpus emodb ravdess] [--model lite]

CORPORA is a folder with manifest.csv (file, corpus, speaker). Each clip has one value. For each speaker clips are drawn
at random until they hold so many seconds; their mean and deviation are compared with those of all of the speaker's
clips: the root mean square of the difference of the means, in deviations, and of the ratio of deviations less 1.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

import emow2v
from common import keep, parser, show

SECONDS = (5, 10, 20, 30, 60, 90)
DRAWS = 200


def scores_of(model: emow2v.Model, folder: Path, corpus: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores [clips, 3] and seconds [clips] of each speaker."""
    found: dict[str, list[tuple[np.ndarray, float]]] = defaultdict(list)
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == corpus]
    for row in rows:
        trajectory = model.predict(folder / row["file"], unit="files").load()
        found[row["speaker"]].append((trajectory.scores[0], float(trajectory.ends[-1])))
    return {
        speaker: (np.stack([scores for scores, _ in clips]), np.array([seconds for _, seconds in clips]))
        for speaker, clips in found.items()
    }


def errors(scores: np.ndarray, lengths: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Differences of means in deviations, and ratios of deviations less 1, [draws, 2, 3]; none where there is too little."""
    if lengths.sum() < 2 * seconds:
        return np.zeros((0, 2, 3))
    drawn = []
    for _ in range(DRAWS):
        order = rng.permutation(len(scores))
        count = max(2, int(np.searchsorted(np.cumsum(lengths[order]), seconds)) + 1)
        part = scores[order[:count]]
        spread = scores.std(axis=0, ddof=1)
        drawn.append([(part.mean(axis=0) - scores.mean(axis=0)) / spread, part.std(axis=0, ddof=1) / spread - 1])
    return np.array(drawn)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("corpora", type=Path)
    arguments.add_argument("--corpus", nargs="+", default=["emodb", "ravdess"])
    arguments.add_argument("--model", default="lite")
    given = arguments.parse_args()
    model = emow2v.load(given.model)
    rows: list[list[object]] = []
    for corpus in given.corpus:
        speakers = scores_of(model, given.corpora, corpus)
        rng = np.random.default_rng(0)
        for seconds in SECONDS:
            each = [errors(*one, seconds, rng) for one in speakers.values()]
            enough = [one for one in each if len(one)]
            if not enough:
                continue
            mean, spread = np.sqrt((np.concatenate(enough) ** 2).mean(axis=0))
            rows.append([corpus, len(enough), seconds, *mean.tolist(), *spread.tolist()])
    head = ["corpus", "speakers", "seconds"]
    head += [f"{what}, {name}" for what in ("mean", "spread") for name in ("arousal", "dominance", "valence")]
    show("error of a speaker's mean and spread (in deviations; as a share)", head, rows)
    keep("relative", {"model": given.model, "columns": head, "rows": rows}, given.json)


if __name__ == "__main__":
    main()
