"""Canonical texts of queries."""

from __future__ import annotations

import pytest

from vcache.query.parser import parse
from vcache.query.printing import condition_text, unparse
from vcache.query.syntax import And, Has, Not, Or

CANONICAL = {
    "": "*",
    "a AND NOT b OR c In (1) | COUNT BY a | sort a DESC": "a and not b or c in (1) | stats count() by a | sort -a",
    "`AND` and `@version`": "`AND` and `@version`",
    "level>=WARN 'x'": 'level >= warning and "x"',
    "level > warning": "level > 16",
    "level = 13": "level = 13",
    "level = warning": "level in (13, 14, 15, 16)",
    "not (a = 1)": "not a = 1",
    "not (a in (1))": "a not in (1)",
    "not a ~ b": 'a !~ "b"',
    "a ~ 'x\"y\\d'": 'a ~ "x\\"y\\d"',
    "`contains` = 'a\\nb'": '`contains` = "a\\nb"',
    "(a or b) and (c or d)": "(a or b) and (c or d)",
    "(a and b) or c": "a and b or c",
    "@time >= -10s": "@time >= 1970-01-01T00:16:30Z",
    "| count by @time(1m)": "* | stats count() by @time(60000000000ns)",
    "| top 3 f": "* | stats count() by f | sort -count | limit 3",
    "| stats median(x), count() as n": "* | stats p(50, x), count() as n",
}


@pytest.mark.parametrize("text", CANONICAL)
def test_a_query_has_one_text(text: str):
    """However it was written; and that text is the query again."""
    query = parse(text, now_ns=1000 * 10**9)
    assert unparse(query) == CANONICAL[text]
    assert parse(CANONICAL[text], now_ns=0) == query


def test_trees_of_any_make_have_a_text():
    """Also those that no text makes."""
    a = Has("a")
    assert condition_text(And((Or((a, a)), Not(And((a, a)))))) == "(a or a) and not (a and a)"
    assert condition_text(Not(Not(a))) == "not not a"
