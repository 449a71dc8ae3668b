"""Fine-tuning by the paper's recipe at full size: what a step costs in time and memory, by precision and by the keys that
save memory.

Steps of recipes/msp-dim.yaml on a made corpus of noise with random weights of the size of msp-dim: neither changes what a
step costs. Layers are not left out at random (layerdrop), so that every step is the same work. Every row is measured in a
process of its own, for its peak of memory. CPU time is that of all threads, whatever else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from common import cores, keep, parser, show
from emow2v.corpora.checks import CheckedCorpus
from emow2v.corpora.clip import Clip
from emow2v.framing import SAMPLING_RATE
from emow2v.training import recipe as recipes
from emow2v.training.finetune.task import FineTuning, FineTuningRecipe
from fullsize import checkpoint

WAYS: dict[str, dict[str, Any]] = {
    "the whole batch": {},
    "micro_batch=8": {"micro_batch": 8},
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "both": {"micro_batch": 8, "gradient_checkpointing": True},
}
COLUMNS = ("precision", "way", "s a step", "CPU s a step", "clips a second", "peak memory, GB", "loss")


def paper() -> FineTuningRecipe:
    values = recipes.read(recipes.find("msp-dim"))
    recipes.task(values)
    return replace(recipes.parse(FineTuningRecipe, values), network={"layerdrop": 0.0})


def corpus(folder: Path, clips: int, seconds: float) -> CheckedCorpus:
    """Noise with labels by chance; two more clips to develop on, which no step touches."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(clips + 2):
        soundfile.write(folder / f"{k}.wav", rng.normal(0, 0.1, round(seconds * SAMPLING_RATE)), SAMPLING_RATE)
        arousal, dominance, valence = rng.uniform(size=3).tolist()
        part = "train" if k < clips else "development"
        ratings = (arousal, dominance, valence)
        made.append(Clip(folder / f"{k}.wav", f"{k}.wav", speaker=part, partition=part, ratings=ratings))
    return CheckedCorpus(tuple(made), np.full(len(made), seconds), (), (), False)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Steps in this process; the first one, which finds memory and fits the arithmetic to the machine, counts only alone."""
    from accelerate import Accelerator

    precision, way = options.row
    recipe = replace(paper(), model=str(options.model), precision=precision, **WAYS[way])
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=options.cpu)
    on_gpu = accelerator.device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        checked = corpus(Path(folder), recipe.batch_size * options.steps, options.seconds)
        task = FineTuning(recipe, checked, accelerator, Path(folder))
        task.begin_epoch(0, 0)
        times, used, loss = [], [], 0.0
        for _ in range(options.steps):
            started, before = time.perf_counter(), time.process_time()
            loss = task.step()
            if on_gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
            used.append(time.process_time() - before)
    counted = slice(1 if options.steps > 1 else 0, None)
    step = float(np.mean(times[counted]))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": step,
        "cpu_seconds": float(np.mean(used[counted])),
        "clips_a_second": recipe.batch_size / step,
        "peak_bytes": float(torch.cuda.max_memory_allocated() if on_gpu else rss),
        "loss": loss,
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", type=Path, help="a checkpoint; random weights of the full size by default (0.7 GB)")
    made.add_argument("--seconds", type=float, default=4.0, help="of a clip")
    made.add_argument("--steps", type=int, default=3, help="the first counts only where it is the only one")
    made.add_argument("--precision", action="append", help="fp32, bf16, fp16; fp32 and bf16 by default")
    made.add_argument("--way", action="append", choices=WAYS, help="all by default")
    made.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves their number to it")
    made.add_argument("--cpu", action="store_true", help="also where there is a GPU")
    made.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.row:
        print(json.dumps(measure(options)))
        return
    model = options.model or checkpoint()
    device = "cpu" if options.cpu or not torch.cuda.is_available() else torch.cuda.get_device_name()
    threads = options.threads or cores()
    rows, figures = [], []
    before = os.getloadavg()
    for precision in options.precision or ("fp32", "bf16"):
        for way in options.way or WAYS:
            command = [sys.executable, __file__, "--row", precision, way, "--model", str(model), "--seconds",
                       str(options.seconds), "--steps", str(options.steps), "--threads", str(options.threads)]  # fmt: skip
            command += ["--cpu"] * options.cpu
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                told = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:120]
                rows.append([precision, way, told, *[None] * 4])
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            memory = found["peak_bytes"] / 1e9
            row = [found["seconds"], found["cpu_seconds"], found["clips_a_second"], memory, found["loss"]]
            rows.append([precision, way, *row])
            figures.append({"precision": precision, "way": way, **found})
            print(precision, way, {name: round(value, 2) for name, value in found.items()}, file=sys.stderr, flush=True)
    batch = paper().batch_size
    title = (
        f"{batch} clips of {options.seconds:g} s a step, {device}, {threads} threads; load of the machine {before[0]:.1f} "
        f"at the beginning, {os.getloadavg()[0]:.1f} at the end"
    )
    show(title, COLUMNS, rows)
    about = {"device": device, "threads": threads, "clip_seconds": options.seconds, "batch": batch, "load": before[0]}
    keep("training", {**about, "rows": figures}, options.json)


if __name__ == "__main__":
    main()
