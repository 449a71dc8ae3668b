"""The embedded models on a GPU: whether CUDA gives the numbers of the processor, and how fast it is.

python benchmarks/cuda.py [--device cuda] [--minutes 10] [--streams 100,1000] [--json results.json]

Both sides are PyTorch in float32 without TensorFloat-32; ONNX Runtime on the processor is a third one where it is installed.
Scores and confidence must agree to 1e-4, embeddings to 1e-4 of their norm; otherwise the command ends with 1. Times are those of
a clock, with the transfer of samples and results. It requires PyTorch, NumPy, onnx and platformdirs, and no other engine; the
speech is the shipped example where soundfile is installed, else made sound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

import emow2v
from emow2v import cards
from emow2v.engines import Engine, Outputs, choose
from emow2v.engines.frames import FramesEngine

RATE = 16000
STEP = 1280  # samples that each live stream gets at a time: two frames of 40 ms
CLOSE = 1e-4
LENGTHS = (400, 8000, 16000, 70001)
EXAMPLE = Path(emow2v.__file__).parent / "data" / "example.flac"

Signal = np.ndarray[Any, np.dtype[np.float32]]


def example() -> tuple[Signal, str]:
    """Some seconds of speech, or of made sound: tones of a moving pitch with pauses and noise; and which of them it is."""
    if find_spec("soundfile"):
        import soundfile

        return soundfile.read(EXAMPLE, dtype="float32")[0], "the shipped example"
    times = np.arange(12 * RATE) / RATE
    pitch = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * times)) / RATE
    voice = sum(np.sin(harmonic * pitch) / harmonic for harmonic in range(1, 25))
    loudness = np.clip(np.sin(2 * np.pi * 2.3 * times) + 0.4, 0, 1) * (np.sin(2 * np.pi * 0.2 * times) > -0.7)
    noise = np.random.default_rng(0).normal(0, 0.003, times.size)
    return (0.1 * voice * loudness + noise).astype(np.float32), "made sound"


def apart(first: Outputs, second: Outputs) -> float:
    """The largest difference of scores and confidence, and of embeddings as a part of their norm."""
    embeddings = np.abs(first[0] - second[0]).max(axis=1) / np.linalg.norm(first[0], axis=1)
    others = [
        np.abs(a - b).max() for a, b in zip(first[1:], second[1:], strict=True) if a is not None and b is not None
    ]
    return float(max(embeddings.max(), *others))


def windows(signal: Signal, samples: int, count: int) -> Signal:
    """`count` windows from all parts of a signal [count, samples]."""
    longer = np.resize(signal, signal.size + samples)
    begins = np.linspace(0, signal.size, count, endpoint=False).astype(int)
    return np.stack([longer[begin : begin + samples] for begin in begins])


def live(engine: FramesEngine, signal: Signal, streams: int, steps: int) -> tuple[Signal, float]:
    """Frames of live streams [streams, frames, width], which get steps of 80 ms together; and seconds a step."""
    state = engine.start(streams)
    rows = windows(signal, steps * STEP, streams)
    parts, started = [], time.perf_counter()
    for step in range(steps):
        if step == steps // 2:
            started = time.perf_counter()
        frames, _, state = engine.step(rows[:, step * STEP : (step + 1) * STEP], np.full(streams, STEP), state)
        parts.append(frames)
    return np.concatenate(parts, axis=1), (time.perf_counter() - started) / (steps - steps // 2)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of a few times, after one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


Work = Callable[[], float]


def agreement(signal: Signal, device: str) -> Iterator[tuple[str, Work, float]]:
    """What is compared, the work that gives the difference of the device from the processor, and how much is allowed."""
    cpu, gpu = (choose(cards.find("lite"), "torch", device=where) for where in ("cpu", device))
    yield from _agreement("lite", cpu, gpu, signal)
    given = windows(signal, RATE, 16)
    yield (
        "lite, the fourth of equal batches",
        lambda: apart(cpu.run(given), [gpu.run(given) for _ in range(4)][-1]),
        CLOSE,
    )
    for low in _lower(device):
        rounded = choose(cards.find("lite"), "torch", device=device, precision=low)
        yield f"lite, scores in {low}", lambda rounded=rounded: farthest(cpu.run(given)[1], rounded.run(given)[1]), 0.05
    cpu, gpu = (choose(cards.find("lite-frames"), "torch", device=where) for where in ("cpu", device))
    assert isinstance(cpu, FramesEngine) and isinstance(gpu, FramesEngine)
    yield from _agreement("lite-frames", cpu, gpu, signal)
    yield (
        "lite-frames, frames of 20 live streams",
        lambda: farthest(*(live(one, signal, 20, 12)[0] for one in (cpu, gpu))),
        1e-3,
    )
    clips = [signal[begin : begin + length] for begin, length in ((0, 30000), (9000, 48123), (500, 16000), (0, 8000))]

    def of_clips() -> float:
        pairs = zip(cpu.signals(clips), gpu.signals(clips), strict=True)
        return max(max(farthest(a, b), farthest(heard, also)) for (a, heard), (b, also) in pairs)

    yield "lite-frames, frames and speech of clips in a batch", of_clips, 1e-3
    for name in ("lite", "lite-frames"):

        def predicted(name: str = name) -> float:
            models = (emow2v.load(name, engine="torch", device=where) for where in ("cpu", device))
            return farthest(*(model.predict(signal, RATE).load().scores for model in models))

        yield f"{name}, scores of predict at 25 values a second", predicted, CLOSE


def _agreement(name: str, cpu: Engine, gpu: Engine, signal: Signal) -> Iterator[tuple[str, Work, float]]:
    third = choose(cards.find(name), "onnxruntime") if find_spec("onnxruntime") else None
    for samples in LENGTHS:
        given = windows(signal, samples, 16)
        yield f"{name}, 16 x {samples} samples", lambda given=given: apart(cpu.run(given), gpu.run(given)), CLOSE
        if third:
            yield (
                f"{name}, 16 x {samples} samples, onnxruntime on the processor",
                lambda given=given: apart(cpu.run(given), third.run(given)),
                CLOSE,
            )


def farthest(first: Signal, second: Signal) -> float:
    return float(np.abs(first - second).max())


def _lower(device: str) -> Sequence[str]:
    from emow2v.engines.torch import device_precisions, find_device

    return device_precisions(find_device(device))[1:]


def speeds(signal: Signal, device: str, minutes: float, streams: Sequence[int]) -> Iterator[tuple[str, float, str]]:
    """What was measured, the figure, and its unit."""
    lite, frames = cards.find("lite"), cards.find("lite-frames")
    for precision in ("fp32", *_lower(device)):
        engine: Engine = choose(lite, "torch", device=device, precision=precision)
        for batch in (16, 512):
            given = windows(signal, RATE, batch)
            taken = seconds(lambda engine=engine, given=given: engine.run(given), 6) / batch  # type: ignore[misc]
            yield f"lite, batches of {batch} windows of 1 s, {precision}", 1e3 * taken, "ms a window"
            yield f"  25 windows a second, {precision}", 1 / (25 * taken), "x real time"
    model = emow2v.load("lite", device=device)
    short = np.resize(signal, 60 * RATE)
    taken = seconds(lambda: model.predict(short, RATE).load(), 1)
    yield "lite, Model.predict of 60 s at 25 values a second", 60 / taken, "x real time"
    model = emow2v.load("lite-frames", device=device)
    long = np.resize(signal, int(60 * minutes) * RATE)
    taken = seconds(lambda: model.predict(long, RATE).load(), 1)
    yield (
        f"lite-frames, Model.predict of {minutes:g} min at 25 values a second",
        long.size / RATE / taken,
        "x real time",
    )
    one = choose(frames, "torch", device=device)
    assert isinstance(one, FramesEngine)
    for count in (1, 64):
        clips = list(windows(signal, 10 * RATE, count))
        taken = seconds(lambda clips=clips: one.signals(clips))  # type: ignore[misc]
        yield f"lite-frames, frames of {count} x 10 s in a batch", 10 * count / taken, "x real time"
    clips = list(windows(signal, 10 * RATE, 256))
    taken = seconds(lambda: model.predict_batch(clips, RATE, unit="files"), 1)
    yield "lite-frames, Model.predict_batch of 256 x 10 s, one value each", 2560 / taken, "x real time"
    for count in streams:
        _, taken = live(one, signal, count, 24)
        yield f"lite-frames, a step of 80 ms of {count} live streams", 1e3 * taken, "ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10, help="of the long recording")
    parser.add_argument("--streams", default="1,100,1000", help="numbers of live streams")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal, kind = example()
    where = (
        torch.cuda.get_device_name(options.device)
        if options.device.startswith("cuda") and torch.cuda.is_available()
        else options.device
    )
    print(f"{where}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}, {kind}", flush=True)
    started = time.perf_counter()
    compared: list[tuple[str, float, float]] = []
    for what, work, allowed in agreement(signal, options.device):
        try:
            difference = work()
        except (emow2v.Emow2vError, RuntimeError) as error:
            difference, what = float("inf"), f"{what}: {error}"
        compared.append((what, difference, allowed))
        print(
            f"{'ok ' if difference <= allowed else 'BAD'} {difference:.1e} (allowed {allowed:.0e})  {what}", flush=True
        )
    print(f"agreement took {time.perf_counter() - started:.1f} s", flush=True)
    measured = []
    for what, figure, unit in speeds(
        signal, options.device, options.minutes, [int(one) for one in options.streams.split(",")]
    ):
        measured.append((what, figure, unit))
        print(f"{figure:10.3f} {unit}  {what}", flush=True)
    print(f"all took {time.perf_counter() - started:.1f} s")
    if options.json:
        content = {"device": where, "torch": torch.__version__, "agreement": compared, "speeds": measured}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0 if all(difference <= allowed for _, difference, allowed in compared) else 1


if __name__ == "__main__":
    sys.exit(main())
