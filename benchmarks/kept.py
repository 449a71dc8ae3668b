"""What it costs a job to keep its values for a restart: processor time beside that of the same job, and bytes.

python benchmarks/kept.py [SECONDS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import emow2v
from emow2v.engines import kept as module
from emow2v.engines.kept import KeptOutputs, keeping
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE

ROUNDS = 3


def main(seconds: int) -> None:
    module.BEGIN_S = 0
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    talk = np.resize(signal, seconds * rate) + np.random.default_rng(0).normal(0, 0.001, seconds * rate)
    print(f"{seconds} s of sound, one thread; the least of {ROUNDS} rounds")
    print("model        embeddings  without  keeping  ratio  bytes/value  bytes/s")
    for name in ("lite", "lite-frames"):
        model = emow2v.load(name, threads=1)
        model.predict(talk, rate).load()
        for embeddings in (False, True) if name == "lite" else (False,):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "kept"
                plain, kept, rows = [], [], 0
                for _ in range(ROUNDS):  # by turns
                    plain.append(_spent(model, talk, rate)[0])
                    outputs = KeptOutputs(path, {})
                    keeper = Model(model.card, keeping(model.engine, model.card, outputs, embeddings=embeddings))
                    spent, rows = _spent(keeper, talk, rate)
                    kept.append(spent)
                    size = path.stat().st_size
                    outputs.remove()
            ratio = min(kept) / min(plain)
            print(
                f"{name:12} {embeddings!s:10} {min(plain):8.2f} {min(kept):8.2f} {ratio:6.3f} "
                f"{size / rows:12.0f} {size / seconds:8.0f}"
            )


def _spent(model: Model, talk: np.ndarray, rate: int) -> tuple[float, int]:
    """Seconds of processor time, and the number of values."""
    begun = time.process_time()
    with model.predict(talk, rate) as trajectory:
        rows = sum(map(len, trajectory))
    return time.process_time() - begun, rows


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
