"""Steps over rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vcache.errors import QueryError
from vcache.query import stages as stages_module
from vcache.query.parser import parse
from vcache.query.stages import run
from vcache.query.syntax import Value

COLUMNS = ("k", "v")
ROWS: list[tuple[Value, ...]] = [("b", 2), ("a", 10), ("a", None), ("c", "x"), ("b", 1.5), ("a", True)]


def made(text: str, columns: tuple[str, ...] = COLUMNS, rows: list[tuple[Value, ...]] = ROWS) -> list[object]:
    return list(run(parse(f"| {text}", now_ns=0).stages, columns, rows)[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sort v", [("a", True), ("b", 1.5), ("b", 2), ("a", 10), ("c", "x"), ("a", None)]),
        ("sort -v", [("c", "x"), ("a", 10), ("b", 2), ("b", 1.5), ("a", True), ("a", None)]),
        ("sort k, -v", [("a", 10), ("a", True), ("a", None), ("b", 2), ("b", 1.5), ("c", "x")]),
        ("sort -k", [("c", "x"), ("b", 2), ("b", 1.5), ("a", 10), ("a", None), ("a", True)]),
        ("sort gone", ROWS),
        ("sort -k, v | limit 3", [("c", "x"), ("b", 1.5), ("b", 2)]),
        ("limit 2", ROWS[:2]),
        ("limit 200", ROWS),
        ("last 2", ROWS[-2:]),
        ("dedup k", [("b", 2), ("a", 10), ("c", "x")]),
        ("dedup k, v | last 1", [("a", True)]),
        ("where v > 1.5", [("b", 2), ("a", 10)]),
        ("fields v, k | limit 1", [(2, "b")]),
        ("fields v, gone | limit 1", [(2, None)]),
        ("count by k | sort -count | limit 1", [("a", 3)]),
        ("count by k | where count < 3 | fields k", [("b",), ("c",)]),
        ("count by k | stats max(count), count()", [(3, 3)]),
        ("stats first(v), last(v) by k", [("a", 10, True), ("b", 2, 1.5), ("c", "x", "x")]),
        ("top 1 k", [("a", 3)]),
    ],
)
def test_steps_make_rows_of_rows(text: str, expected: list[object]):
    """Sorting is stable, None goes last either way, and kinds of values are in an order."""
    assert made(text) == expected


def test_columns_are_known_at_once():
    """Before a row is read."""

    def never() -> Iterator[tuple[Value, ...]]:
        raise AssertionError("read")
        yield ()

    columns, _ = run(parse("| count by k | sort k | fields count", now_ns=0).stages, COLUMNS, never())
    assert columns == ("count",)
    assert run((), COLUMNS, never())[0] == COLUMNS


def test_rows_are_read_as_they_are_asked_for():
    """What can go on without the rest does."""
    read: list[int] = []

    def rows() -> Iterator[tuple[Value, ...]]:
        for number in range(100):
            read.append(number)
            yield (number,)

    _, found = run(parse("| where v > 1 | dedup v | fields v | limit 3", now_ns=0).stages, ("v",), rows())
    assert next(found) == (2,)
    assert read == [0, 1, 2]
    assert list(found) == [(3,), (4,)]
    assert len(read) == 5


def test_rows_of_any_kind_stay_what_they_are():
    """Until a step makes tuples of them."""
    rows = [{"a": 2}, {"a": 1}]

    def getter_of(name: str):
        return lambda row: row.get(name)

    columns, found = run(parse("| sort a | limit 1", now_ns=0).stages, None, rows, getter_of=getter_of)
    assert (columns, list(found)) == (None, [{"a": 1}])
    columns, found = run(parse("| fields a | sort a", now_ns=0).stages, None, rows, getter_of=getter_of)
    assert (columns, list(found)) == (("a",), [(1,), (2,)])


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """A sort with a limit keeps so many rows; without one, and for `dedup`, there is a bound that is said."""
    monkeypatch.setattr(stages_module, "MOST_KEPT", 3)
    rows: list[tuple[Value, ...]] = [(number,) for number in range(10)]
    assert made("sort -v | limit 2", ("v",), rows) == [(9,), (8,)]
    assert made("limit 3 | sort -v", ("v",), rows) == [(2,), (1,), (0,)]
    with pytest.raises(QueryError, match="`sort` over more than 3 rows: put a `limit` behind it"):
        made("sort v", ("v",), rows)
    with pytest.raises(QueryError, match="`dedup` over more than 3 rows: ask for fewer rows"):
        made("dedup v", ("v",), rows)
