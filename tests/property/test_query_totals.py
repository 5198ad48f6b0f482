"""Laws of what groups come to: however rows are divided, ordered, kept and merged, the answer is one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.query import sketches
from vcache.query.order import keyed, rank
from vcache.query.parser import parse
from vcache.query.stages import run, tuple_getters
from vcache.query.syntax import Aggregate, Value
from vcache.query.totals import Totals
from vcache.serialize.plain import pack_plain, unpack_plain

Row = tuple[Value, Value, int]
COLUMNS = ("k", "v", "@time")
TEXT = "| stats count(), count(v), sum(v), avg(v), min(v), max(v), uniq(v), p50(v), p(99.5, v), first(v), last(v) by k"

numbers = (
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | st.integers(-3, 3)
    | st.integers(-3, 3).map(float)
)
values: st.SearchStrategy[Value] = (
    st.none() | st.booleans() | st.text("ab1.", max_size=3) | st.just("9" * 30) | numbers
)
rows: st.SearchStrategy[list[Row]] = st.lists(st.tuples(st.sampled_from((None, "a", 1, 1.0, True)), values, st.integers(0, 5)), max_size=30)  # fmt: skip


def aggregate(text: str = TEXT) -> Aggregate:
    (stage,) = parse(text, now_ns=0).stages
    assert isinstance(stage, Aggregate)
    return stage


def totals_of(rows: list[Row], text: str = TEXT) -> Totals:
    totals = Totals(aggregate(text))
    add: Callable[[Row], None] = totals.adder(tuple_getters(COLUMNS))
    for row in rows:
        add(row)
    return totals


def kept(totals: Totals) -> Totals:
    """As from a cache."""
    return Totals.of_plain(totals.aggregate, unpack_plain(pack_plain(totals.plain())))


def merged(*parts: Totals) -> Totals:
    found = Totals(parts[0].aggregate)
    for part in parts:
        found.merge(kept(part))
    return found


def answer(totals: Totals) -> str:
    """To the type of each value; -0.0 and 0.0 are one."""
    return repr(
        [tuple(0 if value == 0 and value is not False else value for value in row) for row in totals.rows()]
    )


@settings(max_examples=200, deadline=None)
@given(rows, st.data())
def test_however_rows_are_divided_the_answer_is_one(rows: list[Row], data: st.DataObject):
    """In any order, in any parts, merged either way round, kept in between."""
    expected = answer(totals_of(rows))
    shuffled = data.draw(st.permutations(rows))
    one, two = sorted((data.draw(st.integers(0, len(rows))), data.draw(st.integers(0, len(rows)))))
    a, b, c = shuffled[:one], shuffled[one:two], shuffled[two:]
    assert answer(totals_of(shuffled)) == expected
    assert answer(merged(totals_of(a), totals_of(b), totals_of(c))) == expected
    assert answer(merged(totals_of(c), merged(totals_of(b), totals_of(a)))) == expected
    assert answer(merged(totals_of(rows))) == expected


@given(rows)
def test_the_answer_is_that_of_a_naive_one(rows: list[Row]):
    """Each number, computed from all values of a group at once."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(keyed(row[0]), []).append(row)
    found = {keyed(row[0]): row[1:] for row in totals_of(rows).rows()}
    assert found.keys() == groups.keys()
    for key, own in groups.items():
        there = [value for _, value, _ in own if value is not None]
        real = [value for value in there if value == value]
        said = sorted(number for value in there if (number := _number(value)) is not None)
        total = sum(map(Fraction, said)) if said else None
        assert found[key][:2] == (len(own), len(there))
        assert found[key][2] == (None if total is None else pytest.approx(float(total), rel=1e-15, abs=0))
        assert found[key][3] == (None if total is None else float(total / len(said)))
        assert found[key][4:6] == (
            (min(real, key=rank), max(real, key=rank)) if real else (None, None)
        )  # fmt: skip
        assert found[key][6] == len({keyed(value) for value in real})
        for at, percent in ((7, 50), (8, Fraction("99.5"))):
            place = max(1, math.ceil(len(said) * percent / 100)) - 1
            assert found[key][at] == (said[place] if said else None)
        timed = [
            (at_ns, rank(value), value) for _, value, at_ns in own if value is not None and value == value
        ]
        assert found[key][9:] == ((min(timed)[2], max(timed)[2]) if timed else (None, None))


def _number(value: Value) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return (
                float(value)
                if not value.startswith(".") and not value.endswith(".") and value[0] != "a"
                else None
            )
        except (ValueError, IndexError):
            return None
    return value if value is not None and math.isfinite(value) else None


@pytest.mark.parametrize("seed", range(4))
def test_sketches_merge_to_the_same_too(seed: int, monkeypatch: pytest.MonkeyPatch):
    """Wherever the bound between exact and estimated is crossed."""
    monkeypatch.setattr(sketches, "EXACT_VALUES", 50)
    monkeypatch.setattr(sketches, "EXACT_UNIQUE", 50)
    rng = random.Random(seed)
    rows: list[Row] = [("a", rng.choice((rng.gauss(0, 1e6), rng.randrange(1000))), 0) for _ in range(300)]
    text = "| stats p50(v), p99(v), uniq(v)"
    parts = [totals_of(rows[begin : begin + 40], text) for begin in range(0, 300, 40)]
    expected = answer(totals_of(rows, text))
    for _ in range(5):
        rng.shuffle(parts)
        assert answer(merged(*parts)) == expected
        assert answer(merged(merged(*parts[:3]), merged(*parts[3:]))) == expected
    assert merged(*parts).estimates == {"p50(v)", "p99(v)", "uniq(v)"}


@given(
    rows,
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(COLUMNS), st.booleans()), min_size=1, max_size=2),
)
def test_a_cut_sort_is_a_sort_and_a_cut(rows: list[Row], count: int, keys: list[tuple[str, bool]]):
    """Also where values are of several kinds, equal or missing."""
    text = "sort " + ", ".join(("-" if is_down else "") + name for name, is_down in keys)
    _, whole = run(parse(f"| {text}", now_ns=0).stages, COLUMNS, rows)
    _, cut = run(parse(f"| {text} | limit {count}", now_ns=0).stages, COLUMNS, rows)
    assert repr(list(cut)) == repr(list(whole)[:count])
