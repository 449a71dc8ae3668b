"""Turns over /v1: tables of turns, turns beside values over time, and files with turns that cannot be used."""

import csv
import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.discover.places import Places
from emow2v.discover.turn_inputs import MAX_AT_ONCE, MAX_BYTES, MAX_LINES, MAX_TURNS
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.jobs.history import forget
from emow2v.server.jobs.store import Store
from emow2v.server.options import ServerOptions
from servers import erased
from waiting import until

LABELS = "0.50\t1.70\tone\n2.00\t3.90\ttwo, three\n3.95\t4.00\tshort\n"
VTT = "WEBVTT\n\n00:00.500 --> 00:01.700\n<v Anna>one\n\n00:02.000 --> 00:03.900\n<v Ben>two\n"
SCORES = ("arousal", "dominance", "valence")


@pytest.fixture
def talk(data: Path) -> Path:
    """Four seconds of speech, then a second of silence."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "talk.wav", np.concatenate([signal[: 4 * rate], np.zeros(rate, np.float32)]), rate)
    return data / "talk.wav"


def posted(
    client: TestClient, name: str = "talk.txt", content: str | bytes = LABELS, **form: object
) -> dict[str, object]:
    """The job of a recording with a file with turns."""
    answer = client.post(
        "/v1/predictions",
        data={"path": "talk.wav", "wait": "false", **form},
        files={"segments": (name, content)} if name else None,
    )
    assert answer.status_code == 202, answer.text
    return ended(client, answer.json()["id"])


def ended(client: TestClient, job: str) -> dict[str, object]:
    found = until(lambda: (now := client.get(f"/v1/jobs/{job}").json())["state"] in ("finished", "error") and now)
    assert found["state"] == "finished", found
    return found


def test_rows_are_the_turns_of_the_file_in_every_format(
    client: TestClient, lite: Model, talk: Path, tmp_path: Path
) -> None:
    job = posted(client, "talk.vtt", VTT, unit="turns", format="csv", tier="Ben")
    address = f"/v1/jobs/{job['id']}"
    (tmp_path / "judge.vtt").write_text(VTT)
    frame = lite.predict_turns(talk, segments=tmp_path / "judge.vtt", tiers=["Ben"]).to_frame().reset_index()
    (row,) = csv.DictReader(io.StringIO(client.get(f"{address}/result").text))
    assert (row["file"], row["start"], row["end"], row["speaker"], row["label"], row["n"]) == (
        "talk.wav", "2.0", "3.9", "Ben", "two", "1",
    )  # fmt: skip
    for name in (*SCORES, "confidence", "speech"):
        assert float(row[name]) == pytest.approx(frame[name][0], abs=2e-6)
    document = client.get(f"{address}/result?format=json").json()
    assert (
        dict(zip(document["columns"], document["rows"][0], strict=True)).items() >= {"speaker": "Ben", "n": 1}.items()
    )
    lines = client.get(f"{address}/result?format=ndjson").text.splitlines()
    assert json.loads(lines[1]).keys() == row.keys() - {"file"}
    assert json.loads(lines[0])["provenance"]["turns_from"] == "talk.vtt (WebVTT)"
    assert "turns have none" in client.get(f"{address}/result?format=annotation").json()["error"]
    listed = client.get(f"{address}/turns").json()
    assert {name: listed[name] for name in ("source", "name", "unit")} == {
        "source": "file", "name": "talk.vtt", "unit": "turn",
    }  # fmt: skip
    (tier,) = listed["tiers"]
    (turn,) = tier["turns"]
    assert (tier["name"], tier["speaker"], turn["label"], turn["n"]) == ("", "Ben", "two", 1)
    assert turn["valence"] == pytest.approx(frame["valence"][0], abs=2e-6)


def test_pooled_turns_and_those_of_the_detector(client: TestClient, lite: Model, talk: Path) -> None:
    job = posted(client, "", unit="turns", pool="true", frame_step="100ms", shortest_turn="100ms", longest_turn="2s")
    listed = client.get(f"/v1/jobs/{job['id']}/turns").json()
    assert (listed["source"], listed["name"], listed["unit"]) == ("detector", "the detector", "pool")
    options = {"pool": True, "framing": Framing(frame_step_ms=100), "shortest_turn_ms": 100, "longest_turn_ms": 2000}
    frame = lite.predict_turns(talk, **options).to_frame().reset_index()  # type: ignore[arg-type]
    (tier,) = listed["tiers"]
    assert len(tier["turns"]) == len(frame) > 1 and tier["name"] == tier["speaker"] == ""
    for name in ("start", "end", *SCORES, "n", "speech"):
        np.testing.assert_allclose([one[name] for one in tier["turns"]], _seconds(frame[name]), atol=2e-6)


def _seconds(column: object) -> np.ndarray:
    times = getattr(column, "dt", None)
    return np.asarray(times.total_seconds() if times is not None else column, float)


def test_values_over_time_have_turns_beside_them(client: TestClient, lite: Model, talk: Path) -> None:
    plain = client.post("/v1/predictions", data={"path": "talk.wav"}).json()
    job = posted(client)
    table = client.get(f"/v1/jobs/{job['id']}/result").json()
    assert table["columns"] == plain["columns"] and table["rows"] == plain["rows"]  # the turns change no value
    listed = client.get(f"/v1/jobs/{job['id']}/turns").json()
    assert (listed["source"], listed["name"], listed["unit"], listed["notices"]) == ("file", "talk.txt", "pool", [])
    (tier,) = listed["tiers"]
    one, two, short = tier["turns"]
    assert [turn["label"] for turn in tier["turns"]] == ["one", "two, three", "short"]
    trajectory = lite.predict(talk, speech=True)
    inside = (trajectory.starts - 0.96 >= 2 - 1e-6) & (trajectory.ends <= 3.9 + 1e-6)
    assert trajectory.speech is not None and two["n"] == int((inside & (trajectory.speech >= 0.5)).sum()) > 0
    means = trajectory.scores[inside & (trajectory.speech >= 0.5)].mean(axis=0)
    np.testing.assert_allclose([two[name] for name in SCORES], means, atol=2e-6)
    assert short["n"] == 0 and short["valence"] is None and short["confidence"] is None
    assert 0 < one["speech"] <= 1


def test_turns_of_the_detector_beside_values(client: TestClient, lite: Model, talk: Path) -> None:
    job = posted(client, "", speech="true", longest_turn="2s")
    table = client.get(f"/v1/jobs/{job['id']}/result").json()
    assert table["columns"][-1] == "speech"
    rows = np.array([[np.nan if value is None else value for value in row] for row in table["rows"]])
    silent = rows[:, -1] < 0.5
    assert silent[-5:].all() and np.isnan(rows[silent][:, 2:5]).all() and np.isfinite(rows[~silent]).all()
    answer = client.get(f"/v1/jobs/{job['id']}/rows").json()
    assert answer["columns"] == table["columns"] and answer["rows"] == table["rows"]
    listed = client.get(f"/v1/jobs/{job['id']}/turns").json()
    judge = lite.predict_turns(talk, longest_turn_ms=2000)
    (tier,) = listed["tiers"]
    assert [(turn["start"], turn["end"]) for turn in tier["turns"]] == list(zip(judge.starts, judge.ends, strict=True))
    assert judge.speech is not None
    np.testing.assert_allclose([turn["speech"] for turn in tier["turns"]], judge.speech, atol=2e-6)


def test_both_files_of_an_annotation_and_a_path(client: TestClient, talk: Path) -> None:
    header = (
        '<annotation ssi-v="3"><info ftype="ASCII" size="1"/><meta role="Anna" annotator="me"/>'
        '<scheme name="turns" type="FREE"/></annotation>'
    )
    row = "0.5;1.7;hello;1.0\n"
    files = [("segments", ("a.annotation~", row)), ("segments", ("a.annotation", header))]
    answer = client.post("/v1/predictions", data={"path": "talk.wav", "unit": "turns"}, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"][0][2:5] == ["Anna", "turns", "hello"]
    (talk.parent / "b.annotation").write_text(header)
    (talk.parent / "b.annotation~").write_text(row)
    form = {"path": "talk.wav", "unit": "turns", "segments_path": "b.annotation"}
    by_path = client.post("/v1/predictions", data=form).json()
    assert by_path["rows"] == answer.json()["rows"]
    assert by_path["provenance"]["turns_from"] == "b.annotation (SSI annotation)"


@pytest.mark.parametrize(
    ("name", "content", "form", "sentence"),
    [
        ("talk.vtt", VTT, {"tier": "Carla"}, "talk.vtt has no tier 'Carla'; expected one of 'Anna', 'Ben'."),
        ("talk.vtt", VTT, {"tier": "=left"}, "The tier is '=left'"),
        ("talk.vtt", VTT, {"tier": "Anna=right"}, "expected unit=turns, or channel=right without the tie"),
        ("talk.eaf", "<ANNOTATION_DOCUMENT", {}, "talk.eaf: "),
        ("talk.eaf", "", {}, "talk.eaf: it is empty"),
        ("talk.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n', {}, "talk.TextGrid: "),
        ("talk.txt", "80\t90\tlater\n", {}, "talk.txt has no turn within talk.wav: it lasts until 90 s, talk.wav 5 s"),
        ("talk.txt", "1\t1\tpoint\n", {}, "talk.txt holds no turns"),
        ("talk.txt", LABELS, {"unit": "files"}, "One value for the whole recording has no turns"),
        ("talk.txt", LABELS, {"segments_path": "b.eaf"}, "two files with turns"),
        ("talk.annotation", '<annotation ssi-v="3"/>', {}, "talk.annotation"),
        ("", "", {"tier": "Anna"}, "tier names tiers of a file; expected segments with it"),
        ("", "", {"pool": "true"}, "pool belongs to turns; expected unit=turns with it"),
        ("", "", {"unit": "turns", "start": "1s"}, "Turns have times of their own"),
        ("", "", {"speech": "true", "longest_turn": "300ms"}, "The longest turn is 300 ms; expected 0"),
        ("", "", {"segments": "a text"}, "segments is a text; expected an upload"),
        ("", "", {"speech": "perhaps"}, "speech is 'perhaps'; expected true or false."),
    ],
)
def test_what_cannot_be_done_with_turns(
    client: TestClient, talk: Path, tmp_path: Path, name: str, content: str, form: dict[str, str], sentence: str
) -> None:
    answer = client.post(
        "/v1/predictions", data={"path": "talk.wav", **form}, files={"segments": (name, content)} if name else None
    )
    assert answer.status_code == 422 and sentence in answer.json()["error"], answer.text
    assert answer.json()["error"].count("\n") == 0 and str(tmp_path) not in answer.text
    assert client.get("/v1/jobs").json() == []
    assert not list((tmp_path / "work" / "uploads").glob("*"))


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({"segments_path": "sub"}, 400, "sub is a folder; expected a file with turns."),
        ({"segments_path": "sub", "unit": "windows"}, 400, "sub is a folder; expected a file with turns."),
        ({"path": "sub"}, 400, "sub is a folder; expected a recording"),
        (
            {"segments_path": "folder.annotation"},
            400,
            "folder.annotation~ is a folder; expected the data of an annotation.",
        ),
        ({"segments_path": "talk.wav"}, 422, "talk.wav: it is a recording, no file with turns; expected"),
        ({"segments_path": "none.eaf"}, 400, "expected a file with turns below the data folders"),
        ({"segments_path": "../work/jobs.sqlite"}, 400, "outside the data folders"),
        ({"shortest_turn": "soon"}, 422, "shortest_turn is 'soon'"),
        ({"channel": "each"}, 400, "post the recording once for each channel"),
    ],
)
def test_other_fields_that_are_wrong(
    client: TestClient, talk: Path, form: dict[str, str], status: int, sentence: str
) -> None:
    (talk.parent / "sub").mkdir()
    (talk.parent / "folder.annotation~").mkdir()
    (talk.parent / "folder.annotation").touch()
    answer = client.post("/v1/predictions", data={"path": "talk.wav", "unit": "turns", **form})
    assert answer.status_code == status and sentence in answer.json()["error"], answer.text


def test_files_that_are_too_many_or_too_large(client: TestClient, talk: Path, tmp_path: Path) -> None:
    for names in (("a.vtt", "b.vtt"), ("a.vtt", "a.vtt"), ("a.annotation", "b.annotation~")):
        answer = client.post(
            "/v1/predictions", data={"path": "talk.wav"}, files=[("segments", (name, VTT)) for name in names]
        )
        assert answer.status_code == 422 and "segments came 2 times" in answer.json()["error"]
    answer = client.post(
        "/v1/predictions", data={"path": "talk.wav"}, files={"segments": ("a.vtt", b" " * (MAX_BYTES + 1))}
    )
    assert answer.status_code == 413 and "16 MiB" in answer.json()["error"]
    (talk.parent / "large.vtt").write_bytes(b" " * (MAX_BYTES + 1))
    answer = client.post("/v1/predictions", data={"path": "talk.wav", "segments_path": "large.vtt"})
    assert answer.status_code == 422 and "large.vtt has more than 16 MiB" in answer.json()["error"]
    for content, sentence in (
        ("\r" * (MAX_LINES + 1), "a.txt has more than 200000 lines"),
        ("".join(f"{k / 5000}\t{(k + 1) / 5000}\ta\n" for k in range(MAX_TURNS + 1)), "a.txt has 20001 turns"),
        ("0\t1\ta\n" * (MAX_AT_ONCE + 1), "a.txt has more than 100 turns at the same time"),
    ):
        answer = client.post("/v1/predictions", data={"path": "talk.wav"}, files={"segments": ("a.txt", content)})
        assert answer.status_code == 422 and sentence in answer.json()["error"], answer.text
    after_each_other = "".join(f"{k / 100}\t{(k + 1) / 100}\ta\n" for k in range(MAX_AT_ONCE + 1))
    client.delete(f"/v1/jobs/{posted(client, 'a.txt', after_each_other)['id']}")
    assert not list((tmp_path / "work" / "uploads").glob("*"))


def test_tiers_with_channels_of_their_own(client: TestClient, lite: Model, data: Path) -> None:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    two = np.column_stack([signal[: 4 * rate], signal[4 * rate : 8 * rate]])
    soundfile.write(data / "talk.wav", two, rate)
    form = {"unit": "turns", "tier": ["Anna=left", "Ben=right"]}
    job = posted(client, "talk.vtt", VTT, **form)
    rows = client.get(f"/v1/jobs/{job['id']}/result").json()["rows"]
    for row, channel, (start, end) in zip(rows, (0, 1), ((0.5, 1.7), (2, 3.9)), strict=True):
        part = Framing.files(start_ms=start * 1000, end_ms=end * 1000)
        expected = lite.predict(two[:, channel], rate, framing=part).scores[0]
        np.testing.assert_allclose(row[5:8], expected, atol=1e-5)
    answer = client.post(
        "/v1/predictions",
        data={"path": "talk.wav", "unit": "turns", "tier": "Ben=3"},
        files={"segments": ("talk.vtt", VTT)},
    )
    assert answer.status_code == 400 and "channel" in answer.json()["error"], answer.text


def test_the_file_goes_with_its_job(lite: Model, talk: Path, client: TestClient, tmp_path: Path) -> None:
    uploads = tmp_path / "work" / "uploads"
    files = {"file": ("talk.wav", talk.read_bytes()), "segments": ("talk.vtt", VTT)}
    job = client.post("/v1/predictions", data={"wait": "false"}, files=files).json()["id"]
    ended(client, job)
    assert len(list(uploads.glob("*"))) == 2
    assert client.get(f"/v1/jobs/{job}/turns").json()["name"] == "talk.vtt"
    assert client.delete(f"/v1/jobs/{job}").status_code == 200
    assert not list(uploads.glob("*")) and not list((tmp_path / "work" / "results").glob("*"))
    assert client.get(f"/v1/jobs/{job}/turns").status_code == 404
    long = io.BytesIO()
    soundfile.write(long, np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], 16000 * 300), 16000, format="FLAC")
    files = {"file": ("talk.flac", long.getvalue()), "segments": ("talk.vtt", VTT)}
    job = client.post("/v1/predictions", data={"wait": "false"}, files=files).json()["id"]
    assert client.get(f"/v1/jobs/{job}/turns").status_code == 409
    assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "canceled"
    until(functools.partial(erased, client, job))
    assert not list(uploads.glob("*"))


def test_files_of_forgotten_jobs_go(client: TestClient, talk: Path, data: Path, tmp_path: Path) -> None:
    posted(client, "talk.vtt", VTT)
    places = Places([data], tmp_path / "work")
    assert len(list(places.uploads.glob("*"))) == 1
    forget(Store(tmp_path / "work" / "jobs.sqlite"), places, ServerOptions(keep_jobs=0))
    assert not list(places.uploads.glob("*"))


def test_a_job_without_turns_says_so(client: TestClient, talk: Path) -> None:
    for form in ({}, {"unit": "files"}):
        job = client.post("/v1/predictions", data={"path": "talk.wav", "wait": "false", **form}).json()["id"]
        ended(client, job)
        answer = client.get(f"/v1/jobs/{job}/turns")
        assert answer.status_code == 404 and "The job has no turns" in answer.json()["error"]


def test_a_part_of_a_recording_has_the_turns_of_its_time(client: TestClient, talk: Path) -> None:
    job = posted(client, start="1500ms", end="3s", speech="true")
    (tier,) = client.get(f"/v1/jobs/{job['id']}/turns").json()["tiers"]
    assert [(turn["label"], turn["n"]) for turn in tier["turns"]] == [("one", 4), ("two, three", 1)]
    job = posted(client, "", start="1500ms", end="3s", speech="true")
    (tier,) = client.get(f"/v1/jobs/{job['id']}/turns").json()["tiers"]
    assert all(turn["end"] > 1.5 for turn in tier["turns"])


def test_turns_go_back_to_elan_and_praat(client: TestClient, talk: Path, tmp_path: Path) -> None:
    pympi, praatio = pytest.importorskip("pympi"), pytest.importorskip("praatio.textgrid")
    job = posted(client, "talk.vtt", VTT, unit="turns")
    listed = client.get(f"/v1/jobs/{job['id']}/turns").json()
    answer = client.get(f"/v1/jobs/{job['id']}/turns", params={"format": "textgrid"})
    assert 'filename="talk.TextGrid"' in answer.headers["content-disposition"]
    (tmp_path / "talk.TextGrid").write_bytes(answer.content)
    grid = praatio.openTextgrid(str(tmp_path / "talk.TextGrid"), includeEmptyIntervals=False)
    (entry,) = grid.getTier("Anna emow2v valence").entries
    assert (entry.start, entry.end) == (0.5, 1.7) and grid.maxTimestamp == 5
    assert float(entry.label) == pytest.approx(listed["tiers"][0]["turns"][0]["valence"], abs=0.006)
    answer = client.get(f"/v1/jobs/{job['id']}/turns", params={"format": "eaf"})
    (tmp_path / "new.eaf").write_bytes(answer.content)
    assert pympi.Elan.Eaf(tmp_path / "new.eaf").get_annotation_data_for_tier("Ben")[0][:3] == (2000, 3900, "two")
    assert str(tmp_path).encode() not in answer.content
    for kind, first in (("vtt", "WEBVTT"), ("rttm", ";;arousal=")):
        answer = client.get(f"/v1/jobs/{job['id']}/turns", params={"format": kind})
        assert answer.text.startswith(first) and f'filename="talk.{kind}"' in answer.headers["content-disposition"]
    name = "VP"  # an .eaf that came comes back with more tiers, in its own time
    eaf = pympi.Elan.Eaf()
    eaf.add_tier(name)
    eaf.add_annotation(name, 500, 1700, "hello")
    eaf.to_file(tmp_path / "own.eaf")
    job = posted(client, "own.eaf", (tmp_path / "own.eaf").read_bytes())
    answer = client.get(f"/v1/jobs/{job['id']}/turns", params={"format": "eaf"})
    (tmp_path / "copy.eaf").write_bytes(answer.content)
    copy = pympi.Elan.Eaf(tmp_path / "copy.eaf")
    assert copy.get_annotation_data_for_tier(name)[0][:3] == (500, 1700, "hello")
    assert f"{name} emow2v" in copy.get_tier_names()
    assert not [path for path in (tmp_path / "work" / "results").iterdir() if path.suffix]  # nothing is left behind


def test_other_formats_of_turns(client: TestClient, talk: Path) -> None:
    job = posted(client)
    answer = client.get(f"/v1/jobs/{job['id']}/turns", params={"format": "srt"})
    assert answer.status_code == 422 and "expected json, eaf, textgrid, vtt or rttm" in answer.json()["error"]
