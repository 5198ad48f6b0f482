"""What a server does not search for: regular expressions that could hold all who use it. Pure.

Python's `re` keeps the interpreter to itself until it is done, and cannot be stopped. Of repeats that share a
text out among them each multiplies the work by the length of the line: one takes 0.15 s for 16,384 characters
that were made for it, two take more than 3 s for 4,096, four for 300 (CPython 3.11, one core). Whoever may
read must not stop the others, so that a server takes one such repeat; a command, which harms nobody but
who runs it, takes more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vcache.query.ambiguity import TooComplex, repeats_at_once
from vcache.query.syntax import And, Expression, Not, Or, Query, Regex, Where

__all__ = ["MOST_REPEATS", "held_up_by"]

MOST_REPEATS: Final = 1
_BOUNDED: Final = re.compile(r"(?<!\\)\{\d*,?\d*\}")
_OPTIONAL: Final = re.compile(
    r"(?<=[^\\(*+?}])\?(?![*+])"
)  # not of a group's beginning, nor a lazy one's mark


def held_up_by(query: Query) -> str:
    """The first regular expression of a query that a server does not search for; "" for none."""
    for expression in (query.where, *(stage.condition for stage in query.stages if isinstance(stage, Where))):
        for pattern in _patterns(expression):
            try:
                if max(repeats_at_once(pattern), repeats_at_once(_widened(pattern))) > MOST_REPEATS:
                    return pattern
            except (TooComplex, RecursionError, re.error):
                return pattern
    return ""


def _widened(pattern: str) -> str:
    """The pattern with bounded repeats taken for unbounded: `(a?){40}b` takes 2 ** 40 steps as well."""
    return _OPTIONAL.sub("*", _BOUNDED.sub("*", pattern))


def _patterns(expression: Expression) -> Iterator[str]:
    waiting = [expression]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Regex):
            yield each.pattern
        elif isinstance(each, And | Or):
            waiting.extend(each.items)
        elif isinstance(each, Not):
            waiting.append(each.item)
