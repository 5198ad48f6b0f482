"""What a server does not search for: regular expressions that could hold all who use it. Pure.

Python's `re` keeps the interpreter to itself until it is done, and cannot be stopped: `a*a*a*a*b` takes more than 3 s
for 300 characters (CPython 3.11, one core). Whoever may read must not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from vcache.query.patterns import Fault, linear_fault
from vcache.query.syntax import And, Expression, Not, Or, Query, Regex, Where

__all__ = ["held_up_by"]


def held_up_by(query: Query) -> tuple[str, Fault] | None:
    """The first regular expression of a query that a server does not search for, and why; None for none."""
    for expression in (query.where, *(stage.condition for stage in query.stages if isinstance(stage, Where))):
        for pattern in _patterns(expression):
            fault = linear_fault(pattern)
            if fault is not None:
                return pattern, fault
    return None


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
