"""Milliseconds a window of 1 s on every engine, precision and batch, and the share of this machine's own peak.

python benchmarks/engines.py [--models lite msp-dim] [--batches 1 4 8 16] [--json results.json]

"alone" is one batch after the other with all cores, "beside" as a recording is computed: batches side by side while
the next are made ready. The peak is NumPy's float32 product of two 2048 x 2048 matrices, measured before every row;
the share says how much of it the network's own products (counted by PyTorch) use. bf16 has no such peak in NumPy: its
share is of the float32 one and may exceed 100 %. The variants of a row take turns, so that a busy machine hits all alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

import fullsize
from emow2v import cards
from emow2v.engines import able, choose, installed, overlapped, precisions
from emow2v.networks.lite import Lite

SIZE = 2048


def peak_gflops() -> float:
    matrix = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    return 2 * SIZE**3 / min(_seconds(lambda: matrix @ matrix) for _ in range(3)) / 1e9


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def gflop(name: str) -> float:
    """Of the products in a window of 1 s, two a multiply-add."""
    model = Lite().eval() if name == "lite" else fullsize.network()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 16000))
    return counter.get_total_flops() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["lite", "msp-dim"], choices=["lite", "msp-dim"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=4, help="of work measured for each figure, about")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    console = Console()
    rows = []
    for name in options.models:
        card = cards.find("lite" if name == "lite" else fullsize.package())
        work = gflop(name)
        console.print(f"{name}: {work:.1f} GFLOP a window")
        for engine_name in [one for one in able(card) if installed(one)]:
            for precision in precisions(card, engine_name):
                engine = choose(card, engine_name, precision=precision)
                for batch in options.batches:
                    rows.append({"model": name, **measure(engine, batch, options.seconds, work)})
                    console.print(rows[-1])
                del engine
    table = Table("model", "engine", "precision", "batch", "alone ms", "beside ms", "peak GFLOP/s", "share of peak")
    for row in rows:
        table.add_row(row["model"], row["engine"], row["precision"], str(row["batch"]), f"{row['alone_ms']:.2f}",
                      f"{row['beside_ms']:.2f}", f"{row['peak']:.0f}", f"{row['share']:.0%}")  # fmt: skip
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(engine: object, batch: int, seconds: float, work: float) -> dict[str, object]:
    signal = np.random.default_rng(1).normal(0, 0.1, (batch, 16000)).astype(np.float32)
    engine.run(signal)  # type: ignore[attr-defined]
    once = _seconds(lambda: engine.run(signal))  # type: ignore[attr-defined]
    count = max(4, round(seconds / 2 / once))
    list(overlapped(engine, enumerate([signal] * 4)))  # type: ignore[arg-type]
    peak, alone, beside = peak_gflops(), [], []
    for _ in range(2):
        alone.append(_seconds(lambda: [engine.run(signal) for _ in range(count // 2)]))  # type: ignore[attr-defined]
        beside.append(_seconds(lambda: list(overlapped(engine, enumerate([signal] * (count // 2))))))  # type: ignore[arg-type]
    windows = count // 2 * batch
    best = min(beside) / windows
    return {
        "engine": engine.name, "precision": engine.precision, "batch": batch,  # type: ignore[attr-defined]
        "alone_ms": min(alone) / windows * 1000, "beside_ms": best * 1000, "peak": peak, "share": work / best / peak,
    }  # fmt: skip


if __name__ == "__main__":
    main()
