"""Whether a record is what it claims to be, for whoever reads across a trust boundary; and how many were not. No I/O."""

from __future__ import annotations

import threading

from vcache.entry import Key, Record
from vcache.errors import SerializeError
from vcache.serialize import content_digest

__all__ = ["Damaged", "damaged_of", "verified"]


class Damaged:
    """How many records a network store has found to be none: a miss to its caller, and a sign to the guard around it.

    A store has it as `damaged`: to ask for `counters` may take an operation.

    Threads: all operations.
    """

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the next
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self.count += 1


def damaged_of(store: object) -> Damaged:
    """What a store counts; of one that does not, a count that stays 0."""
    found = getattr(store, "damaged", None)
    return found if isinstance(found, Damaged) else Damaged()


def verified(key: Key, record: Record) -> Record | None:
    """The record if it is the key's and its content has the digest that its head claims, or None."""
    try:
        entry = record.entry()
        found = content_digest(entry.encoding, record.body, size_bytes=entry.size_bytes)
    except SerializeError:
        return None
    return record if entry.key == key and found == entry.digest else None
