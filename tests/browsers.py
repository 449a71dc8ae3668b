"""A browser for tests: who visits a page, what they do there, what they find drawn."""

import base64
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

import waiting

api = pytest.importorskip("playwright.sync_api")
expect = api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SLOW_MS = 180_000  # a busy machine
expect.set_options(timeout=SLOW_MS)
REFUSED = "Failed to load resource"  # what Chromium says of an answer that a test wants to be a refusal


@contextmanager
def chromium(microphone: Path) -> Iterator["api.Browser"]:
    """A browser whose microphone hears a file, again and again."""
    flags = [
        "--no-sandbox",  # root, in a container
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with api.sync_playwright() as playwright, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        # which Chromium fills with caches and reports
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, env={**os.environ, "HOME": home})
        yield found
        found.close()


class Visitor:
    """A page that writes down what must not happen: errors on the console, requests to anywhere else."""

    def __init__(self, browser: "api.Browser", url: str, **context: object) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900}, **context)
        self.context.set_default_timeout(SLOW_MS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.expected: list[str] = []  # complaints that a test provokes
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._asked)

    def _asked(self, request: "api.Request") -> None:
        if not request.url.startswith((f"{self.url}/", "blob:", "data:")):
            self.complaints.append(f"asked {request.url}")

    def leave(self) -> None:
        self.context.close()
        assert [one for one in self.complaints if not any(part in one for part in self.expected)] == []


def posted(url: str, name: str, data: bytes, *, wait: bool, **form: str) -> str:
    """Post a recording as any other client does; gives its id."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        job = client.post("/v1/predictions", files={"file": (name, data)}, data={"wait": "false", **form}).json()
        if wait:
            waiting.until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["state"] not in ("waiting", "running"))
    return str(job["id"])


def asked(page: "api.Page", path: str) -> dict:
    return page.request.get(path).json()


def plot(page: "api.Page") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is drawn, by name: x and y."""
    script = """() => (document.querySelector('#time .js-plotly-plot')?.data ?? []).map(
        (one) => [one.name, Array.from(one.x), Array.from(one.y)])"""
    return {name: (np.array(x, float), np.array(y, float)) for name, x, y in page.evaluate(script)}


def view(page: "api.Page") -> tuple[float, float]:
    """From when to when the time axis goes."""
    begin, end = page.evaluate("document.querySelector('#time .js-plotly-plot').layout.xaxis.range")
    return float(begin), float(end)


def until(page: "api.Page", condition: Callable[[], bool], what: str) -> None:
    """Wait for something that Playwright cannot express."""
    deadline = time.monotonic() + SLOW_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, what
        page.wait_for_timeout(50)


PLAYABLE = "[...document.querySelectorAll('#audio, #video')].some((one) => !one.hidden && one.readyState)"


def opened(page: "api.Page", job: str) -> None:
    page.goto(f"/jobs/{job}")
    drawn(page)


def drawn(page: "api.Page") -> None:
    """Wait until a job has finished, all of it is drawn, and its recording can be played."""
    expect(page.locator("#about")).to_be_visible()
    until(page, lambda: {"arousal", "sound"} <= plot(page).keys(), "the sound comes last")
    until(page, lambda: page.evaluate(PLAYABLE), "the player has the recording")


def drop(page: "api.Page", name: str, data: bytes, target: str = "#drop") -> None:
    """Drop a file as a mouse does."""
    drop_files(page, {name: data}, target)


def drop_files(page: "api.Page", files: dict[str, bytes], target: str = "#drop") -> None:
    """Drop files together, by their names."""
    script = """([files, target]) => {
        const transfer = new DataTransfer();
        for (const [name, text] of Object.entries(files)) {
            transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
        }
        const told = { bubbles: true, cancelable: true, dataTransfer: transfer };
        return ["dragenter", "dragover", "drop"].map((kind) => !document.querySelector(target).dispatchEvent(new DragEvent(kind, told)));
    }"""
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    taken = page.evaluate(script, [encoded, target])
    assert taken[1:] == [True, True]  # else the browser would open the file in the page's place


def row(page: "api.Page", name: str) -> "api.Locator":
    return page.locator("tbody tr").filter(has_text=name)


def saved(page: "api.Page", press: "api.Locator") -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        press.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def unnamed(page: "api.Page") -> tuple[list[str], list[str]]:
    """Roles of controls and pictures that have no name for screen readers, and all roles, in Chromium's own tree."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in tree}
    nodes = [node for node in tree if not node["ignored"]]
    bare = [
        node["role"]["value"]
        for node in nodes
        if node["role"]["value"] in CONTROLS
        and not node.get("name", {}).get("value", "").strip()
        and not _of_the_browser(node, by_id)
    ]
    return bare, [node["role"]["value"] for node in nodes]


def _of_the_browser(node: dict, tree: dict[str, dict]) -> bool:
    """Whether it is a part of a player, a field or the picture, which have names of their own."""
    parent = tree.get(node.get("parentId", ""))
    while parent:
        if parent.get("role", {}).get("value") in ("Audio", "Video", "image", "img", "combobox", "slider"):
            return True
        parent = tree.get(parent.get("parentId", ""))
    return False


CONTROLS = frozenset(
    "button link textbox combobox checkbox slider progressbar meter image img timer dialog figure table".split()
)
# Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2, AA), and how many were looked at.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, k) => sum + one * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => { for (; element; element = element.parentElement) { const found = rgba(getComputedStyle(element).backgroundColor); if (found[3] === 255) return found; } return [255, 255, 255]; };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(":disabled, script")) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))].sort((one, two) => two - one);
    seen++;
    if ((a + 0.05) / (b + 0.05) < 4.5) weak.push(`${walker.currentNode.data.trim()}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return [seen, weak];
}"""
