"""What is known of a condition before a block is read: from bounds of time, counters, constants and filters.

True    every row fulfils it      False   none does      None   somebody has to look
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Final

from vcache.logs.segment.columns import FILTERED_CHARS
from vcache.logs.segment.reading import OpenBlock
from vcache.logs.segment.tokens import filtered_words, pair_hash, word_hash
from vcache.query.rows import compiled, fields_of, test_of
from vcache.query.syntax import (
    And,
    Compare,
    Contains,
    Everything,
    Expression,
    In,
    Not,
    Or,
    Value,
    Words,
)

__all__ = ["PAIRED", "decided", "pair_getter", "timed"]

Answer = bool | None


def decided(expression: Expression, block: OpenBlock) -> Answer:
    """What holds for all rows of a block."""
    match expression:
        case Everything():
            return True
        case Not():
            inner = decided(expression.item, block)
            return None if inner is None else not inner
        case And():
            return (
                False
                if _is_nowhere(expression, block)
                else _all(decided(item, block) for item in expression.items)
            )
        case Or():
            return _any(decided(item, block) for item in expression.items)
    about = block.about
    match expression.field:
        case "@time":
            return _of_range(expression, about.first_ns, about.last_ns)
        case "level":
            return _of_values(expression, {level for levels in about.levels.values() for level in levels})
        case "source":
            return _of_values(expression, about.levels)
        case "@marks":
            return _of_values(expression, ("",)) if not about.marks else None
        case "message":
            return _of_message(expression, block)
        case "@id" | "@seen" | "@template" | "@repeats":
            return None
    return _of_field(expression, block)


def timed(expression: Expression, first_ns: int, last_ns: int) -> Expression | bool:
    """The condition for records of those times only, with what their times decide taken out.

    So it is the same text for all times that a segment lies within.
    """
    match expression:
        case Everything():
            return True
        case Not():
            inner = timed(expression.item, first_ns, last_ns)
            return (not inner) if isinstance(inner, bool) else Not(inner)
        case And() | Or():
            is_and = isinstance(expression, And)
            items: list[Expression] = []
            for item in expression.items:
                inner = timed(item, first_ns, last_ns)
                if isinstance(inner, bool):
                    if inner is not is_and:
                        return inner
                else:
                    items.append(inner)
            if len(items) < 2:
                return items[0] if items else is_and
            return And(tuple(items)) if is_and else Or(tuple(items))
    if expression.field == "@time":
        answer = _of_range(expression, first_ns, last_ns)
        return expression if answer is None else answer
    return expression


def _is_nowhere(expression: And, block: OpenBlock) -> bool:
    """Whether no pair of a source and a level fulfils what is said of both."""
    items = [item for item in expression.items if fields_of(item) <= PAIRED]
    if len(items) < 2:
        return False
    test = compiled(And(tuple(items)), pair_getter)
    pairs = ((source, level) for source, levels in block.about.levels.items() for level in levels)
    return not any(map(test, pairs))


PAIRED: Final = frozenset(("source", "level"))


def pair_getter(name: str) -> Callable[[tuple[str, int]], Value]:
    """What gets a field of a pair of a source and a level."""
    return itemgetter(0) if name == "source" else itemgetter(1)


def _all(answers: Iterable[Answer]) -> Answer:
    found: Answer = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            found = None
    return found


def _any(answers: Iterable[Answer]) -> Answer:
    found: Answer = False
    for answer in answers:
        if answer is True:
            return True
        if answer is None:
            found = None
    return found


def _of_range(leaf: Expression, first: int, last: int) -> Answer:
    if first == last:
        return _of_values(leaf, (first,))
    if not isinstance(leaf, Compare) or isinstance(leaf.value, str | bool):
        return None
    if leaf.operator in ("=", "!="):
        return (leaf.operator == "!=") if not first <= leaf.value <= last else None
    test = test_of(leaf)  # it rises or falls once
    return test(first) if test(first) == test(last) else None


def _of_values(leaf: Expression, values: Iterable[Value]) -> Answer:
    """For rows that have no other values than these."""
    assert not isinstance(leaf, Everything | Not | And | Or)
    test = test_of(leaf)
    answers = {test(value) for value in values}
    return answers.pop() if len(answers) == 1 else None


def _of_message(leaf: Expression, block: OpenBlock) -> Answer:
    if isinstance(leaf, Words):
        words = filtered_words(leaf.text)
    elif isinstance(leaf, Contains):
        words = _inner_words(leaf.text)
    else:
        return None
    return None if all(block.may_have(word_hash(word)) for word in words) else False


def _inner_words(text: str) -> list[bytes]:
    """The words of a text that are whole wherever it stands: those at its ends may go on."""
    if not text.isascii():
        return []  # a letter may change its neighbours' case
    begin = next((at for at, char in enumerate(text) if not (char.isalnum() or char == "_")), len(text))
    end = next(
        (at for at in range(len(text) - 1, begin, -1) if not (text[at].isalnum() or text[at] == "_")), 0
    )
    return filtered_words(text[begin:end])


def _of_field(leaf: Expression, block: OpenBlock) -> Answer:
    assert not isinstance(leaf, Everything | Not | And | Or)
    column = block.about.fields.get(leaf.field)
    if column is None and block.has_more:
        return None
    if column is None or column.kind == "c":
        return test_of(leaf)(None if column is None else column.value)
    is_text = column.kind in "sht" or (column.kind == "d" and column.value is True)
    wanted = _wanted(leaf)
    if not is_text or not wanted or any(block.may_have(pair_hash(leaf.field, text)) for text in wanted):
        return None
    return isinstance(leaf, Compare) and leaf.operator == "!="


def _wanted(leaf: Expression) -> list[str]:
    """The texts that a leaf compares with, if it is about nothing else."""
    if isinstance(leaf, Compare) and leaf.operator in ("=", "!="):
        values: tuple[Value, ...] = (leaf.value,)
    elif isinstance(leaf, In):
        values = leaf.values
    else:
        return []
    texts = [value for value in values if isinstance(value, str) and len(value) <= FILTERED_CHARS]
    return texts if len(texts) == len(values) else []
