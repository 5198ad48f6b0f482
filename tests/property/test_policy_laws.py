"""The planner's laws, for any survey and limits."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from vcache import policy
from vcache.policy import Limits, Plan, plan
from vcache.store.base import Survey

NS = 1_000_000_000
NOW_S = 1000
ROW = st.tuples(
    st.integers(0, NOW_S).map(lambda second: second * NS),  # used_ns: ties are common
    st.sampled_from([0, 0, 500, NOW_S - 1, NOW_S, NOW_S + 1]),  # expires_s
    st.integers(0, 100),  # size_bytes
    st.sampled_from([0, 0, 0, 1]),  # is_pinned
    st.sampled_from([0, 1, 1]),  # is_entry
)
ROWS = st.lists(ROW, max_size=60)
LIMITS = st.builds(
    Limits,
    max_bytes=st.none() | st.integers(0, 3000),
    max_entries=st.none() | st.integers(0, 60),
    max_age_s=st.none() | st.integers(0, NOW_S),
    low_water=st.sampled_from([0.5, 0.9, 1.0]),
)
Rows = list[tuple[int, int, int, int, int]]


@pytest.fixture(autouse=True, params=["sorted", "selected"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to find the oldest: by sorting, as few rows are, and by selecting, as many are."""
    if request.param == "selected":
        monkeypatch.setattr(policy, "_SORTED_ROWS", 4)
        monkeypatch.setattr(policy, "_SAMPLE_ROWS", 4)


def survey(rows: Rows) -> Survey:
    used, expires, sizes, pinned, entries = zip(*rows, strict=True) if rows else ((),) * 5
    return Survey(range(len(rows)), used, expires, sizes, pinned, entries)


def planned(rows: Rows, limits: Limits, *, overhead: int = 0, now_s: int = NOW_S) -> Plan:
    total = sum(row[2] for row in rows) + overhead
    return plan(survey(rows), limits, now_ns=now_s * NS, used_bytes=total)


# The fixture sets the same for all examples of a test, which is what the health check doubts.
LAWS = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LAWS
@given(rows=ROWS, limits=LIMITS, overhead=st.integers(0, 200))
def test_the_counts_add_up(rows: Rows, limits: Limits, overhead: int) -> None:
    """Each row at most once; the reasons add up to the rows, the sizes to the bytes."""
    result = planned(rows, limits, overhead=overhead)
    assert len(set(result.rows)) == len(result.rows)
    assert result.expired + result.aged + result.over_budget == len(result.rows)
    assert result.freed_bytes == sum(rows[row][2] for row in result.rows)


@LAWS
@given(rows=ROWS, limits=LIMITS)
def test_pins_are_never_dropped(rows: Rows, limits: Limits) -> None:
    """Not for age, not for budget, not when expired."""
    assert not any(rows[row][3] for row in planned(rows, limits).rows)


@LAWS
@given(rows=ROWS, limits=LIMITS, overhead=st.integers(0, 200))
def test_no_budget_is_passed_unless_pins_force_it(rows: Rows, limits: Limits, overhead: int) -> None:
    """After the plan the store is within its bytes, or nothing droppable is left; so with entries."""
    result = planned(rows, limits, overhead=overhead)
    dropped = set(result.rows)
    kept = [rows[row] for row in range(len(rows)) if row not in dropped]
    kept_bytes = sum(row[2] for row in kept) + overhead
    if limits.max_bytes is not None and kept_bytes > limits.max_bytes:
        assert all(row[3] for row in kept)
    if limits.max_entries is not None and sum(row[4] for row in kept) > limits.max_entries:
        assert all(row[3] for row in kept if row[4])


@LAWS
@given(rows=ROWS, limits=LIMITS)
def test_the_expired_and_the_aged_are_dropped_and_nothing_without_a_reason(
    rows: Rows, limits: Limits
) -> None:
    """Expired and aged rows go always; others only where a limit was passed."""
    dropped = set(planned(rows, limits).rows)
    oldest_ns = -1 if limits.max_age_s is None else int((NOW_S - limits.max_age_s) * NS)
    due = {
        row
        for row, (used_ns, expires_s, _, is_pinned, _) in enumerate(rows)
        if not is_pinned and (0 < expires_s < NOW_S or used_ns < oldest_ns)
    }
    assert due <= dropped
    is_over = limits.max_bytes is not None and sum(row[2] for row in rows) > limits.max_bytes
    is_over |= limits.max_entries is not None and sum(row[4] for row in rows) > limits.max_entries
    assert is_over or due == dropped


@LAWS
@given(rows=ROWS, max_bytes=st.integers(0, 3000))
def test_the_least_recently_used_go_first(rows: Rows, max_bytes: int) -> None:
    """No kept row was used before one dropped for the budget; at equal time entries go first."""
    rows = [(used_ns, 0, size, is_pinned, is_entry) for used_ns, _, size, is_pinned, is_entry in rows]
    dropped = set(planned(rows, Limits(max_bytes=max_bytes)).rows)

    def order(row: int) -> tuple[int, bool, int]:
        return rows[row][0], not rows[row][4], row

    kept = [order(row) for row in range(len(rows)) if row not in dropped and not rows[row][3]]
    gone = [order(row) for row in dropped]
    assert not kept or not gone or max(gone) < min(kept)


@LAWS
@given(rows=ROWS, max_bytes=st.integers(0, 3000))
def test_no_more_is_dropped_than_needed(rows: Rows, max_bytes: int) -> None:
    """Without the last row that the budget asked for, low water would not have been reached."""
    limits = Limits(max_bytes=max_bytes)
    result = planned(rows, limits)
    if result.over_budget:
        over = result.rows[-result.over_budget :]
        youngest = max(over, key=lambda row: (rows[row][0], not rows[row][4], row))
        left = sum(row[2] for row in rows) - result.freed_bytes + rows[youngest][2]
        assert left > int(max_bytes * limits.low_water)


@LAWS
@given(rows=ROWS, limits=LIMITS)
def test_the_same_input_gives_the_same_plan(rows: Rows, limits: Limits) -> None:
    """No randomness, no order of a set."""
    assert planned(rows, limits) == planned(rows, limits)


@LAWS
@given(
    rows=ROWS, limits=LIMITS, bytes_less=st.integers(0, 500), entries_less=st.integers(0, 10), data=st.data()
)
def test_tighter_limits_and_later_times_drop_no_less(
    rows: Rows, limits: Limits, bytes_less: int, entries_less: int, data: st.DataObject
) -> None:
    """A plan grows with each limit that tightens and with the time that passes."""
    tighter = Limits(
        max_bytes=None if limits.max_bytes is None else max(0, limits.max_bytes - bytes_less),
        max_entries=None if limits.max_entries is None else max(0, limits.max_entries - entries_less),
        max_age_s=None if limits.max_age_s is None else data.draw(st.integers(0, int(limits.max_age_s))),
        low_water=limits.low_water,
    )
    now_s = data.draw(st.integers(NOW_S, NOW_S + 10))
    assert set(planned(rows, limits).rows) <= set(planned(rows, tighter, now_s=now_s).rows)


@LAWS
@given(rows=ROWS, limits=LIMITS, spare_used_s=st.integers(0, NOW_S))
def test_a_lease_is_a_pin_for_a_while(rows: Rows, limits: Limits, spare_used_s: int) -> None:
    """What was used within it is kept, and all else is planned as if that were pinned."""
    leased = replace(limits, spare_used_s=spare_used_s)
    pinned: Rows = [
        (used_ns, expires_s, size, max(pin, int(used_ns >= (NOW_S - spare_used_s) * NS)), is_entry)
        for used_ns, expires_s, size, pin, is_entry in rows
    ]
    assert planned(rows, leased) == planned(pinned, limits)
