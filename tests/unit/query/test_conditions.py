"""Conditions of the query language: what each form is, and what is said of those that are none."""

from __future__ import annotations

import pytest

from vcache.errors import QueryError, UsageError
from vcache.query.lexer import MOST_CHARS
from vcache.query.literals import time_of, time_text
from vcache.query.parser import parse, parse_condition
from vcache.query.syntax import And, Compare, Contains, Everything, Expression, Has, In, Not, Or, Regex, Words

NS = 10**9
NOW = 1_795_255_200 * NS  # 2026-11-21T10:00:00Z
DAY = 86_400 * NS
TODAY = NOW - 10 * 3_600 * NS

A, B, C = Has("a"), Has("b"), Has("c")

FORMS: dict[str, Expression] = {
    "": Everything(),
    "  *  ": Everything(),
    # fields
    "a": A,
    "http.status": Has("http.status"),
    "user-agent": Has("user-agent"),
    "k8s.io/name": Has("k8s.io/name"),
    "größe": Has("größe"),
    "`a b`": Has("a b"),
    "`a``b` = 1": Compare("a`b", "=", 1),
    "`and`": Has("and"),
    "@id = x": Compare("@id", "=", "x"),
    # comparisons
    "a = 1": Compare("a", "=", 1),
    "a == 1": Compare("a", "=", 1),
    "a != 1": Compare("a", "!=", 1),
    "a<1": Compare("a", "<", 1),
    "a<=1": Compare("a", "<=", 1),
    "a>1": Compare("a", ">", 1),
    "a>=1": Compare("a", ">=", 1),
    # values
    "a = -1.5": Compare("a", "=", -1.5),
    "a = 1.5e3": Compare("a", "=", 1500.0),
    "a = 1e+3": Compare("a", "=", 1000.0),
    "a = 1234e56": Compare("a", "=", "1234e56"),
    "a = 007": Compare("a", "=", "007"),
    "a = 9223372036854775807": Compare("a", "=", 2**63 - 1),
    "a = 9223372036854775808": Compare("a", "=", "9223372036854775808"),
    "a = true": Compare("a", "=", True),
    'a = "true"': Compare("a", "=", "true"),
    'a = "1"': Compare("a", "=", "1"),
    "a = gcc": Compare("a", "=", "gcc"),
    "a = /usr/lib/x.so": Compare("a", "=", "/usr/lib/x.so"),
    "a = http://x:80/y": Compare("a", "=", "http://x:80/y"),
    "a = -Wall": Compare("a", "=", "-Wall"),
    "a = 'it\\'s \\\\ \\n'": Compare("a", "=", "it's \\ \n"),
    'a = ""': Compare("a", "=", ""),
    # units, as a name says
    "took_ms > 1.5s": Compare("took_ms", ">", 1500),
    "took_s <= 250ms": Compare("took_s", "<=", 0.25),
    "took_ns = 1m30s": Compare("took_ns", "=", 90 * NS),
    "late_ms > -1s": Compare("late_ms", ">", -1000),
    "size_bytes > 10MB": Compare("size_bytes", ">", 10**7),
    "bytes in (1KiB, 2)": In("bytes", (1024, 2)),
    "branch = 5d": Compare("branch", "=", "5d"),
    # levels
    "level >= warning": Compare("level", ">=", 13),
    "level > WARN": Compare("level", ">", 16),
    "level <= 'note'": Compare("level", "<=", 12),
    "level < error": Compare("level", "<", 17),
    "level = info": Compare("level", "=", 9),
    "level = error": In("level", (17, 18, 19, 20)),
    "level != error": Not(In("level", (17, 18, 19, 20))),
    "level in (note, critical)": In("level", (10, 11, 12, 21, 22, 23, 24)),
    "level = 14": Compare("level", "=", 14),
    "level : warn": In("level", (13, 14, 15, 16)),
    "level ~ '^(warn|err)'": In("level", (13, 14, 15, 16, 17, 18, 19, 20)),
    "level !~ warn": Not(In("level", (13, 14, 15, 16))),
    "level contains crit": In("level", (21, 22, 23, 24)),
    "level = alert": Compare("level", "=", 22),
    "level = none": Compare("level", "=", 0),
    # times
    "@time > -1h": Compare("@time", ">", NOW - 3_600 * NS),
    "@time > -1h30m": Compare("@time", ">", NOW - 5_400 * NS),
    "@time > now-1d": Compare("@time", ">", NOW - DAY),
    "@time < now": Compare("@time", "<", NOW),
    "@time >= today": Compare("@time", ">=", TODAY),
    "@time >= yesterday": Compare("@time", ">=", TODAY - DAY),
    "@time >= 2026-11-21": Compare("@time", ">=", TODAY),
    "@time >= 2026-11-21T10:00:00Z": Compare("@time", ">=", NOW),
    "@time >= 2026-11-21T12:00:00+02:00": Compare("@time", ">=", NOW),
    "@time >= '2026-11-21 10:00'": Compare("@time", ">=", NOW),
    "@time >= 2026-11-21T10:00:00.000000001Z": Compare("@time", ">=", NOW + 1),
    "@time >= 1795255200": Compare("@time", ">=", NOW),
    "@time >= 1795255200000": Compare("@time", ">=", NOW),
    "@time >= 1795255200000000": Compare("@time", ">=", NOW),
    "@time >= 1795255200000000000": Compare("@time", ">=", NOW),
    "@seen = yesterday": And((Compare("@seen", ">=", TODAY - DAY), Compare("@seen", "<", TODAY))),
    "@time in (now, 2026-11-21)": Or(
        (In("@time", (NOW,)), And((Compare("@time", ">=", TODAY), Compare("@time", "<", TODAY + DAY))))
    ),
    # text
    'a ~ "\\d+"': Regex("a", "\\d+"),
    'a ~ "say \\"x\\" \\\\"': Regex("a", 'say "x" \\\\'),
    "a !~ x": Not(Regex("a", "x")),
    'a contains "x y"': Contains("a", "x y"),
    "a not contains x": Not(Contains("a", "x")),
    'a : "x y"': Words("a", "x y"),
    "a:x": Words("a", "x"),
    "'x y'": Words("message", "x y"),
    # one of several
    "a in (1, x, 'y z')": In("a", (1, "x", "y z")),
    "a in (1, 1, true)": In("a", (1, True)),
    "a not in (1)": Not(In("a", (1,))),
    # together
    "a and b": And((A, B)),
    "a b 'c'": And((A, B, Words("message", "c"))),
    "a or b": Or((A, B)),
    "a or b and c": Or((A, And((B, C)))),
    "a AND NOT b OR c": Or((And((A, Not(B))), C)),
    "a NOT IN (1) AND b CONTAINS c": And((Not(In("a", (1,))), Contains("b", "c"))),
    "`AND` or `@version`": Or((Has("AND"), Has("@version"))),
    "a = '*.c'": Compare("a", "=", "*.c"),
    "a b or c": Or((And((A, B)), C)),
    "(a or b) c": And((Or((A, B)), C)),
    "a and (b and c)": And((A, B, C)),
    "not a b": And((Not(A), B)),
    "not not a": A,
    "not (a or b)": Not(Or((A, B))),
    "a not b": And((A, Not(B))),
    "* and a": A,
    "* or a": Everything(),
    "not *": Not(Everything()),
}


@pytest.mark.parametrize("text", FORMS)
def test_a_condition_is_what_its_form_says(text: str):
    """Every form of the grammar."""
    assert parse_condition(text, now_ns=NOW) == FORMS[text]


def test_a_value_keeps_its_type():
    """1, 1.0, true and their texts are different things, though Python finds some of them equal."""
    for text, kind in {"1": int, "1.0": float, "true": bool, "'1'": str}.items():
        found = parse_condition(f"a = {text}")
        assert isinstance(found, Compare)
        assert type(found.value) is kind


WRONG = {
    "and": ("a field, or a text in quotes, is wanted here, not 'and'", 0),
    "a and": ("a field, or a text in quotes, is wanted here, not the end", 5),
    "404": ("a field, or a text in quotes, is wanted here, not '404'", 0),
    "(a": ("`)` is wanted here, not the end", 2),
    "a)": ("`and`, `or` or the end is wanted here, not ')'", 1),
    "a | count": ("`and`, `or` or the end is wanted here, not '|'", 2),
    "a =": ("a value is wanted here, not the end", 3),
    "a = and": ("a value (in quotes where it is such a word) is wanted here, not 'and'", 4),
    "a = (": ("a value is wanted here, not '('", 4),
    'a = "x': ("a quote that is not closed", 4),
    "`a": ("a quote that is not closed", 0),
    "a = x=y": ("'=' means nothing here; put the whole value in quotes", 5),
    "a ~ 'it''s'": ("\"'s'\" means nothing here; put the whole value in quotes", 8),
    "a = AND": ("a value (in quotes where it is such a word) is wanted here, not 'AND'", 4),
    "a || b": ("'||' means nothing here; write or", 2),
    "a = x*.c": ('* means nothing in a value; write a ~ "^x.*\\.c$", or quotes around a text', 4),
    "a : *": ("* means nothing here; write a on its own", 4),
    "@tmplate = x": ("no @tmplate; did you mean '@template'", 0),
    "@time ~ '2026'": ("@time is a time, no text", 6),
    "@seen contains 2026": ("@seen is a time, no text", 6),
    "level ~ wraning": ("no level (trace, debug, info, note, warning, error, critical) has that in it", 8),
    r'a = "\d"': (r"'\\d' means nothing in a text; write \\ for a backslash", 5),
    "a & b": ("'&' means nothing here; write and", 2),
    "a && b": ("'&&' means nothing here; write and", 2),
    "!a": ("'!' means nothing here; write not", 0),
    "-a": ("'-' means nothing here; write not", 0),
    "a <> 1": ("'<>' means nothing here; write !=", 2),
    "a =~ x": ("'=~' means nothing here; write ~", 2),
    "'a' = 1": ("a field is wanted here: write `a`, in backquotes", 0),
    "count by file": ("`and`, `or` or the end is wanted here, not 'by'", 6),
    "by file": ("`by` belongs to a step, and steps stand behind `|`", 0),
    "level = wraning": ("no level 'wraning'; did you mean 'warning'?", 8),
    "level = 25": ("no level '25'", 8),
    "level >=": ("a level (trace, debug, info, note, warning, error, critical) is wanted here", 8),
    "@time > 1h": ("no time: '1h'; did you mean -1h?", 8),
    "@time > soon": ("no time: 'soon'; give a time (now, -1h, today", 8),
    "@time > 2026-13-01": ("no time: '2026-13-01'", 8),
    "@time > 9999-01-01": ("no time: '9999-01-01'", 8),
    "@time >": ("a time (now, -1h, today", 7),
    "took > 5s": ("5s: the name of 'took' does not end in a unit", 7),
    "took_ms > 5s3": ("not a duration: '5s3'", 10),
    "a ~ ''": ("an empty text is everywhere", 4),
    "a contains ''": ("an empty text is everywhere", 11),
    "''": ("an empty text is everywhere", 0),
    "a ~ 'b('": ("no regular expression: missing ), unterminated subpattern", 6),
    "a ~ '[[a]'": ("no regular expression: Possible nested set", 5),
    "a ~ 'x{99999999999}'": ("no regular expression", 5),
    "a in 3": ("`(` is wanted here, not '3'", 5),
    "a in (3": ("`,` or `)` is wanted here, not the end", 7),
    "a in ()": ("a value is wanted here, not ')'", 6),
    "a not": ("a field, or a text in quotes, is wanted here, not the end", 5),
    "a\n=": ("a value is wanted here, not the end", 3),
    "a $": ("`and`, `or` or the end is wanted here, not '$'", 2),
    "(" * 150: ("nested too deep", 101),
    "not " * 150: ("nested too deep", 404),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_what_is_wrong_is_shown(text: str):
    """The error says what would be right, with a caret under the place."""
    said, at = WRONG[text]
    with pytest.raises(QueryError) as caught:
        parse_condition(text, now_ns=NOW)
    what, line, caret = str(caught.value).split("\n")
    assert what.startswith(said)
    column = caret.index("^")
    if len(text) < 100:
        assert line == "    " + text.replace("\n", " ")
        assert column - 4 == at
    else:
        assert len(line) < 120
        assert line[column : column + 1] == text[at]


def test_a_place_in_a_long_query_is_shown_with_what_is_around_it():
    """Not all of it; nothing in it moves the cursor."""
    text = "a = 1 and " * 50 + "levle\t= 3 and \x1b" + " and b" * 50
    with pytest.raises(QueryError) as caught:
        parse_condition(text, fields=("a", "b", "level"))
    what, line, caret = str(caught.value).split("\n")
    assert what == "no field 'levle'; did you mean 'level'?"
    assert line[caret.index("^") :].startswith("levle")
    assert line[4] == line[-1] == "…"
    assert line.isprintable()


def test_fields_are_checked_where_they_are_known():
    """With the nearest names."""
    with pytest.raises(QueryError, match="no field 'fiel'; did you mean 'file'"):
        parse("a and fiel = 3", now_ns=0, fields=("a", "file"))
    with pytest.raises(UsageError, match=r"a field \(a, file\) is wanted here"):
        parse("a and ", now_ns=0, fields=("a", "file"))


def test_a_query_is_bounded():
    """In length; what is at the bound is taken."""
    assert parse_condition("a" + " " * (MOST_CHARS - 1)) == A
    with pytest.raises(QueryError, match="10,001 characters: 10,000 are the most"):
        parse_condition("a" + " " * MOST_CHARS)


def test_times_are_printed_as_they_are_read():
    """To the nanosecond, over all that 64 bits hold."""
    for at_ns in (0, NOW, NOW + 1, NOW + 5 * 10**8, -1, 2**63 - 1, -(2**63)):
        assert time_of(time_text(at_ns), now_ns=0) == at_ns
    assert time_text(NOW + 5 * 10**8) == "2026-11-21T10:00:00.5Z"
