"""Files for ELAN and Praat: independent readers find the tiers, links, times and values that the library computes."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pandas as pd
import pytest
import soundfile

from commands import predictor
from emow2v.errors import FormatError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import DIMENSIONS
from emow2v.speech.segmentation import read_segments
from segmentations import EAF

TURNS = "start,end,speaker,label\n0.5,1.5,Eva,one\n1.25,2.5,Ina,zwei & <2>\n3,4.75,Eva,\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "talk.wav", signal[: 5 * rate], rate)
    (tmp_path / "turns.csv").write_text(TURNS, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(lite: Model, monkeypatch):
    return predictor(monkeypatch, lite)


def test_turns_go_into_new_files(lite: Model, folder: Path, predict) -> None:
    pympi = pytest.importorskip("pympi")
    textgrid = pytest.importorskip("praatio.textgrid")
    predict("talk.wav", "--segments", "turns.csv", "--format", "eaf,textgrid,csv", "-o", "out")
    rows = lite.predict_turns("talk.wav", segments="turns.csv").load()
    document = pympi.Elan.Eaf(str(folder / "out" / "talk.eaf"))
    assert [one["RELATIVE_MEDIA_URL"] for one in document.media_descriptors] == ["../talk.wav"]
    assert sorted(document.get_annotation_data_for_tier("Ina")) == [(1250, 2500, "zwei & <2>")]
    eva = [0, 2]
    for place, name in enumerate(DIMENSIONS):
        found = sorted(document.get_annotation_data_for_tier(f"Eva emow2v {name}"))
        assert [one[:2] for one in found] == [(500, 1500), (3000, 4750)]
        np.testing.assert_allclose([float(one[2]) for one in found], rows.scores[eva, place], atol=1e-5)
    grid = textgrid.openTextgrid(str(folder / "out" / "talk.TextGrid"), includeEmptyIntervals=False)
    assert grid.maxTimestamp == pytest.approx(5.0)
    found = grid.getTier("Eva emow2v valence").entries
    np.testing.assert_allclose([[one.start, one.end, float(one.label)] for one in found],
                               [[rows.starts[k], rows.ends[k], rows.scores[k, 2]] for k in eva], atol=1e-5)  # fmt: skip


def test_an_eaf_comes_back_with_more_tiers(lite: Model, folder: Path, predict) -> None:
    pympi = pytest.importorskip("pympi")
    (folder / "talk.eaf").write_text(EAF, "utf-8")
    predict("talk.wav", "--segments", "talk.eaf", "--tier", "VP", "--format", "eaf", "-o", "out")
    before, after = (pympi.Elan.Eaf(str(folder / place / "talk.eaf")) for place in (".", "out"))
    tiers = list(before.get_tier_names())
    assert [name for name in after.get_tier_names() if name in tiers] == tiers
    for tier in tiers:
        assert after.get_annotation_data_for_tier(tier) == before.get_annotation_data_for_tier(tier)
    new = [name for name in after.get_tier_names() if name not in tiers]
    name = next(name for name in new if name.endswith("valence"))
    found = sorted(after.get_annotation_data_for_tier(name))
    rows = lite.predict_turns("talk.wav", segments="talk.eaf", tiers=["VP"]).load()
    # talk.wav begins 1.5 s before the time of the file (TIME_ORIGIN)
    assert [one[0] for one in found] == pytest.approx([(start - 1.5) * 1000 for start in rows.starts])
    np.testing.assert_allclose([float(one[2]) for one in found], rows.scores[:, 2], atol=1e-5)
    assert (folder / "talk.eaf").read_text("utf-8") == EAF
    result = predict("talk.wav", "--segments", "talk.eaf", "--format", "eaf", "--overwrite", code=1)
    assert "is the file with the turns itself" in result.output
    assert (folder / "talk.eaf").read_text("utf-8") == EAF


def test_values_that_come_back_are_no_turns_of_the_next_run(folder: Path, predict) -> None:
    predict("talk.wav", "--segments", "turns.csv", "--format", "eaf,textgrid", "-o", "out")
    for name in ("talk.eaf", "talk.TextGrid"):
        found = read_segments(folder / "out" / name, ())
        assert {(one.start, one.end) for one in found.segments} == {(0.5, 1.5), (1.25, 2.5), (3.0, 4.75)}


def test_turns_as_subtitles_and_rttm(lite: Model, folder: Path, predict) -> None:
    """FFmpeg reads the subtitles; pandas the RTTM, in the way of pyannote.database, which knows no remarks."""
    av = pytest.importorskip("av")
    predict("talk.wav", "--segments", "turns.csv", "--format", "vtt,rttm", "-o", "out")
    predict("talk.wav", "--segments", "turns.csv", "--format", "vtt,rttm", "-o", "out")  # which replaces its own
    rows = lite.predict_turns("talk.wav", segments="turns.csv").load()
    with av.open(str(folder / "out/talk.vtt")) as file:
        assert file.streams[0].codec_context.name == "webvtt"
        cues = [packet for packet in file.demux() if packet.size]
    times = [(float(one.pts * one.time_base), float(one.duration * one.time_base)) for one in cues]
    assert times == [(0.5, 1.0), (1.25, 1.25), (3.0, 1.75)]
    texts = [bytes(one).decode() for one in cues]
    assert texts[1].startswith("<v Ina>zwei &amp; &lt;2&gt;\n") and texts[2].startswith("<v Eva>arousal")
    for text, scores in zip(texts, rows.scores, strict=True):
        values = dict(word.split() for word in text.split("\n")[-1].removeprefix("<v Eva>").split(", "))
        assert [float(values[name]) for name in DIMENSIONS] == pytest.approx(scores, abs=6e-4)
    lines = (folder / "out/talk.rttm").read_text("utf-8").splitlines()
    names = ["type", "uri", "NA2", "start", "duration", "NA3", "NA4", "speaker", "NA5", "NA6"]
    kinds = {"uri": str, "start": float, "duration": float, "speaker": str}
    table = pd.read_csv(folder / "out/talk.rttm", names=names, dtype=kinds, sep=r"\s+", keep_default_na=True)
    (recording, found), *others = table.groupby("uri")
    assert recording == "talk" and not others and found["speaker"].tolist() == ["Eva", "Ina", "Eva"]
    assert list(zip(found["start"], found["duration"], strict=True)) == times
    fields = [line.split() for line in lines if not line.startswith(";;")]
    assert [[*one[:3], *one[5:]] for one in fields] == [
        ["SPEAKER", "talk", "1", "<NA>", "<NA>", name, "<NA>", "<NA>"] for name in ("Eva", "Ina", "Eva")
    ]
    assert [(float(one[3]), float(one[4])) for one in fields] == times
    assert f"arousal={rows.scores[0, 0]:.4f}" in lines[0]
    for name in ("talk.vtt", "talk.rttm"):
        found = read_segments(folder / "out" / name, ())
        assert [(one.start, one.end, one.speaker) for one in found.segments] == [
            (0.5, 1.5, "Eva"), (1.25, 2.5, "Ina"), (3.0, 4.75, "Eva")
        ]  # fmt: skip
    labels = [one.label for one in read_segments(folder / "out/talk.vtt", ()).segments]
    assert labels == ["one", "zwei & <2>", ""]
    (folder / "out/talk.rttm").write_text("mine\n")
    result = predict("talk.wav", "--segments", "turns.csv", "--format", "rttm", "-o", "out", code=1)
    assert "talk.rttm" in result.output


def test_curves_go_into_a_table_of_praat(lite: Model, folder: Path, predict) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    predict("talk.wav", "--speech", "--format", "praat", "-o", "out")
    table = parselmouth.Data.read(str(folder / "out" / "talk.Table"))
    rows = lite.predict("talk.wav", speech=True).load()
    count = int(parselmouth.praat.call(table, "Get number of rows"))
    assert count == len(rows)
    for row in (1, 40, 100):
        texts = {
            name: str(parselmouth.praat.call(table, "Get value", row, name)) for name in ("start", "valence", "speech")
        }
        expected = rows.scores[row - 1, 2] if rows.speech[row - 1] >= 0.5 else np.nan
        np.testing.assert_allclose(
            [float(text.replace("--undefined--", "nan")) for text in texts.values()],
            [rows.starts[row - 1], expected, rows.speech[row - 1]],
            atol=1e-5,
        )


def test_curves_are_linked_time_series_in_elan(lite: Model, folder: Path, predict) -> None:
    pympi = pytest.importorskip("pympi")
    predict("talk.wav", "--format", "eaf", "-o", "out")
    predict("talk.wav", "--format", "eaf", "-o", "out")  # which replaces its own
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["talk.eaf", "talk.emow2v.csv", "talk_tsconf.xml"]
    document = pympi.Elan.Eaf(str(folder / "out" / "talk.eaf"))
    assert [one["RELATIVE_LINK_URL"] for one in document.linked_file_descriptors] == [
        "./talk.emow2v.csv", "./talk_tsconf.xml"
    ]  # fmt: skip
    rows = lite.predict("talk.wav").load()
    with (folder / "out" / "talk.emow2v.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    np.testing.assert_allclose([float(line["valence"]) for line in lines], rows.scores[:, 2], atol=1e-5)
    np.testing.assert_allclose([float(line["time"]) for line in lines], (rows.starts + rows.ends) / 2, atol=1e-3)
    (folder / "out" / "talk.emow2v.csv").write_text("mine")
    result = predict("talk.wav", "--format", "eaf", "-o", "out", code=1)
    assert "changed since" in result.output and (folder / "out" / "talk.emow2v.csv").read_text() == "mine"


def test_an_eaf_comes_back_with_curves_where_means_are_taken(lite: Model, folder: Path, predict) -> None:
    pympi = pytest.importorskip("pympi")
    (folder / "talk.eaf").write_text(EAF, "utf-8")
    options = ["talk.wav", "--segments", "talk.eaf", "--tier", "VP", "--pool", "--format", "eaf"]
    predict(*options, "-o", "out")
    document = pympi.Elan.Eaf(str(folder / "out" / "talk.eaf"))
    linked = ["./talk.emow2v.csv", "./talk_tsconf.xml"]
    assert [one["RELATIVE_LINK_URL"] for one in document.linked_file_descriptors] == linked
    assert "VP emow2v valence" in document.get_tier_names() or "Anna emow2v valence" in document.get_tier_names()
    header = minidom.parse(str(folder / "out" / "talk.eaf")).getElementsByTagName("HEADER")[0]
    names = [one.tagName for one in header.childNodes if one.nodeType == one.ELEMENT_NODE]
    assert names == sorted(names, key=["MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR", "PROPERTY"].index)
    rows = lite.predict("talk.wav", speech=True).to_frame().reset_index()
    times = (rows["start"] + rows["end"]).dt.total_seconds() / 2 - 1.5  # talk.wav begins 1.5 s before the file's time
    with (folder / "out" / "talk.emow2v.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    np.testing.assert_allclose([float(line["time"]) for line in lines], times[times >= 0], atol=1e-3)
    found = [float(line["valence"] or "nan") for line in lines]
    np.testing.assert_allclose(found, rows["valence"][times >= 0], atol=1e-5)  # with the same gaps

    own = '<LINKED_FILE_DESCRIPTOR LINK_URL="file:///C:/data/talk_tsconf.xml" MIME_TYPE="text/xml"/>'
    (folder / "talk.eaf").write_text(EAF.replace("<PROPERTY", f"{own}<PROPERTY", 1), "utf-8")
    predict(*options, "-o", "kept")  # curves of somebody else stay as they are
    assert [path.name for path in (folder / "kept").iterdir()] == ["talk.eaf"]
    document = pympi.Elan.Eaf(str(folder / "kept" / "talk.eaf"))
    assert [one["LINK_URL"] for one in document.linked_file_descriptors] == ["file:///C:/data/talk_tsconf.xml"]


def test_new_files_have_curves_of_their_channel(lite: Model, folder: Path, predict) -> None:
    signal, rate = soundfile.read("talk.wav", dtype="float32")
    soundfile.write("both.wav", np.stack([signal, signal[::-1]], axis=1), rate)
    more = ["--segments", "turns.csv", "--pool", "--format", "eaf", "--frame-step", "200ms"]
    predict("both.wav", "--channel", "each", *more, "-o", "out")
    framing = Framing(frame_step_ms=200)
    for number, name in enumerate(("left", "right"), 1):
        with (folder / "out" / f"both.{name}.emow2v.csv").open(newline="") as file:
            found = [float(line["valence"] or "nan") for line in csv.DictReader(file)]
        rows = lite.predict("both.wav", channel=number, speech=True, framing=framing).to_frame()
        np.testing.assert_allclose(found, rows["valence"], atol=1e-5)
    predict("both.wav", "--tier", "Eva=left", "--tier", "Ina=right", *more, "-o", "tied")  # two channels, no one curve
    assert [path.name for path in (folder / "tied").iterdir()] == ["both.eaf"]


def test_a_folder_gives_one_table_and_files_for_elan_and_praat(folder: Path, predict) -> None:
    shutil.copy(folder / "talk.wav", folder / "other.wav")
    (folder / "empty.wav").touch()
    (folder / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\n[Anna]: Guten Morgen.\n", "utf-8")
    (folder / "other.eaf").write_text(EAF, "utf-8")
    (folder / "empty.eaf").write_text(EAF, "utf-8")
    result = predict(".", "--segments", ".", "--format", "eaf,textgrid", "--table", "out/all.csv", "-o", "out", code=1)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        ".emow2v", "all.csv", "all.csv-metadata.json", "failures.csv", "other.TextGrid", "other.eaf", "talk.TextGrid", "talk.eaf"
    ]  # fmt: skip
    assert "empty.wav" in result.output and "2 of 3 recordings done, 1 failed" in result.output
    with (folder / "out" / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["file"]).name for row in rows} == {"talk.wav", "other.wav"}
    assert {row["speaker"] for row in rows if "talk" in row["file"]} == {"Anna"}


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 or UTF-16 there")
def test_a_name_that_is_not_utf8_costs_nothing(folder: Path, predict) -> None:
    """Every format has it, in another form where its letters are written in the file; the next recording is done."""
    (folder / "many").mkdir()
    for name in (os.fsdecode(b"bad\xff.wav"), "zgood.wav"):
        shutil.copy("talk.wav", folder / "many" / name)
    formats = "vtt,rttm,textgrid,eaf,csv,annotation"
    result = predict("many", "--segments", "turns.csv", "--format", formats, "-o", "out")
    assert "2 of 2 recordings done" in result.output and "too long" not in result.output
    assert (
        r"bad\udcff.wav: its name is not UTF-8; its results have another name" not in result.output
    )  # csv has its own
    for ending in ("vtt", "rttm", "TextGrid", "eaf", "csv"):
        for stem in (os.fsdecode(b"bad\xff"), "zgood"):
            assert (folder / "out" / f"{stem}.{ending}").read_bytes().decode("utf-8")
    line = (folder / "out" / os.fsdecode(b"bad\xff.rttm")).read_text("utf-8").splitlines()[1]
    assert line.split()[:3] == ["SPEAKER", r"bad\udcff", "1"]
    result = predict("many", "--segments", "turns.csv", "--format", "annotation", "-o", "annotations")
    assert r"bad\udcff.wav: its name is not UTF-8; its results have another name: bad" in result.output
    assert "too long" not in result.output


def test_speakers_that_utf8_cannot_hold(folder: Path, predict) -> None:
    """JSON can name half a pair of UTF-16; files hold its number."""
    turn = {"start": 0.5, "end": 1.5, "speaker": "A\ud800", "text": "b\udc80"}
    (folder / "turns.json").write_text(json.dumps({"segments": [turn]}), "utf-8")
    predict("talk.wav", "--segments", "turns.json", "--format", "vtt,rttm,textgrid,eaf", "-o", "out")
    for ending in ("vtt", "rttm", "TextGrid", "eaf"):
        assert r"A\ud800" in (folder / "out" / f"talk.{ending}").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--format", "textgrid"), "holds turns"),
        (("--format", "vtt"), "holds turns; expected --unit turns or --segments with it."),
        (
            ("--format", "annotation", "--range", "0:1e-300"),
            "0:1e-300; expected LOW:HIGH such as -1:1, from -1e6 to 1e6, and .001",
        ),
        (("--format", "praat", "--unit", "turns"), "values over time"),
        (("--format", "xyz"), "is unknown; expected csv"),
        (("--format", "eaf", "-o", "-"), "Standard output takes csv or json"),
    ],
)
def test_formats_that_do_not_fit_are_refused(folder: Path, predict, arguments: tuple[str, ...], sentence: str) -> None:
    result = predict("talk.wav", *arguments, code=1)
    assert isinstance(result.exception, FormatError | SystemExit)
    assert sentence in result.output + str(result.exception)
    assert sorted(path.name for path in folder.iterdir()) == ["talk.wav", "turns.csv"]
