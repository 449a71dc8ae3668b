"""A model of frames beside a model of windows: processor time of a recording at 25 values a second, and of live streams.

python benchmarks/one_pass.py PACKAGE_OF_FRAMES [--windows lite] [--seconds 60] [--streams 1,20,100] [--threads 1]

Both compute the same speech in one run, after a warming one; the time is that of all threads, so that other programs count less.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soundfile

import emow2v
from emow2v.engines import precisions
from emow2v.engines.frames import FramesEngine
from emow2v.modelstore.verify import EXAMPLE
from emow2v.stream import compute_together

STEP = 1280  # samples that each stream gets at a time: two frames of 40 ms
STEPS = 12


def recording(model: emow2v.Model, signal: np.ndarray) -> float:
    """Seconds of processor time for a second of sound."""
    model.predict(signal[: 16000 * 12], 16000).load()
    started = time.process_time()
    rows = model.predict(signal, 16000, speech=True).load()
    return (time.process_time() - started) / float(rows.ends[-1])


def live(model: emow2v.Model, signal: np.ndarray, streams: int) -> float:
    """Seconds of processor time for a second of one of many streams, which come at once."""
    opened = [model.stream(speech=True) for _ in range(streams)]

    def add(stream: int, step: int) -> int:
        begin = (stream * 37 + step) * STEP % (len(signal) - STEP)
        return sum(map(len, opened[stream].add(signal[begin : begin + STEP], flush=True)))

    with ThreadPoolExecutor(min(streams, 100)) as pool:
        for step in range(2 * STEPS):
            if step == STEPS:
                started = time.process_time()
            list(pool.map(lambda stream, step=step: add(stream, step), range(streams)))
    return (time.process_time() - started) / (streams * STEPS * STEP / 16000)


def common(model: emow2v.Model, signal: np.ndarray, streams: int, frames: int) -> float:
    """The same with common steps of so many frames, as a server computes them."""
    opened, size = [model.stream(speech=True) for _ in range(streams)], frames * model.card.frame_hop
    for step in range(STEPS):
        if step == STEPS // 2:
            started = time.process_time()
        begins = [(stream * 37 + step) * size % (len(signal) - size) for stream in range(streams)]
        compute_together(
            [
                (one, part)
                for one, begin in zip(opened, begins, strict=True)
                for part in one.cut(signal[begin : begin + size])
            ]
        )
    return (time.process_time() - started) / (streams * (STEPS - STEPS // 2) * size / 16000)


def graph(model: emow2v.Model, streams: int, frames: int) -> float:
    """Of that the engine alone: steps of zeros, without values."""
    engine = model.engine
    assert isinstance(engine, FramesEngine)
    signal = np.zeros((streams, frames * model.card.frame_hop), np.float32)
    lengths, state = np.full(streams, signal.shape[1]), engine.start(streams)
    for step in range(STEPS):
        if step == STEPS // 2:
            started = time.process_time()
        _, _, state = engine.step(signal, lengths, state)
    return (time.process_time() - started) / (streams * (STEPS - STEPS // 2) * signal.shape[1] / 16000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", help="package of a model of frames")
    parser.add_argument("--windows", default="lite", help="a model of windows beside it")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--streams", default="1,20,100")
    parser.add_argument("--threads", type=int, default=0, help="of each model; 0 for all cores")
    options = parser.parse_args()
    signal = np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], 16000 * options.seconds)
    frames, windows = (emow2v.load(name, threads=options.threads) for name in (options.frames, options.windows))
    one_pass, cut = recording(frames, signal), recording(windows, signal)
    print(
        f"one pass: {1000 * one_pass:.2f} ms of processor time a second of sound, {1 / one_pass:.0f} times real time a core"
    )
    if "bf16" in precisions(frames.card, "openvino"):
        lower = recording(emow2v.load(options.frames, precision="bf16", threads=options.threads), signal)
        print(f"one pass in bf16: {1000 * lower:.2f} ms, {1 / lower:.0f} times real time a core")
    print(f"windows: {1000 * cut:.2f} ms, {cut / one_pass:.1f} times as much")
    for streams in map(int, filter(None, options.streams.split(","))):
        taken = live(frames, signal, streams)
        print(
            f"{streams} live streams in threads: {1000 * taken:.1f} ms a second of each, {streams * taken:.2f} cores, {taken / one_pass:.1f} times one pass"
        )
        for length in (2, 4):
            own, alone = common(frames, signal, streams, length), graph(frames, streams, length)
            print(
                f"{streams} live streams in common steps of {length} frames: {1000 * own:.1f} ms a second of each, "
                f"{streams * own:.2f} cores; the engine alone {streams * alone:.2f}"
            )


if __name__ == "__main__":
    main()
