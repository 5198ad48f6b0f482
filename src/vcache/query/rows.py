"""What a condition means for a row: the one place where that stands.

A value is text, a number, true, false, or None where a row has none.

- None fulfils nothing but a negation: `x != 1` and `not x > 1` hold where there is no x.
- A number against a text that says a number is compared as numbers, whichever side is which; against
  any other text it is neither equal nor less nor greater.
- true and false are those, and the texts "true" and "false" in any case; they are no numbers.
- What looks for text (`~`, `contains`, `:`) sees numbers and truth values as text.
- A level that is a word counts as its number.

Whoever evaluates by columns applies `test_of` to each value that occurs, and so agrees with who goes row by
row. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import eq, ge, gt, le, lt
from typing import Any, Final, TypeAlias, TypeVar

from vcache.query.levels import level_of
from vcache.query.literals import number_of
from vcache.query.order import text_of
from vcache.query.patterns import searcher
from vcache.query.syntax import (
    And,
    Compare,
    Contains,
    Everything,
    Expression,
    Has,
    In,
    Not,
    Or,
    Regex,
    Value,
    Words,
)

__all__ = ["SEARCHED_CHARS", "Leaf", "Test", "compiled", "fields_of", "predicate", "test_of", "words_in"]

R = TypeVar("R")
Test: TypeAlias = Callable[[Value], bool]
Leaf: TypeAlias = Compare | In | Contains | Regex | Words | Has

SEARCHED_CHARS: Final = 65_536
"""A regular expression sees so much of a value: a repeat may take time quadratic in it."""

# Both sides are text, or both are numbers.
_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {"=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}
_TRUTHS: Final = {"true": True, "false": False}
_WORD: Final = re.compile(r"\w+")


def words_in(text: str) -> list[str]:
    """The words of a text, as whole words are meant: runs of letters, digits and `_`, in lower case."""
    return _WORD.findall(text.lower())


def fields_of(expression: Expression) -> frozenset[str]:
    """The names of the fields that a condition asks for."""
    if isinstance(expression, And | Or):
        return frozenset().union(*map(fields_of, expression.items))
    if isinstance(expression, Not):
        return fields_of(expression.item)
    return frozenset() if isinstance(expression, Everything) else frozenset((expression.field,))


def test_of(leaf: Leaf) -> Test:
    """Whether a value of the leaf's field fulfils it."""
    test = _test_of(leaf)
    if leaf.field == "level" and isinstance(leaf, Compare | In):
        return lambda value: test(level_of(value) if type(value) is str else value)
    return test


def _test_of(leaf: Leaf) -> Test:
    match leaf:
        case Compare(operator="!="):
            is_equal = _compare("=", leaf.value)
            return lambda value: not is_equal(value)
        case Compare():
            return _compare(leaf.operator, leaf.value)
        case In():
            return _member(leaf.values)
        case Has():
            return bool
        case Contains():
            return _contains(leaf.text)
        case Words():
            return _words(leaf.text)
    return _search(leaf.pattern)


# --- comparisons -----------------------------------------------------------------------------


def _compare(operator: str, wanted: str | float | bool) -> Test:
    if type(wanted) is bool:
        return _truth(_ORDERS[operator], is_true=wanted)
    if type(wanted) is str:
        return _text(operator, wanted)
    return _number(_ORDERS[operator], wanted)


def _truth(holds: Callable[[Any, Any], bool], *, is_true: bool) -> Test:
    def test(value: Value) -> bool:
        if type(value) is str and len(value) < 6:
            value = _TRUTHS.get(value.lower())
        return type(value) is bool and holds(value, is_true)

    return test


def _number(holds: Callable[[Any, Any], bool], wanted: str | float) -> Test:
    def test(value: Value) -> bool:
        kind = type(value)
        if kind is int or kind is float:
            return holds(value, wanted)
        if kind is str:
            number = number_of(value)  # type: ignore[arg-type]
            return number is not None and holds(number, wanted)
        return False

    return test


def _text(operator: str, wanted: str) -> Test:
    holds, number = _ORDERS[operator], number_of(wanted)
    is_true = _TRUTHS.get(wanted.lower())

    def test(value: Value) -> bool:
        if type(value) is str:
            return holds(value, wanted)
        if type(value) is bool:
            return is_true is not None and holds(value, is_true)
        return value is not None and number is not None and holds(value, number)

    return test


def _member(values: tuple[str | int | float | bool, ...]) -> Test:
    """As if each were compared, with one look."""
    texts: frozenset[object] = frozenset(value for value in values if type(value) is str)
    numbers: frozenset[object] = frozenset(
        value for value in values if type(value) is int or type(value) is float
    )
    truths: frozenset[object] = frozenset(value for value in values if type(value) is bool)
    said = numbers | {number_of(value) for value in values if type(value) is str} - {None}
    held = truths | {_TRUTHS.get(value.lower()) for value in values if type(value) is str}

    def test(value: Value) -> bool:
        kind = type(value)
        if kind is str:
            if value in texts:
                return True
            if numbers and number_of(value) in numbers:  # type: ignore[arg-type]
                return True
            return bool(truths) and _TRUTHS.get(value.lower()) in truths  # type: ignore[union-attr]
        if kind is bool:
            return value in held
        return value is not None and value in said

    return test


# --- text ------------------------------------------------------------------------------------


def _contains(text: str) -> Test:
    def test(value: Value) -> bool:
        if type(value) is str:
            return text in value
        return value is not None and text in text_of(value)

    return test


def _search(pattern: str) -> Test:
    search = searcher(pattern)

    def test(value: Value) -> bool:
        if type(value) is str:
            return search(value if len(value) <= SEARCHED_CHARS else value[:SEARCHED_CHARS])
        return value is not None and search(text_of(value))

    return test


def _words(phrase: str) -> Test:
    wanted = phrase.lower()
    is_begun, is_ended = _is_of_word(wanted[:1]), _is_of_word(wanted[-1:])
    length = len(wanted)

    def test(value: Value) -> bool:
        if value is None:
            return False
        text = (value if type(value) is str else text_of(value)).lower()
        at = text.find(wanted)
        while at >= 0:
            # One character, or none at either end of the text.
            before, after = text[at - 1 : at] if at else "", text[at + length : at + length + 1]
            if not (is_begun and (before.isalnum() or before == "_")) and not (
                is_ended and (after.isalnum() or after == "_")
            ):
                return True
            at = text.find(wanted, at + 1)
        return False

    return test


def _is_of_word(char: str) -> bool:
    return char.isalnum() or char == "_"


# --- whole conditions ------------------------------------------------------------------------


def predicate(expression: Expression, get: Callable[[R, str], Value]) -> Callable[[R], bool]:
    """Whether a row is meant.

    Args:
        get: the value of a row's field; None where it has none.
    """
    return compiled(expression, lambda name: lambda row: get(row, name))


def compiled(expression: Expression, getter_of: Callable[[str], Callable[[R], Value]]) -> Callable[[R], bool]:
    """Whether a row is meant; half the time of `predicate` where getters are made in C.

    Args:
        getter_of: for the name of a field, what gets its value from a row, such as `attrgetter`.
    """
    match expression:
        case Everything():
            return lambda row: True
        case Not():
            inner = compiled(expression.item, getter_of)
            return lambda row: not inner(row)
        case And():
            return _all([compiled(item, getter_of) for item in expression.items])
        case Or():
            return _any([compiled(item, getter_of) for item in expression.items])
    test, get = test_of(expression), getter_of(expression.field)
    return lambda row: test(get(row))


def _all(tests: list[Callable[[R], bool]]) -> Callable[[R], bool]:
    if len(tests) == 2:
        one, two = tests
        return lambda row: one(row) and two(row)

    def holds(row: R) -> bool:
        for test in tests:  # noqa: SIM110 - a generator and `all` take twice as long
            if not test(row):
                return False
        return True

    return holds


def _any(tests: list[Callable[[R], bool]]) -> Callable[[R], bool]:
    def holds(row: R) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if test(row):
                return True
        return False

    return holds
