"""People's ratings as the judge of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from emow2v.agreement import within_classes
from emow2v.errors import FormatError
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.training.lite.rated import RatedSpeech, check_apart, for_choosing, for_reporting, read_rated_clips
from emow2v.training.lite.signals import decode
from small_corpora import write_csv, write_noise

SMALL = LiteConfig(layers=1, width=32, heads=2, intermediate=64, hidden=16)
SPEAKERS = ("b", "d", "a", "c", "e")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A manifest of five speakers with a clip of two classes twice, and ratings of all but the last clip."""
    rows, ratings = [], []
    for number in range(20):
        name = f"wav/{number}.wav"
        write_noise(tmp_path / name, 0.6 + 0.05 * number, seed=number, level=0.01 * (number + 1))
        rows.append(
            {"file": name, "corpus": "x", "speaker": SPEAKERS[number % 5], "emotion": ("fear", "joy")[number // 10]}
        )
        ratings.append({"file": name, "arousal": 4 * number + 10, "valence": 90 - number, "raters": 12})
    return write_csv(tmp_path / "manifest.csv", rows), write_csv(tmp_path / "ratings.csv", ratings[:-1])


def test_within_classes_is_the_correlation_of_what_the_class_does_not_tell() -> None:
    """Against the slope of a regression on indicator variables, worked out by NumPy's least squares."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 200)
    own = rng.normal(size=200)
    truth, prediction = 3.0 * classes + own, -2.0 * classes + own + rng.normal(size=200)
    assert np.corrcoef(truth, prediction)[0, 1] < 0
    indicators = np.eye(4)[classes]

    def residual(values: np.ndarray) -> np.ndarray:
        return values - indicators @ np.linalg.lstsq(indicators, values, rcond=None)[0]

    expected = np.corrcoef(residual(truth), residual(prediction))[0, 1]
    assert within_classes(truth, prediction, classes) == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert np.isnan(within_classes(classes.astype(float), prediction, classes))


def test_ratings_are_joined_with_speakers_and_parted_in_two(files: tuple[Path, Path]) -> None:
    clips = read_rated_clips(*files)
    assert len(clips) == 19 and clips[3].ratings[::2] == pytest.approx((0.22, 0.87)) and np.isnan(clips[3].ratings[1])
    assert (clips[3].speaker, clips[3].emotion, clips[3].corpus) == ("c", "fear", "x")
    chosen, reported = for_choosing(clips), for_reporting(clips)
    assert {clip.speaker for clip in chosen} == {"a", "c", "e"} and {clip.speaker for clip in reported} == {"b", "d"}
    assert len(chosen) + len(reported) == 19


def test_ratings_of_unknown_clips_are_refused(files: tuple[Path, Path]) -> None:
    manifest, ratings = files
    manifest.write_text(manifest.read_text().replace("wav/7.wav", "wav/seven.wav"))
    with pytest.raises(FormatError, match=r"ratings of wav/7\.wav, of which .* does not say speaker and class"):
        read_rated_clips(manifest, ratings)
    ratings.write_text("file,arousal\nwav/1.wav,3\n")
    with pytest.raises(FormatError, match="no column 'valence'"):
        read_rated_clips(manifest, ratings)
    ratings.write_text("file,arousal,valence\nwav/1.wav,101,3\n")
    with pytest.raises(FormatError, match=r"arousal is 101, outside 0\.\.100"):
        read_rated_clips(manifest, ratings)


def test_figures_are_those_of_scores_and_ratings(files: tuple[Path, Path]) -> None:
    clips = read_rated_clips(*files)
    torch.manual_seed(0)
    model = Lite(SMALL).eval()
    signals = decode(clips)
    figures = RatedSpeech(clips, signals).figures(model)
    assert figures["clips"] == 19 and figures["speakers"] == ["a", "b", "c", "d", "e"]
    with torch.no_grad():
        scores = np.array([model(torch.from_numpy(signals[index])[None])[1][0].numpy() for index in range(19)])
    arousal = np.array([clip.ratings[0] for clip in clips])
    fear = np.array([clip.emotion == "fear" for clip in clips])
    x, y = arousal.copy(), scores[:, 0].astype(float)
    covariance = np.cov(x, y, bias=True)
    expected = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2)
    assert figures["whole"]["ccc"]["arousal"] == pytest.approx(expected, abs=6e-4)
    for part in (fear, ~fear):
        x[part] -= x[part].mean()
        y[part] -= y[part].mean()
    assert figures["whole"]["within_classes"]["arousal"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=6e-4)
    assert (
        figures["whole"]["ccc"].keys() == figures["windows_averaged"]["within_classes"].keys() == {"arousal", "valence"}
    )


def test_nothing_is_judged_by_what_it_has_learnt(files: tuple[Path, Path]) -> None:
    clips = read_rated_clips(*files)
    rated = RatedSpeech(clips[:10:5], decode(clips[:10:5]))  # of speaker b
    others = clips[1:5]
    check_apart(others, decode(others), rated)
    with pytest.raises(FormatError, match="b belongs to the training and to the speech that people rated"):
        check_apart(clips[5:9], decode(clips[5:9]), rated)
    others[2].file.write_bytes(clips[5].file.read_bytes())
    with pytest.raises(FormatError, match=r"wav/5\.wav, which people rated, holds the same sound as wav/3\.wav"):
        check_apart(others, decode(others), rated)
