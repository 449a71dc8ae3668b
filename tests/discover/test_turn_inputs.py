"""Turns of DISCOVER requests: annotations among the inputs, and values that leave silence out."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.cli.demo import request
from emow2v.discover.turn_inputs import check_size
from emow2v.errors import FormatError
from emow2v.formats.ssi_read import read_annotation
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from waiting import until

NAMES = ("arousal", "dominance", "valence")
FREE = '<annotation ssi-v="3"><info ftype="ASCII" size="2"/><meta annotator="me"/><scheme name="speech" type="FREE"/></annotation>'
DISCRETE = (
    '<annotation ssi-v="3"><info ftype="ASCII" size="1"/><meta role="Ben" annotator="me"/><scheme name="who" type="DISCRETE">'
    '<item name="listens" id="0"/><item name="speaks" id="1"/></scheme></annotation>'
)


@pytest.fixture
def talk(data: Path) -> Path:
    """Three seconds of speech, then two of silence, and annotations of two roles."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "talk.wav", np.concatenate([signal[: 3 * rate], np.zeros(2 * rate, np.float32)]), rate)
    for name, header, rows in (
        ("anna", FREE, "0.5;1.9;hello;1.0\n3.5;4.9;nothing;1.0\n"),
        ("ben", DISCRETE, "1.5;2.9;1;1.0\n"),
    ):
        (data / f"{name}.annotation").write_text(header)
        (data / f"{name}.annotation~").write_text(rows)
    return data / "talk.wav"


def entry(uri: str, name: str = "turns", kind: str = "free", **more: str) -> dict[str, str]:
    return {"src": f"file:annotation:{kind}", "type": "input", "id": name, "uri": uri, **more}


def form(talk: Path, *inputs: dict[str, str], **changes: str) -> dict[str, str]:
    plain = request(talk.parent, talk) | {"jobID": "job"}
    return plain | {"data": json.dumps([*json.loads(plain["data"]), *inputs])} | changes


def done(client: TestClient, sent: dict[str, str]) -> dict[str, object]:
    answer = client.post("/process", data=sent).json()
    assert answer["success"] == "True", answer
    job = until(lambda: (now := client.get("/v1/jobs/job").json())["state"] in ("finished", "error") and now)
    assert job["state"] == "finished", job
    return job


def files(talk: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in talk.parent.glob("talk.*") if path != talk}


def test_turns_of_inputs_are_listed_and_change_no_file(client: TestClient, lite: Model, talk: Path) -> None:
    done(client, form(talk))
    before = files(talk)
    assert client.get("/v1/jobs/job/turns").status_code == 404
    job = done(client, form(talk, entry("anna.annotation", role="Anna"), entry("ben.annotation", "other", "discrete")))
    assert files(talk) == before and job["notices"] == []
    listed = client.get("/v1/jobs/job/turns").json()
    assert (listed["source"], listed["name"], listed["unit"]) == ("file", "anna.annotation, ben.annotation", "pool")
    assert [(tier["name"], tier["speaker"]) for tier in listed["tiers"]] == [("speech", "Anna"), ("who", "Ben")]
    (hello, nothing), (speaks,) = (tier["turns"] for tier in listed["tiers"])
    assert (hello["label"], speaks["label"]) == ("hello", "speaks")
    assert nothing["n"] == 0 and nothing["valence"] is None and nothing["speech"] < 0.2
    values = lite.predict(talk, speech=True)
    assert values.speech is not None
    inside = (values.starts >= 0.5 + 0.96 - 1e-6) & (values.ends <= 1.9 + 1e-6) & (values.speech >= 0.5)
    assert hello["n"] == inside.sum() > 0
    np.testing.assert_allclose([hello[name] for name in NAMES], values.scores[inside].mean(axis=0), atol=2e-6)
    assert client.post("/fetch_result", data={"jobID": "job"}).status_code == 404  # nothing with the origin request:


def test_the_option_speech_leaves_silence_out(client: TestClient, lite: Model, talk: Path) -> None:
    done(client, form(talk))
    plain = {name: read_annotation(talk.with_name(f"talk.{name}.annotation")) for name in NAMES}
    stream = talk.with_name("talk.embeddings.stream~").read_bytes()
    done(client, form(talk, options='{"speech": true}'))
    speech = lite.predict(talk, speech=True).speech
    assert speech is not None
    for name in NAMES:
        now = read_annotation(talk.with_name(f"talk.{name}.annotation"))
        silent = np.isnan(now.values)
        np.testing.assert_array_equal(silent, speech < 0.5)
        assert 0 < silent.sum() < len(silent)
        np.testing.assert_array_equal(now.values[~silent], plain[name].values[~silent])
        np.testing.assert_array_equal(now.confidence, plain[name].confidence)
        assert "NaN where its probability is below 0.5" in now.description
    assert talk.with_name("talk.embeddings.stream~").read_bytes() == stream
    rows = client.get("/v1/jobs/job/rows").json()["rows"]
    assert [row[2] is None for row in rows] == (speech < 0.5).tolist()
    listed = client.get("/v1/jobs/job/turns").json()
    assert listed["source"] == "detector" and listed["tiers"][0]["turns"][0]["n"] > 0
    done(client, form(talk, options='{"speech": false}'))
    assert not np.isnan(read_annotation(talk.with_name("talk.valence.annotation")).values).any()


def test_the_reference_reads_annotations_with_gaps(client: TestClient, talk: Path) -> None:
    handlers = pytest.importorskip("discover_utils.data.handler.file_handler")
    done(client, form(talk, options='{"speech": true}'))
    path = talk.with_name("talk.valence.annotation")
    read = handlers.FileHandler().load(path)
    np.testing.assert_allclose(read.data["score"], read_annotation(path).values, atol=1e-6)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (entry("none.annotation"), "does not exist; expected a file with turns"),
        (entry("../work/jobs.sqlite"), "outside the data folders"),
        (entry("talk.wav"), "talk.wav"),
        (entry("late.annotation"), "late.annotation has no turn within talk.wav"),
        ({**entry("a"), "src": "request:annotation:free", "data": "0;1;a;1"}, "has the origin request"),
    ],
)
def test_turns_that_cannot_be_used(client: TestClient, talk: Path, sent: dict[str, str], sentence: str) -> None:
    (talk.parent / "late.annotation").write_text(FREE)
    (talk.parent / "late.annotation~").write_text("70;80;late;1\n")
    answer = client.post("/process", data=form(talk, sent))
    assert answer.status_code == 400 and sentence in answer.json()["error"], answer.text
    assert answer.json()["error"].count("\n") == 0
    job = done(client, form(talk, {**sent, "id": "pose"}))  # an input for another module
    (notice,) = job["notices"]  # type: ignore[misc]
    assert notice.startswith(("The input 'pose' was ignored: ", "late.annotation has no turn within talk.wav"))


def test_an_output_never_replaces_the_turns(client: TestClient, talk: Path) -> None:
    sent = form(talk, entry("anna.annotation"), options='{"overwrite": true}')
    entries = json.loads(sent["data"])
    next(one for one in entries if one["id"] == "arousal")["uri"] = "anna.annotation"
    answer = client.post("/process", data=sent | {"data": json.dumps(entries)})
    assert answer.status_code == 400 and "is the input with the turns" in answer.json()["error"]


def test_sessions_have_turns_of_their_own(client: TestClient, talk: Path) -> None:
    data = talk.parent
    for number, row in enumerate(("0.5;1.9;first;1\n", "0.6;1.8;second;1\n"), 1):
        (data / f"s{number}.wav").write_bytes(talk.read_bytes())
        (data / f"s{number}.turns.annotation").write_text(FREE)
        (data / f"s{number}.turns.annotation~").write_text(row)
    entries = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri_template": "{session}.wav"},
        {"src": "file:annotation:free", "type": "input", "id": "turns", "uri_template": "{session}.turns.annotation"},
        {
            "src": "file:annotation:continuous",
            "type": "output",
            "id": "valence",
            "uri_template": "{session}.v.annotation",
        },
    ]
    done(client, form(talk, data=json.dumps(entries), sessions='["s1", "s2"]'))
    for session, label in ((0, "first"), (1, "second")):
        (tier,) = client.get("/v1/jobs/job/turns", params={"session": session}).json()["tiers"]
        assert [turn["label"] for turn in tier["turns"]] == [label]
        assert tier["turns"][0]["arousal"] is None and tier["turns"][0]["valence"] is not None


def test_a_value_for_the_whole_recording_has_no_turns(client: TestClient, talk: Path) -> None:
    done(client, form(talk, entry("anna.annotation"), frameSize="0"))
    assert client.get("/v1/jobs/job/turns").status_code == 404


def test_a_file_that_cannot_be_read_or_has_gone_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.vtt"):  # the operating system itself refuses to read a folder
        with pytest.raises(FormatError, match=r"^talk.vtt cannot be read \(.+\); expected a file with turns\.$"):
            check_size([path], "talk.vtt")
