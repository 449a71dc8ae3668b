from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.framing import Framing
from emow2v.framing.chunks import FEWEST, Chunks
from emow2v.framing.windows import Windower

HOP = 640


def run(chunks: Chunks, signal: np.ndarray, sizes: list[int], flush: bool) -> list:
    given_chunks, position = [], 0
    for size in sizes:
        given_chunks += chunks.add(signal[position : position + size])
        if flush:
            given_chunks += chunks.flush()
        position += size
    given_chunks += chunks.add(signal[position:])
    return [*given_chunks, *chunks.finish(Fraction(signal.size, 16000))]


@given(
    samples=st.integers(1, 30_000),
    sizes=st.lists(st.integers(0, 3000), max_size=12),
    flush=st.booleans(),
    delay=st.integers(0, 6),
    size=st.integers(FEWEST, 9),
    step=st.sampled_from(["10", "40", "30", "100/3", "1000"]),
    left=st.integers(0, 1500),
    right=st.integers(0, 300),
    between=st.sampled_from([(0, None), (200, None), (900, None), (0, 500), (200, 1500)]),
)
def test_chunks_hold_every_sample_once_and_windows_those_of_the_windower(
    samples, sizes, flush, delay, size, step, left, right, between
) -> None:
    framing = Framing(
        frame_step_ms=Fraction(step),
        left_context_ms=left,
        right_context_ms=right,
        start_ms=between[0],
        end_ms=between[1],
    )
    signal = np.arange(1, samples + 1, dtype=np.float32)
    windower = Windower(framing, 16000)
    expected = [*windower.add(signal), *windower.finish(Fraction(samples, 16000))]
    chunks = Chunks(framing, 16000, hop=HOP, delay=delay, size=size)
    parts = run(chunks, signal, sizes, flush)
    heard = np.concatenate([np.zeros(0), *(part.signal[: part.length] for part in parts)])
    assert np.array_equal(heard, signal[: heard.size])
    if expected:  # what no window has is not computed
        assert heard.size >= expected[-1][1][-1].max() - HOP / 2
    windows = [
        (part.first + row, begin, stop)
        for part in parts
        for row, (begin, stop) in enumerate(zip(part.begins, part.ends, strict=True))
    ]
    assert [number for number, _, _ in windows] == [first for first, _ in expected]
    frames = -(-samples // HOP)
    length = framing.window_samples(16000)
    given_frames = 0
    for part in parts:
        assert part.signal.size % HOP == 0 and part.signal.size >= FEWEST * HOP
        given_frames += part.signal.size // HOP
        assert (part.ends <= min(frames, given_frames - delay)).all()  # their frames are known
        assert ((part.begins >= 0) & (part.begins < part.ends)).all()
    for (_, begin, stop), (_, window) in zip(windows, expected, strict=True):
        inside = window[0][window[0] > 0]
        if inside.size >= HOP and inside[-1] < samples:  # the frames lie where the samples do, within half a frame
            assert stop == 1 or abs(stop * HOP - inside[-1]) <= HOP / 2
        if inside.size == length >= HOP and stop > begin + 1:
            assert abs(begin * HOP - (inside[0] - 1)) <= HOP / 2


def test_live_windows_come_when_their_frames_are_known() -> None:
    chunks = Chunks(Framing(), 16000, hop=HOP, delay=3, size=250)
    assert list(chunks.add(np.zeros(HOP, np.float32))) == list(chunks.flush()) == []  # one frame waits for another
    counts = []
    for _ in range(6):
        counts.append(sum(len(part.begins) for part in [*chunks.add(np.zeros(HOP, np.float32)), *chunks.flush()]))
    assert counts[0] == 0 and sum(counts) == 6 - 3  # the seventh waits
    assert not chunks.exhausted


@pytest.mark.parametrize("end", [400, 440])
def test_reading_ends_with_the_windows_before_end(end) -> None:
    chunks = Chunks(Framing(end_ms=end), 16000, hop=HOP, delay=2, size=4)
    parts = list(chunks.add(np.zeros(160_000, np.float32)))
    assert chunks.exhausted and sum(len(part.begins) for part in parts) == end // 40
    assert sum(part.signal.size for part in parts) < 20_000
