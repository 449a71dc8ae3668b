"""Many short recordings in a store, beside the same files in a folder: waiting, processor time, wall clock.

    python benchmarks/stores.py [--objects 1000] [--seconds 2] [--model lite] [--rounds 2] [--delay 20] [--s3]

The store is a web server in a process of its own, which waits --delay milliseconds before each answer; with --s3 it is
moto's server of S3, whose own work for a request takes longer than that. Only this process's processor time counts. Both
ways are computed in turns, one value for each recording, and then the store again with one request at a time, as it
would be without reading ahead. "Waited" is the time for which recordings were asked for and not fetched yet.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import emow2v
from common import console, keep, parser, show
from emow2v.archive import fetching
from emow2v.modelstore.verify import EXAMPLE

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


def serve(folder: Path, delay_ms: float) -> None:
    """Give the files of a folder, on a port that is printed."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

        def do_HEAD(self) -> None:
            self.answer(give=False)

        def do_GET(self) -> None:
            self.answer(give=True)

        def answer(self, *, give: bool) -> None:
            time.sleep(delay_ms / 1000)
            content = (folder / self.path.rpartition("/")[2]).read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            part = content[int(asked[1]) : int(asked[2]) + 1] if asked else content
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("ETag", '"1"')
            if asked:
                first = int(asked[1])
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
            self.end_headers()
            if give:
                self.wfile.write(part)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        print(server.server_port, flush=True)
        server.serve_forever()


@contextmanager
def web(folder: Path, delay_ms: float) -> Iterator[str]:
    """The address of the folder on a web server, a process of its own."""
    command = [sys.executable, __file__, f"--serve={folder}", f"--delay={delay_ms}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def s3(folder: Path, delay_ms: float) -> Iterator[str]:
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
    arguments.add_argument("--serve", type=Path)
    options = arguments.parse_args()
    if options.serve:
        serve(options.serve, options.delay)
        return
    model = emow2v.load(options.model)
    model.predict(EXAMPLE, unit="files").load()
    found: dict[str, list[dict[str, float]]] = {"a folder": [], "a store": [], "a store, not ahead": []}
    with tempfile.TemporaryDirectory() as name:
        names = make(Path(name), options.objects, options.seconds)
        with (s3 if options.s3 else web)(Path(name), options.delay) as root:
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
