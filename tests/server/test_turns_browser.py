"""Who speaks when on the pages, in a real Chromium: tiers, gaps in silence, means of speakers, the table of turns."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from browsers import (
    CHROMIUM,
    CONTRAST,
    REFUSED,
    Visitor,
    api,
    asked,
    drawn,
    drop_files,
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
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.run import Server

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
    pytest.mark.slow,
]

STEP_S = 0.04
DURATION_S = 12.84
LABEL = '"Guten Morgen", sagte sie; <b>laut</b>'
VALUES = {"arousal": 0.6, "dominance": 0.4, "valence": 0.2, "confidence": 0.9, "n": 10, "speech": 0.95}
NONE = {**dict.fromkeys(("arousal", "dominance", "valence", "confidence")), "n": 0, "speech": 0.8}
TURNS = {
    "source": "file",
    "name": "talk.eaf",
    "unit": "pool",
    "tiers": [
        {
            "name": "VP_text",
            "speaker": "VP",
            "turns": [
                {"start": 1.0, "end": 3.0, "label": LABEL, **VALUES},
                {"start": 5.0, "end": 5.2, "label": "", **NONE},
                {"start": 9.0, "end": 12.0, "label": "Ja", **VALUES, "arousal": 0.9, "n": 30},
            ],
        },
        {
            "name": "IV",
            "speaker": "IV",
            "turns": [{"start": 2.5, "end": 4.5, "label": "So?", **VALUES, "valence": 0.8}],
        },
    ],
    "notices": [],
}
NAMES = ["start", "end", "arousal", "dominance", "valence", "confidence", "speech"]


def answer(names: list[str], rows: list[list[float | None]]) -> dict:
    return {"run": "", "first": 0, "total": len(rows), "complete": True, "turns": True, "columns": names, "rows": rows}


def speech_until(second: float) -> dict:
    """Values over time with speech at the beginning only."""
    rows: list[list[float | None]] = []
    for k in range(round(DURATION_S / STEP_S)):
        scores = [0.5, 0.4, 0.3] if k * STEP_S < second else [None] * 3
        rows.append([round(k * STEP_S, 6), round((k + 1) * STEP_S, 6), *scores, 0.9, 0.9 if scores[0] else 0.1])
    return answer(NAMES, rows)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOW2V_HOME", str(tmp_path_factory.mktemp("home")))
        with Server(port=0, work_dir=tmp_path_factory.mktemp("work"), threads=1).running() as address:
            yield address


@pytest.fixture(scope="module")
def job(url: str) -> str:
    return posted(url, "talk.flac", Path(EXAMPLE).read_bytes(), wait=True)


@pytest.fixture(scope="module")
def clip(speech: Path) -> bytes:
    """Two seconds in which somebody speaks."""
    return speech.read_bytes()


def shown(page: "api.Page", job: str, rows: dict, listed: dict, **provenance: object) -> None:
    """Open a job that has these values and turns."""
    described = page.request.get(f"/v1/jobs/{job}").json()
    described["provenance"] |= provenance
    page.route(f"**/v1/jobs/{job}", lambda route: route.fulfill(json=described))
    page.route("**/rows?*", lambda route: route.fulfill(json=rows))
    page.route("**/turns?*", lambda route: route.fulfill(json=listed))
    opened(page, job)


def at(page: "api.Page") -> float:
    return float(page.locator("#audio").evaluate("element => element.currentTime"))


def test_curves_have_gaps_in_silence_and_the_summary_leaves_it_out(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    shown(page, job, speech_until(3), TURNS)
    x, y = plot(page)["arousal"]
    assert x.max() < 3 and np.isfinite(y).all() and (y == 0.5).all()
    _, speech = plot(page)["speech"]
    assert len(speech) == round(DURATION_S / STEP_S) and set(speech.tolist()) == {0.9, 0.1}
    expect(page.locator("#summary caption")).to_have_text(
        "75 values over 0:03.0 min of speech of 0:12.8 min. Silence is left out."
    )
    expect(page.locator("#coverage")).to_contain_text("The value at 2.00 s covers the sound from 1.04 to 2.04 s.")
    expect(page.locator("#coverage")).to_contain_text("Curves have gaps where nobody speaks")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cursor-values .speech b")).to_have_text("0.90")
    page.keyboard.press("End")
    expect(page.locator("#cursor-values b").first).to_have_text("–")
    expect(page.locator("#cursor-values .speech b")).to_have_text("no speech")
    assert page.get_by_role("slider", name="Cursor").get_attribute("aria-valuetext") == "0:12.86, no speech"


def test_a_single_value_between_gaps_can_be_seen(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    rows = speech_until(0)
    rows["rows"][100] = [4.0, 4.04, 0.5, 0.4, 0.3, 0.9, 0.9]
    shown(page, job, rows, TURNS)
    x, y = plot(page)["arousal"]
    assert x.tolist() == [4.0, 4.04] and y.tolist() == [0.5, 0.5]


def test_a_recording_in_which_nobody_speaks_has_neither_curves_nor_turns(
    visit: Callable[..., Visitor], job: str
) -> None:
    page = visit().page
    shown(page, job, speech_until(0), {**TURNS, "source": "detector", "tiers": []})
    assert plot(page)["arousal"][0].size == 0
    expect(page.locator("#summary caption")).to_contain_text("0 values over 0:00.0 min of speech of 0:12.8 min")
    expect(page.locator("#summary td").nth(1)).to_have_text("–")
    for hidden in ("#tiers", "#turn", "#speakers", "#turn-values"):
        expect(page.locator(hidden)).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cursor-values .speech b")).to_have_text("no speech")


def test_turns_are_reached_by_keys_and_mouse(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    shown(page, job, speech_until(6), TURNS)
    tier = page.get_by_role("slider", name="Turns of VP (VP_text)")
    expect(page.locator(".tier-name")).to_have_text(["VP (VP_text) 3 turns, 0:05 min", "IV 1 turn, 0:02 min"])
    tier.focus()
    page.keyboard.press("ArrowRight")
    assert at(page) == pytest.approx(1, abs=0.001)
    expected = f"VP, 0:01.00 to 0:03.00, “{LABEL}”, arousal 0.60, dominance 0.40, valence 0.20, confidence 0.90, speech 0.95, 10 values"
    expect(tier).to_have_attribute("aria-valuetext", expected)
    expect(page.locator("#turn")).to_contain_text(LABEL)
    assert page.locator("#turn b b").count() == 0  # a label is text
    page.keyboard.press("ArrowRight")
    assert at(page) == pytest.approx(5, abs=0.001)
    expect(page.locator("#turn")).to_contain_text("no values, speech 0.80")
    page.keyboard.press("Enter")
    until(page, lambda: view(page)[0] > 4, "the view goes to the turn")
    np.testing.assert_allclose(view(page), (4.7, 5.5), atol=0.01)
    page.keyboard.press("End")
    assert at(page) == pytest.approx(9, abs=0.001)
    page.keyboard.press("0")
    until(page, lambda: view(page)[0] == 0, "0 shows all")
    box = page.get_by_role("slider", name="Turns of IV").bounding_box()
    assert box

    def x(second: float) -> float:
        return box["x"] + second / 12.8615 * box["width"]

    page.mouse.move(x(3.5), box["y"] + 10)
    expect(page.locator("#turn")).to_contain_text("IV, 0:02.50 to 0:04.50, “So?”")
    page.mouse.click(x(3.5), box["y"] + 10)
    assert at(page) == pytest.approx(2.5, abs=0.001)
    page.mouse.click(x(8), box["y"] + 10)
    assert at(page) == pytest.approx(8, abs=0.05)
    page.mouse.move(0, 0)
    expect(page.locator("#turn")).to_contain_text("No turn at the cursor")


def test_tiers_lie_under_the_curves(visit: Callable[..., Visitor], job: str) -> None:
    """A block begins and ends where the time axis of the plot says, also after zooming."""
    page = visit().page
    shown(page, job, speech_until(6), TURNS)
    script = """() => {
        const canvas = document.querySelector(".tier canvas");
        const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        pen.drawImage(canvas, 0, 0);
        const pixels = pen.getImageData(0, canvas.height - 3, canvas.width, 1).data;
        const ground = pixels.slice(4 * (canvas.width - 1), 4 * canvas.width);
        const filled = [];
        for (let x = 0; x < canvas.width; x++) if (pixels[4 * x] !== ground[0]) filled.push(x);
        const axis = document.querySelector("#time .nsewdrag").getBoundingClientRect();
        const box = canvas.getBoundingClientRect();
        return [box.left - axis.left, box.width - axis.width, filled, canvas.width];
    }"""
    left, wider, filled, width = page.evaluate(script)
    assert abs(left) < 1 and abs(wider) < 1
    edges = np.flatnonzero(np.diff(filled) > 2)
    seconds = np.array([filled[0], filled[edges[0]], filled[edges[0] + 1]]) / width * 12.8615
    np.testing.assert_allclose(seconds, [1, 3, 5], atol=0.06)
    page.locator("#zoom-in").click()
    until(page, lambda: view(page)[1] < 7, "zoomed")

    def begins() -> float:
        return page.evaluate(script)[2][0] / width * view(page)[1]

    until(page, lambda: begins() == pytest.approx(1, abs=0.06), "the tiers follow")


def test_means_of_speakers_count_each_value_once(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    shown(page, job, speech_until(6), TURNS)
    lines = [line.split("\t") for line in page.locator("#speakers tbody").inner_text().splitlines()]
    assert lines == [
        ["VP", "3", "0:05", f"{(10 * 0.6 + 30 * 0.9) / 40:.3f}", "0.400", "0.200"],
        ["IV", "1", "0:02", "0.600", "0.400", "0.800"],
    ]


def test_the_table_of_turns_is_saved_as_the_command_line_writes_it(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    shown(page, job, speech_until(6), TURNS)
    page.locator("#turn-values > summary").click()
    expect(page.locator("#turn-page")).to_have_text("1 to 4 of 4")
    expect(page.locator("#turn-rows tbody tr").first.locator(".label")).to_have_text(LABEL)
    page.locator("#turn-rows").get_by_role("button", name="Go to 0:09.00").click()
    assert at(page) == pytest.approx(9, abs=0.001)
    expect(page.locator("#turn-rows tr[aria-current] .label")).to_have_text("Ja")
    name, text = saved(page, page.get_by_role("button", name="Save the turns (CSV)"))
    assert name == "talk.turns.csv"
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    columns = "file,start,end,speaker,tier,label,arousal,dominance,valence,confidence,n,speech"
    assert ",".join(lines[0]) == columns
    assert [line["start"] for line in lines] == ["1", "2.5", "5", "9"]
    assert lines[0]["label"] == LABEL and lines[0]["arousal"] == "0.600000" and lines[2]["arousal"] == "null"


def test_values_of_turns_are_steps(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    rows = [
        [turn["start"], turn["end"], turn["arousal"], 0.4, 0.2, 0.9, 0.95]
        for turn in (*TURNS["tiers"][0]["turns"][:1], *TURNS["tiers"][1]["turns"], *TURNS["tiers"][0]["turns"][1:])  # type: ignore[index]
    ]
    facts = {"turns": "one value for the sound of each turn", "turns_from": "talk.eaf (ELAN)", "frame_step_ms": 0}
    shown(page, job, answer(NAMES, rows), {**TURNS, "unit": "turn"}, **facts)
    x, y = plot(page)["arousal"]
    assert x.reshape(-1, 4)[:, 1:3].tolist() == [[1, 3], [2.5, 4.5], [5, 5.2], [9, 12]]
    steps = y.reshape(-1, 4)
    np.testing.assert_array_equal(steps[:, 1], [0.6, 0.6, np.nan, 0.9])
    np.testing.assert_array_equal(steps[:, 1], steps[:, 2])
    assert np.isnan(steps[:, [0, 3]]).all()  # gaps between turns
    _, speech = plot(page)["speech"]
    assert speech.reshape(-1, 4).tolist() == [[0, 0.95, 0.95, 0]] * 4
    expect(page.locator("#coverage")).to_have_text(re.compile("whole turn"))
    expect(page.locator("#summary caption")).to_contain_text("together 0:07.2 min")
    expect(page.locator("#values")).to_be_hidden()
    page.keyboard.press(".")
    assert at(page) == pytest.approx(1, abs=0.001)
    page.keyboard.press(".")
    assert at(page) == pytest.approx(2.5, abs=0.001)


def test_chosen_tiers_leave_their_values_in_curves_summary_and_files(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    rows = speech_until(6)
    for index, values in enumerate(rows["rows"]):
        if values[2] is not None:
            values[2] = round(index / 1000, 6)
    shown(page, job, rows, TURNS)
    box = page.get_by_role("checkbox", name="VP (VP_text)")
    box.focus()
    page.keyboard.press("Space")
    expect(page.locator("#speakers tbody tr")).to_have_count(1)
    middles = (np.arange(len(rows["rows"])) + 0.5) * STEP_S
    of_iv = (middles >= 2.5) & (middles < 4.5)  # the turn of the other speaker
    x, y = plot(page)["arousal"]
    np.testing.assert_allclose(x, middles[of_iv])
    np.testing.assert_allclose(y, np.flatnonzero(of_iv) / 1000)
    mean = f"{y.mean():.3f}"
    expect(page.locator("#summary td").nth(2)).to_have_text(mean)
    expect(page.locator("#summary caption")).to_contain_text("50 values over 0:02.0 min of speech of 0:02.0 min")
    expect(page.locator("#selection")).to_have_text("Selection: in the turns of IV.")
    name, packed = saved(page, page.get_by_role("button", name="Values of the selection (CSV, zip)"))
    assert name == "talk.selection.csv.zip"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        lines = list(csv.DictReader(io.TextIOWrapper(archive.open("talk.selection.csv"), "utf-8")))
        described = json.loads(archive.read("talk.selection.csv-metadata.json"))
    np.testing.assert_allclose([float(line["arousal"]) for line in lines], y)
    assert described["emow2v:provenance"]["selection"] == "in the turns of IV"
    assert described["emow2v:provenance"]["model"] == "lite" and described["url"] == "talk.selection.csv"
    _, text = saved(page, page.get_by_role("button", name="Turns of the selection (CSV)"))
    assert [line["label"] for line in csv.DictReader(io.StringIO(text.decode()))] == ["So?"]
    name, text = saved(page, page.get_by_role("button", name="Means of the selection (CSV)"))
    whole, speaker = csv.DictReader(io.StringIO(text.decode()))
    assert name == "talk.selection.means.csv" and (whole["speaker"], whole["values"], whole["seconds"]) == (
        "",
        "50",
        "2",
    )
    assert float(whole["arousal"]) == pytest.approx(y.mean(), abs=1e-6)
    assert float(whole["arousal_sd"]) == pytest.approx(y.std(ddof=1), abs=1e-6)
    assert (speaker["speaker"], speaker["values"], speaker["valence"]) == ("IV", "10", "0.800000")
    page.get_by_role("checkbox", name="IV", exact=True).uncheck()
    expect(page.locator("#summary caption")).to_contain_text("0 values")
    expect(page.locator("#selection")).to_have_text("Selection: in no tier.")
    box.check()
    page.get_by_role("checkbox", name="IV", exact=True).check()
    expect(page.locator("#summary caption")).to_contain_text("150 values over 0:06.0 min of speech of 0:12.8 min")


def test_the_selection_is_played_and_nothing_else(visit: Callable[..., Visitor], job: str) -> None:
    page = visit().page
    short = [{"start": 1.0, "end": 1.3, "label": "", **VALUES}, {"start": 5.0, "end": 5.2, "label": "", **NONE}]
    listed = {**TURNS, "tiers": [{"name": "VP", "speaker": "VP", "turns": short}, TURNS["tiers"][1]]}
    shown(page, job, speech_until(6), listed)
    page.get_by_role("checkbox", name="IV").uncheck()
    page.evaluate(
        """() => {
        const audio = document.querySelector("#audio");
        audio.playbackRate = 0.25; // so that a busy machine looks in time
        const look = () => { if (!audio.paused) (window.heard ??= []).push(audio.currentTime); requestAnimationFrame(look); };
        look();
    }"""
    )
    page.get_by_role("button", name="Play this part").click()
    until(page, lambda: at(page) == pytest.approx(5.2, abs=0.001), "it ends with the last turn")
    assert page.locator("#audio").evaluate("element => element.paused")
    heard = np.array(page.evaluate("heard"))
    assert (heard < 1.6).any() and (heard >= 5).any() and not ((heard > 4) & (heard < 4.9)).any()
    page.get_by_role("checkbox", name="IV").check()
    page.get_by_role("slider", name="Turns of VP").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    until(page, lambda: view(page)[1] < 2, "zoomed to the first turn")
    page.locator("h1").click()
    page.keyboard.press("p")
    until(page, lambda: at(page) == pytest.approx(view(page)[1], abs=0.001), "it ends with the visible part")
    assert view(page) == pytest.approx((0.55, 1.75))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_turns_are_accessible_and_fit(visit: Callable[..., Visitor], job: str, scheme: str, width: int) -> None:
    page = visit(color_scheme=scheme, **({"is_mobile": True, "has_touch": True} if width < 1000 else {})).page
    page.set_viewport_size({"width": width, "height": 844})
    shown(page, job, speech_until(6), TURNS)
    for summary in page.locator("details:visible > summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for table in ("#speakers", "#turn-rows", "#rows"):
        assert page.locator(table).evaluate("one => one.parentElement.scrollWidth <= one.parentElement.clientWidth"), (
            table
        )
    bare, roles = unnamed(page)
    assert bare == [] and roles.count("slider") >= 4
    count, weak = page.evaluate(CONTRAST)
    assert count > 50 and weak == []
    luminance = """(names) => {
        const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        return names.map((name) => {
            pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
            pen.fillRect(0, 0, 1, 1);
            const linear = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return linear.reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
        });
    }"""
    ink, ground, *fills = page.evaluate(luminance, ["--on-speaker", "--surface", *(f"--speaker{k}" for k in range(4))])
    for fill in fills:  # WCAG: 4.5 to 1 of labels in blocks, 3 to 1 of blocks in their row
        assert (max(ink, fill) + 0.05) / (min(ink, fill) + 0.05) >= 4.5
        assert (max(ground, fill) + 0.05) / (min(ground, fill) + 0.05) >= 3


SRT = b"""1
00:00:00,000 --> 00:00:01,200
[Anna]: Guten Morgen

2
00:00:01,200 --> 00:00:02,000
[Ben]: Ja
"""
DISCRETE = b"""<?xml version="1.0" ?>
<annotation ssi-v="3">
<info ftype="ASCII" size="1" />
<meta role="vp" annotator="anna" />
<scheme name="talk" type="DISCRETE"><item name="speaks" id="0" color="#FF000000" /></scheme>
</annotation>
"""


def looked_at(page: "api.Page", name: str) -> dict:
    """Open the page of a finished job by its name; gives its turns."""
    page.goto("/")
    expect(row(page, name)).to_contain_text("finished")
    row(page, name).get_by_role("link", name=f"View: {name}").click()
    page.wait_for_url("**/jobs/*")
    drawn(page)
    return asked(page, f"/v1/jobs/{page.url.rpartition('/')[2]}/turns")


def test_files_that_are_dropped_together_are_paired_by_name(visit: Callable[..., Visitor], clip: bytes) -> None:
    page = visit().page
    page.goto("/")
    drop_files(page, {"talk.srt": SRT, "alone.wav": clip, "talk.wav": clip, "else.eaf": b"", "talk.txt": b"no turns"})
    for name in ("talk.wav", "alone.wav"):
        expect(row(page, name)).to_contain_text("finished")
    expect(page.locator("#uploads li")).to_contain_text(["says who speaks when. Drop its recording too"])
    page.get_by_role("button", name="Remove else.eaf").click()
    expect(page.locator("#uploads li")).to_have_count(0)
    listed = looked_at(page, "talk.wav")
    assert listed["name"] == "talk.srt"
    assert [(tier["speaker"], tier["turns"][0]["label"]) for tier in listed["tiers"]] == [
        ("Anna", "Guten Morgen"),
        ("Ben", "Ja"),
    ]
    expect(page.locator(".tier-name")).to_have_text(["Anna 1 turn, 0:01 min", "Ben 1 turn, 0:01 min"])
    mean = page.locator("#speakers tbody tr").first.locator("td").nth(2)
    expect(mean).to_have_text(f"{listed['tiers'][0]['turns'][0]['arousal']:.3f}")
    page.locator("#turn-values > summary").click()
    name, text = saved(page, page.get_by_role("link", name="ELAN (.eaf)"))
    tiers = [tier.get("TIER_ID") for tier in ElementTree.fromstring(text).iter("TIER")]
    assert name == "talk.eaf" and {"Anna", "Ben"} <= set(tiers)
    name, text = saved(page, page.get_by_role("link", name="Praat (.TextGrid)"))
    assert name == "talk.TextGrid" and b"Guten Morgen" in text
    assert looked_at(page, "alone.wav")["source"] == "detector"
    expect(page.locator(".tier-name")).to_contain_text("Speech, found by the detector")


def test_a_single_pair_needs_no_common_name_and_has_a_value_for_each_turn(
    visit: Callable[..., Visitor], clip: bytes
) -> None:
    page = visit().page
    page.goto("/")
    page.locator("summary").filter(has_text="Settings").click()
    page.get_by_label("Result").select_option("one value for each turn")
    page.get_by_label("Tiers or speakers").fill(" Ben , ")
    drop_files(page, {"session.wav": clip, "final version.srt": SRT})
    listed = looked_at(page, "session.wav")
    (tier,) = listed["tiers"]
    assert (listed["unit"], listed["name"], tier["speaker"]) == ("turn", "final version.srt", "Ben")
    x, y = plot(page)["valence"]
    np.testing.assert_allclose(x[1:3], [1.2, 2.0])
    np.testing.assert_allclose(y[1:3], tier["turns"][0]["valence"], atol=1e-6)
    expect(page.locator("#coverage")).to_contain_text("a whole turn")
    expect(page.get_by_role("link", name="NOVA annotations")).to_have_count(0)  # turns have none


def test_a_recording_takes_the_segmentation_that_waits_for_it(visit: Callable[..., Visitor], clip: bytes) -> None:
    page = visit().page
    page.goto("/")
    annotation = "vp.talk.anna.annotation"
    drop_files(page, {annotation: DISCRETE, f"{annotation}~": b"0.5;1.5;0;1.0\n"})
    expect(page.locator("#uploads li")).to_contain_text([annotation])
    drop_files(page, {"other.wav": clip})
    expect(row(page, "other.wav")).to_contain_text("finished")
    expect(page.locator("#uploads li")).to_contain_text([annotation])
    drop_files(page, {"vp.audio.wav": clip})
    listed = looked_at(page, "vp.audio.wav")
    assert [(one["start"], one["end"], one["label"]) for one in listed["tiers"][0]["turns"]] == [(0.5, 1.5, "speaks")]


def test_turns_that_cannot_be_used_are_refused_with_a_sentence(visit: Callable[..., Visitor], clip: bytes) -> None:
    visitor = visit()
    visitor.expected = [REFUSED]
    page = visitor.page
    page.goto("/")
    drop_files(page, {"two.wav": clip, "two.eaf": b"<a/>", "two.TextGrid": b""})
    expect(page.locator("#uploads li")).to_contain_text(
        ["several files with turns (two.eaf, two.TextGrid); expected one."]
    )
    page.get_by_role("button", name="Remove the message about two.wav").click()
    drop_files(page, {"cut.wav": clip, "cut.eaf": b"<ANNOTATION_DOCUMENT>"})
    expect(page.locator("#uploads li .error")).to_contain_text("cut.eaf")
    assert page.locator("#uploads li .name").text_content() == "cut.wav with cut.eaf"
    expect(row(page, "cut.wav")).to_have_count(0)
