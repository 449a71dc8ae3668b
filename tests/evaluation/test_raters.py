"""Several raters of the same clips: their mean is what scores are compared with, their agreement stands beside it."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from commands import caller
from emow2v.agreement import ccc
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.errors import FormatError
from emow2v.evaluation.raters import raters_of
from emow2v.model import Model


def test_figures_are_those_of_the_plain_formula() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=40)
    ratings = [np.clip(truth + rng.normal(0, spread, 40), 0, 1) for spread in (0.05, 0.1, 0.2)]
    scores = np.stack([truth, truth, truth], axis=1)
    clips = [
        Clip(Path("x"), "x", by_rater={str(k): (float(one[n]), math.nan, math.nan) for k, one in enumerate(ratings)})
        for n in range(40)
    ]
    found = raters_of(clips, scores)
    assert list(found) == ["arousal"]
    others = [np.mean([ratings[j] for j in range(3) if j != k], axis=0) for k in range(3)]
    assert found["arousal"].raters == 3
    assert found["arousal"].score_with_rater == pytest.approx(np.mean([ccc(one, truth) for one in ratings]))
    assert found["arousal"].rater_with_others == pytest.approx(
        np.mean([ccc(one, other) for one, other in zip(ratings, others, strict=True)])
    )
    pairs = [ccc(ratings[a], ratings[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found["arousal"].rater_with_rater == pytest.approx(np.mean(pairs))
    assert raters_of([Clip(Path("x"), "x")], scores[:1]) == {}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["file,arousal_1,arousal_2,valence_1,valence_2,arousal_std,ann,ben"]
    for number in range(4):
        level = 0.02 + 0.05 * number
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(0, level, 16000), 16000)
        second = "" if number == 3 else f"{1 + number}"
        lines.append(f"{number}.wav,{2 + number},{second},3,4,9,{number},{number + 1}")
    path = tmp_path / "m.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_numbered_columns_are_raters_whose_mean_is_the_rating(manifest: Path) -> None:
    clips = read_manifest(manifest, scales={"arousal": (0.0, 10.0), "valence": (0.0, 10.0)})
    assert list(clips[0].by_rater) == ["1", "2"]
    assert clips[0].ratings[0] == pytest.approx(0.15) and math.isnan(clips[0].ratings[1])
    assert clips[3].ratings[0] == pytest.approx(0.5)  # the one that was given
    assert clips[0].by_rater["2"][2] == pytest.approx(0.4)


def test_a_map_of_columns(manifest: Path) -> None:
    clips = read_manifest(manifest, scales={"arousal": (0.0, 10.0)}, raters={"arousal": ["ann", "ben"]})
    assert clips[2].by_rater["ben"][0] == pytest.approx(0.3) and clips[2].ratings[0] == pytest.approx(0.25)
    with pytest.raises(FormatError, match="has no column eva"):
        read_manifest(manifest, raters={"arousal": ["eva"]})
    with pytest.raises(FormatError, match="different numbers"):
        read_manifest(manifest, raters={"arousal": ["ann", "ben"], "valence": ["ann"]})
    with pytest.raises(FormatError, match="has no dimension 'anger'"):
        read_manifest(manifest, raters={"anger": ["ann"]})


def test_the_report_has_raters_and_a_table_of_clips(
    manifest: Path, lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = caller(monkeypatch, lite)
    done = call(
        "evaluate", "--data", manifest, "--scale", "0:10", "-o", tmp_path / "out", "--columns", "arousal=ann,ben"
    )
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert figures["raters"]["arousal"]["raters"] == 2
    expected = ccc(np.arange(4) / 10, (np.arange(4) + 1) / 10)
    assert figures["raters"]["arousal"]["rater_with_rater"] == pytest.approx(expected, abs=1e-4)
    assert "## Raters" in (tmp_path / "out/evaluation.md").read_text()
    with (tmp_path / "out/clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert [float(row["arousal_ben"]) for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert float(rows[0]["rating_arousal"]) == pytest.approx(0.05) and rows[0]["valence_ann"] == ""
    whole = lite.predict(tmp_path / "0.wav", unit="files").scores[0]
    assert [float(rows[0][name]) for name in ("arousal", "dominance", "valence")] == pytest.approx(whole, abs=1e-5)
