"""Retention keeps what it should and drops what is due, whatever the rules and however records lie in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.logs.retention import Rule, Rules
from vcache.logs.segment import window
from vcache.testing import FakeClock
from vcache.testing.logs import searched

NOW_NS = 1_000 * 10**9
SECOND_NS = 10**9

record = st.builds(
    lambda source, age_s, level: Record(NOW_NS - age_s * SECOND_NS, level, source, f"{age_s} s ago"),
    st.sampled_from(("gcc", "make", "ld")), st.integers(0, 60), st.sampled_from((9, 13)),
)  # fmt: skip
ages = st.none() | st.integers(0, 60).map(float)
rule = st.builds(
    lambda pattern, age_s, records: Rule(pattern, max_age_s=age_s, max_records=records),
    st.sampled_from(("gcc", "make", "*")), ages, st.none() | st.integers(0, 20),
)  # fmt: skip
rules = st.builds(lambda own, age_s: Rules(tuple(own), max_age_s=age_s), st.lists(rule, max_size=3), ages)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    """Blocks of few rows, so that there are some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "BLOCK_ROWS", 8)
        patch.setattr(window, "_OWN_ROWS", 5)
        yield


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(record, min_size=1, max_size=25), min_size=1, max_size=4),
    st.lists(rules, min_size=1, max_size=2),
)
def test_what_is_due_goes_and_nothing_else(
    appends: Sequence[Sequence[Record]], given_rules: Sequence[Rules]
) -> None:
    """Nothing overdue by more than the slack is left, nothing goes that is not due, ids do not change; asked twice."""
    with tempfile.TemporaryDirectory() as directory, DiskLogs(directory, clock=FakeClock(NOW_NS)) as logs:
        for records in appends:
            logs.append(records)
            logs.seal()
        for wanted in given_rules:
            before = {each.id: each for each in searched(logs)}
            logs.retain(wanted)
            after = {each.id: each for each in searched(logs)}
            assert after.items() <= before.items()
            assert all(logs.find(id_) == each for id_, each in after.items())
            for source in ("gcc", "make", "ld"):
                check(
                    [each for each in before.values() if each.source == source],
                    [each for each in after.values() if each.source == source],
                    wanted.of(source), wanted,
                )  # fmt: skip


def check(before: list[Record], after: list[Record], own: Rule, wanted: Rules) -> None:
    """What holds for a source."""
    oldest_s = min((age for age in (own.max_age_s, wanted.max_age_s) if age is not None), default=1e9)
    young = [each for each in before if each.at_ns >= NOW_NS - oldest_s * SECOND_NS]
    if own.max_records is None:
        assert set(map(id_of, young)) <= set(map(id_of, after))
    else:
        assert len(after) <= own.max_records
        # What is too old in a block with younger ones takes none of their room.
        assert len(set(map(id_of, young)) & set(map(id_of, after))) >= min(
            own.max_records, len(young)
        ) - _mixed(before, young)
    limit_s = oldest_s + min(oldest_s // 8 if oldest_s < 1e9 else 0, 86_400)
    assert all(each.at_ns >= NOW_NS - (limit_s + 1) * SECOND_NS for each in after)


def _mixed(before: list[Record], young: list[Record]) -> int:
    return len(before) - len(young)


def id_of(each: Record) -> str:
    """Its id."""
    return each.id
