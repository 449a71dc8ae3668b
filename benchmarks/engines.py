"""Milliseconds a window on every engine, precision and batch, and the share of this machine's own peak.

python benchmarks/engines.py [--models lite msp-dim] [--batches 1 4 8 16] [--json results.json]

"alone" is one batch after the other with all cores, "beside" as a recording is computed: batches side by side while the
next are made ready. The peak is the fastest product of matrices that NumPy, PyTorch or OpenVINO bring about, measured
before and after every model in float32 and in bf16; the share says how much of it the network's own products (counted by
PyTorch) use. int8 has no such peak. A second table tells how the cost of a window grows with its length.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import fullsize
from common import console, keep, parser, peak_gflops, seconds, show
from emow2v.cards import Card
from emow2v.engines import Engine, choose, engines_for, installed, overlapped, precisions
from emow2v.networks.lite import Lite

LENGTHS = (0.5, 1, 2, 4, 8)  # seconds of a window


def gflop(name: str) -> float:
    """Of the products in a window of 1 s, two a multiply-add."""
    model = Lite().eval() if name == "lite" else fullsize.network()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 16000))
    return counter.get_total_flops() / 1e9


def variants(name: str) -> list[tuple[Card, str, str]]:
    """Model, engine and precision of everything that runs here."""
    card, low = fullsize.card(name), fullsize.quantized(name)
    found = [
        (card, engine, precision)
        for engine in engines_for(card)
        if installed(engine)
        for precision in precisions(card, engine)
    ]
    return found + ([(low, "openvino", "int8")] if low else [])


def measure(engine: Engine, batch: int, for_seconds: float, samples: int = 16000) -> dict[str, object]:
    signal = np.random.default_rng(1).normal(0, 0.1, (batch, samples)).astype(np.float32)
    engine.run(signal)
    count = max(4, round(for_seconds / 2 / seconds(lambda: engine.run(signal))))

    def beside() -> None:
        list(overlapped(engine, enumerate([signal] * (count // 2)), engine.run_parallel))

    beside()
    alone_s, beside_s = [], []
    for _ in range(2):
        alone_s.append(seconds(lambda: [engine.run(signal) for _ in range(count // 2)]))
        beside_s.append(seconds(beside))
    windows = count // 2 * batch
    return {
        "engine": engine.name, "precision": engine.precision, "batch": batch, "seconds": samples / 16000,
        "alone_ms": min(alone_s) / windows * 1000, "beside_ms": min(beside_s) / windows * 1000,
    }  # fmt: skip


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--models", nargs="+", default=list(fullsize.NAMES), choices=fullsize.NAMES)
    arguments.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    arguments.add_argument("--seconds", type=float, default=4, help="of work measured for each figure, about")
    options = arguments.parse_args()
    rows, lengths, peaks = [], [], {}
    for name in options.models:
        work = gflop(name)
        peak = {one: peak_gflops(one) for one in ("fp32", "bf16")}
        own = []
        for card, engine_name, precision in variants(name):
            engine = choose(card, engine_name, precision=precision)
            for batch in options.batches:
                own.append({"model": name, "gflop": work, **measure(engine, batch, options.seconds)})
                console.print(f"{name} {engine.name} {precision} batch {batch}: {own[-1]['beside_ms']:.2f} ms")
            if engine_name == "openvino" and precision == "fp32":
                for length in LENGTHS:
                    batch = max(1, round(8 / length))
                    lengths.append({"model": name, **measure(engine, batch, options.seconds, round(length * 16000))})
            del engine
        peak = {one: max(peak[one], peak_gflops(one)) for one in peak}  # a busy neighbour may have gone
        for row in own:
            row["share"] = work / row["beside_ms"] * 1000 / peak[row["precision"]] if row["precision"] in peak else None
        rows += own
        peaks[name] = peak
    show(
        "A window of 1 s",
        ("model", "engine", "precision", "batch", "alone ms", "beside ms", "share of peak"),
        [(row["model"], row["engine"], row["precision"], row["batch"], row["alone_ms"], row["beside_ms"],
          "" if row["share"] is None else f"{row['share']:.0%}") for row in rows],
    )  # fmt: skip
    show(
        "Peak, GFLOP/s", ("while", *peaks[options.models[0]]), [(name, *peak.values()) for name, peak in peaks.items()]
    )
    show(
        "Longer windows, openvino fp32",
        ("model", "seconds", "ms a window", "ms a second of it"),
        [(row["model"], row["seconds"], row["beside_ms"], row["beside_ms"] / row["seconds"]) for row in lengths],
    )
    keep("engines", {"windows": rows, "lengths": lengths, "peak_gflops": peaks}, options.json)


if __name__ == "__main__":
    main()
