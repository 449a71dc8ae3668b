"""Makes the pictures of docs/pages.md: python scripts/make_screenshots.py

Starts a server on the speech example of the package and opens its pages in Chromium. Requires `chromium` on the path
and the Python package playwright, as the tests of the pages do.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import soundfile
from playwright.sync_api import Browser, Page, sync_playwright

from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.run import Server

OUTPUT = Path(__file__).parents[1] / "docs" / "pages"
QUALITY = 84  # of WebP, 0..100
LONG_S = 300  # a recording that is still being computed when the list of jobs is pictured
MAX_BYTES = 200_000  # of a picture
# Turns of the example, as whisperX writes them; its voice is one and the same
TURNS = """1
00:00:00,400 --> 00:00:02,880
[Anna]: first sentence

2
00:00:03,080 --> 00:00:05,500
[Ben]: second sentence

3
00:00:05,700 --> 00:00:10,680
[Anna]: third sentence, excited

4
00:00:10,200 --> 00:00:12,600
[Ben]: last sentence
"""
DESKTOP, PHONE = (1180, 1080), (390, 844)  # width and height in pixels


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the pictures")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signal, rate = soundfile.read(EXAMPLE, dtype="float32")
        soundfile.write(folder / "microphone.wav", signal, rate)
        soundfile.write(folder / "interview 07.flac", np.resize(signal, LONG_S * rate), rate)
        soundfile.write(folder / "calm sentence.flac", signal[: 5 * rate], rate)
        soundfile.write(folder / "excited sentence.flac", signal[5 * rate : 11 * rate], rate)
        server = Server(port=0, data_dirs=[folder], work_dir=folder / "work")
        with server.running() as url, chromium(folder / "microphone.wav") as browser:
            finished = post(url, EXAMPLE, wait=True, segments=("talk.srt", TURNS.encode()))
            take(browser, f"{url}/jobs/{finished}", output / "result.webp", move_cursor)
            take(browser, f"{url}/jobs/{finished}", output / "cite.webp", open_citation, size=(1180, 800))
            take(browser, f"{url}/jobs/{finished}", output / "phone.webp", move_cursor, dark=True, size=PHONE)
            take(browser, f"{url}/live", output / "live.webp", record, dark=True, size=(1180, 760))
            take(browser, f"{url}/jobs/{finished}", output / "turns.webp", open_turns, size=(1180, 780))
            calm = post(url, folder / "calm sentence.flac", wait=True)
            excited = post(url, folder / "excited sentence.flac", wait=True)
            ids = ",".join((finished, calm, excited))
            take(browser, f"{url}/together?jobs={ids}", output / "together.webp", smooth, size=(1180, 800))
            running = post(url, folder / "interview 07.flac", wait=False)
            post(url, EXAMPLE, wait=False)
            take(browser, url, output / "jobs.webp", wait_for_progress, size=(1180, 620))
            httpx.post(f"{url}/v1/jobs/{running}/cancel", trust_env=False)
    for path in sorted(output.glob("*.webp")):
        size = path.stat().st_size
        print(f"{path.name}: {size / 1000:.0f} kB")
        if size > MAX_BYTES:
            raise SystemExit(f"{path.name} has {size} bytes; expected at most {MAX_BYTES}. Lower QUALITY.")


@contextlib.contextmanager
def chromium(microphone: Path) -> Iterator[Browser]:
    """A browser whose microphone plays a file.

    Args:
        microphone: a WAV file
    """
    flags = [
        "--no-sandbox",  # Chromium refuses its sandbox to root, as in a container
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield browser
        browser.close()


def post(url: str, recording: Path, *, wait: bool, segments: tuple[str, bytes] | None = None) -> str:
    """Post a recording to a server, as the page does.

    Args:
        wait: return when its job has ended
        segments: name and content of a file that says who speaks when

    Returns:
        the id of its job
    """
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client, recording.open("rb") as file:
        form = {"wait": "false", "speech": "true"}
        files = {"file": (recording.name, file)} | ({"segments": segments} if segments else {})
        job = client.post("/v1/predictions", files=files, data=form).json()
        while wait and client.get(f"/v1/jobs/{job['id']}").json()["state"] in ("waiting", "running"):
            time.sleep(0.1)
    return str(job["id"])


def take(
    browser: Browser,
    url: str,
    path: Path,
    prepare: Callable[[Page], None],
    *,
    dark: bool = False,
    size: tuple[int, int] = DESKTOP,
) -> None:
    """Open a page, prepare it, and write a picture of it.

    Args:
        path: of the picture, WebP
        prepare: uses the page until it shows what the picture is to show
        dark: in the dark theme
        size: width and height of the window in pixels
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale="en-GB"
    )
    context.set_default_timeout(120_000)
    context.grant_permissions(["microphone"])
    page = context.new_page()
    page.goto(url)
    prepare(page)
    page.wait_for_timeout(700)  # the page draws with the next frame of the screen
    picture = context.new_cdp_session(page).send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    path.write_bytes(base64.b64decode(picture["data"]))
    context.close()


def move_cursor(page: Page) -> None:
    """Move the cursor to the excited sentence of the example, at 7 s."""
    page.locator("#about:not([hidden])").wait_for()
    page.locator(".js-plotly-plot .trace").nth(5).wait_for(state="attached")
    for _ in range(7):
        page.keyboard.press("ArrowRight")


def open_turns(page: Page) -> None:
    """Open the table of turns, and show it with the means of the speakers."""
    move_cursor(page)
    page.locator("#turn-values > summary").click()
    page.evaluate("document.querySelector('#summary-title').scrollIntoView()")


def smooth(page: Page) -> None:
    """Smooth the curves of several recordings."""
    page.locator("#about:not([hidden])").wait_for()
    page.get_by_label("Smoothing").select_option("1 s")


def open_citation(page: Page) -> None:
    """Open the dialog that says how to cite the result."""
    page.get_by_role("button", name="Cite this result").click()
    page.get_by_role("dialog").wait_for()


def record(page: Page) -> None:
    """Record eleven seconds of speech; with few values, so that they are in time on a busy machine too."""
    page.get_by_label("One value every").select_option("250ms")
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(11_000)


def wait_for_progress(page: Page) -> None:
    """Wait until a fifth of the running job is done; another job waits for it."""
    bar = page.locator("tbody progress:visible")
    while bar.evaluate("bar => bar.value") < 0.2:
        page.wait_for_timeout(200)


if __name__ == "__main__":
    main()
