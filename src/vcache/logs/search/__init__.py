"""Answers queries over segments and the tail: blocks are skipped, counted, or read column by column.

    where ──decided (bounds, counters, filters)──▶ blocks ──masks──▶ rows ──in order of time──▶ stages

It must not know files. The meaning of a condition stands in `vcache.query.rows` alone; here it is only applied
to many rows at once.
"""

from vcache.logs.search.engine import Kept, search

__all__ = ["Kept", "search"]
