"""A query or a condition, from text.

    query = [ condition ] { "|" step }

Conditions: `vcache.query.conditions`. Steps: `vcache.query.pipeline`. Times are absolute in what is
found: whoever asks again later parses again.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from vcache.errors import QueryError
from vcache.query.conditions import Conditions
from vcache.query.lexer import Scanner, complain
from vcache.query.pipeline import STAGES, Pipeline
from vcache.query.syntax import Everything, Expression, Query

__all__ = ["parse", "parse_condition"]

_STEP: Final = re.compile(rf"(?:^|[\s)])({'|'.join(STAGES)})\s+(?:[\w@.]+\s*\(?\s*)?$", re.IGNORECASE)


def parse(text: str, *, now_ns: int, fields: Collection[str] | None = None) -> Query:
    """The query that a text states.

    Args:
        now_ns: what -1h and `today` are measured from, UTC epoch ns.
        fields: names that records have; None for any.

    Raises:
        QueryError: it states none; the message shows the place.
    """
    scanner = Scanner(text)
    conditions = Conditions(scanner, now_ns=now_ns, fields=fields)
    where: Expression = Everything()
    if scanner.now.kind != "end" and scanner.now.text != "|":
        try:
            where = conditions.either()
            if scanner.now.kind != "end" and scanner.now.text != "|":
                scanner.refuse("`and`, `or`, `|` or the end")
        except QueryError as error:
            _say_step(text, error)
            raise
    stages = Pipeline(scanner, conditions, now_ns=now_ns).stages()
    return Query(where, stages)


def _say_step(text: str, error: QueryError) -> None:
    """Say what is wrong with `count by x`: it is a condition, and a wrong one, without a bar.

    Raises:
        QueryError: a step stands where the condition goes wrong.
    """
    step = _STEP.search(text, 0, error.position)
    if step is not None:
        complain(text, step.start(1), f"a step stands behind `|`: write `| {step[1]} …`")


def parse_condition(text: str, *, now_ns: int = 0, fields: Collection[str] | None = None) -> Expression:
    """The condition that a text states; an empty one is true of everything.

    Args:
        now_ns: what -1h and `today` are measured from, UTC epoch ns.
        fields: names that may be asked for; None for any.

    Raises:
        QueryError: it states none; the message shows the place.
    """
    scanner = Scanner(text)
    if scanner.now.kind == "end":
        return Everything()
    found = Conditions(scanner, now_ns=now_ns, fields=fields).either()
    if scanner.now.kind != "end":
        scanner.refuse("`and`, `or` or the end")
    return found
