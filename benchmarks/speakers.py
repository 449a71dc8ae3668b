"""How well clustering of the lower layers of lite's encoder tells two speakers apart: diarisation error on made mixtures.

    PYTHONPATH=benchmarks python benchmarks/speakers.py CORPORA [--corpus emodb ased] [--mixtures 40]

CORPORA is a folder with manifest.csv (file, corpus, speaker). A mixture has twelve clips by two speakers of one corpus, in a
random order, with pauses of 0.3 to 1 s. The detector of speech finds turns; windows of 1.5 s in them, one every 0.75 s, have
the mean and the deviation over time of a layer as features, standardised within the mixture. Agglomerative clustering
(scikit-learn) makes two groups of them; a frame of 10 ms has the group of the nearest window. The diarisation error is
(missed + false + confused) / speech of the reference, without 0.25 s on each side of a border of the reference, by the
better assignment of groups to speakers. One group for everything is the error of a program that tells nobody apart.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from sklearn.cluster import AgglomerativeClustering

import emow2v
from common import keep, parser, show

RATE = 16000
FRAME_S, COLLAR_S, WINDOW_S, STEP_S = 0.01, 0.25, 1.5, 0.75
CLIPS = 12
GRAPH = Path(emow2v.__file__).parent / "weights" / "lite" / "model.onnx"
LAYERS = {"convolutions": "layer_norm", "layer 1": "layer_norm_2", "layer 2": "layer_norm_4", "layer 3": "layer_norm_6"}


def session() -> tuple[onnxruntime.InferenceSession, list[str]]:
    """lite's graph with the input of a normalisation of each layer as an output, and the names of these outputs."""
    model = onnx.load(GRAPH)
    made = {node.output[0]: node.input[0] for node in model.graph.node}
    names = [made[name] for name in LAYERS.values()]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options), names


def mixture(
    clips: dict[str, list[Path]], rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, float, int]]]:
    """A signal at 16 kHz and its turns: start, end, speaker."""
    signal, turns, place = [], [], 0
    speakers = rng.choice(sorted(clips), 2, replace=False)
    order = rng.permutation(np.arange(CLIPS) % 2)
    chosen = [list(rng.permutation(len(clips[one]))) for one in speakers]
    for who in order:
        path = clips[speakers[who]][chosen[who].pop()]
        sound = read_clip(path)
        sound = sound / max(float(np.sqrt((sound**2).mean())), 1e-6) * 0.05
        pause = np.zeros(int(rng.uniform(0.3, 1) * RATE), np.float32)
        turns.append((place / RATE, (place + len(sound)) / RATE, int(who)))
        signal += [sound, pause]
        place += len(sound) + len(pause)
    joined = np.concatenate(signal).astype(np.float32)
    return joined + rng.normal(0, 1e-4, joined.size).astype(np.float32), turns


def read_clip(path: Path) -> np.ndarray:
    import soundfile
    import soxr

    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(sound.mean(axis=1), rate, RATE)


def error(reference: list[tuple[float, float, int]], starts: np.ndarray, ends: np.ndarray, middles: np.ndarray,
          groups: np.ndarray) -> float:  # fmt: skip
    """Diarisation error of turns whose frames have the group of the nearest window."""
    frames = np.arange(0, max(end for _, end, _ in reference), FRAME_S)
    truth, counted = np.full(frames.size, -1), np.ones(frames.size, bool)
    for start, end, who in reference:
        truth[(frames >= start) & (frames < end)] = who
        for border in (start, end):
            counted &= np.abs(frames - border) > COLLAR_S
    found = np.full(frames.size, -1)
    spoken = ((frames[:, None] >= starts) & (frames[:, None] < ends)).any(axis=1)
    found[spoken] = groups[np.abs(frames[spoken, None] - middles).argmin(axis=1)]
    truth, found = truth[counted], found[counted]
    wrong = [(truth != np.where(found < 0, -1, given)).sum() for given in (found, 1 - found)]
    return float(min(wrong) / (truth >= 0).sum())


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("corpora", type=Path)
    arguments.add_argument("--corpus", nargs="+", default=["emodb", "ased"])
    arguments.add_argument("--mixtures", type=int, default=40)
    given = arguments.parse_args()
    graph, names = session()
    model = emow2v.load("lite", threads=1)
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = defaultdict(list)
    for number in range(given.mixtures):
        corpus = given.corpus[number % len(given.corpus)]
        clips: dict[str, list[Path]] = defaultdict(list)
        with (given.corpora / "manifest.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["corpus"] == corpus:
                    clips[row["speaker"]].append(given.corpora / row["file"])
        signal, reference = mixture({name: ones for name, ones in clips.items() if len(ones) >= CLIPS}, rng)
        with model.predict_turns(signal, RATE) as turns:
            starts, ends = turns.starts, turns.ends
        middles = np.concatenate([
            np.arange(start + WINDOW_S / 2, max(end - WINDOW_S / 2, start + WINDOW_S / 2) + 1e-6, STEP_S)
            for start, end in zip(starts, ends, strict=True)
        ])  # fmt: skip
        size = int(WINDOW_S * RATE)
        firsts = np.clip(((middles - WINDOW_S / 2) * RATE).astype(int), 0, len(signal) - size)
        outputs = [
            graph.run(names, {graph.get_inputs()[0].name: signal[None, first : first + size]}) for first in firsts
        ]
        for place, layer in enumerate(LAYERS):
            frames = [one[place][0] for one in outputs]  # [time, width]
            features = np.stack([np.concatenate([one.mean(axis=0), one.std(axis=0)]) for one in frames])
            features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
            for metric, linkage in (("euclidean", "ward"), ("cosine", "average")):
                groups = AgglomerativeClustering(2, metric=metric, linkage=linkage).fit_predict(features)
                errors[f"{layer}, {linkage}"].append(error(reference, starts, ends, middles, groups))
        errors["one group"].append(error(reference, starts, ends, middles, np.zeros(middles.size, int)))
        oracle = np.array(
            [min(reference, key=lambda one: max(one[0] - middle, middle - one[1]))[2] for middle in middles]
        )
        errors["nearest turn of the reference"].append(error(reference, starts, ends, middles, oracle))
    rows = [[name, *(float(np.mean(ones[k :: len(given.corpus)])) for k in range(len(given.corpus))), float(np.mean(ones)),
             float(np.median(ones))] for name, ones in errors.items()]  # fmt: skip
    show(f"diarisation error, {given.mixtures} mixtures", ["features, linkage", *given.corpus, "mean", "median"], rows)
    keep("speakers", {"errors": dict(errors), "corpora": given.corpus}, given.json)


if __name__ == "__main__":
    main()
