"""Which columns an answer has, by its query."""

from __future__ import annotations

import pytest

from vcache.logs.show.base import Column, columns_of
from vcache.query.parser import parse
from vcache.query.pipeline import columns_after

MINUTE_NS = 60 * 10**9


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("level = error", None),
        ("| fields @time, level, file", (Column("@time", "time"), Column("level", "level"), Column("file"))),
        ("| histogram 1m by level",
         (Column("@time", "time", MINUTE_NS, is_ordered=True), Column("level", "level"),
          Column("count", is_count=True))),
        ("| stats min(@time) as first, max(level) as worst, count(level) by source",
         (Column("source"), Column("first", "time"), Column("worst", "level"),
          Column("count(level)", is_count=True))),
        ("| stats max(@time) as at by source | fields at", (Column("at", "time"),)),
        ("| stats max(@time) as at by source | stats min(at) as x, sum(at) as y",
         (Column("x", "time"), Column("y"))),
    ],
)  # fmt: skip
def test_columns_know_what_they_hold(text, columns):
    """Times and levels stay such through every step that keeps them"""
    query = parse(text, now_ns=0)
    assert columns_of(query, columns_after(query)) == columns
