"""Windows of short signals, all within them; NumPy's own view of sliding windows judges."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from emow2v.framing import Framing
from emow2v.framing.windows import cut

RAMP = np.arange(40_000, dtype=np.float32)


@pytest.mark.parametrize(("window_ms", "step_ms"), [(1000, 500), (500, 800), (1000, 1000), (40, 10)])
@pytest.mark.parametrize("samples", [0, 1, 15_999, 16_000, 16_001, 23_999, 24_000, 40_000])
def test_windows_lie_within_a_signal(window_ms: int, step_ms: int, samples: int) -> None:
    windows = cut(RAMP[:samples], Framing(frame_step_ms=step_ms, frame_size_ms=window_ms, left_context_ms=0))
    size, step = window_ms * 16, step_ms * 16
    if samples < size:
        assert windows.shape == (0, size)
    else:
        expected = np.lib.stride_tricks.sliding_window_view(RAMP[:samples], size)[::step]
        np.testing.assert_array_equal(windows, expected)


def test_steps_that_are_no_whole_samples_do_not_drift() -> None:
    step = Fraction(100, 3)  # 533.33 samples
    windows = cut(RAMP, Framing(frame_step_ms=step, frame_size_ms=100, left_context_ms=0))
    begins = windows[:, 0]
    assert begins[0] == 0 and begins[3] == 1600 and begins[60] == 32_000


def test_windows_are_a_copy() -> None:
    signal = RAMP[:32_000].copy()
    windows = cut(signal, Framing(frame_step_ms=500, frame_size_ms=1000, left_context_ms=0))
    windows[:] = 0
    assert signal[-1] == 31_999


def test_left_context_is_part_of_a_window() -> None:
    windows = cut(RAMP[:32_000], Framing(frame_step_ms=500, frame_size_ms=500, left_context_ms=500))
    assert windows.shape == (3, 16_000) and windows[:, 0].tolist() == [0, 8_000, 16_000]
