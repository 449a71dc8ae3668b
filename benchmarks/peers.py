"""The same windows, and whole recordings, through PyTorch eager, audonnx and us, in turns, in one run.

python benchmarks/peers.py [--windows 32] [--rounds 3] [--minutes 10] [--json results.json]

* Windows: full-size weights, 1 s each. PyTorch eager as the reference's module does it (reference.py); audonnx as its
  users call it, window by window, and its engine (ONNX Runtime) on the same graph with batches; our engines.
* Requests: 10 s of speech, a value every 40 ms. The reference's way is a new process; ours a warm server.
* The whole command against the bare engine: what `emow2v predict` adds (start, decoding, windows, writing). With msp-dim
  the step is 400 ms, so that its 10 minutes are done in some; what is added for a window is the same.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import audonnx
import numpy as np
import soundfile

import emow2v
import fullsize
from common import console, keep, parser, seconds, show
from emow2v.cards import Card
from emow2v.engines import Engine, choose, overlapped, precisions
from emow2v.framing import Framing
from job import ServerProcess, recording
from reference import Eager, windows_of

BATCH = 8


def batched(engine: Engine, windows: np.ndarray) -> Callable[[], object]:
    parts = [windows[begin : begin + BATCH] for begin in range(0, len(windows), BATCH)]
    return lambda: list(overlapped(engine, enumerate(parts), engine.run_parallel))


def low_precisions(name: str) -> list[tuple[Card, str]]:
    card, low = fullsize.card(name), fullsize.quantized(name)
    found = [(card, precision) for precision in precisions(card, "openvino")]
    return found + ([(low, "int8")] if low else [])


def windows_table(count: int, rounds: int) -> list[dict[str, object]]:
    signal, _ = soundfile.read(recording_of_example(), dtype="float32")
    windows = windows_of(signal)[100 : 100 + count].copy()
    eager, peer = Eager(fullsize.checkpoint()), audonnx.load(str(fullsize.package()))
    works: dict[str, Callable[[], object]] = {
        "PyTorch eager, as the reference": lambda: eager.run(windows),
        "audonnx, window by window": lambda: [peer(window, 16000) for window in windows],
        "ONNX Runtime, batches": batched(choose(fullsize.card("msp-dim"), "onnxruntime"), windows),
    }
    for card, precision in low_precisions("msp-dim"):
        works[f"emow2v, openvino {precision}"] = batched(choose(card, "openvino", precision=precision), windows)
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            taken = seconds(work) / count * 1000
            if turn:  # the first warms up
                times[name].append(taken)
    best = {name: min(taken) for name, taken in times.items()}
    names = list(best)
    return [
        {"way": name, "ms_a_window": value, "than_pytorch": best[names[0]] / value, "than_audonnx": best[names[1]] / value,
         "all_ms": times[name]}
        for name, value in best.items()
    ]  # fmt: skip


def recording_of_example() -> Path:
    from emow2v.modelstore.verify import EXAMPLE

    return EXAMPLE


def requests_table() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = recording(folder, 1 / 6)
        script = Path(__file__).with_name("reference.py")
        command = [
            sys.executable,
            str(script),
            str(path),
            str(folder / "out.npz"),
            "--checkpoint",
            str(fullsize.checkpoint()),
        ]
        taken = [seconds(lambda: subprocess.run(command, check=True)) for _ in range(2)]
        rows.append({"way": "reference: new process, eager, batch 250", "seconds": min(taken)})
        console.print(f"reference: {min(taken):.1f} s")
        for model in fullsize.NAMES[::-1]:
            for card, precision in low_precisions(model):
                for context in ("window", "shared"):
                    options = ["--model", str(card.folder), "--context", context]
                    options += ["--precision", precision] if precision == "bf16" else []
                    server = ServerProcess(folder, *options)
                    server.job(folder, path)
                    best = min(server.job(folder, path) for _ in range(3))
                    server.stop()
                    rows.append(
                        {"way": f"warm server: {model} {precision} {context}", "seconds": best, "peak_mb": server.peak}
                    )
                    console.print(f"{rows[-1]['way']}: {best:.2f} s")
    for row in rows:
        row["times"] = rows[0]["seconds"] / row["seconds"]  # type: ignore[operator]
    return rows


def overhead_table(minutes: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = recording(folder, minutes)
        for model, step in (("lite", 40), ("msp-dim", 400)):
            card = fullsize.card(model)
            framing = Framing(frame_step_ms=step, left_context_ms=1000 - step)
            command = [sys.executable, "-m", "emow2v", "predict", str(path), "-o", str(folder), "--model", str(card.folder),
                       "--frame-step", f"{step}ms", "--left-context", f"{1000 - step}ms",
                       "--format", "csv,annotation,stream"]  # fmt: skip
            engine = choose(card, "openvino")
            at_once = emow2v.Model(card, engine).batch_size(framing)
            batch = np.random.default_rng(0).normal(0, 0.1, (at_once, 16000)).astype(np.float32)
            windows = int(minutes * 60_000 / step)

            def bare(engine: Engine = engine, batch: np.ndarray = batch, windows: int = windows) -> None:
                for _ in overlapped(engine, ((k, batch) for k in range(windows // len(batch))), engine.run_parallel):
                    pass

            bare_s, whole_s = [], []
            for _ in range(2):  # in turns
                bare_s.append(seconds(bare) * windows / (windows // at_once * at_once))
                whole_s.append(seconds(lambda command=command: subprocess.run(command, check=True)))  # type: ignore[misc]
            rows.append({"model": model, "minutes": minutes, "step_ms": step, "windows": windows, "bare_s": min(bare_s),
                         "command_s": min(whole_s), "overhead": min(whole_s) / min(bare_s) - 1})  # fmt: skip
            console.print(f"{model}: bare {min(bare_s):.1f} s, command {min(whole_s):.1f} s")
    return rows


def start_table() -> list[dict[str, object]]:
    """Whole processes on short clips: what one pays who starts anew every time."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, clip_s in (("lite", 10), ("msp-dim", 1)):
            path = recording(folder, clip_s / 60)
            command = [sys.executable, "-m", "emow2v", "predict", str(path), "-o", str(folder), "--model",
                       str(fullsize.card(model).folder)]  # fmt: skip
            if model == "msp-dim":
                command += ["--unit", "files"]
            taken = [seconds(lambda command=command: subprocess.run(command, check=True)) for _ in range(4)]  # type: ignore[misc]
            rows.append({"command": f"predict, {model}, {clip_s} s of audio" + (", one value" if model == "msp-dim" else ""),
                         "first_s": taken[0], "later_s": min(taken[1:])})  # fmt: skip
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--windows", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument(
        "--minutes", type=float, default=10, help="of the recording that the overhead is measured on"
    )
    options = arguments.parse_args()
    started = time.perf_counter()
    windows = windows_table(options.windows, options.rounds)
    show("Windows of 1 s, msp-dim's size, in turns", ("way", "ms a window", "x PyTorch eager", "x audonnx"),
         [(row["way"], row["ms_a_window"], row["than_pytorch"], row["than_audonnx"]) for row in windows])  # fmt: skip
    requests = requests_table()
    show("10 s of speech, 25 values a second", ("way", "seconds", "x the reference's way", "peak MB"),
         [(row["way"], row["seconds"], row["times"], row.get("peak_mb")) for row in requests])  # fmt: skip
    starts = start_table()
    show("Whole processes", ("command", "first s", "later s"), [tuple(row.values()) for row in starts])
    overhead = overhead_table(options.minutes)
    show("The whole command and the bare engine", ("model", "minutes", "step ms", "windows", "bare s", "command s", "overhead"),
         [(*list(row.values())[:-1], f"{row['overhead']:.1%}") for row in overhead])  # fmt: skip
    keep("peers", {"windows": windows, "requests": requests, "starts": starts, "overhead": overhead,
                   "took_s": time.perf_counter() - started}, options.json)  # fmt: skip


if __name__ == "__main__":
    main()
