"""The page in a real Chromium, on a plain static server below a path, which is also the browser's proxy: the numbers of
`emow2v predict`, and no request to anywhere else."""

import base64
import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

import emow2v
from browser_builds import Site, site
from browsers import CHROMIUM, CONTRAST, Visitor, api, drop, expect, plot, saved, unnamed, until
from emow2v.formats.table import COLUMNS
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.run import Server

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
    pytest.mark.slow,
]
RATE = 16000
ELSEWHERE = "http://elsewhere.test/?voice"
LIMIT = 1e-4  # between the page and Python
MESSAGE = "#message"


@pytest.fixture(scope="module")
def model() -> Model:
    return emow2v.load("lite-frames")


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    return soundfile.read(EXAMPLE, dtype="float32")[0]


@pytest.fixture(scope="module")
def server(page_folder: Path) -> Iterator[Site]:
    with site(page_folder.parents[1]) as found:
        found.path = "/".join(page_folder.parts[-2:])  # type: ignore[attr-defined]
        yield found


@pytest.fixture
def visit(browser: "api.Browser", server: Site) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def open_page(**context: object) -> Visitor:
        visitors.append(Visitor(browser, server.url, proxy=server.as_proxy, **context))
        visitors[-1].page.goto(f"/{server.path}/")  # type: ignore[attr-defined]
        expect(visitors[-1].page.locator(MESSAGE)).to_contain_text("Ready")
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.leave()
    assert server.elsewhere == []


@pytest.fixture
def page(visit: Callable[..., Visitor]) -> "api.Page":
    return visit().page


def compute(page: "api.Page", path: Path) -> tuple[list[dict[str, str]], dict[str, object]]:
    """The table and the provenance that the page saves of a recording."""
    page.set_input_files("#files", path)
    expect(page.locator(MESSAGE)).to_contain_text("Nothing left this page")
    name, content = saved(page, page.locator("#save"))
    assert name == f"{path.stem}.csv.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        table = zipped.read(f"{path.stem}.csv").decode()
        description = json.loads(zipped.read(f"{path.stem}.csv-metadata.json"))
    return list(csv.DictReader(io.StringIO(table))), description["emow2v:provenance"]


def numbers(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[np.nan if text == "null" else float(text) for text in list(row.values())[1:]] for row in rows])


def expected(model: Model, path: Path, *, speech: bool = True, framing: Framing | None = None) -> np.ndarray:
    trajectory = model.predict(path, speech=speech, framing=framing or Framing())
    blocks = list(trajectory)
    parts = [
        np.column_stack([one.starts, one.ends, one.scores_of_speech, one.confidence.min(axis=1)]) for one in blocks
    ]
    values = np.concatenate(parts)
    return np.column_stack([values, np.concatenate([one.speech for one in blocks])]) if speech else values


def assert_same(found: np.ndarray, wanted: np.ndarray, limit: float = LIMIT) -> None:
    assert found.shape == wanted.shape
    # a row whose probability of speech is that of the threshold, to the limit, may have scores here and none there
    sure = np.abs(wanted[:, -1] - 0.5) > limit if wanted.shape[1] == 7 else np.ones(len(wanted), bool)
    assert sure.mean() > 0.9
    np.testing.assert_allclose(found[sure], wanted[sure], rtol=0, atol=limit, equal_nan=True)


def test_the_numbers_are_those_of_python(page: "api.Page", model: Model, signal: np.ndarray, tmp_path: Path) -> None:
    """The example, and lengths around those of a value, a frame, a step of the model and a piece that is read."""
    lengths = (640, 641, 1279, 1281, 16000, 40959, 40961, 99_999, 160_001, signal.size)
    for length in lengths:
        path = tmp_path / f"talk {length}.wav"
        soundfile.write(path, signal[:length], RATE)
        rows, _ = compute(page, path)
        assert list(rows[0]) == [*COLUMNS, "speech"] and {row["file"] for row in rows} == {path.name}
        assert_same(numbers(rows), expected(model, path))


def test_what_is_drawn_is_what_is_saved(page: "api.Page", signal: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", signal, RATE)
    rows, _ = compute(page, tmp_path / "talk.wav")
    found = numbers(rows)
    until(page, lambda: {"arousal", "sound", "speech"} <= plot(page).keys(), "the curves")
    times, values = plot(page)["arousal"]
    spoken = ~np.isnan(values)
    wanted = found[~np.isnan(found[:, 2])]
    np.testing.assert_allclose(values[spoken], wanted[:, 2], atol=1e-6)
    np.testing.assert_allclose(times[spoken], wanted[:, :2].mean(axis=1), atol=1e-6)
    means = [float(page.locator("#summary tbody tr td").nth(4 * row + 1).inner_text()) for row in range(3)]
    np.testing.assert_allclose(means, wanted[:, 2:5].mean(axis=0), atol=6e-4)
    page.locator("#values summary").click()
    expect(page.locator("#values tbody tr")).to_have_count(50)


def test_settings_and_provenance(page: "api.Page", model: Model, signal: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.stack([signal, signal[::-1]], axis=1), RATE, subtype="PCM_24")
    page.locator("details summary").first.click()
    page.locator("#speech").uncheck()
    for step, left, right in ((100, 400, 0), (33, 950, 217), (1000, 0, 0), (250, 0, 5000)):
        for name, value in {"frame_step": step, "left_context": left, "right_context": right}.items():
            page.locator(f"#{name}").fill(str(value))
        rows, provenance = compute(page, path)
        framing = Framing(step, left_context_ms=left, right_context_ms=right)
        assert list(rows[0]) == list(COLUMNS)
        assert_same(numbers(rows), expected(model, path, speech=False, framing=framing))
        trajectory = model.predict(path, framing=framing).load()
        wanted = {**trajectory.provenance}
        for name in ("engine", "track", "tracks"):
            wanted.pop(name)
        assert {name: provenance.get(name) for name in wanted} == wanted
        assert str(provenance["engine"]).startswith("onnxruntime-web 1.")
    for name, value, sentence in (
        ("frame_step", "", "expected whole milliseconds"),
        ("frame_step", "0", "expected whole milliseconds"),
        ("frame_step", "2.5", "expected whole milliseconds"),
        ("right_context", "3600000", "expected at most an hour"),
    ):
        before = page.locator(f"#{name}").input_value()
        page.locator(f"#{name}").fill(value)
        page.set_input_files("#files", path)
        expect(page.locator(MESSAGE)).to_contain_text(sentence)
        page.locator(f"#{name}").fill(before)
    for name, text in {"frame_step": "10", "left_context": "14", "right_context": "0"}.items():
        page.locator(f"#{name}").fill(text)
    page.set_input_files("#files", path)
    expect(page.locator(MESSAGE)).to_contain_text(
        "window of 24 ms is too short for lite-frames; expected at least 25 ms"
    )


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
def test_samples_of_every_kind(page: "api.Page", signal: np.ndarray, tmp_path: Path, subtype: str, form: str) -> None:
    """The page's own reader against libsndfile."""
    path = tmp_path / "talk.wav"
    stereo = np.stack([signal, np.roll(signal, 777)], axis=1)[8000:9001] * 1.5
    soundfile.write(path, stereo, RATE, subtype=subtype, format=form)
    script = """async (text) => {
        const { openWav } = await import("./scripts/wav.js");
        const wav = await openWav(new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))]));
        return [wav.rate, wav.channels, wav.frames, wav.isCut, ...(await wav.mono(0, 500)), ...(await wav.mono(500, wav.frames))];
    }"""
    rate, channels, frames, cut, *found = page.evaluate(script, base64.b64encode(path.read_bytes()).decode())
    wanted = soundfile.read(path)[0].mean(axis=1).astype(np.float32)
    assert (rate, channels, frames, cut) == (RATE, 2, 1001, False)
    np.testing.assert_array_equal(np.array(found, np.float32), wanted)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_other_rates(page: "api.Page", model: Model, signal: np.ndarray, tmp_path: Path, rate: int) -> None:
    """The page's resampler against soxr; the values are near, not equal: the highest frequencies of noise differ."""
    soxr = pytest.importorskip("soxr")
    path = tmp_path / "talk.wav"
    talk = (
        soxr.resample(signal, RATE, rate)
        + np.random.default_rng(0).normal(0, 0.003, signal.size * rate // RATE + 1)[
            : len(soxr.resample(signal, RATE, rate))
        ]
    )
    soundfile.write(path, talk, rate)
    rows, provenance = compute(page, path)
    found, wanted = numbers(rows), expected(model, path)
    assert provenance["source_sampling_rate"] == rate and found.shape == wanted.shape
    np.testing.assert_allclose(found[:, :5], wanted[:, :5], atol=3e-4)
    np.testing.assert_allclose(found[:, 5:], wanted[:, 5:], atol=1e-3)


@pytest.mark.parametrize(("ending", "limit"), [("flac", LIMIT), ("mp3", 2e-3), ("ogg", 2e-3)])
def test_recordings_that_the_browser_decodes(
    page: "api.Page", model: Model, signal: np.ndarray, tmp_path: Path, ending: str, limit: float
) -> None:
    path = tmp_path / f"talk.{ending}"
    soundfile.write(path, np.stack([signal, signal / 2], axis=1), RATE)
    rows, provenance = compute(page, path)
    found, wanted = numbers(rows), expected(model, path)
    assert abs(len(found) - len(wanted)) <= 2 and provenance["channels"] == 2
    expect(page.locator("#notices")).to_contain_text("The browser decoded this recording")
    count = min(len(found), len(wanted))
    both = ~np.isnan(found[:count, 2]) & ~np.isnan(wanted[:count, 2])
    assert both.sum() > 100
    np.testing.assert_allclose(found[:count][both], wanted[:count][both], rtol=0, atol=limit)


def test_once_it_is_ready_it_needs_no_network(
    visit: Callable[..., Visitor], model: Model, signal: np.ndarray, tmp_path: Path, server: Site
) -> None:
    visitor = visit()
    soundfile.write(tmp_path / "talk.wav", signal, RATE)
    asked = len(server.asked)
    visitor.context.set_offline(True)
    rows, _ = compute(visitor.page, tmp_path / "talk.wav")
    assert_same(numbers(rows), expected(model, tmp_path / "talk.wav"))
    visitor.context.set_offline(False)
    assert len(server.asked) == asked


def test_neither_the_page_nor_its_worker_can_send_anything(visit: Callable[..., Visitor], server: Site) -> None:
    """Not even a script that wanted to."""
    visitor = visit()
    visitor.expected += ["Content Security Policy", "asked http://elsewhere.test/", "violates"]
    attempt = 'fetch("http://elsewhere.test/?voice").then(() => "sent", () => "refused")'
    assert visitor.page.evaluate(f"() => {attempt}") == "refused"
    script = f"""() => new Promise((resolve) => {{
        const text = 'postMessage("begun"); {attempt}.then((answer) => postMessage(answer));'.replaceAll("\\n", "");
        const worker = new Worker(URL.createObjectURL(new Blob([text], {{ type: "text/javascript" }})), {{ type: "module" }});
        const said = [];
        worker.onmessage = (event) => said.push(event.data) === 2 && resolve(said);
    }})"""
    assert visitor.page.evaluate(script) == ["begun", "refused"]
    for element in ("new Image().src", "document.createElement('script').src", "window.name"):
        visitor.page.evaluate(f"() => {{ {element} = 'http://elsewhere.test/?voice'; }}")
    assert server.elsewhere == []


def test_a_request_elsewhere_would_be_seen(browser: "api.Browser", server: Site) -> None:
    """A check that cannot fail is none: without the page's policy the same request arrives at the proxy."""
    context = browser.new_context(proxy=server.as_proxy)
    page = context.new_page()
    page.goto(f"{server.url}/{server.path}/NOTICE.txt")  # type: ignore[attr-defined]
    page.evaluate('() => fetch("http://elsewhere.test/?voice", { mode: "no-cors" }).catch(() => {})')
    context.close()
    assert server.elsewhere == [ELSEWHERE]
    server.elsewhere.clear()


def test_on_the_server_it_computes_with_several_threads(
    browser: "api.Browser", page_folder: Path, model: Model, signal: np.ndarray, tmp_path: Path
) -> None:
    options = {"port": 0, "work_dir": tmp_path / "work", "threads": 1, "web_folder": page_folder, "token": "secret"}
    with Server(**options).running() as url:
        visitor = Visitor(browser, url)
        page = visitor.page
        page.add_init_script("Object.defineProperty(navigator, 'hardwareConcurrency', { value: 8 })")
        page.goto("/")
        page.get_by_label("Token").fill("secret")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="your browser computes it itself").click()
        expect(page.locator(MESSAGE)).to_contain_text("Ready")
        assert page.evaluate("crossOriginIsolated")
        soundfile.write(tmp_path / "talk.wav", signal, RATE)
        rows, provenance = compute(page, tmp_path / "talk.wav")
        assert "(wasm, 4 threads)" in str(provenance["engine"])
        assert_same(numbers(rows), expected(model, tmp_path / "talk.wav"))
        visitor.leave()


def silent_video(path: Path) -> None:
    with av.open(path, "w") as file:
        stream = file.add_stream(
            "mpeg4" if "mpeg4" in av.codecs_available and path.suffix == ".avi" else "vp8", rate=10
        )
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(10):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)


def test_files_that_cannot_be_used(visit: Callable[..., Visitor], signal: np.ndarray, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expected += ["ERR_REQUEST_RANGE_NOT_SATISFIABLE"]  # the player's, of a text file
    page = visitor.page
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.txt").write_text("no sound")
    silent_video(tmp_path / "silent.webm")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", signal[:639], RATE)
    soundfile.write(tmp_path / "none.wav", signal[:0], RATE)
    soundfile.write(tmp_path / "hours.flac", np.zeros(31 * 60 * 8000, np.int16), 8000)
    for name, sentence in {
        "empty.wav": "empty.wav is empty",
        "notes.txt": "is no recording, or of a kind that this browser cannot decode: convert it to WAV",
        "silent.webm": "has a picture, but no sound",
        "nan.wav": "expected finite samples",
        "short.wav": "is too short: it lasts 39.94 ms, expected at least 40 ms",
        "none.wav": "it holds no samples",
        "hours.flac": "lasts 31 min, too much for this browser to decode at once; expected at most 30 min",
    }.items():
        page.set_input_files("#files", tmp_path / name)
        expect(page.locator(f"{MESSAGE}.error")).to_contain_text(sentence)
        expect(page.locator("#progress-line")).to_be_hidden()
        expect(page.locator("#about")).to_be_hidden()


def test_a_recording_that_was_cut_off(page: "api.Page", model: Model, signal: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.wav", signal, RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:100_001])
    rows, _ = compute(page, tmp_path / "cut.wav")
    expect(page.locator("#notices")).to_contain_text("cut.wav ends early")
    soundfile.write(tmp_path / "same.wav", signal[: (100_001 - 44) // 2], RATE)
    assert_same(numbers(rows), expected(model, tmp_path / "same.wav"))


def test_cancel_and_go_on(page: "api.Page", model: Model, signal: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.resize(signal, 3600 * RATE), RATE)
    soundfile.write(tmp_path / "talk.wav", signal[:50_000], RATE)
    page.set_input_files("#files", tmp_path / "long.wav")
    expect(page.locator("#progress-text")).to_contain_text("of 90000 values")
    expect(page.locator("#files")).to_be_disabled()
    drop(page, "other.wav", b"")
    expect(page.locator(MESSAGE)).to_contain_text("The page is busy")
    page.locator("#cancel").click()
    expect(page.locator(MESSAGE)).to_contain_text("Cancelled: the values of the first")
    _, content = saved(page, page.locator("#save"))
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        assert "the computation was cancelled" in zipped.read("long.csv-metadata.json").decode()
    rows, provenance = compute(page, tmp_path / "talk.wav")
    assert_same(numbers(rows), expected(model, tmp_path / "talk.wav"))
    assert "incomplete" not in provenance


def test_dropping_and_playing(page: "api.Page", signal: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", signal[: 4 * RATE], RATE)
    drop(page, "<b>talk & x.wav", (tmp_path / "talk.wav").read_bytes())
    expect(page.locator(MESSAGE)).to_contain_text("100 values")
    expect(page.locator("#name")).to_have_text("<b>talk & x.wav")
    page.evaluate("() => { document.querySelector('#audio').currentTime = 2; }")
    expect(page.locator(".cursor")).to_have_attribute("aria-valuenow", "2.00")


def test_the_microphone(page: "api.Page") -> None:
    page.locator("#record").click()
    expect(page.locator("#clock")).to_have_text(re.compile("0:(0[2-9]|[1-5])"))
    page.locator("#record").click()
    expect(page.locator(MESSAGE)).to_contain_text("Nothing left this page")
    name, content = saved(page, page.locator("#save"))
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        rows = list(csv.DictReader(io.StringIO(zipped.read(name.removesuffix(".zip")).decode())))
    assert name.startswith("microphone-") and len(rows) >= 25
    assert max(float(row["speech"]) for row in rows) > 0.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_can_be_read_and_used_at_every_width(
    visit: Callable[..., Visitor], signal: np.ndarray, tmp_path: Path, width: int, scheme: str
) -> None:
    page = visit(color_scheme=scheme).page
    page.set_viewport_size({"width": width, "height": 800})
    soundfile.write(tmp_path / "talk.wav", signal[: 9 * RATE], RATE)
    compute(page, tmp_path / "talk.wav")
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    bare, roles = unnamed(page)
    assert bare == [] and {"button", "checkbox", "slider", "table"} <= set(roles)
    seen, weak = page.evaluate(CONTRAST)
    assert seen > 30 and weak == []


def test_a_copy_that_is_damaged_or_incomplete(browser: "api.Browser", page_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(page_folder, tmp_path / "page")
    graph = tmp_path / "page" / "model" / "readout.onnx"
    content = bytearray(graph.read_bytes())
    content[5000] ^= 1
    graph.write_bytes(content)
    with site(tmp_path) as server:
        for change, sentence in {
            lambda: None: "is damaged or of another version",
            graph.unlink: "cannot be fetched (404); check that the whole folder was copied",
            (tmp_path / "page" / "build.json").unlink: "build.json cannot be fetched (404)",
            (tmp_path / "page" / "scripts" / "onepass.js").unlink: "build.json cannot be fetched (404)",
        }.items():
            change()
            visitor = Visitor(browser, server.url, proxy=server.as_proxy)
            visitor.expected += ["Failed to load resource"]
            visitor.page.goto("/page/")
            expect(visitor.page.locator(f"{MESSAGE}.error")).to_contain_text(sentence)
            visitor.leave()
