"""The interval of a rate: what every number in a report stands on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.evaluation.statistics import wilson


@st.composite
def counts(draw):
    n = draw(st.integers(1, 10_000))
    return draw(st.integers(0, n)), n


def test_a_case_worked_by_hand_agrees():
    """8 of 10 at z = 1.959964: centre (.8 + 3.841459/20) / 1.3841459, half width by the formula."""
    interval = wilson(8, 10)
    assert interval.rate == 0.8
    assert interval.low == pytest.approx(0.4901625, abs=1e-6)
    assert interval.high == pytest.approx(0.9433178, abs=1e-6)


@given(counts())
def test_the_interval_contains_the_rate_and_stays_inside_zero_and_one(count):
    interval = wilson(*count)
    assert 0 <= interval.low <= interval.rate <= interval.high <= 1
    assert interval.low < interval.high


@given(counts())
def test_failures_mirror_successes(count):
    successes, n = count
    one, other = wilson(successes, n), wilson(n - successes, n)
    assert one.low == pytest.approx(1 - other.high)
    assert one.high == pytest.approx(1 - other.low)


@given(counts(), st.integers(2, 10))
def test_more_questions_with_the_same_rate_narrow_the_interval(count, times):
    few, many = wilson(*count), wilson(count[0] * times, count[1] * times)
    assert many.high - many.low < few.high - few.low


def test_nothing_refused_of_many_is_still_not_certainly_nothing():
    assert wilson(0, 20).low == 0
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_a_rate_of_nothing_is_an_error_and_not_zero(successes, n):
    with pytest.raises(ValueError, match="no rate"):
        wilson(successes, n)
