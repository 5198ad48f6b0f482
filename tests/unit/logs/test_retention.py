"""What retention plans."""

from __future__ import annotations

import pytest

from vcache.errors import UsageError
from vcache.logs.retention import Holding, Rule, Rules, cutoffs, drop_before

DAY_NS = 86_400 * 10**9


def holdings(source: str, days: range, *, size_bytes: int = 100, records: int = 10) -> list[Holding]:
    """A block a day."""
    return [Holding(source, records, size_bytes, day * DAY_NS) for day in days]


def left(held: list[Holding], rules: Rules, *, now_day: int = 10) -> list[tuple[str, int]]:
    """What is kept, by source and day."""
    drop = drop_before(cutoffs(held, rules, now_ns=now_day * DAY_NS))
    return [(each.source, each.last_ns // DAY_NS) for each in held if not drop(each.source, each.last_ns)]


def test_without_rules_all_is_kept() -> None:
    """Nothing goes that nobody asks for."""
    held = holdings("gcc", range(10))
    assert len(left(held, Rules())) == 10
    assert not Rules().is_bounded
    assert len(left(held, Rules((Rule("*"),)))) == 10


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        (Rule("gcc", max_age_s=3 * 86_400.0), [7, 8, 9]),
        (Rule("gcc", max_bytes=250), [8, 9]),
        (Rule("gcc", max_bytes=300), [7, 8, 9]),
        (Rule("gcc", max_bytes=0), []),
        (Rule("gcc", max_records=25), [7, 8, 9]),
        (Rule("gcc", max_records=20), [8, 9]),
        (Rule("gcc", max_records=0), []),
        (Rule("gcc", max_records=25, max_age_s=2 * 86_400.0), [8, 9]),
    ],
)
def test_the_oldest_go_by_the_strictest_bound(rule: Rule, days: list[int]) -> None:
    """Bytes are never exceeded; of records as many are kept as were asked for; nothing younger than an age goes."""
    assert left(holdings("gcc", range(10)), Rules((rule,))) == [("gcc", day) for day in days]


def test_the_first_rule_that_fits_counts() -> None:
    """Each source by its own rule, whatever others hold."""
    held = holdings("gcc", range(3)) + holdings("make", range(3)) + holdings("make-dep", range(3))
    rules = Rules((Rule("make", max_records=10), Rule("make*", max_records=0), Rule("*", max_records=20)))
    assert left(held, rules) == [("gcc", 1), ("gcc", 2), ("make", 2)]


def test_a_budget_for_all_takes_the_oldest_first() -> None:
    """Whosesoever they are, behind the rules by source."""
    held = holdings("gcc", range(3)) + holdings("make", range(5, 8), size_bytes=200)
    assert left(held, Rules(max_bytes=700)) == [("gcc", 2), ("make", 5), ("make", 6), ("make", 7)]
    assert left(held, Rules((Rule("make", max_bytes=200),), max_bytes=400)) == [
        ("gcc", 1), ("gcc", 2), ("make", 7),
    ]  # fmt: skip
    assert left(held, Rules(max_age_s=4 * 86_400.0)) == [("make", 6), ("make", 7)]


def test_a_negative_bound_is_refused() -> None:
    """With the rule and the value."""
    with pytest.raises(UsageError, match=r"'gcc' has max_records -1"):
        Rule("gcc", max_records=-1)
