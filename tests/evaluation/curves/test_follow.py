"""Scores over time beside raters' curves whose lag, scale and agreement are known."""

import csv
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from commands import caller
from emow2v.agreement import ccc
from emow2v.errors import Emow2vError, FormatError
from emow2v.evaluation.curves.follow import evaluate_curves
from emow2v.evaluation.curves.rated import Curve
from emow2v.evaluation.curves.recordings import RatedRecording, has_curves, read_recordings
from emow2v.evaluation.curves.report import markdown, picture
from emow2v.evaluation.curves.sums import ccc_of, ccc_with_interval, correlation_within, sums
from emow2v.model import Model

RATE = 16000
SECONDS = 120


class LevelEngine:
    """Scores are ten times the mean absolute value of a window, the same for each dimension."""

    name, precision, parallel_batches, batch_samples = "level", "fp32", 1, None

    def run(self, signal: np.ndarray, lengths: np.ndarray | None = None):
        level = 10 * np.abs(signal).mean(axis=1, dtype=np.float64).astype(np.float32)[:, None]
        return np.repeat(level, 1024, axis=1), np.repeat(level, 3, axis=1), None

    run_parallel = run


@pytest.fixture
def level(lite: Model) -> Model:
    return Model(dataclasses.replace(lite.card, name="level"), LevelEngine())  # type: ignore[arg-type]


def wave_of(values: np.ndarray) -> np.ndarray:
    """A signal whose mean absolute value is a tenth of the values [samples]."""
    return (values / 10 * np.where(np.arange(values.size) % 2, 1, -1)).astype(np.float32)


def curve(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times of 25 Hz and a slow curve within .2..8."""
    rng = np.random.default_rng(seed)
    times = (np.arange(SECONDS * 25) + 0.5) / 25
    waves = sum(np.sin(2 * np.pi * times / period + rng.uniform(0, 6)) for period in (7.0, 13.0, 29.0))
    return times, 0.5 + 0.1 * waves


def write_annotation(folder: Path, rater: str, values: np.ndarray) -> None:
    """An annotation as NOVA writes it, 25 Hz on -1..1."""
    path = folder / f"teacher.arousal.{rater}.annotation"
    path.write_text(
        f"""<?xml version="1.0" ?>
<annotation ssi-v="3">
    <info ftype="ASCII" size="{values.size}" />
    <meta role="teacher" annotator="{rater}" />
    <scheme name="arousal" type="CONTINUOUS" sr="25" min="-1" max="1" mincolor="#FFFFFFFF" maxcolor="#FFFF0000" />
</annotation>
"""
    )
    path.with_name(path.name + "~").write_text("".join(f"{value:.6f};1.00\n" for value in values))


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Two recordings; `LevelEngine` scores their loudness, which raters follow 2.4 s later."""
    for number in range(2):
        times, values = curve(number)
        samples = np.interp(np.arange(SECONDS * RATE) / RATE, times, values)
        folder = tmp_path / f"s{number}"
        folder.mkdir()
        soundfile.write(folder / "teacher.wav", wave_of(samples), RATE, subtype="FLOAT")
        for rater, noise in (("ann", 0.0), ("ben", 0.05)):
            heard = np.interp(times - 2.4, times, values) + noise * np.sin(times)
            write_annotation(folder, rater, 2 * heard - 1)
    return tmp_path


def test_a_known_lag_and_scale_are_found(level: Model, session: Path) -> None:
    recordings = read_recordings(session)
    assert [(one.name, len(one.curves)) for one in recordings] == [("s0/teacher.wav", 2), ("s1/teacher.wav", 2)]
    evaluation = evaluate_curves(level, recordings, window_ms=200, step_ms=200)
    found = evaluation.dimensions["arousal"]
    assert found.lag == pytest.approx(2.4, abs=0.11) and found.lag_searched
    assert found.ccc.value > 0.97 > 0.5 > found.ccc_without_lag.value
    assert list(found.raters) == ["ann", "ben"]
    assert evaluation.unit == "blocks of 30 s" and found.ccc.low < found.ccc.value <= found.ccc.high
    ann, ben = ([one.ratings["arousal"][rater] for one in evaluation.recordings] for rater in ("ann", "ben"))
    expected = ccc(np.concatenate(ann), np.concatenate(ben))
    assert found.raters_with_each_other.value == pytest.approx(expected, abs=1e-9)
    assert found.raters_with_others.value == pytest.approx(expected, abs=1e-9)


def test_the_known_ccc_of_another_scale(level: Model, session: Path) -> None:
    """CCC of y = a x with x: 2 a v / (v + a² v + (1 - a)² m²)."""
    times, values = curve(0)
    rated = RatedRecording(session / "s0/teacher.wav", "one", [Curve("valence", "r", times, 0.6 * values, "made")])
    found = evaluate_curves(level, [rated], lag_s=0, window_ms=40, step_ms=40).dimensions["valence"]
    inside = values[(times > 0.02) & (times < SECONDS - 0.02)]
    variance, mean = inside.var(), inside.mean()
    expected = 2 * 0.6 * variance / (variance + 0.36 * variance + 0.16 * mean**2)
    assert found.ccc.value == pytest.approx(expected, abs=0.01)
    assert found.correlation_within == pytest.approx(1, abs=1e-3)
    assert not found.lag_searched and np.isnan(found.raters_with_others.value)


def test_gaps_and_a_curve_that_ends_early_are_left_out_and_said(level: Model, session: Path) -> None:
    times, values = curve(0)
    values = np.where((times > 20) & (times < 30) | (times > 80), np.nan, values)
    rated = RatedRecording(session / "s0/teacher.wav", "one", [Curve("arousal", "r", times, values, "made")])
    evaluation = evaluate_curves(level, [rated], lag_s=0, window_ms=500, step_ms=500)
    compared = np.isfinite(evaluation.recordings[0].ratings["arousal"]["r"])
    assert evaluation.dimensions["arousal"].values == compared.sum() == pytest.approx(140, abs=3)
    assert "rates 0 to 80 s of 120 s with gaps, 58% of the recording" in evaluation.recordings[0].notices[0]
    paused = np.where((times > 20) & (times < 30), np.nan, curve(0)[1])
    rated = RatedRecording(session / "s0/teacher.wav", "one", [Curve("arousal", "r", times, paused, "made")])
    [notice] = evaluate_curves(level, [rated], lag_s=0, draws=0).recordings[0].notices
    assert "rates 0 to 120 s of 120 s with gaps, 91% of the recording" in notice


def test_raters_who_share_no_time_and_figures_of_few_values_are_said(level: Model, session: Path) -> None:
    times, values = curve(0)
    first, second = (np.where(part, values, np.nan) for part in (times < 50, times > 60))
    curves = [Curve("arousal", "ann", times, first, "a"), Curve("arousal", "ben", times, second, "b")]
    few = Curve("valence", "ann", times[times < 4], values[times < 4], "c")
    rated = RatedRecording(session / "s0/teacher.wav", "one", [*curves, few])
    evaluation = evaluate_curves(level, [rated], lag_s=0, draws=0)
    found = evaluation.recordings[0].notices
    assert any("raters of arousal (ann, ben) rated at no time together" in line for line in found)
    assert any(line.startswith("c rates 0 to 4 s of 120 s, 3% of") for line in found)
    assert any(line.startswith("No value of arousal was compared") for line in evaluation.notices)
    assert any(line.startswith("Only 7 values of valence could be compared") for line in evaluation.notices)


def test_raters_of_other_rates_agree_as_their_values_do(level: Model, session: Path) -> None:
    times, values = curve(0)
    slow = np.arange(0, times[-1], 0.7)
    curves = [Curve("arousal", "ann", times, values, "a"),
              Curve("arousal", "ben", slow, np.interp(slow, times, values), "b")]  # fmt: skip
    rated = RatedRecording(session / "s0/teacher.wav", "one", curves)
    evaluation = evaluate_curves(level, [rated], lag_s=0, draws=0)
    assert evaluation.dimensions["arousal"].raters_with_others.value > 0.98
    assert not evaluation.notices and not evaluation.recordings[0].notices


def test_a_curve_of_another_recording_is_refused(level: Model, session: Path) -> None:
    times, values = curve(0)
    file = session / "s0/teacher.wav"
    rated = [
        RatedRecording(file, "own", [Curve("arousal", "r", times, values, "a")]),
        RatedRecording(file, "other", [Curve("arousal", "r", 2 * times, values, "b")]),
        RatedRecording(file, "long", [Curve("arousal", "r", 1000 * times, values, "c")]),
    ]
    evaluation = evaluate_curves(level, rated, lag_s=0, draws=0)
    assert [one.name for one in evaluation.recordings] == ["own"]  # what was computed is not lost
    assert "b ends at 240.0 s and other at 120.0 s; expected a curve of this recording" in evaluation.skipped["other"]
    assert "milliseconds" not in evaluation.skipped["other"]
    assert evaluation.skipped["long"].endswith("or name its column time_ms if these are milliseconds.")
    with pytest.raises(Emow2vError, match=r"None of the 1 recordings could be compared; the first: b ends at 240\.0 s"):
        evaluate_curves(level, rated[1:2])


def test_curves_that_go_another_way_get_a_sentence(level: Model, session: Path) -> None:
    times, values = curve(0)
    opposite = Curve("arousal", "r", times, 1 - values, "made")
    flat = Curve("valence", "r", times, np.full_like(values, 0.65), "made")  # no number that is exact in binary
    rated = RatedRecording(session / "s0/teacher.wav", "one", [opposite, flat])
    evaluation = evaluate_curves(level, [rated])
    assert any("do not move" in line for line in evaluation.notices)
    assert np.isnan(evaluation.dimensions["valence"].ccc.value) or evaluation.dimensions["valence"].ccc.value == 0


def test_a_recording_that_cannot_be_read_is_left_out(level: Model, session: Path) -> None:
    (session / "s0/teacher.wav").write_bytes(b"no sound")
    evaluation = evaluate_curves(level, read_recordings(session), lag_s=2.4)
    assert list(evaluation.skipped) == ["s0/teacher.wav"] and len(evaluation.recordings) == 1


def test_the_command_writes_a_report(
    level: Model, session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = caller(monkeypatch, level)
    done = call("evaluate", "--data", session, "-o", tmp_path / "out", "--step", "1s", "--draws", "100")
    assert done.exit_code == 0, done.output
    assert "2.4" in done.stdout and "2 of 2 recordings done" in done.output
    figures = json.loads((tmp_path / "out/curves.json").read_text())
    assert figures["truth"] == "curves" and figures["dimensions"]["arousal"]["raters"] == ["ann", "ben"]
    with (tmp_path / "out/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["arousal ann", "arousal ben"] and {row["file"] for row in rows} == {
        "s0/teacher.wav",
        "s1/teacher.wav",
    }
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" in (tmp_path / "out/curves.md").read_text()
    again = call("evaluate", "--data", session, "-o", tmp_path / "out", "--lag", "2.4s", "--draws", "0")
    assert again.exit_code == 0, again.output  # a report of its own is replaced
    with (tmp_path / "out/curves.csv").open("a") as file:
        file.write("a note\n")
    again = call("evaluate", "--data", session, "-o", tmp_path / "out")
    assert again.exit_code != 0 and "curves.csv" in str(again.exception)
    again = call("evaluate", "--data", session, "-o", tmp_path / "out", "--opensmile")
    assert again.exit_code != 0 and "are for clips" in str(again.exception)


def test_the_report_says_which_recordings_the_picture_leaves_out(level: Model, session: Path) -> None:
    evaluation = evaluate_curves(level, read_recordings(session), lag_s=2.4, draws=0)
    assert "The picture has" not in markdown(evaluation, {})
    more = dataclasses.replace(evaluation, recordings=[*evaluation.recordings] * 4)
    assert "* The picture has the first 6 recordings.\n" in markdown(more, {})
    assert picture(more).startswith(b"\x89PNG")


def test_a_manifest_names_recordings_annotations_and_raters(session: Path) -> None:
    manifest = session / "manifest.csv"
    manifest.write_text(
        "file;annotation;rater\ns0/teacher.wav;s0/teacher.arousal.ann.annotation;A\n"
        "s0/teacher.wav;s0/teacher.arousal.ben.annotation;B\n"
    )
    assert has_curves(manifest)
    [one] = read_recordings(manifest)
    assert [(curve.dimension, curve.rater) for curve in one.curves] == [("arousal", "A"), ("arousal", "B")]
    manifest.write_text(manifest.read_text().replace(";B", ";A"))
    with pytest.raises(FormatError, match=r"both arousal of s0/teacher\.wav by rater 'A'"):
        read_recordings(manifest)
    manifest.write_text("file,annotation\ns0/teacher.wav,s0/none.annotation\n")
    with pytest.raises(FormatError, match=r"line 2: s0/none\.annotation does not exist"):
        read_recordings(manifest)
    manifest.write_text("file,arousal\ns0/teacher.wav,1\n")
    assert not has_curves(manifest)


def test_a_notice_on_the_manifest_comes_once(session: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = session / "manifest.csv"
    manifest.write_bytes(
        "file;annotation;Prüfer\ns0/teacher.wav;s0/teacher.arousal.ann.annotation;x\n".encode("cp1252")
    )
    assert has_curves(manifest) and not caplog.records
    read_recordings(manifest)
    assert [record.message for record in caplog.records] == [f"{manifest} is not in UTF-8; it is read as Windows-1252."]


def test_a_folder_without_annotations_and_two_recordings_beside_one(session: Path) -> None:
    with pytest.raises(FormatError, match="holds no continuous annotation"):
        read_recordings(empty(session))
    (session / "s0/teacher.copy.wav").write_bytes((session / "s0/teacher.wav").read_bytes())
    with pytest.raises(FormatError, match="2 recordings beside it"):
        read_recordings(session)


def test_annotations_that_emow2v_wrote_are_no_raters(
    lite: Model, session: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = [[curve.rater for curve in one.curves] for one in read_recordings(session)]
    own = session / "s0/teacher.arousal.annotation"
    lite.predict(np.zeros(32000, np.float32), RATE).save(own)
    assert own.is_file()
    assert [[curve.rater for curve in one.curves] for one in read_recordings(session)] == before
    [record] = caplog.records
    assert record.message.endswith("that emow2v wrote are left out (1, such as teacher.arousal.annotation).")
    manifest = session / "manifest.csv"
    manifest.write_text("file,annotation\ns0/teacher.wav,s0/teacher.arousal.annotation\n")
    with pytest.raises(
        FormatError, match=r"line 2: s0/teacher\.arousal\.annotation was written by emow2v; expected an"
    ):
        read_recordings(manifest)


def test_the_sound_of_a_session_with_a_video(session: Path) -> None:
    (session / "s0/teacher.wav").rename(session / "s0/teacher.audio.wav")
    (session / "s0/teacher.video.mp4").write_bytes(b"")
    assert [one.name for one in read_recordings(session)] == ["s0/teacher.audio.wav", "s1/teacher.wav"]


def empty(session: Path) -> Path:
    folder = session / "empty"
    folder.mkdir()
    return folder


def test_sums_agree_with_the_plain_formulas() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.uniform(size=n), rng.uniform(size=n)) for n in (5, 17, 40)]
    pairs[1][0][3] = np.nan
    units = sums(pairs)
    x, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert ccc_of(units.sum(axis=0)) == pytest.approx(ccc(x, y), abs=1e-12)
    centred = [(a[k] - a[k].mean(), b[k] - b[k].mean()) for a, b in pairs for k in [np.isfinite(a) & np.isfinite(b)]]
    a, b = (np.concatenate(part) for part in zip(*centred, strict=True))
    assert correlation_within(units) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)


def test_an_interval_holds_the_exact_draws_of_three_units() -> None:
    """27 draws of three units are equally likely: the interval is that of their CCCs."""
    rng = np.random.default_rng(1)
    pairs = [(x := rng.uniform(size=30), x + rng.normal(0, 0.1, 30) + shift) for shift in (0.0, 0.2, -0.1)]
    units = sums(pairs)
    exact = sorted(float(ccc_of(units[list(drawn)].sum(axis=0))) for drawn in itertools.product(range(3), repeat=3))
    found = ccc_with_interval(units, 20_000)
    # each of the 27 has a share of 3.7 %, so that the outermost 2.5 % are one draw
    assert (found.low, found.high) == pytest.approx((exact[0], exact[-1]), abs=1e-9)
    assert np.isnan(ccc_with_interval(units[:2], 100).low)
