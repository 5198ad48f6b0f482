"""Conditions over captured output: those of the query language (docs/reference/query.md), by a record's attributes.

Pure: it knows what a record has.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from vcache.errors import GraphError, QueryError
from vcache.query.levels import INFO, LEVELS
from vcache.query.parser import parse_condition
from vcache.query.rows import compiled

if TYPE_CHECKING:
    from vcache.dag.capture import Record
    from vcache.query.syntax import Value

__all__ = ["FIELDS", "Condition", "condition", "getter_of"]

Condition = Callable[["Record"], bool]
"""Whether a record is meant."""

FIELDS: Final = ("node", "stream", "level", "text", "message", "file", "line", "column", "option", "at_ns")
"""What a condition may ask for."""


def condition(text: str) -> Condition:
    """The condition that a text states; an empty one is true of everything.

    Raises:
        GraphError: it states none; the message shows the place.
    """
    try:
        return compiled(parse_condition(text, fields=FIELDS), getter_of)
    except QueryError as error:
        raise GraphError(str(error)) from None


def getter_of(name: str) -> Callable[[Record], Value]:
    """What gets a record's field; of its level the number."""
    if name == "level":
        return lambda record: LEVELS.get(record.level, INFO)
    return attrgetter(name)
