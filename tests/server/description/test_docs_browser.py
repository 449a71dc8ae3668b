"""The page for programmers in Chromium: at the root and below a path, light and dark, wide and narrow, by keyboard."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from emow2v.server.description.operations import OPERATIONS
from emow2v.server.run import Server

if TYPE_CHECKING:
    from browsers import Visitor, api

pytestmark = pytest.mark.slow

PREFIX = "/emow2v"


@pytest.fixture(scope="module")
def url(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOW2V_HOME", str(tmp_path_factory.mktemp("home")))
        served = Server(port=0, work_dir=work, data_dirs=[speech.parent], threads=1, root_path=PREFIX)
        with served.running() as address:
            yield address + PREFIX


def opened(page: "api.Page", url: str, place: str = "") -> None:
    page.goto(f"{url}/v1/docs{place}")
    page.wait_for_selector(".operation")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_operation_is_drawn(
    visit: Callable[..., "Visitor"], url: str, theme: str, width: int, tmp_path: Path
) -> None:
    from browsers import CONTRAST, unnamed

    page = visit(color_scheme=theme).page
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, url)
    assert {*page.evaluate("[...document.querySelectorAll('.operation')].map((one) => one.id)")} == {
        row.id for row in OPERATIONS.values()
    }
    page.click("#open")
    assert page.locator("details[open]").count() == len(OPERATIONS)
    text = page.inner_text("main")
    for expected in (
        "This server requires no token.",
        "Fields of the body",
        "WWW-Authenticate",
        "Retry-After",
        "frame_step",
    ):
        assert expected in text
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # tables scroll by themselves
    captions = page.evaluate("[...document.querySelectorAll('caption')].map((one) => one.clientHeight)")
    assert 0 < max(captions) < 80  # a line or two
    seen, weak = page.evaluate(CONTRAST)
    assert seen > 500 and weak == []
    bare, roles = unnamed(page)
    assert bare == [] and roles.count("table") > 30
    assert "undefined" not in text and "[object" not in text and "NaN" not in text


def test_it_is_found_from_the_other_pages(visit: Callable[..., "Visitor"], url: str) -> None:
    page = visit().page
    for place in ("/", "/live", "/together"):
        page.goto(f"{url}{place}")
        page.click("footer >> text=For programs")
        page.wait_for_selector(".operation")
        assert page.url == f"{url}/v1/docs"
    page.goto(f"{url}/v1/docs")
    page.click("nav >> text=Jobs")
    page.wait_for_selector("#drop")


def test_by_keyboard_and_by_address(visit: Callable[..., "Visitor"], url: str) -> None:
    page = visit().page
    opened(page, url, "#erase_job")
    assert page.evaluate("document.activeElement.parentElement.id") == "erase_job"
    assert page.locator("#erase_job").get_attribute("open") is not None
    page.keyboard.press("Enter")
    assert page.locator("#erase_job").get_attribute("open") is None
    page.focus("#filter")
    page.keyboard.type("embeddings npz")
    shown = page.evaluate(
        "[...document.querySelectorAll('.operation')].filter((one) => one.checkVisibility()).map((one) => one.id)"
    )
    assert "predict" in shown and "cancel_job" not in shown and len(shown) < len(OPERATIONS)
    assert page.inner_text("#found") == f"{len(shown)} operation{'s' if len(shown) > 1 else ''} found"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_its_examples_work(visit: Callable[..., "Visitor"], url: str, speech: Path, tmp_path: Path) -> None:
    """Commands of the page are run by curl, as a reader pastes them."""
    page = visit().page
    opened(page, url)
    (tmp_path / "talk.wav").write_bytes(speech.read_bytes())

    def run(operation: str, job: str = "") -> str:
        page.evaluate("(id) => { document.getElementById(id).open = true; }", operation)
        command = shlex.split(page.locator(f"#{operation} > pre").inner_text().replace("ID", job))
        assert command[0] == "curl" and any(word.startswith(f"{url}/v1/") for word in command)
        arguments = ["curl", "-sS", "--fail-with-body", "--noproxy", "*", *command[1:]]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    assert re.search("arousal", run("predict"))
    (job,) = json.loads(run("list_jobs"))
    of_many = ("/files", "/failures", "/zip")  # of jobs of many recordings
    own = [(row.id, key) for key, row in OPERATIONS.items() if key.startswith("GET /jobs/{job_id}")]
    for operation, row in (one for one in own if not one[1].endswith(of_many)):
        assert run(operation, job["id"]) or "-OJ" in page.locator(f"#{operation} > pre").inner_text(), row
    for operation in ("list_models", "get_disk", "list_files"):
        assert json.loads(run(operation))
    run("erase_job", job["id"])
    assert httpx.get(f"{url}/v1/jobs", trust_env=False, timeout=120).json() == []
