"""Two source trees side by side: is anything slower than it was?

python benchmarks/before_after.py BEFORE [AFTER] [--minutes 10] [--clips 100] [--repeats 7] [--only WORDS] [--json results.json]

BEFORE and AFTER are folders with src/emow2v below them (AFTER is this repository where it is left out). Both are run by this
Python, each in processes of its own, and in turns: what else the machine does meets both alike, and which of the two comes first
changes from turn to turn. Of each measurement the table has the median of both, the median of the ratios of neighbours
(AFTER by BEFORE; 1.02 is 2 % slower), the same of the fastest, and how far the ratios lie apart (their 25th and 75th percentile).
A ratio within what lies between those two says nothing; take more repeats, or a quieter machine.

* start: `import emow2v`, `emow2v --version`, `emow2v predict` of a second; processes from beginning to end
* decode: a recording of MINUTES as wav, flac and mp3, to 16 kHz
* predict: the same with lite, values every 40 ms, thrown away; and written as CSV and as DISCOVER's annotation
* clips: CLIPS recordings of a second, one after the other, by one model
* server: from POST to the table over /v1/predictions, of a second; from POST to finished over /process
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parents[1]
RATE = 16000
console = Console(width=None if sys.stdout.isatty() else 140)

# What a tree's own process does: it reads lines of JSON, [work, argument], and answers with seconds. Nothing of
# this file's process is in it but its Python.
CHILD = """
import json, sys, time
from pathlib import Path
import emow2v
from emow2v import audio, formats
model = emow2v.load("lite")
def decode(path):
    recording = audio.open_recording(path)
    for block in recording:
        pass
    recording.close()
def predict(path):
    for block in model.predict(path):
        pass
def write(places):
    path, table, annotation = places
    formats.write(model.predict(path), table)
    formats.write(model.predict(path), annotation)
def clips(paths):
    for path in paths:
        predict(path)
works = {"decode": decode, "predict": predict, "write": write, "clips": clips}
out, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    work, argument = json.loads(line)
    started = time.perf_counter()
    works[work](argument)
    print(time.perf_counter() - started, file=out, flush=True)
"""


class Tree:
    """One of the two: its process, its server, and what both are given."""

    def __init__(self, name: str, folder: Path, work: Path) -> None:
        self.name, self.work = name, work
        self.data = work / "data"
        self.data.mkdir(parents=True)
        self.environment = {
            **os.environ, "PYTHONPATH": str(folder / "src"), "EMOW2V_HOME": str(work / "home"), "PYTHONDONTWRITEBYTECODE": "",
        }  # fmt: skip
        self._child: subprocess.Popen[str] | None = None
        self._server: subprocess.Popen[str] | None = None
        self._client: httpx.Client | None = None
        self._number = 0

    def process(self, *arguments: str) -> float:
        """Seconds of a Python from its beginning to its end."""
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], env=self.environment, check=True, cwd=self.work, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return time.perf_counter() - started

    def ask(self, work: str, argument: object) -> float:
        """Seconds of a work in the tree's own process."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-c", CHILD], env=self.environment, cwd=self.work, text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([work, argument]) + "\n")
        self._child.stdin.flush()
        return float(self._child.stdout.readline())

    def write(self, recording: Path) -> float:
        self._number += 1
        places = [self.work / "out" / f"{self._number}{ending}" for ending in (".csv", ".arousal.annotation")]
        taken = self.ask("write", [str(recording), *map(str, places)])
        shutil.rmtree(self.work / "out")
        return taken

    def command(self, recording: Path) -> float:
        self._number += 1
        return self.process("-m", "emow2v", "predict", str(recording), "-o", str(self.work / f"command{self._number}"))

    def client(self) -> httpx.Client:
        if self._client is None:
            command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--data-dir", str(self.data)]
            self._server = subprocess.Popen(
                [*command, "--work-dir", str(self.work / "server")], env=self.environment, cwd=self.work, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert self._server.stdout is not None
            line = self._server.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            self._client = httpx.Client(base_url=found[0].rstrip("/."), timeout=600, trust_env=False)
            while self._client.get("/readyz").status_code != 200:
                time.sleep(0.05)
        return self._client

    def prediction(self, recording: Path) -> float:
        client, sound = self.client(), recording.read_bytes()
        started = time.perf_counter()
        answer = client.post("/v1/predictions", files={"file": ("a.wav", sound)}, data={"format": "csv"})
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - started

    def job(self, recording: Path) -> float:
        client = self.client()
        self._number += 1
        path = self.data / "talk.wav"
        if not path.exists():
            shutil.copy(recording, path)
        name, sink = f"job{self._number}", self.data / f"{self._number}.arousal.annotation"
        description = [
            {"id": "audio", "type": "input", "src": "file:stream:audio", "uri": str(path)},
            {"id": "arousal", "type": "output", "src": "file:annotation:continuous", "uri": str(sink)},
        ]
        trainer = "modules/emow2v/emow2v.trainer"
        form = {"jobID": name, "data": json.dumps(description), "trainerFilePath": trainer}
        started = time.perf_counter()
        answer = client.post("/process", data=form)
        assert answer.json()["success"] == "True", answer.text
        while (status := client.post("/job_status", data={"jobID": name}).json()["status"]) < 2:
            time.sleep(0.005)
        assert status == 2, client.post("/log", data={"jobID": name}).text
        return time.perf_counter() - started

    def close(self) -> None:
        if self._client:
            self._client.close()
        for process in (self._child, self._server):
            if process is not None:
                process.terminate()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe:
                        pipe.close()


def recordings(folder: Path, minutes: float, clips: int) -> tuple[dict[str, Path], list[Path]]:
    """The example over and over as wav, flac and mp3, and clips of a second."""
    signal, rate = soundfile.read(HERE / "src" / "emow2v" / "data" / "example.flac", dtype="float32")
    long = np.resize(signal, int(minutes * 60 * rate))
    made = {}
    for kind in ("wav", "flac", "mp3"):
        made[kind] = folder / f"long.{kind}"
        soundfile.write(made[kind], long, rate)
    short = []
    for number in range(clips):
        short.append(folder / f"clip{number}.wav")
        begin = number * rate // 7 % (signal.size - rate)
        soundfile.write(short[-1], signal[begin : begin + rate], rate)
    return made, short


def compared(first: list[float], second: list[float]) -> dict[str, float]:
    """Medians of both, and of what the second takes by the first."""
    ratios = np.divide(second, first)
    low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
    return {
        "before_s": float(np.median(first)), "after_s": float(np.median(second)), "ratio": middle, "low": low,
        "high": high, "fastest": min(second) / min(first),
    }  # fmt: skip


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("before", type=Path)
    made.add_argument("after", type=Path, nargs="?", default=HERE)
    made.add_argument("--minutes", type=float, default=10.0)
    made.add_argument("--clips", type=int, default=100)
    made.add_argument("--repeats", type=int, default=7)
    made.add_argument("--only", default="", help="measurements whose names have this word")
    made.add_argument("--json", type=Path, help="where the figures go, too")
    options = made.parse_args()
    for folder in (options.before, options.after):
        if not (folder / "src" / "emow2v").is_dir():
            made.error(f"{folder} has no src/emow2v; expected a source tree")
    with tempfile.TemporaryDirectory() as place:
        long, clips = recordings(Path(place), options.minutes, options.clips)
        trees = [
            Tree(name, folder.resolve(), Path(place) / name)
            for name, folder in (("before", options.before), ("after", options.after))
        ]
        works: dict[str, Callable[[Tree], float]] = {
            "start: import emow2v": lambda tree: tree.process("-c", "import emow2v"),
            "start: emow2v --version": lambda tree: tree.process("-m", "emow2v", "--version"),
            "start: emow2v predict, 1 s": lambda tree: tree.command(clips[0]),
        }
        for kind, path in long.items():
            works[f"decode: {kind}"] = lambda tree, path=path: tree.ask("decode", str(path))  # type: ignore[misc]
            works[f"predict: {kind}"] = lambda tree, path=path: tree.ask("predict", str(path))  # type: ignore[misc]
        works["predict: wav, to CSV and annotation"] = lambda tree: tree.write(long["wav"])
        works[f"clips: {len(clips)} of 1 s"] = lambda tree: tree.ask("clips", [str(path) for path in clips])
        works["server: /v1/predictions, 1 s"] = lambda tree: tree.prediction(clips[0])
        works["server: /process to finished, 1 s"] = lambda tree: tree.job(clips[0])
        if not any(options.only in name for name in works):
            made.error(f"--only {options.only} is in no name; expected a word of: {'; '.join(works)}")
        figures: dict[str, dict[str, float]] = {}
        try:
            for name, work in works.items():
                if options.only not in name:
                    continue
                taken: list[list[float]] = [[], []]
                for turn in range(options.repeats + 1):  # the first is not counted: caches are filled
                    for which in (0, 1) if turn % 2 else (1, 0):
                        seconds = work(trees[which])
                        if turn:
                            taken[which].append(seconds)
                figures[name] = compared(*taken)
                console.print(f"{name}: {figures[name]['ratio']:.3f}")
        finally:
            for tree in trees:
                tree.close()
    table = Table(
        "", "before, s", "after, s", "after by before", "25 to 75 %", "of the fastest", title="two trees in turns"
    )
    for name, one in figures.items():
        table.add_row(
            name, f"{one['before_s']:.4f}", f"{one['after_s']:.4f}", f"{one['ratio']:.3f}",
            f"{one['low']:.3f} to {one['high']:.3f}", f"{one['fastest']:.3f}",
        )  # fmt: skip
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
