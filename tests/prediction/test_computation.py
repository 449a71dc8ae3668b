"""Many short signals in one batch give the numbers of each alone."""

from typing import Any

import numpy as np
import pytest
import soundfile

from emow2v.errors import AudioError, FramingError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE

SIGNAL = soundfile.read(EXAMPLE, dtype="float32")[0]
CLIPS = [SIGNAL[begin : begin + size] for begin, size in ((0, 9000), (20000, 16000), (50000, 9000), (7000, 33333))]


def agree(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
    np.testing.assert_array_equal(got.starts, expected.starts)
    np.testing.assert_array_equal(got.ends, expected.ends)
    np.testing.assert_array_equal(got.confidence, expected.confidence)
    distance = np.linalg.norm(got.embeddings - expected.embeddings, axis=1)
    assert (distance <= 1e-5 * np.linalg.norm(expected.embeddings, axis=1)).all()


@pytest.mark.parametrize(
    "options",
    [{"unit": "files"}, {"framing": Framing(frame_step_ms=100)}, {"framing": Framing(frame_step_ms=100), "batch_size": 3},
     {"framing": Framing(frame_step_ms=70, left_context_ms=200, right_context_ms=300, start_ms=130, end_ms=500)},
     {"framing": Framing.files(start_ms=100, end_ms=450)}],
    ids=str,
)  # fmt: skip
def test_a_batch_gives_the_numbers_of_each_alone(lite: Model, options: Any) -> None:
    batch = lite.predict_batch(CLIPS, 16000, **options)
    assert len(batch) == len(CLIPS)
    for number, (got, clip) in enumerate(zip(batch, CLIPS, strict=True)):
        expected = lite.predict(clip, 16000, **options)
        agree(got, expected)
        assert got.info.source == f"signals[{number}]" and got.info.expected_rows == len(got)
        assert dict(got.provenance) == dict(expected.provenance)


def test_pieces_of_long_signals_are_averaged_in_a_batch_too(lite: Model) -> None:
    long = np.concatenate([SIGNAL, SIGNAL])[: lite.card.max_samples + 30000]
    (got, other) = lite.predict_batch([long, long[::-1].copy()], 16000, unit="files")
    agree(got, lite.predict(long, 16000, unit="files"))
    assert not np.allclose(got.scores, other.scores, atol=1e-3)


def test_windows_of_many_signals_share_batches(windows: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    run = windows.engine.run_parallel
    monkeypatch.setattr(windows.engine, "run_parallel", lambda batch: batches.append(len(batch)) or run(batch))
    windows.predict_batch([SIGNAL[:3200]] * 8, 16000, framing=Framing(frame_step_ms=100), batch_size=5)
    assert sorted(batches) == [1, 5, 5, 5]  # 16 windows; one by one they were 8 batches of 2


def test_signals_of_equal_length_share_a_batch(windows: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, ...]] = []
    run = windows.engine.run_parallel
    monkeypatch.setattr(windows.engine, "run_parallel", lambda batch: batches.append(batch.shape) or run(batch))
    windows.predict_batch(CLIPS, 16000, unit="files")
    assert sorted(batches) == [(1, 16000), (1, 33333), (2, 9000)]


def test_an_array_of_clips_and_another_rate(lite: Model) -> None:
    clips = np.stack([SIGNAL[:8000], SIGNAL[8000:16000]])
    for got, clip in zip(lite.predict_batch(clips, 8000, unit="files"), clips, strict=True):
        agree(got, lite.predict(clip, 8000, unit="files"))
    assert lite.predict_batch([], 16000) == []


@pytest.mark.parametrize("unit", ["windows", "files"])
def test_a_signal_that_fails_is_named_by_its_index(lite: Model, unit: Any) -> None:
    with pytest.raises(AudioError, match=r"signals\[1\] is too short: it lasts 10 ms"):
        lite.predict_batch([SIGNAL[:9000], SIGNAL[:160]], 16000, unit=unit)
    with pytest.raises(AudioError, match=r"signals\[2\]: Expected an array of floats or integers"):
        lite.predict_batch([*CLIPS[:2], ["a"]], 16000, unit=unit)


def test_windows_that_the_model_cannot_take_are_refused(lite: Model) -> None:
    with pytest.raises(FramingError, match="too short for lite"):
        lite.predict_batch(CLIPS, 16000, framing=Framing(frame_step_ms=10, left_context_ms=0))


def test_notices_of_a_signal_stand_in_its_trajectory(lite: Model) -> None:
    (quiet,) = lite.predict_batch([np.zeros(16000, np.float32)], 16000, unit="files")
    assert quiet.notices == ["It holds nothing but silence."] and quiet.provenance["notices"] == quiet.notices[0]
