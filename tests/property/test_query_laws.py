"""Laws of the query language: any text is a query or an error, any query has a text, conditions obey logic."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vcache.errors import QueryError
from vcache.query.parser import parse, parse_condition
from vcache.query.printing import condition_text, unparse
from vcache.query.rows import compiled, fields_of, predicate, test_of
from vcache.query.stages import run
from vcache.query.syntax import (
    And,
    Compare,
    Contains,
    Expression,
    Has,
    In,
    Not,
    Or,
    Query,
    Regex,
    Value,
    Words,
)

test_of.__test__ = False  # type: ignore[attr-defined]  # pytest goes by the name

_Literal = str | int | float | bool
NOW = 1_795_255_200 * 10**9
NAMES = ("a", "b.c", "level", "@time", "message", "a b", "and", "`", "contains", "größe", "9")
TOKENS = (
    "a", "b", "level", "@time", "message", "and", "or", "not", "in", "contains", "(", ")", ",", "|", "=", "==", "!=",
    "<", ">=", "~", "!~", ":", "*", "'x y'", '"', "`b c`", "1", "-1.5", "007", "-1h", "today", "2026-11-21", "warning",
    "true", "count", "by", "stats", "sort", "-", "limit", "last", "top", "fields", "where", "dedup", "histogram", "1m",
    "as", "n", "avg(a)", "p95(b)", "count()", "@time(1m)", "'(a+)+'", "\\", "\n", "é", "\x00", "\ud800",
)  # fmt: skip

ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=8) | st.sampled_from(("", "1", "404", "true", "1.5", "WARN", 'say "x"\\'))
literals = texts | ints | floats | st.booleans()
values: st.SearchStrategy[Value] = literals | st.none() | st.just(float("nan")) | st.integers(0, 24)
names = st.sampled_from(("a", "b.c", "message", "a b", "and", "`", "contains", "größe", "9"))
patterns = st.sampled_from(("x", r"\d+", '"', r"a\\", "(?i)e", "^$", "[^a]", "'"))


def leaves() -> st.SearchStrategy[Expression]:
    operators = st.sampled_from(("=", "!=", "<", "<=", ">", ">="))
    several = st.lists(literals, min_size=1, max_size=4, unique_by=lambda value: (type(value), value)).map(
        tuple
    )
    filled = st.text(min_size=1, max_size=8)
    return st.one_of(
        st.builds(Compare, names, operators, literals),
        st.builds(Compare, st.just("level"), operators, st.integers(0, 24)),
        st.builds(Compare, st.just("@time"), operators, ints),
        st.builds(In, names, several),
        st.builds(Contains, names, filled),
        st.builds(Regex, names, patterns),
        st.builds(Words, names, filled),
        st.builds(Has, names),
    )


def value_of(row: dict[str, Value], name: str) -> Value:
    return row.get(name)


def getter_of(name: str):
    def get(row: dict[str, Value]) -> Value:
        return row.get(name)

    return get


def _both(kind: type[And | Or]):
    def made(items: list[Expression]) -> Expression:
        flat: list[Expression] = []
        for item in items:
            flat.extend(item.items if isinstance(item, kind) else (item,))
        return kind(tuple(flat))

    return made


def _not(item: Expression) -> Expression:
    return item.item if isinstance(item, Not) else Not(item)


expressions = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(_both(And)),
        st.lists(inner, min_size=2, max_size=3).map(_both(Or)),
        inner.map(_not),
    ),
    max_leaves=8,
)
rows = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)


@given(expressions)
def test_a_condition_is_its_text(expression: Expression):
    """To the type of each value."""
    text = condition_text(expression)
    assert repr(parse_condition(text)) == repr(expression)


@given(st.lists(st.sampled_from(TOKENS), max_size=25), st.sampled_from((" ", "")))
@example(["("] * 150, "")
@example(["not"] * 150, " ")
@settings(max_examples=400)
def test_any_words_are_a_query_or_an_error(tokens: list[str], space: str):
    """Whatever they are; a query has a text, and runs over rows."""
    check(space.join(tokens))


@given(st.text(max_size=60) | st.from_regex(re.compile(r"[a@][ =~<>!:]{0,3}['\"(]?.{0,20}"), fullmatch=True))
def test_any_text_is_a_query_or_an_error(text: str):
    """No text makes anything else."""
    check(text)


def check(text: str) -> None:
    try:
        query = parse(text, now_ns=NOW)
    except QueryError as error:
        what, line, caret = str(error).rsplit("\n", 2)
        assert what
        assert 4 <= caret.index("^") <= len(line)
        return
    assert parse(unparse(query), now_ns=0) == query
    assert unparse(parse(unparse(query), now_ns=0)) == unparse(query)
    found: list[dict[str, Value]] = [{"a": 1, "level": 13, "@time": NOW, "message": "x y"}, {"b": "z"}]
    kept = filter(predicate(query.where, value_of), found)
    list(run(query.stages, None, kept, getter_of=getter_of)[1])


@given(expressions, expressions, rows)
def test_conditions_obey_logic(one: Expression, two: Expression, row: dict[str, Value]):
    """De Morgan's laws, and that a condition holds or does not."""

    def holds(expression: Expression) -> bool:
        found = compiled(expression, getter_of)(row)
        assert isinstance(found, bool)
        return found

    assert holds(Not(And((one, two)))) == holds(Or((Not(one), Not(two))))
    assert holds(Not(Or((one, two)))) == holds(And((Not(one), Not(two))))
    assert holds(Not(one)) is not holds(one)
    assert holds(And((one, two, one))) == (holds(one) and holds(two))
    assert fields_of(And((one, two))) == fields_of(one) | fields_of(two)


@given(values, st.lists(literals, min_size=1, max_size=4), st.sampled_from(("a", "level")))
def test_one_of_several_is_equal_to_one_of_them(value: Value, several: list[_Literal], name: str):
    """`in` is `=` of each, `!=` is not `=`, and `<=` is `<` or `=`."""

    def holds(operator: str, wanted: _Literal) -> bool:
        return test_of(Compare(name, operator, wanted))(value)  # type: ignore[arg-type]

    assert test_of(In(name, tuple(several)))(value) == any(holds("=", each) for each in several)
    for each in several:
        assert holds("!=", each) is not holds("=", each)
        assert holds("<=", each) == (holds("<", each) or holds("=", each))
        assert holds(">=", each) == (holds(">", each) or holds("=", each))
        if holds("<", each) or holds(">", each):
            assert not holds("=", each)


@given(st.text(alphabet="aB é_-.1", min_size=1, max_size=4), st.text(alphabet="aB é_-.1", max_size=12))
def test_words_are_found_as_a_regular_expression_finds_them(phrase: str, text: str):
    """Of the same words in lower case with nothing of a word beside them."""
    low = phrase.lower()
    begin = r"(?<!\w)" if re.match(r"\w", low) else ""
    end = r"(?!\w)" if re.search(r"\w\Z", low) else ""
    expected = re.search(begin + re.escape(low) + end, text.lower()) is not None
    assert test_of(Words("a", phrase))(text) is expected


@pytest.mark.slow
@given(st.lists(st.sampled_from(TOKENS), max_size=200), st.sampled_from((" ", "")))
@settings(max_examples=20_000, deadline=None)
def test_any_words_are_a_query_or_an_error_at_length(tokens: list[str], space: str):
    """The same, for long ones and for many."""
    check(space.join(tokens))


def test_a_query_is_what_its_parts_are():
    """Texts of conditions and of steps stand side by side."""
    query = Query(Has("a"), parse("| count by b", now_ns=0).stages)
    assert unparse(query) == "a | stats count() by b"
