"""Several results on one page, in a real Chromium: chosen in the list of jobs, their curves, means and files."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from browsers import CHROMIUM, CONTRAST, REFUSED, Visitor, api, asked, expect, posted, row, saved, unnamed, until, view
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.run import Server

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
    pytest.mark.slow,
]

NAMES = ("calm.wav", "excited.wav")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOW2V_HOME", str(tmp_path_factory.mktemp("home")))
        with Server(port=0, work_dir=tmp_path_factory.mktemp("work"), threads=1).running() as address:
            yield address


@pytest.fixture(scope="module")
def jobs(url: str, speech: Path) -> list[str]:
    """Two recordings: three seconds from the beginning of the example, and two of its excited sentence."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    calm = io.BytesIO()
    soundfile.write(calm, signal[: 3 * rate], rate, format="WAV")
    sounds = (calm.getvalue(), speech.read_bytes())
    return [posted(url, name, sound, wait=True, speech="true") for name, sound in zip(NAMES, sounds, strict=True)]


def spoken(page: "api.Page", job: str) -> np.ndarray:
    """The rows of a job with speech."""
    rows = np.array(asked(page, f"/v1/jobs/{job}/rows")["rows"], float)
    return rows[rows[:, 6] >= 0.5]


def curves(page: "api.Page") -> dict[tuple[str, str], tuple[list[float], list[float], bool]]:
    """What is drawn, by recording and dimension: x, y, and whether it is visible."""
    script = """() => (document.querySelector('#time .js-plotly-plot')?.data ?? []).map(
        (one) => [one.name, one.meta, Array.from(one.x), Array.from(one.y), one.visible])"""
    return {(name, dimension): (x, y, shown) for name, dimension, x, y, shown in page.evaluate(script)}


def loaded(page: "api.Page", jobs: list[str]) -> None:
    page.goto(f"/together?jobs={','.join(jobs)}")
    expect(page.locator("#about")).to_be_visible()
    until(page, lambda: len(curves(page)) == 6, "three curves of each recording")


def test_results_are_chosen_shown_and_saved_together(visit: Callable[..., Visitor], jobs: list[str]) -> None:
    page = visit().page
    page.goto("/")
    for name in NAMES:
        row(page, name).get_by_role("checkbox", name=f"Choose {name}").check()
    expect(page.locator("#chosen-count")).to_have_text("2 results chosen")
    name, packed = saved(page, page.get_by_role("link", name="Save all"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert name == "results.zip" and {"calm.csv", "excited.csv"} < set(archive.namelist())
    page.get_by_role("link", name="Show together").click()
    until(page, lambda: len(curves(page)) == 6, "three curves of each recording")
    expect(page.locator("#means tbody tr")).to_have_count(3)
    means = []
    for name, job in zip(NAMES, jobs, strict=True):
        rows = spoken(page, job)
        x, y, _ = curves(page)[name, "valence"]
        inside = np.isin(np.round(rows[:, :2].mean(axis=1), 6), np.round(x, 6))
        assert inside.all()  # gaps have further points
        np.testing.assert_array_equal([one for one in y if one is not None], rows[:, 4])
        line = page.locator("#means tbody tr").filter(has_text=name)
        scores = [
            f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(rows[:, 2:5].mean(0), rows[:, 2:5].std(0, ddof=1), strict=True)
        ]
        expect(line.locator("td")).to_have_text([str(len(rows)), f"0:{len(rows) * 0.04:02.0f}", *scores])
        means.append(rows[:, 2:5].mean(axis=0))
    expected = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(np.mean(means, 0), np.std(means, 0, ddof=1), strict=True)]
    expect(page.locator("#means .between td:not(.count)")).to_have_text(expected)
    name, text = saved(page, page.get_by_role("button", name="Means (CSV)"))
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    assert name == "means.csv" and [line["file"] for line in lines] == ["excited.wav", "calm.wav"]  # as in the list
    np.testing.assert_allclose([float(line["arousal"]) for line in lines], np.array(means)[::-1, 0], atol=1e-6)
    name, picture = saved(page, page.get_by_role("button", name="Picture (SVG)"))
    assert name == "together.svg" and b"excited.wav" in picture
    for link in ("CSV with provenance (zip)", "JSON (zip)", "NOVA annotations (zip)"):
        _, packed = saved(page, page.get_by_role("link", name=link))
        assert len(zipfile.ZipFile(io.BytesIO(packed)).namelist()) >= 2


def test_recordings_are_hidden_smoothed_and_zoomed(visit: Callable[..., Visitor], jobs: list[str]) -> None:
    page = visit().page
    loaded(page, jobs)
    rows = spoken(page, jobs[1])
    page.get_by_label("Smoothing").select_option("1 s")
    expect(page.locator("#remark")).to_have_text("Curves are smoothed over 1.0 s; tables and files are not.")
    y = curves(page)["excited.wav", "arousal"][1]
    smooth = [rows[max(0, k - 13) : k + 14, 2].mean() for k in range(13, len(rows) - 13)]  # 12.5 values on either side
    np.testing.assert_allclose(y[13 : len(rows) - 13], smooth, atol=1e-6)
    page.get_by_label("Smoothing").select_option("none")
    page.get_by_label("Curves show").select_option("1 mean a second")
    until(page, lambda: len(curves(page)["excited.wav", "arousal"][1]) == 2, "two seconds have two means")
    np.testing.assert_allclose(
        curves(page)["excited.wav", "arousal"][1][0], rows[rows[:, 0] < 0.99][:, 2].mean(), atol=1e-6
    )
    page.get_by_role("button", name="calm.wav").click()
    until(page, lambda: not curves(page)["calm.wav", "arousal"][2], "hidden")
    expect(page.locator("#means .between")).to_have_count(0)
    page.get_by_role("button", name="Zoom in").click()
    until(page, lambda: view(page)[1] - view(page)[0] < 2, "zoomed")
    begin, end = view(page)
    middles = rows[:, :2].mean(axis=1)
    inside = rows[(middles >= begin) & (middles <= end)]
    expect(page.locator("#means caption")).to_contain_text("the visible part")
    expect(page.locator("#means tbody tr").nth(1).locator("td").nth(2)).to_contain_text(f"{inside[:, 2].mean():.3f}")


def test_results_that_are_gone_are_named_and_the_others_are_shown(
    visit: Callable[..., Visitor], jobs: list[str]
) -> None:
    visitor = visit()
    visitor.expected = [REFUSED]
    page = visitor.page
    loaded(page, [*jobs, "never"])
    expect(page.locator("#message")).to_contain_text("No job 'never' is known")
    page.goto("/together")
    expect(page.locator("#message")).to_contain_text("No results were chosen.")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_the_page_is_accessible_and_fits(
    visit: Callable[..., Visitor], jobs: list[str], scheme: str, width: int
) -> None:
    page = visit(color_scheme=scheme, **({"is_mobile": True, "has_touch": True} if width < 1000 else {})).page
    page.set_viewport_size({"width": width, "height": 844})
    loaded(page, jobs)
    bare, roles = unnamed(page)
    assert bare == [] and roles.count("main") == 1
    count, weak = page.evaluate(CONTRAST)
    assert count > 20 and weak == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#means").evaluate("one => one.parentElement.scrollWidth <= one.parentElement.clientWidth")
    first = page.locator("#means tbody th").first
    line = first.evaluate("one => one.querySelector('a').getClientRects().length")
    assert line == 1  # names are not broken within a word
