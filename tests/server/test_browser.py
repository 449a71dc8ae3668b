"""The pages in a real Chromium on a real server: what they show, play and save, and how they are used."""

import csv
import io
import json
import re
import shutil
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import soundfile

from browsers import (
    CHROMIUM,
    CONTRAST,
    REFUSED,
    Visitor,
    api,
    asked,
    drawn,
    drop,
    expect,
    opened,
    plot,
    posted,
    row,
    saved,
    unnamed,
    until,
    view,
)
from emow2v import cards, citation, formats
from emow2v.cli import demo
from emow2v.model import Model
from emow2v.server.routes import pages
from emow2v.server.run import Server

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
    pytest.mark.slow,
]

RATE = 16000
DIMENSIONS = ("arousal", "dominance", "valence")
HOSTILE = '<img src=x onerror="document.title=1">&amp;.wav'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Path:
    folder = tmp_path_factory.mktemp("data")
    signal, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(folder / "long.flac", np.resize(signal, 900 * RATE), RATE)
    shutil.copyfile(speech, folder / "session.wav")
    return folder


@pytest.fixture(scope="module")
def finished_job(url: str, speech: Path) -> str:
    """The id of a prediction that has finished."""
    return posted(url, "a talk.wav", speech.read_bytes(), wait=True)


def test_a_dropped_file_becomes_the_curves_that_v1_has(page: "api.Page", speech: Path) -> None:
    page.goto("/")
    drop(page, "dropped.wav", speech.read_bytes())
    line = row(page, "dropped.wav")
    expect(line).to_contain_text("finished")
    expect(page.locator("#uploads li")).to_have_count(0)
    line.get_by_role("link", name="View").click()
    expect(page.get_by_role("heading", name="dropped.wav")).to_be_visible()
    drawn(page)
    job = page.url.rpartition("/")[2]
    answer = asked(page, f"/v1/jobs/{job}/rows")
    rows = np.array(answer["rows"], float)
    assert answer["complete"] and rows.shape == (50, 7)  # two seconds, a value every 40 ms, with speech
    spoken = rows[rows[:, 6] >= 0.5]
    assert len(spoken) > 40 and np.isfinite(spoken).all()
    for column, name in enumerate((*DIMENSIONS, "confidence", "speech"), 2):
        x, y = plot(page)[name]
        shown = spoken if name in DIMENSIONS else rows  # silence has no scores
        np.testing.assert_allclose(x, shown[:, :2].mean(axis=1))
        np.testing.assert_array_equal(y, shown[:, column])
    signal, _ = soundfile.read(speech)
    _, sound = plot(page)["sound"]
    np.testing.assert_allclose([sound.min(), sound.max()], [signal.min(), signal.max()], atol=1e-4)
    assert view(page) == (0, 2)
    for column, name in enumerate(DIMENSIONS, 2):
        cells = page.locator("#summary tr").filter(has_text=name).locator("td").all_text_contents()
        values = spoken[:, column]
        expected = [values.min(), values.mean(), values.std(ddof=1), values.max()]
        assert cells == [f"{value:.3f}" for value in expected]


def test_playing_moves_the_cursor_and_the_values(page: "api.Page", finished_job: str) -> None:
    opened(page, finished_job)
    cursor, audio = page.get_by_role("slider", name="Cursor"), page.locator("#audio")
    rows = np.array(asked(page, f"/v1/jobs/{finished_job}/rows")["rows"])

    def at() -> float:
        return float(cursor.get_attribute("style").partition("translateX(")[2].partition("px")[0])  # type: ignore[union-attr]

    page.keyboard.press("ArrowRight")
    assert audio.evaluate("element => element.currentTime") == pytest.approx(1)
    assert cursor.get_attribute("aria-valuetext").startswith("0:01.00, arousal ")  # type: ignore[union-attr]
    row_values = rows[np.searchsorted(rows[:, 1], 1, side="right")]
    assert page.locator("#cursor-values b").all_text_contents() == [f"{value:.2f}" for value in row_values[2:]]
    box = page.locator("#time").bounding_box()
    assert box
    quarter = box["x"] + 46 + 0.25 * (box["width"] - 54)  # of the axis between its margins
    page.mouse.click(quarter, box["y"] + 200)
    assert audio.evaluate("element => element.currentTime") == pytest.approx(0.5, abs=0.01)
    before = at()
    audio.evaluate("element => { element.loop = true; }")  # it plays until the key, however late that comes
    page.keyboard.press(" ")
    until(page, lambda: at() > before + 20, "the cursor moves")
    page.keyboard.press(" ")
    assert audio.evaluate("element => element.paused")
    audio.evaluate("element => { element.loop = false; }")
    page.keyboard.press("End")
    assert audio.evaluate("element => element.currentTime") == pytest.approx(2, abs=0.01)
    page.keyboard.press(",")
    assert cursor.get_attribute("aria-valuetext").startswith("0:01.92, ")  # type: ignore[union-attr]


def test_zoom_by_mouse_and_keys(page: "api.Page", finished_job: str) -> None:
    opened(page, finished_job)
    box = page.locator("#time").bounding_box()
    assert box
    middle = box["y"] + 200

    def x(part: float) -> float:
        return box["x"] + 46 + part * (box["width"] - 54)

    page.mouse.move(x(0.25), middle)
    page.mouse.down()
    page.mouse.move(x(0.5), middle, steps=4)
    page.mouse.move(x(0.75), middle, steps=4)
    page.mouse.up()
    until(page, lambda: view(page) != (0, 2), "dragging zooms")
    np.testing.assert_allclose(view(page), (0.5, 1.5), atol=0.02)
    expect(page.locator("#summary caption")).to_contain_text("from 0:00.50 to 0:01.50, the visible part")
    rows = np.array(asked(page, f"/v1/jobs/{finished_job}/rows")["rows"])
    inside = rows[(rows[:, :2].mean(axis=1) > view(page)[0]) & (rows[:, :2].mean(axis=1) < view(page)[1])]
    cells = page.locator("#summary tr").filter(has_text="arousal").locator("td").all_text_contents()
    assert cells[1] == f"{inside[:, 2].mean():.3f}"
    page.locator("#pan").fill("1")
    until(page, lambda: abs(view(page)[1] - 2) < 1e-6, "the part that is shown moves")
    page.mouse.move(x(0.5), middle)
    page.mouse.wheel(0, 200)
    page.keyboard.press("0")
    until(page, lambda: view(page) == (0, 2), "0 shows all")
    page.keyboard.press("+")
    until(page, lambda: view(page) == (0, 1), "plus zooms around the cursor")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    until(page, lambda: view(page)[1] - view(page)[0] < 0.9, "the wheel zooms")

    def all_shown() -> bool:  # clicks that a busy machine draws apart are no double click
        if view(page) != (0, 2):
            page.mouse.dblclick(x(0.5), middle)
        return view(page) == (0, 2)

    until(page, all_shown, "a double click shows all")
    valence = page.get_by_role("button", name="valence")
    valence.click()
    expect(valence).to_have_attribute("aria-pressed", "false")
    until(page, lambda: page.evaluate("document.querySelector('.js-plotly-plot').data[2].visible") is False, "hidden")


def test_the_table_goes_with_the_cursor(page: "api.Page", url: str, speech: Path) -> None:
    opened(page, posted(url, "fine.wav", speech.read_bytes(), wait=True, frame_step="20ms"))
    page.locator("#values > summary").click()
    expect(page.locator("#page")).to_have_text("1 to 50 of 100")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(".")
    now = page.locator("#rows tr[aria-current]")
    expect(now.locator("td").first).to_have_text("0:01.02")
    expect(page.locator("#page")).to_have_text("51 to 100 of 100")
    page.get_by_role("button", name="Earlier").click()
    page.get_by_role("button", name="Go to 0:00.40").click()
    assert page.locator("#audio").evaluate("element => element.currentTime") == pytest.approx(0.4)
    expect(now.locator("td").first).to_have_text("0:00.40")


def test_exports(page: "api.Page", finished_job: str, predict_metadata: dict) -> None:
    opened(page, finished_job)
    answer = asked(page, f"/v1/jobs/{finished_job}/rows")
    rows = np.array(answer["rows"])
    expect(page.locator("#exports").get_by_role("link", name="Embeddings")).to_have_count(0)  # they were not kept
    name, text = saved(page, page.get_by_role("link", name="CSV", exact=True))
    table = list(csv.DictReader(io.StringIO(text.decode())))
    assert name == "a talk.csv" and {line["file"] for line in table} == {"a talk.wav"}
    np.testing.assert_allclose([[float(line[key]) for key in answer["columns"]] for line in table], rows, atol=1e-6)
    name, packed = saved(page, page.get_by_role("link", name="CSV with provenance (zip)"))
    assert name == "a talk.csv.zip"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.read("a talk.csv") == text
        described = json.loads(archive.read("a talk.csv-metadata.json"))
    provenance = asked(page, f"/v1/jobs/{finished_job}")["provenance"]
    assert provenance.items() <= described["emow2v:provenance"].items() and provenance["model"] == "lite"
    assert described["url"] == "a%20talk.csv" and described["tableSchema"] == predict_metadata["tableSchema"]
    name, text = saved(page, page.get_by_role("link", name="JSON", exact=True))
    assert name == "a talk.json"
    np.testing.assert_allclose(json.loads(text)["rows"], rows, atol=1e-6)
    name, text = saved(page, page.get_by_role("link", name="NDJSON", exact=True))
    assert name == "a talk.ndjson" and len(text.splitlines()) == len(rows) + 1
    name, packed = saved(page, page.get_by_role("link", name="NOVA annotations (zip)"))
    assert name == "a talk.annotation.zip"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for column, dimension in enumerate(DIMENSIONS, 2):
            described = ElementTree.fromstring(archive.read(f"a talk.{dimension}.annotation"))
            assert described.find("info").get("size") == str(len(rows))  # type: ignore[union-attr]
            lines = archive.read(f"a talk.{dimension}.annotation~").decode().split()
            scores = [float(line.split(";")[0]) for line in lines]
            np.testing.assert_allclose(scores, rows[:, column].clip(0, 1), atol=1e-6)
    name, picture = saved(page, page.get_by_role("button", name="Picture (SVG)"))
    assert name == "a talk.svg"
    svg = ElementTree.fromstring(picture)
    assert svg.tag.endswith("svg") and "a talk.wav" in "".join(svg.itertext())
    assert b"<script" not in picture


def test_watching_a_job_that_runs_and_cancelling_it(page: "api.Page", url: str, data: Path) -> None:
    # long windows: it takes minutes until so many values are there that the page draws their means
    job = posted(url, "long.flac", (data / "long.flac").read_bytes(), wait=False, left_context="9s")
    page.goto(f"/jobs/{job}")
    until(page, lambda: plot(page).get("arousal", ([], []))[0].size >= 50, "curves grow")
    first = plot(page)["arousal"][0].size
    until(page, lambda: plot(page)["arousal"][0].size > first, "and go on growing")
    arousal = plot(page)["arousal"][1]
    rows = np.array(asked(page, f"/v1/jobs/{job}/rows")["rows"])
    np.testing.assert_array_equal(arousal, rows[: len(arousal), 2])
    expect(page.locator("#progress-text")).to_have_text(re.compile(r"^\d+ of 22500 values"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    expect(page.locator("#message")).to_contain_text("The job was cancelled")
    assert asked(page, f"/v1/jobs/{job}")["state"] == "canceled"


def test_cancel_log_and_erase_in_the_list(page: "api.Page", url: str, data: Path) -> None:
    job = posted(url, "later.flac", (data / "long.flac").read_bytes(), wait=False)
    page.goto("/")
    line = row(page, "later.flac")
    line.get_by_role("button", name="Cancel: later.flac").click()
    expect(line).to_contain_text("cancelled")
    expect(page.locator("#message")).to_have_text("later.flac was cancelled.")
    line.get_by_role("button", name="Log").click()
    log = page.get_by_role("dialog", name=re.compile("Log of later.flac"))
    expect(log).to_contain_text("cancel")
    page.keyboard.press("Escape")
    expect(log).to_be_hidden()
    line.get_by_role("button", name="Erase").click()
    page.get_by_role("button", name="Keep").click()
    assert asked(page, f"/v1/jobs/{job}")["state"] == "canceled"
    line.get_by_role("button", name="Erase").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase").click()
    expect(line).to_have_count(0)
    assert page.request.get(f"/v1/jobs/{job}").status == 404


def test_jobs_of_nova_appear_and_can_be_looked_at(page: "api.Page", url: str, data: Path) -> None:
    page.goto("/")
    form = {**demo.request(data, data / "session.wav"), "jobID": "nova 1"}
    with urllib.request.urlopen(f"{url}/process", urllib.parse.urlencode(form).encode()) as answer:
        assert json.load(answer)["success"] == "True"
    line = row(page, "nova 1")
    expect(line).to_contain_text("DISCOVER")
    expect(line).to_contain_text("finished")
    line.get_by_role("link", name="nova 1", exact=True).click()
    drawn(page)
    page.get_by_role("button", name="Cite this result").click()
    expect(page.get_by_role("dialog").get_by_role("textbox").first).to_contain_text("Arousal, dominance and valence")
    page.get_by_role("button", name="Close").click()
    described = ElementTree.parse(data / "session.arousal.annotation")
    assert described.find("info").get("size") == "50"  # type: ignore[union-attr]
    lines = (data / "session.arousal.annotation~").read_text().split()
    np.testing.assert_allclose(plot(page)["arousal"][1], [float(line.split(";")[0]) for line in lines], atol=1e-6)


@pytest.fixture
def predict_metadata(lite: Model, speech: Path, tmp_path: Path) -> dict:
    """The description that the command line writes beside a table."""
    formats.write(lite.predict(speech), tmp_path / "speech.csv")
    return json.loads((tmp_path / "speech.csv-metadata.json").read_text(encoding="utf-8"))


def test_live_values_grow_and_are_those_of_the_file(
    page: "api.Page", lite: Model, speech: Path, tmp_path: Path
) -> None:
    formats.write(lite.predict(speech, speech=True), tmp_path / "speech.csv")
    predict_metadata = json.loads((tmp_path / "speech.csv-metadata.json").read_text(encoding="utf-8"))
    page.context.grant_permissions(["microphone"])
    page.goto("/live")
    page.get_by_role("button", name="Record").click()
    until(page, lambda: plot(page)["arousal"][0].size >= 25, "a second of values")
    until(page, lambda: page.locator("#level").evaluate("meter => meter.value") > 0.05, "the level of the speech")
    expect(page.locator("#live-values .speech b")).to_have_text(re.compile(r"^(0\.\d\d|1\.00|no speech)$"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#message")).to_contain_text("recorded")
    name, packed = saved(page, page.get_by_role("button", name="Save the values (CSV, zip)"))
    assert re.fullmatch(r"live-[\d-]+\.csv\.zip", name)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [name[:-4], f"{name[:-4]}-metadata.json"]
        text, described = (archive.read(name) for name in archive.namelist())
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    made = json.loads(described)
    assert made["emow2v:provenance"]["model"] == "lite" and made["url"] == name[:-4]
    assert [column["name"] for column in made["tableSchema"]["columns"]] == list(lines[0])
    assert made["@context"] == predict_metadata["@context"]
    assert made["tableSchema"] == predict_metadata["tableSchema"]
    columns = ("start", "end", *DIMENSIONS, "confidence", "speech")
    live = np.array([[float(line[key].replace("null", "nan")) for key in columns] for line in lines])
    assert len(live) >= 25 and np.nanmax(live[:, 2]) - np.nanmin(live[:, 2]) > 0.01
    np.testing.assert_array_equal(np.isnan(live[:, 2]), live[:, 6] < 0.5)  # silence has no scores
    name, sound = saved(page, page.get_by_role("button", name="Save the sound (WAV)"))
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert name.endswith(".wav") and np.abs(samples).max() > 0.05
    assert len(live) == int(len(samples) / rate / 0.04 + 1e-9)  # a value every 40 ms
    page.get_by_role("button", name="Store the recording").click()
    page.wait_for_url("**/jobs/*")
    drawn(page)
    rows = np.array(asked(page, f"/v1/jobs/{page.url.rpartition('/')[2]}/rows")["rows"], float)
    np.testing.assert_allclose(live, rows, atol=1e-5)


def test_a_broken_stream_is_announced_and_the_sound_can_be_saved(page: "api.Page") -> None:
    page.context.grant_permissions(["microphone"])

    def break_off(socket: "api.WebSocketRoute") -> None:
        server = socket.connect_to_server()
        count = 0

        def forward(message: str | bytes) -> None:
            nonlocal count
            count += 1
            if count > 10:
                socket.send(json.dumps({"error": "Others need the time; try again later."}))
                socket.close(code=1013)
            else:
                socket.send(message)

        server.on_message(forward)

    page.route_web_socket("**/v1/stream*", break_off)
    page.goto("/live")
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#message")).to_have_text("Others need the time; try again later.")
    expect(page.get_by_role("button", name="Record again")).to_be_enabled()
    expect(page.get_by_role("button", name="Save the sound (WAV)")).to_be_visible()


def test_nothing_but_a_keyboard(page: "api.Page", speech: Path) -> None:
    choosers: list[api.FileChooser] = []
    # Registered before any key: Playwright asks Chromium to report choosers, and a key pressed at once could be earlier
    # than that. The space bar opens the chooser on release, which was late enough; Enter opens it on the press.
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.goto("/")
    expect(page.locator("#model option")).not_to_have_count(0)

    def to(name: str, role: str) -> None:
        """Press Tab until the control has the focus."""
        control = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        for _ in range(60):
            if control.count() == 1 and control.evaluate("element => element === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"Tab never comes to {name}")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the list of jobs")).to_be_focused()
    page.keyboard.press("Tab")
    for _ in range(10):
        if page.evaluate("document.activeElement.id") == "files":
            break
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    for number, key in enumerate(("Enter", "Space"), 1):
        page.keyboard.press(key)
        until(page, lambda number=number: len(choosers) == number, f"a chooser by {key}")  # type: ignore[misc]
    choosers[-1].set_files({"name": "keys.wav", "mimeType": "audio/wav", "buffer": speech.read_bytes()})
    expect(row(page, "keys.wav")).to_contain_text("finished")
    to("View: keys.wav", "link")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    drawn(page)
    page.keyboard.press("End")
    until(page, lambda: page.locator("#audio").evaluate("element => element.currentTime") > 1.9, "the end")
    to("Zoom in", "button")
    page.keyboard.press("Enter")
    until(page, lambda: view(page)[1] - view(page)[0] < 1.1, "zoomed")
    page.keyboard.press("ArrowLeft")  # although a button has the focus
    until(page, lambda: page.locator("#audio").evaluate("element => element.currentTime") < 1.1, "a second back")
    to("CSV", "link")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "keys.csv"


def test_names_are_shown_as_text_also_if_they_hold_html(visit: Callable[..., Visitor], url: str, speech: Path) -> None:
    visitor = visit()
    visitor.expected = [REFUSED]  # of a file without sound
    page = visitor.page
    job = posted(url, HOSTILE, speech.read_bytes(), wait=True)
    page.goto("/")
    shown = asked(page, f"/v1/jobs/{job}")["name"]
    assert shown.startswith("<img src=x onerror=")
    expect(page.locator(f'tr[data-id="{job}"]').get_by_role("link", name=shown, exact=True)).to_have_text(shown)
    drop(page, f"<b>{HOSTILE}", b"no sound")
    expect(page.locator("#uploads")).to_contain_text(f"<b>{HOSTILE}")
    opened(page, job)
    expect(page.get_by_role("heading", level=1)).to_have_text(shown)
    _, picture = saved(page, page.get_by_role("button", name="Picture (SVG)"))
    assert shown in "".join(ElementTree.fromstring(picture).itertext())
    assert page.locator("img:not([src='../static/icon.svg'])").count() == 0 and page.title() != "1"


def test_errors_are_the_servers_sentence(visit: Callable[..., Visitor], data: Path) -> None:
    visitor = visit()
    visitor.expected = [REFUSED]
    page = visitor.page
    page.goto("/")
    drop(page, "notes.doc", b"no sound")
    expect(page.locator("#uploads")).to_contain_text("notes.doc is not a recording that can be decoded")
    expect(page.locator("#message")).to_contain_text("notes.doc")
    page.get_by_role("button", name="Remove the message about notes.doc").click()
    expect(page.locator("#uploads li")).to_have_count(0)
    page.goto("/jobs/never")
    expect(page.locator("#message")).to_have_text("No job 'never' is known; expected the id of a posted job.")
    drop(page, "a.wav", b"", target="body")
    assert page.url.endswith("/jobs/never")  # the browser did not open the file in the page's place
    page.route("**/static/plotly.min.js*", lambda route: route.fulfill(status=404, body="none"))
    page.goto("/live")
    expect(page.locator("#time")).to_contain_text("this server has no plotly.js")


def test_values_are_requested_before_plotly_js_has_come(page: "api.Page", finished_job: str) -> None:
    held: list[api.Route] = []
    page.route("**/static/plotly.min.js*", lambda route: held.append(route))  # a builtin is refused
    with page.expect_response("**/rows?*"):
        page.goto(f"/jobs/{finished_job}", wait_until="commit")
    expect(page.locator("#cursor-values b").first).not_to_have_text("–")
    until(page, lambda: bool(held), "plotly.js is asked for")
    assert "no plotly.js" not in page.locator("#time").inner_text()
    held[0].continue_()
    expect(page.locator(".js-plotly-plot")).to_be_visible()


def test_the_recording_that_was_chosen_last_is_shown(page: "api.Page", finished_job: str) -> None:
    held: list[api.Route] = []
    rows = [[0, 1, 0.1, 0.2, 0.3, 1], [1, 2, 0.1, 0.2, 0.3, 1]]
    answer = {"run": "", "first": 0, "total": 2, "complete": True, "columns": [], "rows": rows}
    first = re.compile(r"/rows\?.*session=0")
    page.route("**/sessions", lambda route: route.fulfill(json=["first", "second"]))
    page.route(first, lambda route: held.append(route))
    page.route(re.compile(r"/rows\?.*session=1"), lambda route: route.fulfill(json=answer))
    other = re.compile(r"/(audio|waveform)\?.*session=1")
    page.route(other, lambda route: route.continue_(url=route.request.url.replace("session=1", "session=0")))
    page.goto(f"/jobs/{finished_job}")
    page.locator("#session").select_option("second")
    expect(page.get_by_role("img", name=re.compile(": 2 values;"))).to_be_visible()
    for route in held:
        with page.expect_response(first) as late:
            route.continue_()
        late.value.finished()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # they were read
    expect(page.get_by_role("img", name=re.compile(": 2 values;"))).to_be_visible()
    assert "second" in page.locator("#session option:checked").inner_text()


def test_an_hour_stays_small_in_the_page(page: "api.Page", finished_job: str) -> None:
    count = 90_000
    ends = np.arange(1, count + 1) * 0.04
    values = np.random.default_rng(0).uniform(0.2, 0.8, (count, 4))
    values[70_000, 0], values[123, 2] = 0.99, 0.01
    rows = np.column_stack([ends - 0.04, ends, values]).round(6).tolist()
    answer = {"run": "", "first": 0, "total": count, "complete": True, "columns": [], "rows": rows}
    peaks = {"duration": 3600, "step": 0.18, "lowest": [-0.5] * 20_000, "highest": [0.5] * 20_000}
    page.route("**/rows?*", lambda route: route.fulfill(json=answer))
    page.route("**/waveform?*", lambda route: route.fulfill(json=peaks))
    opened(page, finished_job)
    assert view(page) == (0, 3600)
    assert all(x.size <= 4000 for x, _ in plot(page).values())
    x, y = plot(page)["arousal"]
    whole = np.arange(count // (len(x) - 1) * (len(x) - 1)).reshape(len(x) - 1, -1)  # the last stretch is shorter
    np.testing.assert_allclose(x[:-1], ends[whole].mean(axis=1) - 0.02)
    np.testing.assert_allclose(y[:-1], values[whole, 0].round(6).mean(axis=1))
    assert plot(page)["arousal from lowest to highest"][1].max() == 0.99  # extremes are never lost
    assert plot(page)["valence from lowest to highest"][1].min() == 0.01
    expect(page.locator(".legend")).to_contain_text("Each line shows means of")
    expect(page.locator("#summary caption")).to_contain_text("90000 values over 1:00:00.0")
    for _ in range(12):
        page.keyboard.press("+")
    until(page, lambda: view(page)[1] < 1, "zoomed to single values")
    _, y = plot(page)["arousal"]
    np.testing.assert_array_equal(y[: len(y) - 1], values[: len(y) - 1, 0].round(6))


def test_a_video_is_shown(page: "api.Page", url: str, speech: Path, tmp_path: Path) -> None:
    signal, _ = soundfile.read(speech, dtype="int16")
    with av.open(tmp_path / "film.webm", "w") as made:
        film = made.add_stream("libvpx", rate=10)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        sound = made.add_stream("libopus", rate=48_000)
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), "yuv420p")
            made.mux(film.encode(frame))
        made.mux(film.encode())
        audio = av.AudioFrame.from_ndarray(np.repeat(signal, 3)[None], "s16", "mono")
        audio.sample_rate = 48_000
        made.mux(sound.encode(audio))
        made.mux(sound.encode())
    opened(page, posted(url, "film.webm", (tmp_path / "film.webm").read_bytes(), wait=True))
    video = page.locator("#video")
    expect(video).to_be_visible()
    expect(page.locator("#audio")).to_be_hidden()
    assert video.evaluate("element => [element.videoWidth, element.videoHeight]") == [64, 48]
    page.keyboard.press("ArrowRight")
    assert video.evaluate("element => element.currentTime") == pytest.approx(1)


def test_the_token_is_asked_for_once(browser: "api.Browser", data: Path, tmp_path: Path) -> None:
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work", token="secret word", threads=1)
    with server.running() as url:
        visitor = Visitor(browser, url)
        visitor.expected = [REFUSED]  # the 401 of a wrong token
        page = visitor.page
        page.goto("/live")
        assert page.url == f"{url}/login?next=/live"
        page.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("The token is wrong. Enter the token of this server.")
        page.get_by_label("Access token").fill("secret word")
        page.get_by_role("button", name="Open").click()
        page.wait_for_url(f"{url}/live")
        assert page.evaluate("document.cookie") == ""  # no script reads it
        page.goto("/")
        expect(page.locator("#no-jobs")).to_be_visible()
        visitor.leave()


def test_what_becomes_of_recordings_and_how_full_the_server_is(
    browser: "api.Browser", data: Path, tmp_path: Path
) -> None:
    options = {"keep_uploads": "no", "max_disk_gb": 5.0, "threads": 1}
    server = Server(port=0, data_dirs=[data], work_dir=tmp_path / "work", **options)
    with server.running() as url:
        visitor = Visitor(browser, url)
        visitor.page.goto("/")
        told = visitor.page.locator("#disk")
        expect(told).to_contain_text("When its job has ended, a recording is removed; it cannot be heard again then.")
        expect(told).to_contain_text(
            "The server keeps 0.0 of 5 GB. When it is full, the oldest recordings are removed first"
        )
        visitor.leave()


PAGES = {"jobs": "/", "job": "/jobs/{finished_job}", "live": "/live", "login": "/login", "unknown": "/jobs/never"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(visit: Callable[..., Visitor], finished_job: str, scheme: str) -> None:
    visitor = visit(color_scheme=scheme)
    visitor.expected = [REFUSED]
    page = visitor.page
    grounds = set()
    for name, path in PAGES.items():
        page.goto(path.format(finished_job=finished_job))
        if name == "job":
            opened(page, finished_job)
        else:
            page.wait_for_load_state("networkidle")
        for summary in page.locator("details:visible > summary").all():
            summary.click()
        bare, roles = unnamed(page)
        assert bare == [], name
        assert roles.count("main") == 1 and roles.count("banner") == 1, name
        levels = page.locator("h1:visible, h2:visible").evaluate_all("all => all.map((heading) => heading.tagName)")
        assert levels.count("H1") == 1 and levels[0] == "H1", name
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
        assert len(ids) == len(set(ids)), name
        count, weak = page.evaluate(CONTRAST)
        assert count >= 4 and weak == [], name
        grounds.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert len(grounds) == 1 and (grounds == {"rgb(255, 255, 255)"}) == (scheme == "light")


def test_pages_fit_a_phone(visit: Callable[..., Visitor], finished_job: str) -> None:
    visitor = visit(is_mobile=True, has_touch=True)
    visitor.expected = [REFUSED]
    page = visitor.page
    page.set_viewport_size({"width": 320, "height": 700})
    for path in PAGES.values():
        page.goto(path.format(finished_job=finished_job))
        page.wait_for_load_state("networkidle")
        for summary in page.locator("details:visible > summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    opened(page, finished_job)
    box = page.locator("#time").bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + 46 + 0.5 * (box["width"] - 54), box["y"] + 150)
    assert page.locator("#audio").evaluate("element => element.currentTime") == pytest.approx(1, abs=0.02)


def test_the_view_follows_when_playing_begins(page: "api.Page", finished_job: str) -> None:
    """After a zoom elsewhere, the space bar and the player's own button bring the view to the cursor."""
    for play in (
        lambda: page.keyboard.press(" "),
        lambda: page.locator("#audio").evaluate("element => { element.play().catch(() => {}); }"),
    ):
        opened(page, finished_job)
        page.keyboard.press("+")
        page.keyboard.press("+")
        page.locator("#pan").fill("1")
        until(page, lambda: abs(view(page)[1] - 2) < 1e-6, "the end is shown")
        assert view(page)[0] == pytest.approx(1.5)
        page.locator("h1").click()  # the slider has keys of its own
        # it stops at once: the view would go on with the cursor before anybody looks
        page.locator("#audio").evaluate(
            "element => { element.addEventListener('play', () => element.pause(), { once: true }); }"
        )
        play()
        until(page, lambda: view(page)[0] < 0.2, "the view goes to where it plays")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_values(visit: Callable[..., Visitor], url: str, finished_job: str, speech: Path, rows: int) -> None:
    page = visit().page
    counted = {0: "0 values", 1: "1 value", 2: "2 values"}[rows]
    if rows:
        form = {"unit": "files"} if rows == 1 else {"frame_step": "1s"}
        job = posted(url, f"few {rows}.wav", speech.read_bytes(), wait=True, **form)
    else:  # the server accepts no recording without values
        answer = {"run": "", "first": 0, "total": 0, "complete": True, "columns": [], "rows": []}
        page.route("**/rows?*", lambda route: route.fulfill(json=answer))
        job = finished_job
    page.goto(f"/jobs/{job}")
    expect(page.locator("#summary caption")).to_have_text(re.compile(f"^{counted} over 0:0"))
    expect(page.locator("#time > [role=img]")).to_have_attribute("aria-label", re.compile(f": {counted}; "))
    if rows:
        page.goto("/")
        expect(row(page, f"few {rows}.wav").locator(".numbers")).to_have_text(counted)


def test_a_finished_job_has_as_many_values_as_it_delivered(page: "api.Page", url: str, speech: Path) -> None:
    job = posted(url, "late.wav", speech.read_bytes(), wait=True, start="1.2s", frame_step="20ms")
    delivered = asked(page, f"/v1/jobs/{job}/rows")["total"]
    assert 0 < delivered < 100
    page.goto("/")
    expect(row(page, "late.wav").locator(".numbers")).to_have_text(f"{delivered} values")
    page.goto(f"/jobs/{job}")
    expect(page.locator("#summary caption")).to_contain_text(f"{delivered} values over")


def test_notices_are_shown_with_the_job(page: "api.Page", finished_job: str) -> None:
    sentences = ["3 of 177 packets are damaged; 0.3 s have no sound.", f"Track 2 of 2 was used, {HOSTILE}."]

    def noticed(route: "api.Route") -> None:
        answer = route.fetch()
        jobs = answer.json()
        for job in jobs if isinstance(jobs, list) else [jobs]:
            job["notices"] = sentences if job["id"] == finished_job else []
        route.fulfill(json=jobs)

    page.route(re.compile(r"/v1/jobs\?limit"), noticed)
    page.goto("/")
    numbers = page.locator(f'tr[data-id="{finished_job}"] .numbers')
    expect(numbers).to_have_text("50 values, 2 notices")
    expect(numbers).to_have_attribute("title", "\n".join(sentences))
    page.unroute_all(behavior="wait")
    answer = {**asked(page, f"/v1/jobs/{finished_job}"), "notices": sentences}
    page.route(f"**/v1/jobs/{finished_job}", lambda route: route.fulfill(json=answer))
    page.goto(f"/jobs/{finished_job}")
    expect(page.get_by_role("list", name=re.compile("Notices")).get_by_role("listitem")).to_have_text(sentences)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cells_of_the_plane_have_contrast(visit: Callable[..., Visitor], finished_job: str, scheme: str) -> None:
    """A cell that was visited once has a contrast of 3 to 1 with the background, as WCAG requires of graphics."""
    page = visit(color_scheme=scheme).page
    values = [[k * 0.04, k * 0.04 + 0.04, 0.1, 0.5, 0.1, 1] for k in range(1999)] + [[79.96, 80, 0.9, 0.5, 0.9, 1]]
    answer = {"run": "", "first": 0, "total": 2000, "complete": True, "columns": [], "rows": values}
    page.route("**/rows?*", lambda route: route.fulfill(json=answer))
    opened(page, finished_job)
    page.wait_for_timeout(300)
    contrast = page.evaluate(
        """() => {
        const canvas = document.querySelector("#plane");
        const pen = canvas.getContext("2d");
        const room = canvas.width - 68 * devicePixelRatio;
        const cell = (value) => (Math.floor((value + 0.05) / 1.1 * 40) + 0.5) / 40 * 1.1 - 0.05;
        const at = (value) => 34 * devicePixelRatio + cell(value) * room;
        const [x, y] = [at(0.9), canvas.height - at(0.9)];
        const ground = getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g).map(Number);
        const [r, g, b, a] = pen.getImageData(Math.round(x), Math.round(y), 1, 1).data;
        const cellColour = [r, g, b].map((part, k) => (part * a + ground[k] * (255 - a)) / 255);
        const luminance = (rgb) => rgb.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
        const [low, high] = [luminance(cellColour), luminance(ground)].sort((first, second) => first - second);
        return (high + 0.05) / (low + 0.05);
    }"""
    )
    assert contrast >= 3


@pytest.mark.parametrize("width", [390, 320])
def test_the_summary_fits_a_phone(visit: Callable[..., Visitor], finished_job: str, width: int) -> None:
    page = visit(is_mobile=True, has_touch=True).page
    page.set_viewport_size({"width": width, "height": 800})
    opened(page, finished_job)
    cells = (
        page.locator("#summary")
        .locator("th, td, caption")
        .evaluate_all("all => all.map((cell) => cell.getBoundingClientRect().right)")
    )
    assert len(cells) == 26 and max(cells) <= width
    assert page.locator("#summary").evaluate(
        "element => element.parentElement.scrollWidth <= element.parentElement.clientWidth"
    )
    assert page.locator("#plane").evaluate("element => element.clientWidth") >= 240  # its labels need room


def test_the_form_chooses_track_and_channel(page: "api.Page", speech: Path) -> None:
    signal, _ = soundfile.read(speech, dtype="float32")
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([np.zeros_like(signal), signal], axis=1), RATE, format="WAV")
    page.goto("/")
    page.locator("summary").filter(has_text="Settings").click()
    for channel in ("left", "right"):
        page.get_by_label("Channel").select_option(channel)
        page.get_by_label("Track").fill("1")
        drop(page, f"{channel}.wav", stereo.getvalue())
        expect(row(page, f"{channel}.wav")).to_contain_text("finished")
    arousal = []
    for channel in ("left", "right"):
        page.goto("/")
        row(page, f"{channel}.wav").get_by_role("link", name="View").click()
        page.wait_for_url("**/jobs/*")
        drawn(page)
        job = page.url.rpartition("/")[2]
        assert str(asked(page, f"/v1/jobs/{job}")["provenance"]["channel"]) in (channel, str(1 + (channel == "right")))
        arousal.append(plot(page)["arousal"][1])
    assert np.ptp(arousal[1]) > 0.01 and arousal[0].size == 0  # nobody speaks in the left channel


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_result_says_how_to_cite_it(visit: Callable[..., Visitor], finished_job: str, scheme: str) -> None:
    """By keyboard alone, on the narrowest phone: the dialog has the text of the library, to copy and to save."""
    page = visit(color_scheme=scheme, permissions=["clipboard-read", "clipboard-write"]).page
    page.set_viewport_size({"width": 320, "height": 700})
    provenance = asked(page, f"/v1/jobs/{finished_job}")["provenance"]
    expected = {"methods": citation.methods(provenance), "bibtex": citation.references(provenance, cards.find("lite"))}
    opened(page, finished_job)
    button = page.get_by_role("button", name="Cite this result")
    button.press("Enter")
    dialog = page.get_by_role("dialog", name="Cite this result")
    expect(dialog.get_by_role("textbox", name="Methods paragraph")).to_have_text(expected["methods"])
    assert page.locator("#bibtex").text_content() == expected["bibtex"]
    assert "@" in expected["bibtex"] and "emow2v" in expected["methods"]
    for name, text, said in (
        ("Copy the paragraph", expected["methods"], "The methods paragraph was copied."),
        ("Copy the references", expected["bibtex"], "The references were copied."),
    ):
        dialog.get_by_role("button", name=name).press("Enter")
        expect(dialog.get_by_role("status")).to_have_text(said)
        assert page.evaluate("navigator.clipboard.readText()") == text
    name, file = saved(page, dialog.get_by_role("button", name="Download .bib"))
    assert name == "a talk.bib" and file.decode() == expected["bibtex"].rstrip() + "\n"
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
    bare, roles = unnamed(page)
    assert bare == [] and "dialog" in roles
    count, weak = page.evaluate(CONTRAST)
    assert count >= 4 and weak == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()


def test_a_missing_citation_is_announced(visit: Callable[..., Visitor], finished_job: str) -> None:
    visitor = visit()
    visitor.expected = [REFUSED]
    page = visitor.page
    page.route("**/citation", lambda route: route.fulfill(status=404, json={"error": "The job has no provenance."}))
    opened(page, finished_job)
    page.get_by_role("button", name="Cite this result").click()
    expect(page.locator("#message")).to_have_text("The job has no provenance.")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_text_can_be_copied_without_the_clipboard_of_the_browser(page: "api.Page", finished_job: str) -> None:
    """As over plain http from another computer: the text is copied the older way, or is selected for the keyboard."""
    page.route("**/citation", lambda route: route.fulfill(json={"methods": "A paragraph.", "bibtex": "@misc{a}"}))
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    opened(page, finished_job)
    page.get_by_role("button", name="Cite this result").click()
    page.get_by_role("button", name="Copy the references").click()
    expect(page.locator("#copied")).to_have_text("The references were copied.")
    page.evaluate("document.execCommand = () => false")
    page.get_by_role("button", name="Copy the paragraph").click()
    expect(page.locator("#copied")).to_contain_text("press Ctrl+C")
    assert page.evaluate("getSelection().toString()") == "A paragraph."


@pytest.mark.parametrize("width", [390, 320])
def test_the_table_of_values_fits_a_phone(visit: Callable[..., Visitor], finished_job: str, width: int) -> None:
    """No cell is cut or outside the screen, also if times have hours; on a wide screen a row is one line."""
    page = visit(is_mobile=True, has_touch=True).page
    page.set_viewport_size({"width": width, "height": 800})
    rows = [[36000 + k / 25, 36000 + (k + 1) / 25, -0.123, 0.456, 0.789, 1] for k in range(120)]
    answer = {"run": "", "first": 0, "total": 120, "complete": True, "columns": [], "rows": rows}
    page.route("**/rows?*", lambda route: route.fulfill(json=answer))
    opened(page, finished_job)
    page.locator("#values > summary").click()
    cells = page.locator("#rows").locator("th, td")
    expect(cells).to_have_count(6 + 50 * 6)
    measure = """all => all.map((cell) => {
        const box = cell.getBoundingClientRect();
        return [box.left, box.right, box.top, cell.scrollWidth - cell.clientWidth];
    })"""
    boxes = np.array(cells.evaluate_all(measure))
    assert boxes[:, 0].min() >= 0 and boxes[:, 1].max() <= width and boxes[:, 3].max() <= 0
    assert page.locator("#rows").evaluate(
        "element => element.parentElement.scrollWidth <= element.parentElement.clientWidth"
    )
    assert (boxes[3:6, 0] - boxes[2:5, 1]).min() >= 6  # names of the columns do not touch
    lines = boxes[6:12, 2]
    assert len(set(lines[:2])) == len(set(lines[2:])) == 1 and lines[2] > lines[0]  # times, and below them the values
    page.set_viewport_size({"width": 1280, "height": 800})
    until(page, lambda: len({round(top) for *_, top, _ in cells.evaluate_all(measure)[6:12]}) == 1, "one line")


def test_pages_of_a_server_without_plotly(
    visit: Callable[..., Visitor], finished_job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence in place of the curves says what to install; summary, values and files remain."""
    monkeypatch.setattr(pages, "_plotly", lambda: ("", None))
    page = visit().page  # a visitor fails on requests without an answer
    page.goto(f"/jobs/{finished_job}")
    expect(page.locator("#time").get_by_role("note")).to_contain_text("pip install 'emow2v[server]'")
    expect(page.locator("#summary caption")).to_have_text("50 values over 0:02.0")
    expect(page.locator(".legend, .time .tools").first).to_be_hidden()  # buttons of the curves
    expect(page.get_by_role("button", name="Zoom in")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cursor-values b").first).to_have_text(re.compile(r"0\.\d\d"))
    page.get_by_role("button", name="Picture (SVG)").click()
    expect(page.locator("#message")).to_contain_text("pip install 'emow2v[server]'")
    page.goto("/live")
    expect(page.locator("#time").get_by_role("note")).to_contain_text("this server has no plotly.js")


def test_embeddings_are_kept_where_the_form_says_so(page: "api.Page", speech: Path) -> None:
    page.goto("/")
    page.locator("summary").filter(has_text="Settings").click()
    page.get_by_role("checkbox", name="keep the embeddings").check()
    drop(page, "kept.wav", speech.read_bytes())
    expect(row(page, "kept.wav")).to_contain_text("finished")
    row(page, "kept.wav").get_by_role("link", name="View").click()
    page.wait_for_url("**/jobs/*")
    drawn(page)
    name, data = saved(page, page.get_by_role("link", name="Embeddings (NumPy)"))
    assert name == "kept.npz" and np.load(io.BytesIO(data))["embeddings"].shape == (50, 1024)
    name, packed = saved(page, page.get_by_role("link", name="Embeddings (SSI stream, zip)"))
    assert name == "kept.embeddings.zip" and len(zipfile.ZipFile(io.BytesIO(packed)).namelist()) == 2


def test_a_late_list_does_not_replace_the_folder_that_was_opened(page: "api.Page", data: Path) -> None:
    (data / "opened").mkdir()
    page.goto("/")
    listing = page.locator("summary").filter(has_text="Recordings of the data folder")
    expect(listing).to_be_visible()
    held: list[api.Route] = []
    page.route(re.compile(r"/v1/files\?folder=$"), lambda route: held.append(route))
    listing.press("Enter")
    until(page, lambda: bool(held), "the list is asked for anew")
    page.get_by_role("button", name="Open the folder opened").press("Enter")
    expect(page.locator("#data-path")).to_have_text(re.compile(r"Data folder\s*opened"))
    with page.expect_response(re.compile(r"/v1/files\?folder=$")) as late:
        held[0].continue_()
    late.value.finished()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # it was read
    expect(page.locator("#data-path")).to_have_text(re.compile(r"Data folder\s*opened"))


def test_what_is_shown_of_the_data_folder_stays_where_it_is_asked_for_again(page: "api.Page", url: str) -> None:
    """A new list of the same took the focus away from under a key, and swallowed a click."""
    page.goto("/")
    recording = page.get_by_role("checkbox", name="session.wav", include_hidden=True)
    expect(recording).to_have_count(1)
    element = recording.element_handle()
    with page.expect_response(re.compile(r"/v1/files\?folder=$")) as again:
        page.locator("summary").filter(has_text="Recordings of the data folder").press("Enter")
    again.value.finished()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # it was read
    assert element.evaluate("one => one.isConnected")


def test_recordings_of_the_data_folder_are_chosen_and_computed(
    visit: Callable[..., Visitor], data: Path, speech: Path
) -> None:
    folder = data / "study <b>1"
    folder.mkdir()
    shutil.copyfile(speech, folder / "from disk.wav")
    (folder / "from disk.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\n[Anna]: Ja\n")
    page = visit(is_mobile=True, has_touch=True).page
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto("/")
    page.locator("summary").filter(has_text="Recordings of the data folder").press("Enter")
    expect(page.get_by_role("checkbox", name="session.wav")).to_be_visible()
    page.get_by_role("button", name="Open the folder study <b>1").press("Enter")
    expect(page.locator("#data-path")).to_have_text(re.compile(r"Data folder\s*study <b>1"))
    expect(page.locator("#data-path button").last).to_be_focused()
    page.get_by_role("checkbox", name="from disk.wav").press("Space")
    expect(page.locator("#data-files li")).to_contain_text(["with from disk.srt"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert unnamed(page)[0] == []
    page.get_by_role("button", name="Compute 1 recording").press("Enter")
    expect(row(page, "from disk.wav")).to_contain_text("finished")
    expect(page.get_by_role("checkbox", name="from disk.wav", exact=True)).not_to_be_checked()
    row(page, "from disk.wav").get_by_role("link", name="View").click()
    page.wait_for_url("**/jobs/*")
    drawn(page)
    expect(page.locator(".tier-name")).to_contain_text("Anna")
    page.goto("/")
    page.locator("#data > summary").click()
    page.get_by_role("button", name="Open the folder study <b>1").click()
    page.get_by_role("button", name="Data folder", exact=True).click()
    expect(page.get_by_role("checkbox", name="session.wav")).to_be_visible()


def test_both_sides_of_a_stereo_recording_are_drawn(page: "api.Page", url: str, speech: Path) -> None:
    signal, _ = soundfile.read(speech, dtype="float32")
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([signal, 0.5 * signal], axis=1), RATE, format="WAV")
    opened(page, posted(url, "two sides.wav", stereo.getvalue(), wait=True))
    until(page, lambda: "sound of the right channel" in plot(page), "both waves")
    left, right = (plot(page)[name][1] for name in ("sound", "sound of the right channel"))
    zero = 1.05 * np.abs(signal).max()  # of the left one; the right one has its zero below
    np.testing.assert_allclose([left.min() - zero, left.max() - zero], [signal.min(), signal.max()], atol=1e-3)
    np.testing.assert_allclose(
        [right.min() + zero, right.max() + zero], 0.5 * np.array([signal.min(), signal.max()]), atol=1e-3
    )
    labels = page.locator("#time .yaxislayer-above text, #time .ytick text").all_text_contents()
    assert {"left", "right"} <= set(labels)
