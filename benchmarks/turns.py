"""Which number of a turn agrees with listeners: the mean of its curve, or one value for the whole turn.

    python benchmarks/turns.py CORPORA RATINGS.csv

CORPORA holds manifest.csv and the clips of emodb; RATINGS.csv has the columns file, arousal and valence (0 to 100).
The turns are the clips of emodb as they are, and turns made of them: halves of clips of at least 2 s, with the
rating of the clip, and two or four clips of one speaker and class end to end, with their mean rating by length.
Speakers 1 to 5 choose the rule, speakers 6 to 10 report.

The rules, with values over the second that ends with each:

* whole: one value for the turn (`unit="files"`)
* curve: the mean of all values of the turn, alone in its file; windows that reach over its start are padded
* in dialogue: the same, where another speaker's clip and 0.2 s of silence come before
* inside: the mean of the values whose window lies inside the turn; of a turn that is too short, its last value
* middle: the mean of whole and inside
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

import emow2v
from common import console, interval, keep, parser, show
from emow2v.agreement import ccc, pearson
from emow2v.audio.recording import read
from emow2v.evaluation.intervals import Draws
from emow2v.framing import SAMPLING_RATE, Signal

RULES = ("whole", "curve", "in dialogue", "inside", "middle")
RATED = {"arousal": 0, "valence": 2}  # the dimensions that were rated, with their columns in scores
LEAD_MS = 960  # values up to here have a window that reaches over the start of the turn
PAUSE = np.zeros(SAMPLING_RATE // 5, np.float32)
LENGTHS = (("under 2 s", 0, 2), ("2 to 4 s", 2, 4), ("over 4 s", 4, np.inf))
FEWEST = 15  # turns in a row of the tables
CHOOSING = 5  # speakers


@dataclass(frozen=True)
class Turn:
    """A turn with its ratings on 0..1: arousal, valence."""

    kind: str
    speaker: str
    emotion: str
    signal: Signal
    ratings: tuple[float, float]

    @property
    def seconds(self) -> float:
        return self.signal.size / SAMPLING_RATE


def clips(corpora: Path, ratings: Path) -> list[Turn]:
    with ratings.open(newline="", encoding="utf-8") as file:
        rated = {
            row["file"]: (float(row["arousal"]) / 100, float(row["valence"]) / 100) for row in csv.DictReader(file)
        }
    with (corpora / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["file"] in rated]
    return [
        Turn("clips", row["speaker"], row["emotion"], read(corpora / row["file"])[0], rated[row["file"]])
        for row in rows
    ]


def halves(turns: list[Turn]) -> list[Turn]:
    parts = [(one, part) for one in turns if one.seconds >= 2 for part in np.array_split(one.signal, 2)]
    return [Turn("halves", one.speaker, one.emotion, part, one.ratings) for one, part in parts]


def joined(turns: list[Turn], kind: str, count: int) -> list[Turn]:
    """So many turns of one speaker and class end to end."""
    groups = defaultdict(list)
    for one in turns:
        groups[one.speaker, one.emotion].append(one)
    made = []
    for (speaker, emotion), group in groups.items():
        for parts in zip(*(group[k::count] for k in range(count)), strict=False):
            sizes = np.array([one.signal.size for one in parts])
            arousal, valence = sizes @ np.array([one.ratings for one in parts]) / sizes.sum()
            made.append(Turn(kind, speaker, emotion, np.concatenate([one.signal for one in parts]), (arousal, valence)))
    return made


def another(turn: Turn, turns: list[Turn]) -> Signal:
    """The first turn of another speaker and of another class."""
    return next(one.signal for one in turns if one.speaker != turn.speaker and one.emotion != turn.emotion)


def values(model: emow2v.Model, turn: Turn, before: Signal, step_ms: int) -> npt.NDArray[np.float64]:
    """Scores of a turn by every rule, [rules, 3]."""
    reach = LEAD_MS // step_ms
    whole = model(turn.signal, SAMPLING_RATE)["logits"][0]
    curve = scores(model, turn.signal, step_ms)
    lead = np.concatenate([before, PAUSE])[-LEAD_MS * SAMPLING_RATE // 1000 :]
    follows = scores(model, np.concatenate([lead, turn.signal[:SAMPLING_RATE]]), step_ms, LEAD_MS)
    dialogue = np.concatenate([follows[:reach], curve[reach:]])
    inside = curve[reach:].mean(axis=0) if len(curve) > reach else curve[-1]
    return np.array([whole, curve.mean(axis=0), dialogue.mean(axis=0), inside, (whole + inside) / 2], np.float64)


def scores(model: emow2v.Model, signal: Signal, step_ms: int, start_ms: int = 0) -> npt.NDArray[np.float32]:
    framing = emow2v.Framing(frame_step_ms=step_ms, left_context_ms=1000 - step_ms, start_ms=start_ms)
    with model.predict(signal, SAMPLING_RATE, framing=framing) as trajectory:
        return np.concatenate([block.scores for block in trajectory])


def difference(truth: Signal, prediction: Signal, other: Signal) -> float:
    return ccc(truth, prediction) - ccc(truth, other)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("corpora", type=Path)
    arguments.add_argument("ratings", type=Path)
    arguments.add_argument("--model", default="lite")
    arguments.add_argument("--step", type=int, default=40, help="ms between values, which divides 960")
    arguments.add_argument("--every", type=int, default=3, help="every n-th of the turns that were made")
    arguments.add_argument("--scores", type=Path, help="where scores are kept (.npy): a second run goes on with them")
    arguments.add_argument("--turns", type=int, help="score at most so many turns, drawn by chance")
    arguments.add_argument("--draws", type=int, default=1000, help="of the bootstrap by speakers")
    chosen = arguments.parse_args()
    model = emow2v.load(chosen.model, precision="fp32", threads=1)
    whole = clips(chosen.corpora, chosen.ratings)
    made = (halves(whole), joined(whole, "pairs", 2), joined(whole, "fours", 4))
    turns = [*whole, *(one for kind in made for one in kind[:: chosen.every])]
    found = np.full((len(turns), len(RULES), 3), np.nan)
    if chosen.scores and chosen.scores.exists():
        found = np.load(chosen.scores)
    order = np.random.default_rng(1).permutation(len(turns))
    left = [k for k in order if np.isnan(found[k]).any()][: chosen.turns]
    for number, k in enumerate(track(left, console=console)):
        found[k] = values(model, turns[k], another(turns[k], whole[k % len(whole) :] + whole), chosen.step)
        if chosen.scores and (number % 20 == 0 or k == left[-1]):
            np.save(chosen.scores, found)
    known = ~np.isnan(found).any(axis=(1, 2))
    turns, found = [one for one, is_known in zip(turns, known, strict=True) if is_known], found[known]
    ratings = np.array([one.ratings for one in turns])
    names, speakers = np.unique([one.speaker for one in turns], return_inverse=True)
    seconds = np.array([one.seconds for one in turns])
    kinds = np.array([one.kind for one in turns])
    report = speakers >= CHOOSING
    figures: list[dict[str, object]] = []
    for part, of_part in (("choose", ~report), ("report", report), ("all ten", report | ~report)):
        for kind in ("clips", "halves", "pairs", "fours"):
            for length, low, high in (("any", 0, np.inf), *LENGTHS):
                rows = np.flatnonzero(of_part & (kinds == kind) & (seconds >= low) & (seconds < high))
                if rows.size < FEWEST:
                    continue
                draws = Draws(speakers[rows], chosen.draws)
                for column, (dimension, score) in enumerate(RATED.items()):
                    truth, by_rule = ratings[rows, column], found[rows][:, :, score]
                    for rule, name in enumerate(RULES):
                        figures.append({
                            "speakers": part, "turns": kind, "length": length, "number": int(rows.size),
                            "dimension": dimension, "rule": name,
                            "ccc": draws.figure(ccc, truth, by_rule[:, rule]).to_json(),
                            "pearson": draws.figure(pearson, truth, by_rule[:, rule]).to_json(),
                            "less whole": draws.figure(difference, truth, by_rule[:, rule], by_rule[:, 0]).to_json(),
                        })  # fmt: skip
    for part in ("choose", "report", "all ten"):
        for measure in ("ccc", "pearson", "less whole"):
            table(figures, part, measure)
    keep(
        "turns",
        {"model": model.provenance(emow2v.Framing()), "speakers": names.tolist(), "figures": figures},
        chosen.json,
    )


def table(figures: list[dict[str, object]], part: str, measure: str) -> None:
    cells: dict[tuple[object, ...], dict[str, str]] = defaultdict(dict)
    for one in figures:
        if one["speakers"] == part:
            key = (one["turns"], one["length"], one["number"], one["dimension"])
            cells[key][str(one["rule"])] = interval(one[measure])
    rows = [(*key, *(rules[name] for name in RULES)) for key, rules in cells.items()]
    show(f"{measure}, {part}", ("turns", "length", "number", "dimension", *RULES), rows)


if __name__ == "__main__":
    main()
