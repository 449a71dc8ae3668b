"""The probability of speech of rows: what the detector says of the whole recording, in every table, and nothing else."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from commands import caller
from emow2v.formats.plot import plot
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.speech.activity import THRESHOLD, ValueSpeech
from said import frame_s, speech_frames


@pytest.fixture(scope="module")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.2 s of speech, 2 s of silence, 1.2 s of speech; the other channel is silent throughout."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    speech, silence = signal[int(0.6 * rate) : int(1.8 * rate)], np.zeros(2 * rate, np.float32)
    mono = np.concatenate([speech, silence, speech])
    path = tmp_path_factory.mktemp("pause") / "talk.wav"
    soundfile.write(path, np.stack([mono, np.zeros_like(mono)], axis=1), rate)
    return path


def expected(model: Model, path: Path, framing: Framing, count: int, channel: str = "mix") -> np.ndarray:
    values = ValueSpeech(framing, 1000 * frame_s(model))
    values.add(speech_frames(model, path, channel))
    return values.of(framing.first_frame, count)


@pytest.mark.parametrize(
    ("options", "framing"),
    [
        ({}, Framing()),
        ({"batch_size": 1}, Framing()),
        ({"context": "shared"}, Framing()),
        ({}, Framing(frame_step_ms=100, left_context_ms=400, right_context_ms=300)),
        ({}, Framing(start_ms=1500, end_ms=3000)),
        ({}, Framing(align="centre")),
    ],
)
def test_rows_have_what_the_detector_says_of_their_window(
    windows: Model, pause: Path, options, framing: Framing
) -> None:
    heard = windows.predict(pause, framing=framing, speech=True, **options).load()
    plain = windows.predict(pause, framing=framing, **options).load()
    np.testing.assert_array_equal(heard.scores, plain.scores)
    np.testing.assert_array_equal(heard.starts, plain.starts)
    assert heard.speech is not None and plain.speech is None
    if not framing.end_ms:
        np.testing.assert_array_equal(heard.speech, expected(windows, pause, framing, len(heard)))
    else:  # what follows `end` is not decoded
        np.testing.assert_allclose(heard.speech, expected(windows, pause, framing, len(heard)), atol=1e-6)


def test_one_value_for_a_file_has_the_mean_between_start_and_end(lite: Model, pause: Path) -> None:
    frames = speech_frames(lite, pause)
    whole = lite.predict(pause, unit="files", speech=True).load()
    assert whole.speech == pytest.approx([frames.mean()], abs=1e-6)
    part = lite.predict(pause, framing=Framing.files(start_ms=1600, end_ms=2880), speech=True).load()
    assert (
        part.speech
        == pytest.approx([frames[round(1.6 / frame_s(lite)) : round(2.88 / frame_s(lite))].mean()], abs=1e-6)
        and part.speech[0] < 0.1
    )


def test_every_channel_has_its_own(lite: Model, pause: Path) -> None:
    left, right = lite.predict_channels(pause, speech=True)
    np.testing.assert_allclose(left.speech, expected(lite, pause, Framing(), len(left.starts), "left"), atol=1e-6)
    assert left.speech.max() > 0.8 and right.speech.max() < THRESHOLD
    assert np.isnan(right.mean().valence) and np.isfinite(left.mean().valence)


def test_means_leave_silence_out(lite: Model, pause: Path) -> None:
    heard, plain = lite.predict(pause, speech=True), lite.predict(pause)
    kept = plain.scores[expected(lite, pause, Framing(), len(plain.starts)) >= 0.5].astype(float)
    assert 10 < len(kept) < len(plain) - 10
    np.testing.assert_allclose(heard.mean(), kept.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(plain.mean(silence=True), plain.scores.astype(float).mean(axis=0), rtol=1e-12)


def test_every_table_has_all_rows_and_no_scores_where_nobody_speaks(
    lite: Model, pause: Path, tmp_path: Path, monkeypatch
) -> None:
    result = caller(monkeypatch, lite)(
        "predict", pause, "-o", tmp_path, "--speech", "--format", "csv,json,ndjson,annotation"
    )
    assert result.exit_code == 0, result.output
    plain = lite.predict(pause).load()
    speech = expected(lite, pause, Framing(), len(plain))
    scores = np.where(speech[:, None] < 0.5, np.nan, plain.scores)
    tables = {"csv": pd.read_csv(tmp_path / "talk.csv")}
    document = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    tables["json"] = pd.DataFrame(document["rows"], columns=document["columns"], dtype=float)
    head, *lines = (tmp_path / "talk.ndjson").read_text("utf-8").splitlines()
    tables["ndjson"] = pd.DataFrame([json.loads(line) for line in lines]).astype(float)
    tables["frame"] = lite.predict(pause, speech=True).to_frame().reset_index()
    for name, table in tables.items():
        assert [column for column in table if column != "file"] == [
            "start", "end", "arousal", "dominance", "valence", "confidence", "speech"
        ], name  # fmt: skip
        np.testing.assert_allclose(table[["arousal", "dominance", "valence"]].to_numpy(), scores, atol=1e-6)
        np.testing.assert_allclose(table["speech"], speech, atol=1e-6)
        assert table["confidence"].notna().all()
    facts = json.loads(head)["provenance"]
    assert facts == document["provenance"] and facts["speech_threshold"] == 0.5
    assert ("lite" if lite.card.one_pass else "silero-vad") in facts["speech_detector"] and "empty" in facts[
        "speech_rule"
    ]
    described = json.loads((tmp_path / "talk.csv-metadata.json").read_text("utf-8"))
    assert [one["name"] for one in described["tableSchema"]["columns"]] == list(tables["csv"].columns)


def test_files_of_ssi_and_tables_without_it_stay_as_they_are(lite: Model, pause: Path, tmp_path: Path) -> None:
    for name, speech in (("plain", False), ("heard", True)):
        lite.predict(pause, speech=speech).save(tmp_path / name / "talk.valence.annotation")
    data = [(tmp_path / name / "talk.valence.annotation~").read_bytes() for name in ("plain", "heard")]
    assert data[0] == data[1]
    lite.predict(pause).save(tmp_path / "talk.csv")
    with (tmp_path / "talk.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "start", "end", "arousal", "dominance", "valence", "confidence"]
    assert not any("null" in row for row in rows)


def test_one_table_of_many_recordings_has_the_column(lite: Model, pause: Path) -> None:
    table = lite.predict_files([pause, EXAMPLE], unit="files", speech=True)
    assert list(table.columns) == ["arousal", "dominance", "valence", "confidence", "speech"]
    assert table["speech"].tolist() == pytest.approx(
        [speech_frames(lite, path).mean() for path in (pause, EXAMPLE)], abs=1e-6
    )
    assert table.attrs["speech_threshold"] == 0.5


def test_curves_in_pictures_have_gaps_in_silence(lite: Model, pause: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, speech in (("plain", False), ("heard", True)):
        plot(lite.predict(pause, speech=speech), tmp_path / f"{name}.svg")
    pieces = {}
    for name in ("plain", "heard"):  # each stretch of a curve begins with "M x y"; valence is the last curve
        text = (tmp_path / f"{name}.svg").read_text("utf-8")
        curve = next(
            match for match in re.findall(r'<path d="([^"]*)"[^>]*stroke: #009e73', text) if match.count("L") > 20
        )
        pieces[name] = curve.count("M")
    assert pieces["plain"] == 1 and pieces["heard"] > 1
    assert "the sound from 0.96 s before its step's start to its end" in text


def test_means_leave_silence_out_also_where_speech_was_not_asked_for(lite: Model, pause: Path) -> None:
    plain = lite.predict(pause)
    of_speech = lite.predict(pause, speech=True)
    assert plain.mean() == of_speech.mean() != plain.mean(silence=True)
    assert plain.speech is None  # tables stay as they are
    assert plain.mean(silence=True) == of_speech.mean(silence=True) == pytest.approx(tuple(plain.scores.mean(axis=0)))
    signal, rate = soundfile.read(pause, dtype="float32")
    mono = signal.mean(axis=1)
    assert lite.predict(mono, rate).mean() == pytest.approx(of_speech.mean(), abs=1e-3)
    assert lite.predict_batch([mono], rate)[0].mean() == pytest.approx(of_speech.mean(), abs=1e-3)


def test_means_of_single_values_and_of_streams_count_every_row(lite: Model, pause: Path) -> None:
    whole = lite.predict(pause, unit="files", speech=True)
    assert whole.mean() == pytest.approx(tuple(whole.scores[0]))
    with pause.open("rb") as file:
        stream = lite.predict(file).load()
    expected_mean = lite.predict(pause).mean() if lite.card.one_pass else stream.mean(silence=True)
    assert stream.mean() == pytest.approx(expected_mean, abs=1e-6)
    assert not np.isnan(lite.predict_turns(pause).mean()).any()
