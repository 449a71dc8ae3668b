"""Turns beside values over time: the means are those of a loop over values and turns."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.discover.turn_list import TurnList, TurnListWriter, path_of, read_turn_list
from emow2v.errors import FormatError
from emow2v.formats.table_read import Table
from emow2v.framing import Framing
from emow2v.rows import Info
from emow2v.speech.segments import Segment, Segmentation
from emow2v.storage.files import publish

STEP_S = Fraction(32, 1000)  # of a frame


def table(framing: Framing, first: int, rows: int) -> Table:
    numbers = np.arange(4.0 * rows).reshape(rows, 4) / (4 * rows)
    return Table(*framing.times(first, rows), numbers[:, :3], numbers[:, 3])


@given(
    step=st.sampled_from([40, 100, 250]),
    left=st.sampled_from([0, 200, 960]),
    right=st.sampled_from([0, 80]),
    first=st.integers(0, 5),
    seed=st.integers(0, 1000),
    spans=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 80)), max_size=6),
)
def test_means_are_those_of_values_inside_with_speech(
    step: int, left: int, right: int, first: int, seed: int, spans: list[tuple[int, int]]
) -> None:
    framing = Framing(frame_step_ms=step, left_context_ms=left, right_context_ms=right, start_ms=first * step)
    frames = np.random.default_rng(seed).random(200).astype(np.float32)
    values = table(framing, first, 20)
    segments = tuple(Segment(begin / 20, (begin + length) / 20) for begin, length in spans)
    listed = TurnList("a", segments, frames, ()).with_values(values, framing)
    for turn, (begin, length) in zip(listed, spans, strict=True):
        start, end = Fraction(begin, 20), Fraction(begin + length, 20)
        inside = []
        for row in range(20):
            window_start = Fraction((first + row) * step - left, 1000)
            window_end = Fraction((first + row) * step + step + right, 1000)
            heard = [frame for k, frame in enumerate(frames) if window_start < (k + 1) * STEP_S <= window_end]
            if start <= window_start and window_end <= end and np.mean(heard, dtype=np.float64) >= 0.5:
                inside.append(row)
        assert turn.count == len(inside)
        if inside:
            np.testing.assert_allclose(turn.scores, values.scores[inside].mean(axis=0))
            assert turn.confidence == pytest.approx(values.confidence[inside].mean())
        else:
            assert np.isnan(turn.scores).all() and math.isnan(turn.confidence)
        assert 0 <= turn.speech <= 1


def kept(folder: Path, segmentation: Segmentation | None, frames: np.ndarray, **framing: float) -> TurnList | None:
    writer = TurnListWriter(path_of(folder, 0), segmentation, {})
    writer.open(Info("folder/talk.wav", Framing(**framing), {"duration_s": len(frames) * 0.032}))
    for part in np.array_split(frames, 7):
        writer.add_speech(part.astype(np.float32))
    writer.close()
    publish([writer.staged])
    return read_turn_list(path_of(folder, 0))


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).random(100).astype(np.float32)
    segments = (Segment(0.5, math.inf, "Ä", "t", 'a "b"\n'), Segment(0.1, 0.2))
    found = kept(tmp_path, Segmentation(segments, "CSV", source=Path("talk.csv")), frames)
    assert found is not None
    assert (found.name, found.notices) == ("talk.csv", ())
    assert found.segments == (segments[1], Segment(0.5, 3.2, "Ä", "t", 'a "b"\n'))
    np.testing.assert_array_equal(found.frames, frames)


def test_turns_outside_of_the_recording_are_told_and_nothing_fails(tmp_path: Path) -> None:
    late = Segmentation((Segment(70, 80),), "CSV", source=Path("talk.csv"))
    found = kept(tmp_path, late, np.ones(100))
    assert found is not None and found.segments == ()
    (notice,) = found.notices
    assert notice.startswith("talk.csv has no turn within talk.wav: it lasts until 80 s")


def test_turns_of_the_detector(tmp_path: Path) -> None:
    frames = np.repeat([0.0, 1.0, 0.0, 1.0], 25)
    found = kept(tmp_path, None, frames)
    assert found is not None and found.name == ""
    assert [(one.start, one.end) for one in found.segments] == [(0.74, 1.66), (2.34, 3.2)]
    found = kept(tmp_path, None, frames, start_ms=2000)
    assert found is not None and [one.start for one in found.segments] == [2.34]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"name": "a", "segments": [{}], "notices": [], "frames": ""}', '"a"']
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    assert read_turn_list(path_of(tmp_path, 0)) is None
    path_of(tmp_path, 0).write_text(text)
    with pytest.raises(FormatError, match="turns cannot be read"):
        read_turn_list(path_of(tmp_path, 0))
