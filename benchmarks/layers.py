"""Which layer of the Whisper encoder to build on, and how to pool it: frozen layers judged by what carries over.

python benchmarks/layers.py --data CORPORA --encoder openai/whisper-base

Ridge regressions from one training corpus to another (language, speakers, rooms and microphones all change), and a
support vector machine within RAVDESS, over speakers it has not met. None of the corpora that are only measured on is read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import common
from baseline import frozen
from emow2v.agreement import pearson
from emow2v.corpora.clip import Clip
from emow2v.evaluation.embeddings import recall
from emow2v.training.lite.memory import keep_memory
from emow2v.training.lite.signals import Signals, decode
from emow2v.training.lite.targets import read_acted_clips, target_of
from emow2v.trajectory import DIMENSIONS

LAYERS = 6
WIDTH = 512
EVERY = {"nemo": 4, "baved": 2, "ravdess": 1}  # of the clips one in so many: sentences and words come again and again
WAYS = (
    ("nemo", "ravdess", 0),
    ("ravdess", "nemo", 0),
    ("nemo", "baved", 0),
    ("nemo", "ravdess", 2),
    ("ravdess", "nemo", 2),
)
POOLINGS = {"mean": slice(0, WIDTH), "deviation": slice(WIDTH, None), "both": slice(0, None)}

Floats = npt.NDArray[np.float32]


def pooled(encoder: str, clips: list[Clip], signals: Signals, indices: list[int]) -> Floats:
    """Mean and standard deviation over time behind each layer, each frame normalised, [layers, clips, 1024]."""
    model = frozen(encoder, LAYERS)
    model.standardise = torch.nn.Identity()  # type: ignore[assignment]
    behind: list[torch.Tensor] = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _module, _given, hidden: behind.append(model.layer_norm(hidden)))
    rows = []
    with torch.inference_mode():
        for index in indices:
            behind.clear()
            model.frames(model.log_mel(torch.from_numpy(signals[index][: model.max_samples])[None]))
            rows.append(torch.stack([torch.cat([h[0].mean(dim=0), h[0].std(dim=0, correction=0)]) for h in behind]))
    return torch.stack(rows, dim=1).numpy()


def carried_over(train: Floats, truth: Floats, test: Floats, expected: Floats) -> float:
    """Pearson correlation of one dimension on a corpus that the regression has not met."""
    machine = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 6, 11)))
    told = machine.fit(train, truth).predict(test)
    return pearson(expected, told)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or name of the Whisper encoder")
    parser.add_argument("--cache", type=Path, help="decoded clips (.npz), kept for the next run")
    options = parser.parse_args()
    keep_memory()
    clips = read_acted_clips(options.data / "manifest.csv")
    signals = decode(clips, options.cache)
    indices = [
        index
        for corpus, every in EVERY.items()
        for index in [number for number, clip in enumerate(clips) if clip.corpus == corpus][::every]
    ]
    with common.console.status("encoding"):
        values = pooled(options.encoder, clips, signals, indices)
    corpora = np.array([clips[index].corpus for index in indices])
    targets = np.array([target_of(clips[index]) for index in indices], np.float32)
    emotions = np.array([clips[index].emotion for index in indices])
    speakers = np.unique([clips[index].speaker for index in indices], return_inverse=True)[1]
    part = {name: corpora == name for name in np.unique(corpora)}
    rows: list[list[Any]] = []
    for layer in range(LAYERS):
        for pooling, columns in POOLINGS.items():
            x = values[layer][:, columns]
            found = [carried_over(x[part[a]], targets[part[a], k], x[part[b]], targets[part[b], k]) for a, b, k in WAYS]
            chosen = part["ravdess"]
            judged = recall(x[chosen], list(emotions[chosen]), speakers[chosen]) if pooling == "both" else None
            rows.append([layer + 1, pooling, *found, judged and judged.uar.value])
    columns = ["layer", "pooling", *(f"{DIMENSIONS[k]}, {a} to {b}" for a, b, k in WAYS), "UAR ravdess"]
    common.show("Frozen layers, Pearson from one corpus to another and recall within", columns, rows)
    common.keep("layers", {"columns": columns, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
