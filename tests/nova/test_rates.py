from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.nova.rates import at_rate, count_at

rates = st.fractions(min_value=Fraction(1, 3), max_value=60, max_denominator=7)


def test_values_at_their_own_rate_stay() -> None:
    values = np.array([0.5, np.nan, 0.25])
    assert at_rate(values, Fraction(25), Fraction(25)) is values


def test_fewer_values_are_means() -> None:
    values = np.random.default_rng(0).random(1003)
    np.testing.assert_allclose(at_rate(values, Fraction(25), Fraction(1)), values[:1000].reshape(40, 25).mean(axis=1))


def test_more_values_repeat_rows() -> None:
    values = np.random.default_rng(1).random(50)
    np.testing.assert_allclose(at_rate(values, Fraction(10), Fraction(30)), np.repeat(values, 3))


def test_rows_without_a_value_do_not_count() -> None:
    values = np.array([1.0, np.nan, 0.0, 0.5, np.nan, np.nan])
    assert at_rate(values, Fraction(2), Fraction(1)).tolist()[:2] == [1.0, 0.25]
    assert np.isnan(at_rate(values, Fraction(2), Fraction(1))[2])


@given(st.lists(st.floats(0, 1), max_size=40), rates, rates)
def test_a_value_is_the_mean_of_finely_cut_rows(rows: list[float], own: Fraction, rate: Fraction) -> None:
    values = at_rate(np.array(rows, float), own, rate)
    assert len(values) == count_at(len(rows), own, rate)
    # rows and values both last a whole number of steps of 1 / grid seconds
    grid = (own * rate).numerator * own.denominator * rate.denominator
    fine = np.repeat(np.array(rows, float), int(grid / own))
    assert grid % own == 0 and grid % rate == 0
    step = int(grid / rate)
    np.testing.assert_allclose(values, fine[: len(values) * step].reshape(-1, step).mean(axis=1), atol=1e-9)


@pytest.mark.parametrize("rate", [1, 25, 1000])
def test_a_recording_without_rows_has_no_values(rate: int) -> None:
    assert len(at_rate(np.zeros(0), Fraction(25), Fraction(rate))) == 0
