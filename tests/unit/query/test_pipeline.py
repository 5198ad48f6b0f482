"""Steps of the query language: what each form comes out as, and what is said of those that are none."""

from __future__ import annotations

import pytest

from vcache.errors import QueryError
from vcache.query.parser import parse
from vcache.query.pipeline import columns_after
from vcache.query.printing import unparse
from vcache.query.syntax import (
    Aggregate,
    Call,
    Compare,
    Dedup,
    Everything,
    Fields,
    Group,
    Has,
    Last,
    Limit,
    Query,
    Sort,
    Stage,
    Where,
)

MINUTE = 60 * 10**9
COUNT = Call("count", "", 0.0, "count")
F, G, TIME = Group("f", 0, "f"), Group("g", 0, "g"), Group("@time", MINUTE, "@time")

FORMS: dict[str, tuple[Stage, ...]] = {
    "count": (Aggregate((COUNT,), ()),),
    "count by f, g": (Aggregate((COUNT,), (F, G)),),
    "count as n by f as g": (Aggregate((COUNT._replace(name="n"),), (Group("f", 0, "g"),)),),
    "by f": (Aggregate((COUNT,), (F,)),),
    "by @time(1m), f": (Aggregate((COUNT,), (TIME, F)),),
    "count by @seen(1h30m) as hour": (Aggregate((COUNT,), (Group("@seen", 90 * MINUTE, "hour"),)),),
    "histogram 1m": (Aggregate((COUNT,), (TIME,)), Sort((("@time", False),))),
    "histogram 60s by f": (Aggregate((COUNT,), (TIME, F)), Sort((("@time", False),))),
    "top 3 f, g": (Aggregate((COUNT,), (F, G)), Sort((("count", True),)), Limit(3)),
    "stats count() as n, count(x), uniq(x) by f": (
        Aggregate((Call("count", "", 0.0, "n"), Call("count", "x", 0.0, "count(x)"), Call("uniq", "x", 0.0, "uniq(x)")), (F,)),
    ),
    "stats sum(x), avg(x), min(x), max(x), first(x), last(x)": (
        Aggregate(
            tuple(Call(name, "x", 0.0, f"{name}(x)") for name in ("sum", "avg", "min", "max", "first", "last")), ()
        ),
    ),
    "stats p95(x), p99.9(x), p(50, x), median(y) as m": (
        Aggregate(
            (
                Call("p", "x", 95.0, "p95(x)"), Call("p", "x", 99.9, "p99.9(x)"), Call("p", "x", 50.0, "p50(x)"),
                Call("p", "y", 50.0, "m"),
            ),
            (),
        ),
    ),
    "sort x": (Sort((("x", False),)),),
    "sort -x, +y, z desc, q asc": (Sort((("x", True), ("y", False), ("z", True), ("q", False))),),
    "limit 5": (Limit(5),),
    "first 5": (Limit(5),),
    "head 5": (Limit(5),),
    "last 5": (Last(5),),
    "tail 5": (Last(5),),
    "fields a, `b c`": (Fields(("a", "b c")),),
    "dedup a, b": (Dedup(("a", "b")),),
    "where a > 1": (Where(Compare("a", ">", 1)),),
    "stats p95(x) by f | where p95(x) > 5 | sort -p95(x) | fields `p95(x)`": (
        Aggregate((Call("p", "x", 95.0, "p95(x)"),), (F,)), Where(Compare("p95(x)", ">", 5)),
        Sort((("p95(x)", True),)), Fields(("p95(x)",)),
    ),
    "count by level | where level >= error": (
        Aggregate((COUNT,), (Group("level", 0, "level"),)), Where(Compare("level", ">=", 17)),
    ),
    "count by f | stats max(count)": (
        Aggregate((COUNT,), (F,)), Aggregate((Call("max", "count", 0.0, "max(count)"),), ()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", FORMS)
def test_a_step_is_what_its_form_says(text: str):
    """Every form of the grammar; shorthand comes out as the steps that it stands for."""
    found = parse(f"| {text}", now_ns=0)
    assert found == Query(Everything(), FORMS[text])
    assert parse(unparse(found), now_ns=0) == found


def test_steps_follow_a_condition():
    """Or nothing, or `*`."""
    limit = (Limit(1),)
    assert parse("a | limit 1", now_ns=0) == Query(Has("a"), limit)
    assert parse("* | limit 1", now_ns=0) == parse(" | limit 1", now_ns=0) == Query(Everything(), limit)
    assert parse("", now_ns=0) == parse("*", now_ns=0) == Query(Everything())


def test_columns_are_known_before_there_are_rows():
    """Those of the last step that names any."""
    assert columns_after(parse("a | sort x | limit 3", now_ns=0)) is None
    assert columns_after(parse("| histogram 1h by f | limit 3", now_ns=0)) == ("@time", "f", "count")
    assert columns_after(parse("| count by f | fields count", now_ns=0)) == ("count",)


WRONG = {
    "a |": ("a step (by, count, dedup, ", 3),
    "a | | count": ("a step (by, count, dedup, ", 4),
    "a | cuont": ("no step 'cuont'; did you mean 'count'?", 4),
    "a | count f": ("`|` or the end is wanted here, not 'f'", 10),
    "a b)": ("`and`, `or`, `|` or the end is wanted here, not ')'", 3),
    "| count by": ("a field is wanted here, not the end", 10),
    "| count by f | sort -coutn": ("no column 'coutn'; did you mean 'count'?", 21),
    "| count by f | where g = 1": ("no column 'g'; there is 'count', 'f'", 21),
    "| count by f | fields count, g": ("no column 'g'", 29),
    "| fields a, b | count by c": ("no column 'c'; there is 'a', 'b'", 25),
    "| fields a | histogram 1m": ("no column '@time'; there is 'a'", 13),
    "| fields a, a": ("a column is named twice", 9),
    "| count as f by f": ("two columns are named 'f'; give one another name with `as`", 2),
    "| stats avg(x), avg(x)": ("two columns are named 'avg(x)'", 2),
    "| stats": ("a function (count, uniq, sum, avg, min, max, p, median, first, last, p95) is wanted", 7),
    "| stats average(x)": ("no function 'average'; did you mean 'avg'?", 8),
    "| stats avg": ("`(` is wanted here, not the end", 11),
    "| stats avg()": ("a field is wanted here, not ')'", 12),
    "| stats avg(x": ("`)` is wanted here, not the end", 13),
    "| stats p0(x)": ("0: a percentage is above 0 and at most 100", 8),
    "| stats p(101, x)": ("101: a percentage is above 0 and at most 100", 10),
    "| stats p(x)": ("a percentage, such as 99.9, is wanted here, not 'x'", 10),
    "| stats p(99)": ("`,` and a field is wanted here, not ')'", 12),
    "| count by f(1m)": ("'f' is no time: only @seen and @time are put in buckets", 11),
    "| count by @time(5)": ("a duration, such as 1m or 1h, is wanted here, not '5'", 17),
    "| count by @time(0s)": ("a duration, such as 1m or 1h, is wanted here, not '0s'", 17),
    "| count by @time(1m": ("`)` is wanted here, not the end", 19),
    "| histogram": ("a duration, such as 1m or 1h, is wanted here, not the end", 11),
    "| limit": ("a number from 1 is wanted here, not the end", 7),
    "| limit 0": ("a number from 1 to 1,000,000,000 is wanted here, not '0'", 8),
    "| limit -3": ("a number from 1 is wanted here, not '-'", 8),
    "| limit 1.5": ("a number from 1 is wanted here, not '1.5'", 8),
    "| limit 99999999999999999999": ("a number from 1 is wanted here", 8),
    "| top f": ("a number from 1 is wanted here, not 'f'", 6),
    "| where": ("a field, or a text in quotes, is wanted here, not the end", 7),
    "| limit 1" * 51: ("more than 50 steps", 452),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_what_is_wrong_is_shown(text: str):
    """The error says what would be right, with a caret under the place."""
    said, at = WRONG[text]
    with pytest.raises(QueryError) as caught:
        parse(text, now_ns=0)
    what, line, caret = str(caught.value).split("\n")
    assert what.startswith(said)
    column = caret.index("^")
    if len(text) < 100:
        assert (line, column) == (f"    {text}", at + 4)
    else:
        assert text[at : at + 5] == line[column : column + 5]


def test_fields_are_checked_in_steps_too():
    """Until columns are known; then those are."""
    names = ("file", "level", "@time")
    with pytest.raises(QueryError, match="no field 'fiel'; did you mean 'file'"):
        parse("| count by fiel", now_ns=0, fields=names)
    assert parse("| count by file | sort count", now_ns=0, fields=names).stages


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("count by x", 0), ("level = error count by x", 14), ("histogram 5m", 0), ("top 5 x", 0), ("limit 10", 0),
        ("sort -count", 0), ("stats count() by x", 0), ("fields a, b", 0),
    ],
)  # fmt: skip
def test_a_step_without_its_bar_is_told_so(text: str, place: int) -> None:
    """Not what a condition would need there"""
    with pytest.raises(QueryError, match=r"a step stands behind `\|`: write `\| ") as caught:
        parse(text, now_ns=0)
    assert caught.value.position == place


def test_fields_may_be_called_as_steps_are() -> None:
    """Only what is wrong is taken for a step"""
    assert parse("count = 1 and limit and top in (1, 2)", now_ns=0).stages == ()
    with pytest.raises(QueryError, match="a value is wanted"):
        parse("count = =", now_ns=0)
