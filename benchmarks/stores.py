"""Many short recordings in a store, beside the same files in a folder: waiting, processor time, wall clock.

    python benchmarks/stores.py [--objects 1000] [--seconds 2] [--model lite] [--rounds 2] [--delay 20] [--s3]

The store is a web server in a process of its own, which waits --delay milliseconds before each answer; with --s3 it is
moto's server of S3, whose own work for a request takes longer than that. Only this process's processor time counts. Both
ways are computed in turns, one value for each recording, and then the store again with one request at a time, as it
would be without reading ahead. "Waited" is the time for which recordings were asked for and not fetched yet.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import emow2v
from common import console, keep, parser, show
from emow2v.archive import fetching
from emow2v.modelstore.verify import EXAMPLE
from file_server import serving

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def make(folder: Path, number: int, seconds: float) -> list[str]:
    """Short clips of the shipped example, each from another place; their names."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    signal = np.resize(signal, len(signal) + int(seconds * rate))
    names = [f"clip{place:05}.wav" for place in range(number)]
    for place, name in enumerate(names):
        begin = place * 997 % (len(signal) - int(seconds * rate))
        soundfile.write(folder / name, signal[begin : begin + int(seconds * rate)], rate)
    return names


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """The address of the folder's files in moto."""
    import os

    from object_stores import object_store

    with object_store() as store:
        store.reset()
        os.environ.update(store.environment)
        for path in folder.iterdir():
            store.put(f"in/{path.name}", path.read_bytes())
        yield "s3://study/in"


def compute(model: emow2v.Model, names: list[str], root: str | Path) -> dict[str, float]:
    """Seconds of waiting for recordings, in all, and of this process's processors."""
    waited = 0.0
    take: Callable[[Any], Any] = fetching._next

    def timed(waiting: Any) -> Any:
        nonlocal waited
        started = time.perf_counter()
        source = take(waiting)
        waited += time.perf_counter() - started
        return source

    fetching._next = timed
    try:
        started, processor = time.perf_counter(), time.process_time()
        table = model.predict_files(names, root=root, unit="files")
        assert len(table) == len(names)
        return {
            "wall": time.perf_counter() - started,
            "processor": time.process_time() - processor,
            "waited": waited,
        }
    finally:
        fetching._next = take


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--objects", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--model", default="lite")
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--delay", type=float, default=20)
    arguments.add_argument("--s3", action="store_true")
    options = arguments.parse_args()
    model = emow2v.load(options.model)
    model.predict(EXAMPLE, unit="files").load()
    found: dict[str, list[dict[str, float]]] = {"a folder": [], "a store": [], "a store, not ahead": []}
    with tempfile.TemporaryDirectory() as name:
        names = make(Path(name), options.objects, options.seconds)
        with s3(Path(name)) if options.s3 else serving(Path(name), delay_ms=options.delay) as root:
            for _ in range(options.rounds):
                found["a folder"].append(compute(model, names, name))
                found["a store"].append(compute(model, names, root))
            ahead, fetching._AHEAD = fetching._AHEAD, 1
            found["a store, not ahead"].append(compute(model, names[: options.objects // 10], root))
            fetching._AHEAD = ahead
    rows = []
    for what, rounds in found.items():
        share = 10 if what.endswith("ahead") else 1  # a tenth of the recordings, since they take long
        middle = {key: share * statistics.median(one[key] for one in rounds) for key in rounds[0]}
        rows.append([what, *(f"{middle[key]:.2f} s" for key in ("wall", "processor", "waited"))])
    pairs = list(zip(found["a folder"], found["a store"], strict=True))
    ratios = {key: statistics.median(far[key] / near[key] for near, far in pairs) for key in ("wall", "processor")}
    rows.append(["store / folder", *(f"{ratios[key]:.2f}" for key in ("wall", "processor")), ""])
    show(f"{options.objects} recordings of {options.seconds:g} s", ["in", "wall clock", "processor", "waited"], rows)
    console.print("not ahead: measured on a tenth of the recordings, times ten")
    keep("stores", {"found": found, "ratios": ratios}, options.json)


if __name__ == "__main__":
    main()
