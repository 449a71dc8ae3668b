"""How good the detector's turns are: their edges, and their scores against listeners, by each option of `speech.turns`.

    python benchmarks/detected_turns.py CORPORA NOISES RATINGS.csv

The material is that of benchmarks/speech.py: clips of one speaker with pauses of 0.4 to 2.5 s between them over noise, and
rated clips of emodb between two pauses of 1.2 s. A clip is a turn; its edges are where it rises above, and falls below,
35 dB under its loud parts. Long turns are eight rated clips of one speaker and class, end to end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import emow2v
from common import keep, parser, show
from emow2v.agreement import ccc
from emow2v.audio.recording import read
from emow2v.framing import SAMPLING_RATE, Signal
from emow2v.speech.activity import probabilities
from emow2v.speech.segments import Segment, Segmentation
from emow2v.speech.turns import turns
from speech import LEVELS, PAUSE, Session, labelled, rms, sessions
from turns import Turn, clips, joined

DEFAULTS = {"shortest_turn_ms": 250, "bridged_pause_ms": 300, "padding_ms": 60, "longest_turn_ms": 15_000}
TRIED = {
    "shortest_turn_ms": (0, 100, 500),
    "bridged_pause_ms": (0, 100, 200, 400, 600),
    "padding_ms": (0, 30, 100, 200),
}
LONGEST = (3_000, 5_000, 10_000, 15_000, 0)
Span = tuple[float, float]


def options(names: Sequence[str] = tuple(TRIED)) -> Iterator[tuple[str, dict[str, float]]]:
    """The defaults, and each option with other values."""
    yield "defaults", dict(DEFAULTS)
    for name in names:
        for value in TRIED[name]:
            yield f"{name} {value}", DEFAULTS | {name: value}


def edges(session: Session) -> list[Span]:
    """Where the clips of a session begin and end, in seconds."""
    inside = np.diff((session.event < 0).astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(inside > 0), np.flatnonzero(inside < 0)
    return list(zip(begins / SAMPLING_RATE, ends / SAMPLING_RATE, strict=True))


def overlap(one: Span, other: Span) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def boundaries(made: list[Session]) -> list[dict[str, object]]:
    """Turns of every session against its clips, at each level of noise."""
    rows: list[dict[str, object]] = []
    for level, decibels in LEVELS.items():
        heard = [(edges(one), probabilities([one.at(decibels)]), one.signal.size / SAMPLING_RATE) for one in made]
        for name, chosen in options():
            counts: dict[str, float] = defaultdict(float)
            begins, ends = [], []
            for true, frames, _ in heard:
                found = turns(frames, **chosen)
                counts["both"] += sum(overlap(one, turn) for one in true for turn in found)
                counts["true"] += sum(end - begin for begin, end in true)
                counts["found"] += sum(end - begin for begin, end in found)
                counts["false"] += sum(not any(overlap(one, turn) for one in true) for turn in found)
                for clip in true:
                    of_clip = [turn for turn in found if overlap(clip, turn)]
                    alone = all(overlap(one, turn) == 0 for turn in of_clip for one in true if one != clip)
                    counts["clips"] += 1
                    counts["missed"] += not of_clip
                    counts["cut"] += len(of_clip) > 1 and alone
                    counts["joined"] += bool(of_clip) and not alone
                    if len(of_clip) == 1 and alone:
                        begins.append(of_clip[0][0] - clip[0])
                        ends.append(of_clip[0][1] - clip[1])
            minutes = sum(seconds for *_, seconds in heard) / 60
            rows.append(
                {
                    "level": level,
                    "options": name,
                    "precision": counts["both"] / counts["found"],
                    "recall": counts["both"] / counts["true"],
                    "one turn": len(begins) / counts["clips"],
                    "cut": counts["cut"] / counts["clips"],
                    "joined": counts["joined"] / counts["clips"],
                    "missed": counts["missed"] / counts["clips"],
                    "false a minute": counts["false"] / minutes,
                    **edge_errors("start", begins),
                    **edge_errors("end", ends),
                }
            )
    return rows


def edge_errors(name: str, errors: Sequence[float]) -> dict[str, float]:
    """Median of the errors and 9 of 10 of their sizes, in ms; an edge that lies too late is positive."""
    return {
        f"{name}, median ms": 1000 * float(np.median(errors)),
        f"{name}, 9 of 10 ms": 1000 * float(np.percentile(np.abs(errors), 90)),
    }


def values(model: emow2v.Model, signal: Signal, spans: Sequence[Sequence[Span]]) -> list[npt.NDArray[np.float64]]:
    """For each list of turns the mean of their scores by length, [2]: arousal, valence; NaN without a turn."""
    every = sorted({span for group in spans for span in group})
    segmentation = Segmentation(tuple(Segment(*span) for span in every), "made")
    scores: dict[Span, npt.NDArray[np.float32]] = {}
    if every:
        with model.predict_turns(signal, SAMPLING_RATE, segments=segmentation) as trajectory:
            scores = dict(zip(every, trajectory.load().scores[:, [0, 2]], strict=True))
    found = []
    for group in spans:
        heard = [span for span in group if np.isfinite(scores[span]).all()]
        weights = np.array([end - begin for begin, end in heard])
        table = np.array([scores[span] for span in heard], np.float64)
        found.append(weights @ table / weights.sum() if heard else np.full(2, np.nan))
    return found


def agreement(model: emow2v.Model, rated: list[Turn], noises: Path) -> list[dict[str, object]]:
    """CCC with listeners of the turns found in a clip between two pauses over noise, against the clip's own edges."""
    draw = np.random.default_rng(3)
    names = sorted(noises.glob("*"))
    found = defaultdict(list)
    for turn in rated:
        clip, _ = labelled(turn.signal)
        pause = np.zeros(PAUSE, np.float32)
        signal = np.concatenate([pause, clip, pause])
        noise = np.resize(read(names[draw.integers(len(names))])[0], signal.size)
        signal += noise * np.float32(0.05 / rms(noise) * 10 ** (-draw.choice([10, 20, 30]) / 20))
        frames = probabilities([signal])
        spans = {name: turns(frames, **chosen) for name, chosen in options()}
        spans |= {"the clip's edges": [(PAUSE / SAMPLING_RATE, (PAUSE + clip.size) / SAMPLING_RATE)]}
        spans |= {"all of it": [(0.0, signal.size / SAMPLING_RATE)]}
        for name, value in zip(spans, values(model, signal, list(spans.values())), strict=True):
            found[name].append(value)
    return [_agreed(name, np.array(scores), rated) for name, scores in found.items()]


def cutting(model: emow2v.Model, rated: list[Turn]) -> list[dict[str, object]]:
    """CCC with listeners of long turns that are cut at some length."""
    long = [one for one in joined(rated, "eights", 8) if one.seconds > 15]
    found = defaultdict(list)
    for turn in long:
        frames = probabilities([turn.signal])
        spans = {
            f"longest_turn_ms {longest}": turns(
                frames, **DEFAULTS | {"longest_turn_ms": longest, "bridged_pause_ms": 1000}
            )
            for longest in LONGEST
        }
        for name, value in zip(spans, values(model, turn.signal, list(spans.values())), strict=True):
            found[name].append(value)
    return [_agreed(name, np.array(scores), long) for name, scores in found.items()]


def _agreed(name: str, scores: npt.NDArray[np.float64], rated: list[Turn]) -> dict[str, object]:
    truth = np.array([one.ratings for one in rated])
    heard = np.isfinite(scores).all(axis=1)
    figures = {dimension: ccc(truth[heard, k], scores[heard, k]) for k, dimension in enumerate(("arousal", "valence"))}
    return {"options": name, "clips": int(heard.sum()), "without a turn": int((~heard).sum()), **figures}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("corpora", type=Path)
    arguments.add_argument("noises", type=Path)
    arguments.add_argument("ratings", type=Path)
    arguments.add_argument("--minutes", type=float, default=10, help="of sessions, at each level")
    arguments.add_argument("--every", type=int, default=4, help="every n-th rated clip")
    chosen = arguments.parse_args()
    figures: dict[str, object] = {}
    figures["edges"] = rows = boundaries(list(sessions(chosen.corpora, chosen.noises, chosen.minutes)))
    show("turns against clips", list(rows[0]), [list(one.values()) for one in rows])
    model = emow2v.load("lite", precision="fp32", threads=1)
    rated = clips(chosen.corpora, chosen.ratings)
    figures["agreement"] = rows = agreement(model, rated[:: chosen.every], chosen.noises)
    show("one value a turn: CCC with listeners", list(rows[0]), [list(one.values()) for one in rows])
    figures["cutting"] = rows = cutting(model, rated)
    show("long turns", list(rows[0]), [list(one.values()) for one in rows])
    keep("detected_turns", figures, chosen.json)


if __name__ == "__main__":
    main()
