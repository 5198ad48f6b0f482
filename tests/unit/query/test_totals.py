"""Numbers of groups."""

from __future__ import annotations

import random

import pytest

from vcache.errors import QueryError
from vcache.query import totals as totals_module
from vcache.query.parser import parse
from vcache.query.sketches import ERROR, EXACT_UNIQUE, EXACT_VALUES, Percentiles, Unique
from vcache.query.stages import tuple_getters
from vcache.query.syntax import Aggregate, Value
from vcache.query.totals import Totals


def aggregate(text: str) -> Aggregate:
    (stage,) = parse(f"| {text}", now_ns=0).stages
    assert isinstance(stage, Aggregate)
    return stage


def answer(text: str, columns: tuple[str, ...], rows: list[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    totals = Totals(aggregate(text))
    add = totals.adder(tuple_getters(columns))
    for row in rows:
        add(row)
    kept = Totals.of_plain(totals.aggregate, totals.plain())
    assert list(kept.rows()) == list(totals.rows())
    return list(totals.rows())


ROWS: list[tuple[Value, ...]] = [
    ("a", 1, 10), ("b", 2.5, 20), ("a", "3", 30), ("a", None, 40), (None, 7, 50), ("b", "x", 60),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count", [(6,)]),
        ("count by k", [("a", 3), ("b", 2), (None, 1)]),
        ("stats count(v) by k", [("a", 2), ("b", 2), (None, 1)]),
        ("stats sum(v), avg(v)", [(13.5, 3.375)]),
        ("stats sum(v) by k", [("a", 4), ("b", 2.5), (None, 7)]),
        ("stats min(v), max(v)", [(1, "x")]),
        ("stats first(v), last(v) by k", [("a", 1, "3"), ("b", 2.5, "x"), (None, 7, 7)]),
        ("stats p50(v), p100(v), p1(v)", [(2.5, 7, 1)]),
        ("stats uniq(k), uniq(v)", [(2, 5)]),
        ("stats sum(gone), avg(gone), min(gone), p50(gone), first(gone), uniq(gone)", [(None,) * 5 + (0,)]),
        ("count by gone", [(None, 6)]),
    ],
)
def test_numbers_of_groups(text: str, expected: list[tuple[Value, ...]]):
    """Texts that say numbers are numbers; what is not there counts for nothing but `count()`."""
    assert answer(text, ("k", "v", "@time"), ROWS) == expected


def test_without_rows_there_is_a_row_unless_there_are_groups():
    """0 is an answer."""
    assert answer("count", ("k",), []) == [(0,)]
    assert answer("stats sum(k), count()", ("k",), []) == [(None, 0)]
    assert answer("count by k", ("k",), []) == []


def test_values_of_a_group_are_one_where_they_are_equal():
    """1 and 1.0 are; 1 and true are not, nor the text."""
    rows: list[tuple[Value, ...]] = [(1,), (1.0,), (True,), ("1",), (0,), (False,), (float("nan"),), (None,)]
    assert answer("count by k", ("k",), rows) == [
        (False, 1), (True, 1), (0, 1), (1, 2), ("1", 1), (None, 2),
    ]  # fmt: skip
    assert answer("stats uniq(k)", ("k",), rows) == [(5,)]


def test_levels_are_grouped_by_their_words():
    """And shown by the least number of each."""
    rows: list[tuple[Value, ...]] = [(13,), (14,), ("WARN",), (9,), (0,), (None,)]
    assert answer("count by level", ("level",), rows) == [(0, 1), (9, 1), (13, 3), (None, 1)]


def test_times_are_put_in_buckets():
    """From the epoch on, before it as well; what is no time has none."""
    rows: list[tuple[Value, ...]] = [(59,), (60 * 10**9,), (61 * 10**9,), (-1,), ("x",), (None,)]
    minute = 60 * 10**9
    assert answer("count by @time(1m)", ("@time",), rows) == [(-minute, 1), (0, 1), (minute, 2), (None, 2)]


def test_columns_may_be_counted_instead_of_rows():
    """Counters, values, and values with how often they are: the same as rows one by one."""
    wanted = aggregate("stats count(), count(v), sum(v), p50(v), uniq(v), last(v) by k")
    totals = Totals(wanted)
    totals.add_count(("a",), 3)
    totals.add_count(("b",), 2)
    totals.add_count((None,), 1)
    of_groups: list[tuple[Value, list[Value]]] = [("a", [1, "3"]), ("b", [2.5, "x"]), (None, [7])]
    for group, values in of_groups:
        totals.add_values((group,), 1, values)
        totals.add_pairs((group,), 2, [(value, 1) for value in values])
        totals.add_values((group,), 3, values)
        totals.add_values((group,), 4, values)
        totals.add_timed((group,), 5, [(value, at) for at, value in enumerate(values)])
    by_rows = Totals(wanted)
    add = by_rows.adder(tuple_getters(("k", "v", "@time")))
    for row in ROWS:
        add(row)
    assert list(totals.rows()) == list(by_rows.rows())
    assert len(totals) == 3
    assert not totals.is_counting
    assert Totals(aggregate("count by k")).is_counting


def test_sums_are_exact_and_rounded_once():
    """Whatever the order, and beyond 64 bits."""
    totals = Totals(aggregate("stats sum(v), avg(v)"))
    for value in (1e300, 1.0, -1e300, 2**63, 2**63, 0.1, -0.1):
        totals.add_values((), 0, [value])
        totals.add_pairs((), 1, [(value, 2)])
    assert list(totals.rows()) == [(2.0**64 + 1, (2**64 + 1) / 7)]
    totals = Totals(aggregate("stats sum(v)"))
    totals.add_pairs((), 0, [(1.5e308, 10)])
    assert list(totals.rows()) == [(float("inf"),)]
    assert [type(each) for each in answer("stats sum(a), sum(b), sum(c)", ("a", "b", "c"), [(1, 1.0, 2**63)])[0]] == [
        int, float, float,
    ]  # fmt: skip


def test_percentiles_of_many_values_are_near():
    """Exact up to a thousand, then within one percent, of either sign; and said to be an estimate."""
    rng = random.Random(1)
    values = [rng.lognormvariate(0, 3) * rng.choice((1, -1)) for _ in range(5_000)] + [0.0] * 100
    totals = Totals(aggregate("stats p50(v), p99(v), p1(v), p100(v) as most"))
    for index in range(4):
        totals.add_values((), index, values)
    ordered = sorted(values)
    (found,) = totals.rows()
    for number, percent in zip(found, (50, 99, 1, 100), strict=True):
        exact = ordered[max(1, -(-len(values) * percent // 100)) - 1]
        assert isinstance(number, float)
        assert abs(number - exact) <= abs(exact) * ERROR * 1.000001
    assert totals.estimates == {"p50(v)", "p99(v)", "p1(v)", "most"}
    exactly = Percentiles()
    for value in range(EXACT_VALUES):
        exactly.add(value)
    assert (exactly.at(50), exactly.is_estimate) == (EXACT_VALUES // 2 - 1, False)


def test_percentiles_take_every_double():
    """The least, the largest; what is not finite is left out."""
    numbers = Percentiles()
    for value in (5e-324, 1.7e308, -1.7e308, float("nan"), float("inf")):
        numbers.add(value, 1_000)
    assert numbers.is_estimate
    assert numbers.at(100) == pytest.approx(1.7e308, rel=0.011)
    assert numbers.at(1) == pytest.approx(-1.7e308, rel=0.011)


def test_many_different_values_are_estimated():
    """Exact up to a bound, then within a few percent, and said to be an estimate."""
    known = Unique()
    for value in range(EXACT_UNIQUE):
        known.add(value)
        known.add(value)
    assert (known.count(), known.is_estimate) == (EXACT_UNIQUE, False)
    for value in range(100_000):
        known.add(value)
    assert known.is_estimate
    assert abs(known.count() - 100_000) < 100_000 * 0.03
    again = Unique.of_plain(known.plain())
    assert again.count() == known.count()


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """More than can be kept are an error that says what to do."""
    monkeypatch.setattr(totals_module, "MOST_GROUPS", 3)
    with pytest.raises(QueryError, match="more than 3 groups by k: ask for fewer rows, or fewer columns"):
        answer("count by k", ("k",), [(number,) for number in range(4)])
