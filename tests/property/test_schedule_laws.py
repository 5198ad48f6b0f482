"""Laws of ticks, for any expression, zone and moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.unit.jobs.schedules.clockwork import changes, minutes, nanos, ticks
from vcache.jobs.schedules import next_after, parse_when, ticks_between

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Africa/Cairo", "Australia/Sydney"]
)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.just("*") | span, st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    listed = st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)
    return st.just("*") | step | listed


EXPRESSIONS = st.tuples(
    field(0, 59), field(0, 23), st.just("*") | field(1, 28), st.just("*"), field(0, 6)
).map(" ".join)
MOMENTS = st.integers(nanos(datetime(1971, 1, 1, tzinfo=UTC)), nanos(datetime(2100, 1, 1, tzinfo=UTC)))


@given(EXPRESSIONS, ZONES, MOMENTS, st.integers(0, 10**14))
def test_the_next_tick_is_later_and_no_later_moment_has_an_earlier_one(
    expression: str, zone: str, at_ns: int, further_ns: int
) -> None:
    """It is strictly behind, monotone, and there is none between"""
    when = parse_when(expression, zone)
    tick_ns = next_after(when, at_ns)
    assert tick_ns > at_ns
    assert next_after(when, tick_ns - 1) == tick_ns
    assert next_after(when, at_ns + further_ns) >= tick_ns
    assert ticks_between(when, at_ns, tick_ns, most=3) == ([tick_ns], True)


@settings(deadline=None, max_examples=60)
@given(st.data(), EXPRESSIONS, ZONES, st.integers(0, 20 * 60))
def test_ticks_are_those_that_brute_force_finds(
    data: st.DataObject, expression: str, zone: str, before: int
) -> None:
    """Around changes of the clock and anywhere else, minute after minute"""
    near = changes(zone, 2024, 2025) or [datetime(2024, 2, 28, 20, tzinfo=UTC)]
    start = data.draw(st.sampled_from(near)) - timedelta(minutes=before)
    shown = minutes(zone, start, 26)
    found, is_all = ticks_between(parse_when(expression, zone), nanos(start), nanos(shown[-1][0]), most=9999)
    assert is_all
    assert found == ticks(expression, shown)


@given(st.integers(1, 10**7), MOMENTS)
def test_intervals_are_multiples(length_s: int, at_ns: int) -> None:
    """The next one is a multiple, and the one before it is not behind the moment"""
    when = parse_when(f"every {length_s}s")
    tick_ns = next_after(when, at_ns)
    assert tick_ns % (length_s * 10**9) == 0
    assert tick_ns - length_s * 10**9 <= at_ns < tick_ns
