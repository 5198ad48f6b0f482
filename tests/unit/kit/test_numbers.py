from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.kit.numbers import median, percentile, percentile_linear, quantiles

samples = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50)


@given(samples)
def test_the_median_is_that_of_statistics(values: list[float]) -> None:
    """median agrees with the standard library on any sample"""
    assert median(values) == pytest.approx(statistics.median(values), rel=1e-9, abs=1e-6)


@given(samples, st.floats(0, 100))
def test_the_nearest_rank_is_one_of_the_values(values: list[float], percent: float) -> None:
    """a nearest-rank percentile was measured, and that share of the sample is not above it"""
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6


@given(samples)
def test_linear_percentiles_rise(values: list[float]) -> None:
    """linear percentiles start at the least, end at the greatest, and never fall between"""
    ordered = sorted(values)
    found = [percentile_linear(ordered, percent) for percent in range(0, 101, 10)]
    assert found[0] == ordered[0]
    assert found[-1] == ordered[-1]
    assert all(a <= b or a == pytest.approx(b) for a, b in itertools.pairwise(found))


def test_known_quantiles() -> None:
    """of 1 to 100 in any order, the p-th percentile is p"""
    found = quantiles(float(value) for value in range(100, 0, -1))
    assert (found.count, found.total, found.p50, found.p90, found.p99, found.maximum) == (
        100,
        5050,
        50,
        90,
        99,
        100,
    )


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan")])
def test_an_impossible_percentage_is_refused(percent: float) -> None:
    """a percentage outside 0 to 100 raises and shows itself"""
    with pytest.raises(UsageError, match=str(percent)):
        percentile([1.0], percent)


def test_no_values_are_refused() -> None:
    """a percentile of nothing raises"""
    with pytest.raises(UsageError, match="no values"):
        median([])
