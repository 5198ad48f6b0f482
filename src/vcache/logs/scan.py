"""The answer to a query over records in memory, by a test of each: what needs no more than the core install.

It must not know where the records are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from vcache.logs.base import Result, Seen
from vcache.logs.record import Record
from vcache.query.rows import compiled
from vcache.query.stages import run
from vcache.query.syntax import Query, Value

__all__ = ["getter_of", "scan"]

_OWN: Final[dict[str, Callable[[Record], Value]]] = {
    "@time": itemgetter(0), "level": itemgetter(1), "source": itemgetter(2), "message": itemgetter(3),
    "@marks": itemgetter(5), "@repeats": itemgetter(6), "@seen": itemgetter(7), "@id": itemgetter(8),
}  # fmt: skip


def getter_of(name: str) -> Callable[[Record], Value]:
    """What gives a record's value of a field."""
    own = _OWN.get(name)
    return own if own is not None else lambda record: record[4].get(name)


def _template(record: Record) -> Value:
    from vcache.query.shapes import shape  # few queries ask for it

    return shape(record[3])


_OWN["@template"] = _template


def scan(query: Query, records: Sequence[Record]) -> Result:
    """The answer over these records, in any order."""
    test = compiled(query.where, getter_of)
    meant = sorted(filter(test, records), key=itemgetter(0, 8))
    columns, rows = run(query.stages, None, meant, getter_of=getter_of)
    return Result(columns, rows, seen=Seen(records=len(records)))
