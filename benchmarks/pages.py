"""The page of a long result in Chromium: how soon it can be used, and how fast it answers afterwards.

python benchmarks/pages.py [--minutes 120] [--turns 2000] [--repeats 3] [--json results.json]

The result has a value every 40 ms and turns of two speakers. Its values are random walks that are written into a store
as a job of the server would write them, since to compute two hours takes long and makes no difference to a page. The
recording is the example over and over. The server runs in the process of the benchmark, so that its processor time is
known; on a busy machine processor time says more than seconds. Each repeat is a fresh browser. At the first visit the server
reads the result, which it then keeps. Seconds are those since the page was asked for. Chromium and the Python package
playwright are required, as for the tests of the pages.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, sync_playwright

import emow2v
from common import console, keep, parser, show
from emow2v.discover.places import Places
from emow2v.discover.turn_list import TurnListWriter, path_of
from emow2v.formats import record, writers
from emow2v.rows import Block, Info
from emow2v.server.jobs.prediction import STEM, PredictionTask
from emow2v.server.jobs.store import Store
from emow2v.server.run import Server
from emow2v.trajectory import Trajectory
from job import recording
from long_turns import segmentation

STEP_S = 0.04
# When the page shows what it has: looked at in every frame of the screen, in seconds since the page was asked for
MARKS = """
window.marks = {};
const found = {
  curves: () => !document.querySelector("#about")?.hidden && drawn("arousal"),
  turns: () => document.querySelector("#tiers:not([hidden]) canvas"),
  usable: () => marks.curves && marks.turns && (press("ArrowRight"), document.querySelector("#cursor-values b").textContent !== "–"),
  wave: () => drawn("sound"),
};
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const complete = () => Object.keys(found).every((name) => name in marks);
const drawn = (name) => document.querySelector(".js-plotly-plot")?.data?.some((one) => one.name === name && one.x.length > 100);
const look = () => {
  for (const [name, isThere] of Object.entries(found)) if (!(name in marks) && isThere()) marks[name] = performance.now() / 1000;
  if ("usable" in marks) resolveUsable();
  if (complete()) resolve(marks);
  else requestAnimationFrame(look);
};
let resolve, resolveUsable;
window.usable = new Promise((done) => (resolveUsable = done));
window.shown = new Promise((done) => (resolve = done));
requestAnimationFrame(look);
"""
# Milliseconds from an action to the next frame of the screen after the one that it changed
ANSWER = """(action) => new Promise((resolve) => {
  const begun = performance.now();
  if (action === "table") document.querySelector("#turn-values > summary").click();
  else if (action === "tier") document.querySelector(".tier-name input").click();
  else document.body.dispatchEvent(new KeyboardEvent("keydown", { key: action, bubbles: true, cancelable: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - begun)));
})"""
ACTIONS = {"cursor": "ArrowRight", "zoom": "+", "table of turns": "table", "choose a speaker": "tier"}


def make_job(folder: Path, minutes: float, turns: int) -> str:
    """Write the result of a job into the work folder of a server.

    Returns:
        the id of the job
    """
    places = Places([folder], folder / "work")
    places.uploads.mkdir(parents=True)
    sound = recording(folder, minutes).rename(places.uploads / "talk.wav")
    table = segmentation(folder, minutes, turns).rename(places.uploads / "talk.csv")
    form = {
        "name": "talk.wav", "upload": sound.name, "segments": table.name, "segments_name": "talk.csv", "speech": "true",
    }  # fmt: skip
    task = PredictionTask("long", form, places)
    count = round(60 * minutes / STEP_S)
    random = np.random.default_rng(0)
    scores = 0.5 + np.cumsum(random.normal(scale=0.01, size=(count, 3)), axis=0)
    starts = np.arange(count) * STEP_S
    block = Block(
        first=0,
        starts=starts,
        ends=starts + STEP_S,
        embeddings=np.zeros((count, 0), np.float32),
        scores=np.abs((scores + 1) % 2 - 1).astype(np.float32),  # folded into 0..1
        confidence=np.full((count, 3), 0.5, np.float32),
        speech=np.where(starts % 7 < 6, 0.9, 0.1).astype(np.float32),
    )
    facts = emow2v.load("lite").provenance(task.framing, "window") | {"duration_s": 60.0 * minutes}
    results = places.results("long")
    list_writer = TurnListWriter(path_of(results, 0), task.segmentation, task.detection)
    list_writer.add_speech(np.repeat(block.speech, 2) if block.speech is not None else np.zeros(0, np.float32))
    info = Info("talk.wav", task.framing, facts, speech=True)
    record(Trajectory(info, lambda: iter([block])), [*writers(["json"], results, STEM), list_writer])
    store = Store(places.work_dir / "jobs.sqlite")
    store.submit("long", form, kind="prediction")
    job = store.claim("benchmark")
    assert job is not None
    store.set_provenance(job, facts)
    store.end(job, rows=count)
    store.close()
    return job.id


def visit(browser: Browser, url: str) -> dict[str, float]:
    """Open the page once, use it, and tell what took how long."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(300_000)
    page = context.new_page()
    page.add_init_script(MARKS)
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    begun = time.process_time()
    page.goto(url)
    page.evaluate("window.usable")
    server_s = time.process_time() - begun
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    figures: dict[str, float] = {f"{name} s": at for name, at in page.evaluate("window.shown").items()}
    figures |= {
        "until usable: server, processor s": server_s,
        "until usable: page, processor s": metrics["TaskDuration"],
    }
    for name, action in ACTIONS.items():
        times = 5 if name in ("cursor", "zoom") else 1
        figures[f"{name} ms"] = statistics.median(page.evaluate(ANSWER, action) for _ in range(times))
    session.send("HeapProfiler.collectGarbage")
    figures["memory MB"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    context.close()
    return figures


def asked(url: str, job: str) -> dict[str, float]:
    """Seconds that the server takes for what the page asks for, each alone."""
    took: dict[str, float] = {}
    with httpx.Client(base_url=f"{url}/v1/jobs/{job}", timeout=300, trust_env=False) as client:
        for name in ("rows", "turns", "waveform?points=40000"):
            begun = time.perf_counter()
            client.get(f"/{name}").raise_for_status()
            took[f"server: {name.partition('?')[0]} s"] = time.perf_counter() - begun
    return took


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=120)
    arguments.add_argument("--turns", type=int, default=2000)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        job = make_job(Path(name), options.minutes, options.turns)
        server = Server(port=0, data_dirs=[Path(name)], work_dir=Path(name) / "work")
        found: list[dict[str, Any]] = []
        with server.running() as url, sync_playwright() as playwright:
            while httpx.get(f"{url}/readyz", trust_env=False).status_code != 200:  # the worker of jobs has started
                time.sleep(0.1)
            flags = ["--no-sandbox", "--enable-precise-memory-info"]  # Chromium refuses its sandbox to root
            for _ in range(options.repeats):
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
                found.append(visit(browser, f"{url}/jobs/{job}") | asked(url, job))
                browser.close()
    names = list(found[0])
    rows = [
        (name, found[0][name], min(one[name] for one in found), statistics.median(one[name] for one in found))
        for name in names
    ]
    title = f"{options.minutes:g} min with {options.turns} turns, {options.repeats} times"
    show(title, ("", "first", "best", "median"), rows)
    keep("pages", {"minutes": options.minutes, "turns": options.turns, "visits": found}, options.json)
    console.print("usable: curves and turns are drawn, and the cursor shows its values")


if __name__ == "__main__":
    main()
