"""The page sends a large file in pieces, through a line that is cut, and goes on when the file is dropped again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile

from cut_lines import cutting
from waiting import until

if TYPE_CHECKING:
    from browsers import api

pytestmark = pytest.mark.slow

RATE = 48_000
CUT = "Failed to load resource"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 MB."""
    path = tmp_path_factory.mktemp("sound") / "Gespräch.wav"
    noise = np.random.default_rng(0).normal(0, 0.05, (52 * RATE, 2))
    soundfile.write(path, noise, RATE, subtype="PCM_16")
    return path


def test_a_large_file_goes_on_where_the_line_was_cut(
    browser: "api.Browser", url: str, work: Path, recording: Path
) -> None:
    from browsers import Visitor, expect, row

    after = [3_000_000, 2_000_000, 4_000_000]
    with cutting(url, after) as line:
        visitor = Visitor(browser, line)
        visitor.expected = [CUT]
        page = visitor.page
        page.goto("/")
        page.get_by_text("Settings: model").click()
        page.get_by_label("Result").select_option("files")
        page.locator("#files").set_input_files(recording)
        expect(row(page, "Gespräch.wav")).to_contain_text("finished")
        visitor.leave()
    assert after == []
    assert [one.read_bytes() for one in (work / "uploads").iterdir()] == [recording.read_bytes()]


def test_a_file_that_is_dropped_again_is_not_sent_again(
    browser: "api.Browser", url: str, work: Path, recording: Path
) -> None:
    from browsers import Visitor, expect, row

    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for job in client.get("/v1/jobs").json():
            assert client.delete(f"/v1/jobs/{job['id']}").status_code == 200
    after = [5_000_000, *[1] * 500]  # and no later connection works
    with cutting(url, after) as line:
        visitor = Visitor(browser, line)
        visitor.expected = [CUT]
        page = visitor.page
        page.goto("/")
        page.locator("#files").set_input_files(recording)
        expect(page.locator("#uploads")).to_contain_text("the connection was cut")
        page.goto("about:blank")  # closed in the middle
        visitor.leave()
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:

        def cut() -> dict[str, Any]:  # what came before the cut is written a moment later
            (begun,) = client.get("/v1/uploads").json()
            return begun if begun["offset"] >= 4 << 20 and not begun["receiving"] else {}

        begun = until(cut)
        assert begun["state"] == "unfinished"
    visitor = Visitor(browser, url)
    sent: list[int] = []
    visitor.page.on("request", lambda one: one.method == "PATCH" and sent.append(int(one.headers["upload-offset"])))
    visitor.page.goto("/")
    visitor.page.get_by_text("Settings: model").click()
    visitor.page.get_by_label("Result").select_option("files")
    visitor.page.locator("#files").set_input_files(recording)
    expect(row(visitor.page, "Gespräch.wav")).to_contain_text("finished")
    assert min(sent) >= begun["offset"]
    assert [one.name for one in (work / "uploads").iterdir()] == [begun["id"]]
    visitor.leave()


def test_an_upload_that_is_stopped_is_removed(browser: "api.Browser", url: str, recording: Path) -> None:
    from browsers import Visitor, expect

    visitor = Visitor(browser, url)
    page = visitor.page
    page.goto("/")
    held: list[object] = []
    page.route(
        "**/v1/uploads/*", lambda route: held.append(route) if route.request.method == "PATCH" else route.continue_()
    )
    other = recording.with_name("other.wav")
    other.write_bytes(recording.read_bytes())
    page.locator("#files").set_input_files(other)
    expect(page.locator("#uploads li")).to_contain_text("other.wav")
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as removed:
        page.get_by_role("button", name="Stop the upload of other.wav").click()
    assert removed.value.status == 204
    expect(page.locator("#uploads")).to_contain_text("The upload was stopped.")
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        assert all(one["name"] != "other.wav" for one in client.get("/v1/uploads").json())
    visitor.leave()
