import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from commands import caller
from emow2v.agreement import pearson
from emow2v.audio import excerpts, recording
from emow2v.corpora.clip import Clip, speaker_numbers
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.corpora.scales import parse_scale
from emow2v.errors import Emow2vError, FormatError, FramingError
from emow2v.evaluation import report
from emow2v.evaluation.embeddings import opensmile, recall
from emow2v.evaluation.evaluate import evaluate
from emow2v.evaluation.figures import _weighted, ccc_kept, figures
from emow2v.evaluation.intervals import Draws, Figure, agreement, difference, mae
from emow2v.evaluation.norms import norm
from emow2v.formats.markdown import table
from emow2v.model import Model
from small_corpora import write_csv

RATE = 16000
EMOTIONS = ("anger", "happiness", "neutral", "sadness")


class LevelEngine:
    """Scores are ten times the mean absolute value of a window; embeddings that level and noise of the engine's own."""

    name, precision, parallel_batches, batch_samples = "level", "fp32", 1, None

    def __init__(self, *, confidence: bool = False) -> None:
        self.confidence = confidence

    def run(self, signal: np.ndarray, lengths: np.ndarray | None = None):
        level = 10 * np.abs(signal).mean(axis=1, dtype=np.float64).astype(np.float32)[:, None]
        embeddings = np.repeat(level, 1024, axis=1) + np.random.default_rng(0).normal(size=1024).astype(np.float32)
        scores = np.repeat(level, 3, axis=1)
        return embeddings, scores, 1 - scores if self.confidence else None

    run_parallel = run


@pytest.fixture
def level(lite: Model) -> Model:
    return Model(dataclasses.replace(lite.card, name="level"), LevelEngine())  # type: ignore[arg-type]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six speakers, four classes; a clip's rating is what `LevelEngine` says of it, on 1..7."""
    rng = np.random.default_rng(0)
    rows = []
    for speaker in range(6):
        for number, emotion in enumerate(EMOTIONS):
            value = 0.2 + 0.2 * number + 0.02 * speaker
            name = f"Gespräch {speaker} {emotion}.wav"
            signal = rng.choice([-1.0, 1.0], size=int(RATE * (1 + 0.3 * number))) * value / 10
            soundfile.write(tmp_path / name, signal, RATE, subtype="FLOAT")
            rating = dict.fromkeys(("arousal", "dominance"), f"{1 + 6 * value:.6f}")
            sex = "female" if speaker % 2 else "male"
            rows.append({"file": name, "speaker": speaker, "sex": sex, "emotion": emotion, "corpus": "made", **rating})
    return write_csv(tmp_path / "manifest.csv", rows)


def test_manifest(corpus: Path) -> None:
    clips = read_manifest(corpus, scales=parse_scale("1:7"))
    assert len(clips) == 24 and clips[0].groups == {"sex": "male", "corpus": "made"}
    assert clips[1].ratings[:2] == pytest.approx((0.4, 0.4)) and math.isnan(clips[1].ratings[2])
    assert len(read_manifest(corpus, scales=parse_scale("1:7"), only={"sex": ["female"], "speaker": ["1"]})) == 4
    assert (clips[0].start, clips[0].end, clips[0].file.is_file()) == (0.0, None, True)


def test_manifests_of_spreadsheets(tmp_path: Path) -> None:
    """A byte order mark, no speakers, columns that mean nothing here, parts of one recording."""
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    text = "\ufefffile,start,end,note\r\na.wav,0.1,0.5,x\r\na.wav,0.5,,\r\n"
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8", newline="")
    clips = read_manifest(path)
    assert [(clip.start, clip.end) for clip in clips] == [(0.1, 0.5), (0.5, None)]
    assert speaker_numbers(clips).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("path\na.wav\n", "no column file"),
        ("file\n", "names no clip"),
        (
            "file,arousal\na.wav,5.2\n",
            r"line 2: arousal is 5.2, outside 0..1; give the scale of the ratings: --scale 1:7",
        ),
        ("file,arousal\na.wav,high\n", "line 2: arousal is 'high'; expected a number"),
        ("file,start,end\na.wav,2,1\n", "the end after the start"),
        ("file,start\na.wav,-1\n", "expected seconds"),
        ("file\na.wav\nb.wav\nc.wav\n", r"2 of 3 files of .* do not exist, such as b.wav"),
        ("file\n\0\n", "no CSV|do not exist"),
        ('file\n"a.wav\n', "no CSV"),
        ("file\na.wav,1,2\n", "line 2 has more values"),
        ("file,start\n,\n", "line 2 names no file"),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str, sentence: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=sentence):
        read_manifest(path)


def test_manifests_that_are_none(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(FormatError, match="cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / "b.csv").write_bytes(b"file\n\xff\xfe\n")
    with pytest.raises(FormatError, match="no CSV"):
        read_manifest(tmp_path / "b.csv")
    with pytest.raises(FormatError, match="no clip whose sex is x"):
        read_manifest(corpus, only={"sex": ["x"]})
    with pytest.raises(FormatError, match="no column age"):
        read_manifest(corpus, only={"age": ["x"]})


@pytest.mark.parametrize("text", ["", "1", "7:1", "a:b", "mood=1:7", "1:1", "arousal=", "1:2:3"])
def test_bad_scales(text: str) -> None:
    with pytest.raises(FormatError, match="is no scale"):
        parse_scale(text)


def test_norms() -> None:
    assert norm("Happy").tolist() == norm("joy").tolist() == pytest.approx([0.755, 0.73, 0.905])
    assert norm("neutral").tolist() == [0.5, 0.5, 0.5]
    assert np.isnan(norm("calm")).all() and np.isnan(norm("")).all()


def test_intervals_are_those_of_speakers() -> None:
    """Ten speakers of a hundred alike clips say no more than ten clips do."""
    pytest.importorskip("confidence_intervals")
    rng = np.random.default_rng(0)
    truth, error = rng.normal(size=10), rng.normal(size=10)
    prediction = truth + error
    alone = Draws(np.arange(10), 300).figure(pearson, truth, prediction)
    many = Draws(np.repeat(np.arange(10), 100), 300).figure(pearson, np.repeat(truth, 100), np.repeat(prediction, 100))
    each = Draws(np.arange(1000), 300).figure(pearson, np.repeat(truth, 100), np.repeat(prediction, 100))
    assert many.value == pytest.approx(alone.value) and alone.low < alone.value < alone.high
    assert many.high - many.low == pytest.approx(alone.high - alone.low, rel=0.3)
    assert each.high - each.low < 0.2 * (many.high - many.low)
    again = Draws(np.arange(10), 300).figure(pearson, truth, prediction)
    assert again == alone
    two = Draws(np.array([0, 0, 1, 1]), 300).figure(mae, truth[:4], prediction[:4])
    assert math.isnan(two.low) and two.value == pytest.approx(np.abs(error[:4]).mean())


def test_agreement_leaves_out_what_is_not_rated() -> None:
    truth = np.array([[0.0, np.nan, np.nan], [0.5, 0.5, np.nan], [1.0, 0.7, np.nan]])
    found = agreement(truth, truth + 0.1, np.array([0, 0, 1]), 0)
    assert set(found) == {"arousal", "dominance"}
    assert found["arousal"]["clips"] == 3 and found["arousal"]["speakers"] == 2 and found["dominance"]["clips"] == 2
    bias = found["dominance"]["bias"]
    assert isinstance(bias, Figure) and bias.value == pytest.approx(0.1)


def test_difference_of_two_groups() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(size=(200, 3))
    first = np.arange(200) % 2 == 0
    scores = np.where(first[:, None], truth, truth + 0.2)
    found = difference(truth, scores, np.arange(200) // 10, first, 0)
    assert all(0.1 < one.value < 0.9 for one in found.values())
    assert difference(truth, truth, np.arange(200) // 10, first, 0)["valence"].value == pytest.approx(0)


def test_recall_is_of_speakers_never_met() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(8), 12)
    classes = np.tile(["a", "b", "c"], 32)
    telling = np.eye(3)[np.unique(classes, return_inverse=True)[1]] + 0.05 * rng.normal(size=(96, 3))
    found = recall(telling, classes.tolist(), who)
    assert found.uar.value == 1.0 and found.folds == 8 and found.by_class == {"a": 1.0, "b": 1.0, "c": 1.0}
    # what tells speakers, and classes of known speakers, is worth nothing
    leaking = np.concatenate([np.eye(24)[who * 3 + np.unique(classes, return_inverse=True)[1]]], axis=1)
    assert recall(leaking, classes.tolist(), who).uar.value < 0.5
    many = recall(np.tile(telling, (5, 1)), np.tile(classes, 5).tolist(), np.arange(480) // 12)
    assert many.folds == 10
    with pytest.raises(Emow2vError, match="expected two or more of each"):
        recall(telling, ["a"] * 96, who)


def test_evaluation_of_a_model_that_is_right(level: Model, corpus: Path) -> None:
    pytest.importorskip("sklearn")
    found = evaluate(level, read_manifest(corpus, scales=parse_scale("1:7")), draws=50)
    assert found.truth == "ratings" and not found.skipped and set(found.whole) == {"arousal", "dominance"}
    ccc = found.whole["arousal"]["ccc"]
    assert isinstance(ccc, Figure) and ccc.value == pytest.approx(1, abs=1e-4) and ccc.low > 0.99
    assert ccc_kept(found)["arousal"] == pytest.approx(1, abs=1e-3)
    # 1 to 1.9 s: one window, or two where a second one half a second on fits
    assert [len(one.windows) for one in found.scored[:4]] == [1, 1, 2, 2]
    assert set(found.groups) == {"sex"} and set(found.groups["sex"]) == {"female", "male"}
    assert not found.women_less_men  # three speakers each tell nothing
    assert found.confidence == {}  # a model without confidence of its own
    assert found.recalls["made"]["embeddings"].uar.value > 0.9
    assert found.stability["arousal"].within < 1e-3 < found.stability["arousal"].between
    assert found.classes["anger"]["clips"] == 6
    assert found.within_classes.keys() <= found.whole.keys()
    plain = json.loads(json.dumps(figures(found)))
    assert plain["clips"] == 24 and plain["speakers"] == 6 and plain["whole"]["arousal"]["ccc"]["value"] == 1.0


def test_correlation_within_classes_is_that_of_what_the_class_does_not_tell(level: Model, corpus: Path) -> None:
    """A model that is right follows ratings within classes; where each class has one rating, nothing is defined."""
    pytest.importorskip("sklearn")
    clips = read_manifest(corpus, scales=parse_scale("1:7"))
    halves = [dataclasses.replace(clip, emotion=("a", "b")[number % 2]) for number, clip in enumerate(clips)]
    found = evaluate(level, halves, draws=20)
    assert found.within_classes["arousal"].value == pytest.approx(1, abs=1e-4)
    assert found.within_classes["arousal"].low > 0.99
    own = [
        dataclasses.replace(clip, emotion=f"{clip.ratings[0]:.3f}", ratings=(clip.ratings[0],) * 3) for clip in clips
    ]
    assert not evaluate(level, own, draws=0).within_classes
    one = [dataclasses.replace(clip, emotion="a") for clip in clips]
    assert not evaluate(level, one, draws=0).within_classes


def test_confidence_sexes_and_norms(lite: Model, corpus: Path) -> None:
    pytest.importorskip("sklearn")
    clips = read_manifest(corpus, scales=parse_scale("1:7"))
    model = Model(lite.card, LevelEngine(confidence=True))  # type: ignore[arg-type]
    several = [dataclasses.replace(clip, speaker=f"{clip.speaker} {n % 2}") for n, clip in enumerate(clips)]
    found = evaluate(model, several, draws=20)
    assert set(found.women_less_men) == {"arousal", "dominance"} and abs(found.women_less_men["arousal"].value) < 0.01
    surer = found.confidence["arousal"]
    confidence = surer["confidence"]
    assert isinstance(confidence, list) and confidence == sorted(confidence) and len(confidence) == 5
    # 0.2 + 0.2 * 1 as 1 - score: all windows of a clip are as sure, so that weights change nothing
    assert ccc_kept(found, weighted=True) == pytest.approx(ccc_kept(found), abs=1e-3)
    np.testing.assert_allclose(_weighted(np.array([[1.0], [3.0]]), np.array([[3.0], [1.0]])), [1.5])
    np.testing.assert_allclose(_weighted(np.array([[1.0], [3.0]]), np.zeros((2, 1))), [2.0])
    unrated = [dataclasses.replace(clip, ratings=(math.nan,) * 3) for clip in clips]
    against = evaluate(model, unrated, draws=0)
    assert against.truth == "norms" and set(against.whole) == {"arousal", "dominance", "valence"}
    nothing = evaluate(model, [dataclasses.replace(clip, emotion="") for clip in unrated], draws=0)
    assert nothing.truth == "none" and not nothing.whole and nothing.stability
    assert "nothing" in report.markdown(nothing, {})


def test_parts_of_a_recording_and_what_cannot_be_read(level: Model, tmp_path: Path) -> None:
    signal = np.concatenate([np.full(RATE, 0.02), np.full(RATE, 0.06)]).astype(np.float32)
    signal[::2] *= -1
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    parts = [
        Clip(tmp_path / "a.wav", "a.wav", 0.0, 1.0),
        Clip(tmp_path / "a.wav", "a.wav", 1.0),
        Clip(tmp_path / "a.wav", "a.wav", 9.0),
    ]
    parts += [Clip(tmp_path / "a.wav", "a.wav", 0.0, 0.001), Clip(tmp_path / "text.wav", "text.wav")]
    told = []
    found = evaluate(level, parts, draws=0, on_clip=told.append)
    assert [round(float(one.whole[0]), 2) for one in found.scored] == [0.2, 0.6] and len(told) == 5
    assert "ends before 9 s" in found.skipped["a.wav from 9 s"] and "too short" in found.skipped["a.wav from 0 s"]
    assert "text.wav" in found.skipped and "could not be scored" in report.markdown(found, {})
    with pytest.raises(Emow2vError, match="None of the 1 clips could be read"):
        evaluate(level, parts[-1:])
    with pytest.raises(FramingError, match="too short"):
        evaluate(level, parts, window_ms=10)


def test_report_as_files(level: Model, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    found = evaluate(level, read_manifest(corpus, scales=parse_scale("1:7")), draws=20)
    files = report.write(found, tmp_path / "out", about={"command": "emow2v evaluate"})
    assert [file.name for file in files] == ["evaluation.json", "evaluation.md", "clips.csv", "scores.png"]
    assert files[3].read_bytes().startswith(b"\x89PNG")
    text = files[1].read_text(encoding="utf-8")
    assert "`emow2v evaluate`" in text and "| arousal | 1.000 (" in text and "## By sex" in text
    assert json.loads(files[0].read_text(encoding="utf-8"))["command"] == "emow2v evaluate"
    assert not list((tmp_path / "out").glob("*.part*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError):
        report.write(found, tmp_path / "file")


def test_short_numbers_and_tables() -> None:
    assert report.interval(Figure(0.5, -0.25, 1.0)) == ".500 (-.250 to 1.000)"
    assert report.interval(Figure(math.nan)) == "-" and report.interval(7) == "7"
    assert table(["a"], [["x|y"]])[-1] == r"| x\|y |"


def test_opensmile_beside(corpus: Path) -> None:
    pytest.importorskip("opensmile")
    signal = np.random.default_rng(0).normal(scale=0.1, size=RATE).astype(np.float32)
    assert opensmile("eGeMAPSv02")(signal).shape == (88,)


def clip(tmp_path: Path, number: int, **about: object) -> Clip:
    """A second of hum, the louder the higher its number."""
    path = tmp_path / f"{number}.wav"
    soundfile.write(path, np.resize([1.0, -1.0], RATE) * (0.01 + 0.01 * number), RATE, subtype="FLOAT")
    return Clip(path, path.name, **about)  # type: ignore[arg-type]


SMALL = {  # emotion and speaker of each clip, and why there is no recall
    "two clips of two classes": (["anger A", "sadness B"], "only the class"),
    "a class a speaker": (["anger A", "anger A", "sadness B", "sadness B"], "only the class"),
    "one class": (["anger A", "anger B", "anger C"], "1 class and 3 speakers"),
    "one speaker": (["anger A", "sadness A"], "2 classes and 1 speaker;"),
    "one clip": (["fear A"], "1 class and 1 speaker;"),
    "three of whom one differs": (["anger A", "anger B", "sadness C"], "only the class"),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", SMALL)
def test_a_figure_that_is_undefined_costs_no_other(level: Model, tmp_path: Path, name: str) -> None:
    """Every clip was scored, and then scikit-learn's error ended all."""
    pytest.importorskip("sklearn")
    rows, sentence = SMALL[name]
    clips = [clip(tmp_path, number, emotion=row.split()[0], speaker=row.split()[1]) for number, row in enumerate(rows)]
    found = evaluate(level, clips, draws=50)
    assert not found.recalls and sentence in found.undefined["recall of all"]
    assert sentence in report.markdown(found, {}) and set(found.classes) == {row.split()[0] for row in rows}
    plain = json.dumps(figures(found), allow_nan=False)  # JSON knows no NaN
    assert len(found.scored) == len(rows) and sentence in plain
    for path in report.write(found, tmp_path / "out"):
        assert path.stat().st_size


def test_one_corpus_of_two_without_recall_keeps_the_others(level: Model, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rows = ["anger A x", "sadness A x", "anger B x", "sadness B x", "anger C y", "sadness D y"]
    clips = [
        clip(tmp_path, number, emotion=emotion, speaker=speaker, groups={"corpus": corpus})
        for number, (emotion, speaker, corpus) in enumerate(map(str.split, rows))
    ]
    found = evaluate(level, clips, draws=0)
    assert set(found.recalls) == {"x"} and set(found.undefined) == {"recall of y"}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "ratings",
    [[0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [1 / 3] * 3, [0.5, 0.7, 0.9]],
    ids=["half", "tenth", "nought", "third", "same clip"],
)
def test_ratings_or_scores_that_do_not_vary(level: Model, tmp_path: Path, ratings: list[float]) -> None:
    """Three clips, all rated alike; or one clip rated three times: no correlation, no warning, all other figures."""
    alike = len(set(ratings)) > 1
    clips = [clip(tmp_path, 0 if alike else k, ratings=(value,) * 3) for k, value in enumerate(ratings)]
    arousal = evaluate(level, clips, draws=20).whole["arousal"]
    assert math.isnan(arousal["pearson"].value) and math.isfinite(arousal["mae"].value)
    assert arousal["ccc"].value == pytest.approx(0, abs=1e-6)


def test_stretches_are_read_and_not_whole_recordings(level: Model, tmp_path: Path, monkeypatch) -> None:
    """In whatever order they stand; and what is heard is what a whole reading gives there, to the bit."""
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, 300 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", signal, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", signal[:RATE], RATE, subtype="FLOAT")
    largest: list[int] = []
    read = excerpts.read_stretch
    monkeypatch.setattr(
        "emow2v.evaluation.evaluate.read_stretch",
        lambda *arguments: (part := read(*arguments), largest.append(part.size))[0],
    )
    clips = []
    for start in (290.0, 2.5, 100.25, 7.0):
        clips.append(Clip(tmp_path / "long.wav", "long.wav", start, start + 1.5))
        clips.append(Clip(tmp_path / "short.wav", "short.wav"))
    judged = evaluate(level, clips, draws=0).scored
    assert max(largest) == int(1.5 * RATE)
    for one in judged:
        whole, _ = recording.read(one.clip.file)
        expected = whole[round(one.clip.start * RATE) : round(one.clip.end * RATE) if one.clip.end else None]
        level_there = 10 * np.abs(expected).mean(dtype=np.float64).astype(np.float32)
        assert one.whole[0] == level_there and one.seconds == expected.size / RATE


@pytest.fixture
def invoke(level: Model, monkeypatch: pytest.MonkeyPatch):
    return caller(monkeypatch, level, "evaluate")


def test_command(invoke, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result = invoke("--data", corpus, "--scale", "1:7", "-o", tmp_path / "out", "--draws", 10, "--only", "corpus=made")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "evaluation.md").exists() and "arousal" in result.output
    assert "24 of 24 clips done." in result.stderr
    (tmp_path / f"Gespräch 0 {EMOTIONS[0]}.wav").write_text("no sound")
    result = invoke("--data", corpus, "--scale", "1:7", "-o", tmp_path / "out", "--draws", 0)
    assert result.exit_code == 1 and "was left out" in result.output
    assert "23 of 24 clips done, 1 failed." in result.stderr
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["clips"] == 23


def odd_recordings(folder: Path) -> dict[str, str]:
    """Recordings of which something is to be said, and what."""
    hum = np.resize([0.1, -0.1], RATE).astype(np.float32)
    soundfile.write(folder / "opposite.wav", np.stack([hum, -0.9 * hum], axis=1), RATE, subtype="FLOAT")
    soundfile.write(folder / "half.wav", np.stack([hum, 0 * hum], axis=1), RATE, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", 0 * hum, RATE)
    soundfile.write(folder / "clipped.wav", np.clip(20 * hum, -1, 1), RATE, subtype="FLOAT")
    soundfile.write(folder / "cut.wav", hum, RATE)
    whole = (folder / "cut.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    return {
        "opposite.wav": "opposite phase", "half.wav": "Channel 2 is silent", "silent.wav": "nothing but silence",
        "clipped.wav": "is clipped", "cut.wav": "is cut off",
    }  # fmt: skip


def test_what_was_not_all_there_is_printed_once_a_file_and_reported(invoke, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    notices = odd_recordings(tmp_path)
    rows = [{"file": name, "arousal": 0.1 * k, "speaker": k} for k, name in enumerate(notices)]
    rows.append({"file": "half.wav", "start": 0.25, "end": 0.75, "arousal": 0.5, "speaker": 9})
    rows.append({"file": clip(tmp_path, 3).name, "arousal": 0.9, "speaker": 10})
    data = write_csv(tmp_path / "manifest.csv", [{"start": "", "end": "", **row} for row in rows])
    result = invoke("--data", data, "-o", tmp_path / "out", "--draws", 0)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    for name, sentence in notices.items():
        assert len([line for line in lines if line.startswith(f"{name}: ") and sentence in line]) == 1, result.stderr
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())["notices"]
    assert set(said) == {*notices, "half.wav from 0.25 s"}
    assert all(sentence in said[name][0] for name, sentence in notices.items())
    assert "In 6 clips something was missing or unusual" in (tmp_path / "out" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--only", "corpus"], "chooses nothing"),
        (["--scale", "7:1"], "is no scale"),
        (["--window", "10ms"], "too short"),
        (["--window", "soon"], "expected a time"),
        (["--scale", "1:2"], "outside 1..2"),
    ],
)
def test_command_refuses(invoke, corpus: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    scale = [] if "--scale" in options else ["--scale", "1:7"]
    result = invoke("--data", corpus, "-o", tmp_path / "out", *scale, *options)
    assert result.exit_code == 1 and sentence in str(result.exception) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "undefined"),
    [
        ([("A", "anger", "x"), ("B", "sadness", "x")], ["recall of x"]),
        ([("A", "anger", "x")] * 2 + [("B", "sadness", "x")] * 2, ["recall of x"]),
        ([("A", "anger", "x"), ("B", "anger", "x")], ["correlation", "recall of x"]),
        ([("A", "anger", "x"), ("A", "sadness", "x")], ["recall of x"]),
        ([(s, e, "x") for s in "AB" for e in ("anger", "sadness")] + [("C", "anger", "y")], ["recall of y"]),
        ([("A", "anger", "x")], ["agreement of arousal", "recall of x"]),
        ([(s, e, "") for s in "ABC" for e in ("anger", "sadness")] + [("D", "", "")], []),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_clips_do_not_define_is_told_and_the_rest_reported(
    invoke, tmp_path: Path, rows: list[tuple[str, str, str]], undefined: list[str]
) -> None:
    """Two clips, one class without a speaker, one speaker, two corpora, one clip: a report and a word, no warning."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    table = []
    for number, (speaker, emotion, name) in enumerate(rows):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).uniform(-0.1, 0.1, RATE), RATE)
        table.append({"file": f"{number}.wav", "speaker": speaker, "emotion": emotion, "corpus": name})
    manifest = write_csv(tmp_path / "m.csv", table)
    result = invoke("--data", manifest, "-o", tmp_path / "out", "--draws", "20")
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if "is not defined" in line]
    for name in undefined:
        assert any(line.startswith(name) for line in told)
    assert bool(told) == bool(undefined)
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(document["undefined"]) == len(told)
    assert ("do not define every figure" in (tmp_path / "out" / "evaluation.md").read_text()) == bool(told)


@pytest.mark.parametrize(
    "ratings", [(0.5, 0.7, 0.9), (0.5, 0.5, 0.5), (0.1, 0.1, 0.9), (0.0, 1.0, 0.5), (0.3, 0.31, 0.32)]
)
@pytest.mark.filterwarnings("error")
def test_the_same_recording_again_and_again(invoke, tmp_path: Path, ratings: tuple[float, ...]) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, RATE), RATE)
    rows = [{"file": "a.wav", "speaker": f"s{number}", "arousal": value} for number, value in enumerate(ratings)]
    result = invoke("--data", write_csv(tmp_path / "m.csv", rows), "-o", tmp_path / "out", "--draws", "50")
    assert result.exit_code == 0 and "correlation of arousal is not defined" in result.stderr
    assert (
        json.loads((tmp_path / "out" / "evaluation.json").read_text())["whole"]["arousal"]["pearson"]["value"] is None
    )


def test_nothing_is_scored_where_a_report_cannot_be_written(
    invoke, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("emow2v.model.load", load)
    result = invoke("--data", corpus, "--scale", "1:7", "-o", corpus)
    assert result.exit_code == 1 and "cannot be written" in str(result.exception)
    monkeypatch.setattr("emow2v.evaluation.intervals.find_spec", lambda name: None)
    result = invoke("--data", corpus, "--scale", "1:7", "-o", corpus.parent / "out")
    assert result.exit_code == 1 and "emow2v[evaluate]" in str(result.exception)


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation.md", "scores.png"])
def test_reports_replace_only_their_own(invoke, corpus: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    options = ["--data", corpus, "--scale", "1:7", "-o", tmp_path / "out", "--draws", "0"]
    result = invoke(*options)
    assert result.exit_code == 1 and "--overwrite" in str(result.exception)
    assert (tmp_path / "out" / name).read_text() == "mine"
    assert invoke(*options, "--overwrite").exit_code == 0
    assert invoke(*options).exit_code == 0  # its own
