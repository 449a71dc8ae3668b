"""How fast the page of `emow2v web build` computes in Chromium, on a plain server and isolated, and why its model is lite-frames.

python benchmarks/web.py [--minutes 2] [--repeats 3] [--onnxruntime-web FILE] [--json results.json]

The recording is the example over and over, as a WAV file at 16 kHz and at 48 kHz. The page is asked for in the usual way,
as a person would do it. On a busy machine processor time says more than seconds: it is that of all processes of the
browser, also for drawing. Windows of `lite` are computed by the same runtime in batches of 16, without a page around them.
The best of the repeats counts. An
isolated page takes half of the logical processors as threads, at most four. Chromium, and the Python packages playwright and psutil, are required.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from playwright.sync_api import Browser, Page, expect, sync_playwright

from common import keep, parser, show
from emow2v import cards
from emow2v.modelstore.verify import EXAMPLE
from emow2v.web import runtime
from emow2v.web.build import build

RATE = 16000
BATCH, ROUNDS = 16, 3
LATER_MS = 1_200_000
# Seconds of a window of lite, with the page's own copy of the runtime
LITE = f"""async () => {{
    const ort = await import(new URL("runtime/onnxruntime-web.js", location.href));
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = {{ wasm: new URL("runtime/onnxruntime-web.wasm", location.href).href }};
    const session = await ort.InferenceSession.create("../lite/model.onnx", {{ executionProviders: ["wasm"] }});
    const samples = Float32Array.from({{ length: {BATCH * RATE} }}, (_, k) => 0.1 * Math.sin(k / 20) * Math.sin(k / 1500));
    const run = () => session.run({{ signal: new ort.Tensor("float32", samples, [{BATCH}, {RATE}]) }});
    await run();
    const begun = performance.now();
    for (let k = 0; k < {ROUNDS}; k++) await run();
    return (performance.now() - begun) / 1000 / {BATCH * ROUNDS};
}}"""


class Handler(SimpleHTTPRequestHandler):
    isolated = False

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Isolated(Handler):
    isolated = True


def spent() -> float:
    """Processor seconds of all processes that this one has started."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def ready(browser: Browser, url: str) -> tuple[Page, float]:
    """The page when its model is loaded, and the seconds that took."""
    page = browser.new_context(bypass_csp=True).new_page()
    begun = time.perf_counter()
    page.goto(url)
    expect(page.locator("#message")).to_contain_text("Ready", timeout=LATER_MS)
    return page, time.perf_counter() - begun


def computed(page: Page, path: Path) -> tuple[float, float]:
    """Seconds and processor seconds until a recording is computed and drawn."""
    before, begun = spent(), time.perf_counter()
    page.set_input_files("#files", path)
    expect(page.locator("#message")).to_contain_text("Nothing left this page", timeout=LATER_MS)
    return time.perf_counter() - begun, spent() - before


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=2)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--onnxruntime-web", type=Path)
    given = arguments.parse_args()
    duration_s = given.minutes * 60
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        build(folder / "page", runtime.parts(given.onnxruntime_web))
        shutil.copytree(cards.find("lite").folder, folder / "lite")
        sounds = _recordings(folder, duration_s)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        loads = []
        for handler in (Handler, Isolated):
            with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=name)) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                page, loaded = ready(browser, f"http://127.0.0.1:{server.server_port}/page/")
                loads.append(loaded)
                threads = page.evaluate("import('./scripts/computer.js').then((computer) => computer.threads())")
                where = "isolated" if handler is Isolated else "plain server"
                for path in sounds:
                    tries = [computed(page, path) for _ in range(given.repeats)]
                    wall, processor = (min(column) for column in zip(*tries, strict=True))
                    what = f"lite-frames, {path.stem}, {where}, threads: {threads}"
                    rows.append([what, wall, processor, duration_s / wall, duration_s / processor])
                if handler is Handler:
                    windows = [_lite(page) for _ in range(given.repeats)]
                server.shutdown()
        browser.close()
    wall, processor = (25 * duration_s * one for one in min(windows))
    rows.append(["lite, windows every 40 ms, threads: 1", wall, processor, duration_s / wall, duration_s / processor])
    columns = ["what", "s", "processor s", "x real time", "x real time of one core"]
    show(f"{given.minutes:g} min of speech in Chromium; the page was ready after {min(loads):.1f} s", columns, rows)
    keep("web", {"minutes": given.minutes, "ready_s": min(loads), "rows": rows}, given.json)


def _lite(page: Page) -> tuple[float, float]:
    """Seconds and processor seconds of a window of lite; loading counts in the latter, and is small."""
    before = spent()
    wall = float(page.evaluate(LITE))
    return wall, (spent() - before) / (BATCH * (ROUNDS + 1))


def _recordings(folder: Path, duration_s: float) -> list[Path]:
    """The example over and over, at two rates."""
    import soxr

    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    talk = np.resize(signal, round(duration_s * RATE))
    paths = []
    for rate in (RATE, 48_000):
        paths.append(folder / f"{rate // 1000} kHz.wav")
        soundfile.write(paths[-1], soxr.resample(talk, RATE, rate), rate)
    return paths


if __name__ == "__main__":
    main()
