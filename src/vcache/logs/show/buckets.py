"""Buckets of time in which nothing was, between those of a histogram: so that its bars show when it was quiet. Pure.

For people only: programs get what was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from vcache.logs.show.base import Column

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["Quiet"]

_MOST: Final = 200
"""Of a longer silence the first bucket shows that there is one, and the last its end: nobody counts the rows."""


class Quiet:
    """Puts rows for empty buckets between rows that come in the order of time.

    Args:
        columns: of the rows; numbers of records are 0 there, other columns have nothing.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._at = next((at for at, column in enumerate(columns) if column.is_ordered), -1)
        self._step_ns = columns[self._at].step_ns if self._at >= 0 else 0
        self._empty: list[Value] = [0 if column.is_count else None for column in columns]
        self._last_ns: int | None = None

    def filled(self, rows: Iterable[tuple[Value, ...]]) -> Iterator[tuple[Value, ...]]:
        """The rows, with what is between them."""
        if self._at < 0:
            yield from rows
            return
        for row in rows:
            time_ns = row[self._at]
            if isinstance(time_ns, int):
                yield from self._between(time_ns)
                self._last_ns = time_ns
            yield row

    def _between(self, time_ns: int) -> Iterator[tuple[Value, ...]]:
        last_ns, step_ns = self._last_ns, self._step_ns
        if last_ns is None:
            return
        count = (time_ns - last_ns) // step_ns - 1
        places = range(1, count + 1) if count <= _MOST else (1, count)
        for place in places:
            row = list(self._empty)
            row[self._at] = last_ns + place * step_ns
            yield tuple(row)
