"""What a cluster of Ray costs over one computer, and what the computer of the command needs for many recordings.

    PYTHONPATH=benchmarks python benchmarks/scale.py [--model lite] [--minutes 30] [--rows 1000000]

* overhead: one computer against `--ray local` on it, on the same recordings with the same options, in turns; starts (Ray,
  processes, loading the model in each) are stated apart. Ratios of processor time hold also where the machine is busy.
* cost of a recording: the same for recordings of 1 s, 1 min and 1 h with `--unit files`
* driver: a run over a manifest of very many names, whose sound is a stub: memory of the command's own process until some are
  done and their table is written
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import soundfile

import emow2v
from common import keep, parser, show
from emow2v.archive import run as archive
from emow2v.archive.content import ContentPath
from emow2v.archive.loop import Request
from emow2v.archive.resume import CorpusRun
from emow2v.archive.run_table import RunTable
from emow2v.cluster.jobs import Settings
from emow2v.cluster.predictor import on_cluster
from emow2v.corpora.csv_manifest import read_list
from emow2v.framing import Framing
from emow2v.inputs.expand import expand
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import EMBEDDING_SIZE, Block, Info
from emow2v.trajectory import Trajectory

SECONDS = {"1 s": 1, "1 min": 60, "1 h": 3600}


def processor_s(*, descendants: bool) -> float:
    """Seconds of processors that this process has used, and its living descendants (Ray, which also runs while it waits)."""
    total = 0.0
    for process in [psutil.Process(), *(psutil.Process().children(recursive=True) if descendants else [])]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def recordings(folder: Path, seconds: float, count: int) -> Path:
    """Recordings of one length, made of the shipped example, each from another place of it."""
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    folder.mkdir(parents=True)
    samples = round(seconds * rate)
    for number in range(count):
        begin = number * 1600 % len(sound)
        repeats = -(-(begin + samples) // len(sound))
        soundfile.write(folder / f"{number:05}.wav", np.tile(sound, repeats)[begin : begin + samples], rate)
    return folder


def timed(model: object, folder: Path, out: Path, framing: Framing) -> tuple[float, float]:
    """Wall and processor seconds of a run over a folder."""
    shutil.rmtree(out, ignore_errors=True)
    inputs, _ = expand([str(folder)], lambda left: None)
    on_ray = not isinstance(model, Model)
    began, used = time.perf_counter(), processor_s(descendants=on_ray)
    with CorpusRun(out, {}) as run:
        run.choose(inputs)
        outcomes = list(archive.predict(model, run.pending, out, framing=framing, run=run))  # type: ignore[arg-type]
    assert len(outcomes) == len(inputs) and not any(one.error for one in outcomes), outcomes[0]
    return time.perf_counter() - began, processor_s(descendants=on_ray) - used


def overhead(
    work: Path, name: str, minutes: int, repeats: int, step_ms: int
) -> tuple[list[list[object]], float, float]:
    """Rows of a table, and seconds that the starts took: of Ray with its processes, and until the first answers."""
    model = emow2v.load(name)
    long = recordings(work / "long", 600, max(2, minutes // 10))
    folders = {
        name: recordings(work / name.replace(" ", ""), s, n)
        for (name, s), n in zip(SECONDS.items(), (240, 12, 2), strict=True)
    }
    works: dict[str, tuple[Path, Framing]] = {
        f"10 min, one value every {step_ms} ms": (long, Framing(frame_step_ms=step_ms))
    }
    works |= {f"{name}, one value": (folder, Framing.files()) for name, folder in folders.items()}
    rows: list[list[object]] = []
    began = time.perf_counter()
    with on_cluster("local", model, Settings("mix", turns=False, embeddings=False)) as cluster:
        started = time.perf_counter() - began
        warm = recordings(work / "warm", 1, 130)
        first, _ = timed(cluster, warm, work / "out", Framing.files())
        for name, (folder, framing) in works.items():
            best = {"one computer": (float("inf"),) * 2, "ray": (float("inf"),) * 2}
            for _ in range(repeats):
                for way, computing in (("one computer", model), ("ray", cluster)):
                    now = timed(computing, folder, work / "out", framing)
                    best[way] = (min(best[way][0], now[0]), min(best[way][1], now[1]))
            count = len(list(folder.iterdir()))
            (wall, used), (ray_wall, ray_used) = best["one computer"], best["ray"]
            rows.append([
                name, count, 1000 * used / count, 1000 * ray_used / count, ray_used / used, 1000 * wall / count,
                1000 * ray_wall / count, ray_wall / wall,
            ])  # fmt: skip
    return rows, started, first


class Stub:
    """Answers at once with one row for each recording, without reading it."""

    def predict_elsewhere(
        self, requests: Iterable[Request], channel: object, *, turns: bool
    ) -> Generator[Callable[[], list[Trajectory]]]:
        scores = np.full((1, 3), 0.5, np.float32)
        row = Block(0, np.zeros(1), np.ones(1), np.zeros((1, 0), np.float32), scores, scores)
        assert row.embeddings.shape[1] < EMBEDDING_SIZE
        for request in requests:
            options = request.prepare()
            assert isinstance(request.source, ContentPath)
            request.source.content.read_elsewhere("[]", 1.0)
            info = Info(os.fspath(request.source), options["framing"], {"model": "stub"}, 1)
            yield partial(lambda info: [Trajectory(info, lambda: iter([row]))], info)


def driver(rows: int, done: int) -> None:
    """Choose among so many names, and finish some of them; prints figures."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sources = 1 + rows // 50_000  # a file has at most 65,000 names
        for number in range(sources):
            (work / f"{number}.wav").write_bytes(b"RIFF")
        with (work / "manifest.csv").open("w") as names:
            names.write("file,speaker\n")
            for number in range(rows):
                place = work / f"{number // 1000:04}"
                if number % 1000 == 0:
                    place.mkdir()
                os.link(work / f"{number % sources}.wav", place / f"{number:07}.wav")
                names.write(f"{place.name}/{number:07}.wav,{place.name}\n")
        before = _peak_mb()
        began = time.process_time()
        inputs, _ = expand([str(work / "manifest.csv")], lambda left: None, lambda name: read_list(name))
        assert len(inputs) == rows
        with CorpusRun(work / "out", {}) as run, RunTable(work / "all.csv") as table:
            run.choose(inputs)
            chosen, chosen_s = _peak_mb(), time.process_time() - began
            pending = run.pending
            assert sum(run.sizes.values()) == 4 * rows
            began = time.process_time()
            outcomes = archive.predict(Stub(), pending, work / "out", framing=Framing.files(), run=run, table=table)
            for outcome in itertools.islice(outcomes, done):
                assert not outcome.error, outcome.error
            each = (time.process_time() - began) / done
            outcomes.close()  # type: ignore[attr-defined]
            run.fill(table)
            table.publish()
        print(before, chosen, _peak_mb(), chosen_s, 1000 * each)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--minutes", type=int, default=30, help="of sound in recordings of 10 minutes")
    command.add_argument("--model", default="lite", help="of the overhead")
    command.add_argument("--step", type=int, default=40, help="of their values, in ms")
    command.add_argument("--repeats", type=int, default=2)
    command.add_argument("--rows", type=int, default=1_000_000, help="names in the list of the driver; 0 leaves it out")
    command.add_argument("--done", type=int, default=20_000, help="of them that are finished")
    command.add_argument("--driver", action="store_true", help="measure the driver in this process")
    given = command.parse_args()
    if given.driver:
        driver(given.rows, given.done)
        return
    figures: dict[str, object] = {}
    if given.minutes:
        with tempfile.TemporaryDirectory() as folder:
            rows, started, first = overhead(Path(folder), given.model, given.minutes, given.repeats, given.step)
        columns = ("recordings", "number", "CPU ms", "CPU ms, Ray", "ratio", "wall ms", "wall ms, Ray", "ratio")
        show(f"A recording; Ray started in {started:.1f} s, first answers {first:.1f} s later", columns, rows)
        figures |= {"overhead": rows, "start_s": started, "first_answers_s": first}
    if given.rows:
        words = [sys.executable, __file__, "--driver", "--rows", str(given.rows), "--done", str(given.done)]
        printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        before, chosen, peak, seconds, each = map(float, printed.split())
        columns = ("names", "MB before", "MB, chosen", "MB at most", "CPU s to choose", "CPU ms a recording")
        show("The computer of the command", columns, [[given.rows, before, chosen, peak, seconds, each]])
        figures |= {"driver": {"rows": given.rows, "mb": peak, "choose_s": seconds, "ms_each": each}}
    keep("scale", figures, given.json)


if __name__ == "__main__":
    main()
