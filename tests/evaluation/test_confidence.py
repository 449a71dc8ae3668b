import numpy as np
import pytest

pytest.importorskip("scipy")

from emow2v.evaluation import report
from emow2v.evaluation.confidence import CLOSE, confidence_of


def sure(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings, scores and confidence of a model that says with which probability it is close, and then is."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, (rows, 3))
    close = rng.uniform(0, 1, (rows, 3)) < confidence
    ratings = rng.uniform(0, 1, (rows, 3))
    ratings[:, 1] = np.nan
    return ratings, ratings + np.where(close, 0.05, 0.3) * rng.choice([-1, 1], (rows, 3)), confidence


def test_a_calibrated_confidence_is_reliable_at_every_step() -> None:
    ratings, scores, confidence = sure()
    found = confidence_of(ratings, scores, confidence)
    assert set(found) == {"arousal", "valence"}  # nobody rated dominance
    for figures in found.values():
        steps = figures["reliability"]
        assert [step["from"] for step in steps] == [0.0, 0.2, 0.4, 0.6, 0.8] and sum(s["rows"] for s in steps) == 20_000
        for step in steps:
            assert step["from"] <= step["confidence"] <= step["to"]
            assert step["share_below"] == pytest.approx(step["confidence"], abs=0.03)
        # of the fifth that is sure by .1 and of the one that is sure by .9: .9 * .3 + .1 * .05 and .1 * .3 + .9 * .05
        assert figures["mean_absolute_error"][0] == pytest.approx(0.275, abs=0.01)
        assert figures["surest_to_least_sure"] == pytest.approx(0.075 / 0.275, abs=0.03)
        assert figures["share_below"] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.03)
        assert figures["rank_correlation"] < -0.3 and figures["below"] == CLOSE


def test_a_confidence_that_tells_nothing_and_one_that_never_moves() -> None:
    ratings, scores, confidence = sure(2000)
    told = confidence_of(ratings, scores, np.random.default_rng(1).permuted(confidence, axis=0))
    assert told["arousal"]["surest_to_least_sure"] == pytest.approx(1, abs=0.15)
    assert confidence_of(ratings, scores, np.ones_like(scores)) == {}
    assert confidence_of(ratings[:9], scores[:9], confidence[:9]) == {}
    right = confidence_of(ratings, ratings, confidence)["valence"]
    assert right["surest_to_least_sure"] is None and right["rank_correlation"] is None
    assert "| valence | 0.000 | 0.000 | 0.000 | 0.000 | 0.000 | - | - |" in report.confidence_tables({"valence": right})


def test_the_report_has_both_tables_of_clips_and_windows() -> None:
    found = confidence_of(*sure())
    lines = "\n".join(report.confidence_tables(found, found))
    assert "| arousal | 0.27" in lines and "| single windows, valence | 0.27" in lines
    assert "| arousal | 0.8 to 1 |" in lines and "share within 0.1" in lines
    old = {"arousal": {"rank_correlation": -0.2, "mean_absolute_error": [0.3, 0.2, 0.2, 0.2, 0.1]}}  # of 1.0's results
    lines = "\n".join(report.confidence_tables(old))
    assert "| arousal | 0.300 | 0.200 | 0.200 | 0.200 | 0.100 | - | -0.2 |" in lines and "within" not in lines
