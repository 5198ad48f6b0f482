"""Repeated lines, said once with a count: the run-length idea. No I/O; time is a parameter.

It must not know where records go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vcache.logs.record import Record

__all__ = ["Folder", "folded"]

HELD_NS: Final = 10**9


def _is_again(record: Record, before: Record) -> bool:
    """Whether a record says what the one before it said."""
    return (
        record.message == before.message
        and record.level == before.level
        and record.source == before.source
        and record.marks == before.marks
        and record.fields == before.fields
        # To a dict, 1, 1.0 and True are equal.
        and all(type(value) is type(before.fields[name]) for name, value in record.fields.items())
    )


def folded(records: Iterable[Record]) -> list[Record]:
    """Runs of records that say the same within a second as one each, with the time of the first."""
    made: list[Record] = []
    repeats = 0
    for record in records:
        # What comes late comes at once: what was said every minute, and found in a ring that somebody left.
        if made and abs(record.at_ns - made[-1].at_ns) < HELD_NS and _is_again(record, made[-1]):
            repeats += record.repeats
            continue
        if repeats:
            made[-1] = made[-1]._replace(repeats=made[-1].repeats + repeats)
            repeats = 0
        made.append(record)
    if repeats:
        made[-1] = made[-1]._replace(repeats=made[-1].repeats + repeats)
    return made


class Folder:
    """Folds what comes one by one: the first of a run is passed on at once, the rest of it as one record.

    That one comes when something else does, or when it was held for a second.
    """

    __slots__ = ("_before", "_held")

    def __init__(self) -> None:
        self._before: Record | None = None
        self._held: Record | None = None

    def add(self, record: Record) -> tuple[Record, ...]:
        """What is to be passed on when this comes."""
        before, held = self._before, self._held
        if before is not None and _is_again(record, before):
            if held is None:
                self._held = record
                return ()
            if record.at_ns - held.at_ns < HELD_NS:
                self._held = held._replace(repeats=held.repeats + record.repeats)
                return ()
            self._held = record
            return (held,)
        self._before, self._held = record, None
        return (record,) if held is None else (held, record)

    @property
    def is_holding(self) -> bool:
        """Whether something waits for the next record, or for `flush`."""
        return self._held is not None

    def flush(self, now_ns: int | None = None) -> tuple[Record, ...]:
        """What is held, or was for a second at that time."""
        held = self._held
        if held is None or (now_ns is not None and 0 <= now_ns - held.at_ns < HELD_NS):
            return ()
        self._held = None
        return (held,)
