"""The page of a job of many recordings in a real Chromium, and how such a job is posted from the list of files."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from browsers import CHROMIUM, CONTRAST, Visitor, api, drawn, expect, row, saved, unnamed

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
    pytest.mark.slow,
]
HOSTILE = "<img src=x onerror=alert(1)>.wav"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "study" / "below").mkdir(parents=True)
    for number in range(60):
        shutil.copyfile(speech, folder / "study" / f"{number:02}.wav")
    shutil.copyfile(speech, folder / "study" / "below" / HOSTILE)
    (folder / "study" / "broken.wav").write_bytes(b"no sound" * 50)
    return folder


def test_a_folder_is_posted_followed_and_saved(visit: Callable[..., Visitor]) -> None:
    page = visit().page
    page.goto("/")
    page.get_by_text("Recordings of the data folder").click()
    page.get_by_label("Open the folder study").click()
    page.get_by_text("Settings: model").click()
    page.get_by_label("Result").select_option("files")
    held: list[api.Route] = []
    page.route("**/v1/jobs?*", lambda route: held.append(route))  # its end would take the sentence's place
    page.get_by_role("button", name="Compute all of study as one job").click()
    expect(page.get_by_text("62 recordings wait to be computed as one job.")).to_be_visible()
    for route in held:
        route.continue_()
    page.unroute("**/v1/jobs?*")
    line = row(page, "study/: 62 recordings")
    expect(line).to_contain_text("61 of 62 recordings done, 1 failed")
    assert saved(page, line.get_by_role("link", name="CSV"))[0] == "results.csv"
    expect(line.get_by_role("checkbox")).to_be_hidden()
    line.get_by_role("link", name="study/: 62 recordings", exact=True).click()
    expect(page.locator("#state")).to_have_text("finished")
    expect(page.locator("#counts")).to_contain_text("61 of 62 recordings done, 1 failed, 61 values")
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.locator("#page")).to_have_text("1 to 50 of 62")
    page.get_by_role("button", name="Later").click()
    expect(page.locator("#page")).to_have_text("51 to 62 of 62")
    page.get_by_label("Show", exact=True).select_option("failed")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(row(page, "study/broken.wav")).to_contain_text("failed")
    expect(row(page, "study/broken.wav").locator(".sentence")).not_to_be_empty()
    name, content = saved(page, page.get_by_role("link", name="Failures"))
    assert name == "failures.csv" and content.startswith(b"file,error\nstudy/broken.wav,")
    name, table = saved(page, page.get_by_role("link", name="One table"))
    assert len([*csv.DictReader(io.StringIO(table.decode()))]) == 61
    name, packed = saved(page, page.get_by_role("link", name="A file for each"))
    with zipfile.ZipFile(io.BytesIO(packed)) as files:
        assert {"00.csv", "00.csv-metadata.json", "failures.csv"} < {*files.namelist()}
    assert len(json.loads(saved(page, page.get_by_role("link", name="JSON", exact=True))[1])["rows"]) == 61
    assert unnamed(page)[0] == []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert page.evaluate(CONTRAST)[1] == []


def test_a_recording_of_the_job_has_a_page(visit: Callable[..., Visitor]) -> None:
    page = visit().page
    page.goto("/")
    job = page.request.post("/v1/batches", form={"folder": "study/below", "frame_step": "100ms"}).json()
    page.goto(f"/jobs/{job['id']}")
    page.get_by_role("link", name=f"study/below/{HOSTILE}").click()
    drawn(page)
    expect(page.locator("h1")).to_have_text(f"study/below/{HOSTILE}")
    expect(page.locator("#summary")).to_contain_text("valence")
    expect(page.locator("#sessions")).to_be_hidden()


def test_a_job_is_cancelled_from_its_page(visit: Callable[..., Visitor]) -> None:
    page = visit().page
    page.goto("/")
    job = page.request.post("/v1/batches", form={"folder": "study", "frame_step": "20ms", "left_context": "4s"}).json()
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator("#state")).to_have_text("running")
    expect(page.locator("#counts")).to_contain_text("of 62 recordings done")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    expect(page.locator("#about")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 900])
def test_the_page_fits_telephones_and_small_windows(visit: Callable[..., Visitor], width: int) -> None:
    page: api.Page = visit().page
    page.set_viewport_size({"width": width, "height": 700})
    page.goto("/")
    job = page.request.post("/v1/batches", form={"folder": "study", "unit": "files"}).json()
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_role("link", name="A file for each")).to_be_visible()
    page.get_by_label("Show", exact=True).select_option("failed")
    expect(row(page, "study/broken.wav").locator(".sentence")).not_to_be_empty()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
