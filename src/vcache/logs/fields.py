"""What a record has by the names of the query language. Pure.

`level`, `source` and `message` are every record's own; `@time` is when it was said and `@seen` when a store
took it, UTC epoch ns; `@id`; `@marks`, the names of its marks in lower case with spaces between; `@template`,
the shape of its message; `@repeats`. All others are its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Final

from vcache.logs.record import Mark, Record
from vcache.query.pipeline import columns_after as columns_of
from vcache.query.shapes import shape
from vcache.query.syntax import Value

__all__ = ["OWN_FIELDS", "columns_of", "get", "getter_of", "marks_text"]


@lru_cache(maxsize=512)
def marks_text(marks: int) -> str:
    """The names of marks, such as "no_time cut"; "" for none."""
    return " ".join(mark.name.lower() for mark in Mark if marks & mark and mark.name)


_GETTERS: Final[dict[str, Callable[[Record], Value]]] = {
    "level": attrgetter("level"),
    "source": attrgetter("source"),
    "message": attrgetter("message"),
    "@time": attrgetter("at_ns"),
    "@seen": attrgetter("seen_ns"),
    "@id": attrgetter("id"),
    "@repeats": attrgetter("repeats"),
    "@marks": lambda record: marks_text(record.marks),
    "@template": lambda record: shape(record.message),
}

OWN_FIELDS: Final = tuple(_GETTERS)
"""The names that every record has."""


def getter_of(name: str) -> Callable[[Record], Value]:
    """What gets the value of a field from a record; None where it has none."""
    found = _GETTERS.get(name)
    return found if found is not None else lambda record: record.fields.get(name)


def get(record: Record, name: str) -> Value:
    """The value of a record's field; None where it has none."""
    found = _GETTERS.get(name)
    return found(record) if found is not None else record.fields.get(name)
