"""Recordings that are read and computed ahead have the rows, facts and errors of each alone, in their order."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emow2v.archive.loop import Request
from emow2v.errors import AudioError, Emow2vError, FormatError, ModelError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.prediction import ahead
from emow2v.trajectory import Trajectory

SIGNAL, RATE = soundfile.read(EXAMPLE, dtype="float32")
LENGTHS = (9000, 16000, 9000, 33333, 9000, 20000)
STEP = Framing(frame_step_ms=200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Short recordings of some lengths, with a text file, an empty file and one that is too short among them."""
    for number, length in enumerate(LENGTHS):
        begin = 7000 * number
        soundfile.write(tmp_path / f"{number}a.wav", SIGNAL[begin : begin + length], RATE)
    soundfile.write(tmp_path / "1b.wav", SIGNAL[:160], RATE)
    (tmp_path / "2b.wav").write_text("no sound")
    (tmp_path / "3b.wav").touch()
    soundfile.write(tmp_path / "4b.wav", np.stack([SIGNAL[:12000], 0 * SIGNAL[:12000]], 1), RATE)  # has a notice
    return tmp_path


def requests(paths: list[Path], **options: Any) -> list[Request]:
    return [Request(path, lambda: dict(options)) for path in paths]


def outcome(predict: Callable[[], Trajectory]) -> Trajectory | str:
    try:
        return predict().load()
    except Emow2vError as error:
        return str(error)


def agree(got: Trajectory | str, expected: Trajectory | str) -> None:
    if isinstance(expected, str) or isinstance(got, str):
        assert got == expected
        return
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-6)
    np.testing.assert_array_equal(got.starts, expected.starts)
    np.testing.assert_array_equal(got.ends, expected.ends)
    distance = np.linalg.norm(got.embeddings - expected.embeddings, axis=1)
    assert (distance <= 1e-6 * np.linalg.norm(expected.embeddings, axis=1)).all()
    assert (got.speech is None) == (expected.speech is None)
    if got.speech is not None and expected.speech is not None:
        np.testing.assert_allclose(
            got.speech, expected.speech, atol=1e-6
        )  # a model of frames computes it in batches, too
    assert list(got.provenance.items()) == list(expected.provenance.items())
    assert got.notices == expected.notices
    assert (got.info.source, got.info.expected_rows) == (expected.info.source, expected.info.expected_rows)


@pytest.mark.parametrize(
    "options",
    [{"unit": "files"}, {"framing": STEP}, {"framing": STEP, "batch_size": 3}, {"unit": "files", "channel": "left"},
     {"framing": STEP, "speech": True},
     {"framing": Framing.files(start_ms=100, end_ms=450)}],
    ids=str,
)  # fmt: skip
def test_each_has_what_it_has_alone(lite: Model, folder: Path, options: Any) -> None:
    paths = sorted(folder.iterdir())
    found = [outcome(predict) for predict in lite.predict_ahead(requests(paths, **options))]
    assert len(found) == len(paths)
    for got, path in zip(found, paths, strict=True):
        agree(got, outcome(lambda path=path: lite.predict(path, **options)))
    assert sum(isinstance(one, str) for one in found) == 3


def test_with_shared_context_each_is_computed_alone(windows: Model, folder: Path) -> None:
    options = {"framing": STEP, "context": "shared"}
    path = folder / "3a.wav"
    (predict,) = windows.predict_ahead(requests([path], **options))
    agree(outcome(predict), outcome(lambda: windows.predict(path, **options)))


def test_recordings_share_batches(windows: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, ...]] = []
    run = windows.engine.run_parallel
    monkeypatch.setattr(windows.engine, "run_parallel", lambda batch: batches.append(batch.shape) or run(batch))
    paths = [folder / f"{number}a.wav" for number in range(len(LENGTHS))]
    for predict in windows.predict_ahead(requests(paths, unit="files")):
        predict().load()
    assert sorted(batches) == [(1, 16000), (1, 20000), (1, 33333), (3, 9000)]


def test_a_long_recording_stands_between_short_ones(lite: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first samples, which were read ahead, are not lost, and groups of few recordings keep their order."""
    monkeypatch.setattr(ahead, "SHORT_S", 2)
    monkeypatch.setattr(ahead, "MOST_RECORDINGS", 2)
    soundfile.write(folder / "2c.wav", SIGNAL[: 5 * RATE], RATE)
    soundfile.write(folder / "2d.wav", SIGNAL[: 4 * RATE], RATE)
    paths = sorted(folder.iterdir())
    for options in ({"unit": "files"}, {"framing": STEP}):
        found = [outcome(predict) for predict in lite.predict_ahead(requests(paths, **options))]
        for got, path in zip(found, paths, strict=True):
            agree(got, outcome(lambda path=path, options=options: lite.predict(path, **options)))


def test_a_batch_that_the_engine_refuses_costs_one_recording(
    windows: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = windows.engine.run_parallel
    refused = SIGNAL[14000]  # the first sample of the third recording

    def refuse(windows: np.ndarray) -> Any:
        if (windows[:, 0] == refused).any():
            raise ModelError("These samples cannot be computed.")
        return run(windows)

    monkeypatch.setattr(windows.engine, "run_parallel", refuse)
    paths = [folder / f"{number}a.wav" for number in range(len(LENGTHS))]
    for options in ({"unit": "files"}, {"framing": Framing(frame_step_ms=200, padding="zeros", left_context_ms=0)}):
        found = [outcome(predict) for predict in windows.predict_ahead(requests(paths, **options))]
        assert [one for one in found if isinstance(one, str)] == ["These samples cannot be computed."]
        assert found[2] == "These samples cannot be computed."


def test_an_error_before_a_recording_is_opened_is_its_own(lite: Model, folder: Path) -> None:
    def refuse() -> dict[str, Any]:
        raise FormatError("No place for it.")

    paths = [folder / "0a.wav", folder / "1a.wav"]
    mixed = [Request(paths[0], refuse), *requests(paths[1:], unit="files")]
    first, second = (outcome(predict) for predict in lite.predict_ahead(mixed))
    assert first == "No place for it." and isinstance(second, Trajectory)


def test_rows_can_be_read_twice_and_their_silence_be_found(lite: Model, folder: Path) -> None:
    (predict,) = lite.predict_ahead(requests([folder / "3a.wav"], framing=STEP))
    trajectory, alone = predict(), lite.predict(folder / "3a.wav", framing=STEP)
    assert [len(block) for block in trajectory] == [len(block) for block in trajectory]
    assert trajectory.mean() == pytest.approx(alone.mean(), nan_ok=True, abs=1e-6)


def test_a_stream_is_read_at_its_turn(lite: Model, folder: Path) -> None:
    stream = io.BytesIO((folder / "1a.wav").read_bytes())
    mixed = [Request(source, lambda: {"unit": "files"}) for source in (folder / "0a.wav", stream, folder / "1a.wav")]
    _, from_stream, from_file = (predict().load() for predict in lite.predict_ahead(mixed))
    np.testing.assert_allclose(from_stream.scores, from_file.scores, atol=1e-6)


def test_a_caller_that_stops_leaves_no_thread_and_no_open_file(
    lite: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "SHORT_S", 0.3)
    monkeypatch.setattr(ahead, "MOST_RECORDINGS", 1)
    taken: list[Path] = []

    def source() -> Any:
        for path in sorted(folder.iterdir()) * 50:
            taken.append(path)
            yield Request(path, lambda: {"unit": "files"})

    before = set(threading.enumerate())
    ready = lite.predict_ahead(source())
    next(ready)
    ready.close()
    assert {one for one in threading.enumerate() if one.name.startswith("emow2v")} <= before
    assert len(taken) < 50  # the rest was never asked for


def test_a_mistake_of_ours_comes_through(windows: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*arguments: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr("emow2v.prediction.batches.rows_of_each", mistaken)
    monkeypatch.setattr("emow2v.prediction.computation.rows_of_each", mistaken)
    with pytest.raises(TypeError, match="a mistake of ours"):
        next(windows.predict_ahead(requests([folder / "0a.wav"], unit="files")))


def test_a_closed_model_says_so(folder: Path) -> None:
    import emow2v

    model = emow2v.load("lite")
    model.close()
    for predict in model.predict_ahead(requests([folder / "0a.wav"], unit="files")):
        with pytest.raises(Emow2vError, match="is closed"):
            predict()


def test_a_missing_file_is_an_error_of_sound(lite: Model, folder: Path) -> None:
    (predict,) = lite.predict_ahead(requests([folder / "none.wav"], unit="files"))
    with pytest.raises(AudioError, match="does not exist"):
        predict()
