"""What a record has by the names of the query language."""

from __future__ import annotations

import pytest

from vcache.logs.fields import OWN_FIELDS, get, getter_of, marks_text
from vcache.logs.record import Mark, Record
from vcache.query.parser import parse, parse_condition
from vcache.query.rows import compiled, predicate
from vcache.query.stages import run

RECORD = Record(
    5, 13, "gcc", "a.c:1: unused 'x'", {"file": "a.c", "level.of": "x", "n": 3}, Mark.NO_TIME | Mark.REPLAYED, 2, 7, "id-1"
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", 13), ("source", "gcc"), ("message", "a.c:1: unused 'x'"), ("@time", 5), ("@seen", 7), ("@id", "id-1"),
        ("@repeats", 2), ("@marks", "no_time replayed"), ("@template", "<path.c>:<n>: unused <str>"), ("file", "a.c"),
        ("level.of", "x"), ("gone", None), ("@gone", None),
    ],
)  # fmt: skip
def test_a_record_has_its_own_and_its_fields(name: str, value: object):
    """Both ways of asking agree."""
    assert get(RECORD, name) == getter_of(name)(RECORD) == value


def test_marks_are_words():
    """All of them, each by its name."""
    assert marks_text(0) == ""
    assert marks_text(sum(Mark)) == "future no_time bytes long cut replayed unparsed redacted"
    asked = {
        "@marks : replayed": True,
        "@marks : no_time": True,
        "@marks": True,
        "@marks : time": False,
        "@marks : cut": False,
    }
    for text, expected in asked.items():
        assert predicate(parse_condition(text), get)(RECORD) is expected


def test_a_query_runs_over_records():
    """Conditions and steps, by these names."""
    others = [Record(at_ns, 17, "ld", "undefined", {"n": at_ns}) for at_ns in range(10)]
    query = parse(
        "level >= warning | stats max(n), first(@time) by source, @template | sort source", now_ns=0
    )
    assert {"source", "@template"} - set(OWN_FIELDS) == set()
    columns, rows = run(
        query.stages, None, filter(compiled(query.where, getter_of), [RECORD, *others]), getter_of=getter_of
    )
    assert columns == ("source", "@template", "max(n)", "first(@time)")
    assert list(rows) == [("gcc", "<path.c>:<n>: unused <str>", 3, 5), ("ld", "undefined", 9, 0)]
