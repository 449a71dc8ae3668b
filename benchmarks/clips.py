"""How long many short clips take: the command against reading them and running the engine, clip by clip, and other tools.

    python benchmarks/clips.py [--clips 240] [--repeats 3]

The clips are made of the shipped example: about 2.6 s each, 48 kHz, two channels of 16 bit. Half of them have one length,
or all (`--equal`), the others a length of their own each. Each way is a process of its own, from start to end; ways take
turns, and the fastest of the repeats counts. Times are seconds of wall clock and of processors.

* floor: soundfile and soxr read the clips, and the engine computes clips of equal length in batches; nothing is written
* command: `emow2v predict FOLDER --unit files --table all.parquet --embeddings`
* one by one: `model.predict(clip, unit="files")` for each clip; nothing is written
* audinterface: `Feature.process_files` with the same graph in audonnx and a worker for each core; writes one Parquet
* nkululeko: its features of wav2vec2 with the same graph in audonnx; writes its own store, without scores

The last two are measured where they are installed: `pip install audinterface audonnx pyarrow`, `pip install nkululeko`.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
import soxr

import emow2v
from emow2v.cards import find
from emow2v.engines import cores, installed, overlapped
from emow2v.framing import SAMPLING_RATE
from emow2v.modelstore.verify import EXAMPLE

RATE = 48_000
USUAL = 124_800  # samples, 2.6 s


def make(folder: Path, count: int, *, equal: bool) -> None:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    voice = soxr.resample(signal, rate, RATE)
    draws = np.random.default_rng(0)
    for number in range(count):
        length = USUAL if equal or number % 2 else int(draws.integers(USUAL // 2, USUAL + USUAL // 2))
        begin = int(draws.integers(0, voice.size - length))
        clip = voice[begin : begin + length] * draws.uniform(0.3, 1)
        sides = np.stack([clip, 0.8 * clip + draws.normal(0, 1e-3, length)], 1)
        soundfile.write(folder / f"{number:05}.wav", sides, RATE, subtype="PCM_16")


def floor(folder: Path) -> None:
    by_length: dict[int, list[np.ndarray]] = defaultdict(list)
    model = emow2v.load("lite")
    for path in sorted(folder.glob("*.wav")):
        sides, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(sides.mean(axis=1), rate, SAMPLING_RATE)
        by_length[mono.size].append(mono)
    batches = []
    for length in sorted(by_length):
        size = max(1, model.card.batch_samples // length)
        same = by_length[length]
        batches += [np.stack(same[begin : begin + size]) for begin in range(0, len(same), size)]
    for _ in overlapped(model.engine, enumerate(batches), model.engine.run_parallel):
        pass


def one_by_one(folder: Path) -> None:
    model = emow2v.load("lite")
    for path in sorted(folder.glob("*.wav")):
        model.predict(path, unit="files").load()


def package(folder: Path) -> Path:
    """The graph of `lite` as audonnx takes it: with one signal at a time."""
    import onnx

    graph = find("lite").verified_graph()
    shutil.copytree(graph.parent, folder)
    content = onnx.load(graph, load_external_data=False)
    content.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(content, folder / graph.name)
    return folder


def audinterface(folder: Path) -> None:
    import audonnx
    from audinterface import Feature

    model = audonnx.load(folder.with_name("package"))
    outputs = ["hidden_states", "logits"]
    names = [name for output in outputs for name in model.outputs[output].labels]
    feature = Feature(
        names, process_func=model, process_func_args={"outputs": outputs, "concat": True},
        sampling_rate=SAMPLING_RATE, resample=True, num_workers=cores(),
    )  # fmt: skip
    feature.process_files(sorted(map(str, folder.glob("*.wav")))).to_parquet(folder.with_name("audinterface.parquet"))


def nkululeko(folder: Path) -> None:
    import audformat
    import pandas as pd
    from nkululeko import glob_conf
    from nkululeko.feat_extract.feats_audwav2vec2 import Audwav2vec2Set

    with tempfile.TemporaryDirectory() as root:
        config = configparser.ConfigParser()
        config.read_dict(
            {
                "EXP": {"root": root, "name": "clips"},
                "DATA": {},
                "FEATS": {"aud.model": str(folder.with_name("package"))},
                "MODEL": {"device": "cpu", "n_jobs": str(cores())},
            }
        )
        glob_conf.init_config(config)
        index = audformat.segmented_index(sorted(map(str, folder.glob("*.wav"))))
        Audwav2vec2Set("clips", pd.DataFrame(index=index), "audwav2vec2").extract()


def main() -> None:
    from common import keep, parser, show  # loads PyTorch, which the ways that are measured do not need

    arguments = parser(__doc__)
    arguments.add_argument("--clips", type=int, default=240)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--equal", action="store_true", help="all clips have one length")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "clips")
        folder.mkdir()
        make(folder, given.clips, equal=given.equal)
        table = Path(place, "all.parquet")
        itself = [sys.executable, __file__, "--way"]
        options = ["--unit", "files", "--table", str(table), "--embeddings", "--overwrite"]
        ways = {
            "floor": [*itself, "floor", str(folder)],
            "command": [sys.executable, "-m", "emow2v", "predict", str(folder), *options],
            "one by one": [*itself, "one", str(folder)],
        }
        for name in ("audinterface", "nkululeko"):
            if missing := [needed for needed in (name, "audonnx", "onnx") if not installed(needed)]:
                print(f"{name} is left out, because {', '.join(missing)} is not installed.")
            else:
                ways[name] = [*itself, name, str(folder)]
        if len(ways) > 3:
            package(folder.with_name("package"))
        best: dict[str, tuple[float, float]] = {}
        for _ in range(given.repeats):
            for name, command in ways.items():
                wall, processors = measure(command)
                before = best.get(name, (np.inf, np.inf))
                best[name] = min(before[0], wall), min(before[1], processors)
        wall, processors = best["floor"]
        rows = [
            (name, one[0], one[0] / wall, one[1], one[1] / processors, one[1] / given.clips * 1000)
            for name, one in best.items()
        ]
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        title = f"{given.clips} clips of about 2.6 s, {'one length' if given.equal else 'many lengths'}; load {load}"
        columns = ("way", "wall s", "x floor", "processors s", "x floor", "processor ms a clip")
        show(title, columns, rows)
        keep("clips", {"title": title, "columns": columns, "rows": rows}, given.json)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds of wall clock and of processors of one process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        ways = {"floor": floor, "one": one_by_one, "audinterface": audinterface, "nkululeko": nkululeko}
        ways[sys.argv[2]](Path(sys.argv[3]))
    else:
        main()
