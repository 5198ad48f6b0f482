"""The answer to a query over records in memory, by a test of each: what needs no more than the core install.

It must not know where the records are.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from vcache.logs.base import Result, Seen
from vcache.logs.fields import getter_of
from vcache.logs.record import Record
from vcache.query.rows import compiled
from vcache.query.stages import run
from vcache.query.syntax import Query

__all__ = ["scan"]


def scan(query: Query, records: Sequence[Record]) -> Result:
    """The answer over these records, in any order."""
    test = compiled(query.where, getter_of)
    meant = sorted(filter(test, records), key=itemgetter(0, 8))
    columns, rows = run(query.stages, None, meant, getter_of=getter_of)
    return Result(columns, rows, seen=Seen(records=len(records)))
