"""Makes the pictures of docs/pages.md: python scripts/make_screenshots.py

Starts a server on the speech example of the package, and looks at its pages in Chromium. Needs a chromium on the path
and the package playwright (both are there where the tests run).
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
QUALITY = 84  # of WebP
LONG_S = 1200  # of a recording that is still running when the list is looked at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signal, rate = soundfile.read(EXAMPLE, dtype="float32")
        soundfile.write(folder / "microphone.wav", signal, rate)
        soundfile.write(folder / "interview 07.flac", np.resize(signal, LONG_S * rate), rate)
        server = Server(port=0, data_dirs=[folder], work_dir=folder / "work")
        with server.running() as url, chromium(folder / "microphone.wav") as browser:
            done = post(url, EXAMPLE, wait=True)
            look(browser, f"{url}/jobs/{done}", output / "result.webp", result)
            look(browser, f"{url}/jobs/{done}", output / "phone.webp", result, dark=True, size=(390, 844))
            look(browser, f"{url}/live", output / "live.webp", live, dark=True, size=(1180, 760))
            running = post(url, folder / "interview 07.flac", wait=False)
            post(url, EXAMPLE, wait=False)
            look(browser, url, output / "jobs.webp", jobs, size=(1180, 620))
            httpx.post(f"{url}/v1/jobs/{running}/cancel", trust_env=False)
    for path in sorted(output.glob("*.webp")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


@contextlib.contextmanager
def chromium(microphone: Path) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        flags.append(f"--use-file-for-fake-audio-capture={microphone}")
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


def post(url: str, recording: Path, *, wait: bool) -> str:
    """Post a recording; gives its job's id."""
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client, recording.open("rb") as file:
        form = {"wait": "false"}
        job = client.post("/v1/predictions", files={"file": (recording.name, file)}, data=form).json()
        while wait and client.get(f"/v1/jobs/{job['id']}").json()["state"] in ("waiting", "running"):
            time.sleep(0.1)
    return str(job["id"])


def look(
    browser: Browser,
    url: str,
    path: Path,
    prepare: Callable[[Page], None],
    *,
    dark: bool = False,
    size: tuple[int, int] = (1180, 1010),
) -> None:
    """Open a page, do something there, and keep a picture of it."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale="en-GB"
    )
    context.set_default_timeout(120_000)
    context.grant_permissions(["microphone"])
    page = context.new_page()
    page.goto(url)
    prepare(page)
    page.wait_for_timeout(700)  # what was asked for is drawn with the next picture
    picture = context.new_cdp_session(page).send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    path.write_bytes(base64.b64decode(picture["data"]))
    context.close()


def result(page: Page) -> None:
    """In the middle of the excited sentence."""
    page.locator("#about:not([hidden])").wait_for()
    page.locator(".js-plotly-plot .trace").nth(4).wait_for(state="attached")
    for _ in range(7):
        page.keyboard.press("ArrowRight")


def live(page: Page) -> None:
    """After some seconds of speech."""
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(11_000)


def jobs(page: Page) -> None:
    """While one job runs, and another waits for it."""
    page.locator("tbody tr").first.wait_for()
    page.wait_for_timeout(6_000)


if __name__ == "__main__":
    main()
