"""Measured rooms: which responses are those of rooms, and what a recording becomes in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("scipy")

from emow2v.errors import FormatError
from emow2v.evaluation.robustness.changes import CONDITION, changes
from emow2v.evaluation.robustness.rooms import decay_s, read_responses, reverberated
from emow2v.evaluation.robustness.run import robustness
from emow2v.evaluation.robustness.transmission import Unfit
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from impulse_responses import room


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """A room whose sound comes late, a cave, a click, and a text."""
    click = np.zeros(800, np.float32)
    click[10] = 0.5
    for name, response in (("sub/room", room(0.4, before=100)), ("cave", room(5.0)), ("click", click)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", response, 16000, subtype="FLOAT")
    (tmp_path / "broken.wav").write_text("no sound")
    return tmp_path


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0])
def test_the_decay_of_a_room_is_that_of_its_noise(seconds: float) -> None:
    response = room(seconds)
    assert decay_s(response[1:]) == pytest.approx(seconds, rel=0.1)
    assert decay_s(np.zeros(100, np.float32)) == decay_s(np.zeros(0, np.float32)) == 0


def test_responses_begin_with_the_direct_sound(rooms: Path) -> None:
    (response,) = read_responses(rooms)
    np.testing.assert_allclose(response, room(0.4), atol=1e-6)
    (rooms / "sub" / "room.wav").unlink()
    with pytest.raises(
        FormatError, match=r"no impulse response that decays by 60 dB in 0\.1 to 1\.2 s; expected rooms"
    ):
        read_responses(rooms)
    with pytest.raises(FormatError, match="expected rooms"):
        read_responses(rooms / "nowhere")


def test_a_recording_in_a_room_is_in_time_and_as_loud() -> None:
    rng = np.random.default_rng(3)
    signal = rng.normal(0, 0.1, 8000).astype(np.float32)
    changed = reverberated(signal, [room(0.4)], rng)
    expected = np.convolve(signal, room(0.4))[: signal.size]
    np.testing.assert_allclose(changed / np.std(changed), expected / np.std(expected), atol=1e-4)
    assert np.sqrt(np.mean(changed**2)) == pytest.approx(np.sqrt(np.mean(signal**2)), rel=1e-4)
    with pytest.raises(Unfit):
        reverberated(np.zeros(8000, np.float32), [room(0.4)], rng)


def test_the_test_of_measured_rooms_is_ours_and_alone_where_it_is_asked_for(rooms: Path, lite: Model) -> None:
    (change,) = (one for one in changes(rooms=rooms) if one.name == "measured room")
    assert (change.group, change.threshold, change.published) == (CONDITION, 0.8, False)
    assert "measured room" not in {one.name for one in changes()}
    found = robustness(lite, [EXAMPLE], rooms=rooms, only=["measured room"])
    (test,) = found.figures()["tests"]  # type: ignore[misc]
    assert test["test"] == "measured room" and test["files"] == 1
    assert "Neither tests nor thresholds of the paper: measured room." in found.markdown()
