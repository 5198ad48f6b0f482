"""What retention plans."""

from __future__ import annotations

import pytest

from vcache.errors import UsageError
from vcache.logs.retention import Holding, Rule, Rules, plan

DAY_NS = 86_400 * 10**9


def holdings(source: str, days: range, *, size_bytes: int = 100, records: int = 10) -> list[Holding]:
    """A block a day."""
    return [Holding(source, records, size_bytes, day * DAY_NS) for day in days]


def left(held: list[Holding], rules: Rules, *, now_day: int = 10) -> list[tuple[str, int, int]]:
    """What is kept, by source and day: how many records."""
    cuts = plan(held, rules, now_ns=now_day * DAY_NS)
    return [
        (each.source, each.last_ns // DAY_NS, cut.records)
        for each, cut in zip(held, cuts, strict=True)
        if cut.records
    ]


def test_without_rules_all_is_kept() -> None:
    """Nothing goes that nobody asks for."""
    held = holdings("gcc", range(10))
    assert len(left(held, Rules())) == 10
    assert not Rules().is_bounded
    assert len(left(held, Rules((Rule("*"),)))) == 10


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        (Rule("gcc", max_age_s=3 * 86_400.0), {7: 10, 8: 10, 9: 10}),
        (Rule("gcc", max_bytes=250), {7: 5, 8: 10, 9: 10}),
        (Rule("gcc", max_bytes=300), {7: 10, 8: 10, 9: 10}),
        (Rule("gcc", max_bytes=5), {}),
        (Rule("gcc", max_bytes=0), {}),
        (Rule("gcc", max_records=25), {7: 5, 8: 10, 9: 10}),
        (Rule("gcc", max_records=20), {8: 10, 9: 10}),
        (Rule("gcc", max_records=0), {}),
        (Rule("gcc", max_bytes=250, max_records=17), {8: 7, 9: 10}),
        (Rule("gcc", max_records=25, max_age_s=2 * 86_400.0), {8: 10, 9: 10}),
    ],
)
def test_the_oldest_go_by_the_strictest_bound(rule: Rule, days: dict[int, int]) -> None:
    """Bytes are never exceeded; of records as many are kept as were asked for; nothing younger than an age goes."""
    found = left(holdings("gcc", range(10)), Rules((rule,)))
    assert found == [("gcc", day, records) for day, records in days.items()]


@pytest.mark.parametrize(("age_s", "slack_ns"), [(80.0, 10 * 10**9), (0.0, 0), (30 * 86_400.0, DAY_NS)])
def test_a_few_may_be_late_by_an_eighth_of_the_age_or_a_day(age_s: float, slack_ns: int) -> None:
    """Whichever is less, by the stricter of two ages."""
    rules = Rules((Rule("gcc", max_age_s=age_s),), max_age_s=90 * 86_400.0)
    (cut,) = plan(holdings("gcc", range(9, 10)), rules, now_ns=9 * DAY_NS)
    assert cut == (10, int(9 * DAY_NS - age_s * 1e9), slack_ns)


def test_the_first_rule_that_fits_counts() -> None:
    """Each source by its own rule, whatever others hold."""
    held = holdings("gcc", range(3)) + holdings("make", range(3)) + holdings("make-dep", range(3))
    rules = Rules((Rule("make", max_records=10), Rule("make*", max_records=0), Rule("*", max_records=20)))
    assert left(held, rules) == [("gcc", 1, 10), ("gcc", 2, 10), ("make", 2, 10)]


def test_a_budget_for_all_takes_the_oldest_first() -> None:
    """Whosesoever they are, behind the rules by source."""
    held = holdings("gcc", range(3)) + holdings("make", range(5, 8), size_bytes=200)
    made = [("make", 5, 10), ("make", 6, 10), ("make", 7, 10)]
    assert left(held, Rules(max_bytes=700)) == [("gcc", 2, 10), *made]
    assert left(held, Rules(max_bytes=640)) == [("gcc", 2, 4), *made]
    assert left(held, Rules((Rule("make", max_bytes=200),), max_bytes=400)) == [
        ("gcc", 1, 10), ("gcc", 2, 10), ("make", 7, 10),
    ]  # fmt: skip
    # Of what a rule leaves of a block, its share counts.
    assert left(held, Rules((Rule("make", max_bytes=300),), max_bytes=350)) == [
        ("gcc", 2, 5), ("make", 6, 5), ("make", 7, 10),
    ]  # fmt: skip
    assert left(held, Rules(max_age_s=4 * 86_400.0)) == made[1:]


def test_a_negative_bound_is_refused() -> None:
    """With the rule and the value."""
    with pytest.raises(UsageError, match=r"'gcc' has max_records -1"):
        Rule("gcc", max_records=-1)
